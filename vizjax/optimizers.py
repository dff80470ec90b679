"""What optax lacks. Every name of optax can be used beside these.

The learning-rate policies of the toolbox of Yosinski et al. 2015 are
optimizers of their own, with their own sign, like optax.sgd. They read
`value`, which is minus the score.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree
import optax

from vizjax import core


def progress(
  desired: core.Number, max_rate: core.Number
) -> optax.GradientTransformationExtraArgs:
  """Gradient ascent whose rate promises a fixed gain.

  rate = min(max_rate, desired / |g|^2); a dead unit gets no update.

  Args:
    desired: the gain in score that a linear function would show.
    max_rate: upper bound of the rate.
  """
  return _promise(lambda value: desired, max_rate)


def progress01(
  early: core.Number,
  late: core.Number,
  max_rate: core.Number,
  scale: core.Number = 1,
) -> optax.GradientTransformationExtraArgs:
  """`progress` for a probability: desired = min(early, late * (1 - score)).

  Args:
    early: the gain wanted far from 1.
    late: near 1, the fraction of what is missing.
    max_rate: upper bound of the rate.
    scale: what the probability is multiplied by in the score.
  """
  return _promise(
    lambda value: jnp.minimum(early, late * (1 + value / scale)), max_rate
  )


def normalize_by_mean_abs() -> optax.GradientTransformation:
  """Divides the gradient by the mean of its absolute values, if not zero.

  DeepDream, cnnpref and DGN-AM (Nguyen et al. 2016) step in such units.
  """

  def update(updates, params):
    del params
    leaves = jax.tree.leaves(updates)
    total = sum(jnp.sum(jnp.abs(leaf)) for leaf in leaves)
    mean = total / sum(leaf.size for leaf in leaves)
    divisor = jnp.where(mean > 0, mean, 1)
    return jax.tree.map(lambda leaf: leaf / divisor, updates)

  return optax.stateless(update)


def heavy_ball(
  rate: core.Scheduled, momentum: core.Scheduled = 0
) -> optax.GradientTransformation:
  """delta = momentum * delta + gradient, and a step of -rate * delta.

  optax.sgd, whose momentum is one number, for programs that schedule it, too.

  Args:
    rate: what a step is per unit of gradient.
    momentum: what is kept of the last delta.
  """

  def init(params):
    return jax.tree.map(jnp.zeros_like, params), jnp.array(0)

  def update(updates, state, params=None):
    del params
    delta, step = state
    kept, by = core.at(momentum, step), core.at(rate, step)
    delta = jax.tree.map(
      lambda d, g: jnp.asarray(kept, g.dtype) * d + g, delta, updates
    )
    moved = jax.tree.map(lambda d: -jnp.asarray(by, d.dtype) * d, delta)
    return moved, (delta, step + 1)

  return optax.GradientTransformation(init, update)


def _promise(
  desired: Callable, max_rate: core.Number
) -> optax.GradientTransformationExtraArgs:
  def init(params: PyTree) -> optax.EmptyState:
    del params
    return optax.EmptyState()

  def update(
    updates: PyTree,
    state: optax.EmptyState,
    params: PyTree | None = None,
    *,
    value: Float[Array, ''],
    **extra,
  ) -> tuple[PyTree, optax.EmptyState]:
    del params, extra
    square = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(updates))
    rate = desired(value) / jnp.where(square > 0, square, 1)
    rate = jnp.minimum(max_rate, rate)
    return jax.tree.map(lambda leaf: -rate * leaf, updates), state

  return optax.GradientTransformationExtraArgs(init, update)
