"""The one Flax module that runs a layer table, and the model of it.

Activations are keyed by layer name, so both sides of a rectifier are there:
`conv5` before, `relu5` after.
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import inspect
import math
from typing import Any

from flax import errors
from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from vizjax import core
from vizjax import receptive_fields
from vizjax.models import operators
from vizjax.models import tables


class Network(nn.Module):
  """Runs a table on one image [h, w, c]: {layer: activation}.

  Attributes:
    table: the layers, each after its inputs.
    padded: False leaves out all padding; on an image of exactly a unit's
      receptive field the layer is then 1 x 1 and that unit.
  """

  table: tables.Table
  padded: bool = True

  @nn.compact
  def __call__(self, image: Float[Array, 'h w c']) -> dict[str, Array]:
    acts = {tables.DATA: image}
    seen = {} if self.padded else tables.fields(self.table)
    for row in self.table:
      inputs = [acts[name] for name in row.inputs]
      if not self.padded:
        inputs = _aligned(inputs, [seen[name] for name in row.inputs])
        bare = [o for o in row.options if o[0] not in ('same', 'end')]
        row = row._replace(pad=(0, 0), options=tuple(bare))
      shapes = _shapes(row, inputs)
      weights = _Weights(shapes, image.dtype, name=row.name)() if shapes else {}
      acts[row.name] = _computed(row, inputs, weights)
    del acts[tables.DATA]
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
  """`Model.apply` of a network: equal for equal tables, so traced once.

  Attributes:
    network: what it runs.
    dtype: of the numbers inside; None for those of the image.
  """

  network: Network
  dtype: str | None = None

  def __call__(self, params, image):
    outside = image.dtype
    try:
      inside = image if self.dtype is None else image.astype(self.dtype)
      acts = self.network.apply({'params': params}, inside)
      return {name: act.astype(outside) for name, act in acts.items()}
    except errors.ScopeParamShapeError as error:
      raise ValueError(
        f'an image of {image.shape} does not fit a fully connected layer: '
        f'leave out --config.shape, or ask for layers below it ({error})'
      ) from error


def model(
  table: tables.Table,
  params: Mapping[str, Mapping[str, np.ndarray]],
  *,
  mean: Any,
  input_shape: tuple[int, int, int],
  scale: Any = 1.0,
  range: Any = core.GREY_LEVELS,
  names: Iterable[str] = (),
) -> core.Model:
  """A `Model` of a table and its weights.

  Args:
    table: the layers, each after its inputs.
    params: {layer: {'kernel': [h, w, in, out], 'bias': [out]}}.
    mean: [c] or [h, w, c], in the image's order and range.
    input_shape: (h, w, c).
    scale: a number or [c]: the network gets (image - mean) * scale.
    range: (low, high) of the image.
    names: of all layers in the weights file, for the error; those of `params`
      unless given.

  Raises:
    ValueError: weights are missing or do not fit: layer, found, expected; or
      mean, scale or range has a wrong shape.
  """
  apply = Apply(Network(table))
  acts, weights = shapes(table, input_shape)
  missing = [layer for layer in weights if layer not in params]
  if missing:
    raise ValueError(
      f'the weights have nothing for {_listed(missing)}: they have '
      f'{_listed(names or params)}'
    )
  params = {
    layer: {
      name: _weight(layer, name, like, params[layer])
      for name, like in group.items()
    }
    for layer, group in weights.items()
  }
  channels = {name: act.shape[-1] for name, act in acts.items()}
  return core.Model(
    params,
    apply=apply,
    input_shape=input_shape,
    layers=_describe(table, channels),
    **core.normalization(input_shape, mean, scale, range),
  )


def shapes(table: tables.Table, input_shape: tuple[int, int, int]) -> tuple:
  """Shape and dtype of the activations, and of the weights; none is computed.

  Returns:
    ({layer: activation}, {layer: {name: weight}}).
  """
  image = jax.ShapeDtypeStruct(input_shape, jnp.float32)
  acts, variables = jax.eval_shape(
    Network(table).init_with_output, jax.random.key(0), image
  )
  return acts, variables.get('params', {})


def _describe(
  table: tables.Table, channels: Mapping[str, int]
) -> tuple[core.LayerInfo, ...]:
  seen = tables.fields(table)
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


def _operator(row: tables.Layer) -> Callable:
  function = getattr(operators, row.kind, None)
  if row.kind.startswith('_') or not inspect.isfunction(function):
    raise ValueError(f'layer {row.name!r} is of unknown kind {row.kind!r}')
  return function


def _computed(
  row: tables.Layer, inputs: list[Array], weights: Mapping[str, Array]
) -> Array:
  """The activation of a layer.

  Raises:
    ValueError: its inputs do not fit: the layer and their shapes.
  """
  operator = _operator(row)
  given = ' and '.join(str(x.shape) for x in inputs)
  try:
    activation = operator(row, *inputs, **weights)
  except (TypeError, ValueError, IndexError, ZeroDivisionError) as error:
    reason, *_ = str(error).splitlines() or [type(error).__name__]
    raise ValueError(
      f'layer {row.name!r} ({row.kind}) does not fit its input of shape '
      f'{given}: {reason}'
    ) from error
  if 0 in activation.shape:
    raise ValueError(
      f'layer {row.name!r} ({row.kind}) has nothing left of its input of shape '
      f'{given}, with a kernel of {row.kernel} and padding {row.pad}: expected '
      'a larger image'
    )
  return activation


def _shapes(
  row: tables.Layer, inputs: list[Array]
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
    case 'batch_norm' if not row.option('whole', False):
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


def _weight(layer: str, name: str, like, weights: Mapping) -> Array:
  if name not in weights:
    raise ValueError(
      f'the weights have no {name} for layer {layer!r}: they have '
      f'{_listed(weights)}'
    )
  found = np.shape(weights[name])
  if found != like.shape:
    raise ValueError(
      f'the {name} of layer {layer!r} is {found} in the weights, '
      f'expected {like.shape}'
    )
  return jnp.asarray(weights[name], like.dtype)


def _listed(names: Iterable[str]) -> str:
  names = list(names)
  more = f' and {len(names) - 12} more' if len(names) > 12 else ''
  return (', '.join(map(repr, names[:12])) or 'nothing') + more
