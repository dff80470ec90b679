"""Scores that L-BFGS-B reaches here and in SciPy, of units of AlexNet.

  .venv/bin/python -m tests.parity_lbfgsb >> docs/parity.md

Sixteen units of a layer are optimized in one batch, and one after the other
by scipy.optimize.minimize on the same network, with as many evaluations of
it; in one batch again with vectors of float64, as SciPy's are. To tell how
much of a difference is chance, SciPy makes each five times more with gradients
that are disturbed, and five from starts that are moved. It prints the tables
of a section of docs/parity.md and takes some 40 minutes of a core.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import NamedTuple

import jax
from jax.tree_util import Partial
import jax.numpy as jnp
import numpy as np
import scipy
from scipy import optimize

from vizjax import core
from vizjax import models
from vizjax import objectives
from vizjax import parameterizations
from vizjax import targets
from vizjax.optimizers import lbfgs
from vizjax.sweeps import parallel

UNITS = {'conv1': range(0, 64, 4), 'conv5': range(0, 256, 16)}
STARTS = {'black': targets.constant(0), 'noise': targets.legacy_integers()}
EVALUATIONS = 50
LESS = 0.01  # of SciPy's score
REPEATS = 5  # of each kind
# Of an element: what layers of two programs differ by, in the tables above.
# The same throughout a run, since where the network is linear the gradient
# must not change: its changes are all that the method knows of curvature.
DISTURBANCE = 1e-6
MOVE = 1e-4  # grey levels

SUMMARY = """
| layer | start | program | runs | at least SciPy less 1 % | median ratio \
| ratio of sums | below, above all of SciPy |
|---|---|---|--:|--:|--:|--:|--:|"""

SCORES = """
| {} | black: vizjax | in float64 | SciPy | all of SciPy \
| noise: vizjax | in float64 | SciPy | all of SciPy |
|--:|--:|--:|--:|--:|--:|--:|--:|--:|"""


class Scores(NamedTuple):
  """The best score of the evaluations of each run, but for `result`.

  Attributes:
    ours: [b].
    wide: [b], of ours with vectors of float64.
    theirs: [b], of SciPy.
    disturbed: [b, REPEATS], of SciPy with other gradients.
    moved: [b, REPEATS], of SciPy from other starts.
    result: [b], what SciPy returns.
    evaluations: [b], after how many.
  """

  ours: np.ndarray
  wide: np.ndarray
  theirs: np.ndarray
  disturbed: np.ndarray
  moved: np.ndarray
  result: np.ndarray
  evaluations: np.ndarray


def measure(recipe: core.Recipe, channels: range, start: np.ndarray) -> Scores:
  """Runs both programs; start: [h, w, c], float64 in 0-255."""
  gradient = jax.jit(jax.value_and_grad(_score, argnums=1))
  draw = np.random.RandomState(0)
  one, shape = np.ones(start.shape), (REPEATS, *start.shape)
  factors = 1 + draw.uniform(-DISTURBANCE, DISTURBANCE, shape)
  moves = draw.uniform(-MOVE, MOVE, shape)
  cases = [(start, one)]
  cases += [(start, factor) for factor in factors]
  cases += [(_moved(start, move), one) for move in moves]
  mean = np.broadcast_to(recipe.model.mean, start.shape).astype(float)
  runs = []
  for channel in channels:
    of = functools.partial(gradient, recipe, unit=_unit(channel))
    runs.append([_scipy(of, mean, *case) for case in cases])
  best, result, count = np.moveaxis(np.array(runs), -1, 0)  # [b, cases] each
  theirs, disturbed, moved = np.split(best, [1, 1 + REPEATS], 1)
  ours = _ours(recipe, channels, np.float32(start))
  with jax.enable_x64(True):
    wide = _ours(_wide(recipe, mean), channels, start)
  first = theirs[:, 0], disturbed, moved, result[:, 0], count[:, 0]
  return Scores(ours, wide, *first)


def _moved(start: np.ndarray, move: np.ndarray) -> np.ndarray:
  """The start with its pixels moved, but for those at a bound, if not all are.

  A pixel that is just off its bound shortens the steps that go there.
  """
  stays = (start == 0) | (start == 255)
  return np.where(stays & ~stays.all(), start, np.clip(start + move, 0, 255))


def _recipe(layer: str) -> core.Recipe:
  # No pixel outside the receptive field has a gradient, and none ever moves.
  model = models.boxed(models.load('alexnet_features'), layer)
  model = dataclasses.replace(model, mean=np.float32(model.mean))
  return core.Recipe(
    model=model,
    parameterization=parameterizations.pixels(model),
    objective=objectives.neuron(layer),
    optimizer=lbfgs.lbfgsb_pixels(model),
  )


def _wide(recipe: core.Recipe, mean: np.ndarray) -> core.Recipe:
  """The same with params of float64; the network stays as it is."""
  pixels, objective = recipe.parameterization, recipe.objective

  def render(params):
    return pixels.render(params.astype(jnp.float32))

  return dataclasses.replace(
    recipe,
    parameterization=pixels._replace(render=Partial(render)),
    objective=lambda acts, target: objective(acts, target).astype(float),
    optimizer=lbfgs.lbfgsb(-mean, 255 - mean),
  )


def _unit(channel: int) -> core.Unit:
  return core.Unit(*(jnp.array(i) for i in (channel, 0, 0)))


def _score(
  recipe: core.Recipe, params: jax.Array, unit: core.Unit
) -> jax.Array:
  draw = core.Draw(jax.random.key(0), jnp.array(0), {'unit': unit})
  return core.score(recipe, params, draw)[0]


def _ours(
  recipe: core.Recipe, channels: range, start: np.ndarray
) -> np.ndarray:
  """The best score of each unit, all in one batch."""
  units = [_unit(channel) for channel in channels]
  starts = jnp.tile(start, (len(units), 1, 1, 1))
  batch = {
    'unit': jax.tree.map(lambda *numbers: jnp.stack(numbers), *units),
    'start': starts,
  }
  keys = jax.random.split(jax.random.key(0), len(units))  # nothing is drawn
  runner = parallel.runner(recipe, recipe, 'best', parallel.local_mesh())
  state = runner.start(batch, keys)
  state, _ = runner.advance(state, batch, keys, steps=EVALUATIONS)
  return np.asarray(runner.finish(state, batch)['score'])


def _scipy(
  gradient: Callable, mean: np.ndarray, start: np.ndarray, factor: np.ndarray
) -> tuple[float, float, int]:
  """The best of its evaluations, the score that it returns, after how many.

  It looks at `maxfun` between iterations only, and makes some more.
  """
  scores = []

  def evaluate(x):
    score, grad = gradient(jnp.asarray(x.reshape(start.shape), jnp.float32))
    scores.append(float(score))
    return -scores[-1], -(np.asarray(grad) * factor).ravel()

  result = optimize.minimize(
    evaluate,
    (start - mean).ravel(),
    method='L-BFGS-B',
    jac=True,
    bounds=optimize.Bounds(-mean.ravel(), 255 - mean.ravel()),
    options={'maxfun': EVALUATIONS},
  )
  return max(scores[:EVALUATIONS]), -result.fun, len(scores)


def _summary(layer: str, start: str, scores: Scores) -> list[str]:
  """The lines of one layer and start."""
  low, high = _ends(scores)
  most = int(scores.evaluations.max())
  programs = {
    'vizjax': (scores.ours[:, None], True),
    'vizjax, float64': (scores.wide[:, None], True),
    'SciPy, disturbed': (scores.disturbed, False),
    'SciPy, moved': (scores.moved, False),
    f'SciPy, its result ({most} evaluations)': (scores.result[:, None], False),
  }
  lines = []
  for program, (found, ours) in programs.items():
    apart = (found[:, 0] < low).sum(), (found[:, 0] > high).sum()
    apart = '{}, {}'.format(*apart) if ours else ''
    theirs = np.broadcast_to(scores.theirs[:, None], found.shape)
    enough = (found >= theirs - LESS * np.abs(theirs)).sum()
    lines.append(
      f'| `{layer}` | {start} | {program} | {found.size} '
      f'| {enough} ({100 * enough / found.size:.0f} %) '
      f'| {np.median(found / theirs):.3f} '
      f'| {found.sum() / theirs.sum():.3f} | {apart} |'
    )
  return lines


def _ends(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
  """The lowest and the highest of all of SciPy's runs of a unit: [b]."""
  every = np.column_stack([scores.theirs, scores.disturbed, scores.moved])
  return every.min(1), every.max(1)


def _cells(scores: Scores, i: int) -> str:
  numbers = (scores.ours[i], scores.wide[i], scores.theirs[i])
  low, high = _ends(scores)
  cells = [f'{number:.1f}' for number in numbers]
  return ' | '.join([*cells, f'{low[i]:.1f}…{high[i]:.1f}'])


def main() -> None:
  """Prints the tables."""
  found = {}
  print(
    f'SciPy {scipy.__version__}, JAX {jax.__version__}, '
    f'NumPy {np.__version__}, on the {jax.default_backend().upper()}.'
  )
  print(SUMMARY)
  for layer, channels in UNITS.items():
    recipe = _recipe(layer)
    for name, start in STARTS.items():
      image = start(recipe.model.input_shape, 0)
      scores = found[layer, name] = measure(recipe, channels, image)
      print(*_summary(layer, name, scores), sep='\n', flush=True)
  for layer, channels in UNITS.items():
    print(SCORES.format(f'`{layer}`'))
    for i, channel in enumerate(channels):
      cells = [_cells(found[layer, name], i) for name in STARTS]
      print(f'| {" | ".join([str(channel), *cells])} |')


if __name__ == '__main__':
  main()
