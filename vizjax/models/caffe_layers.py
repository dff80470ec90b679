"""One layer of a prototxt, of any generation, as rows of a table."""

from google.protobuf import message
import numpy as np

from vizjax.models import caffe_schema
from vizjax.models import tables

# The names that V2 gave to the types of V1.
_V2_TYPE = {
  'ABSVAL': 'AbsVal', 'CONCAT': 'Concat', 'CONVOLUTION': 'Convolution',
  'DATA': 'Data', 'DECONVOLUTION': 'Deconvolution', 'DROPOUT': 'Dropout',
  'DUMMY_DATA': 'DummyData', 'ELTWISE': 'Eltwise', 'EXP': 'Exp',
  'FLATTEN': 'Flatten', 'IMAGE_DATA': 'ImageData',
  'INNER_PRODUCT': 'InnerProduct', 'LRN': 'LRN',
  'MEMORY_DATA': 'MemoryData', 'POOLING': 'Pooling', 'POWER': 'Power',
  'RELU': 'ReLU', 'SIGMOID': 'Sigmoid', 'SILENCE': 'Silence',
  'SLICE': 'Slice', 'SOFTMAX': 'Softmax', 'SPLIT': 'Split', 'TANH': 'TanH',
}  # fmt: skip

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


# The types of V0 and their parameters, as V2 names them.
_V0 = {
  'conv': (
    'Convolution',
    'convolution_param',
    {
      'num_output': 'num_output',
      'biasterm': 'bias_term',
      'pad': 'pad',
      'kernelsize': 'kernel_size',
      'group': 'group',
      'stride': 'stride',
    },
  ),
  'pool': (
    'Pooling',
    'pooling_param',
    {
      'pool': 'pool',
      'pad': 'pad',
      'kernelsize': 'kernel_size',
      'stride': 'stride',
    },
  ),
  'lrn': (
    'LRN',
    'lrn_param',
    {name: name for name in ('local_size', 'alpha', 'beta', 'k')},
  ),
  'innerproduct': (
    'InnerProduct',
    'inner_product_param',
    {'num_output': 'num_output', 'biasterm': 'bias_term'},
  ),
  'concat': ('Concat', 'concat_param', {'concat_dim': 'axis'}),
  'relu': ('ReLU', None, {}),
  'dropout': ('Dropout', None, {}),
  'softmax': ('Softmax', None, {}),
  'flatten': ('Flatten', None, {}),
  'split': ('Split', None, {}),
  'tanh': ('TanH', None, {}),
  'sigmoid': ('Sigmoid', None, {}),
}


def upgrade(layer: message.Message) -> message.Message:
  """A layer of V0 as one of V2; any other as it is."""
  if 'layer' not in layer.DESCRIPTOR.fields_by_name:
    return layer
  if not layer.HasField('layer'):
    return layer
  old = layer.layer
  kind, field, names = _V0.get(old.type, (old.type, None, {}))
  new = caffe_schema.message('LayerParameter')
  new.name, new.type = old.name, kind
  new.bottom.extend(layer.bottom)
  new.top.extend(layer.top)
  for theirs, ours in names.items():
    if old.HasField(theirs):
      parameters, value = getattr(new, field), getattr(old, theirs)
      if parameters.DESCRIPTOR.fields_by_name[ours].is_repeated:
        getattr(parameters, ours).append(value)
      else:
        setattr(parameters, ours, value)
  return new


