"""Many runs, from a configuration to a store: plan, then execute.

  plans = sweep.plan(config)
  sweep.execute(config, plans, workdir)

Executing again after a crash does what is missing and nothing else.
"""

from collections.abc import Callable, Iterator
from concurrent import futures
import functools
import math
from typing import Any, NamedTuple

import jax
from ml_collections import config_dict
import numpy as np

from vizjax.build import assemble
from vizjax.build import frames as frames_
from vizjax.build import reach
from vizjax.build import runs
from vizjax.build import stages
from vizjax.build import vocabulary
from vizjax.sweeps import batches
from vizjax.sweeps import capacity
from vizjax.sweeps import compilation
from vizjax.sweeps import growth
from vizjax.sweeps import hosts
from vizjax.sweeps import parallel
from vizjax.sweeps import provenance
from vizjax.sweeps import results
from vizjax.workdir import folders
from vizjax.workdir import store

# Runs that a file holds, where the configuration says nothing of batches.
_CHUNK = 64


class LayerPlan(NamedTuple):
  """All that is to be made of one layer."""

  layer: str
  runs: runs.Runs
  stages: dict[bool, stages.Stages]  # by whether runs are boxed
  columns: dict[str, np.ndarray]  # [n, ...] what is known beforehand
  fields: dict[str, tuple[tuple[int, ...], Any]]  # shape of a row, dtype
  chunk: int  # runs that a file holds
  group: int | None  # runs in a row that are made together, if any
  labels: tuple[str, ...]  # names of the units; () where they have none
  network: list[list]  # name, kind, inputs and shape of each of its layers
  weights: str  # a hash of the networks, and of the files that are read


class _Job(NamedTuple):
  """What is to be made of a layer."""

  plan: LayerPlan
  kept: store.Store
  missing: dict[int, np.ndarray]  # rows, by the number of their chunk
  tried: np.ndarray  # [n] how often each row of these was tried before


class Progress(NamedTuple):
  """How far an execution is."""

  layer: str
  units: int  # runs that are done, of this layer
  count: int  # that are, once this process has done its share
  steps: int  # steps of single runs made by the last call
  compiling: bool = False  # whether its programs are still compiled


def plan(config: config_dict.ConfigDict) -> list[LayerPlan]:
  """What a configuration asks for, checked down to the shapes.

  Raises:
    UserError: the configuration asks for what cannot be.
    OSError: a file that it names cannot be read.
  """
  net = assemble.model(config)
  others = assemble.networks(config)
  scales = stages.scales(config, net)
  photographs = () if scales is None else scales.photographs
  network = provenance.network(net)
  networks = (net, *(model for _, model in sorted(others.items())))
  weights = provenance.weights(config, networks, photographs)
  return [
    _plan_layer(config, net, others, scales, layer, network, weights)
    for layer in assemble.layers(config, net)
  ]


def check(
  config: config_dict.ConfigDict,
  plans: list[LayerPlan],
  workdir: str,
) -> None:
  """Refuses a workdir that `execute` refuses, and writes nothing.

  Args:
    config: the configuration.
    plans: from `plan`.
    workdir: a directory, there or not.

  Raises:
    UserError: it belongs to something else.
    OSError: it cannot be read.
  """
  store.check(workdir, _made_by(config, plans, ''), *_rules(config, plans))


