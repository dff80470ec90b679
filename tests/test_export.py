"""Files that other programs read, made of small sweeps."""

import gc
import io
import pathlib
import pickle
import re

import imageio.v3 as imageio
import numpy as np
from PIL import Image
import pytest
from scipy import io as matlab
import test_configs
import test_launchers
import toy_config

from vizjax import export
from vizjax import export_cnnpref
from vizjax import export_pictures
from vizjax import export_plots
from vizjax import export_toolbox
from vizjax import images
from vizjax import store
from vizjax import sweep


def execute(config, workdir):
  sweep.execute(config, sweep.plan(config), str(workdir))
  return str(workdir)


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
  """Two layers, three units, two images of each, with frames."""
  config = toy_config.get_config()
  config.update(units='0:3', replicates=2)
  return execute(config, tmp_path_factory.mktemp('export') / 'toy')


def toolbox_config(**fields):
  config = test_configs.load('yosinski2015', '1')
  with config.unlocked():
    config.update(model='toynets.net()', layer='conv2', units='0,2', batch=2)
    config.update(steps=6, **fields)
  return config


@pytest.fixture(scope='module')
def yosinski(tmp_path_factory):
  folder = tmp_path_factory.mktemp('export') / 'yosinski'
  return execute(toolbox_config(), folder)


def names(folder):
  return sorted(path.name for path in pathlib.Path(folder).iterdir())


def opened(path, mode=None):
  with Image.open(path) as picture:
    return np.asarray(picture if mode is None else picture.convert(mode))


def test_png_is_the_image_of_the_store(toy, tmp_path):
  paths = list(export_pictures.png(export.select(toy), tmp_path))
  assert len(paths) == len(set(paths)) == 12
  assert names(tmp_path) == sorted(path.name for path in paths)
  kept = store.open_(store.directory(toy, 'conv2'))
  units, replicates = store.read(kept, 'unit'), store.read(kept, 'replicate')
  sizes, pictures = store.read(kept, 'size'), store.read(kept, 'image')
  for unit, replicate, (h, w), image in zip(
    units, replicates, sizes, pictures, strict=True
  ):
    path = tmp_path / f'conv2_{unit[0]:04d}_r{replicate}.png'
    shown = opened(path)
    np.testing.assert_array_equal(shown, images.to_uint8(image[:h, :w]))


def test_stretched_pictures_reach_both_ends(toy, tmp_path):
  selection = export.select(toy, layers='fc3', units='1')
  paths = list(export_pictures.png(selection, tmp_path, stretch=True))
  assert [path.name for path in paths] == ['fc3_0001_r0.png', 'fc3_0001_r1.png']
  for path in paths:
    shown = opened(path)
    assert shown.min() == 0 and shown.max() == 255


def test_a_montage_has_every_image_of_a_layer(toy, tmp_path):
  paths = list(
    export_pictures.montage(export.select(toy), tmp_path, columns=3, tile=50)
  )
  assert [path.name for path in paths] == ['conv2.png', 'fc3.png']
  for path in paths:
    h, w, _ = opened(path).shape
    assert w >= 3 * 50 and h >= 2 * 50 and w < 4 * 50 + 40


# imageio leaves the pipes of ffmpeg to the collector of garbage.
@pytest.mark.filterwarnings(
  'ignore::pytest.PytestUnraisableExceptionWarning',
  'ignore::ResourceWarning',
)
def test_films_have_the_frames_of_the_run(toy, tmp_path):
  selection = export.select(toy, layers='conv2', units='0')
  kept = store.open_(store.directory(toy, 'conv2'))
  frames = store.read(kept, 'frames')[0]
  (path, _) = export_pictures.gif(selection, tmp_path, fps=20)
  with Image.open(path) as film:
    assert film.n_frames == len(frames) == 2
    assert film.info['duration'] == 50
    first = np.asarray(film.convert('RGB'), float)
  h, w = first.shape[:2]
  expected = images.to_uint8(frames[0][:h, :w]).astype(float)
  assert np.abs(first - expected).mean() < 8  # of 256 colours
  (path, _) = export_pictures.mp4(selection, tmp_path, fps=20)
  film = imageio.imread(path, plugin='FFMPEG')
  assert film.shape == (2, h + h % 2, w + w % 2, 3)
  assert np.abs(film[0, :h, :w] - expected).mean() < 25  # of half the colours
  gc.collect()


def test_plots_show_each_run_and_each_layer(toy, tmp_path):
  selection = export.select(toy, layers='fc3', units='0,1')
  paths = list(export_plots.plots(selection, tmp_path, plots_format='svg'))
  assert [path.name for path in paths] == [
    'fc3_0000_r0.svg',
    'fc3_0000_r1.svg',
    'fc3_0001_r0.svg',
    'fc3_0001_r1.svg',
    'fc3_scores.svg',
  ]
  assert all('<svg' in path.read_text()[:400] for path in paths)
  (path, *_) = export_plots.plots(selection, tmp_path)
  shown = opened(path, 'L')
  assert 0.001 < (shown < 128).mean() < 0.2  # lines and letters


