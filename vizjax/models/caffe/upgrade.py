"""Layers of Caffe's first generations, V0 and V1, in the words of V2."""

from vizjax.models.formats import caffe_schema

# The names that V2 gave to the types of V1.
_V2_TYPES = {
  'ABSVAL': 'AbsVal', 'CONCAT': 'Concat', 'CONVOLUTION': 'Convolution',
  'DATA': 'Data', 'DECONVOLUTION': 'Deconvolution', 'DROPOUT': 'Dropout',
  'DUMMY_DATA': 'DummyData', 'ELTWISE': 'Eltwise', 'EXP': 'Exp',
  'FLATTEN': 'Flatten', 'IMAGE_DATA': 'ImageData',
  'INNER_PRODUCT': 'InnerProduct', 'LRN': 'LRN',
  'MEMORY_DATA': 'MemoryData', 'POOLING': 'Pooling', 'POWER': 'Power',
  'RELU': 'ReLU', 'SIGMOID': 'Sigmoid', 'SILENCE': 'Silence',
  'SLICE': 'Slice', 'SOFTMAX': 'Softmax', 'SPLIT': 'Split', 'TANH': 'TanH',
}  # fmt: skip

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


def upgrade(layer: caffe_schema.Message) -> caffe_schema.Message:
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


def type_name(layer: caffe_schema.Message) -> str:
  """The type of a layer of V1 or V2, such as Convolution."""
  if isinstance(layer.type, str):
    return layer.type
  kind = layer.DESCRIPTOR.fields_by_name['type'].enum_type
  old: str = kind.values_by_number[layer.type].name
  return _V2_TYPES.get(old, old)
