"""The arrays that one run gives, and their shapes before it runs."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vizjax import core
from vizjax import metrics
from vizjax.build import program as program_

# The recipe of a program, the clean one and the robust one.
Recipes = tuple[core.Recipe, core.Recipe, core.Recipe | None]


def shapes(
  program: program_.Program, target: core.Target, *, steps: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Name, shape and dtype of all that one run gives; nothing is computed.

  Args:
    program: how an image is made and measured.
    target: of one run.
    steps: evaluations of the whole run.
  """
  recipes = hollow(program)

  def run(recipes: Recipes, target):
    key, recipe = core.key(0), recipes[0]
    state = core.init(recipe, target, key)
    state, trace = core.optimize(recipe, state, target, key, steps=steps)
    traces = {f'trace/{name}': record for name, record in trace.items()}
    results = finish(*recipes, 1, program.result, program.keep, state, target)
    return results | traces

  def alone(recipes, target):
    # A run alone has the axis on which terms compare the images of a unit.
    one = jax.vmap(run, (None, 0), axis_name=metrics.REPLICATE)
    found = one(recipes, jax.tree.map(lambda a: jnp.asarray(a)[None], target))
    return jax.tree.map(lambda a: a[0], found)

  return jax.eval_shape(alone, recipes, target)


def hollow(program: program_.Program) -> Recipes:
  """The recipes of a program, whose network is not traced layer by layer.

  It gives zeros of the right shapes for the layers that terms read. Of
  GoogLeNet the derivative of every convolution takes half a second.
  """

  def apply(params, image):
    del params
    zero = 0 * jnp.sum(image)
    return {
      name: jnp.broadcast_to(zero.astype(act.dtype), act.shape)
      for name, act in program.acts.items()
      if name in program.layers
    }

  def hollowed(recipe: core.Recipe) -> core.Recipe:
    model = dataclasses.replace(recipe.model, apply=apply)
    return dataclasses.replace(recipe, model=model)

  robust = None if program.robust is None else hollowed(program.robust)
  return hollowed(program.recipe), hollowed(program.clean), robust


def finish(
  recipe: core.Recipe,
  clean: core.Recipe,
  robust: core.Recipe | None,
  draws: int,
  result: str,
  keep: tuple[str, ...],
  state: core.State,
  target: core.Target,
) -> dict[str, Array]:
  """The arrays of a run that has ended; see `Runner.finish`."""
  snapshot = _snapshot(state, result)
  draw = core.Draw(core.key(0), state.step, target)
  # `clean` has no random transform, so this key is never used.
  activation, records = core.score(clean, snapshot.params, draw)
  if result == 'next':
    snapshot = snapshot._replace(score=activation)
  found = _described(recipe, snapshot) | {'activation': activation}
  found |= {f'metric/{name}': value for name, value in records.items()}
  if robust is not None:

    def again(key):
      return core.score(robust, snapshot.params, draw._replace(key=key))[0]

    # Every image is put to the same test.
    scores = jax.lax.map(again, jax.random.split(draw.key, draws))
    found |= {
      'metric/robust_mean': jnp.mean(scores),
      'metric/robust_std': jnp.std(scores),
    }
  for name in keep:
    for array, value in _described(recipe, _snapshot(state, name)).items():
      found[f'{name}/{array}'] = value
  return found


def _snapshot(state: core.State, name: str) -> core.Snapshot:
  if name in ('best', 'last'):
    return getattr(state, name)
  if name == 'next':
    return core.Snapshot(state.params, state.last.score, state.step)
  return state.extra[name]


def _described(
  recipe: core.Recipe, snapshot: core.Snapshot
) -> dict[str, Array]:
  # A run whose score was never a number has no best one.
  score = jnp.where(snapshot.step < 0, jnp.nan, snapshot.score)
  image = recipe.parameterization.render(snapshot.params)
  found = {'image': image, 'score': score, 'step': snapshot.step}
  if isinstance(snapshot.params, jax.Array) and snapshot.params.ndim == 1:
    found['code'] = snapshot.params  # of a generator
  return found
