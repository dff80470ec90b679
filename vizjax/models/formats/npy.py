"""NumPy's .npy files, read within the bytes that they have.

NumPy parses the header; the data is a view of the file. `numpy.load` is not
used: it allocates the array that a header declares before it looks for the
data, so that a damaged header takes all memory. The format:
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import io
import math
from typing import NamedTuple
import warnings

import numpy as np

from vizjax import errors
from vizjax import files
from vizjax.errors import UserError

# By version. The third differs from the second in the names of fields alone,
# which arrays of numbers do not have.
_HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
  (3, 0): np.lib.format.read_array_header_2_0,
}


class Header(NamedTuple):
  """The shape, the order and the dtype of the array of a .npy file."""

  shape: tuple[int, ...]
  by_columns: bool
  dtype: np.dtype


def header(stream: io.BytesIO) -> Header:
  """Reads the header, and leaves the stream at the data.

  Raises:
    UserError: it is damaged, or the array is neither of numbers nor of
      objects.
  """
  try:
    found = _header(stream)
  except Exception as error:  # NumPy may raise anything on damaged input.
    if errors.is_bug(error):
      raise
    # NumPy's further lines are about arguments of numpy.load.
    said = files.told(error).partition(' To allow loading')[0]
    raise UserError(f'its header cannot be read: {said[:80]}') from error
  # NumPy checks only that sizes are of type int.
  shape, _, dtype = found
  sound = len(shape) <= 32 and all(0 <= size < 2**63 for size in shape)
  if not sound or dtype.kind not in 'biufO':
    raise UserError(
      'its header cannot be read as that of an array of numbers: it declares '
      f'{files.one_line(f"{shape!r} {dtype}")[:80]}'
    )
  return found


def read(content: bytes) -> np.ndarray:
  """The array of numbers that a .npy file holds; it cannot be written to.

  Raises:
    UserError: it is damaged, or holds something else than numbers.
  """
  stream = io.BytesIO(content)
  return array(content, header(stream), stream.tell())


def array(content: bytes, header: Header, offset: int) -> np.ndarray:
  """The array of numbers that begins at an offset.

  Raises:
    UserError: it is of objects, or has more or fewer bytes.
  """
  shape, by_columns, dtype = header
  if dtype.kind == 'O':
    raise UserError('it is an array of objects')
  nbytes, found = math.prod(shape) * dtype.itemsize, len(content) - offset
  if nbytes != found:
    raise UserError(f'it has {found} bytes of an array of {shape} {dtype}')
  values = np.frombuffer(content, dtype, offset=offset)
  return values.reshape(shape, order='F' if by_columns else 'C')


def _header(stream: io.BytesIO) -> Header:
  version = np.lib.format.read_magic(stream)
  if version not in _HEADERS:
    raise UserError(f'it is of the unknown version {version[0]}.{version[1]}')
  with warnings.catch_warnings():
    # A header of Python 2, with sizes as 3L, is no reason to warn a user.
    warnings.simplefilter('ignore')
    return Header(*_HEADERS[version](stream))
