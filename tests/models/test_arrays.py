"""vizjax's own weight files, and dictionaries that NumPy saved."""

import io
import json
import os
import pickle
import struct
import sys
import zipfile

import jax.numpy as jnp
import mutations
import numpy as np
import pytest
from safetensors import numpy as safetensors

from vizjax.errors import UserError
from vizjax.models.formats import arrays

ENDINGS = ('npz', 'safetensors')
DRAW = np.random.RandomState(0)
PARAMS = {
  'conv1/7x7_s2': {
    'kernel': DRAW.normal(0, 1, (3, 3, 2, 4)).astype('f4'),
    'bias': DRAW.normal(0, 1, 4),
  },
  'odd:name': {'kernel': np.arange(6, dtype='f2').reshape(2, 3).T},
  'counts': {'n': np.int64(3), 'on': np.array([True, False])},
}


def same(found, expected):
  assert set(found) == set(expected)
  for layer, group in expected.items():
    assert set(found[layer]) == set(group)
    for name, array in group.items():
      np.testing.assert_array_equal(found[layer][name], array)
      dtypes = found[layer][name].dtype, np.asarray(array).dtype
      assert len({dtype.newbyteorder('=') for dtype in dtypes}) == 1
      assert found[layer][name].shape == np.shape(array)


def npy(value, **options):
  file = io.BytesIO()
  np.save(file, value, **options)
  return file.getvalue()


def npz(members, method=zipfile.ZIP_STORED):
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', method) as archive:
    for name, content in members.items():
      archive.writestr(name, content)
  return file.getvalue()


@pytest.mark.parametrize('ending', ENDINGS)
def test_what_is_written_is_read(ending, tmp_path):
  path = tmp_path / f'w.{ending}'
  arrays.write(path, {**PARAMS, 'relu1': {}})
  same(arrays.read(path), PARAMS)
  assert os.listdir(tmp_path) == [path.name]
  arrays.write(path, {'a': {'b': jnp.ones(2)}})
  same(arrays.read(path), {'a': {'b': np.ones(2, np.float32)}})


@pytest.mark.parametrize('ending', ENDINGS)
def test_big_endian_numbers_are_written_as_little_endian(ending, tmp_path):
  path = tmp_path / f'w.{ending}'
  arrays.write(path, {'a': {'b': np.array([1, 2, 3], '>f4')}})
  same(arrays.read(path), {'a': {'b': np.array([1, 2, 3], '<f4')}})


def test_files_of_others_are_read_flat(tmp_path):
  flat = {'features.0.weight': PARAMS['conv1/7x7_s2']['kernel']}
  file = tmp_path / 'w.safetensors'
  safetensors.save_file(flat, file)
  assert list(arrays.read(file)) == list(flat)
  for save in (np.savez, np.savez_compressed):
    file = tmp_path / 'w.npz'
    save(file, **flat)
    found = arrays.read(file)
    assert list(found) == list(flat)
    for key, array in flat.items():
      np.testing.assert_array_equal(found[key], array, strict=True)


def test_bfloat16_becomes_float32(tmp_path):
  path = tmp_path / 'w.safetensors'
  data = struct.pack('<2H', 0x3F80, 0xC020)
  entry = {'dtype': 'BF16', 'shape': [1, 2], 'data_offsets': [0, 4]}
  head = json.dumps({'w': entry}).encode()
  path.write_bytes(struct.pack('<Q', len(head)) + head + data)
  expected = np.array([[1, -2.5]], np.float32)
  np.testing.assert_array_equal(arrays.read(path)['w'], expected, strict=True)


