"""One layer of a prototxt, of any generation, as rows of a table."""

import math
from typing import Any

import numpy as np

from vizjax.errors import UserError
from vizjax.models.caffe import fields as fields_
from vizjax.models.caffe import upgrade
from vizjax.models.caffe import windows
from vizjax.models.formats import caffe_schema
from vizjax.models.interpreter import tables

# The operator of each type of layer.
_KINDS = {
  'AbsVal': 'absolute',
  'BatchNorm': 'batch_norm',
  'Bias': 'bias',
  'Concat': 'concat',
  'Convolution': 'conv',
  'Crop': 'crop',
  'Deconvolution': 'deconv',
  'Dropout': 'identity',
  'ELU': 'elu',
  'Eltwise': 'eltwise',
  'Exp': 'exp',
  'Flatten': 'flatten',
  'InnerProduct': 'fc',
  'LRN': 'lrn',
  'Log': 'log',
  'Normalize': 'normalize',
  'PReLU': 'prelu',
  'Permute': 'permute',
  'Pooling': 'max_pool',
  'Power': 'power',
  'ReLU': 'relu',
  'Reshape': 'reshape',
  'Scale': 'scale',
  'Sigmoid': 'sigmoid',
  'Slice': 'slice',
  'Softmax': 'softmax',
  'Split': 'identity',
  'TanH': 'tanh',
}

# The field with the parameters of a type, where its name is not the rule's.
_PARAMETERS = {
  'AbsVal': '',
  'Convolution': 'convolution_param',
  'Deconvolution': 'convolution_param',
  'Exp': 'exp_param',
  'InnerProduct': 'inner_product_param',
  'BatchNorm': 'batch_norm_param',
  'Normalize': 'norm_param',
  'PReLU': 'prelu_param',
  'Split': '',
}

# How many blobs a layer reads, least and most, where it is not one; and the
# types that make several.
_BOTTOMS = {
  'Bias': (1, 2),
  'Concat': (1, math.inf),
  'Crop': (2, 2),
  'Eltwise': (2, math.inf),
  'Scale': (1, 2),
}
_DATA = ('Input', 'Data', 'DummyData', 'ImageData', 'MemoryData')
_SEVERAL_TOPS = ('Slice', 'Split')

_TEST = 1  # Caffe's phase


