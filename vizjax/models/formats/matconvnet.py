"""MatConvNet networks, such as imagenet-vgg-verydeep-19.mat.

The variable `layers` is a row of structs with name, type and either weights (a
row of arrays) or, in files of 2014, filters and biases. The mean is
meta.normalization.averageImage, or normalization.averageImage in those:
https://github.com/vlfeat/matconvnet/blob/v1.0-beta25/matlab/simplenn/vl_simplenn_tidy.m

MAT-files of version 5 to 7 are taken apart here: `scipy.io.loadmat` trusts the
sizes in the file, and a flipped bit can end the process. Numbers of sections:
"MAT-File Format", MathWorks,
https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

import math
import struct
from typing import Any
import zlib

import numpy as np

from vizjax import files
from vizjax.errors import UserError

MEAN = 'mean'

# Of a convolution or, with a third one, of batch normalization.
_WEIGHTS = ('filters', 'biases', 'moments')

# Data types, table 1-1.
_MATRIX, _COMPRESSED = 14, 15
_DTYPES: dict[int, str] = dict(
  zip(
    (1, 2, 3, 4, 5, 6, 7, 9, 12, 13),
    ('i1', 'u1', '<i2', '<u2', '<i4', '<u4', '<f4', '<f8', '<i8', '<u8'),
    strict=True,
  )
)
_ENCODINGS = {1: 'latin1', 2: 'latin1', 4: 'utf-16-le', 16: 'utf-8'}

# Classes of arrays, table 1-3.
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMBERS = dict(
  zip(
    range(6, 16),
    ('<f8', '<f4', 'i1', 'u1', '<i2', '<u2', '<i4', '<u4', '<i8', '<u8'),
    strict=True,
  )
)
_COMPLEX = 8  # a flag

_EMPTY = np.empty((0, 0))  # MATLAB's [], which may be there in millions
_HEADER = 128
_DEPTH = 32
_COUNT = 2**16  # of arrays in one cell or struct
_WIDEST = 8  # MATLAB stores small integers among doubles in a byte each


def read(path: files.Path) -> dict[str, dict[str, np.ndarray]]:
  """The weights of a MatConvNet `.mat`: {layer: {weight: array}}, as stored.

  Weights are called filters [h, w, in, out], biases and, of batch
  normalization, moments. Layers without them are left out. The mean is added
  as {'mean': {'averageImage': [h, w, 3] or [1, 1, 3]}}, RGB, 0-255.

  Raises:
    UserError: damaged, or not of MatConvNet: file and reason.
  """
  content = files.content(path)
  with files.reading(path, 'MatConvNet file'):
    variables = _variables(content)
    params = _layers(variables.get('layers'))
    if not params:
      dag = ' of DagNN' if 'params' in variables else ''
      raise files.NotRead(
        f'its layers{dag} have no weights in them: expected a network of '
        'SimpleNN, with the cell `weights` or `filters` in its layers'
      )
    mean = _mean(variables)
    return params if mean is None else {**params, MEAN: {'averageImage': mean}}


def _variables(content: bytes) -> dict[str, Any]:
  """The variables: cells are lists, and structs are (lists of) dicts."""
  if content[124:128] != b'\x00\x01IM':
    raise UserError('it is not a little-endian MAT-file of version 5 to 7')
  view = memoryview(content)[_HEADER:]
  left = files.bound(len(content)) // _WIDEST
  variables = {}
  while len(view):
    kind, data, view = _element(view)
    if kind == _COMPRESSED:
      inflated = _inflate(data, left)
      left -= len(inflated)
      kind, data, _ = _element(inflated)
    if kind != _MATRIX:
      raise UserError(f'it has a variable of data type {kind}')
    name, value = _array(data, 0)
    variables[name] = value
  return variables


def _inflate(data: memoryview, limit: int) -> memoryview:
  inflater = zlib.decompressobj()
  inflated = inflater.decompress(data, limit + 1)
  if len(inflated) > limit:
    raise UserError(f'it has a variable that inflates to over {limit} bytes')
  if not inflater.eof:
    raise UserError('it has a variable that is cut off')
  return memoryview(inflated)


def _element(view: memoryview) -> tuple[int, memoryview, memoryview]:
  """Type and data of the first element, and what is behind it."""
  if len(view) < 8:
    raise UserError('it has an element that is cut off')
  kind, nbytes = struct.unpack_from('<II', view)
  begin = 8
  if kind >> 16:  # up to four bytes are packed in with the type
    kind, nbytes, begin = kind & 0xFFFF, kind >> 16, 4
  end = begin + nbytes
  if end > (8 if begin == 4 else len(view)):
    raise UserError(f'it has an element of {nbytes} bytes that is cut off')
  # All but compressed ones begin at a multiple of eight bytes.
  padding = 0 if kind == _COMPRESSED else -end % 8
  return kind, view[begin:end], view[end + padding :]


def _array(view: memoryview, depth: int) -> tuple[str, Any]:
  """Name and value; None for what no network is made of."""
  if not len(view):
    return '', _EMPTY
  if depth > _DEPTH:
    raise UserError(f'its arrays are nested more than {_DEPTH} deep')
  _, flags, view = _element(view)
  kind, sizes, view = _element(view)
  _, name, view = _element(view)
  if len(flags) != 8 or kind not in _DTYPES or _DTYPES[kind] != '<i4':
    raise UserError('it has an array without a class or a shape')
  sizes = struct.unpack(f'<{len(sizes) // 4}i', sizes)
  if not 2 <= len(sizes) <= 32 or min(sizes) < 0:
    raise UserError(f'it has an array of {sizes}')
  name = bytes(name).decode('latin1')
  if flags[0] == _CELL:
    return name, _cells(view, math.prod(sizes), depth)
  if flags[0] == _STRUCT:
    return name, _structs(view, math.prod(sizes), depth)
  if flags[0] == _CHAR:
    return name, _text(view)
  if flags[0] in _NUMBERS and not flags[1] & _COMPLEX:
    return name, _numbers(view, sizes, _NUMBERS[flags[0]])
  return name, None


def _cells(view: memoryview, count: int, depth: int) -> list:
  values = []
  while len(view) and len(values) < _COUNT:
    kind, data, view = _element(view)
    if kind != _MATRIX:
      raise UserError(f'it has a cell of data type {kind}')
    values.append(_array(data, depth + 1)[1])
  if len(values) != count:
    raise UserError(f'it has {len(values)} arrays in a cell of {count}')
  return values


def _structs(view: memoryview, count: int, depth: int) -> dict | list[dict]:
  _, width, view = _element(view)
  _, names, view = _element(view)
  width = int.from_bytes(width, 'little')
  if width < 1 or len(names) % width:
    raise UserError('it has a struct with damaged names')
  names = [
    bytes(names[i : i + width]).partition(b'\0')[0].decode('latin1')
    for i in range(0, len(names), width)
  ]
  values = _cells(view, count * len(names), depth)
  if not names:
    return {}
  rows = (values[i : i + len(names)] for i in range(0, len(values), len(names)))
  structs = [dict(zip(names, row, strict=True)) for row in rows]
  return structs[0] if count == 1 else structs


def _text(view: memoryview) -> str:
  kind, data, _ = _element(view)
  if kind not in _ENCODINGS:
    raise UserError(f'it has text of data type {kind}')
  return bytes(data).decode(_ENCODINGS[kind])


def _numbers(view: memoryview, sizes: tuple, dtype: str) -> np.ndarray:
  kind, data, _ = _element(view)
  stored = np.dtype(_DTYPES.get(kind, 'V1'))
  if stored != dtype and stored.kind not in 'iu':
    raise UserError(f'it has an array of {dtype} in data type {kind}')
  if math.prod(sizes) * stored.itemsize != len(data):
    raise UserError(f'it has {len(data)} bytes of an array of {sizes} {stored}')
  array = np.frombuffer(data, stored).astype(dtype, copy=False)
  return array.reshape(sizes, order='F')


def _layers(rows: Any) -> dict[str, dict[str, np.ndarray]]:
  if not isinstance(rows, list):
    raise files.NotRead(
      "it has no cell 'layers': expected the variables of a network of "
      "SimpleNN; type save('FILE.mat', '-struct', 'net') in MATLAB"
    )
  params = {}
  for layer in rows:
    if not isinstance(layer, dict) or not isinstance(layer.get('name'), str):
      raise UserError('it has a layer without a name')
    name = layer['name']
    if name in params or name == MEAN:
      raise UserError(f'it has two layers {name[:80]!r}')
    weights = _weights(layer)
    if weights:
      params[name] = weights
  return params


def _weights(layer: dict) -> dict[str, np.ndarray]:
  found = layer
  if isinstance(layer.get('weights'), list):
    if len(layer['weights']) > len(_WEIGHTS):
      raise UserError(f'it has a layer of {len(layer["weights"])} weights')
    found = dict(zip(_WEIGHTS, layer['weights'], strict=False))
  weights = {}
  for key in _WEIGHTS:
    array = found.get(key, np.empty(0))
    if not isinstance(array, np.ndarray):
      raise UserError(f'it has a layer whose {key} are not numbers')
    if array.size:
      weights[key] = array
  return weights


def _mean(variables: dict) -> np.ndarray | None:
  meta = variables.get('meta', variables)
  value = meta.get('normalization') if isinstance(meta, dict) else None
  value = value.get('averageImage') if isinstance(value, dict) else None
  return value if isinstance(value, np.ndarray) and value.size else None