def execute(
  config: config_dict.ConfigDict,
  plans: list[LayerPlan],
  workdir: str,
  report: Callable[[Progress], None] = lambda progress: None,
  source: str = '',
  watch: Callable[[LayerPlan, batches.Moment], None] | None = None,
  here: hosts.Hosts = hosts.ALONE,
) -> None:
  """Makes what is missing in a workdir, or this process's share of it.

  Args:
    config: the configuration.
    plans: from `plan`.
    workdir: a new directory, or one of an earlier run of the same plan.
    report: is called after every few steps, and while programs are compiled.
      If it raises KeyboardInterrupt, the batch at hand is kept as it is, and
      goes on when executed again.
    source: text of the configuration's file, to be kept.
    watch: is shown where a batch stands, every config.every steps.
    here: which process this is; all of them execute the same.

  Raises:
    UserError: the workdir belongs to something else, or an image is too large
      for the memory there is.
    OSError: it cannot be written.
  """
  new, opened = _opened(config, plans, workdir, source, here)
  jobs = _jobs(opened, here)
  hosts.leave(here)
  mesh = parallel.local_mesh()
  ahead = futures.ThreadPoolExecutor(1)  # compiles the next layer meanwhile
  prepare = compilation.numbers_as_here(
    functools.partial(_prepared, config, mesh=mesh)
  )
  following = ahead.submit(prepare, jobs[0]) if jobs else None
  with futures.ThreadPoolExecutor(1) as writer:
    written = []
    try:
      for i, job in enumerate(jobs):
        _wait(following, job, report)
        work = _fitted(config, job, following, prepare)
        if i + 1 < len(jobs):
          following = ahead.submit(prepare, jobs[i + 1])
        for rows, arrays in _batches(config, job, work, mesh, report, watch):
          # One batch is written while the next is computed.
          for each in written:
            each.result()
          written = [writer.submit(_commit, job.kept, rows, arrays)]
          del arrays
        del work  # and its weights, before the next one asks what is free
      for each in written:
        each.result()
    except capacity.Exhausted:
      if new and not written and here.count == 1:
        store.disclaim(workdir)  # for a config that asks for less
      raise
    finally:
      # Nobody waits for a compilation that nobody needs any more.
      ahead.shutdown(wait=False, cancel_futures=True)


def steps(config: config_dict.ConfigDict, p: LayerPlan) -> int:
  """Steps of a run of a layer, at all its sizes."""
  return config.steps * max(len(each.programs) for each in p.stages.values())


def _plan_layer(
  config, net, others, scales, layer: str, network, weights
) -> LayerPlan:
  last = stages.last(config, scales)
  photographs = () if scales is None else scales.photographs
  table = assemble.runs(last, net, layer, len(photographs))
  count = len(table.channel)
  chunk = math.ceil(count / math.ceil(count / (config.batch or _CHUNK)))
  group = reach.group(last)
  chunk = math.ceil(chunk / (group or 1)) * (group or 1)
  found = {
    bool(boxed): stages.of(
      config,
      net,
      layer,
      others,
      scales,
      boxed=bool(boxed),
      runs=capacity.most(config, chunk, group),
    )
    for boxed in np.unique(table.boxed)
  }
  frames = {boxed: each.programs[-1].frame for boxed, each in found.items()}
  # What is written of every run besides what its program gives.
  columns = {
    # channel, row, column
    'unit': np.stack([table.channel, table.y, table.x], -1),
    # 1 maximized, -1 minimized
    'sign': table.sign,
    'replicate': table.replicate,
    # The part of the full image that it was made on.
    'box': table.box,
    # Height and width of what `image` holds of it.
    'size': np.array([frames[bool(b)].canvas for b in table.boxed], np.int32),
    # The part of that which the unit sees.
    'seen': assemble.seen(last, net, table, frames),
  }
  rows = {
    name: (column.shape[1:], np.int32) for name, column in columns.items()
  }
  for boxed, each in found.items():
    for name, like in stages.outputs(config, each, table, boxed).items():
      shape, _ = rows.get(name, (like.shape, None))
      rows[name] = (tuple(map(max, shape, like.shape)), like.dtype)
  for name, (shape, _) in rows.items():
    if name.split('/')[-1] == 'image':
      rows[name] = (shape, config.image_dtype)
  image, _ = rows['image']
  frames = max(stages.frames(config, each) for each in found.values())
  if frames:
    rows['frames'] = ((frames, *image), config.image_dtype)
  rows |= results.FIELDS
  labels = provenance.labels(config, net, layer, photographs)
  return LayerPlan(
    layer, table, found, columns, rows, chunk, group, labels, network, weights
  )