class Plain(pickle.Unpickler):
  """Knows NumPy's arrays and what Python has built in."""

  def find_class(self, module, name):
    assert module.split('.')[0] in ('numpy', 'builtins', '_codecs', 'copyreg')
    return super().find_class(module, name)


def pair(path):
  return Plain(io.BytesIO(path.read_bytes())).load()


def test_the_toolbox_has_its_five_files(yosinski, tmp_path):
  out = tmp_path / 'out'
  paths = list(export_toolbox.toolbox(export.select(yosinski), out))
  prefixes = ('opt_conv2_0000_0_', 'opt_conv2_0002_0_')
  endings = 'best_X.jpg best_Xpm.jpg info.txt info.pkl info_big.pkl'.split()
  assert {path.name for path in paths} == {
    prefix + ending for prefix in prefixes for ending in endings
  }
  kept = store.open_(store.directory(yosinski, 'conv2'))
  params, results = pair(out / 'opt_conv2_0002_0_info_big.pkl')
  assert params['push_unit'][0] == 2 and params['push_layer'] == 'conv2'
  assert params['lr_policy'] == 'progress'
  assert params['lr_params'] == {'desired_prog': 2.0, 'max_lr': 100.0}
  assert params['small_norm_percentile'] == 50.0
  assert (params['blur_radius'], params['blur_every']) == (0.5, 4)
  assert params['start_at'] == 'mean_plus_rand' and params['rand_seed'] == 0
  for record in ('obj', 'norm', 'dist', 'std'):
    trace = store.read(kept, f'trace/{record}')[1]
    np.testing.assert_array_equal(results[record], trace)
  assert results['ii'] == list(range(6)) and results['last_ii'] == 5
  assert all(
    flag == (index == params['push_unit'])
    for flag, index in zip(results['ismax'], results['idxmax'], strict=True)
  )
  # BGR, channels first, less the mean.
  image = store.read(kept, 'image')[1]
  best = results['best_xx'] + results['data_mean']
  np.testing.assert_allclose(best[::-1].transpose(1, 2, 0), image, atol=1e-4)
  assert results['best_obj'] == max(results['obj'])
  # The start is NumPy's, and the first record is of it, for nothing is cut.
  noise = np.random.RandomState(0).normal(0, 10, results['x0'].shape)
  np.testing.assert_allclose(results['x0'], noise, atol=1e-4)
  np.testing.assert_allclose(
    results['norm'][0], np.linalg.norm(noise), rtol=1e-5
  )
  small, trimmed = pair(out / 'opt_conv2_0002_0_info.pkl')
  assert small == params
  assert trimmed['obj'] == results['obj']
  assert re.match(r'Trimmed \(3, 12, 12\) array \[', trimmed['best_xx'])


def test_the_words_of_the_toolbox_are_aligned(yosinski, tmp_path):
  out = tmp_path / 'out'
  list(export_toolbox.toolbox(export.select(yosinski, units='0'), out))
  lines = (out / 'opt_conv2_0000_0_info.txt').read_text().splitlines()
  assert lines[0] == 'FindParams:' and 'FindResults:' in lines
  rows = [line for line in lines if ': ' in line]
  assert all(line.index(': ') >= 30 for line in rows)
  keys = [line.split(': ')[0].strip() for line in rows]
  start = keys.index('best_ii')
  assert keys[:start] == sorted(keys[:start])
  assert keys[start:] == sorted(keys[start:])
  (obj,) = [line for line in rows if line.strip().startswith('obj: ')]
  assert obj.count(',') == 4 and ', ..., ' in obj


def test_the_jpegs_of_the_toolbox_are_its_normalizations(yosinski, tmp_path):
  out = tmp_path / 'out'
  list(export_toolbox.toolbox(export.select(yosinski, units='0'), out))
  _, results = pair(out / 'opt_conv2_0000_0_info_big.pkl')
  xx = results['best_xx'][::-1].transpose(1, 2, 0)
  mean = results['data_mean'][::-1].transpose(1, 2, 0)
  for ending, expected in (
    ('best_X', xx / max(2 * xx.max(), -2 * xx.min()) + 0.5),
    ('best_Xpm', (xx + mean - (xx + mean).min()) / np.ptp(xx + mean)),
  ):
    # JPEG keeps the brightness of noise, and of its colours a quarter.
    shown = opened(out / f'opt_conv2_0000_0_{ending}.jpg', 'L')
    grey = 255 * expected @ [0.299, 0.587, 0.114]
    assert np.abs(shown - grey).max() < 12


