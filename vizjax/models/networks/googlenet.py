"""GoogLeNet: Szegedy et al. 2015, https://arxiv.org/abs/1409.4842, table 1.

  bvlc_googlenet         as BVLC trained it
  places205_googlenet    the same, for scenes: Zhou et al. 2014
  torchvision_googlenet  ported from TensorFlow: batch normalization, no local
                         one, 3 x 3 where the paper has 5 x 5

Layers have Caffe's names in all of them. Sources: models/bvlc_googlenet/
deploy.prototxt of https://github.com/BVLC/caffe; torchvision/models/
googlenet.py of https://github.com/pytorch/vision. The heads that helped in
training are left out.
"""

from typing import Any

from vizjax import files
from vizjax.errors import UserError
from vizjax.models import caffe
from vizjax.models.download import catalogue
from vizjax.models.interpreter import tables
from vizjax.models.labels import imagenet
from vizjax.models.labels import places205
from vizjax.models.networks import published
from vizjax.photographs import preprocessing

# Features of 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5 and pool_proj.
INCEPTIONS = {
  '3a': (64, 96, 128, 16, 32, 32),
  '3b': (128, 128, 192, 32, 96, 64),
  '4a': (192, 96, 208, 16, 48, 64),
  '4b': (160, 112, 224, 24, 64, 64),
  '4c': (128, 128, 256, 24, 64, 64),
  '4d': (112, 144, 288, 32, 64, 64),
  '4e': (256, 160, 320, 32, 128, 128),
  '5a': (256, 160, 320, 32, 128, 128),
  '5b': (384, 192, 384, 48, 128, 128),
}


TORCHVISION = 'torchvision_googlenet'