def _opened(
  config, plans: list[LayerPlan], workdir: str, source: str, here: hosts.Hosts
) -> tuple[bool, list[_Job]]:
  """Whether the workdir is new, and what is missing, layer by layer.

  Process 0 makes the arrays, and the rows that they lack.
  """
  made_by = _made_by(config, plans, source)
  if here.count > 1:
    hosts.agree(here, provenance.facts(made_by))

  def begin():
    new = not store.claim(workdir, made_by, *_rules(config, plans))
    growth.record(workdir, made_by, {p.layer: p.columns for p in plans})
    for p in plans:
      path = store.directory(workdir, p.layer)
      fields_ = {n: f for n, f in p.fields.items() if n not in p.columns}
      store.create(path, fields_, len(p.runs.channel), p.chunk, p.columns)
      growth.rows(path, p.columns, p.fields)
    return new

  def look():
    return [_job(config, workdir, p) for p in plans]

  # Nobody writes before everybody has seen what is missing.
  new = hosts.together(here, begin if here.index == 0 else lambda: False)
  return new, hosts.together(here, look)


def _made_by(config, plans: list[LayerPlan], source: str) -> dict[str, Any]:
  """The content of config.json of a new workdir."""
  made_by = provenance.of(config, source)
  return made_by | {
    'fingerprint': plans[0].weights,
    'layers': [p.layer for p in plans],
    'network': plans[0].network,
    # Names of the units, for the layers whose units have any.
    'labels': {p.layer: list(p.labels) for p in plans if p.labels},
    'asked': [growth.asked(made_by['config'], made_by['versions'])],
  }


def _rules(config, plans: list[LayerPlan]) -> tuple[dict, dict, Callable]:
  """How `store` compares a workdir with the configuration."""
  # A workdir of an older version lacks the fields that are newer.
  defaults = assemble.config().to_dict()
  grows = {'layer': None, 'units': None, 'replicates': growth.fixed(config)}
  return defaults, grows, lambda: _fingerprint(config, plans)


def _job(config, workdir: str, p: LayerPlan) -> _Job:
  """The missing rows of a layer, and its plan in the order of its arrays."""
  kept = store.open_(store.directory(workdir, p.layer))
  rows = growth.at(kept, p.columns)
  # Rows that the config does not ask for stand for its first run: none of
  # them is missing.
  places_ = np.zeros(kept.count, int)
  places_[rows] = np.arange(len(rows))
  table = runs.Runs(p.layer, *(column[places_] for column in p.runs[1:]))
  fields_ = {
    name: (kept.arrays[name].shape[1:] if name in kept.arrays else shape, dtype)
    for name, (shape, dtype) in p.fields.items()
  }
  tried = np.full(kept.count, -1)
  tried[rows] = results.due(kept, config.retries, p.group)[rows]
  missing = store.by_chunk(kept, np.flatnonzero(tried >= 0))
  return _Job(p._replace(runs=table, fields=fields_), kept, missing, tried)


def _jobs(jobs: list[_Job], here: hosts.Hosts) -> list[_Job]:
  """This process's share, in the order of the network."""
  pieces = [(i, number) for i, job in enumerate(jobs) for number in job.missing]
  costs = [_cost(job.plan) for job in jobs]
  work = [costs[i] * len(jobs[i].missing[number]) for i, number in pieces]
  own = [pieces[k] for k in hosts.share(here, work)]
  return [
    job._replace(missing={n: job.missing[n] for k, n in own if k == i})
    for i, job in enumerate(jobs)
    if any(k == i for k, _ in own)
  ]


def _cost(p: LayerPlan) -> int:
  """What a step of a run takes, in numbers that the network computes."""
  return sum(
    act.size
    for each in p.stages.values()
    for program in each.programs
    for act in frames_.maps(program.recipe.model, program.frame.view).values()
  )


def _prepared(config, job: _Job, mesh) -> dict[bool, capacity.Work]:
  """The programs of a job, compiled."""
  rows = np.concatenate(list(job.missing.values()))
  boxed = job.plan.runs.boxed[rows]
  return {
    kind: capacity.prepared(
      config, job.plan.runs, each, rows[boxed == kind], mesh
    )
    for kind, each in job.plan.stages.items()
    if (boxed == kind).any()
  }


def _wait(following: futures.Future, job: _Job, report) -> None:
  """Until a job's programs are compiled; an interruption is answered before."""
  now = Progress(job.plan.layer, *_done(job), 0, compiling=True)
  while not futures.wait([following], timeout=0.2).done:
    report(now)


