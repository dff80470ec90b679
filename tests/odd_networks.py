"""Networks for one purpose each, beside `toynets.net()`, for formulas too."""

import dataclasses

import conftest
import jax
import jax.numpy as jnp

from vizjax import core

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


def named(*names: str) -> core.Model:
  """A network of layers with these names; each is larger than the one before.

  The k-th is k times the image less its mean.
  """

  def apply(params, image):
    return {name: k * image for k, name in enumerate(names, 1)}

  return core.Model({}, jnp.full(3, 100.0), apply, (4, 4, 3))


def number() -> int:
  """No network."""
  return 3


def maps(model: core.Model) -> dict[str, tuple[int, ...]]:
  """The shape of every layer that a model computes; not for formulas."""
  image = jax.ShapeDtypeStruct(model.input_shape, jnp.float32)
  acts = jax.eval_shape(lambda model, image: model(image), model, image)
  return {name: act.shape for name, act in acts.items()}
