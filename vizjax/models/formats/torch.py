"""PyTorch state dicts, read without PyTorch and without running anything.

`torch.save` writes a pickle of tensors that refer to storages, flat runs of
numbers: since PyTorch 1.6 as files of an uncompressed zip, before that one
after the other behind five pickles. Source: `_save`, `_legacy_save` and
`_legacy_load` in
https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
"""

from collections.abc import Mapping
import io
import struct
from typing import Any, NamedTuple
import zipfile

import ml_dtypes
import numpy as np

from vizjax import files
from vizjax.errors import UserError
from vizjax.models.formats import signatures
from vizjax.models.formats import unpickle

PROTOCOL = 1001

_DTYPES = {
  'DoubleStorage': '<f8',
  'FloatStorage': '<f4',
  'HalfStorage': '<f2',
  'BFloat16Storage': ml_dtypes.bfloat16,
  'LongStorage': '<i8',
  'IntStorage': '<i4',
  'ShortStorage': '<i2',
  'CharStorage': 'i1',
  'ByteStorage': 'u1',
  'BoolStorage': 'u1',
}


class _Kind(NamedTuple):
  """A class of storages."""

  name: str


class _Storage(NamedTuple):
  """Where a tensor's numbers are: `count` from `start` of storage `key`."""

  kind: _Kind
  key: str
  size: int
  start: int
  count: int


class _Tensor(NamedTuple):
  """Numbers of a storage: offset, sizes and strides count elements."""

  storage: _Storage
  offset: int
  sizes: tuple[int, ...]
  strides: tuple[int, ...]


def read(path: files.Path) -> dict[str, np.ndarray]:
  """The tensors of a `.pth`, by name, as stored.

  Tensors that share a storage are views of one array, with the strides of the
  file; bfloat16 becomes float32. Of a checkpoint with an entry `state_dict`
  that entry is read.

  Args:
    path: of a file that `torch.save(model.state_dict(), path)` wrote.

  Raises:
    UserError: damaged, or it holds something else: file and reason.
  """
  content = files.content(path)
  with files.reading(path, 'PyTorch state dict'):
    if content.startswith(b'PK'):
      value, storages = _read_zip(content)
    else:
      value, storages = _read_legacy(content)
    return _tensors(value, storages, files.bound(len(content)))