def _fitted(
  config, job: _Job, following: futures.Future, prepare
) -> dict[bool, capacity.Work]:
  """The programs of a job, for as many runs at a time as fit by now.

  They were compiled while the arrays of the layer before were on the device:
  what is free is asked once more. Nothing is compiled again for the same size.
  """
  try:
    work = following.result()
  except capacity.Exhausted:
    work = prepare(job)
  boxed = job.plan.runs.boxed[np.concatenate(list(job.missing.values()))]
  devices = jax.local_device_count()
  return {
    kind: each.prepare(
      devices * capacity.most(config, int((boxed == kind).sum()), each.group)
    )
    for kind, each in work.items()
  }


def _done(job: _Job) -> tuple[int, int]:
  """How many runs of a layer are done, and will be by this process's share."""
  finished = store.read(job.kept, store.DONE) > 0
  done = int((finished & (job.tried < 0)).sum())
  return done, done + sum(map(len, job.missing.values()))


def _batches(
  config, job: _Job, work: dict[bool, capacity.Work], mesh, report, watch
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
  """The rows and the arrays of each batch; those that failed come again."""
  p, tried = job.plan, job.tried.copy()
  fields_ = {n: f for n, f in p.fields.items() if n not in p.columns}
  done, count = _done(job)
  if any(each.scales is not None for each in p.stages.values()):
    # A size is compiled when the first batch comes to it.
    report(Progress(p.layer, done, count, 0, compiling=True))
  for missing in job.missing.values():
    for kind, each in p.stages.items():
      left = missing[p.runs.boxed[missing] == kind]
      while len(left):
        attempt = int(tried[left[0]])
        part = left[tried[left] == attempt][: work[kind].batch]
        batch = _batch(config, job, each, part, work[kind].batch, attempt)
        first = (job.tried[part] == attempt).all()

        def call(steps, done=done, first=first):
          report(Progress(p.layer, done, count, steps if first else 0))

        try:
          found = batches.run(
            batch,
            work[kind].runner,
            call,
            watch and functools.partial(watch, p),
          )
        except jax.errors.JaxRuntimeError as error:
          if not capacity.exhausted(error):
            raise
          work[kind] = capacity.halved(work[kind], mesh)
          continue
        seeds = batch.table.seed[part]
        found = results.judged(found, seeds, attempt)
        failed = results.together(results.failed(found), p.group)
        # Nothing of a batch is held while the next one is made.
        arrays = results.rows(fields_, found)
        del found
        yield part, arrays
        del arrays
        again = part[failed] if attempt < config.retries else part[:0]
        tried[again] += 1
        left = np.concatenate([left[~np.isin(left, part)], again])
        done += len(part) - len(again)
        report(Progress(p.layer, done, count, 0))


def _batch(
  config, job: _Job, each: stages.Stages, part: np.ndarray, size: int, attempt
) -> batches.Batch:
  """Some rows as a batch; if it is not full the last are made several times."""
  p = job.plan
  spare = np.resize(part[-(p.group or 1) :], size - len(part))
  return batches.Batch(
    config,
    results.again(p.runs, attempt),
    each,
    np.concatenate([part, spare]),
    len(part),
    store.interrupted(job.kept, int(part[0]), attempt),
  )


def _commit(
  kept: store.Store, rows: np.ndarray, arrays: dict[str, np.ndarray]
) -> None:
  # A store of an older version lacks the fields that are newer.
  known = {n: array for n, array in arrays.items() if n in kept.arrays}
  store.write(kept, rows, known)
  attempt = int(arrays[results.RETRIES][0])
  folders.write(store.interrupted(kept, int(rows[0]), attempt), None)


def _fingerprint(config, plans: list[LayerPlan]) -> str:
  """The hash of older versions: of the layers that are asked for."""
  parts = []
  for p in plans:
    for each in p.stages.values():
      recipe = each.programs[-1].recipe
      parts.append(recipe.model)
      if config.prior.strip():
        parts.append(recipe.parameterization)
      if each.scales is not None:
        parts += [photograph.image for photograph in each.scales.photographs]
  return store.fingerprint(jax.tree.leaves(parts), vocabulary.strings(config))
