"""Many runs, from a configuration to a store: plan, then execute.

  plans = sweep.plan(config)
  print(sweep.describe(config, plans))
  sweep.execute(config, plans, workdir)

Executing again after a crash does what is missing and nothing else.
"""

from collections.abc import Callable, Iterator
from concurrent import futures
import math
import platform
from importlib import metadata
from typing import Any, NamedTuple

import jax
from ml_collections import config_dict
import numpy as np

import vizjax
from vizjax import build
from vizjax import fields
from vizjax import images
from vizjax import parallel
from vizjax import runs
from vizjax import store

# The fields that a plan shows.
_METHOD = (
  'model',
  'prior',
  'data',
  'parameterization',
  'transforms',
  'objective',
  'activation',
  'optimizer',
  'projections',
  'procedure',
  'steps',
)
_RARE = ('prior', 'data', 'procedure')  # not shown where they are empty

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')


class LayerPlan(NamedTuple):
  """All that is to be made of one layer."""

  layer: str
  runs: runs.Runs
  programs: dict[bool, build.Program]  # by whether runs are boxed
  columns: dict[str, np.ndarray]  # [n, ...] what is known beforehand
  fields: dict[str, tuple[tuple[int, ...], Any]]  # shape of a row, dtype
  chunk: int  # runs that are committed together
  labels: tuple[str, ...]  # names of the units; () where they have none


class Progress(NamedTuple):
  """How far an execution is."""

  layer: str
  units: int  # runs that are done, of this layer
  count: int  # runs of this layer
  steps: int  # steps of single runs made by the last call


def plan(config: config_dict.ConfigDict) -> list[LayerPlan]:
  """What a configuration asks for, checked down to the shapes.

  Raises:
    ValueError: the configuration asks for what cannot be.
    OSError: a file that it names cannot be read.
  """
  net = build.model(config)
  others = build.networks(config)
  return [
    _plan_layer(config, net, others, layer)
    for layer in build.layers(config, net)
  ]


def describe(config: config_dict.ConfigDict, plans: list[LayerPlan]) -> str:
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
    frames = [program.frame for program in p.programs.values()]
    sizes = ', '.join(
      '{}x{} seen as {}x{}'.format(*frame.canvas, *frame.view)
      for frame in frames
    )
    lines.append(
      f'{p.layer:<16} {count} images of {sizes}; '
      f'{math.ceil(count / p.chunk)} batches of {p.chunk}; '
      f'{_bytes(count * row)}'
    )
  count = sum(len(p.runs.channel) for p in plans)
  lines.append(
    f'{"in all":<16} {count} images, {count * config.steps} steps, '
    f'{_bytes(total)} before compression'
  )
  return '\n'.join(lines)


def notes(config: config_dict.ConfigDict, plans: list[LayerPlan]) -> list[str]:
  """What was chosen for the user and may be worth a look, a line each."""
  if config.box or '@' in (config.units or ''):
    return []
  lines = []
  for p in plans:
    y, x = int(p.runs.y[0]), int(p.runs.x[0])
    if (y or x) and build.of_a_position(config):
      lines.append(
        f'{p.layer}: units at row {y}, column {x}, the centre of the map; for '
        f'another place type --config.units={p.runs.channel[0]}@0x0'
      )
  return lines


def execute(
  config: config_dict.ConfigDict,
  plans: list[LayerPlan],
  workdir: str,
  report: Callable[[Progress], None] = lambda progress: None,
  source: str = '',
) -> None:
  """Makes what is missing in a workdir.

  Args:
    config: the configuration.
    plans: from `plan`.
    workdir: a new directory, or one of an earlier run of the same plan.
    report: is called after every few steps.
    source: text of the configuration's file, to be kept.

  Raises:
    ValueError: the workdir belongs to something else.
    OSError: it cannot be written.
  """
  provenance = {
    'config': config.to_dict(),
    'fingerprint': _fingerprint(config, plans),
    'versions': versions(),
    'source': source,
    # Names of the units, for the layers whose units have any.
    'labels': {p.layer: list(p.labels) for p in plans if p.labels},
  }
  # A workdir of an older version lacks the fields that are newer.
  store.claim(workdir, provenance, build.config().to_dict())
  mesh = parallel.local_mesh()
  with futures.ThreadPoolExecutor(1) as writer:
    pending = None
    for p in plans:
      path = store.directory(workdir, p.layer)
      kept = store.create(path, p.fields, len(p.runs.channel), p.chunk)
      for number, arrays in _chunks(config, p, kept, mesh, report):
        # The last chunk is written while this one was computed.
        if pending is not None:
          pending.result()
        pending = writer.submit(store.write, kept, number, arrays)
    if pending is not None:
      pending.result()


def versions() -> dict[str, str]:
  """Versions of all that the numbers depend on."""
  found = {name: metadata.version(name) for name in _PACKAGES}
  return {
    'vizjax': vizjax.__version__,
    'python': platform.python_version(),
    **found,
    'device': jax.local_devices()[0].device_kind,
  }


