"""How many images at a time: as many as a device takes, and takes well.

  work = capacity.prepared(request, runs, stages, rows, mesh)
  ... work.batch rows at a time, by work.runner(program) ...
  work = capacity.halved(work)             # where memory ended all the same

The number changes how long a sweep takes, never what comes out.
"""

from collections.abc import Callable
import dataclasses
import math
import pathlib

import jax
from jax.sharding import Mesh
import numpy as np
import psutil

from vizjax import build
from vizjax.build import program as program_
from vizjax.build import runs as runs_
from vizjax.build import stages as stages_
from vizjax.errors import UserError
from vizjax.sweeps import parallel

# Images at a time where the request does not say. On a CPU a small batch stays
# in its caches: by box, conv5 of AlexNet took 7.1 ms an image step in batches
# of 8 and 10.4 in batches of 64.
_ON_CPU, _ELSEWHERE = 8, 64

# Never one alone: XLA turns the loops of a reduction around where there is but
# one, and a unit would score differently in its last digit.
_LEAST = 2

# What is left to others of the memory that is free.
_SPARE = 0.1

# Files of a control group: its limit, what it uses, and the entry of its
# memory.stat that tells what of this is only cached.
_VERSION_1 = (
  'memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file',
)  # fmt: skip
_VERSION_2 = ('memory.max', 'memory.current', 'inactive_file')


@dataclasses.dataclass(frozen=True)
class Work:
  """Programs of some runs of a layer, compiled for so many at a time.

  Attributes:
    batch: runs at a time, over all devices.
    runner: gives the runner of a program, always the same one.
    prepare: (batch) -> Work for another number.
    least: the smallest number.
    group: runs that are never apart.
  """

  batch: int
  runner: Callable[[program_.Program], parallel.Runner]
  prepare: Callable[[int], 'Work']
  least: int
  group: int


class Exhausted(UserError):
  """Not even the smallest batch fits."""


def most(request: build.Request, count: int, group: int | None = None) -> int:
  """Runs that a device works on at a time, at most.

  Large images are made one by one where the request says so, then all of them.
  Those of a group stay together.
  """
  each = group or 1
  if request.batch == 1 and request.scales is not None:
    return each
  batch = request.batch
  if batch is None:
    batch = _ON_CPU if jax.default_backend() == 'cpu' else _ELSEWHERE
    batch *= jax.local_device_count()
  here = math.ceil(min(batch, count) / jax.local_device_count())
  return math.ceil(max(_LEAST, here) / each) * each


def prepared(
  request: build.Request,
  runs: runs_.Runs,
  stages: stages_.Stages,
  rows: np.ndarray,
  mesh: Mesh,
) -> Work:
  """Programs for some runs of a layer, compiled; nothing is computed.

  What a step takes is measured on the compiled program, and the batch made
  smaller until that is free. Of several sizes of image, whose tiles fit by
  request.memory, nothing is compiled before it is needed.

  Args:
    request: what is wanted.
    runs: the runs of the layer.
    stages: how they are made.
    rows: [n] of the runs: what is to be made.
    mesh: of the devices.

  Raises:
    Exhausted: the smallest batch takes more memory than there is.
  """
  runners = {}

  def runner(program):
    if id(program) not in runners:
      runners[id(program)] = parallel.runner(
        program.recipe,
        program.clean,
        program.result,
        mesh,
        parallel.FurtherResults(
          program.keep, program.robust, request.robust_draws
        ),
        group=program.group,
      )
    return runners[id(program)]

  group = stages.programs[-1].group or 1
  size = most(request, len(rows), group)
  least = min(size, max(_LEAST, group))

  def prepare(batch):
    if stages.scales is None:
      batch = fitting(batch)
    return Work(batch, runner, prepare, least * mesh.size, group)

  def fitting(batch):
    (program,) = stages.programs
    steps = parallel.steps_per_call(
      request.steps, request.save_every, request.every
    )
    while True:
      some = np.resize(rows, batch)
      keys = runs_.keys(runs, some)
      targets = program.target(runs, some, {})
      work = runner(program)
      taken, free = work.prepare(targets, keys, steps=steps), available()
      if free is None or taken <= free:
        return batch
      each = batch // mesh.size
      by = min(0.5, free / taken)
      batch = _smaller(batch, by, mesh.size, least, group)
      if batch is None:
        raise Exhausted(_advice(runs.layer, each, taken, free))

  return prepare(size * mesh.size)


