"""Every format, to the pixel, of stores that are written here by hand."""

import conftest
import json
import os
import pathlib
import shutil
import subprocess
import sys

import cv2
import numpy as np
from PIL import Image
import pytest

from vizjax import build
from vizjax.errors import UserError
from vizjax.export import formats
from vizjax.export import pictures
from vizjax.export import plots
from vizjax.export import selecting
from vizjax.photographs import images
from vizjax.sweeps import growth
from vizjax.workdir import store

FORMATS = {name: formats.find(name) for name in formats.NAMES}
OF_ITS_OWN = ('toolbox', 'synthesizing', 'grid', 'neural_style')
ANY_RUN = [name for name in FORMATS if name not in OF_ITS_OWN]
SIZE = (11, 13)  # of an image, in a place of 12 x 14

# Programs are started by forking; JAX, which does not fork, warns of it.
pytestmark = pytest.mark.filterwarnings('ignore:os.fork')


def fabricate(workdir, count=4, done=None, chunk=2, **changes):
  """A workdir with arrays of our own; the image of run i is i and noise."""
  labels = changes.pop('labels', {})
  subject = changes.pop('subject', None)
  channels = changes.pop('channels', 3)
  seen = changes.pop('seen', (1, 2, 6, 5))
  config = build.config().to_dict() | {'image_dtype': 'float32', **changes}
  provenance = {
    'config': config,
    'fingerprint': '',
    'versions': {'jax': '1'},
    'layers': [config['layer']],
    'labels': labels,
  }
  if subject is not None:
    provenance['subjects'] = {config['layer']: subject}
  store.claim(str(workdir), provenance)
  draw = np.random.RandomState(0)
  image = np.full((count, 12, 14, channels), np.nan, np.float32)
  frames = np.full((count, 3, 12, 14, channels), np.nan, np.float32)
  h, w = SIZE
  for i in range(count):
    image[i, :h, :w] = draw.uniform(-40, 300, (h, w, channels)) + i
    for k in range(3):
      frames[i, k, :h, :w] = 40 + 60 * k + 10 * np.arange(channels)
  numbers = np.arange(count, dtype=np.int32)
  channel = numbers // config['replicates']
  columns = {
    'unit': np.stack([channel, 0 * numbers + 2, 0 * numbers + 3], -1),
    'replicate': numbers % config['replicates'],
    'size': np.tile(np.array(SIZE, np.int32), (count, 1)),
    'seen': np.tile(np.array(seen, np.int32), (count, 1)),
    'step': numbers,
    'image': image,
    'score': numbers.astype(np.float32),
    'activation': 1.5 * numbers.astype(np.float32),
    'trace/score': draw.normal(0, 1, (count, 5)).astype(np.float32),
    'trace/gradient_norm': draw.uniform(1, 2, (count, 5)).astype(np.float32),
    'frames': frames,
  }
  if config['save_every'] is None:
    del columns['frames']
  shapes = {name: (c.shape[1:], c.dtype) for name, c in columns.items()}
  path = store.directory(str(workdir), config['layer'])
  kept = store.create(path, shapes, count, chunk)
  for number in range(-(-count // chunk)) if done is None else done:
    rows = numbers[number * chunk : (number + 1) * chunk]
    store.write(kept, rows, {n: c[rows] for n, c in columns.items()})
  return columns


@pytest.fixture
def workdir(tmp_path):
  return tmp_path / 'w'


@pytest.fixture
def made(workdir):
  """The columns of a workdir of four runs, with frames."""
  return fabricate(workdir, save_every=2)


def write(workdir, name, out, **options):
  """The paths that a format writes."""
  select = [options.pop(key, None) for key in ('layers', 'units')]
  selection = selecting.select(str(workdir), *select)
  if name in ('toolbox', 'synthesizing'):
    options.setdefault('trust', True)  # of toynets
  return list(FORMATS[name](selection, pathlib.Path(out), **options))


def names(out):
  return sorted(path.name for path in pathlib.Path(out).iterdir())


def pixels(path):
  with Image.open(path) as image:
    return np.asarray(image.convert('RGB'))


def image_of(columns, row):
  h, w = SIZE
  return columns['image'][row, :h, :w]


def test_a_png_is_the_image_clipped_and_rounded(workdir, made, tmp_path):
  paths = write(workdir, 'png', tmp_path / 'out')
  expected = [f'conv5_{i:04d}.png' for i in range(4)]
  assert [path.name for path in paths] == expected
  for i, path in enumerate(paths):
    expected = np.rint(np.clip(image_of(made, i), 0, 255))
    np.testing.assert_array_equal(pixels(path), expected)


def test_stretched_it_goes_from_0_to_255(workdir, made, tmp_path):
  path = write(workdir, 'png', tmp_path / 'out', stretch=True)[1]
  image = image_of(made, 1)
  expected = 255 * (image - image.min()) / (image.max() - image.min())
  # A number of 340 in float32 may be rounded to the other side.
  assert np.abs(pixels(path) - expected).max() < 0.5001


def test_names_tell_replicates_and_positions_where_there_are_some(tmp_path):
  fabricate(tmp_path / 'a', replicates=2, layer='block/conv')
  out = write(tmp_path / 'a', 'png', tmp_path)
  assert [path.name for path in out][1:3] == [
    'block--conv_0000_r1.png',
    'block--conv_0001_r0.png',
  ]
  fabricate(tmp_path / 'b', units='0:4@2x3')
  out = write(tmp_path / 'b', 'png', tmp_path)
  assert out[3].name == 'conv5_0003_y2x3.png'


def test_grey_images_are_grey(tmp_path):
  columns = fabricate(tmp_path / 'a', channels=1)
  path = write(tmp_path / 'a', 'png', tmp_path)[2]
  expected = np.tile(images.to_uint8(image_of(columns, 2)), 3)
  np.testing.assert_array_equal(pixels(path), expected)


def test_channels_that_are_no_colours_stand_side_by_side(tmp_path):
  columns = fabricate(tmp_path / 'a', channels=2)
  path = write(tmp_path / 'a', 'png', tmp_path / 'out')[2]
  expected = images.rgb(images.to_uint8(image_of(columns, 2)))
  assert expected.shape == (11, 13 + 2 + 13, 3)
  np.testing.assert_array_equal(pixels(path), expected)


@pytest.mark.parametrize('name', ['toolbox', 'cnnpref', 'synthesizing'])
def test_other_programs_have_no_such_channels(workdir, tmp_path, name):
  fabricate(workdir, channels=2, decay=0.01, rate_start=8.0)
  with pytest.raises(UserError, match='2 channels, expected 1 or 3'):
    write(workdir, name, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('text, channels', [
  ('0:2', [0, 1]), ('3', [3]), ('0:9:2', [0, 2]), ('1,3', [1, 3]),
  ('2@2x3', [2]), ('stork', [1]), ('"black swan, Cygnus"', [3]),
  ('*', [0, 1, 2, 3]), ('*@2x3', [0, 1, 2, 3]), (' 1 , 2 @ 2 x 3', [1, 2]),
  ('crane,0', [0, 2]),
])  # fmt: skip
def test_units_are_chosen_as_in_a_config(workdir, text, channels):
  known = ['flamingo', 'white stork, stork', 'crane', 'black swan, Cygnus']
  fabricate(workdir, labels={'conv5': known})
  (layer,) = selecting.select(str(workdir), units=text).layers
  assert layer.rows.tolist() == channels
  caption = f'{channels[0]} {known[channels[0]].split(",")[0]}'
  assert layer.captions[0] == caption


@pytest.mark.parametrize('options, words', [
  ({'units': '7'}, r"'7' are not in this run. It has conv5: 0 to 3"),
  ({'units': '1@9x9'}, "'1@9x9' are not"),
  ({'units': '3:1'}, "'3:1' holds no unit"),
  ({'units': 'swan'}, 'cannot be read: type a range as 0:64'),
  ({'units': ''}, 'cannot be read'),
  ({'layers': 'conv6'}, "'conv6' is not in .* it holds conv5"),
])  # fmt: skip
def test_what_is_not_there_is_refused(workdir, made, options, words):
  with pytest.raises(UserError, match=words):
    write(workdir, 'png', workdir / 'out', **options)
  assert not (workdir / 'out').exists()


def several(workdir, layers, labels):
  """A workdir of several layers, four units of each."""
  fabricate(workdir, layer=layers[0], labels=labels)
  for layer in layers[1:]:
    fabricate(workdir.with_name('other'), layer=layer)
    path = store.directory(str(workdir), layer)
    other = store.directory(str(workdir.with_name('other')), layer)
    pathlib.Path(other).rename(path)
    shutil.rmtree(workdir.with_name('other'))
  file = workdir / 'config.json'
  content = json.loads(file.read_text()) | {'layers': layers}
  file.write_text(json.dumps(content))


def test_a_class_is_a_unit_of_the_layers_that_have_names(workdir):
  labels = {'fc8': ['flamingo', 'stork', 'crane', 'swan']}
  several(workdir, ['conv5', 'fc8', 'a,b'], labels)

  def chosen(units, layers=None):
    found = selecting.select(str(workdir), layers, units).layers
    return {layer.name: layer.rows.tolist() for layer in found}

  assert chosen('stork') == {'fc8': [1]}
  assert chosen('stork,3') == {'a,b': [3], 'conv5': [3], 'fc8': [1, 3]}
  assert chosen('*', '"a,b",fc*') == {'a,b': [0, 1, 2, 3], 'fc8': [0, 1, 2, 3]}
  with pytest.raises(UserError, match="'storck' is no class.*'stork'"):
    chosen('storck')
  with pytest.raises(UserError, match="layer 'a' is not in"):
    chosen('0', 'a,b')


@pytest.mark.parametrize('subject, captions, stems', [
  (None, ['0', '1'], ['0000', '0001']),
  ('direction', ['direction 0', 'direction 1'],
   ['direction0000', 'direction0001']),
  ('mask', ['mask 0', 'mask 1'], ['mask0000', 'mask0001']),
  ('photograph', ['one cat', 'photograph 1'],
   ['photograph0000', 'photograph0001']),
])  # fmt: skip
def test_runs_are_named_by_what_they_are_of(tmp_path, subject, captions, stems):
  labels = {'conv5': ['one cat']} if subject == 'photograph' else {}
  fabricate(tmp_path / 'w', 2, save_every=2, subject=subject, labels=labels)
  (layer,) = selecting.select(str(tmp_path / 'w')).layers
  assert layer.captions == tuple(captions)
  assert layer.stems == tuple(f'conv5_{stem}' for stem in stems)
  for name in ('png', 'gif'):
    paths = write(tmp_path / 'w', name, tmp_path / name, units='1')
    assert [path.name for path in paths] == [f'conv5_{stems[1]}.{name}']
  # Files of another program have its own names.
  write(tmp_path / 'w', 'cnnpref', tmp_path / 'cnnpref')
  mats = [n for n in names(tmp_path / 'cnnpref') if n.endswith('.mat')]
  assert [n for n in mats if 'masked' not in n] == [
    f'preferred_img_layer_conv5_channel_{i}.mat' for i in range(2)
  ]


def test_runs_of_a_whole_layer_have_no_number(tmp_path):
  fabricate(tmp_path / 'w', 2, subject='layer', replicates=2)
  (layer,) = selecting.select(str(tmp_path / 'w'), units='0').layers
  assert layer.captions == ('conv5 #0', 'conv5 #1')
  assert layer.stems == ('conv5_layer_r0', 'conv5_layer_r1')
  write(tmp_path / 'w', 'cnnpref', tmp_path / 'cnnpref')
  assert 'preferred_img_layer_conv5_channel_0_r1.mat' in names(
    tmp_path / 'cnnpref'
  )


@pytest.mark.parametrize('subject, title', [
  (None, 'conv5, unit 1'), ('mask', 'conv5, mask 1'), ('layer', 'conv5'),
])  # fmt: skip
def test_a_plot_is_titled_by_what_its_run_is_of(tmp_path, subject, title):
  fabricate(tmp_path / 'w', 2, subject=subject)
  (layer,) = selecting.select(str(tmp_path / 'w')).layers
  assert plots._title(layer, 1) == title
  scores = [np.arange(3.0), np.arange(3.0)]
  legend = plots._overview(scores, layer).axes[0].get_legend()
  assert legend.get_title().get_text() == (subject or 'unit')


def test_names_and_sheets_of_a_workdir_that_grew_go_by_columns(tmp_path):
  workdir = tmp_path / 'w'
  columns = fabricate(workdir, count=2)
  path = store.directory(str(workdir), 'conv5')
  fields = {n: (c.shape[1:], c.dtype) for n, c in columns.items()}
  replicate = np.array([0, 1, 0, 1], np.int32)
  unit = np.array([[0, 2, 3], [0, 2, 3], [1, 2, 3], [1, 2, 3]], np.int32)
  more = {'unit': unit, 'replicate': replicate}
  more |= {'sign': np.ones(4, np.int32), 'size': columns['size'][[0, 0, 1, 1]]}
  kept = growth.rows(path, more, fields)
  rest = {n: c for n, c in columns.items() if n not in more}
  store.write(kept, np.arange(2, 4), rest)
  file = workdir / 'config.json'
  content = json.loads(file.read_text())
  content['config']['replicates'] = 2
  file.write_text(json.dumps(content))
  (layer,) = selecting.select(str(workdir)).layers
  names_ = [f'conv5_{u:04d}_r{r}' for r in (0, 1) for u in (0, 1)]
  assert list(layer.stems) == names_
  (sheet,) = write(workdir, 'montage', tmp_path / 'out', columns=4)
  h, w = SIZE
  for place, row in enumerate([0, 0, 1, 1]):  # by unit, then by replicate
    left = 4 + place * (w + 4)
    shown = images.to_uint8(image_of(columns, row))
    np.testing.assert_array_equal(
      pixels(sheet)[4 : 4 + h, left : left + w], shown
    )


def test_an_unfinished_run_gives_what_is_made(workdir, tmp_path):
  fabricate(workdir, done=[1], save_every=2)
  (layer,) = selecting.select(str(workdir)).layers
  assert layer.rows.tolist() == [2, 3] and layer.missing == 2
  for name in ANY_RUN:
    write(workdir, name, tmp_path / name)
  assert names(tmp_path / 'png') == ['conv5_0002.png', 'conv5_0003.png']
  assert names(tmp_path / 'montage') == ['conv5.png']
  assert names(tmp_path / 'plots')[-1] == 'conv5_scores.png'
  with pytest.raises(UserError, match='no finished images yet'):
    selecting.select(str(workdir), units='0')


def test_a_montage_has_tiles_and_captions_of_one_size(workdir, made, tmp_path):
  (path,) = write(workdir, 'montage', tmp_path, columns=3, tile=26)
  sheet = pixels(path)
  # Tiles of 22 x 26 over a line of 12, and gaps of 4.
  assert sheet.shape == (2 * (22 + 12 + 4) + 4, 3 * (26 + 4) + 4, 3)
  tile = images.resize(images.to_uint8(image_of(made, 3)), (22, 26))
  found = sheet[4 + 38 : 4 + 38 + 22, 4 : 4 + 26]
  np.testing.assert_array_equal(found, images.to_uint8(tile))
  assert (sheet[42:64, 34:] == 255).all()  # the fifth place is empty


def test_captions_are_cut_where_tiles_are_narrow():
  def fitting(width):
    return selecting.fitting('130 flamingo', '12.34', width)

  assert fitting(200) == '130 flamingo  12.34'
  assert fitting(80) == '130 flamingo'
  assert fitting(60) == '130  12.34'
  assert fitting(25) == '130'
  assert fitting(14) == '13'
  assert fitting(0) == ''


def test_a_gif_shows_every_frame(workdir, made, tmp_path):
  paths = write(workdir, 'gif', tmp_path, fps=20)
  assert len(paths) == 4
  with Image.open(paths[1]) as film:
    assert film.n_frames == 3
    assert film.info['duration'] == 50 and film.info['loop'] == 0
    for k in range(3):
      film.seek(k)
      # One colour: no palette is needed to be exact.
      expected = made['frames'][1, k, : SIZE[0], : SIZE[1]]
      np.testing.assert_array_equal(np.asarray(film.convert('RGB')), expected)


def test_an_mp4_shows_every_frame(workdir, made, tmp_path):
  paths = write(workdir, 'mp4', tmp_path, fps=8, units='1')
  film = cv2.VideoCapture(str(paths[0]))
  assert film.get(cv2.CAP_PROP_FPS) == 8
  shown = []
  while (frame := film.read()[1]) is not None:
    shown.append(frame[..., ::-1].astype(int))  # BGR
  film.release()
  film = np.stack(shown)
  assert film.shape == (3, 12, 14, 3)  # 11 x 13, to even numbers
  expected = made['frames'][1][:, :1, :1]
  assert np.abs(film - expected).max() <= 6  # colours of 8 bits, 16 to 235


@pytest.mark.parametrize('columns', [None, 2, 9])
def test_a_strip_shows_every_frame_side_by_side(
  workdir, made, tmp_path, columns
):
  paths = write(workdir, 'strip', tmp_path, columns=columns)
  assert [p.name for p in paths] == [f'conv5_{i:04d}.png' for i in range(4)]
  found = pixels(paths[1])
  h, w = SIZE
  rows, across = (2, 2) if columns == 2 else (1, 3)
  # A pixel about each.
  expected = np.full((rows * (h + 2), across * (w + 2), 3), 255)
  for k in range(3):
    top, left = k // across * (h + 2) + 1, k % across * (w + 2) + 1
    expected[top : top + h, left : left + w] = made['frames'][1, k, :h, :w]
  np.testing.assert_array_equal(found, expected)


def test_frames_of_a_strip_may_be_shrunk_and_stretched(workdir, made, tmp_path):
  (path,) = write(workdir, 'strip', tmp_path / 'a', tile=6, units='1')
  assert pixels(path).shape == (5 + 2, 3 * (6 + 2), 3)  # of 11 x 13
  flat = made['frames'][1, 2, 0, 0]
  np.testing.assert_array_equal(pixels(path)[2, 2 * 8 + 3], flat)
  (path,) = write(workdir, 'strip', tmp_path / 'b', stretch=True, units='1')
  assert set(pixels(path)[1, 1]) == {0, 128, 255}  # 40, 50 and 60


def test_a_mosaic_aligns_tiles_of_several_sizes():
  shapes = [(2, 3), (4, 2), (1, 5), (3, 1)]
  tiles = [np.full((*s, 3), i, np.uint8) for i, s in enumerate(shapes)]
  # Columns of 5 and rows of 4 and 3, and a pixel about each tile.
  drawn = """
    ..............
    ..000....11...
    ..000....11...
    .........11...
    .........11...
    ..............
    ..............
    .22222....3...
    ..........3...
    ..........3...
    ..............
  """.split()
  found = pictures.mosaic(tiles, 2)
  assert (found == found[..., :1]).all() and found.dtype == np.uint8
  shown = [
    ''.join('.' if n == 255 else str(n) for n in r) for r in found[..., 0]
  ]
  assert shown == drawn


@pytest.mark.parametrize('name', ['gif', 'mp4', 'strip'])
def test_without_frames_there_is_no_film(workdir, tmp_path, name):
  fabricate(workdir)
  with pytest.raises(UserError, match="'frames'.*--config.save_every=10"):
    write(workdir, name, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  'parameterization', ['pixels(model)', 'fourier(model)']
)
def test_a_plot_has_the_traces_and_their_units(parameterization):
  draw = np.random.RandomState(0)
  traces = {
    f'trace/{name}': draw.uniform(1, 2, 5)
    for name in ('score', 'norm', 'gradient_norm')
  }
  config = build.config().to_dict() | {'parameterization': parameterization}
  figure = plots._run(traces, 4, 'conv2, unit 2', config)
  assert len(figure.axes) == 3
  for axes, trace in zip(figure.axes, traces.values(), strict=True):
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), trace)
  labels = [axes.get_ylabel() for axes in figure.axes]
  assert labels == [
    'score\n(units of the activation)',
    'norm',
    'gradient norm\n(score per unit of params)',
  ]
  assert figure.axes[2].get_xlabel() == 'step'
  dot = figure.axes[0].get_lines()[1]
  assert dot.get_xdata()[0] == 4
  assert dot.get_ydata()[0] == traces['trace/score'][4]


@pytest.mark.parametrize('name', ['toolbox', 'cnnpref', 'synthesizing'])
def test_what_is_not_clipped_cannot_come_from_bytes(workdir, tmp_path, name):
  knobs = {'decay': 0.01, 'rate_start': 8.0}  # of the last
  fabricate(workdir, image_dtype='uint8', **knobs)
  with pytest.raises(UserError, match='image_dtype=float32'):
    write(workdir, name, tmp_path / 'out')


@pytest.mark.parametrize('name', ANY_RUN)
def test_a_file_is_there_whole_or_not_at_all(
  name, workdir, made, tmp_path, monkeypatch
):
  renamed = []

  def fail(self, target):
    renamed.append(self)
    assert self.stat().st_size > 0
    raise OSError(28, 'No space left on device', str(target))

  monkeypatch.setattr(pathlib.Path, 'replace', fail)
  with pytest.raises(OSError, match='No space'):
    write(workdir, name, tmp_path / 'out')
  assert len(renamed) == 1
  assert not [n for n in names(tmp_path / 'out') if not n.startswith('.')]


@pytest.mark.parametrize('name, module', [
  ('cnnpref', 'scipy.io'), ('plots', 'matplotlib'), ('mp4', 'imageio_ffmpeg'),
])  # fmt: skip
def test_what_is_not_installed_is_named(
  workdir, made, tmp_path, monkeypatch, name, module
):
  monkeypatch.setitem(sys.modules, module, None)
  package = module.split('.')[0]
  words = rf"package {package}, which.*pip install 'vizjax\[export\]'"
  with pytest.raises(UserError, match=words):
    write(workdir, name, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name, options', [
  ('png', {}), ('montage', {}), ('gif', {}), ('strip', {}),
  ('plots', {'plots_format': 'png'}),
  *conftest.slow(
    *(('plots', {'plots_format': kind}) for kind in plots.FORMATS)
  ),
])  # fmt: skip
def test_the_same_files_come_out_twice(workdir, made, tmp_path, name, options):
  for out in ('a', 'b'):
    write(workdir, name, tmp_path / out, units='1', **options)
  assert names(tmp_path / 'a') == names(tmp_path / 'b')
  for path in (tmp_path / 'a').iterdir():
    assert path.read_bytes() == (tmp_path / 'b' / path.name).read_bytes()


