"""Weights that Keras 1 and 2 wrote to HDF5, as for its VGG-16 and VGG-19.

A weights file has at its root, a model file in its group `model_weights`, the
names of the layers as the attribute `layer_names`; the group of a layer has
the names of its weights as `weight_names`. Source:
`load_weights_from_hdf5_group`, `load_attributes_from_hdf5_group` in
https://github.com/keras-team/keras/blob/v2.15.0/keras/saving/legacy/hdf5_format.py
"""

import itertools
import math
import types
import zlib

import numpy as np

from vizjax.models import files

_DEFLATE = [1]  # filters by their numbers in HDF5: 1 deflates, 2 shuffles
_SHUFFLE_DEFLATE = [2, 1]


def read(path: files.Path) -> dict[str, dict[str, np.ndarray]]:
  """The weights of a Keras `.h5`: {layer: {weight: array}}, as stored.

  Names are the file's own, such as `block1_conv1/kernel:0`; kernels are [h, w,
  in, out]. Layers without weights are left out.

  Raises:
    ValueError: damaged, not of Keras, or h5py is missing: file and reason.
  """
  h5py = files.library('h5py')
  size = files.length(path)
  with files.reading(path, 'Keras HDF5 file'), h5py.File(path, 'r') as file:
    return _Reader(h5py, size).layers(file)


class _Reader:
  """Reads arrays until they are too many times larger than the file."""

  def __init__(self, h5py: types.ModuleType, size: int):
    self.h5py = h5py
    self.size = size
    self.left = files.bound(size)

  def layers(self, root) -> dict[str, dict[str, np.ndarray]]:
    if 'model_weights' in root:
      root = self.member(root, 'model_weights', self.h5py.Group)
    params = {}
    for layer in self.names(root, 'layer_names'):
      group = self.member(root, layer, self.h5py.Group)
      weights = {
        name: self.array(self.member(group, name, self.h5py.Dataset))
        for name in self.names(group, 'weight_names')
      }
      if weights:
        params[layer] = weights
    return params

  def names(self, group, key: str) -> list[str]:
    if key in group.attrs:
      return self.strings(group, key)
    if key + '0' not in group.attrs:
      raise ValueError(
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
        f'it declares more than {files.bound(self.size)} bytes of arrays, '
        f'though it has {self.size}'
      )
