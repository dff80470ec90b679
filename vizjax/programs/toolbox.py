"""optimize_image of the deep-visualization-toolbox (Yosinski et al. 2015).

Source: optimize/gradient_optimizer.py of
https://github.com/yosinski/deep-visualization-toolbox. The update is core's;
what differs is what is kept and recorded, that the image is clipped before
it is evaluated, and that a gradient of zero ends the run.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from vizjax import core
from vizjax import objectives


def optimize_image(layer: str, read: str | None = None) -> core.Procedure:
  """The loop and the records of the program.

  Records, at every step, of the image less the mean, clipped to its range:

    obj     activation of the unit
    idxmax  [3] channel, row, column of the largest activation of the layer
    ismax   whether that is the unit
    norm    Euclidean norm
    std     population standard deviation
    dist    distance from the start

  Keeps `majority`, the first image whose unit is the largest of its layer. A
  run stops at the step where the gradient is zero.

  Args:
    layer: of the unit.
    read: the layer whose activations are recorded: Caffe's rectifiers work
      in place, so there that is the rectifier of `layer`.
  """
  read = read or layer
  trace = (
    ('obj', objectives.neuron(read)),
    ('idxmax', objectives.argmax(read)),
    ('ismax', objectives.is_max(read)),
    ('norm', objectives.l2_norm('params')),
    ('std', objectives.std('params')),
  )
  return core.Procedure(_step, _extra, trace, ('majority',))


def _extra(
  recipe: core.Recipe, params: core.Params, target: core.Target
) -> dict[str, Any]:
  del recipe, target
  return {'start': params, 'majority': core.unevaluated(params)}


def _step(
  recipe: core.Recipe,
  state: core.State,
  target: core.Target,
  key: Array,
) -> tuple[core.State, dict[str, Array]]:
  mean = jnp.broadcast_to(recipe.model.mean, state.params.shape)
  ends = core.bounds(recipe.model.range, mean)
  clipped = jnp.clip(state.params, *ends)
  state, trace = core.step(recipe, state._replace(params=clipped), target, key)
  start, majority = state.extra['start'], state.extra['majority']
  trace['dist'] = jnp.linalg.norm(clipped - start)
  first = (trace['ismax'] > 0) & (majority.step < 0)
  majority = core.chosen(first, state.last, majority)
  stopped = state.stopped | (trace['gradient_norm'] == 0)
  params = core.chosen(stopped, clipped, state.params)
  extra = {'start': start, 'majority': majority}
  state = state._replace(params=params, extra=extra, stopped=stopped)
  return state, trace