OWN_FORMAT = '''
def counts(selection, out, *, mark='-', times=1, tile='whole'):
  """The number of images of each layer.

  Args:
    selection: of `select`.
    out: a folder.
    mark: stands behind the name
      of a layer.
    times: what the number is multiplied by.
  """
  assert tile == 'whole'  # which is a number to other formats
  out.mkdir(parents=True)
  for layer in selection.layers:
    path = out / f'{layer.name}{mark}.txt'
    path.write_text(str(times * len(layer.rows)))
    yield path
'''


@pytest.mark.usefixtures('made')
def test_a_format_of_ones_own_has_flags_of_its_own(tmp_path, workdir):
  (tmp_path / 'own_formats.py').write_text(OWN_FORMAT)
  path = pathlib.Path(__file__).parents[2]
  command = [
    sys.executable, '-m', 'vizjax', 'export', '--format=own_formats.counts',
    f'--workdir={workdir}', '--mark=!', '--times=3', '--out=out',
  ]  # fmt: skip
  done = subprocess.run(
    command, cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(path)},
    text=True, capture_output=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  (written,) = (tmp_path / 'out').iterdir()
  assert written.name.endswith('!.txt') and int(written.read_text()) % 3 == 0
  told = formats.told(formats.find('png'))
  assert told['stretch'].startswith('Shows each image')
