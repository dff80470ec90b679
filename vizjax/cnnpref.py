"""prefer_img_gd of cnnpref (Abdelhack and Kamitani 2018).

Source: cnnpref/prefer_img_gd.py of https://github.com/KamitaniLab/cnnpref,
version 1. Its L-BFGS-B is an optimizer, `lbfgsb.lbfgsb_pixels`; this is its
gradient descent, whose jitter moves the momentum in a way of its own.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import optax

from vizjax import core
from vizjax import objectives

Scheduled = core.Number | Callable


def prefer_img_gd(
  rate: Scheduled,
  momentum: Scheduled,
  normalize: bool = True,
  p: core.Number = 0,
  p_rate: Scheduled = 0.5,
  beta: core.Number = 0,
  tv_rate: Scheduled = 0.5,
) -> core.Procedure:
  """Gradient descent with momentum on a jittered image.

  The optimizer of the recipe is not used. Its projections follow the update,
  in the order of the program: the clips `every(n, ..., 1)`, l2_decay,
  gaussian_blur. The clips are of single pixels, so it is all the same that
  the program does them before the jitter is taken back.

  Reads target['shifts'] [steps, 2], right and down, where it is given, and
  target['noise'], the norm that the two norms are measured by.

  Args:
    rate: grey levels a step.
    momentum: what is kept of the last step.
    normalize: whether gradients are divided by their mean size.
    p: power of the p-norm that is added; 0 for none.
    p_rate: its weight.
    beta: power of the total variation that is added; 0 for none.
    tv_rate: its weight.
  """
  penalties = []
  if p:
    penalties.append((objectives.p_norm(p, of='params'), p_rate))
  if beta:
    penalties.append((objectives.total_variation(beta, 'params'), tv_rate))

  def scaled(gradient):
    if not normalize:
      return gradient
    mean = jnp.mean(jnp.abs(gradient))
    return gradient / jnp.where(mean > 0, mean, 1)

  def step(recipe, state, target, key):
    now = state.step
    draw = core.Draw(jax.random.fold_in(key, now), now, target)
    shift = jnp.zeros(2, jnp.int32)
    if 'shifts' in target:
      shift = target['shifts'][now][::-1]
    image = _rolled(state.params, shift)
    delta = _rolled(state.extra['delta'], shift)

    def loss(params):
      value, records = core.score(recipe, params, draw)
      return -value, records

    (value, records), descent = jax.value_and_grad(loss, has_aux=True)(image)
    state = core.noted(state, state.params, -value)
    gradient = scaled(descent)
    delta = _at(momentum, now) * delta + gradient
    for term, weight in penalties:
      square = _noise(target) ** 2
      slope = jax.grad(lambda x, term=term: term({'params': x}, target))(image)
      delta += _at(weight, now) * scaled(slope / square)
    params = _rolled(image - _at(rate, now) * delta, -shift)
    # The program takes the jitter of the older steps back, and not this one's.
    delta = _rolled(delta - gradient, -shift) + gradient
    grads = _rolled(-gradient, -shift)
    for project in recipe.projections:
      params = project(params, grads, now)
    trace = {
      'score': -value,
      'gradient_norm': optax.tree.norm(descent),
      **records,
    }
    state = state._replace(params=params, step=now + 1, extra={'delta': delta})
    return state, trace

  return core.Procedure(step, _extra)


def _extra(
  recipe: core.Recipe, params: core.Params, target: core.Target
) -> dict[str, Array]:
  del recipe
  if not isinstance(params, jax.Array) or params.ndim != 3:
    raise ValueError(
      "prefer_img_gd works on pixels: use parameterization 'pixels(model)'"
    )
  del target
  return {'delta': jnp.zeros_like(params)}


def _noise(target: core.Target) -> Float[Array, '']:
  if 'noise' not in target:
    raise ValueError(
      "prefer_img_gd measures norms by target['noise']: set "
      "--config.data='noise = legacy_norm()'"
    )
  return target['noise']


def _rolled(image: Float[Array, 'h w c'], shift: Array) -> Array:
  return jnp.roll(image, shift, (0, 1))


def _at(number: Scheduled, step: Array) -> Array | core.Number:
  return number(step) if callable(number) else number
