"""A plan in words, before anything is made.

plans = sweep.plan(config)
print(descriptions.plan(config, plans))
"""

import math

from ml_collections import config_dict
import numpy as np

from vizjax import planner
from vizjax import scope
from vizjax import sweep

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
      f'at most {planner.most(config, count, p.group)} at a time on a device; '
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
  """What was chosen for the user and may be worth a look, a line each."""
  if config.box or '@' in (config.units or ''):
    return []
  lines = []
  for p in plans:
    y, x = int(p.runs.y[0]), int(p.runs.x[0])
    if (y or x) and scope.of_a_position(config):
      lines.append(
        f'{p.layer}: units at row {y}, column {x}, the centre of the map; for '
        f'another place type --config.units={p.runs.channel[0]}@0x0'
      )
  return lines


def _bytes(number: float | int) -> str:
  for unit in ('B', 'KB', 'MB', 'GB'):
    if number < 1000:
      return f'{number:.3g} {unit}'
    number /= 1000
  return f'{number:.3g} TB'
