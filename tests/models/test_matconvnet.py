"""MatConvNet files, written here by SciPy, which is also the oracle."""

import io
import struct
import zlib

import mutations
import numpy as np
import pytest
import scipy.io

from vizjax.models.formats import matconvnet

DRAW = np.random.RandomState(0)
FILTERS = DRAW.normal(0, 1, (3, 3, 3, 4)).astype('f4')
BIASES = DRAW.normal(0, 1, (1, 4)).astype('f4')
MEAN = np.array([[[123.68, 116.779, 103.939]]])


def cell(*values):
  row = np.empty((1, len(values)), object)
  row[0] = list(values)
  return row


def network(weights=None, **more):
  """A convolution in the form of 2015, or of 2014 with `filters=...`."""
  first = {'name': 'conv1_1', 'type': 'conv', 'pad': np.ones((1, 4)), **more}
  if weights is not None:
    first['weights'] = weights
  names = cell(first, {'name': 'relu1_1', 'type': 'relu', 'weights': cell()})
  rest = {'interpolation': 'bicubic', 'imageSize': np.array([[224.0, 224, 3]])}
  normalization = {'averageImage': MEAN, **rest}
  if weights is None:
    return {'layers': names, 'normalization': normalization}
  classes = {'name': cell('tench', 'goldfish'), 'description': cell()}
  meta = {'normalization': normalization, 'classes': classes}
  return {'layers': names, 'meta': meta}


def save(variables, **options):
  file = io.BytesIO()
  scipy.io.savemat(file, variables, **options)
  return file.getvalue()


NEW = network(cell(FILTERS, BIASES))
OLD = network(filters=FILTERS, biases=BIASES)


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'network.mat'


def read(path, content):
  path.write_bytes(content)
  return matconvnet.read(path)


@pytest.mark.parametrize('variables', [NEW, OLD], ids=['2015', '2014'])
@pytest.mark.parametrize('compressed', [False, True])
def test_weights_are_those_that_were_written(variables, compressed, path):
  found = read(path, save(variables, do_compression=compressed))
  assert list(found) == ['conv1_1', 'mean']
  assert list(found['conv1_1']) == ['filters', 'biases']
  one = found['conv1_1']
  np.testing.assert_array_equal(one['filters'], FILTERS, strict=True)
  np.testing.assert_array_equal(one['biases'], BIASES, strict=True)
  np.testing.assert_array_equal(found['mean']['averageImage'], MEAN)


@pytest.mark.parametrize('dtype', ['f8', 'f4', 'i1', 'u1', 'i2', 'u4', 'i8'])
@pytest.mark.parametrize('compressed', [False, True])
def test_numbers_are_those_of_scipy(dtype, compressed, path):
  array = np.arange(24).reshape(2, 3, 4).astype(dtype)
  weights = cell(array, array[:1, :1, 0])
  content = save(network(weights), do_compression=compressed)
  expected = scipy.io.loadmat(io.BytesIO(content))['layers'][0, 0]['weights']
  found = read(path, content)['conv1_1']
  for array, value in zip(expected[0, 0][0], found.values(), strict=True):
    np.testing.assert_array_equal(value, array, strict=True)


def test_small_integers_among_doubles_are_doubles(path):
  # As MATLAB stores them, and SciPy does not: class double, type uint8.
  def element(kind, data):
    tag = struct.pack('<II', kind, len(data))
    return tag + data + bytes(-len(data) % 8)

  def array(form, sizes, name, *parts):
    shape = element(5, struct.pack(f'<{len(sizes)}i', *sizes))
    head = element(6, struct.pack('<II', form, 0)) + shape + element(1, name)
    return element(14, head + b''.join(parts))

  weights = array(
    1, (1, 1), b'', array(6, (2, 2), b'', element(2, b'\1\2\3\4'))
  )
  name = array(4, (1, 1), b'', element(16, b'a'))
  fields = element(5, struct.pack('<i', 8)) + element(
    1, b'name'.ljust(8, b'\0') + b'weights\0'
  )
  row = array(2, (1, 1), b'', fields, name, weights)
  content = save({})[:128] + array(1, (1, 1), b'layers', row)
  assert scipy.io.loadmat(io.BytesIO(content))['layers'].shape == (1, 1)
  found = read(path, content)['a']['filters']
  np.testing.assert_array_equal(found, [[1.0, 3.0], [2.0, 4.0]], strict=True)


def test_third_weights_are_moments(path):
  found = read(path, save(network(cell(BIASES, BIASES, FILTERS))))
  assert list(found['conv1_1']) == ['filters', 'biases', 'moments']


def test_a_network_without_a_mean_has_none(path):
  content = save({'layers': NEW['layers']})
  assert list(read(path, content)) == ['conv1_1']


def nested(depth):
  value = cell()
  for _ in range(depth):
    value = cell(value)
  return value


def plain(variable, size=128):
  return save({})[:size] + variable


BAD = {
  'nothing': (b'', 'MAT-file of version 5'),
  'no layers': (save({'a': FILTERS}), "no cell 'layers'"),
  'layers of numbers': (save({'layers': FILTERS}), "no cell 'layers'"),
  'no name': (save({'layers': cell({'type': 'conv'})}), 'without a name'),
  'two of a name': (
    save({'layers': cell(*[{'name': 'a', 'filters': FILTERS}] * 2)}),
    'two layers',
  ),
  'weights of text': (save(network(filters='text')), 'not numbers'),
  'four weights': (save(network(cell(*[BIASES] * 4))), 'a layer of 4 weights'),
  'complex weights': (save(network(cell(BIASES * 1j))), 'not numbers'),
  'nested': (save({'layers': nested(50)}), 'nested more than 32 deep'),
  'another type': (plain(struct.pack('<II', 5, 8) + bytes(8)), 'data type 5'),
  'cut off': (plain(struct.pack('<II', 14, 2**31)), 'cut off'),
  'a bomb': (
    save({'layers': np.zeros(10**7)}, do_compression=True),
    'inflates to over',
  ),
  'cut off within': (
    plain(struct.pack('<II', 15, 20) + zlib.compress(bytes(10**4))[:20]),
    'cut off',
  ),
}


@pytest.mark.parametrize('case', BAD)
def test_what_is_not_a_network_is_an_error(case, path):
  content, match = BAD[case]
  mutations.refuses(matconvnet.read, path, content, match)


@pytest.mark.parametrize('form', [1, 2, 4, 6])
@pytest.mark.parametrize('sizes', [(2**31 - 1,) * 3, (-1, 2), (10**9, 0, 5)])
def test_sizes_that_are_not_there_are_an_error(form, sizes, path):
  shape = struct.pack(f'<{len(sizes)}i', *sizes)
  shape = struct.pack('<II', 5, len(shape)) + shape + bytes(-len(shape) % 8)
  flags = struct.pack('<IIII', 6, 8, form, 0)
  name = struct.pack('<HH', 1, 4) + b'laye'
  data = struct.pack('<II', 9, 8) + bytes(8)
  body = flags + shape + name + data
  content = plain(struct.pack('<II', 14, len(body)) + body)
  mutations.refuses(matconvnet.read, path, content)


@pytest.mark.parametrize('compressed', [False, True])
def test_damage_is_an_error(compressed, path):
  content = save(NEW, do_compression=compressed)
  mutations.survives(matconvnet.read, path, content)
