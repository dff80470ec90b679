"""act_max of synthesizing (Nguyen et al. 2016).

Source: act_max.py of https://github.com/Evolving-AI-Lab/synthesizing. It moves
the image a step, and the code by what pulls the image there; as it divides
both gradients by their mean size, the length of the first step cancels, and
what is left is ascent on the code. Its own is only how it ends.
"""

import jax.numpy as jnp
from jaxtyping import Array

from vizjax import core


def act_max() -> core.Procedure:
  """`core.step` till a gradient is zero.

  A gradient that is not a number moves nothing: the bounds and the decay of
  the code are applied all the same.
  """
  return core.Procedure(_step)


def _step(
  recipe: core.Recipe, state: core.State, target: core.Target, key: Array
) -> tuple[core.State, dict[str, Array]]:
  state, trace = core.step(recipe, state, target, key)
  stopped = state.stopped | (trace['gradient_norm'] == 0)
  return state._replace(stopped=jnp.asarray(stopped)), trace