@pytest.mark.parametrize('ending', ENDINGS)
def test_a_write_that_fails_leaves_what_was_there(
  ending, tmp_path, monkeypatch
):
  path = tmp_path / f'w.{ending}'
  arrays.write(path, PARAMS)
  before = path.read_bytes()

  def fail(*arguments, **options):
    raise OSError('no space')

  monkeypatch.setattr(np, 'savez', fail)
  monkeypatch.setattr(safetensors, 'save', fail)
  with pytest.raises(OSError, match='no space'):
    arrays.write(path, {'a': {'b': np.ones(2)}})
  assert path.read_bytes() == before
  assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
  'name, params, match',
  [
    ('w.pth', {'a': {'b': np.ones(1)}}, 'ends in .npz or .safetensors'),
    ('w.npz', {'a': {'b:0': np.ones(1)}}, "'b:0' of layer 'a'.*colon"),
    ('w.npz', {'a': {'': np.ones(1)}}, 'without a colon'),
    ('w.npz', {'a': {'b': np.array('x')}}, 'use array.astype'),
    ('w.npz', {'a': {'b': np.array({})}}, 'of dtype object'),
    ('w.npz', {'a': {'b': jnp.ones(1, jnp.bfloat16)}}, 'bfloat16'),
  ],
)
def test_what_cannot_be_stored_is_an_error(name, params, match, tmp_path):
  with pytest.raises(UserError, match=match):
    arrays.write(tmp_path / name, params)
  assert not os.listdir(tmp_path)


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_a_dictionary_of_caffe_tensorflow_is_read(protocol, tmp_path):
  value = {
    'conv1': {
      'weights': PARAMS['conv1/7x7_s2']['kernel'],
      'biases': np.arange(4, dtype='>f4'),
    },
    'turned': {'weights': np.asfortranarray(np.arange(6.0).reshape(2, 3))},
    'old': [np.ones((2, 2), 'f4'), np.zeros(2, 'f4')],
  }
  whole = np.empty((), object)
  whole[()] = value
  head = npy(whole)[:128]
  path = tmp_path / 'w.npy'
  path.write_bytes(head + pickle.dumps(whole, protocol))
  names = ('weights', 'biases')
  expected = {**value, 'old': dict(zip(names, value['old'], strict=True))}
  same(arrays.read(path), expected)
  path.write_bytes(npy(whole))  # NumPy's own choice
  same(arrays.read(path), expected)


def test_strings_of_python_2_are_bytes(tmp_path):
  # BINSTRING opcodes, which Python 3 does not write: U for short ones.
  values = bytes(range(250, 256)) + b'\0\1'
  state = b'(K\x01(K\x08tcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|'
  state += b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08' + values
  array = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU'
  array += b'\x01btR' + state + b'tb'
  inner = b'}(U\x05conv1}(U\x01w' + array + b'uu'
  outer = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU'
  outer += b'\x01btR(K\x01)cnumpy\ndtype\n(U\x02O8K\x00K\x01tR(K\x03U\x01|NNN'
  outer += b'J\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89](' + inner + b'etb'
  content = npy(np.array({}, object))[:128] + b'\x80\x02' + outer + b'.'
  path = tmp_path / 'w.npy'
  path.write_bytes(content)
  with open(path, 'rb') as file:  # NumPy's reader agrees on what it is
    known = np.load(file, allow_pickle=True, encoding='latin1').item()
  same(arrays.read(path), known)
  assert known['conv1']['w'].tolist() == list(values)


class Command:
  """What a malicious pickle holds: it runs a function when it is read."""

  def __init__(self, function, *arguments):
    self.reduced = function, arguments

  def __reduce__(self):
    return self.reduced


@pytest.mark.parametrize('protocol', [0, 2, 4])
@pytest.mark.parametrize(
  'function, argument, match',
  [
    (os.system, 'touch {}', r'posix\.system'),
    (eval, 'open({!r}, "w")', r'\w*builtin\w*\.eval'),
    (np.load, '{}', r'numpy\.load'),
    (np.save, '{}', r'numpy\.save'),
  ],
)
def test_a_function_in_a_file_is_not_called(
  protocol, function, argument, match, tmp_path
):
  mark = tmp_path / 'mark'
  evil = np.empty((), object)
  evil[()] = {'a': {'b': Command(function, argument.format(str(mark)))}}
  content = npy(np.array({}, object))[:128] + pickle.dumps(evil, protocol)
  path = tmp_path / 'w.npy'
  mutations.refuses(arrays.read, path, content, f'the pickle names {match}')
  content = npz({'a:b.npy': content})
  mutations.refuses(arrays.read, path, content, f'the pickle names {match}')
  assert not mark.exists()


