"""Many runs, from a configuration to a store: plan, then execute.

  plans = sweep.plan(config)
  sweep.execute(config, plans, workdir)

Executing again after a crash does what is missing and nothing else.
"""

from collections.abc import Callable, Iterator
from concurrent import futures
import functools
import math
import platform
from importlib import metadata
from typing import Any, NamedTuple

import jax
from ml_collections import config_dict
import numpy as np

import vizjax
from vizjax import batches
from vizjax import build
from vizjax import fields
from vizjax import images
from vizjax import parallel
from vizjax import photographs as photographs_
from vizjax import runs
from vizjax import stages
from vizjax import store

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')


class LayerPlan(NamedTuple):
  """All that is to be made of one layer."""

  layer: str
  runs: runs.Runs
  stages: dict[bool, stages.Stages]  # by whether runs are boxed
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
  scales = stages.scales(config, net)
  return [
    _plan_layer(config, net, others, scales, layer)
    for layer in build.layers(config, net)
  ]


def execute(
  config: config_dict.ConfigDict,
  plans: list[LayerPlan],
  workdir: str,
  report: Callable[[Progress], None] = lambda progress: None,
  source: str = '',
  watch: Callable[[LayerPlan, batches.Moment], None] | None = None,
) -> None:
  """Makes what is missing in a workdir.

  Args:
    config: the configuration.
    plans: from `plan`.
    workdir: a new directory, or one of an earlier run of the same plan.
    report: is called after every few steps. If it raises KeyboardInterrupt,
      the batch at hand is kept as it is, and goes on when executed again.
    source: text of the configuration's file, to be kept.
    watch: is shown where a batch stands, every config.every steps.

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
      for number, arrays in _chunks(config, p, kept, mesh, report, watch):
        # The last chunk is written while this one was computed.
        if pending is not None:
          pending.result()
        pending = writer.submit(_commit, kept, number, arrays)
    if pending is not None:
      pending.result()


def steps(config: config_dict.ConfigDict, p: LayerPlan) -> int:
  """Steps of a run of a layer, at all its sizes."""
  return config.steps * max(len(each.programs) for each in p.stages.values())


def versions() -> dict[str, str]:
  """Versions of all that the numbers depend on."""
  found = {name: metadata.version(name) for name in _PACKAGES}
  return {
    'vizjax': vizjax.__version__,
    'python': platform.python_version(),
    **found,
    'device': jax.local_devices()[0].device_kind,
  }


def _plan_layer(config, net, others, scales, layer: str) -> LayerPlan:
  last = stages.last(config, scales)
  photographs = () if scales is None else scales.photographs
  table = build.runs(last, net, layer, len(photographs))
  count = len(table.channel)
  chunk = math.ceil(count / math.ceil(count / config.batch))
  found = {
    bool(boxed): stages.of(
      config,
      net,
      layer,
      others,
      scales,
      boxed=bool(boxed),
      runs=_each(config, chunk),
    )
    for boxed in np.unique(table.boxed)
  }
  frames = {boxed: each.programs[-1].frame for boxed, each in found.items()}
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
    'seen': build.seen(last, net, table, frames),
  }
  rows = {
    name: (column.shape[1:], np.int32) for name, column in columns.items()
  }
  for boxed, each in found.items():
    for name, like in _outputs(config, each, table, boxed).items():
      shape, _ = rows.get(name, (like.shape, None))
      rows[name] = (tuple(map(max, shape, like.shape)), like.dtype)
  for name, (shape, _) in rows.items():
    if name.split('/')[-1] == 'image':
      rows[name] = (shape, config.image_dtype)
  image, _ = rows['image']
  frames = max(_frames(config, each) for each in found.values())
  if frames:
    rows['frames'] = ((frames, *image), config.image_dtype)
  channels = {info.name: info.channels for info in net.layers}.get(layer)
  labels = net.labels if len(net.labels) == channels else ()
  if len(photographs) > 1:
    labels = tuple(photograph.name for photograph in photographs)
  each = fields.each(config)
  if each:
    labels = tuple(
      ' + '.join(map(photographs_.stem, one.values())) for one in each
    )
  return LayerPlan(layer, table, found, columns, rows, chunk, labels)


def _each(config, chunk: int) -> int:
  """Runs that a device works on at a time.

  Never one alone: XLA sums a batch of one in another order, and a unit would
  score differently in its last digit. But large images are made one by one
  where the config says so, then all of them.
  """
  if config.batch == 1 and config.scales.strip():
    return 1
  return max(2, math.ceil(min(config.batch, chunk) / jax.local_device_count()))


def _frames(config, each: stages.Stages) -> int:
  """How many frames are kept of a run."""
  programs = each.programs
  count = 0
  if config.save_every is not None:
    count += len(programs) * math.ceil(config.steps / config.save_every)
  if each.scales is not None and each.scales.film:
    count += sum(program is programs[-1] for program in programs)
  return count


def _outputs(config, each: stages.Stages, table, boxed: bool) -> dict:
  program = each.programs[-1]
  first = np.flatnonzero(table.boxed == boxed)[:1]
  target = jax.tree.map(lambda a: a[0], program.target(table, first))
  target |= stages.example(each)
  try:
    return parallel.fields(
      program.recipe,
      program.clean,
      program.result,
      target,
      steps=config.steps * len(each.programs),
      keep=program.keep,
    )
  except TypeError as error:
    # Such as a size that is no whole number, deep inside JAX.
    why = str(error).splitlines()[0]
    raise ValueError(f'the recipe does not run: {why}') from error


def _chunks(
  config, p: LayerPlan, kept: store.Store, mesh, report, watch
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
  """The arrays of each chunk that is missing."""
  missing = store.missing(kept)
  if not missing:
    return  # without placing the weights on a device
  batch = _each(config, kept.chunk) * mesh.size

  runners = {}

  def runner(program):
    if id(program) not in runners:
      runners[id(program)] = parallel.runner(
        program.recipe, program.clean, program.result, mesh, program.keep
      )
    return runners[id(program)]

  done = kept.count - sum(len(store.rows(kept, n)) for n in missing)
  for number in missing:
    rows = np.array(store.rows(kept, number))
    arrays = {
      name: _blank((len(rows), *shape), dtype)
      for name, (shape, dtype) in p.fields.items()
    }
    arrays |= {name: column[rows] for name, column in p.columns.items()}
    for boxed, each in p.stages.items():
      where = np.flatnonzero(p.runs.boxed[rows] == boxed)
      for start in range(0, len(where), batch):
        part = where[start : start + batch]
        # The last run of a batch that is not full is made several times.
        full = np.resize(part, batch)
        full[len(part) :] = part[-1]

        def call(steps, done=done):
          report(Progress(p.layer, done, kept.count, steps))

        place = store.interrupted(kept, number)
        results = batches.run(
          batches.Batch(config, p.runs, each, rows[full], len(part), place),
          runner,
          call,
          watch and functools.partial(watch, p),
        )
        for name, result in results.items():
          _put(arrays[name], part, result)
        done += len(part)
    yield number, arrays
    report(Progress(p.layer, done, kept.count, 0))


def _commit(
  kept: store.Store, number: int, arrays: dict[str, np.ndarray]
) -> None:
  store.write(kept, number, arrays)
  store.interrupted(kept, number).unlink(missing_ok=True)


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
    for each in p.stages.values():
      recipe = each.programs[-1].recipe
      parts.append(recipe.model)
      if config.prior.strip():
        parts.append(recipe.parameterization)
      if each.scales is not None:
        parts += [photograph.image for photograph in each.scales.photographs]
  return store.fingerprint(jax.tree.leaves(parts), fields.strings(config))