class _Rows(list):
  """Rows of a table, each reading the last unless it is told another."""

  def __init__(self, normalized: bool):
    self.normalized = normalized
    self.last = tables.DATA

  def add(self, row: tables.Layer, inputs: tuple[str, ...] = ()) -> str:
    self.append(row._replace(inputs=inputs or (self.last,)))
    self.last = row.name
    return row.name

  def conv(self, part, suffix, features, kernel, stride=1, pad=0, below=''):
    """A convolution, its normalization if there is one, and its rectifier."""
    inputs = (below,) if below else ()
    name = f'{part}/{suffix}'
    row = tables.conv(name, features, kernel, stride, pad)
    if self.normalized:
      self.add(row._replace(options=(('bias', False),)), inputs)
      options = (('eps', 1e-3), ('affine', True))
      self.add(tables.Layer(f'{name}_bn', 'batch_norm', options=options))
    else:
      self.add(row, inputs)
    return self.add(tables.relu(f'{part}/relu_{suffix.removesuffix("_s2")}'))

  def inception(self, key, wide: int):
    """Four branches side by side; `wide` is the kernel of the third."""
    part, below = f'inception_{key}', self.last
    one, reduce3, three, reduce5, five, projected = INCEPTIONS[key]
    branches = [self.conv(part, '1x1', one, 1)]
    self.conv(part, '3x3_reduce', reduce3, 1, below=below)
    branches.append(self.conv(part, '3x3', three, 3, pad=1))
    self.conv(part, '5x5_reduce', reduce5, 1, below=below)
    branches.append(self.conv(part, '5x5', five, wide, pad=wide // 2))
    self.add(tables.max_pool(f'{part}/pool', 3, 1, 1, ceil=True), (below,))
    branches.append(self.conv(part, 'pool_proj', projected, 1))
    self.add(tables.Layer(f'{part}/output', 'concat'), tuple(branches))


def _table(classes: int, torchvision: bool) -> tables.Table:
  rows = _Rows(normalized=torchvision)
  rows.conv('conv1', '7x7_s2', 64, 7, stride=2, pad=3)
  rows.add(tables.max_pool('pool1/3x3_s2', 3, 2, ceil=True))
  if not torchvision:
    rows.add(tables.lrn('pool1/norm1'))
  rows.conv('conv2', '3x3_reduce', 64, 1)
  rows.conv('conv2', '3x3', 192, 3, pad=1)
  if not torchvision:
    rows.add(tables.lrn('conv2/norm2'))
  rows.add(tables.max_pool('pool2/3x3_s2', 3, 2, ceil=True))
  # torchvision's last pooling between modules is 2 x 2.
  last = (2, 'pool4/2x2_s2') if torchvision else (3, 'pool4/3x3_s2')
  for key in INCEPTIONS:
    if key == '4a':
      rows.add(tables.max_pool('pool3/3x3_s2', 3, 2, ceil=True))
    if key == '5a':
      kernel, name = last
      rows.add(tables.max_pool(name, kernel, 2, ceil=True))
    rows.inception(key, wide=3 if torchvision else 5)
  options = (('whole', True),) if torchvision else (('ceil', True),)
  kernel = (1, 1) if torchvision else (7, 7)
  name = 'pool5/7x7_s1'
  pool = tables.Layer(name, 'average_pool', kernel=kernel, options=options)
  rows.add(pool)
  rows.add(tables.dropout('pool5/drop_7x7_s1'))
  rows.add(tables.fc('loss3/classifier', classes))
  rows.add(tables.softmax('prob'))
  return tuple(rows)


def _torchvision_name(name: str) -> str:
  """What torchvision calls a layer that has weights."""
  part, _, suffix = name.partition('/')
  kind = 'bn' if suffix.endswith('_bn') else 'conv'
  suffix = suffix.removesuffix('_bn')
  if part == 'loss3':
    return 'fc'
  if part in ('conv1', 'conv2'):
    number = {'7x7_s2': 1, '3x3_reduce': 2, '3x3': 3}[suffix]
    return f'conv{number}.{kind}'
  branch = {
    '1x1': 'branch1',
    '3x3_reduce': 'branch2.0',
    '3x3': 'branch2.1',
    '5x5_reduce': 'branch3.0',
    '5x5': 'branch3.1',
    'pool_proj': 'branch4.1',
  }[suffix]
  return f'{part.replace("_", "")}.{branch}.{kind}'


def transforms(path: files.Path, given: Any) -> bool:
  """Whether torchvision's network of a weights file transforms its input.

  torchvision sets `transform_input` for its pretrained weights and for what is
  fine-tuned from them; a network made without them has it off. The state dict
  does not hold it.

  Args:
    path: of the weights.
    given: True or False, as the user says; None for a file that was published.

  Raises:
    UserError: it is not known, or not what was published: what to type.
    OSError: the file cannot be read.
  """
  if given not in (None, True, False):
    raise UserError(
      f'transform_input is {given!r}, expected True or False: type '
      f'load({TORCHVISION!r}, {str(path)!r}, transform_input=True)'
    )
  if catalogue.vouches(TORCHVISION, path):
    if given is False:
      raise UserError(
        f'{str(path)!r} is the file that torchvision published, whose network '
        'transforms its input, but transform_input=False was given: leave '
        'transform_input out'
      )
    return True
  if given is None:
    raise UserError(
      f'{str(path)!r} is not the published file of {TORCHVISION!r} and does '
      'not hold whether its network transforms its input '
      '(net.transform_input): type '
      f'load({TORCHVISION!r}, {str(path)!r}, transform_input=True) if it was '
      'fine-tuned from the published weights, transform_input=False if it was '
      'trained from scratch'
    )
  return given


def network(name: str, transform_input: bool = True) -> published.Network:
  """The network of a name, but for its weights.

  Args:
    name: of the zoo.
    transform_input: of torchvision's network: whether it undoes torchvision's
      normalization and reads RGB in [-1, 1], as the published one does.
  """
  places = name == 'places205_googlenet'
  labels = places205.labels() if places else imagenet.labels()
  torchvision = name == TORCHVISION
  table = _table(len(labels), torchvision)
  shape = (224, 224, 3)
  if torchvision:
    mean, deviation = (127.5,) * 3, (127.5,) * 3
    if not transform_input:
      mean = published.TORCHVISION_MEAN
      deviation = published.TORCHVISION_DEVIATION
    weighted = ('conv', 'batch_norm', 'fc')
    naming = {
      row.name: _torchvision_name(row.name)
      for row in table
      if row.kind in weighted
    }
    return published.Network(
      table,
      shape,
      mean,
      deviation,
      labels=labels,
      namings=(naming,),
      preprocessing=preprocessing.TORCHVISION,
    )
  mean = caffe.IMAGENET_MEAN if places else (123.0, 117.0, 104.0)
  return published.Network(
    table,
    shape,
    mean,
    bgr=True,
    labels=labels,
    preprocessing=preprocessing.CAFFE,
  )
