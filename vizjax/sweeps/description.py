"""A plan in words, before anything is made, and what came of it.

plans = sweep.plan(config)
print(description.plan(config, plans))
sweep.execute(config, plans, workdir)
print(*description.outcome(config, plans, workdir), sep='\n')
"""

import math
import shlex

from ml_collections import config_dict
import numpy as np

from vizjax.build import reach
from vizjax.models import finite
from vizjax.sweeps import capacity
from vizjax.sweeps import results
from vizjax.sweeps import sweep
from vizjax.workdir import store

# The fields that a plan shows.
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
_RARE = (
  'prior',
  'each',
  'data',
  'procedure',
  'scales',
)  # not shown where they are empty


def plan(config: config_dict.ConfigDict, plans: list[sweep.LayerPlan]) -> str:
  """The plan in words: units, batches, bytes, steps and formulas."""
  lines = [
    f'{name:<16} {config[name] or "-"}'
    for name in _METHOD
    if config[name] or name not in _RARE
  ]
  total = 0
  for p in plans:
    count = len(p.runs.channel)
    row = sum(
      math.prod(shape) * np.dtype(dtype).itemsize
      for shape, dtype in p.fields.values()
    )
    total += count * row
    frames = [
      program.frame for each in p.stages.values() for program in each.programs
    ]
    sizes = ', '.join(
      '{}x{} seen as {}x{}'.format(*frame.canvas, *frame.view)
      for frame in dict.fromkeys(frames)
    )
    lines.append(
      f'{p.layer:<16} {count} images of {sizes}; '
      f'at most {capacity.most(config, count, p.group)} at a time on a device; '
      f'{_bytes(count * row)}'
    )
  count = sum(len(p.runs.channel) for p in plans)
  steps = sum(len(p.runs.channel) * sweep.steps(config, p) for p in plans)
  lines.append(
    f'{"in all":<16} {count} images, {steps} steps, '
    f'{_bytes(total)} before compression'
  )
  return '\n'.join(lines)


def notes(
  config: config_dict.ConfigDict, plans: list[sweep.LayerPlan]
) -> list[str]:
  """Choices that were made for the user, a line each."""
  lines = []
  if config.box or '@' in (config.units or ''):
    return lines
  for p in plans:
    y, x = int(p.runs.y[0]), int(p.runs.x[0])
    if (y or x) and reach.of_a_position(config):
      lines.append(
        f'{p.layer}: units at row {y}, column {x}, the centre of the map; for '
        f'another place type --config.units={p.runs.channel[0]}@0x0'
      )
  return lines


def outcome(
  config: config_dict.ConfigDict, plans: list[sweep.LayerPlan], workdir: str
) -> list[str]:
  """Where the results are, what to type next, and what failed, a line each.

  Args:
    config: the configuration.
    plans: from `sweep.plan`, executed.
    workdir: of the results.
  """
  made = count = 0
  dead, wrong = [], []
  for p in plans:
    kept = store.open_(store.directory(workdir, p.layer))
    rows = np.flatnonzero(store.read(kept, store.DONE))
    found = {n: store.read(kept, n, rows) for n in ('score', 'activation')}
    found[results.DEAD] = store.read_or(kept, results.DEAD, 0)[rows]
    whole = results.finite(found)
    made, count = made + len(rows), count + kept.count
    for lines, failed in ((dead, found[results.DEAD] > 0), (wrong, ~whole)):
      if failed.any():
        lines.append(f'{p.layer} {failed.sum()} of {len(rows)}')
  images = 'image' if count == 1 else 'images'
  total = f'{made} {images}' if made == count else f'{made} of {count} {images}'
  lines = [
    f'results: {workdir} ({total})',
    f'next: python -m experiments.atlas --workdir={shlex.quote(workdir)}',
  ]
  if dead:
    lines.append(
      f'dead, the gradient was zero at every step: {", ".join(dead)}'
    )
  if wrong:
    lines.append(f'the score is NaN or infinite: {", ".join(wrong)}')
  broken = wrong and any(
    finite.broken(program.recipe.model.params)
    for p in plans
    for each in p.stages.values()
    for program in each.programs
  )
  if broken:
    lines.append(
      'other seeds cannot help where weights are NaN or infinite: type '
      '--config.model with a file of finite weights, and --workdir=ANOTHER'
    )
  if dead or (wrong and not broken):
    lines.append(
      'to try these again from other seeds, type the same command with '
      f'--config.retries={config.retries + 3}'
    )
  return lines


def _bytes(number: float | int) -> str:
  for unit in ('B', 'KB', 'MB', 'GB'):
    if number < 1000:
      return f'{number:.3g} {unit}'
    number /= 1000
  return f'{number:.3g} TB'
