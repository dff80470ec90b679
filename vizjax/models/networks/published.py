"""Published networks: a table, conventions, and weights from any framework.

A family of networks is a module with a function `network`; what it returns,
and a weights file, make a `Model`. The file is the published one, of the zoo,
or one of the same network that went through another framework.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from vizjax import core
from vizjax import files
from vizjax.errors import UserError
from vizjax.models.download import catalogue
from vizjax.models.formats import detect as detect_
from vizjax.models.formats import layouts
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables
from vizjax.photographs import preprocessing as preprocessing_

# torchvision's normalization of RGB in 0-1, here in 0-255.
TORCHVISION_MEAN = tuple(255 * value for value in (0.485, 0.456, 0.406))
TORCHVISION_DEVIATION = tuple(255 * value for value in (0.229, 0.224, 0.225))


class Network(NamedTuple):
  """A network but for its weights.

  Attributes:
    table: its layers.
    input_shape: (h, w, c).
    mean: [c], RGB, 0-255; zero for a code.
    deviation: [c], what the image less the mean is divided by.
    bgr: whether the published weights read the channels in that order, or
      make a picture in it.
    labels: names of the classes.
    namings: {layer: its name in a file}, one for each framework that gives
      the layers other names than the table.
    preprocessing: how photographs were resized and cropped in training.
  """

  table: tables.Table
  input_shape: tuple[int, int, int]
  mean: tuple[float, ...]
  deviation: tuple[float, ...] = (1.0, 1.0, 1.0)
  bgr: bool = False
  labels: tuple[str, ...] = ()
  namings: tuple[layouts.Naming, ...] = ()
  preprocessing: preprocessing_.Preprocessing | None = None


def load(name: str, network: Network, weights: str | None) -> core.Model:
  """A model of a published network.

  Args:
    name: of the network, and of its file in the zoo.
    network: its table and conventions.
    weights: a file to read instead.

  Raises:
    UserError: the weights are not here (what to type), or do not fit.
    OSError: they cannot be read.
  """
  return read(name, network, find(name, weights))


def find(name: str, weights: str | None) -> pathlib.Path:
  """The path of the weights of a network, of the zoo unless one is given.

  Raises:
    UserError: the weights are not here (what to type), or are the file of
      another network.
    OSError: they cannot be unpacked.
  """
  path = catalogue.find(name) if weights is None else pathlib.Path(weights)
  path = path.expanduser()
  other = catalogue.owner(path.name)
  if other not in (None, name):
    raise UserError(
      f'{str(path)!r} is the file of {other!r}, not of {name!r}: type '
      f'load({other!r}, {str(path)!r})'
    )
  return path


def read(name: str, network: Network, path: pathlib.Path) -> core.Model:
  """A model of a network and a weights file of any format.

  Raises:
    UserError: the file is damaged, or its weights do not fit.
    OSError: it cannot be read.
  """
  form, content = detect_.read(path)
  ordered = form in detect_.ORDERED
  return _made(name, network, content, f'{str(path)!r} ({form})', ordered)


def of_arrays(
  name: str, network: Network, weights: Mapping[str, Any]
) -> core.Model:
  """A model of a network and arrays in memory.

  Args:
    name: of the network.
    network: its table and conventions.
    weights: {name: array}, as 'features.0.weight', or {layer: {name: array}},
      in the layout of any framework whose files are read.

  Raises:
    UserError: they do not fit.
  """
  arrays = jax.tree.map(np.asarray, dict(weights))
  return _made(name, network, arrays, 'the dictionary of weights', False)


def _made(
  name: str, network: Network, content: Any, source: str, ordered: bool
) -> core.Model:
  try:
    groups = layouts.matched(network.table, content, network.namings, ordered)
    params = layouts.params(network.table, groups, network.input_shape)
    first = next(row for row in network.table if row.inputs == (tables.DATA,))
    ends = params[first.name], params.get(network.table[-1].name, {})
    _normalize(network, *ends, layouts.kind(groups[first.name]))
    made = layers.model(
      network.table,
      params,
      mean=network.mean,
      input_shape=network.input_shape,
    )
  except UserError as error:
    raise UserError(
      f'{source} is not {name!r}: {files.one_line(str(error))}'
    ) from error
  return dataclasses.replace(
    made, labels=network.labels, preprocessing=network.preprocessing
  )


def _normalize(
  network: Network,
  first: dict[str, np.ndarray],
  last: dict[str, np.ndarray],
  kind: str,
) -> None:
  """Makes the first kernel read RGB less the mean, undivided.

  And the last one of a generator of pictures make RGB.
  """
  if kind == 'vizjax':
    return
  if network.input_shape[2] != 3:
    if network.bgr:
      for name, weight in last.items():
        last[name] = weight[..., ::-1]
    return
  # MatConvNet's are turned round already.
  if network.bgr and kind != 'matconvnet':
    first['kernel'] = first['kernel'][:, :, ::-1]
  deviation = np.asarray(network.deviation, np.float32)
  first['kernel'] = first['kernel'] / deviation[:, None]