def halved(work: Work, mesh: Mesh) -> Work:
  """The same for half as many, after memory was exhausted.

  Raises:
    Exhausted: there is no smaller batch.
  """
  least = work.least // mesh.size
  batch = _smaller(work.batch, 0.5, mesh.size, least, work.group)
  if batch is None:
    raise Exhausted(
      f'memory was exhausted by {work.batch} images at a time, the fewest '
      'there can be: type a smaller --config.shape, an earlier --config.layer, '
      'or use a device with more'
    )
  return work.prepare(batch)


def exhausted(error: RuntimeError) -> bool:
  """Whether an error says that there was no memory left."""
  return 'RESOURCE_EXHAUSTED' in str(error) or 'Out of memory' in str(error)


def available() -> int | None:
  """Bytes that are free on each device of this process; None if unknown."""
  devices = jax.local_devices()
  found = [device.memory_stats() for device in devices]
  if all(stats and 'bytes_limit' in stats for stats in found):
    # What is cached for later is counted as in use by nobody.
    free = min(s['bytes_limit'] - s['bytes_in_use'] for s in found)
  elif devices[0].platform == 'cpu':
    free = _host_memory() // len(devices)
  else:
    return None
  return int((1 - _SPARE) * free)


def _smaller(
  batch: int, by: float, devices: int, least: int, group: int
) -> int | None:
  """A batch that is smaller by so much; None where there is none."""
  each = int(batch // devices * by) // group * group
  smaller = devices * max(least, each)
  return smaller if smaller < batch else None


def _host_memory(root: pathlib.Path = pathlib.Path('/')) -> int:
  """Bytes that are free, and that this process may have.

  Slurm and containers limit the memory of a control group, which may be any of
  those above the process: https://docs.kernel.org/admin-guide/cgroup-v2.html
  and .../cgroup-v1/memory.html.
  """
  free = [psutil.virtual_memory().available]
  try:
    lines = (root / 'proc/self/cgroup').read_text().splitlines()
  except OSError:
    return free[0]
  for line in lines:  # 0::/PATH of version 2, 4:memory:/PATH of version 1
    _, controllers, path = line.split(':', 2)
    if 'memory' in controllers.split(','):
      top, names = root / 'sys/fs/cgroup/memory', _VERSION_1
    elif not controllers:
      top, names = root / 'sys/fs/cgroup', _VERSION_2
    else:
      continue
    # In a container the path may be that of the host, of which only the top
    # is there.
    group = top / path.strip('/')
    groups = [g for g in (group, *group.parents) if g.is_relative_to(top)]
    free += [_left(each, *names) for each in groups]
  return min(each for each in free if each is not None)


def _left(group: pathlib.Path, most: str, used: str, cached: str) -> int | None:
  """Bytes that a control group may still take; None where it has no limit."""
  try:
    limit, taken = (int((group / name).read_text()) for name in (most, used))
    stat = (group / 'memory.stat').read_text().splitlines()
  except (OSError, ValueError):  # not there, or 'max', which is no number
    return None
  # Files that were read and may be forgotten count as used.
  kept = dict(line.split() for line in stat).get(cached, '0')
  return max(0, limit - taken + int(kept))


def _advice(layer: str, each: int, taken: int, free: int) -> str:
  return (
    f'{layer} takes {taken / 1e9:.2g} GB for {each} images at a time, the '
    f'fewest there can be, and {free / 1e9:.2g} GB are free on the device: '
    'type a smaller --config.shape, an earlier --config.layer, or '
    '--config.scales with tiles, where only a part of an image is in memory'
  )
