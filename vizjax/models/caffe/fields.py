"""The fields of a prototxt: each is read, changes nothing, or is refused.

Caffe itself refuses a field that its caffe.proto does not have. Its forks add
fields of their own, and most change what a layer computes, so a field that is
passed over in silence means other activations.
"""

from collections.abc import Collection
from typing import Any

from google.protobuf import text_format

from vizjax import errors
from vizjax.errors import UserError
from vizjax.models.formats import caffe_schema

Fields = list[tuple[str, Any]]  # (name, text of the value, or inner fields)

# Fields that change no activation of one image in inference, by where they
# stand. They are of BVLC/caffe unless a fork is named.
_IDLE = {
  'NetParameter': {
    'debug_info', 'force_backward', 'name',
    # intel/caffe: how it is computed on several machines, and training.
    'bn_stats_batch_size', 'compile_net_state', 'engine', 'multinode',
    # NVIDIA/caffe: the precision of its arithmetic, and training.
    'default_backward_math', 'default_backward_type',
    'default_conv_algos_override', 'default_cudnn_math_override',
    'default_forward_math', 'default_forward_type', 'eltwise_mem_sharing',
    'global_grad_scale', 'global_grad_scale_adaptive', 'reduce_buckets',
  },
  'layer': {
    'blob_share_mode', 'blobs_lr', 'loss_weight', 'param', 'phase',
    'propagate_down', 'weight_decay',
    # intel/caffe
    'engine',
    # NVIDIA/caffe
    'backward_math', 'backward_type', 'cudnn_math_override', 'debug',
    'forward_math', 'forward_type',
    # Parameters of layers that are not read.
    'accuracy_param', 'data_param', 'loss_param',
  },
  'V0LayerParameter': {
    'bias_filler', 'blobs_lr', 'dropout_ratio', 'weight_decay',
    'weight_filler',
  },
  'transform_param': {
    'crop_size', 'mirror',
    # weiliu89/caffe (SSD), intel/caffe, NVIDIA/caffe: sizes and augmentation.
    'allow_upscale', 'crop_h', 'crop_w', 'distort_param', 'emit_constraint',
    'expand_param', 'horizontal_stretch_lower', 'horizontal_stretch_upper',
    'img_rand_resize_lower', 'img_rand_resize_upper',
    'interpolation_algo_down', 'interpolation_algo_up',
    'rand_resize_ratio_lower', 'rand_resize_ratio_upper',
    'random_aspect_ratio_param', 'random_resize_param', 'random_seed',
    'resize_param', 'use_gpu_transform', 'vertical_stretch_lower',
    'vertical_stretch_upper',
  },
  'parameters': {
    'bias_filler', 'engine', 'filler', 'force_nd_im2col',
    'moving_average_fraction', 'scale_filler', 'stable_prod_grad',
    'weight_filler',
    # intel/caffe
    'conv_algorithm',
    # NVIDIA/caffe
    'conv_algos_override', 'cudnn_convolution_algo_seeker', 'random_seed',
  },
}  # fmt: skip

# Fields of forks that change nothing at this value, and are not read at others.
_IDLE_AT = {
  'fuse': 'false', 'in_place': 'false', 'pad_type': '0',
  'quantize_method': '0', 'relu': 'false', 'sample_weights_test': 'false',
  'stats_batch_size': '0', 'torch_pooling': 'false',
}  # fmt: skip


def tree(text: str) -> Fields:
  """The fields of a prototxt that protobuf can read, in their order.

  protobuf tells of an unknown field neither its layer nor its value.
  """
  tokens = text_format.Tokenizer(text.split('\n'))
  levels: list[Fields] = [[]]
  names, after_colon = [''], False
  while not tokens.AtEnd():
    token = tokens.token
    tokens.NextToken()
    if token in '{<':
      inner: Fields = []
      levels[-1].append((names[-1], inner))
      levels.append(inner)
      names.append('')
    elif token in '}>':
      levels.pop()
      names.pop()
    elif token == ':':
      after_colon = True
      continue
    elif token not in '[],;':
      if after_colon or tokens.token not in (':', '{', '<'):
        levels[-1].append((names[-1], token))
      else:
        names[-1] = token
        continue
    after_colon = False
  return levels[0]


def check_net(given: Fields) -> None:
  """Refuses an unknown field beside the layers.

  Raises:
    UserError: the field, and the fields that are read.
  """
  known = caffe_schema.fields('NetParameter')
  _check('the prototxt', '', given, known, _IDLE['NetParameter'])


def check_layer(
  name: str, message: str, given: Fields, parameters: Collection[str]
) -> None:
  """Refuses an unknown field of a layer or of its parameters.

  Args:
    name: of the layer.
    message: its type in formats/caffe_schema.py, such as LayerParameter.
    given: its fields.
    parameters: as for `check_parameters`.

  Raises:
    UserError: the layer, the field, and the fields that are read.
  """
  known, idle = caffe_schema.fields(message), _IDLE.get(message, _IDLE['layer'])
  _check(f'layer {name!r}', '', given, known, idle)
  check_parameters(name, given, parameters)


def check_parameters(
  name: str, given: Fields, parameters: Collection[str]
) -> None:
  """Refuses an unknown field in the parameters of a layer.

  Args:
    name: of the layer.
    given: its fields.
    parameters: the fields with parameters of its type. Those of other types
      are passed over, as Caffe does.

  Raises:
    UserError: the layer, the field, and the fields that are read.
  """
  for field, value in given:
    if field in ('include', 'exclude'):
      known, idle = caffe_schema.fields('NetStateRule'), ()
    elif field in parameters:
      known = caffe_schema.fields(f'{field}_')
      idle = _IDLE.get(field, _IDLE['parameters'])
    else:
      continue
    _check(f'layer {name!r}', f' in {field}', value, known, idle)


def _check(
  holder: str,
  where: str,
  given: Fields,
  known: Collection[str],
  idle: Collection[str],
) -> None:
  for field, value in given:
    if field in known or field in idle or _IDLE_AT.get(field) == value:
      continue
    shown = field if isinstance(value, list) else f'{field}: {value}'
    names = [name for name in known if not name.endswith('_param')]
    read = f' Fields that are read: {", ".join(names)}.' if names else ''
    raise UserError(
      f'{holder} has {shown!r}{where}, which is not known and may change what '
      f'the network computes.{read}'
      f'{errors.hint(field, sorted({*known, *idle}))}'
    )
