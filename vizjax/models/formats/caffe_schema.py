"""The messages of caffe.proto that are needed, as protobuf classes.

https://github.com/BVLC/caffe, src/caffe/proto/caffe.proto; forks that add a
field are named at it. models/caffe/fields.py refuses fields that are not listed
here.
"""

import functools
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message as message_
from google.protobuf import message_factory

# A message of one of the classes below. protobuf makes them at run time, so a
# type checker does not know their fields.
Message = Any

# Message: its fields, as 'name number type', a star for repeated ones. The
# numbers are those of caffe.proto. Of a blob, packed numbers are read as the
# bytes that they are.
_SCHEMA = {
  'NetParameter': """
    name 1 string; input 3 string *; input_dim 4 int32 *;
    input_shape 8 BlobShape *; state 6 NetState;
    layers 2 V1LayerParameter *; layer 100 LayerParameter *""",
  'NetState': 'phase 1 Phase; level 2 int32; stage 3 string *',
  'NetStateRule': """
    phase 1 Phase; min_level 2 int32; max_level 3 int32; stage 4 string *;
    not_stage 5 string *""",
  'Filler': 'type 1 string',
  'BlobShape': 'dim 1 int64 *',
  'BlobProto': """
    num 1 int32; channels 2 int32; height 3 int32; width 4 int32;
    shape 7 BlobShape; data 5 bytes *; double_data 8 bytes *;
    raw_data 12 bytes""",  # NVIDIA/caffe: raw_data
  'LooseBlob': 'data 5 float *; double_data 8 double *',
  'V0LayerParameter': """
    name 1 string; type 2 string; num_output 3 int32; biasterm 4 bool;
    pad 7 int32; kernelsize 8 int32; group 9 int32; stride 10 int32;
    pool 11 Pool; local_size 13 int32; alpha 14 float; beta 15 float;
    k 22 float; concat_dim 65 int32; blobs 50 BlobProto *""",
  'V1LayerParameter': """
    layer 1 V0LayerParameter; bottom 2 string *; top 3 string *;
    name 4 string; type 5 V1Type; blobs 6 BlobProto *;
    include 32 NetStateRule *; exclude 33 NetStateRule *; PARAMETERS""",
  'LayerParameter': """
    name 1 string; type 2 string; bottom 3 string *; top 4 string *;
    phase 10 Phase; blobs 7 BlobProto *; include 8 NetStateRule *;
    exclude 9 NetStateRule *; PARAMETERS""",
}

# Parameters of a layer, by field, the same in V1 and V2. Read from text only,
# where a field is known by its name: the numbers are counted out.
_PARAMETERS = {
  # NVIDIA/caffe: scale_bias and the fillers.
  'batch_norm_param': """
    eps float; use_global_stats bool; scale_bias bool; scale_filler Filler;
    bias_filler Filler""",
  'bias_param': 'axis int32; num_axes int32',
  'concat_param': 'axis int32; concat_dim int32',
  # foss-for-synopsys-dwc-arc-processors/synopsys-caffe: pad_t to pad_r.
  'convolution_param': """
    num_output int32; bias_term bool; group int32; axis int32; pad int32 *;
    kernel_size int32 *; stride int32 *; dilation int32 *; pad_h int32;
    pad_w int32; kernel_h int32; kernel_w int32; stride_h int32;
    stride_w int32; pad_t int32; pad_b int32; pad_l int32; pad_r int32""",
  'crop_param': 'axis int32; offset int32 *',
  # rbgirshick/caffe-fast-rcnn: scale_train.
  'dropout_param': 'dropout_ratio float; scale_train bool',
  'eltwise_param': 'operation Operation; coeff float *',
  'elu_param': 'alpha float',
  'exp_param': 'base float; scale float; shift float',
  'flatten_param': 'axis int32; end_axis int32',
  'inner_product_param': """
    num_output int32; bias_term bool; axis int32; transpose bool""",
  'input_param': 'shape BlobShape *',
  'log_param': 'base float; scale float; shift float',
  'lrn_param': """
    local_size int32; alpha float; beta float; k float; norm_region Region""",
  # weiliu89/caffe (SSD): norm_param and permute_param.
  'norm_param': 'across_spatial bool; channel_shared bool; eps float',
  'permute_param': 'order int32 *',
  # BVLC/caffe pull request 3057: ceil_mode. synopsys-caffe: pad_t to pad_r.
  'pooling_param': """
    pool Pool; pad int32; pad_h int32; pad_w int32; kernel_size int32;
    kernel_h int32; kernel_w int32; stride int32; stride_h int32;
    stride_w int32; global_pooling bool; round_mode Round; ceil_mode bool;
    pad_t int32; pad_b int32; pad_l int32; pad_r int32""",
  'power_param': 'power float; scale float; shift float',
  'prelu_param': 'channel_shared bool',
  # synopsys-caffe: relu6.
  'relu_param': 'negative_slope float; relu6 bool',
  'reshape_param': 'shape BlobShape; axis int32; num_axes int32',
  'scale_param': 'axis int32; num_axes int32; bias_term bool',
  'sigmoid_param': '',
  'slice_param': 'axis int32; slice_dim int32; slice_point int32 *',
  'softmax_param': 'axis int32',
  'tanh_param': '',
  'transform_param': """
    scale float; mean_value float *; mean_file string; force_color bool;
    force_gray bool""",
}