class Reader:
  """One layer of a prototxt.

  Attributes:
    name: of the layer.
    type: in the words of V2, such as Convolution.
    bottoms: names of the blobs that it reads.
    tops: names of those that it makes.
  """

  def __init__(self, layer: message.Message):
    layer = self.layer = upgrade(layer)
    self.name = layer.name
    self.type = layer.type
    if not isinstance(self.type, str):
      kind = layer.DESCRIPTOR.fields_by_name['type'].enum_type
      old = kind.values_by_number[self.type].name
      self.type = _V2_TYPE.get(old, old)
    self.bottoms = list(layer.bottom)
    self.tops = list(layer.top)

  @property
  def used(self) -> bool:
    """Whether it is part of the network that is tested, not trained."""
    test = 1
    included, excluded = (
      [rule.phase for rule in rules if rule.HasField('phase')]
      for rules in (self.layer.include, self.layer.exclude)
    )
    return (test in included or not included) and test not in excluded

  def read(self, inputs: tuple[str, ...]) -> list[tables.Layer]:
    """Its rows: one, or one for each part of a Slice."""
    kind = _KINDS.get(self.type)
    if kind is None:
      raise ValueError(
        f'layer {self.name!r} is of type {self.type!r}, which is not known. '
        f'Types: {", ".join(_KINDS)}'
      )
    row = tables.Layer(self.name, kind, inputs)
    translate = getattr(self, f'_{self.type}', None)
    row = row if translate is None else translate(row)
    return row if isinstance(row, list) else [row]

  def get(self, field: str, name: str, default):
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

  def _window(self, field: str, row: tables.Layer) -> tables.Layer:
    pairs = {}
    for ours, both, one, default in (
      ('kernel', 'kernel_size', 'kernel', 0),
      ('stride', 'stride', 'stride', 1),
      ('pad', 'pad', 'pad', 0),
    ):
      value = self.get(field, both, default)
      value = value if isinstance(value, list) else [value]
      value = (value * 2)[:2]
      pairs[ours] = tuple(
        self.get(field, f'{one}_{axis}', value[i])
        for i, axis in enumerate('hw')
      )
    if min(pairs['kernel'] + pairs['stride']) < 1 and not row.option(
      'whole', False
    ):
      raise ValueError(
        f'layer {self.name!r} has kernel {pairs["kernel"]} and stride '
        f'{pairs["stride"]}, expected numbers >= 1'
      )
    return row._replace(**pairs)

  def _Convolution(self, row: tables.Layer) -> tables.Layer:
    field = 'convolution_param'
    dilation = (self.get(field, 'dilation', [1]) * 2)[:2]
    return self._window(field, row)._replace(
      features=self.get(field, 'num_output', 0),
      groups=self.get(field, 'group', 1),
      dilation=tuple(dilation),
      options=(('bias', self.get(field, 'bias_term', True)),),
    )

  _Deconvolution = _Convolution

  def _InnerProduct(self, row: tables.Layer) -> tables.Layer:
    field = 'inner_product_param'
    if self.get(field, 'axis', 1) != 1:
      raise ValueError(f'layer {self.name!r}: InnerProduct has axis 1 only')
    row = row._replace(features=self.get(field, 'num_output', 0))
    return self.options(
      row, field, bias=('bias_term', True), transpose=('transpose', False)
    )

  def _Pooling(self, row: tables.Layer) -> tables.Layer:
    field = 'pooling_param'
    method = self.get(field, 'pool', 0)
    if method == 2:
      raise ValueError(f'layer {self.name!r}: stochastic pooling is not known')
    ceil = self.get(field, 'round_mode', 0) == 0
    whole = self.get(field, 'global_pooling', False)
    row = row._replace(
      kind=('max_pool', 'average_pool')[method],
      options=(('ceil', ceil), ('whole', whole)),
    )
    return self._window(field, row)

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
    return self.options(row, 'relu_param', slope=('negative_slope', 0.0))

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
    if len(points) != len(self.tops) - 1:
      raise ValueError(
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
      options.append(('coefficients', tuple(weights)))
    return row._replace(options=tuple(options))

  def _Scale(self, row: tables.Layer) -> tables.Layer:
    return self.options(
      row, 'scale_param', axis=('axis', 1), bias=('bias_term', False)
    )

  def _Bias(self, row: tables.Layer) -> tables.Layer:
    return self.options(row, 'bias_param', axis=('axis', 1))

  def _BatchNorm(self, row: tables.Layer) -> tables.Layer:
    return self.options(row, 'batch_norm_param', eps=('eps', 1e-5))

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
      raise ValueError(
        f'layer {self.name!r}: Reshape has axis 0 or 1 and all axes only'
      )
    shape = tuple(dims[1:] if axis == 0 else dims)
    return row._replace(options=(('shape', shape),))

  def _Permute(self, row: tables.Layer) -> tables.Layer:
    order = tuple(self.get('permute_param', 'order', []))
    if not order or order[0] != 0 or sorted(order) != list(range(len(order))):
      raise ValueError(
        f'layer {self.name!r}: Permute has order {order}, expected each axis '
        'once, beginning with 0'
      )
    return row._replace(options=(('order', order),))

  def _Crop(self, row: tables.Layer) -> tables.Layer:
    offsets = tuple(self.get('crop_param', 'offset', [0]))
    row = self.options(row, 'crop_param', axis=('axis', 2))
    return row._replace(options=(*row.options, ('offsets', offsets)))