def _plan_layer(config, net, others, layer: str) -> LayerPlan:
  table = build.runs(config, net, layer)
  programs = {
    bool(boxed): build.program(
      config, net, layer, boxed=bool(boxed), others=others
    )
    for boxed in np.unique(table.boxed)
  }
  count = len(table.channel)
  frames = {boxed: p.frame for boxed, p in programs.items()}
  # What is written of every run besides what its program gives.
  columns = {
    # channel, row, column
    'unit': np.stack([table.channel, table.y, table.x], -1),
    'replicate': table.replicate,
    # The part of the full image that it was made on.
    'box': table.box,
    # Height and width of what `image` holds of it.
    'size': np.array([frames[bool(b)].canvas for b in table.boxed], np.int32),
    # The part of that which the unit sees.
    'seen': build.seen(config, net, table, frames),
  }
  rows = {
    name: (column.shape[1:], np.int32) for name, column in columns.items()
  }
  for boxed, program in programs.items():
    for name, like in _outputs(config, program, table, boxed).items():
      shape, _ = rows.get(name, (like.shape, None))
      rows[name] = (tuple(map(max, shape, like.shape)), like.dtype)
  for name, (shape, _) in rows.items():
    if name.split('/')[-1] == 'image':
      rows[name] = (shape, config.image_dtype)
  image, _ = rows['image']
  if config.save_every is not None:
    frames = math.ceil(config.steps / config.save_every)
    rows['frames'] = ((frames, *image), config.image_dtype)
  chunk = math.ceil(count / math.ceil(count / config.batch))
  channels = {info.name: info.channels for info in net.layers}.get(layer)
  labels = net.labels if len(net.labels) == channels else ()
  return LayerPlan(layer, table, programs, columns, rows, chunk, labels)


def _outputs(config, program: build.Program, table, boxed: bool) -> dict:
  first = np.flatnonzero(table.boxed == boxed)[:1]
  target = jax.tree.map(lambda a: a[0], program.target(table, first))
  try:
    return parallel.fields(
      program.recipe,
      program.clean,
      program.result,
      target,
      steps=config.steps,
      keep=program.keep,
    )
  except TypeError as error:
    # Such as a size that is no whole number, deep inside JAX.
    why = str(error).splitlines()[0]
    raise ValueError(f'the recipe does not run: {why}') from error


def _chunks(
  config, p: LayerPlan, kept: store.Store, mesh, report
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
  """The arrays of each chunk that is missing."""
  missing = store.missing(kept)
  if not missing:
    return  # without placing the weights on a device
  devices = mesh.size
  # A device never works on one run alone: XLA sums a batch of one in another
  # order, and a unit would score differently in its last digit.
  each = max(2, math.ceil(min(config.batch, kept.chunk) / devices))
  batch = each * devices
  runners = {
    boxed: parallel.runner(
      program.recipe, program.clean, program.result, mesh, program.keep
    )
    for boxed, program in p.programs.items()
  }
  done = kept.count - sum(len(store.rows(kept, n)) for n in missing)
  for number in missing:
    rows = np.array(store.rows(kept, number))
    arrays = {
      name: _blank((len(rows), *shape), dtype)
      for name, (shape, dtype) in p.fields.items()
    }
    arrays |= {name: column[rows] for name, column in p.columns.items()}
    for boxed, runner in runners.items():
      where = np.flatnonzero(p.runs.boxed[rows] == boxed)
      for start in range(0, len(where), batch):
        part = where[start : start + batch]
        # The last run of a batch that is not full is made several times.
        full = np.resize(part, batch)
        full[len(part) :] = part[-1]

        def call(steps, done=done):
          report(Progress(p.layer, done, kept.count, steps))

        targets = p.programs[boxed].target(p.runs, rows[full])
        keys = runs.keys(p.runs, rows[full], config.seed)
        results = _run(config, runner, targets, keys, len(part), call)
        for name, result in results.items():
          _put(arrays[name], part, result)
        done += len(part)
    yield number, arrays
    report(Progress(p.layer, done, kept.count, 0))


def _run(
  config, runner: parallel.Runner, targets, keys, count: int, call: Callable
) -> dict[str, np.ndarray]:
  """Everything that one batch gives, less what fills it up."""
  every = config.save_every
  per_call = parallel.steps_per_call(config.steps, every)
  state = runner.start(targets, keys)
  traces, frames = [], []
  for step in range(0, config.steps, per_call):
    if every is not None and step % every == 0:
      frames.append(np.asarray(runner.frame(state))[:count])
    state, trace = runner.advance(state, targets, keys, steps=per_call)
    traces.append(trace)
    # Waiting for the call before keeps the device busy and the bar honest.
    jax.block_until_ready(traces[-2:][0])
    call(count * per_call)
  traces = jax.device_get(traces)
  trace = {
    f'trace/{name}': np.concatenate([t[name] for t in traces], 1)[:count]
    for name in traces[0]
  }
  results = jax.device_get(runner.finish(state, targets))
  results = {name: array[:count] for name, array in results.items()}
  if frames:
    results['frames'] = np.stack(frames, 1)
  return results | trace


def _put(array: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
  """Writes rows; an image smaller than its place goes to the top left."""
  if array.dtype == np.uint8:
    values = images.to_uint8(values)
  place = tuple(slice(size) for size in values.shape[1:])
  array[(rows, *place)] = values


def _blank(shape: tuple[int, ...], dtype) -> np.ndarray:
  array = np.zeros(shape, dtype)
  if array.dtype.kind == 'f':
    array.fill(np.nan)
  return array


def _fingerprint(config, plans: list[LayerPlan]) -> str:
  """A hash of the weights, and of the files that formulas name."""
  parts = []
  for p in plans:
    for program in p.programs.values():
      parts.append(program.recipe.model)
      if config.prior.strip():
        parts.append(program.recipe.parameterization)
  return store.fingerprint(jax.tree.leaves(parts), fields.strings(config))


def _bytes(number: float | int) -> str:
  for unit in ('B', 'KB', 'MB', 'GB'):
    if number < 1000:
      return f'{number:.3g} {unit}'
    number /= 1000
  return f'{number:.3g} TB'
