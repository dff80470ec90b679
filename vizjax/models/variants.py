"""Networks made of a network: cut, boxed to one unit, without padding."""

import dataclasses

import jax
import jax.numpy as jnp

from vizjax import core
from vizjax.errors import UserError
from vizjax.models import receptive_fields
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables


def cut(model: core.Model, names: tuple[str, ...]) -> core.Model:
  """The model without the layers that these do not need.

  So a convolutional part runs at any size, though a fully connected layer
  above it would not. One in a box stays in it. A model without a layer table
  is returned as it is: what is not read costs nothing once compiled.
  """
  table = _table(model)
  if table is None:
    return model
  return _with_table(model, tables.cut(table, names))


def rectifier(model: core.Model, name: str) -> str:
  """The rectifier that reads a layer; the layer itself where there is none.

  In Caffe's networks it works in place: the program reads it under the name
  of the layer below.
  """
  for row in _table(model) or ():
    if row.kind in ('relu', 'prelu', 'elu') and row.inputs == (name,):
      return row.name
  return name


def boxed(model: core.Model, name: str) -> core.Model:
  """The model on the receptive field of one unit of a layer, exactly.

  All padding is left out: on an image of the field's size the layer (and its
  rectifier) is 1 x 1, and its unit [0, 0] is any unit whose field lies on
  the image. The maps of the layers below are windows of the full ones.

  Raises:
    UserError: the layer sees the whole image, or has no known field.
  """
  table = _table(model)
  fields = {} if table is None else tables.receptive_fields_of(table)
  field = fields.get(name)
  if table is None or field is None or name == tables.DATA:
    raise UserError(f'layer {name!r} has no receptive field to be boxed in')
  same = tuple(n for n, other in fields.items() if other == field)
  origin = (field.y.offset, field.x.offset)
  small = _without_padding(model, tables.cut(table, same), origin)
  shape = (field.y.size, field.x.size, model.input_shape[2])
  return dataclasses.replace(small, input_shape=shape)


def computed_in(model: core.Model, dtype: str) -> core.Model:
  """Returns the model with another dtype inside, such as bfloat16.

  What goes in and what comes out, the activations, are of the type they were,
  and so are the gradient, the image and the optimizer's state.

  Raises:
    UserError: another type than 'float32', 'bfloat16' or 'float16', or the
      model has no layer table.
  """
  if dtype not in ('float32', 'bfloat16', 'float16'):
    raise UserError(
      f"computed_in: the type is {dtype!r}, expected 'float32', 'bfloat16' or "
      "'float16'"
    )
  if _table(model) is None:
    raise UserError(
      'computed_in() is for networks with a layer table, as '
      "computed_in(load('vgg16_features'), 'bfloat16')"
    )

  def cast(leaf):
    floating = jnp.issubdtype(leaf.dtype, jnp.floating)
    return leaf.astype(dtype) if floating else leaf

  params = jax.tree.map(cast, model.params)
  apply = dataclasses.replace(_apply(model), dtype=dtype)
  return dataclasses.replace(model, params=params, apply=apply)


def unpadded(model: core.Model) -> core.Model:
  """The model without all padding: units that would see some are not there.

  Every unit that is there is a unit of the padded network, on an image in
  which the fields of the last layer begin at the first pixel. `layers` gives
  the fields as they lie on the image of the model that is returned.

  Raises:
    UserError: the model has no layer table.
  """
  table = _table(model)
  if table is None:
    raise UserError(
      'unpadded() reads the layer table of a network, which this one lacks: '
      "expected one of vizjax's own, as unpadded(load('alexnet_features'))"
    )
  if _apply(model).network.origin is not None:
    return model
  fields = [
    field for field in tables.receptive_fields_of(table).values() if field
  ]
  origin = (fields[-1].y.offset, fields[-1].x.offset)
  return _without_padding(model, table, origin)


def sized(model: core.Model, h: int, w: int) -> core.Model:
  """The model as it is for images of another size: h x w pixels.

  TensorFlow's padding depends on the size of an image, and with it where the
  receptive fields of the units lie. Any other model is the same but for its
  `input_shape`.
  """
  shape = (h, w, model.input_shape[2])
  model = dataclasses.replace(model, input_shape=shape)
  table = _table(model)
  if table is None or _apply(model).network.origin is not None:
    return model
  return _padded(model, layers.with_own_pads(table, shape))


