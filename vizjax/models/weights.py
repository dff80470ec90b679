"""Weight files of any framework, told apart by what is in them."""

from typing import Any
import zipfile

from vizjax.models import arrays
from vizjax.models import caffe
from vizjax.models import files
from vizjax.models import keras
from vizjax.models import matconvnet
from vizjax.models import torch

# Format and how it reads, of what `_format` tells.
_READERS = {
  'torch': torch.read,
  'keras': keras.read,
  'matconvnet': matconvnet.read,
  'npz': arrays.read,
  'npy': arrays.read,
  'safetensors': arrays.read,
}

# Formats that keep the layers in the order of the network. A safetensors file
# is sorted by size and read through a hash map; Python 2 wrote the dictionaries
# of .npy files in the order of their hashes; a .npz may have been sorted.
ORDERED = ('caffe', 'keras', 'matconvnet', 'torch')

_MAGIC = {
  b'\x89HDF\r\n\x1a\n': 'keras',
  b'MATLAB 5.0 MAT-file': 'matconvnet',
  b'\x93NUMPY': 'npy',
}

# What is often in the place of weights.
_FOREIGN = {
  b'<': 'it is a page of text: its address answered with an error',
  b'version https://git-lfs': 'it is a pointer of Git LFS: git lfs pull',
  b'\x1f\x8b': 'it is compressed by gzip: unpack it first',
  b'BZh': 'it is compressed by bzip2: unpack it first',
  b'\xfd7zXZ': 'it is compressed by xz: unpack it first',
  b'MATLAB 7.3': "it is a MAT-file of version 7.3: save(..., '-v7')",
}


def read(path: files.Path) -> tuple[str, Any]:
  """The format of a weights file, and what the reader of that format returns.

  What has no mark of another format is read as a `.caffemodel`, which has none.

  Returns:
    (format, content), with the format one of caffe, keras, matconvnet, npy,
    npz, safetensors, torch.

  Raises:
    ValueError: unknown or damaged: the file, what it seems to be, what is read.
  """
  head = files.content(path, 512)
  with files.reading(path, 'known weights file'):
    form = _format_of_zip(path) if head[:2] == b'PK' else _format(head)
  if form != 'caffe':
    return form, _READERS[form](path)
  return form, caffe.read_weights(str(path))


def _format(head: bytes) -> str:
  for magic, form in _MAGIC.items():
    if head.startswith(magic):
      return form
  for magic, said in _FOREIGN.items():
    if head.startswith(magic):
      raise ValueError(said)
  if head[257:262] == b'ustar':
    raise ValueError('it is a tar archive: unpack it first')
  if head.startswith(b'\x80'):
    if torch.MAGIC.to_bytes(10, 'little') not in head[:40]:
      raise ValueError('it is a pickle, but not one of torch.save')
    return 'torch'
  if head[8:9] == b'{' and not any(head[6:8]):
    return 'safetensors'
  if not head:
    raise ValueError('it is empty')
  return 'caffe'


def _format_of_zip(path: files.Path) -> str:
  with zipfile.ZipFile(path) as archive:
    names = archive.namelist()
  if any(name.endswith('/data.pkl') for name in names):
    return 'torch'
  if all(name.endswith('.npy') for name in names):
    return 'npz'
  raise ValueError(
    f'it is a zip of {", ".join(names[:3])[:200]!r}, neither of torch.save nor '
    'of numpy.savez: unpack it first'
  )
