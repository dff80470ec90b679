"""A program that reads Keras weights from HDF5 files, and sends the arrays.

It is started by `confined` and imports nothing of vizjax, so that it starts
fast. Each line of its input is a request, in JSON; `serve` tells the answers.

A weights file has at its root, a model file in its group `model_weights`, the
names of the layers as the attribute `layer_names`; the group of a layer has
the names of its weights as `weight_names`. Source:
`load_weights_from_hdf5_group`, `load_attributes_from_hdf5_group` in
https://github.com/keras-team/keras/blob/v2.15.0/keras/saving/legacy/hdf5_format.py
"""

from collections.abc import Iterator
import itertools
import json
import math
import os
import signal
import sys
import types
from typing import Any, BinaryIO
import zlib

import numpy as np

READY = b'ready\n'

_DEFLATE = [1]  # filters by their numbers in HDF5: 1 deflates, 2 shuffles
_SHUFFLE_DEFLATE = [2, 1]


def serve() -> None:
  """Writes `READY`, and answers requests until the input ends.

  A request is {'path', 'size', 'bound', 'memory', 'seconds'}: the file, its
  bytes, how many bytes of arrays it may hold, and the limits of this process,
  in bytes and in seconds of CPU time, while the file is read. The answer is a
  line of JSON and the bytes of each array, then a line {'error',
  'not_read', 'leaves'}: why the file cannot be read, '' if it was; whether it
  is whole, but of another kind; and whether this process should be replaced.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
  answers = os.fdopen(os.dup(1), 'wb')
  os.dup2(2, 1)  # whatever a library prints is no answer
  import h5py

  resource = _resource()
  if resource:
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))  # a crash, no file
  answers.write(READY)
  answers.flush()
  for line in sys.stdin.buffer:
    request = json.loads(line)
    if resource:
      _limit(resource, request['memory'], request['seconds'])
    error, not_read = '', False
    try:
      _send(h5py, request, answers)
    except Exception as raised:  # libhdf5 may raise anything.
      error, not_read = str(raised), type(raised) is _NotRead
      if not isinstance(raised, ValueError):
        error = f'{type(raised).__name__} {error}'
    # A damaged file that stays open could be taken for the next one.
    leaves = h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) > 0
    _write(answers, {'error': error, 'not_read': not_read, 'leaves': leaves})
    answers.flush()


class _NotRead(ValueError):
  """A whole file of a kind that is not read."""


def _send(h5py: types.ModuleType, request: dict, answers: BinaryIO) -> None:
  reader = _Reader(h5py, request['size'], request['bound'])
  with h5py.File(request['path'], 'r') as file:
    for layer, name, array in reader.arrays(file):
      array = np.asarray(array, order='C')
      told = {'dtype': array.dtype.str, 'shape': array.shape}
      _write(answers, {'layer': layer, 'name': name, **told})
      answers.write(array.data if array.size else b'')


def _write(answers: BinaryIO, message: dict[str, Any]) -> None:
  answers.write(json.dumps(message).encode() + b'\n')


def _resource() -> types.ModuleType | None:
  """Returns the module that sets limits; Windows lacks it."""
  try:
    import resource
  except ImportError:
    return None
  return resource


def _limit(resource: types.ModuleType, memory: int, seconds: int) -> None:
  """Sets limits from here on; a process that exceeds its time is killed."""
  spent = resource.getrusage(resource.RUSAGE_SELF)
  spent = math.ceil(spent.ru_utime + spent.ru_stime)
  limits = {resource.RLIMIT_CPU: spent + seconds}
  if os.path.exists('/proc/self/statm'):  # of Linux
    with open('/proc/self/statm') as file:
      pages = int(file.read().split()[0])
    limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + memory
  for kind, limit in limits.items():
    _, most = resource.getrlimit(kind)
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(kind, (limit, most))


class _Reader:
  """Reads arrays until they are larger than the file may hold."""

  def __init__(self, h5py: types.ModuleType, size: int, bound: int):
    self.h5py = h5py
    self.size = size
    self.bound = self.left = bound

  def arrays(self, root) -> Iterator[tuple[str, str, np.ndarray]]:
    if 'model_weights' in root:
      root = self.member(root, 'model_weights', self.h5py.Group)
    for layer in self.names(root, 'layer_names'):
      group = self.member(root, layer, self.h5py.Group)
      for name in self.names(group, 'weight_names'):
        yield (
          layer,
          name,
          self.array(self.member(group, name, self.h5py.Dataset)),
        )

  def names(self, group, key: str) -> list[str]:
    if key in group.attrs:
      return self.strings(group, key)
    if key + '0' not in group.attrs:
      if key == 'layer_names' and 'data' in group:
        raise _NotRead(
          'it has the group `data` of Caffe, whose HDF5 is not read: expected '
          'a .caffemodel (snapshot_format: BINARYPROTO)'
        )
      raise _NotRead(
        f'it has no attribute {key!r}: expected the .h5 of Keras 1 or 2, or '
        "of model.save('x.h5') in Keras 3"
      )
    # An attribute has at most 64 kB: longer ones are in parts.
    parts = (f'{key}{i}' for i in itertools.count())
    found = itertools.takewhile(lambda part: part in group.attrs, parts)
    return [name for part in found for name in self.strings(group, part)]

  def strings(self, group, key: str) -> list[str]:
    attribute = group.attrs.get_id(key)
    self.spend(math.prod(attribute.shape) * attribute.dtype.itemsize)
    values = group.attrs[key]
    if not isinstance(values, np.ndarray) or values.ndim != 1:
      raise ValueError(f'its attribute {key!r} is not a list of names')
    names = [n.decode() if isinstance(n, bytes) else n for n in values.tolist()]
    if not all(type(name) is str for name in names):
      raise ValueError(f'its attribute {key!r} is not a list of names')
    if len(set(names)) != len(names):
      raise ValueError(f'its attribute {key!r} has a name twice')
    return names

  def member(self, group, name: str, kind: type):
    for part in name.split('/'):
      link = group.get(part, getlink=True) if part else None
      # Others may lead to another file, or nowhere.
      if not isinstance(link, self.h5py.HardLink):
        raise ValueError(f'it has no {name!r} of its own in {group.name!r}')
      group = group[part]
      if not isinstance(group, self.h5py.Group | self.h5py.Dataset):
        raise ValueError(f'its {name!r} is neither a group nor an array')
    if not isinstance(group, kind):
      raise ValueError(f'its {name!r} is not a {kind.__name__.lower()}')
    return group

  def array(self, dataset) -> np.ndarray:
    if dataset.dtype.kind not in 'biuf' or dataset.shape is None:
      raise ValueError(f'its {dataset.name!r} is of {dataset.dtype}')
    if dataset.external or dataset.is_virtual:
      raise ValueError(f'its {dataset.name!r} is in another file')
    nbytes = math.prod(dataset.shape) * dataset.dtype.itemsize
    self.spend(nbytes)
    if dataset.chunks is not None:
      self.check_chunks(dataset)
    elif dataset.id.get_storage_size() != nbytes:
      raise ValueError(f'its {dataset.name!r} is not all there')
    return dataset[()]

  def check_chunks(self, dataset):
    properties = dataset.id.get_create_plist()
    count = properties.get_nfilters()
    filters = [properties.get_filter(i)[0] for i in range(count)]
    if filters not in ([], _DEFLATE, _SHUFFLE_DEFLATE):
      raise ValueError(f'its {dataset.name!r} is compressed, not by deflate')
    nbytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
    grid = zip(dataset.shape, dataset.chunks, strict=True)
    expected = math.prod(-(-n // step) for n, step in grid)
    if dataset.id.get_num_chunks() != expected:
      raise ValueError(f'its {dataset.name!r} is not all there')
    self.spend(expected * nbytes)
    for i in range(expected):
      info = dataset.id.get_chunk_info(i)
      if info.byte_offset + info.size > self.size or info.filter_mask:
        raise ValueError(f'its {dataset.name!r} reaches beyond the file')
      if info.size != nbytes and not filters:
        raise ValueError(f'its {dataset.name!r} has a chunk of another size')
      if filters:
        _, content = dataset.id.read_direct_chunk(info.chunk_offset)
        # HDF5 would inflate it to whatever size it has.
        inflated = zlib.decompressobj().decompress(content, nbytes + 1)
        if len(inflated) != nbytes:
          raise ValueError(f'its {dataset.name!r} has a chunk of another size')

  def spend(self, nbytes: int):
    self.left -= nbytes
    if self.left < 0:
      raise ValueError(
        f'it declares more than {self.bound} bytes of arrays, '
        f'though it has {self.size}'
      )


if __name__ == '__main__':
  serve()
