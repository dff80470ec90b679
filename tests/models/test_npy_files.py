"""The .npy files of NumPy and of others, whole and damaged."""

import io

import mutations
import numpy as np
import pytest

from vizjax.errors import UserError
from vizjax.models import means
from vizjax.models.formats import npy


def saved(array, version=None):
  stream = io.BytesIO()
  np.lib.format.write_array(stream, array, version)
  return stream.getvalue()


@pytest.mark.parametrize('version', [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize('dtype', ['?', 'u1', '<i2', '>f4', 'f2', 'f8'])
@pytest.mark.parametrize('shape', [(), (0,), (6,), (2, 3)])
def test_arrays_are_those_that_numpy_wrote(version, dtype, shape):
  array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
  for written in (array, np.asfortranarray(array)):
    found = npy.read(saved(written, version))
    np.testing.assert_array_equal(found, written, strict=True)


def written(header):
  return b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header


def test_headers_of_python_2_and_of_other_programs_are_read():
  data = np.arange(6, dtype='<f4').reshape(2, 3)
  for header in (
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }   \n",
    b"{'shape': (2,3), 'fortran_order': False, 'descr': '<f4'}",
    b'{"descr": "<f4", "fortran_order": False, "shape": (2, 3)}\n',
  ):
    found = npy.read(written(header) + data.tobytes())
    np.testing.assert_array_equal(found, data, strict=True)


@pytest.mark.parametrize(
  'header',
  [
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': True}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}}",
    b"{'descr': '<f4', 'fortran_order': '0', 'shape': (2, 3)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (((((",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': \"\"\"",
    b"{'descr': '<U4', 'fortran_order': False, 'shape': (6,)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s,)}" % (b'9' * 5000),
    b'{' + b' ' * 9990,
    b'(' * 9999,
    b'',
  ],
)
def test_other_headers_are_one_line_for_the_user(header, tmp_path):
  path = tmp_path / 'mean.npy'
  path.write_bytes(written(header) + bytes(24))
  with pytest.raises(UserError, match='mean.npy') as raised:
    means.load_npy(str(path))
  assert '\n' not in str(raised.value) and len(str(raised.value)) < 400


def test_damage_is_an_error(tmp_path):
  path = tmp_path / 'array.npy'
  content = saved(np.arange(60.0).reshape(5, 12))
  mutations.survives(lambda file: means.load_npy(str(file)), path, content)
