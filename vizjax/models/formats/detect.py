"""Weight files of any framework, told apart by what is in them."""

from typing import Any
import zipfile

from vizjax import files
from vizjax.errors import UserError
from vizjax.models.formats import arrays
from vizjax.models.formats import caffemodel
from vizjax.models.formats import keras
from vizjax.models.formats import matconvnet
from vizjax.models.formats import signatures
from vizjax.models.formats import torch

# Format and how it reads, of what `_format` tells.
_READERS = {
  'torch': torch.read,
  'keras': keras.read,
  'matconvnet': matconvnet.read,
  'npz': arrays.read,
  'npy': arrays.read,
  'safetensors': arrays.read,
  'caffe': caffemodel.read,
}

# Formats that keep the layers in the order of the network. A safetensors file
# is sorted by size and read through a hash map; Python 2 wrote the dictionaries
# of .npy files in the order of their hashes; a .npz may have been sorted.
ORDERED = ('caffe', 'keras', 'matconvnet', 'torch')


def read(path: files.Path) -> tuple[str, Any]:
  """The format of a weights file, and what the reader of that format returns.

  A file without the mark of another format is read as a `.caffemodel`, which
  has none.

  Returns:
    (format, content), with the format one of caffe, keras, matconvnet, npy,
    npz, safetensors, torch.

  Raises:
    UserError: unknown, damaged or without weights: the file, what it seems to
      be, what is read.
    OSError: it cannot be read.
  """
  head = files.content(path, signatures.LENGTH)
  with files.reading(path, 'zip file'):
    form = signatures.form(head)
    form = _format_of_zip(path) if form == 'zip' else form
  content = _READERS[form](path)
  if not content:
    raise UserError(
      f'weights file {str(path)!r} ({form}) holds no weights: expected the '
      'arrays of a network; save it again'
    )
  return form, content


def _format_of_zip(path: files.Path) -> str:
  with zipfile.ZipFile(path) as archive:
    names = archive.namelist()
  if any(name.endswith('/data.pkl') for name in names):
    return 'torch'
  if names and all(name.endswith('.npy') for name in names):
    return 'npz'
  if 'model.weights.h5' in names:
    raise files.NotRead(
      "it is a .keras file, which is not read: type model.save('FILE.h5') in "
      'Keras'
    )
  told = ', '.join(names[:3])[:200]
  raise files.NotRead(
    f'it is a zip of {told or "nothing"!r}, neither of torch.save nor of '
    'numpy.savez: unpack it first'
  )
