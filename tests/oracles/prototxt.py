"""Writes the prototxt of a layer table, for Caffe and OpenCV to read."""

TYPES = {
  'conv': 'Convolution',
  'deconv': 'Deconvolution',
  'fc': 'InnerProduct',
  'relu': 'ReLU',
  'lrn': 'LRN',
  'max_pool': 'Pooling',
  'average_pool': 'Pooling',
  'identity': 'Dropout',
  'softmax': 'Softmax',
  'concat': 'Concat',
  'reshape': 'Reshape',
}


def written(table, input_shape):
  """The text, in the spelling of V2, with a blob of its own for each layer."""
  h, w, c = input_shape
  dims = [1, c, h, w] if h > 1 else [1, c]
  shape = ' '.join(f'dim: {n}' for n in dims)
  lines = ['name: "written"', 'input: "data"', f'input_shape {{ {shape} }}']
  for row in table:
    bottoms = ' '.join(f'bottom: "{name}"' for name in row.inputs)
    lines.append(
      f'layer {{ name: "{row.name}" type: "{TYPES[row.kind]}" {bottoms} '
      f'top: "{row.name}" {_parameters(row)} }}'
    )
  return '\n'.join(lines)


def _parameters(row):
  options = dict(row.options)
  window = (
    f'kernel_size: {row.kernel[0]} stride: {row.stride[0]} pad: {row.pad[0]}'
  )
  match row.kind:
    case 'conv' | 'deconv':
      return (
        f'convolution_param {{ num_output: {row.features} {window} '
        f'group: {row.groups} }}'
      )
    case 'fc':
      return f'inner_product_param {{ num_output: {row.features} }}'
    case 'relu':
      return f'relu_param {{ negative_slope: {options.get("slope", 0)} }}'
    case 'lrn':
      size, alpha, beta = (options[n] for n in ('size', 'alpha', 'beta'))
      return f'lrn_param {{ local_size: {size} alpha: {alpha} beta: {beta} }}'
    case 'max_pool' | 'average_pool':
      assert options == {'ceil': True}
      pool = 'MAX' if row.kind == 'max_pool' else 'AVE'
      return f'pooling_param {{ pool: {pool} {window} }}'
    case 'reshape':
      dims = ' '.join(f'dim: {n}' for n in (0, *options['shape']))
      return f'reshape_param {{ shape {{ {dims} }} }}'
  assert not options
  return ''