def fitting(
  model: core.Model, h: int, w: int
) -> tuple[core.Model, dict[str, jax.ShapeDtypeStruct]]:
  """The model for images of h x w, without the layers that do not fit them.

  A layer does not fit if its weights are of another shape (a dense layer) or
  if its operator refuses the shape of its inputs (a window that is larger than
  its map). Every layer that reads such a layer is left out, too. The network
  is traced once, and nothing is computed.

  Args:
    model: the network. One without a layer table keeps all its layers.
    h: height of the images.
    w: width of the images.

  Returns:
    The model as `sized` gives it, and {layer: shape and dtype of its
    activation} of the layers that are left.

  Raises:
    Exception: of a network without a layer table, what it raises for such an
      image; of any other, a bug in an operator.
  """
  shape = (h, w, model.input_shape[2])
  table = _table(model)
  image = jax.ShapeDtypeStruct(shape, jnp.result_type(model.mean))
  params = jax.tree.map(
    lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)),
    model.params,
  )
  if table is None:
    acts = jax.eval_shape(model.apply, params, image)
    return dataclasses.replace(model, input_shape=shape), acts
  acts = jax.eval_shape(_apply(model).fitting, params, image)
  table = tuple(row for row in table if row.name in acts)
  model = _with_table(dataclasses.replace(model, input_shape=shape), table)
  if _apply(model).network.origin is not None:
    return model, acts
  return _padded(model, layers.with_pads_of(table, shape, acts)), acts


def pooled(model: core.Model, pooling: str) -> core.Model:
  """The model with its maxima over windows as they are, or as means.

  Gatys et al. 2016 take means for style transfer. They ignore the padding.

  Args:
    model: with a layer table.
    pooling: 'max' for the model as it is, or 'avg'.

  Raises:
    UserError: another pooling, or the model has no table.
  """
  table = _table(model)
  if pooling not in ('max', 'avg') or table is None:
    raise UserError(
      f"pooling is {pooling!r}, expected 'max' or 'avg', and a network with a "
      'layer table'
    )
  if pooling == 'max':
    return model

  def mean(row):
    if row.kind != 'max_pool':
      return row
    options = (*row.options, ('inside', True))
    return row._replace(kind='average_pool', options=options)

  table = tuple(map(mean, table))
  kinds = {row.name: row.kind for row in table}
  model = _with_table(model, table)
  infos = (info._replace(kind=kinds[info.name]) for info in model.layers)
  return dataclasses.replace(model, layers=tuple(infos))


def _table(model: core.Model) -> tables.Table | None:
  if not isinstance(model.apply, layers.Apply):
    return None
  return model.apply.network.table


def _apply(model: core.Model) -> layers.Apply:
  """The function of a model that has a layer table."""
  assert isinstance(model.apply, layers.Apply)
  return model.apply


def _with_table(model: core.Model, table: tables.Table) -> core.Model:
  names = {row.name for row in table}
  network = layers.Network(table, _apply(model).network.origin)
  return dataclasses.replace(
    model,
    params={k: v for k, v in model.params.items() if k in names},
    apply=dataclasses.replace(_apply(model), network=network),
    layers=tuple(info for info in model.layers if info.name in names),
  )


def _padded(model: core.Model, table: tables.Table) -> core.Model:
  """The model with the padding, and the receptive fields, of its table."""
  if table == _table(model):
    return model
  channels = {info.name: info.channels for info in model.layers}
  model = _with_table(model, table)
  return dataclasses.replace(model, layers=layers.describe(table, channels))


def _without_padding(
  model: core.Model, table: tables.Table, origin: tables.Pair
) -> core.Model:
  model = _with_table(model, table)
  network = layers.Network(table, origin)
  fields = tables.receptive_fields_of(table)

  def moved(info):
    field = fields[info.name]
    on_window = field and receptive_fields.on_window(field, origin)
    return info._replace(receptive_field=on_window)

  return dataclasses.replace(
    model,
    apply=dataclasses.replace(_apply(model), network=network),
    layers=tuple(moved(info) for info in model.layers),
  )
