"""AlexNet and its relatives.

  bvlc_alexnet       Krizhevsky et al. 2012, as BVLC trained it
  bvlc_caffenet      pooling before normalization: "reference CaffeNet"
  caffenet_yos       the same, of Yosinski et al. 2015
  places205_alexnet  the same, for scenes: Zhou et al. 2014
  torchvision_alexnet  "one weird trick", Krizhevsky 2014,
                     https://arxiv.org/abs/1404.5997: no groups, no
                     normalization, 224 pixels

Sources: deploy.prototxt of each in https://github.com/BVLC/caffe/tree/master/
models; torchvision/models/alexnet.py of https://github.com/pytorch/vision.
"""

from vizjax.models import caffe
from vizjax.models.interpreter import tables
from vizjax.models.labels import imagenet
from vizjax.models.labels import places205
from vizjax.models.networks import published
from vizjax.photographs import preprocessing


def _caffe(classes: int, norm_first: bool) -> tables.Table:
  def narrow(number):
    norm = tables.lrn(f'norm{number}')
    pool = tables.max_pool(f'pool{number}', 3, 2, ceil=True)
    return (norm, pool) if norm_first else (pool, norm)

  return tables.sequence(
    tables.conv('conv1', 96, 11, stride=4),
    tables.relu('relu1'),
    *narrow(1),
    tables.conv('conv2', 256, 5, pad=2, groups=2),
    tables.relu('relu2'),
    *narrow(2),
    tables.conv('conv3', 384, 3, pad=1),
    tables.relu('relu3'),
    tables.conv('conv4', 384, 3, pad=1, groups=2),
    tables.relu('relu4'),
    tables.conv('conv5', 256, 3, pad=1, groups=2),
    tables.relu('relu5'),
    tables.max_pool('pool5', 3, 2, ceil=True),
    *tables.classifier(4096, classes),
  )


TORCHVISION = tables.sequence(
  tables.conv('conv1', 64, 11, stride=4, pad=2),
  tables.relu('relu1'),
  tables.max_pool('pool1', 3, 2),
  tables.conv('conv2', 192, 5, pad=2),
  tables.relu('relu2'),
  tables.max_pool('pool2', 3, 2),
  tables.conv('conv3', 384, 3, pad=1),
  tables.relu('relu3'),
  tables.conv('conv4', 256, 3, pad=1),
  tables.relu('relu4'),
  tables.conv('conv5', 256, 3, pad=1),
  tables.relu('relu5'),
  tables.max_pool('pool5', 3, 2),
  tables.adaptive_average_pool('avgpool', 6),
  *tables.classifier(4096, 1000),
)

# The names of the layers in torchvision.
TORCHVISION_NAMING = {
  **{f'conv{i}': f'features.{n}' for i, n in enumerate((0, 3, 6, 8, 10), 1)},
  **{f'fc{i}': f'classifier.{n}' for i, n in enumerate((1, 4, 6), 6)},
}


def network(name: str) -> published.Network:
  """The network of a name, but for its weights."""
  if name == 'torchvision_alexnet':
    return published.Network(
      TORCHVISION,
      (224, 224, 3),
      published.TORCHVISION_MEAN,
      published.TORCHVISION_DEVIATION,
      labels=imagenet.labels(),
      namings=(TORCHVISION_NAMING,),
      preprocessing=preprocessing.TORCHVISION,
    )
  labels = imagenet.labels()
  if name == 'places205_alexnet':
    labels = places205.labels()
  return published.Network(
    _caffe(len(labels), norm_first=name == 'bvlc_alexnet'),
    (227, 227, 3),
    caffe.IMAGENET_MEAN,
    bgr=True,
    labels=labels,
    preprocessing=preprocessing.CAFFE,
  )