def header(shape, descr='<f4'):
  text = repr({'descr': descr, 'fortran_order': False, 'shape': shape})
  text = text.encode().ljust(117) + b'\n'
  return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text


ZEROS = np.zeros(10**7, np.float32)
OBJECT = np.empty((), object)
OBJECT[()] = {'a': {'b': OBJECT}}

BAD = {
  'npy of an array': (npy(np.ones(3)), 'not a dictionary of dictionaries'),
  'npy of a list': (npy(np.array([{}, {}])), 'array of several objects'),
  'npy of numbers': (npy(np.array({'a': 1}, object)), "entry 'a' is not"),
  'npy of text': (npy(np.array({'a': {'b': 'c'}}, object)), 'not an array'),
  'npy of itself': (npy(OBJECT), 'not an array'),
  'npy, huge': (header((2**60,)), 'bytes of an array'),
  'npy, negative': (header((-4, -1)), 'header cannot be read'),
  'npy, of records': (header((), [('a', '<f4')]), 'header cannot be read'),
  'npy, many brackets': (header((), '(' * 60), 'not a .npy'),
  'npy, version 9': (b'\x93NUMPY\x09\x00' + bytes(99), 'version'),
  'npz bomb': (
    npz({'a.npy': npy(ZEROS)}, zipfile.ZIP_DEFLATED),
    'too many times larger',
  ),
  'npz bzip2 bomb': (
    npz({'a.npy': npy(ZEROS)}, zipfile.ZIP_BZIP2),
    'not deflated',
  ),
  'npz with a lie': (
    npz({'a.npy': npy(ZEROS)}, zipfile.ZIP_DEFLATED).replace(
      struct.pack('<I', len(npy(ZEROS))), struct.pack('<I', 200)
    ),
    'CRC|bytes of an array',
  ),
  'npz of text': (npz({'a.txt': b'a'}), "'a.txt' is not an array"),
  'npz of a pickle': (npz({'a.npy': npy(np.array({}, object))}), 'a pickle'),
  'safetensors, nothing': (b'', '.safetensors'),
  'safetensors, huge head': (struct.pack('<Q', 2**62) + b'{}', '.safetensors'),
  'safetensors, nested head': (
    struct.pack('<Q', 90000) + b'{"a":' + b'[' * 89995,
    '.safetensors',
  ),
  'safetensors, float8': (
    struct.pack('<Q', 56)
    + b'{"a":{"dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1]}'.ljust(55)
    + b'}\0',
    'F8_E5M2|not a .safetensors',
  ),
}


@pytest.mark.parametrize('case', BAD)
def test_what_is_not_arrays_is_an_error(case, tmp_path):
  content, match = BAD[case]
  mutations.refuses(arrays.read, tmp_path / 'w', content, match)


def test_a_missing_library_is_an_error_that_tells_what_to_install(
  tmp_path, monkeypatch
):
  path = tmp_path / 'w.safetensors'
  arrays.write(path, PARAMS)
  monkeypatch.setitem(sys.modules, 'safetensors', None)
  with pytest.raises(UserError, match=r"pip install 'vizjax\[weights\]'"):
    arrays.read(path)


@pytest.mark.parametrize('ending', [*ENDINGS, 'npy'])
def test_damage_is_an_error(ending, tmp_path):
  path = tmp_path / f'w.{ending}'
  if ending == 'npy':
    value = {'conv1': PARAMS['conv1/7x7_s2']}
    path.write_bytes(npy(np.array(value, object)))
  else:
    arrays.write(path, PARAMS)
  mutations.survives(arrays.read, path, path.read_bytes())
