"""What optax lacks. Every name of optax can be used beside these.

The learning-rate policies of the toolbox of Yosinski et al. 2015 are
optimizers of their own, with their own sign, like optax.sgd. They read
`value`, which is minus the score.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree
import optax

from vizjax import core
from vizjax.errors import UserError


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


def adam_reordered(
  rate: core.Scheduled,
  b1: core.Number = 0.9,
  b2: core.Number = 0.999,
  eps: core.Number = 1e-8,
) -> optax.GradientTransformation:
  """Adam as TensorFlow has it: eps is added to the root before correction.

  x -= rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps): the order at the
  end of section 2 of Kingma and Ba 2015, https://arxiv.org/abs/1412.6980.
  optax.adam has the one of their Algorithm 1.

  Args:
    rate: of a step.
    b1: what is kept of the mean of gradients m.
    b2: what is kept of the mean of their squares v.
    eps: as above.
  """

  def init(params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    return zeros, zeros, jnp.array(0)

  def update(updates, state, params=None):
    del params
    m, v, step = state
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, updates)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, v, updates)
    by = core.at(rate, step)

    def moved(m, v):
      t = (step + 1).astype(m.dtype)
      now = by * jnp.sqrt(1 - b2**t) / (1 - b1**t)
      return -jnp.asarray(now, m.dtype) * m / (jnp.sqrt(v) + eps)

    return jax.tree.map(moved, m, v), (m, v, step + 1)

  return optax.GradientTransformation(init, update)


def staged_momentum(
  rate: core.Number,
  plan: str | Sequence[tuple[core.Number, int]],
  momentum: core.Number = 0.9,
) -> optax.GradientTransformation:
  """delta = momentum * delta - rate * gradient, anew at every other rate.

  Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035: what has been
  gathered is forgotten whenever the rate changes.

  Args:
    rate: what a step is per unit of gradient.
    plan: factors of the rate, and for how many steps: '1x800,0.1x500', or
      [(1, 800), (0.1, 500)]. The last one lasts.
    momentum: what is kept of the last delta.
  """
  factors, counts = _plan(plan)
  ends = jnp.cumsum(jnp.array(counts))[:-1]

  def init(params):
    return jax.tree.map(jnp.zeros_like, params), jnp.array(0)

  def update(updates, state, params=None):
    del params
    delta, step = state
    stage, before = jnp.sum(step >= ends), jnp.sum(step - 1 >= ends)
    now = rate * jnp.array(factors)
    kept = jnp.where(now[stage] == now[before], momentum, 0)

    def moved(d, g):
      return (
        jnp.asarray(kept, g.dtype) * d - jnp.asarray(now[stage], g.dtype) * g
      )

    delta = jax.tree.map(moved, delta, updates)
    return delta, (delta, step + 1)

  return optax.GradientTransformation(init, update)


def _plan(
  plan: str | Sequence[tuple[core.Number, int]],
) -> tuple[list[float], list[int]]:
  try:
    pairs = plan
    if isinstance(plan, str):
      pairs = [part.split('x') for part in plan.split(',')]
    factors = [float(factor) for factor, _ in pairs]
    counts = [int(count) for _, count in pairs]
    if min(counts) < 1:
      raise ValueError
  except (TypeError, ValueError):
    raise UserError(
      f'the plan of rates is {plan!r}, expected factors and numbers of steps, '
      "as '1x800,0.1x500'"
    ) from None
  return factors, counts


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

  # optax's own types do not know keywords that an update has to be given.
  return optax.GradientTransformationExtraArgs(
    init,
    update,  # pyright: ignore[reportArgumentType]
  )
