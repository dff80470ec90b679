"""NumPy's .npy files, read without evaluating what they hold.

NumPy reads the header as a Python literal, and tokenizes it where that fails:
on a damaged file either may raise any exception, or take all memory. Source:
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import io
import math
import re
import struct
from typing import NamedTuple

import numpy as np

from vizjax.errors import UserError

_MAGIC = b'\x93NUMPY'
_LENGTHS = {1: '<H', 2: '<I', 3: '<I'}  # of the header, by major version
_LONGEST = 10_000  # characters of a header, as NumPy bounds them

# One entry of the dictionary. Python 2 wrote sizes as 3L.
_ENTRY = re.compile(
  r"""["'](\w+)["']\s*:\s*"""
  r"""(["'][^"']*["']|True|False|\(\s*(?:\d+L?\s*,\s*)*(?:\d+L?\s*)?\))"""
  r"""\s*(?:,\s*)?"""
)
_DTYPE = re.compile(r'[<>|=]?(\?|b1|[iu][1248]|f2|f4|f8|f16|O8?)')


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
  start = stream.read(8)
  if len(start) < 8 or not start.startswith(_MAGIC):
    raise UserError('it does not begin as a .npy file')
  major, minor = start[6:]
  if major not in _LENGTHS or minor:
    raise UserError(f'it is of the unknown version {major}.{minor}')
  length = struct.calcsize(_LENGTHS[major])
  size = stream.read(length)
  if len(size) < length:
    raise UserError('its header is cut off')
  (size,) = struct.unpack(_LENGTHS[major], size)
  if size > _LONGEST:
    raise UserError(f'its header has {size} bytes')
  return _parsed(stream.read(size).decode('latin1').strip())


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


def _parsed(text: str) -> Header:
  entries, position = {}, 1
  while match := _ENTRY.match(text, position):
    entries[match[1]] = match[2].strip('\'"')
    position = match.end()
  whole = text[:1] == '{' and text[position:] == '}'
  if not whole or set(entries) != {'descr', 'fortran_order', 'shape'}:
    raise UserError(f'its header cannot be read: {text[:80]!r}')
  descr, order, shape = (
    entries[name] for name in ('descr', 'fortran_order', 'shape')
  )
  if not _DTYPE.fullmatch(descr) or order not in ('True', 'False'):
    raise UserError(f'it is an array of {descr[:40]!r}')
  sizes = re.findall(r'\d+', shape)
  if (
    shape[:1] != '(' or len(sizes) > 32 or max(map(len, sizes), default=0) > 19
  ):
    raise UserError(f'it is an array of {shape[:80]!r}')
  return Header(tuple(map(int, sizes)), order == 'True', np.dtype(descr))
