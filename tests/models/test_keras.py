"""Keras weights in HDF5, written here by h5py as Keras writes them."""

import sys
import zlib

import h5py
import mutations
import numpy as np
import pytest

from vizjax.errors import UserError
from vizjax.models.formats import keras

DRAW = np.random.RandomState(0)
PARAMS = {
  'block1_conv1': {
    'block1_conv1/kernel:0': DRAW.normal(0, 1, (3, 3, 3, 4)).astype('f4'),
    'block1_conv1/bias:0': DRAW.normal(0, 1, 4).astype('f4'),
  },
  'fc': {'fc_W': DRAW.normal(0, 1, (6, 5)).astype('f4')},
}


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'weights.h5'


def save(path, params=PARAMS, under='', cast=np.bytes_, **options):
  """As keras/saving/legacy/hdf5_format.py: save_weights_to_hdf5_group."""
  with h5py.File(path, 'w') as file:
    root = file.require_group(under) if under else file
    layers = ['input_1', *params]
    root.attrs['layer_names'] = [cast(layer) for layer in layers]
    for layer in layers:
      group = root.create_group(layer)
      weights = params.get(layer, {})
      names = [cast(name) for name in weights]
      group.attrs['weight_names'] = names
      for name, array in weights.items():
        group.create_dataset(name, data=array, **options)
  return path.read_bytes()


def check(path):
  found = keras.read(path)
  assert list(found) == list(PARAMS)
  for layer, weights in PARAMS.items():
    assert list(found[layer]) == list(weights)
    for name, array in weights.items():
      np.testing.assert_array_equal(found[layer][name], array, strict=True)


@pytest.mark.parametrize('under', ['', 'model_weights'])
@pytest.mark.parametrize('cast', [np.bytes_, str])
def test_weights_are_those_that_were_written(under, cast, path):
  save(path, under=under, cast=cast)
  check(path)


@pytest.mark.parametrize(
  'options',
  [
    {'chunks': True},
    {'compression': 'gzip'},
    {'compression': 'gzip', 'shuffle': True},
  ],
)
def test_chunks_are_put_together(options, path):
  save(path, **options)
  check(path)


def test_long_lists_of_names_are_in_parts(path):
  save(path)
  with h5py.File(path, 'r+') as file:
    names = list(file.attrs.pop('layer_names'))
    file.attrs['layer_names0'] = names[:1]
    file.attrs['layer_names1'] = names[1:]
  check(path)


def alter(change):
  """A file with another `fc_W`."""

  def make(path):
    save(path)
    with h5py.File(path, 'r+') as file:
      del file['fc/fc_W']
      change(file)

  return make


def create(*arguments, **options):
  return alter(
    lambda file: file.create_dataset('fc/fc_W', *arguments, **options)
  )


def linked(link):
  def change(file):
    file['fc/fc_W'] = link

  return alter(change)


def virtual(file):
  layout = h5py.VirtualLayout((5,), 'f4')
  layout[:] = h5py.VirtualSource('other.h5', 'x', (5,))
  file.create_virtual_dataset('fc/fc_W', layout)


BAD = {
  'no names': (
    lambda path: h5py.File(path, 'w').close(),
    "no attribute 'layer",
  ),
  'a name too many': (alter(lambda file: None), "no 'fc_W' of its own"),
  'never written': (create((10**9,), 'f4'), 'declares more than'),
  'not written': (create((1000,), 'f4'), 'not all there'),
  'huge chunks': (
    create((4,), 'f4', chunks=(2**27,), maxshape=(None,)),
    'not all there|declares more than',
  ),
  'chunks not written': (create((100,), 'f4', chunks=(10,)), 'not all there'),
  'a bomb': (
    create(data=np.zeros((10**7,), 'f4'), compression='gzip'),
    'declares more than',
  ),
  'another filter': (
    create(data=np.zeros(9), compression='lzf'),
    'not by defl',
  ),
  'a checksum': (
    create(data=np.zeros(9), compression='gzip', fletcher32=True),
    'not by deflate',
  ),
  'text': (create(data=['a']), 'is of object'),
  'records': (create(data=np.zeros(2, [('a', 'f4')])), 'is of'),
  'external': (
    create((5,), 'f4', external=[('/etc/hostname', 0, 20)]),
    'in another file',
  ),
  'virtual': (alter(virtual), 'in another file'),
  'a soft link': (linked(h5py.SoftLink('/block1_conv1')), 'of its own'),
  'a link out': (linked(h5py.ExternalLink('/etc/hosts', '/')), 'of its own'),
  'a group': (
    alter(lambda file: file.create_group('fc/fc_W')),
    'not a dataset',
  ),
}


@pytest.mark.parametrize('case', BAD)
def test_what_is_not_an_array_of_the_file_is_an_error(case, path):
  make, match = BAD[case]
  make(path)
  mutations.refuses(keras.read, path, path.read_bytes(), match)


def test_a_chunk_that_inflates_to_more_than_it_declares_is_an_error(path):
  save(path)
  with h5py.File(path, 'r+') as file:
    del file['fc/fc_W']
    data = file.create_dataset('fc/fc_W', (9,), 'f4', compression='gzip')
    data.id.write_direct_chunk((0,), zlib.compress(bytes(10**8), 9))
  match = 'a chunk of another size'
  mutations.refuses(keras.read, path, path.read_bytes(), match)


def test_a_missing_library_is_an_error_that_tells_what_to_install(
  path, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'h5py', None)
  with pytest.raises(UserError, match=r"pip install 'vizjax\[weights\]'"):
    keras.read(path)


def test_other_files_are_an_error(path):
  mutations.refuses(keras.read, path, b'', 'not a Keras HDF5 file')
  mutations.refuses(keras.read, path, b'x' * 10**4, 'signature not found')
  with pytest.raises(UserError, match='absent.h5'):
    keras.read(path.with_name('absent.h5'))


@pytest.mark.slow
def test_damage_is_an_error(path):
  mutations.survives(keras.read, path, save(path))


def test_damage_to_chunks_is_an_error(path):
  content = save(path, compression='gzip', shuffle=True)
  mutations.survives(keras.read, path, content, 200)
