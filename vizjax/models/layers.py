"""A layer table, and the one Flax module that runs it.

A convolutional network is a table: each row a layer, its inputs by name, its
window. Importers write tables, `Network` runs them, and receptive fields, cuts
and boxes are read off them. Activations are keyed by layer name, so both
sides of a rectifier are there: `conv5` before, `relu5` after.
"""

from collections.abc import Callable, Mapping
import dataclasses
import inspect
import math
from typing import Any, NamedTuple

from flax import errors
from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from vizjax import core
from vizjax import receptive_fields
from vizjax.models import operators

DATA = 'data'  # the image, as an input of a layer

Pair = tuple[int, int]  # (down, right)


class Layer(NamedTuple):
  """One row of a table.

  Attributes:
    name: key of its activations and weights.
    kind: the name of a function of `operators`.
    inputs: names of the layers it reads; () in `sequence` means the last.
    features: channels out of a conv or fc.
    kernel: (height, width) of the window.
    stride: (down, right).
    pad: (above and below, left and right).
    dilation: (down, right) distance between the taps of a conv.
    groups: of a conv; group g of the output reads group g of the input.
    options: further (name, value) pairs that its operator reads.
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
  options: tuple[tuple[str, Any], ...] = ()

  def option(self, name: str, default: Any) -> Any:
    """The value of an option."""
    return dict(self.options).get(name, default)


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
  """A fully connected layer with bias; reads a map as [c, h, w]."""
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
    seen = {} if self.padded else fields(self.table)
    for row in self.table:
      inputs = [acts[name] for name in row.inputs]
      if not self.padded:
        inputs = _aligned(inputs, [seen[name] for name in row.inputs])
        bare = [option for option in row.options if option[0] != 'same']
        row = row._replace(pad=(0, 0), options=tuple(bare))
      shapes = _shapes(row, inputs)
      weights = _Weights(shapes, image.dtype, name=row.name)() if shapes else {}
      acts[row.name] = _operator(row)(row, *inputs, **weights)
    del acts[DATA]
    return acts


class _Weights(nn.Module):
  """The weights of one layer, by name; zeros until they are loaded."""

  shapes: tuple[tuple[str, tuple[int, ...]], ...]
  dtype: Any

  @nn.compact
  def __call__(self) -> dict[str, Array]:
    zeros = nn.initializers.zeros
    return {
      name: self.param(name, zeros, shape, self.dtype)
      for name, shape in self.shapes
    }


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
  acts, variables = jax.eval_shape(
    apply.network.init_with_output, jax.random.key(0), image
  )
  params = {
    layer: {
      name: _weight(layer, name, like, params) for name, like in group.items()
    }
    for layer, group in variables.get('params', {}).items()
  }
  channels = {name: act.shape[-1] for name, act in acts.items()}
  return core.Model(
    params,
    jnp.asarray(mean, jnp.float32),
    apply,
    input_shape,
    _describe(table, channels),
  )


def fields(table: Table) -> dict[str, receptive_fields.Field | None]:
  """The receptive field of every layer; None for the whole image."""
  seen = {DATA: receptive_fields.PIXEL}
  for row in table:
    below = [seen[name] for name in row.inputs]
    joined = None if None in below else receptive_fields.union(below)
    whole = (
      row.option('whole', False)
      or row.option('within', False)
      or row.option('axis', 1) != 1
      or (row.kind == 'normalize' and row.option('across_spatial', True))
      or row.kind not in _POINTWISE | _WINDOWED
    )
    seen[row.name] = None
    if joined is not None and not whole:
      kernel = [
        (k - 1) * d + 1 for k, d in zip(row.kernel, row.dilation, strict=True)
      ]
      seen[row.name] = receptive_fields.compose(
        joined, tuple(kernel), row.stride, row.pad
      )
  return seen


def cut(table: Table, names: tuple[str, ...]) -> Table:
  """The rows that these layers need, themselves included."""
  wanted = set(names)
  for row in reversed(table):
    if row.name in wanted:
      wanted.update(row.inputs)
  return tuple(row for row in table if row.name in wanted)


def _describe(
  table: Table, channels: Mapping[str, int]
) -> tuple[core.LayerInfo, ...]:
  seen = fields(table)
  return tuple(
    core.LayerInfo(
      row.name,
      row.kind,
      channels[row.name],
      seen[row.name],
      row.kind in ('conv', 'deconv', 'fc'),
    )
    for row in table
  )


def _operator(row: Layer) -> Callable:
  function = getattr(operators, row.kind, None)
  if row.kind.startswith('_') or not inspect.isfunction(function):
    raise ValueError(f'layer {row.name!r} is of unknown kind {row.kind!r}')
  return function


def _shapes(
  row: Layer, inputs: list[Array]
) -> tuple[tuple[str, tuple[int, ...]], ...]:
  """Name and shape of each weight of a layer."""
  channels = inputs[0].shape[-1]
  shapes = {}
  match row.kind:
    case 'conv' | 'deconv':
      fan_in = channels // row.groups
      shapes['kernel'] = (*row.kernel, fan_in, row.features)
      shapes['bias'] = (row.features,)
    case 'fc':
      shapes['kernel'] = (math.prod(inputs[0].shape), row.features)
      shapes['bias'] = (row.features,)
    case 'prelu':
      shapes['slope'] = (1,) if row.option('shared', False) else (channels,)
    case 'normalize':
      shapes['scale'] = (1,) if row.option('shared', True) else (channels,)
    case 'batch_norm':
      shapes['mean'] = shapes['variance'] = (channels,)
      if row.option('affine', False):
        shapes['scale'] = shapes['bias'] = (channels,)
    case 'scale' | 'bias':
      shape = row.option('shape', (channels,))
      if row.kind == 'scale' and len(inputs) == 1:
        shapes['scale'] = shape
      if row.kind == 'scale' or len(inputs) == 1:
        shapes['bias'] = shape
  if not row.option('bias', row.kind != 'scale'):
    shapes.pop('bias', None)
  return tuple(shapes.items())


# What sees no more than its inputs do.
_POINTWISE = {
  'relu', 'prelu', 'elu', 'sigmoid', 'tanh', 'absolute', 'power', 'exp', 'log',
  'identity', 'softmax', 'concat', 'slice', 'eltwise', 'scale', 'bias',
  'batch_norm', 'normalize', 'lrn', 'reverse',
}  # fmt: skip
_WINDOWED = {'conv', 'max_pool', 'average_pool'}


def _aligned(inputs: list[Array], fields: list) -> list[Array]:
  """Windows of unpadded maps that look at the same positions."""
  if len(inputs) == 1:
    return inputs
  joined = receptive_fields.union(fields)
  starts = [
    [
      (own.start - all_.start) // all_.stride
      for own, all_ in zip(f, joined, strict=True)
    ]
    for f in fields
  ]
  pairs = list(zip(inputs, starts, strict=True))
  height = min(len(x) - y for x, (y, _) in pairs)
  width = min(x.shape[1] - left for x, (_, left) in pairs)
  return [x[y : y + height, left : left + width] for x, (y, left) in pairs]


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