class Reader:
  """One layer of a prototxt.

  Attributes:
    layer: as protobuf has it, as a message of V2 if it was of V0.
    given: all its fields, those among them that protobuf passed over.
    number: of the layer in the prototxt, from 1.
    name: of the layer.
    type: in the words of V2, such as Convolution.
    bottoms: names of the blobs that it reads.
    tops: names of those that it makes.
  """

  def __init__(
    self, layer: caffe_schema.Message, given: fields_.Fields, number: int
  ):
    self.message, self.given = layer.DESCRIPTOR.name, given
    self.number = number
    self.layer = upgrade.upgrade(layer)
    if self.layer is not layer:
      self.message, self.given = 'V0LayerParameter', dict(given)['layer']
    layer = self.layer
    self.name = layer.name
    self.type = upgrade.type_name(layer)
    self.bottoms = list(layer.bottom)
    self.tops = list(layer.top)

  def used(self, state: caffe_schema.Message) -> bool:
    """Whether it is part of the network that is tested and deployed.

    Caffe's NetStateRule at phase TEST, with the stage 'deploy', which DIGITS
    asks of its definitions, beside those of the net's own `state`.
    """
    stages = {'deploy', *state.stage}

    def met(rule):
      return (
        (not rule.HasField('phase') or rule.phase == _TEST)
        and (not rule.HasField('min_level') or state.level >= rule.min_level)
        and (not rule.HasField('max_level') or state.level <= rule.max_level)
        and stages.issuperset(rule.stage)
        and stages.isdisjoint(rule.not_stage)
      )

    included, excluded = self.layer.include, self.layer.exclude
    if included:
      return any(map(met, included))
    return not any(map(met, excluded))

  @property
  def is_data(self) -> bool:
    """Whether it makes images instead of reading them."""
    return self.type in _DATA

  def check(self) -> None:
    """Refuses unknown fields and numbers of blobs.

    Raises:
      UserError: the layer, what it has, and what is expected.
    """
    fields = [_PARAMETERS.get(self.type, f'{self.type.lower()}_param')]
    if self.is_data:
      # The mean and the scale of images matter, not where they come from.
      fields = ['input_param', 'transform_param']
      fields_.check_parameters(self.name, self.given, fields)
      return
    fields_.check_layer(self.name, self.message, self.given, fields)
    least, most = _BOTTOMS.get(self.type, (1, 1))
    if not least <= len(self.bottoms) <= most:
      many = ' or '.join(map(str, sorted({least, most})))
      many = f'{least} or more' if most == math.inf else many
      raise UserError(
        f'layer {self.name!r} of type {self.type} has {len(self.bottoms)} '
        f'bottoms {self.bottoms}, expected {many}'
      )
    if len(self.tops) != 1 and self.type not in _SEVERAL_TOPS:
      raise UserError(
        f'layer {self.name!r} of type {self.type} has {len(self.tops)} tops '
        f'{self.tops}, expected 1'
      )

  def read(self, inputs: tuple[str, ...]) -> list[tables.Layer]:
    """Its rows: one, or one for each part of a Slice."""
    kind = _KINDS.get(self.type)
    if kind is None:
      raise UserError(
        f'layer {self.name!r} is of type {self.type!r}, which is not known. '
        f'Types: {", ".join(_KINDS)}'
      )
    self.check()
    row = tables.Layer(self.name, kind, inputs)
    translate = getattr(self, f'_{self.type}', None)
    row = row if translate is None else translate(row)
    return row if isinstance(row, list) else [row]

  def get(self, field: str, name: str, default: Any) -> Any:
    """A parameter, or its default where the file does not give it."""
    parameter = getattr(self.layer, field)
    if parameter.DESCRIPTOR.fields_by_name[name].is_repeated:
      return list(getattr(parameter, name)) or default
    if not parameter.HasField(name):
      return default
    value = getattr(parameter, name)
    # A float of the file, 0.0001, not its nearest double.
    return float(np.float32(value)) if isinstance(value, float) else value

  def options(self, row: tables.Layer, field: str, **names) -> tables.Layer:
    """The row with parameters as options: option = (parameter, default)."""
    found = {
      option: self.get(field, name, default)
      for option, (name, default) in names.items()
    }
    return row._replace(options=tuple(found.items()))

  def only(self, field: str, name: str, value) -> None:
    """Refuses a parameter of another value."""
    given = self.get(field, name, value)
    if given != value:
      raise UserError(
        f'layer {self.name!r} of type {self.type} has {name}: {given}, '
        f'expected {value}'
      )

  def _Convolution(self, row: tables.Layer) -> tables.Layer:
    field = 'convolution_param'
    self.only(field, 'axis', 1)
    dilation = self.get(field, 'dilation', [1])
    row = windows.placed(self, field, row)._replace(
      features=self.get(field, 'num_output', 0),
      groups=self.get(field, 'group', 1),
      dilation=tuple((dilation * 2)[:2]),
    )
    if min(row.features, row.groups, *row.dilation) < 1 or len(dilation) > 2:
      raise UserError(
        f'layer {self.name!r} has num_output {row.features}, group '
        f'{row.groups} and dilation {dilation}, expected numbers >= 1'
      )
    bias = ('bias', self.get(field, 'bias_term', True))
    return row._replace(options=(bias, *row.options))

  _Deconvolution = _Convolution

  def _InnerProduct(self, row: tables.Layer) -> tables.Layer:
    field = 'inner_product_param'
    self.only(field, 'axis', 1)
    row = row._replace(features=self.get(field, 'num_output', 0))
    if row.features < 1:
      raise UserError(
        f'layer {self.name!r} has num_output {row.features}, expected >= 1'
      )
    return self.options(
      row, field, bias=('bias_term', True), transpose=('transpose', False)
    )

  def _Pooling(self, row: tables.Layer) -> tables.Layer:
    field = 'pooling_param'
    method = self.get(field, 'pool', 0)
    if method == 2:
      raise UserError(f'layer {self.name!r}: stochastic pooling is not known')
    # Forks say ceil_mode; round_mode decides where both are given.
    up = self.get(field, 'ceil_mode', True)
    ceil = self.get(field, 'round_mode', 0 if up else 1) == 0
    whole = self.get(field, 'global_pooling', False)
    row = row._replace(
      kind=('max_pool', 'average_pool')[method],
      options=(('ceil', ceil), ('whole', whole)),
    )
    return windows.placed(self, field, row)

  def _Dropout(self, row: tables.Layer) -> tables.Layer:
    if self.get('dropout_param', 'scale_train', True):
      return row
    # Nothing is scaled in training, so the test is scaled.
    kept = 1 - self.get('dropout_param', 'dropout_ratio', 0.5)
    return row._replace(kind='power', options=(('scale', kept),))

  def _LRN(self, row: tables.Layer) -> tables.Layer:
    within = self.get('lrn_param', 'norm_region', 0) == 1
    row = self.options(
      row,
      'lrn_param',
      size=('local_size', 5),
      alpha=('alpha', 1.0),
      beta=('beta', 0.75),
      k=('k', 1.0),
    )
    return row._replace(options=(*row.options, ('within', within)))

  def _ReLU(self, row: tables.Layer) -> tables.Layer:
    row = self.options(row, 'relu_param', slope=('negative_slope', 0.0))
    ceiling = (('ceiling', 6.0),) if self.get('relu_param', 'relu6', 0) else ()
    return row._replace(options=(*row.options, *ceiling))

  def _PReLU(self, row: tables.Layer) -> tables.Layer:
    return self.options(row, 'prelu_param', shared=('channel_shared', False))

  def _ELU(self, row: tables.Layer) -> tables.Layer:
    return self.options(row, 'elu_param', alpha=('alpha', 1.0))

  def _Power(self, row: tables.Layer) -> tables.Layer:
    return self.options(
      row,
      'power_param',
      power=('power', 1.0),
      scale=('scale', 1.0),
      shift=('shift', 0.0),
    )

  def _Exp(self, row: tables.Layer) -> tables.Layer:
    field = f'{self.type.lower()}_param'
    row = self.options(row, field, scale=('scale', 1.0), shift=('shift', 0.0))
    base = self.get(field, 'base', -1.0)
    if base == -1:  # Caffe's way to say e
      return row
    return row._replace(options=(*row.options, ('base', base)))

  _Log = _Exp

  def _Softmax(self, row: tables.Layer) -> tables.Layer:
    return self.options(row, 'softmax_param', axis=('axis', 1))

  def _Concat(self, row: tables.Layer) -> tables.Layer:
    old = self.get('concat_param', 'concat_dim', 1)
    return self.options(row, 'concat_param', axis=('axis', old))

  def _Slice(self, row: tables.Layer) -> list[tables.Layer]:
    axis = self.get('slice_param', 'slice_dim', 1)
    axis = self.get('slice_param', 'axis', axis)
    points = self.get('slice_param', 'slice_point', [])
    if not len(points):  # equal parts
      parts = [(i, len(self.tops)) for i in range(len(self.tops))]
      return [
        row._replace(name=top, options=(('axis', axis), ('part', part)))
        for top, part in zip(self.tops, parts, strict=True)
      ]
    if len(points) != len(self.tops) - 1:
      raise UserError(
        f'layer {self.name!r} has {len(points)} slice points for '
        f'{len(self.tops)} tops, expected one less'
      )
    rows = []
    for top, start, stop in zip(
      self.tops, [0, *points], [*points, None], strict=True
    ):
      options = {'axis': axis, 'start': start, 'stop': stop}
      options = {k: v for k, v in options.items() if v is not None}
      rows.append(row._replace(name=top, options=tuple(options.items())))
    return rows

  def _Eltwise(self, row: tables.Layer) -> tables.Layer:
    number = self.get('eltwise_param', 'operation', 1)
    options = [('operation', ('prod', 'sum', 'max')[number])]
    weights = self.get('eltwise_param', 'coeff', None)
    if weights is not None:
      if number != 1 or len(weights) != len(self.bottoms):
        raise UserError(
          f'layer {self.name!r} has {len(weights)} coeff for '
          f'{options[0][1].upper()} of {len(self.bottoms)} bottoms, expected '
          'one for each bottom of a SUM, or none'
        )
      options.append(('coefficients', tuple(weights)))
    return row._replace(options=tuple(options))

  def _Scale(self, row: tables.Layer) -> tables.Layer:
    if len(row.inputs) == 1:
      self.only('scale_param', 'axis', 1)
      self.only('scale_param', 'num_axes', 1)
    return self.options(
      row, 'scale_param', axis=('axis', 1), bias=('bias_term', False)
    )

  def _Bias(self, row: tables.Layer) -> tables.Layer:
    if len(row.inputs) == 1:
      self.only('bias_param', 'axis', 1)
      self.only('bias_param', 'num_axes', 1)
    return self.options(row, 'bias_param', axis=('axis', 1))

  def _BatchNorm(self, row: tables.Layer) -> tables.Layer:
    field = 'batch_norm_param'
    parameters = self.layer.batch_norm_param
    row = self.options(row, field, eps=('eps', 1e-5))
    # NVIDIA/caffe, batch_norm_layer.cpp: a filler asks for scale and bias, the
    # eps has a least value, and a test always takes the stored statistics.
    if self.get(field, 'scale_bias', False) or any(
      parameters.HasField(name) for name in ('scale_filler', 'bias_filler')
    ):
      eps = max(row.option('eps', 0), 1e-5)
      return row._replace(options=(('eps', eps), ('affine', True)))
    if self._of_the_image():
      row = row._replace(options=(*row.options, ('whole', True)))
    return row

  def _of_the_image(self) -> bool:
    """Whether a BatchNorm takes the statistics of the image itself."""
    stored = self.get('batch_norm_param', 'use_global_stats', None)
    fields = self.layer.DESCRIPTOR.fields_by_name
    if stored is None and 'phase' in fields and self.layer.HasField('phase'):
      stored = self.layer.phase == _TEST
    return stored is False

  def _Normalize(self, row: tables.Layer) -> tables.Layer:
    return self.options(
      row,
      'norm_param',
      across_spatial=('across_spatial', True),
      shared=('channel_shared', True),
      eps=('eps', 1e-10),
    )

  def _Flatten(self, row: tables.Layer) -> tables.Layer:
    return self.options(
      row, 'flatten_param', axis=('axis', 1), end_axis=('end_axis', -1)
    )

  def _Reshape(self, row: tables.Layer) -> tables.Layer:
    dims = list(self.layer.reshape_param.shape.dim)
    axis = self.get('reshape_param', 'axis', 0)
    count = self.get('reshape_param', 'num_axes', -1)
    if axis not in (0, 1) or count != -1:
      raise UserError(
        f'layer {self.name!r}: Reshape has axis 0 or 1 and all axes only'
      )
    shape = tuple(dims[1:] if axis == 0 else dims)
    return row._replace(options=(('shape', shape),))

  def _Permute(self, row: tables.Layer) -> tables.Layer:
    order = tuple(self.get('permute_param', 'order', []))
    if not order or order[0] != 0 or sorted(order) != list(range(len(order))):
      raise UserError(
        f'layer {self.name!r}: Permute has order {order}, expected each axis '
        'once, beginning with 0'
      )
    return row._replace(options=(('order', order),))

  def _Crop(self, row: tables.Layer) -> tables.Layer:
    offsets = tuple(self.get('crop_param', 'offset', [0]))
    row = self.options(row, 'crop_param', axis=('axis', 2))
    return row._replace(options=(*row.options, ('offsets', offsets)))
