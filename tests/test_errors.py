"""Errors of the user are told from bugs, and misspelt names are explained."""

import json
import pathlib

import jax
import numpy as np
import pytest

import vizjax
from vizjax import errors
from vizjax import files


def raised(function, *args):
  with pytest.raises(Exception) as caught:  # noqa: B017, whatever it is
    function(*args)
  return caught.value


def own(tmp_path, text):
  """The function `f` of a file of the user's."""
  path = tmp_path / 'mine.py'
  path.write_text(text)
  names = {}
  exec(compile(text, str(path), 'exec'), names)
  return path, names['f']


def test_an_error_of_the_users_file_has_its_line(tmp_path):
  path, f = own(tmp_path, 'def f(x):\n  return x / 0\n')
  assert errors.place(raised(f, 1)) == f'{path}:2'


def test_an_error_of_a_library_belongs_to_who_called_it(tmp_path):
  path, f = own(tmp_path, 'import json\nf = lambda text: json.loads(text)\n')
  assert errors.place(raised(f, '{')) == f'{path}:2'
  text = 'import jax.numpy as jnp\ndef f(x):\n  return jnp.dot(x, x[:2])\n'
  path, f = own(tmp_path, text)
  assert errors.place(raised(jax.jit(f), jax.numpy.zeros(3))) == f'{path}:3'


def test_an_error_of_vizjax_has_no_place_of_the_user(tmp_path, monkeypatch):
  text = 'import vizjax\nf = lambda: vizjax.core.key(0)\n'
  _, f = own(tmp_path, text)
  monkeypatch.setattr(vizjax.core, 'LARGEST_SEED', None)  # a planted bug
  assert errors.place(raised(f)) is None


def test_only_code_of_vizjax_has_bugs():
  assert not errors.is_bug(raised(json.loads, None))
  assert not errors.is_bug(raised(json.loads, '{'))
  assert not errors.is_bug(raised(lambda: undefined))  # noqa: F821


def test_a_reader_hides_what_a_damaged_file_raises_and_no_bug(monkeypatch):
  with pytest.raises(errors.UserError, match='a.npy.* not a kind .* KeyError'):
    with files.reading('a.npy', 'kind'):
      raise KeyError('name')
  monkeypatch.delattr(files, 'EXPANSION')  # a planted bug
  with pytest.raises(NameError), files.reading('a.npy', 'kind'):
    files.bound(3)


def test_every_refusal_is_a_user_error():
  """No module raises ValueError itself, which Python's own functions raise."""
  root = pathlib.Path(vizjax.__file__).parent
  raising = {
    str(path.relative_to(root))
    for path in root.rglob('*.py')
    if 'raise ValueError(' in path.read_text()
  }
  # A program of its own, which starts without vizjax.
  assert raising == {'models/formats/hdf5.py'}


def test_whole_numbers_of_a_range_pass():
  for value in (1, 3, np.int64(2), np.uint8(3)):
    errors.whole('n', value, 1, 3)
  errors.whole('n', 10**30, 0)


@pytest.mark.parametrize('value', [0, 4, 2.0, np.float32(2), True, '2', None])
def test_what_is_no_whole_number_of_a_range_is_refused(value):
  with pytest.raises(errors.UserError) as raised:
    errors.whole('f: n', value, 1, 3, advice=': type 2')
  expected = 'expected a whole number from 1 to 3: type 2'
  assert str(raised.value) == f'f: n is {value!r}, {expected}'
  assert not errors.is_whole(value, 1, 3)


def test_a_range_without_an_end_is_told_by_its_first_number():
  with pytest.raises(errors.UserError, match='-1, expected .* number >= 0$'):
    errors.whole('n', -1, 0)


def test_a_hint_names_the_nearest():
  known = ('conv1', 'conv5', 'fc8')
  assert errors.hint('conv55', known) == " Did you mean 'conv5'?"
  assert errors.nearest('fc88', iter(known)) == 'fc8'


def test_nothing_like_it_is_no_hint():
  assert errors.hint('softmax', ('conv1', 'fc8')) == ''
  assert errors.nearest('softmax', ()) is None


def test_a_device_is_not_replaced_by_a_file():
  with pytest.raises(OSError, match='it is no file'):
    with files.replacing('/dev/null'):
      pass
