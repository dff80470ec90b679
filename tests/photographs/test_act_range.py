"""vizjax act_range, mostly without starting it."""

import pathlib

import conftest
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
import test_launchers

from vizjax.cli import act_range
from vizjax.errors import UserError
from vizjax.photographs import images
from vizjax.photographs import preprocessing

HOW = preprocessing.default((12, 12))
SHOWN = 2e-6  # six digits, of which the last is rounded
ROUNDED = 1e-4  # float32 sums in another order, and a difference of them


@pytest.fixture
def folder(tmp_path):
  """Five photographs, in and below a folder."""
  draw = np.random.RandomState(0)
  for name in ('a.png', 'b.png', 'cat/c.png', 'cat/d.png', 'cat/e.jpg'):
    path = tmp_path / 'data' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = draw.randint(0, 256, (15, 20, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
  return tmp_path / 'data'


def make(folder, out, *, layer='fc3', sigmas='3', **options):
  model = options.pop('model', 'toynets.net()')
  act_range.act_range(model, layer, str(folder), sigmas, str(out), **options)
  return pathlib.Path(out).read_text()


def activations(folder, layer):
  """[n, units]: in Caffe's order, by the network itself."""
  found = []
  for path in sorted(folder.rglob('*.*')):
    pixels = images.read(str(path)).astype(np.uint8)
    image = preprocessing.apply(HOW, pixels, (12, 12))
    acts = np.asarray(conftest.toy()(jnp.asarray(image))[layer])
    acts = acts if acts.ndim == 1 else acts.transpose(2, 0, 1)
    found.append(acts.ravel().astype(np.float64))
  return np.stack(found)


@pytest.mark.parametrize('layer, sigmas', [('fc3', '3'), ('relu1', '-1.5')])
def test_the_file_has_a_number_for_each_unit(folder, tmp_path, layer, sigmas):
  text = make(folder, tmp_path / 'out.txt', layer=layer, sigmas=sigmas)
  assert text.count('\n') == 1 and text.endswith('\n') and '  ' not in text
  found = np.loadtxt(tmp_path / 'out.txt', delimiter=' ')
  acts = activations(folder, layer)
  expected = acts.mean(0) + float(sigmas) * acts.std(0)
  np.testing.assert_allclose(
    found, expected, rtol=SHOWN, atol=ROUNDED * acts.std()
  )


def test_integers_are_the_nearest(folder, tmp_path):
  exact = make(folder, tmp_path / 'a.txt').split()
  whole = make(folder, tmp_path / 'b.txt', integers=True).split()
  assert whole == [f'{round(float(number))}' for number in exact]


def test_what_is_measured_is_told(folder, tmp_path, capsys):
  out = tmp_path / 'out.txt'
  make(folder, out, layer='pool1', limit=2, batch=1)
  head, last = capsys.readouterr().out.splitlines()
  assert head == (
    f"toynets.net(): layer 'pool1' of 6x6x4, 2 of 5 photographs of {folder}, "
    'short:14:bilinear, of which the middle 12x12 is seen'
  )
  numbers = np.loadtxt(out)
  acts = activations(folder, 'pool1')[:2]
  expected = acts.mean(0) + 3 * acts.std(0)
  np.testing.assert_allclose(numbers, expected, rtol=ROUNDED)
  assert last == (
    f'{out}: 144 numbers from {numbers.min():.6g} to {numbers.max():.6g}, '
    f'mean {numbers.mean():.6g}'
  )


BAD = {
  'unknown layer': ({'layer': 'fc4'}, "'fc4' is not.*Did you mean 'fc3'"),
  'unknown network': ({'model': 'toynets.nt()'}, "^--model: .*mean 'net'"),
  'no folder': ({'folder': 'nowhere'}, "'nowhere' is not a folder"),
  'words': ({'sigmas': 'three'}, '--sigmas=three: expected one number'),
  'a list': ({'sigmas': '1,2'}, '--sigmas=1,2: expected one number'),
  'no end': ({'sigmas': 'inf'}, '--sigmas=inf: .*type --sigmas=3'),
  'too small': (
    {'preprocess': 'warp:9:bilinear'},
    'at least 12.*--preprocessing=short:14:bilinear',
  ),
  'no folder for the file': (
    {'out': 'nowhere/out.txt'},
    '--out=nowhere/out.txt: expected a file in a folder that is there',
  ),
}


@pytest.mark.parametrize('name', BAD)
def test_what_is_wrong_is_told_in_one_line(name, folder, tmp_path):
  changed, words = BAD[name]
  arguments = {'folder': folder, 'out': tmp_path / 'out.txt', **changed}
  with pytest.raises(UserError, match=words) as caught:
    make(**arguments)
  assert '\n' not in str(caught.value).strip()
  assert not [path for path in tmp_path.iterdir() if 'out' in path.name]


def test_an_empty_folder_is_refused(tmp_path):
  (tmp_path / 'data').mkdir()
  with pytest.raises(UserError, match='has no images: expected files'):
    make(tmp_path / 'data', tmp_path / 'out.txt')


def test_a_file_is_there_whole_or_not_at_all(folder, tmp_path):
  (folder / 'cat' / 'd.png').write_bytes(b'damaged')
  out = tmp_path / 'out.txt'
  out.write_text('from before')
  with pytest.raises(UserError, match='cat/d.png.*cannot be decoded'):
    make(folder, out, batch=1)
  assert out.read_text() == 'from before'
  assert sorted(path.name for path in tmp_path.iterdir()) == ['data', 'out.txt']


def test_what_cannot_be_written_is_told_before_the_work(
  folder, tmp_path, monkeypatch
):
  def touch(path):
    raise PermissionError(13, 'Permission denied', str(path))

  monkeypatch.setattr(pathlib.Path, 'touch', touch)
  (folder / 'a.png').write_bytes(b'damaged')
  with pytest.raises(PermissionError):
    make(folder, tmp_path / 'out.txt')


def test_the_command_writes_the_file(folder, tmp_path):
  typed = {
    '--model': 'toynets.net()',
    '--layer': 'fc3',
    '--data': folder,
    '--sigmas': '-2',
    '--out': tmp_path / 'out.txt',
  }
  flags = [f'{name}={value}' for name, value in typed.items()]
  code, out, err = test_launchers.finish(
    test_launchers.start('-m', 'vizjax', 'act_range', *flags, '--integers')
  )
  assert code == 0, err
  assert out.splitlines()[-1].startswith(f'{tmp_path / "out.txt"}: 5 numbers')
  expected = make(folder, tmp_path / 'b.txt', sigmas='-2', integers=True)
  assert (tmp_path / 'out.txt').read_text() == expected
