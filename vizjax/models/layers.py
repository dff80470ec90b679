"""A layer table, and the one Flax module that runs it.

A convolutional network is a table: each row a layer, its inputs by name, its
window. Importers write tables, `Network` runs them, and receptive fields, cuts
and boxes are read off them. Activations are keyed by layer name, so both
sides of a rectifier are there: `conv5` before, `relu5` after.
"""

from collections.abc import Mapping
import dataclasses
from typing import NamedTuple

from flax import errors
from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from vizjax import core
from vizjax import receptive_fields

DATA = 'data'  # the image, as an input of a layer

Pair = tuple[int, int]  # (down, right)


class Layer(NamedTuple):
  """One row of a table.

  Attributes:
    name: key of its activations and weights.
    kind: conv, fc, relu, max_pool or softmax.
    inputs: names of the layers it reads; () in `sequence` means the last.
    features: channels out of a conv or fc.
    kernel: (height, width) of the window.
    stride: (down, right).
    pad: (above and below, left and right).
    dilation: (down, right) distance between the taps of a conv.
    groups: of a conv; group g of the output reads group g of the input.
  """

  name: str
  kind: str
  inputs: tuple[str, ...] = ()
  features: int = 0
  kernel: Pair = (1, 1)
  stride: Pair = (1, 1)
  pad: Pair = (0, 0)
  dilation: Pair = (1, 1)
  groups: int = 1


Table = tuple[Layer, ...]


def conv(
  name: str, features: int, kernel: int, stride: int = 1, pad: int = 0
) -> Layer:
  """A square convolution with bias: cross-correlation, zeros around."""
  windows = {'kernel': kernel, 'stride': stride, 'pad': pad}
  windows = {key: (size, size) for key, size in windows.items()}
  return Layer(name, 'conv', features=features, **windows)


def max_pool(name: str, kernel: int, stride: int) -> Layer:
  """A square maximum; windows that do not fit whole are left out."""
  pairs = {'kernel': (kernel, kernel), 'stride': (stride, stride)}
  return Layer(name, 'max_pool', **pairs)


def relu(name: str) -> Layer:
  """max(0, x)."""
  return Layer(name, 'relu')


def fc(name: str, features: int) -> Layer:
  """A fully connected layer with bias; reads [h, w, c] in that order."""
  return Layer(name, 'fc', features=features)


def softmax(name: str) -> Layer:
  """Probabilities over channels."""
  return Layer(name, 'softmax')


def sequence(*rows: Layer) -> Table:
  """A table in which a row without inputs reads the row before it."""
  last = DATA
  table = []
  for row in rows:
    table.append(row if row.inputs else row._replace(inputs=(last,)))
    last = row.name
  return tuple(table)


class Network(nn.Module):
  """Runs a table on one image [h, w, c]: {layer: activation}.

  Attributes:
    table: the layers, each after its inputs.
    padded: False leaves out all padding; on an image of exactly a unit's
      receptive field the layer is then 1 x 1 and that unit.
  """

  table: Table
  padded: bool = True

  @nn.compact
  def __call__(self, image: Float[Array, 'h w c']) -> dict[str, Array]:
    acts = {DATA: image}
    for row in self.table:
      acts[row.name] = self._run(row, *(acts[name] for name in row.inputs))
    del acts[DATA]
    return acts

  def _run(self, row: Layer, x: Array) -> Array:
    pad = row.pad if self.padded else (0, 0)
    padding = [(size, size) for size in pad]
    match row.kind:
      case 'conv':
        return nn.Conv(
          row.features,
          row.kernel,
          row.stride,
          padding,
          kernel_dilation=row.dilation,
          feature_group_count=row.groups,
          param_dtype=x.dtype,
          name=row.name,
        )(x)
      case 'fc':
        dense = nn.Dense(row.features, param_dtype=x.dtype, name=row.name)
        return dense(x.reshape(-1))
      case 'relu':
        return nn.relu(x)
      case 'max_pool':
        return nn.max_pool(x, row.kernel, row.stride, padding)
      case 'softmax':
        return nn.softmax(x)
    raise ValueError(f'layer {row.name!r} is of unknown kind {row.kind!r}')


@dataclasses.dataclass(frozen=True)
class Apply:
  """`Model.apply` of a network: equal for equal tables, so traced once."""

  network: Network

  def __call__(self, params, image):
    try:
      return self.network.apply({'params': params}, image)
    except errors.ScopeParamShapeError as error:
      raise ValueError(
        f'an image of {image.shape} does not fit a fully connected layer: '
        f'leave out --config.shape, or ask for layers below it ({error})'
      ) from error


def model(
  table: Table,
  params: Mapping[str, Mapping[str, np.ndarray]],
  *,
  mean: tuple[float, ...],
  input_shape: tuple[int, int, int],
) -> core.Model:
  """A `Model` of a table and its weights.

  Args:
    table: the layers, each after its inputs.
    params: {layer: {'kernel': [h, w, in, out], 'bias': [out]}}.
    mean: [c], in the image's order and range.
    input_shape: (h, w, c).

  Raises:
    ValueError: weights are missing or do not fit: layer, found, expected.
  """
  apply = Apply(Network(table))
  image = jax.ShapeDtypeStruct(input_shape, jnp.float32)
  expected = jax.eval_shape(apply.network.init, jax.random.key(0), image)
  params = {
    layer: {
      name: _weight(layer, name, like, params) for name, like in group.items()
    }
    for layer, group in expected['params'].items()
  }
  return core.Model(
    params,
    jnp.asarray(mean, jnp.float32),
    apply,
    input_shape,
    describe(table, input_shape[2]),
  )


def describe(table: Table, channels: int) -> tuple[core.LayerInfo, ...]:
  """Kind, channels and receptive field of every layer of a table."""
  known = {
    DATA: core.LayerInfo(DATA, DATA, channels, receptive_fields.PIXEL, False)
  }
  for row in table:
    below = [known[name] for name in row.inputs]
    known[row.name] = core.LayerInfo(
      row.name,
      row.kind,
      row.features or sum(info.channels for info in below),
      _field(row, [info.field for info in below]),
      row.kind in ('conv', 'fc'),
    )
  return tuple(known[row.name] for row in table)


def cut(table: Table, names: tuple[str, ...]) -> Table:
  """The rows that these layers need, themselves included."""
  wanted = set(names)
  for row in reversed(table):
    if row.name in wanted:
      wanted.update(row.inputs)
  return tuple(row for row in table if row.name in wanted)


def _field(row: Layer, below: list) -> receptive_fields.Field | None:
  if row.kind == 'fc' or None in below:
    return None
  kernel = tuple(
    (k - 1) * d + 1 for k, d in zip(row.kernel, row.dilation, strict=True)
  )
  joined = receptive_fields.union(below)
  if joined is None:
    return None
  return receptive_fields.compose(joined, kernel, row.stride, row.pad)


def _weight(layer: str, name: str, like, params: Mapping) -> Array:
  if layer not in params or name not in params[layer]:
    missing = f'no {name} for layer {layer!r}'
    raise ValueError(f'the weights have {missing}: they have {sorted(params)}')
  found = np.shape(params[layer][name])
  if found != like.shape:
    raise ValueError(
      f'the {name} of layer {layer!r} is {found} in the weights, '
      f'expected {like.shape}'
    )
  return jnp.asarray(params[layer][name], like.dtype)
