"""prefer_img_gd of cnnpref (Abdelhack and Kamitani 2018).

Source: cnnpref/prefer_img_gd.py of https://github.com/KamitaniLab/cnnpref,
version 1. Its L-BFGS-B is an optimizer, `lbfgs.lbfgsb_pixels`; this is its
gradient descent, whose jitter moves the momentum in a way of its own.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vizjax import core
from vizjax import objectives
from vizjax.errors import UserError


def prefer_img_gd(
  rate: core.Scheduled,
  momentum: core.Scheduled,
  normalize: bool = True,
  p: core.Number = 0,
  p_rate: core.Scheduled = 0.5,
  beta: core.Number = 0,
  tv_rate: core.Scheduled = 0.5,
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

    descent, trace = core.evaluate(recipe, image, draw)
    state = core.noted(state, state.params, trace['score'])
    gradient = scaled(descent)
    delta = core.at(momentum, now) * delta + gradient
    for term, weight in penalties:
      square = _noise(target) ** 2
      slope = jax.grad(lambda x, term=term: term({'params': x}, target))(image)
      delta += core.at(weight, now) * scaled(slope / square)
    params = _rolled(image - core.at(rate, now) * delta, -shift)
    # The program takes the jitter of the older steps back, and not this one's.
    delta = _rolled(delta - gradient, -shift) + gradient
    grads = _rolled(-gradient, -shift)
    for project in recipe.projections:
      params = project(params, grads, now)
    state = state._replace(params=params, step=now + 1, extra={'delta': delta})
    return state, trace

  return core.Procedure(step, _extra)


def _extra(
  recipe: core.Recipe, params: core.Params, target: core.Target
) -> dict[str, Array]:
  del recipe
  if not isinstance(params, jax.Array) or params.ndim != 3:
    raise UserError(
      "prefer_img_gd works on pixels: use parameterization 'pixels(model)'"
    )
  del target
  return {'delta': jnp.zeros_like(params)}


def _noise(target: core.Target) -> Float[Array, '']:
  if 'noise' not in target:
    raise UserError(
      "prefer_img_gd measures norms by target['noise']: set "
      "--config.data='noise = legacy_norm()'"
    )
  return target['noise']


def _rolled(image: Float[Array, 'h w c'], shift: Array) -> Array:
  return jnp.roll(image, shift, (0, 1))
