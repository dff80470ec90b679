"""A plan in words, the progress while it is executed, and its outcome.

plan = sweep.plan(build.request(config))
print(description.plan(plan))
with description.progress(plan) as report:
  sweep.execute(plan, workdir, report)
print(*description.outcome(plan, workdir), sep='\n')
"""

from collections.abc import Callable, Iterator
import contextlib
import math
import shlex
from typing import NamedTuple

import numpy as np

from vizjax import build
from vizjax import progress as progress_
from vizjax.models import finite
from vizjax.sweeps import capacity
from vizjax.sweeps import results
from vizjax.sweeps import sweep
from vizjax.workdir import store

# The knobs that a plan shows.
_METHOD = (
  'model',
  'prior',
  'each',
  'data',
  'parameterization',
  'transforms',
  'objective',
  'activation',
  'optimizer',
  'projections',
  'procedure',
  'scales',
  'steps',
)
# Knobs that a plan leaves out where they are empty.
_RARE = ('prior', 'each', 'data', 'procedure', 'scales')


_LINE = '{desc}{postfix}, {percentage:.0f}%, {rate_fmt}, {remaining} left'


class _Made(NamedTuple):
  """The images that a workdir holds.

  Attributes:
    done: number of finished images.
    count: number of images when all are finished.
    dead: of each layer that has dead runs, 'LAYER 2 of 16'.
    not_finite: the same of runs whose score or activation is not finite.
  """

  done: int
  count: int
  dead: list[str]
  not_finite: list[str]


def plan(plan: sweep.Plan) -> str:
  """Returns the plan in words: formulas, units, batches, bytes and steps."""
  request, layers = plan.request, plan.layers
  values = {'steps': request.steps, **request.values}
  lines = [
    f'{name:<16} {values.get(name) or "-"}'
    for name in _METHOD
    if values.get(name) or name not in _RARE
  ]
  lines += [_layer(request, p) for p in layers]
  count = sum(len(p.runs.channel) for p in layers)
  steps = sum(len(p.runs.channel) * sweep.steps(request, p) for p in layers)
  lines.append(
    f'{"in all":<16} {count} images, {steps} steps, '
    f'{_bytes(sum(map(_size, layers)))} before compression'
  )
  return '\n'.join(lines)


def notes(plan: sweep.Plan) -> list[str]:
  """Returns the choices that were made for the user, a line each."""
  lines = []
  if plan.request.box or '@' in (plan.request.units or ''):
    return lines
  for p in plan.layers:
    y, x = int(p.runs.y[0]), int(p.runs.x[0])
    if (y or x) and p.placed:
      lines.append(
        f'{p.layer}: units at row {y}, column {x}, the centre of the map; for '
        f'another place type --config.units={p.runs.channel[0]}@0x0'
      )
  return lines


@contextlib.contextmanager
def progress(
  plan: sweep.Plan, *, quiet: bool = False
) -> Iterator[Callable[[sweep.Progress], None]]:
  """Gives a function that shows how far `sweep.execute` is.

  One bar is of the layer and, where there are several layers, one of the whole
  sweep; a line says that a layer is compiled.

  Args:
    plan: from `sweep.plan`, about to be executed.
    quiet: whether nothing is shown.
  """
  steps = {p.layer: sweep.steps(plan.request, p) for p in plan.layers}
  told = set()  # layers of which a line has said that they are compiled
  with progress_.Bars(_LINE, quiet=quiet, unit=' image steps') as bars:

    def report(now):
      if len(steps) > 1:
        bars.whole('all layers', total=now.total).update(now.steps)
      if now.compiling:
        if now.layer not in told:
          bars.say(f'compiling {now.layer} ...')
        told.add(now.layer)
        return
      postfix = f'{now.runs}/{now.count} images'
      done, count = (steps[now.layer] * runs for runs in (now.runs, now.count))
      bar = bars.of(now.layer, total=count, initial=done, postfix=postfix)
      bar.set_postfix_str(postfix, refresh=False)
      bar.update(now.steps)

    yield report


def outcome(plan: sweep.Plan, workdir: str) -> list[str]:
  """Returns where the results are, what failed, and what to type, in lines.

  Args:
    plan: from `sweep.plan`, executed.
    workdir: of the results.
  """
  made = _made(plan, workdir)
  images = 'image' if made.count == 1 else 'images'
  partly = '' if made.done == made.count else f'{made.done} of '
  lines = [
    f'results: {workdir} ({partly}{made.count} {images})',
    f'next: vizjax atlas --workdir={shlex.quote(workdir)}',
  ]
  if made.dead:
    lines.append(
      f'dead, the gradient was zero at every step: {", ".join(made.dead)}'
    )
  if made.not_finite:
    lines.append(f'the score is NaN or infinite: {", ".join(made.not_finite)}')
  broken = bool(made.not_finite) and _weights_are_broken(plan)
  if broken:
    lines.append(
      'other seeds cannot help where weights are NaN or infinite: type '
      '--config.model with a file of finite weights, and --workdir=ANOTHER'
    )
  if made.dead or (made.not_finite and not broken):
    lines.append(
      'to try these again from other seeds, type the same command with '
      f'--config.retries={plan.request.retries + 3}'
    )
  return lines


def _layer(request: build.Request, p: sweep.LayerPlan) -> str:
  """Returns the line of a layer: its images, their sizes, batches and bytes."""
  count = len(p.runs.channel)
  geometries = [
    program.geometry for each in p.stages.values() for program in each.programs
  ]
  sizes = ', '.join(
    '{}x{} (view {}x{})'.format(*geometry.canvas, *geometry.view)
    for geometry in dict.fromkeys(geometries)
  )
  return (
    f'{p.layer:<16} {count} images of {sizes}; '
    f'at most {capacity.most(request, count, p.group)} at a time on a device; '
    f'{_bytes(_size(p))}'
  )


def _size(p: sweep.LayerPlan) -> int:
  """Returns the bytes of a layer's arrays before compression."""
  row = sum(
    math.prod(shape) * np.dtype(dtype).itemsize
    for shape, dtype in p.array_specs.values()
  )
  return len(p.runs.channel) * row


def _made(plan: sweep.Plan, workdir: str) -> _Made:
  """Counts the images of a workdir."""
  done = count = 0
  dead, not_finite = [], []
  for p in plan.layers:
    layer_store = store.open_(store.directory(workdir, p.layer))
    rows = np.flatnonzero(store.read(layer_store, store.DONE))
    done, count = done + len(rows), count + layer_store.count
    scores = {
      n: store.read(layer_store, n, rows) for n in ('score', 'activation')
    }
    for lines, failed in (
      (dead, store.read_or(layer_store, results.DEAD, 0)[rows] > 0),
      (not_finite, ~results.finite(scores)),
    ):
      if failed.any():
        lines.append(f'{p.layer} {failed.sum()} of {len(rows)}')
  return _Made(done, count, dead, not_finite)


def _weights_are_broken(plan: sweep.Plan) -> bool:
  """Returns whether a network has weights that are NaN or infinite."""
  return any(
    finite.broken(program.recipe.model.params)
    for p in plan.layers
    for each in p.stages.values()
    for program in each.programs
  )


def _bytes(number: float | int) -> str:
  """Returns a number of bytes with its unit."""
  for unit in ('B', 'KB', 'MB', 'GB'):
    if number < 1000:
      return f'{number:.3g} {unit}'
    number /= 1000
  return f'{number:.3g} TB'
