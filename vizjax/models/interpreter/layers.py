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
from vizjax.errors import UserError
from vizjax.models import finite
from vizjax.models import receptive_fields
from vizjax.models.interpreter import operators
from vizjax.models.interpreter import tables
from vizjax.models.interpreter.cpu import pooling


# Options that say how a map is padded.
_PADDING = ('same', 'end', 'ceil')


class Network(nn.Module):
  """Runs a table on one image [h, w, c]: {layer: activation}.

  Attributes:
    table: the layers, each after its inputs.
    origin: None for the network with its padding. (y, x) for the network
      without: the image is then a window of a larger image and begins at row
      y, column x of it. Each map holds the units whose receptive field lies
      on the window, and no others.
  """

  table: tables.Table
  origin: tables.Pair | None = None

  @nn.compact
  def __call__(self, image: Float[Array, 'h w c']) -> dict[str, Array]:
    def weights(row, shapes):
      return _Weights(shapes, image.dtype, name=row.name)()

    return _run(self, image, weights)


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
    try:
      return self._cast(
        lambda inside: self.network.apply({'params': params}, inside), image
      )
    except errors.ScopeParamShapeError as error:
      raise UserError(
        f'an image of {image.shape} does not fit a fully connected layer: '
        f'leave out --config.shape, or ask for layers below it ({error})'
      ) from error

  def fitting(self, params, image):
    """Returns the activations of the layers that fit an image of this size.

    A layer is left out if its operator refuses the shape of its inputs or if
    its weights are of another shape, and so is every layer that reads it.
    """

    def weights(row, shapes):
      group = {name: params[row.name][name] for name, _ in shapes}
      if any(group[name].shape != shape for name, shape in shapes):
        raise UserError(f'the weights of layer {row.name!r} do not fit')
      return group

    run = lambda inside: _run(self.network, inside, weights, (UserError,))
    return self._cast(run, image)

  def _cast(self, run: Callable, image: Array) -> dict[str, Array]:
    """Runs on the image in the dtype inside; returns that of the image."""
    inside = image if self.dtype is None else image.astype(self.dtype)
    return {name: act.astype(image.dtype) for name, act in run(inside).items()}


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

  Warns of weights that are NaN or infinite.

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
    UserError: weights are missing or do not fit: layer, found, expected; or
      mean, scale or range has a wrong shape.
  """
  table = with_own_pads(table, input_shape)
  apply = Apply(Network(table))
  acts, weights = shapes(table, input_shape)
  missing = [layer for layer in weights if layer not in params]
  if missing:
    raise UserError(
      f'the weights have nothing for {_listed(missing)}: they have '
      f'{_listed(names or params)}'
    )
  fitted = {
    layer: {
      name: _weight(layer, name, like, params[layer])
      for name, like in group.items()
    }
    for layer, group in weights.items()
  }
  finite.warn(fitted)
  channels = {name: act.shape[-1] for name, act in acts.items()}
  return core.Model(
    fitted,
    apply=apply,
    input_shape=input_shape,
    layers=describe(table, channels),
    **core.normalization(input_shape, mean, scale, range),
  )


def with_own_pads(
  table: tables.Table, input_shape: tuple[int, int, int]
) -> tables.Table:
  """The table with the padding that option 'same' means at a size.

  TensorFlow's padding depends on the size of the map; a receptive field and a
  box need it as a number.

  Args:
    table: the layers, each after its inputs.
    input_shape: (h, w, c) of the image.
  """
  if not any(row.option('same', False) for row in table):
    return table
  acts, _ = shapes(table, input_shape)
  return with_pads_of(table, input_shape, acts)


def with_pads_of(
  table: tables.Table,
  input_shape: tuple[int, int, int],
  acts: Mapping[str, jax.ShapeDtypeStruct],
) -> tables.Table:
  """Returns the table of `with_own_pads`, given the shapes of all layers.

  Args:
    table: the layers, each after its inputs.
    input_shape: (h, w, c) of the image.
    acts: the activations of all layers, for an image of that size.
  """
  sizes = {name: act.shape[:2] for name, act in acts.items()}
  sizes[tables.DATA] = input_shape[:2]

  def own(row):
    if not row.option('same', False):
      return row
    padding = pooling.same(row, sizes[row.inputs[0]])
    return row._replace(pad=tuple(before for before, _ in padding))

  return tuple(map(own, table))


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


def describe(
  table: tables.Table, channels: Mapping[str, int]
) -> tuple[core.LayerInfo, ...]:
  """The `LayerInfo` of each layer; `channels` gives its number of channels."""
  fields = tables.receptive_fields_of(table)
  return tuple(
    core.LayerInfo(
      row.name,
      row.kind,
      channels[row.name],
      fields[row.name],
      row.kind in ('conv', 'deconv', 'fc'),
    )
    for row in table
  )


def _run(
  network: Network,
  image: Array,
  weights: Callable,
  left_out: tuple[type[Exception], ...] = (),
) -> dict[str, Array]:
  """Returns {layer: activation} of the table of a network.

  Args:
    network: the table, and the origin of the image.
    image: [h, w, c].
    weights: (row, shapes) -> {name: weight} of a layer.
    left_out: exceptions. A layer that raises one of them is left out, and so
      is every layer that reads it. Any other exception is raised.
  """
  acts, missing = {tables.DATA: image}, set()
  origin, table = network.origin, network.table
  fields = {} if origin is None else tables.receptive_fields_of(table)
  for row in table:
    if not missing.isdisjoint(row.inputs):
      missing.add(row.name)
      continue
    inputs = [acts[name] for name in row.inputs]
    try:
      if origin is not None:
        row, inputs = _unpadded(row, inputs, fields, origin)
      _check_fits(row, inputs, image, table)
      shapes = _shapes(row, inputs)
      group = weights(row, shapes) if shapes else {}
      acts[row.name] = _computed(row, inputs, group)
    except left_out:
      missing.add(row.name)
  del acts[tables.DATA]
  return acts


def _operator(row: tables.Layer) -> Callable:
  function = getattr(operators, row.kind, None)
  if row.kind.startswith('_') or not inspect.isfunction(function):
    raise UserError(f'layer {row.name!r} is of unknown kind {row.kind!r}')
  return function


def _computed(
  row: tables.Layer, inputs: list[Array], weights: Mapping[str, Array]
) -> Array:
  """The activation of a layer.

  Raises:
    UserError: its inputs do not fit: the layer and their shapes.
  """
  operator = _operator(row)
  given = ' and '.join(str(x.shape) for x in inputs)
  try:
    activation = operator(row, *inputs, **weights)
  except (TypeError, ValueError, IndexError, ZeroDivisionError) as error:
    reason, *_ = str(error).splitlines() or [type(error).__name__]
    raise UserError(
      f'layer {row.name!r} ({row.kind}) does not fit its input of shape '
      f'{given}: {reason}'
    ) from error
  if 0 in activation.shape:
    raise UserError(
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


def _check_fits(
  row: tables.Layer, inputs: list[Array], image: Array, table: tables.Table
) -> None:
  """Refuses a layer that would give a map without a unit."""
  size = inputs[0].shape[:2]
  windowed = row.kind in tables.WINDOWED and not row.option('whole', False)
  if not windowed or min(pooling.counts(row, size)) >= 1:
    return
  h, w, _ = image.shape
  kernel = np.multiply(np.subtract(row.kernel, 1), row.dilation) + 1
  known = [
    field for field in tables.receptive_fields_of(table).values() if field
  ]
  enough = [
    max(n, *(spans[axis].size for spans in known))
    for axis, n in enumerate((h, w))
  ]
  raise UserError(
    f'the network sees {h} x {w} pixels, too few for layer {row.name!r}, whose '
    f'input is {size[0]} x {size[1]} and whose window is {kernel[0]} x '
    f'{kernel[1]}: expected a larger image, as by --config.shape=HxW or larger '
    f'sizes in config.scales ({enough[0]} x {enough[1]} pixels are enough), or '
    'layers below it'
  )


def _unpadded(
  row: tables.Layer,
  inputs: list[Array],
  fields: Mapping[str, receptive_fields.Field | None],
  origin: tables.Pair,
) -> tuple[tables.Layer, list[Array]]:
  """A layer without its padding, and the parts of its inputs that it reads.

  A map without padding begins with the first unit whose field lies on the
  image, so the maps of several inputs begin at different units: all are cut
  to the units that each of them has. A window with a stride then begins
  where a window of the padded network does, which need not be the first row.
  """
  own = fields[row.name]
  if own is None:
    _check_known(row, inputs)
  else:
    # A layer has no field where one below it has none.
    below = [field for name in row.inputs if (field := fields[name])]
    inputs = _aligned(
      inputs, [receptive_fields.first(field, origin) for field in below]
    )
    if row.kind in tables.WINDOWED:
      (field,) = below
      unit = receptive_fields.first(own, origin)
      window = np.multiply(unit, row.stride) - row.pad
      top, left = window - receptive_fields.first(field, origin)
      if top or left:
        inputs = [x[top:, left:] for x in inputs]
  options = (pair for pair in row.options if pair[0] not in _PADDING)
  return row._replace(pad=(0, 0), options=tuple(options)), inputs


def _aligned(inputs: list[Array], firsts: list[tuple[int, int]]) -> list[Array]:
  """The units that all maps have; firsts: the first unit, (y, x), of each."""
  if len(inputs) == 1:
    return inputs
  first = tuple(map(max, *firsts))
  starts = [np.subtract(first, own).tolist() for own in firsts]
  pairs = list(zip(inputs, starts, strict=True))
  height = min(len(x) - y for x, (y, _) in pairs)
  width = min(x.shape[1] - left for x, (_, left) in pairs)
  return [x[y : y + height, left : left + width] for x, (y, left) in pairs]


def _check_known(row: tables.Layer, inputs: list[Array]) -> None:
  """Refuses what has no form without padding, or maps of unknown places."""
  maps = [x for x in inputs if x.ndim == 3 and x.shape[:2] != (1, 1)]
  if row.kind == 'deconv' or row.option('within', False) or len(maps) > 1:
    raise UserError(
      f'layer {row.name!r} ({row.kind}) cannot be computed without padding: '
      f'expected layers below it, as unpadded(cut(model, {row.inputs!r}))'
    )


def _weight(layer: str, name: str, like, weights: Mapping) -> Array:
  if name not in weights:
    raise UserError(
      f'the weights have no {name} for layer {layer!r}: they have '
      f'{_listed(weights)}'
    )
  found = np.shape(weights[name])
  if found != like.shape:
    raise UserError(
      f'the {name} of layer {layer!r} is {found} in the weights, '
      f'expected {like.shape}' + ', as [h, w, in, out]' * (len(like.shape) == 4)
    )
  return jnp.asarray(weights[name], like.dtype)


def _listed(names: Iterable[str]) -> str:
  names = list(names)
  more = f' and {len(names) - 12} more' if len(names) > 12 else ''
  return (', '.join(map(repr, names[:12])) or 'nothing') + more