def test_the_toolbox_does_not_overwrite(yosinski, tmp_path):
  selection = export.select(yosinski)
  mine = tmp_path / 'opt_conv2_0002_0_info.txt'
  mine.write_text('mine')
  with pytest.raises(ValueError, match='type --brave'):
    list(export_toolbox.toolbox(selection, tmp_path))
  assert names(tmp_path) == [mine.name] and mine.read_text() == 'mine'
  paths = list(
    export_toolbox.toolbox(selection, tmp_path, brave=True, skipbig=True)
  )
  assert len(paths) == 8 and mine.read_text() != 'mine'
  assert not [name for name in names(tmp_path) if 'big' in name]


def test_a_unit_without_a_gradient_is_a_failure(tmp_path):
  config = toolbox_config(objective='0 * neuron(layer)')
  workdir = execute(config, tmp_path / 'w')
  list(export_toolbox.toolbox(export.select(workdir), tmp_path / 'out'))
  _, results = pair(tmp_path / 'out' / 'opt_conv2_0000_0_info_big.pkl')
  assert results['meta_result'] == 'Metaresult: grad 0 failure'
  assert results['ii'] == [0] and results['last_ii'] == 0


def test_cnnpref_has_matrices_and_pictures(yosinski, tmp_path):
  list(export_cnnpref.cnnpref(export.select(yosinski, units='2'), tmp_path))
  stems = ('preferred_img_layer', 'preferred_img_masked_layer')
  assert names(tmp_path) == sorted(
    ['options.pkl']
    + [f'{s}_conv2_channel_2.{e}' for s in stems for e in ('mat', 'jpg')]
  )
  kept = store.open_(store.directory(yosinski, 'conv2'))
  image, seen = store.read(kept, 'image')[1], store.read(kept, 'seen')[1]
  whole, masked = (
    matlab.loadmat(tmp_path / f'{s}_conv2_channel_2.mat')['preferred_img']
    for s in stems
  )
  np.testing.assert_array_equal(whole, image)
  top, left, h, w = seen
  inside = np.zeros_like(image)
  inside[top : top + h, left : left + w] = 1
  np.testing.assert_array_equal(masked, image * inside)
  options = pair(tmp_path / 'options.pkl')
  assert options['layer'] == 'conv2' and options['steps'] == 6


def test_the_pictures_of_cnnpref_leave_extremes_out():
  image = np.random.RandomState(0).normal(100, 30, (50, 60, 3))
  image[0, 0] = 1e4
  shown = export_cnnpref.shown(image.astype(np.float32))
  low, high = np.percentile(image, [0.02, 99.98])
  expected = (np.clip(image, low, high) - low) * 255 / (high - low)
  assert np.abs(shown - np.floor(expected)).max() <= 1


class Enough(Exception):
  pass


def test_what_is_not_made_yet_is_counted(tmp_path):
  config = toy_config.get_config()
  config.update(layer='conv2', units='0:6')

  def stop(progress):
    if progress.units >= 4:
      raise Enough

  with pytest.raises(Enough):
    sweep.execute(config, sweep.plan(config), str(tmp_path / 'w'), stop)
  (layer,) = export.select(str(tmp_path / 'w')).layers
  assert len(layer.rows) + layer.missing == 6
  assert 0 < layer.missing < 6
  made = list(export_pictures.png(export.select(str(tmp_path / 'w')), tmp_path))
  assert len(made) == len(layer.rows)


def test_what_cannot_be_exported_is_told(toy, yosinski, tmp_path):
  formats = {
    'holds no array': lambda: export_toolbox.toolbox(
      export.select(toy), tmp_path / 'x'
    ),
    'config.save_every=10': lambda: export_pictures.gif(
      export.select(yosinski), tmp_path / 'x'
    ),
    'at most 50 frames': lambda: export_pictures.gif(
      export.select(toy), tmp_path / 'x', fps=60
    ),
    "layer 'conv9' is not in": lambda: export.select(toy, layers='conv9'),
    "units '7' are not in": lambda: export.select(toy, units='7'),
  }
  for told, call in formats.items():
    with pytest.raises(ValueError, match=re.escape(told)):
      list(call())
  assert not (tmp_path / 'x').exists()


def launch(*arguments):
  return test_launchers.finish(
    test_launchers.start('-m', 'experiments.export', *arguments)
  )


def test_the_launcher_tells_what_it_made(toy):
  code, out, err = launch(f'--workdir={toy}', '--format=png', '--units=0')
  assert code == 0, err
  last = out.splitlines()[-1]
  assert last.endswith('export/png: 4 files of 4 images')
  assert len(names(pathlib.Path(toy) / 'export' / 'png')) == 4


def test_errors_of_the_launcher_are_one_line(toy, tmp_path):
  code, out, err = launch(
    f'--workdir={toy}', '--format=png', '--fps=3', f'--out={tmp_path / "x"}'
  )
  assert code == 2 and not out
  assert len(err.strip().splitlines()) == 1
  assert '--fps is given with --format=png, expected --format=gif or mp4' in err
  assert not (tmp_path / 'x').exists()
