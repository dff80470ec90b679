"""vizjax's own weight files, and dictionaries of arrays that NumPy saved.

A nested dictionary {layer: {weight: array}} is saved flat, the array of a
weight under `layer:weight`. The colon is the last one of the key, for layers
have names such as `conv1/7x7_s2`, and weights have no colon in theirs.
"""

from collections.abc import Mapping
import io
from typing import Any
import zipfile

import ml_dtypes
import numpy as np

from vizjax import files
from vizjax.errors import UserError
from vizjax.models.formats import npy
from vizjax.models.formats import unpickle

# As https://github.com/huggingface/safetensors#format spells them.
_DTYPES = {
  **{f'F{8 * n}': f'<f{n}' for n in (2, 4, 8)},
  **{f'I{8 * n}': f'<i{n}' for n in (1, 2, 4, 8)},
  **{f'U{8 * n}': f'<u{n}' for n in (1, 2, 4, 8)},
  'BF16': ml_dtypes.bfloat16,
  'BOOL': 'u1',
}

Arrays = dict[str, np.ndarray] | dict[str, dict[str, np.ndarray]]


def read(path: files.Path) -> Arrays:
  """The arrays of a `.npz`, `.npy` or `.safetensors` file, as stored.

  If every key has a colon, arrays are nested: {layer: {weight: array}}, as
  `write` was given them; else they are {key: array}. A `.npy` is that of
  caffe-tensorflow, a pickled dictionary of dictionaries; a list for a layer,
  as in its first version, becomes {'weights': array, 'biases': array}.
  bfloat16 becomes float32.

  Raises:
    UserError: damaged, or it holds something else: file and reason.
  """
  content = files.content(path)
  if content.startswith(b'PK'):
    with files.reading(path, '.npz file'):
      return unpacked(content)
  if content.startswith(b'\x93NUMPY'):
    with files.reading(path, '.npy file'):
      return _dictionary(_read_npy(content))
  # Not by safetensors.numpy, which reads no bfloat16.
  safetensors = files.library('safetensors')
  with files.reading(path, '.safetensors file'):
    entries = safetensors.deserialize(content)
    return _nest({name: _decode(name, entry) for name, entry in entries})


def write(path: files.Path, params: Mapping[str, Mapping[str, Any]]) -> None:
  """Writes {layer: {weight: array}} for `read`; the file appears complete.

  Layers without weights are left out.

  Args:
    path: ends in .npz or .safetensors.
    params: arrays of booleans, integers or floats.

  Raises:
    UserError: another ending, a name or an array that cannot be stored.
  """
  flat = _flat(params)
  if not str(path).endswith(('.npz', '.safetensors')):
    raise UserError(
      f'weights cannot be written to {str(path)!r}: expected a path that '
      'ends in .npz or .safetensors'
    )
  with files.replacing(path) as partial, open(partial, 'wb') as file:
    if str(path).endswith('.npz'):
      np.savez(file, **flat)
    else:
      file.write(files.library('safetensors.numpy').save(flat))


def packed(params: Mapping[str, Mapping[str, Any]]) -> bytes:
  """What a `.npz` file of {layer: {weight: array}} holds."""
  stream = io.BytesIO()
  np.savez(stream, **_flat(params))
  return stream.getvalue()


def unpacked(content: bytes) -> dict[str, Any]:
  """The arrays of what a `.npz` file holds, as `read` gives them.

  Raises:
    Exception: of any kind, where it is damaged.
  """
  return _nest(_read_npz(content))


def _flat(params: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  return {
    _key(layer, name): _storable(layer, name, array)
    for layer, group in params.items()
    for name, array in group.items()
  }


def _key(layer: str, name: str) -> str:
  if ':' in name or not name or '\0' in layer + name:
    raise UserError(
      f'weight {name!r} of layer {layer!r} cannot be stored: expected a name '
      'without a colon; rename it'
    )
  return f'{layer}:{name}'


def _storable(layer: str, name: str, array) -> np.ndarray:
  array = np.asarray(array)
  if array.dtype.kind not in 'biuf' or array.dtype.itemsize > 8:
    raise UserError(
      f'{name!r} of layer {layer!r} is of dtype {array.dtype}: expected '
      'booleans, integers or floats of at most 64 bits; use array.astype'
    )
  little = array.dtype.newbyteorder('<')
  # safetensors writes the memory as it is, which is not that of a transpose.
  return np.asarray(array, little, order='C')


def _nest(flat: dict[str, np.ndarray]) -> Arrays:
  if not all(':' in key for key in flat):
    return flat
  params = {}
  for key, array in flat.items():
    layer, _, name = key.rpartition(':')
    params.setdefault(layer, {})[name] = array
  return params


def _read_npz(content: bytes) -> dict[str, np.ndarray]:
  flat, left = {}, files.bound(len(content))
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    for info in archive.infolist():
      name = info.filename.removesuffix('.npy')
      if name == info.filename or name in flat:
        raise UserError(f'its file {info.filename[:80]!r} is not an array')
      # Of the other methods, zipfile inflates without a bound.
      if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f'its file {info.filename[:80]!r} is not deflated')
      left -= info.file_size
      if left < 0:
        raise UserError('its arrays are too many times larger than the file')
      with archive.open(info) as file:
        array = _read_npy(file.read(info.file_size))
      if not isinstance(array, np.ndarray):
        raise UserError(f'its file {info.filename[:80]!r} is a pickle')
      flat[name] = array
  return flat


def _read_npy(content: bytes) -> Any:
  """The array of a `.npy`, or what it pickles if that is one object."""
  stream = io.BytesIO(content)
  header = npy.header(stream)
  if header.dtype.kind == 'O':
    return _unpickle(stream, header.shape)
  return npy.array(content, header, stream.tell())


def _unpickle(stream: io.BytesIO, shape: tuple[int, ...]) -> Any:
  value = unpickle.load(stream, unpickle.ARRAYS)
  if shape != () or not isinstance(value, np.ndarray) or value.shape != ():
    raise UserError(f'it is an array of {shape} objects, not a dictionary')
  return value.item()


def _dictionary(value: Any) -> dict[str, dict[str, np.ndarray]]:
  if not isinstance(value, dict):
    raise UserError(
      f'it is a {type(value).__name__}, not a dictionary of dictionaries'
    )
  params = {}
  for layer, group in value.items():
    if isinstance(group, list | tuple):
      names = ('weights', 'biases')
      if len(group) > len(names):
        raise UserError(
          f'its entry {str(layer)[:80]!r} is a list of {len(group)}'
        )
      group = dict(zip(names, group, strict=False))
    if type(layer) is not str or not isinstance(group, dict):
      raise UserError(f'its entry {str(layer)[:80]!r} is not a dictionary')
    for name, array in group.items():
      known = isinstance(array, np.ndarray) and array.dtype.kind != 'O'
      if type(name) is not str or not known:
        raise UserError(f'its entry {layer[:80]!r} has what is not an array')
    params[layer] = group
  return params


def _decode(name: str, entry: Mapping[str, Any]) -> np.ndarray:
  if entry['dtype'] not in _DTYPES:
    raise UserError(f'its array {name[:80]!r} is of {entry["dtype"]}')
  array = np.frombuffer(entry['data'], _DTYPES[entry['dtype']])
  if entry['dtype'] == 'BF16':
    array = array.astype(np.float32)
  elif entry['dtype'] == 'BOOL':
    array = array.astype(bool)
  return array.reshape(entry['shape'])