def _read_zip(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    names = [n for n in archive.namelist() if n.endswith('/data.pkl')]
    if len(names) != 1:
      raise UserError('it is a zip with no data.pkl, or several')
    folder = names[0].removesuffix('data.pkl')
    if folder + 'constants.pkl' in archive.namelist():
      raise files.NotRead(
        'it is a TorchScript program: type torch.save(net.state_dict(), '
        "'FILE.pth')"
      )
    if folder + 'byteorder' in archive.namelist():
      if _member(archive, folder + 'byteorder') != b'little':
        raise UserError('its numbers are not little-endian')
    seen = {}
    pickled = io.BytesIO(_member(archive, names[0]))
    value = unpickle.load(pickled, _NAMES, lambda pid: _storage(pid, seen))
    # Members may overlap: what they declare must fit in the file all the same.
    if sum(_nbytes(storage) for storage in seen.values()) > len(content):
      raise UserError('its storages are larger than the file')
    data = {key: _member(archive, f'{folder}data/{key}') for key in seen}
  return value, {key: _decode(seen[key], data[key]) for key in seen}


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
  info = archive.getinfo(name)
  if info.compress_type != zipfile.ZIP_STORED:
    raise UserError(f'its file {name!r} is compressed')
  if info.file_size != info.compress_size:
    raise UserError(f'its file {name!r} has two sizes')
  with archive.open(info) as file:
    return file.read()


def _read_legacy(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
  stream = io.BytesIO(content)
  if unpickle.load(stream, {}) != signatures.TORCH:
    raise UserError('it begins with another number than those of PyTorch')
  if unpickle.load(stream, {}) != PROTOCOL:
    raise UserError(f'its protocol is not {PROTOCOL}')
  system = unpickle.load(stream, {})
  if not isinstance(system, dict) or system.get('little_endian') is not True:
    raise UserError('its numbers are not little-endian')
  seen = {}
  value = unpickle.load(stream, _NAMES, lambda pid: _storage(pid, seen))
  keys = unpickle.load(stream, {})
  if not isinstance(keys, list) or not all(type(k) is str for k in keys):
    raise UserError('it has no list of storages')
  storages = {}
  for key in keys:
    if key not in seen or key in storages:
      raise UserError(f'storage {key[:40]!r} is there twice, or for no tensor')
    (size,) = struct.unpack('<q', stream.read(8))
    if size != seen[key].size:
      raise UserError(f'storage {key[:40]!r} is of {size}, not as declared')
    storages[key] = _decode(seen[key], stream.read(_nbytes(seen[key])))
  return value, storages


def _tensors(value, storages: Mapping, bound: int) -> dict[str, np.ndarray]:
  if isinstance(value, dict) and isinstance(value.get('state_dict'), dict):
    value = value['state_dict']
  if not isinstance(value, dict):
    raise files.NotRead(
      f'it holds a {type(value).__name__}, not a state dict: type '
      "torch.save(net.state_dict(), 'FILE.pth')"
    )
  found = {}
  for name, tensor in value.items():
    if type(name) is not str or type(tensor) is not _Tensor:
      raise files.NotRead(
        f'its entry {str(name)[:80]!r} is of type {type(tensor).__name__}, '
        f'not a tensor: expected a state dict{_inside(value)}'
      )
    found[name] = _view(name, tensor, storages)
    bound -= found[name].nbytes
    if bound < 0:
      raise UserError('its tensors are too many times larger than the file')
  return found


def _inside(value: Mapping) -> str:
  """Where in a checkpoint a state dict is, and how to save it alone."""
  for name, entry in value.items():
    if isinstance(entry, dict) and any(
      type(tensor) is _Tensor for tensor in entry.values()
    ):
      return (
        f', which is its entry {str(name)[:80]!r}: type '
        f"torch.save(torch.load('FILE')[{str(name)[:80]!r}], 'NEW.pth')"
      )
  return ", or {'state_dict': one}"


def _view(name: str, tensor: _Tensor, storages: Mapping) -> np.ndarray:
  storage, offset, sizes, strides = tensor
  if storage.key not in storages:
    raise UserError(f'the storage of {name[:80]!r} is missing')
  array = storages[storage.key]
  array = array[storage.start : storage.start + storage.count]
  if 0 in sizes:
    return np.empty(sizes, array.dtype)
  steps = zip(sizes, strides, strict=True)
  if offset + sum((n - 1) * step for n, step in steps) >= len(array):
    raise UserError(
      f'tensor {name[:80]!r} of {sizes} reaches beyond its storage of '
      f'{len(array)} numbers'
    )
  strides = [stride * array.itemsize for stride in strides]
  return np.lib.stride_tricks.as_strided(
    array[offset:], sizes, strides, writeable=False
  )


def _storage(pid: Any, seen: dict[str, _Storage]) -> _Storage:
  if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != 'storage':
    raise UserError('the pickle refers to what is not a storage')
  _, kind, key, _, size = pid[:5]
  if type(kind) is not _Kind or type(key) is not str:
    raise UserError('the pickle refers to a storage without a type or a key')
  _counts((size,))
  start, count = 0, size
  if len(pid) == 6 and pid[5] is not None:
    if type(pid[5]) is not tuple or len(pid[5]) != 3:
      raise UserError('the pickle refers to a part of a storage, damaged')
    _, start, count = pid[5]
    _counts((start, count))
  storage = _Storage(kind, key, size, start, count)
  if seen.setdefault(key, storage)[:3] != storage[:3]:
    raise UserError(f'storage {key[:40]!r} has two types or sizes')
  return storage


def _nbytes(storage: _Storage) -> int:
  return storage.size * np.dtype(_DTYPES[storage.kind.name]).itemsize


def _decode(storage: _Storage, data: bytes) -> np.ndarray:
  if len(data) != _nbytes(storage):
    raise UserError(
      f'storage {storage.key[:40]!r} has {len(data)} bytes, '
      f'expected {_nbytes(storage)}'
    )
  array = np.frombuffer(data, _DTYPES[storage.kind.name])
  if storage.kind.name == 'BFloat16Storage':
    return array.astype(np.float32)
  if storage.kind.name == 'BoolStorage':
    return array.astype(bool)
  return array


def _rebuild(
  storage: Any, offset: Any, sizes: Any, strides: Any, *rest: Any
) -> _Tensor:
  """`torch._utils._rebuild_tensor_v2`, and the first version of it."""
  if type(storage) is not _Storage:
    raise UserError('the pickle has a tensor without a storage')
  _counts((offset,))
  _counts(sizes)
  _counts(strides)
  if len(sizes) != len(strides) or len(sizes) > 32:
    raise UserError(f'the pickle has a tensor of {len(sizes)} axes, damaged')
  if len(rest) > 2 and rest[2]:
    raise UserError('the pickle has a tensor that is to be negated')
  return _Tensor(storage, offset, sizes, strides)


def _rebuild_parameter(tensor: Any, *rest: Any) -> _Tensor:
  if type(tensor) is not _Tensor:
    raise UserError('the pickle has a parameter without a tensor')
  return tensor


def _counts(values):
  if type(values) is not tuple or not all(
    type(value) is int and 0 <= value < 2**63 for value in values
  ):
    raise UserError('the pickle has a tensor with sizes that are no counts')


_NAMES = {
  ('collections', 'OrderedDict'): unpickle.ordered_dict,
  ('torch._utils', '_rebuild_tensor'): _rebuild,
  ('torch._utils', '_rebuild_tensor_v2'): _rebuild,
  ('torch._utils', '_rebuild_parameter'): _rebuild_parameter,
  **{('torch', name): _Kind(name) for name in _DTYPES},
}