_ENUMS = {
  'Phase': {'TRAIN': 0, 'TEST': 1},
  'Operation': {'PROD': 0, 'SUM': 1, 'MAX': 2},
  'Region': {'ACROSS_CHANNELS': 0, 'WITHIN_CHANNEL': 1},
  'Pool': {'MAX': 0, 'AVE': 1, 'STOCHASTIC': 2},
  'Round': {'CEIL': 0, 'FLOOR': 1},
  'V1Type': {
    'NONE': 0, 'ACCURACY': 1, 'BNLL': 2, 'CONCAT': 3, 'CONVOLUTION': 4,
    'DATA': 5, 'DROPOUT': 6, 'EUCLIDEAN_LOSS': 7, 'FLATTEN': 8,
    'HDF5_DATA': 9, 'HDF5_OUTPUT': 10, 'IM2COL': 11, 'IMAGE_DATA': 12,
    'INFOGAIN_LOSS': 13, 'INNER_PRODUCT': 14, 'LRN': 15,
    'MULTINOMIAL_LOGISTIC_LOSS': 16, 'POOLING': 17, 'RELU': 18,
    'SIGMOID': 19, 'SOFTMAX': 20, 'SOFTMAX_LOSS': 21, 'SPLIT': 22,
    'TANH': 23, 'WINDOW_DATA': 24, 'ELTWISE': 25, 'POWER': 26,
    'SIGMOID_CROSS_ENTROPY_LOSS': 27, 'HINGE_LOSS': 28, 'MEMORY_DATA': 29,
    'ARGMAX': 30, 'THRESHOLD': 31, 'DUMMY_DATA': 32, 'SLICE': 33, 'MVN': 34,
    'ABSVAL': 35, 'SILENCE': 36, 'CONTRASTIVE_LOSS': 37, 'EXP': 38,
    'DECONVOLUTION': 39,
  },
}  # fmt: skip


def message(name: str) -> Message:
  """A new message of a type of the schema."""
  return _messages()[f'vizjax.caffe.{name}']()


def fields(name: str) -> list[str]:
  """The fields of a type of the schema."""
  return [field.name for field in message(name).DESCRIPTOR.fields]


@functools.cache
def _messages() -> dict[str, type[message_.Message]]:
  """The classes of the schema."""
  file = descriptor_pb2.FileDescriptorProto(
    name='vizjax/caffe.proto', package='vizjax.caffe', syntax='proto2'
  )
  for name, values in _ENUMS.items():
    # Enum values share the scope of their enum, so each gets a message.
    holder = file.message_type.add(name=f'{name}Enum')
    enum = holder.enum_type.add(name=name)
    ordered = sorted(values.items(), key=lambda item: item[1])
    for value, number in ordered:
      enum.value.add(name=value, number=number)
  parameters = []
  for number, (name, text) in enumerate(_PARAMETERS.items(), 2000):
    parts = [part.split() for part in text.split(';') if part]
    numbered = [
      ' '.join([p[0], str(i), *p[1:]]) for i, p in enumerate(parts, 1)
    ]
    _add(file, f'{name}_', '; '.join(numbered))
    parameters.append(f'{name} {number} {name}_')
  for name, text in _SCHEMA.items():
    _add(file, name, text.replace('PARAMETERS', '; '.join(parameters)))
  pool = descriptor_pool.DescriptorPool()
  return message_factory.GetMessages([file], pool=pool)


def _add(file, name: str, text: str) -> None:
  entry = file.message_type.add(name=name)
  kinds = descriptor_pb2.FieldDescriptorProto
  for part in filter(None, text.split(';')):
    field, number, kind, *star = part.split()
    one = entry.field.add(
      name=field,
      number=int(number),
      label=kinds.LABEL_REPEATED if star else kinds.LABEL_OPTIONAL,
    )
    if kind in _ENUMS:
      one.type = kinds.TYPE_ENUM
      one.type_name = f'.vizjax.caffe.{kind}Enum.{kind}'
    elif kind[0].isupper() or kind.endswith('_'):
      one.type = kinds.TYPE_MESSAGE
      one.type_name = f'.vizjax.caffe.{kind}'
    else:
      one.type = getattr(kinds, f'TYPE_{kind.upper()}')
