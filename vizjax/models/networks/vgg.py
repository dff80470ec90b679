"""VGG-16 and VGG-19: Simonyan and Zisserman 2015, configurations D and E.

https://arxiv.org/abs/1409.1556. `vgg16` and `vgg19` are the authors' own, in
Caffe; `torchvision_vgg16` and `torchvision_vgg19` were trained anew and take
images of another scale.
"""

from vizjax.models.interpreter import tables
from vizjax.models.labels import imagenet
from vizjax.models.networks import published
from vizjax.photographs import preprocessing

FEATURES = (64, 128, 256, 512, 512)  # of each block
CONVOLUTIONS = {'vgg16': (2, 2, 3, 3, 3), 'vgg19': (2, 2, 4, 4, 4)}

# RGB; https://www.robots.ox.ac.uk/~vgg/research/very_deep.
MEAN = (123.68, 116.779, 103.939)

# The shorter side is scaled to 256, sections 3.1 and 3.2.
PREPROCESSING = preprocessing.Preprocessing(256, False, 'bilinear')


def blocks(name: str, ceil: bool) -> list[tables.Layer]:
  """The convolutional part: five blocks, each with its pooling.

  Args:
    name: a key of `CONVOLUTIONS`.
    ceil: whether poolings round up, as in Caffe.
  """
  rows = []
  counts = zip(FEATURES, CONVOLUTIONS[name], strict=True)
  for block, (features, count) in enumerate(counts, 1):
    for i in range(1, count + 1):
      rows.append(tables.conv(f'conv{block}_{i}', features, 3, pad=1))
      rows.append(tables.relu(f'relu{block}_{i}'))
    rows.append(tables.max_pool(f'pool{block}', 2, 2, ceil=ceil))
  return rows


def _namings(name: str) -> tuple[dict[str, str], ...]:
  """The names of the layers in torchvision, Keras and older torchvisions."""
  torchvision, keras, index = {}, {}, 0
  for block, count in enumerate(CONVOLUTIONS[name], 1):
    for i in range(1, count + 1):
      torchvision[f'conv{block}_{i}'] = f'features.{index}'
      keras[f'conv{block}_{i}'] = f'block{block}_conv{i}'
      index += 2  # a convolution and its rectifier
    index += 1  # the pooling
  torchvision |= {f'fc{6 + i}': f'classifier.{3 * i}' for i in range(3)}
  keras |= {'fc6': 'fc1', 'fc7': 'fc2', 'fc8': 'predictions'}
  # The classifier began with a dropout until March 2017, and so it does in many
  # files: https://github.com/pytorch/vision/pull/107.
  older = {'fc6': 'classifier.1', 'fc7': 'classifier.4'}
  return torchvision, keras, {**torchvision, **older}


def network(name: str) -> published.Network:
  """The network of a name, but for its weights."""
  shape, labels = (224, 224, 3), imagenet.labels()
  head = tables.classifier(4096, len(labels))
  form = name.removeprefix('torchvision_')
  if form == name:
    table = tables.sequence(*blocks(form, ceil=True), *head)
    return published.Network(
      table,
      shape,
      MEAN,
      bgr=True,
      labels=labels,
      namings=_namings(form),
      preprocessing=PREPROCESSING,
    )
  pool = tables.adaptive_average_pool('avgpool', 7)
  return published.Network(
    tables.sequence(*blocks(form, ceil=False), pool, *head),
    shape,
    published.TORCHVISION_MEAN,
    published.TORCHVISION_DEVIATION,
    labels=labels,
    namings=_namings(form),
    preprocessing=preprocessing.TORCHVISION,
  )
