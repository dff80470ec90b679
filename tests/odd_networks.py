"""Networks for one purpose each, beside `toynets.net()`, for formulas too."""

import dataclasses

import conftest
import jax
import jax.numpy as jnp
import numpy as np

from vizjax import core
from vizjax.models import from_function
from vizjax.models.interpreter import layers

# What does not depend on the size of the image.
_CONVOLUTIONS = conftest.TOY[:-1]


def wide() -> core.Model:
  """The toy's convolutions at 16 x 16: conv2 has 16 positions inside."""
  return conftest.toy(_CONVOLUTIONS, size=16)


def untabled() -> core.Model:
  """The toy network as a function of a user's own: without a layer table."""
  model = conftest.toy()
  return dataclasses.replace(
    model, apply=lambda *given: model.apply(*given), layers=()
  )


def pictured() -> core.Model:
  """The toy network with a mean image."""
  model = conftest.toy()
  mean = jnp.broadcast_to(model.mean, model.input_shape)
  return dataclasses.replace(model, mean=mean)


def grey(channels: int = 1) -> core.Model:
  """The toy's layers on images of one channel, or of another number."""
  shape = (12, 12, channels)
  _, shapes = layers.shapes(conftest.TOY, shape)
  draw = np.random.RandomState(0)
  params = jax.tree.map(lambda s: draw.normal(0, 0.1, s.shape), shapes)
  return layers.model(conftest.TOY, params, mean=118.0, input_shape=shape)


def ranged(low: float = 0.0, high: float = 255.0) -> core.Model:
  """The toy network, told to take images of a range; the same for all.

  It is given 4 (x - 0.4), about, for images x of 0-1, as ImageNet's are.
  """
  toy = conftest.toy()
  unit = np.array([0.485, 0.456, 0.406]), 1 / np.array([0.229, 0.224, 0.225])
  return from_function(
    lambda params, image: toy.apply(params, 50 * image),
    toy.params,
    input_shape=toy.input_shape,
    mean=low + (high - low) * unit[0],
    scale=unit[1] / (high - low),
    range=(low, high),
  )


def named(*names: str) -> core.Model:
  """A network of layers with these names; each is larger than the one before.

  The k-th is k times the image less its mean.
  """

  def apply(params, image):
    return {name: k * image for k, name in enumerate(names, 1)}

  return core.Model({}, jnp.full(3, 100.0), apply, (4, 4, 3))


def unnamed() -> core.Model:
  """A network of the user's own that returns a tuple."""
  return core.Model({}, jnp.zeros(3), lambda params, x: (x, x), (4, 4, 3))


def number() -> int:
  """No network."""
  return 3


def maps(model: core.Model) -> dict[str, tuple[int, ...]]:
  """The shape of every layer that a model computes; not for formulas."""
  image = jax.ShapeDtypeStruct(model.input_shape, jnp.float32)
  acts = jax.eval_shape(lambda model, image: model(image), model, image)
  return {name: act.shape for name, act in acts.items()}
