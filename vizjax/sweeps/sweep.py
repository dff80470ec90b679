"""Many runs, from a request to a store: plan, then execute.

  plan = sweep.plan(build.request(config))
  sweep.execute(plan, workdir)

Executing again after a crash makes the missing runs and nothing else: `_job`
finds the rows of a layer that are missing, and `batches` goes on with a batch
that was interrupted.
"""

from collections.abc import Callable, Iterator
from concurrent import futures
import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from vizjax import build
from vizjax import core
from vizjax.build import program as program_
from vizjax.build import runs
from vizjax.build import stages
from vizjax.errors import UserError
from vizjax.sweeps import batches
from vizjax.sweeps import capacity
from vizjax.sweeps import compilation
from vizjax.sweeps import digests
from vizjax.sweeps import format1
from vizjax.sweeps import growth
from vizjax.sweeps import hosts
from vizjax.sweeps import parallel
from vizjax.sweeps import provenance
from vizjax.sweeps import results
from vizjax.workdir import folders
from vizjax.workdir import store

# Runs in a file where request.batch is None.
_CHUNK = 64


class LayerPlan(NamedTuple):
  """The runs of one layer, and how they are made and stored."""

  layer: str
  runs: runs.Runs
  stages: dict[bool, stages.Stages]  # by whether runs are boxed
  preset: dict[str, np.ndarray]  # [n, ...], known before the runs are made
  array_specs: dict[str, tuple[tuple[int, ...], Any]]  # shape of a row, dtype
  chunk: int  # runs in a file
  group: int | None  # runs in a row that are made together, if any
  labels: tuple[str, ...]  # names of the units; () where they have none
  subject: str  # what the images are of: 'unit', 'direction', 'layer' ...
  placed: bool  # whether a row and a column of the layer say what they are of


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """What is made of a request: the runs and the programs of every layer.

  Attributes:
    request: what is wanted.
    layers: in the order of the network.
    network: name, kind, inputs and shape of each layer of the network.
    digests: of the networks, and of the files that are read.
  """

  request: build.Request
  layers: tuple[LayerPlan, ...]
  network: list[list]
  digests: dict[str, str]


class Progress(NamedTuple):
  """How far an execution is."""

  layer: str
  runs: int  # finished runs of this layer
  count: int  # finished runs of it once this process has done its share
  steps: int  # steps of single runs made by the last call
  compiling: bool = False  # whether the layer's programs are being compiled
  total: int = (
    0  # steps of single runs that this execution makes, of all layers
  )


class _Job(NamedTuple):
  """The runs of a layer that this process makes."""

  plan: LayerPlan
  workdir: str
  layer_store: store.Store
  missing: dict[int, np.ndarray]  # rows, by the number of their chunk
  tried: np.ndarray  # [n], attempts already made of each missing row, else -1
  maker: int = -1  # this process's place among the makers of config.json


def plan(request: build.Request) -> Plan:
  """Plans the runs of every layer, and checks them down to the shapes.

  Raises:
    UserError: a value of the request is wrong, or does not suit another.
    OSError: a file that the request names cannot be read.
  """
  layers = tuple(_plan_layer(request, layer) for layer in request.layers)
  _, shapes = request.fitting(*request.model.input_shape[:2])
  return Plan(
    request,
    layers,
    provenance.network(request.model, shapes),
    _digests(request),
  )


def check(plan: Plan, workdir: str, *, allow_versions: bool = False) -> None:
  """Refuses a workdir that `execute` would refuse. Writes nothing.

  Args:
    plan: from `plan`.
    workdir: a directory, which need not exist.
    allow_versions: as of `execute`.

  Raises:
    UserError: the workdir belongs to another run.
    OSError: the workdir cannot be read.
  """
  plan = _as_begun(plan, workdir)
  rules = _rules(plan, allow_versions)
  store.check(workdir, _made_by(plan, ''), rules)
  begun = _begun(plan, workdir)
  for p in begun:
    # Programs are traced only where there is something to compare them with.
    wanted = p is begun[0] or _unfinished(plan.request, workdir, p)
    if wanted and digests.known(workdir, p.layer):
      digests.compare(workdir, p.layer, _programs(plan.request, p))


def execute(
  plan: Plan,
  workdir: str,
  report: Callable[[Progress], None] = lambda progress: None,
  source: str = '',
  watch: Callable[[LayerPlan, batches.Status], None] | None = None,
  here: hosts.Hosts = hosts.ALONE,
  *,
  allow_versions: bool = False,
  goes_on: bool = True,
) -> None:
  """Makes the missing runs of a workdir, or this process's share of them.

  Args:
    plan: from `plan`.
    workdir: a new directory, or one of an earlier run of the same plan.
    report: is called after every few steps, and while programs are compiled.
      If `report` raises KeyboardInterrupt, the current batch is kept as it is,
      and the next execution resumes it. If it raises `batches.Enough`, the
      current batch ends with the step at hand, and no other one begins.
    source: text of the configuration's file, to be kept.
    watch: is called with the state of a batch every request.every steps.
    here: which process this is; all processes execute the same plans.
    allow_versions: go on in a workdir that other versions of `store.PINNED`
      made. The array `maker` tells the rows of different versions apart.
    goes_on: whether the workdir keeps digests of the programs, which a later
      execution compares: about a second for each layer.

  Raises:
    batches.Enough: `report` has raised it, and what was made is written.
    UserError: the workdir belongs to another run, or an image is too large for
      the free memory.
    OSError: the workdir cannot be written.
  """
  plan = _as_begun(plan, workdir)
  request = plan.request
  new, opened = _opened(plan, workdir, source, here, allow_versions)
  jobs = _jobs(opened, here)
  total = sum(_steps(request, job) for job in jobs)

  def tell(progress):
    report(progress._replace(total=total))

  hosts.leave(here)
  mesh = parallel.local_mesh()
  ahead = futures.ThreadPoolExecutor(1)  # compiles the next layer meanwhile
  prepare = compilation.with_same_dtypes(
    functools.partial(_prepared, request, mesh=mesh, goes_on=goes_on)
  )
  following: Any = ahead.submit(prepare, jobs[0]) if jobs else None
  with futures.ThreadPoolExecutor(1) as writer:
    written = []
    try:
      for i, job in enumerate(jobs):
        _wait(following, job, tell)
        work = _fitted(request, job, following, prepare)
        if i + 1 < len(jobs):
          following = ahead.submit(prepare, jobs[i + 1])
        for rows, arrays in _batches(request, job, work, mesh, tell, watch):
          # One batch is written while the next is computed.
          for each in written:
            each.result()
          written = [writer.submit(_commit, job, rows, arrays)]
          del arrays
        del work  # and its weights, before the next layer asks for free memory
      for each in written:
        each.result()
    except capacity.Exhausted:
      if new and not written and here.count == 1:
        store.disclaim(workdir)  # for a request that asks for less
      raise
    finally:
      # Nobody waits for a compilation that nobody needs any more.
      ahead.shutdown(wait=False, cancel_futures=True)


def steps(request: build.Request, p: LayerPlan) -> int:
  """Returns the steps of a run of a layer, at all its sizes."""
  return request.steps * max(len(each.programs) for each in p.stages.values())


def _plan_layer(request: build.Request, layer: str) -> LayerPlan:
  reads = stages.read(request, layer)
  last, read = stages.sized(request)[-1], [*reads.values()][-1]
  photographs = () if request.scales is None else request.scales.photographs
  table = program_.runs(last, read, len(photographs))
  group = request.replicates if read.terms.replicates else None
  chunk = _chunk(request, len(table.channel), group)
  stages_ = {
    boxed: stages.of(
      request, reads, boxed=boxed, runs=capacity.most(request, chunk, group)
    )
    for boxed in map(bool, np.unique(table.boxed))
  }
  preset = _preset(read, table, stages_)
  subject = program_.subject(request, read)
  labels = program_.unit_labels(request, read)
  return LayerPlan(
    layer,
    table,
    stages_,
    preset,
    _array_specs(request, table, stages_, preset),
    chunk,
    group,
    request.each if subject == 'photograph' else labels,
    subject,
    bool(read.terms.positions) or read.terms.place,
  )


def _as_begun(plan_: Plan, workdir: str) -> Plan:
  """Returns the plan that a workdir of format 1 goes on by.

  Versions of that format made a term of the user's own on the whole image,
  where it is now made on the receptive field of a unit.
  """
  try:
    made_by = store.read_config(workdir)
  except UserError:
    return plan_  # `store.claim` says what is wrong, if anything is
  if store.format_of(made_by) > 1 or not plan_.request.box:
    return plan_
  for p in plan_.layers:
    path = store.directory(workdir, p.layer)
    if not store.begun(path):
      continue
    layer_store = store.open_(path)
    rows = growth.at(layer_store, p.preset)
    there = store.read(layer_store, 'box')[rows[rows >= 0]]
    if not np.array_equal(there, p.preset['box'][rows >= 0]):
      return plan(dataclasses.replace(plan_.request, box=False))
  return plan_


def _chunk(request, count: int, group: int | None) -> int:
  """Returns the runs in a file: files of equal size, groups undivided."""
  files = math.ceil(count / (request.batch or _CHUNK))
  group = group or 1
  return math.ceil(math.ceil(count / files) / group) * group


def _preset(
  read: program_.Read, table: runs.Runs, stages_: dict[bool, stages.Stages]
) -> dict[str, np.ndarray]:
  """Returns the stored arrays [n, ...] known before the runs are made."""
  programs = {boxed: each.programs[-1] for boxed, each in stages_.items()}
  return {
    # channel, row, column
    'unit': np.stack([table.channel, table.y, table.x], -1),
    # 1 maximized, -1 minimized
    'sign': table.sign,
    'replicate': table.replicate,
    # The part of the full image that the image was made on.
    'box': table.box,
    # Height and width of the image, from the top left of the array `image`.
    'size': np.array(
      [programs[bool(b)].geometry.canvas for b in table.boxed], np.int32
    ),
    # The part of the image that the unit sees.
    'seen': program_.seen(read, table, programs),
  }


def _array_specs(
  request: build.Request,
  table: runs.Runs,
  stages_: dict[bool, stages.Stages],
  preset: dict[str, np.ndarray],
) -> dict[str, tuple[tuple[int, ...], Any]]:
  """Returns shape and dtype of a row of every stored array."""
  specs: dict[str, tuple[tuple[int, ...], Any]] = {
    name: (column.shape[1:], np.int32) for name, column in preset.items()
  }
  for boxed, each in stages_.items():
    for name, like in stages.outputs(request, each, table, boxed).items():
      # One array holds the images of boxed runs and of others.
      shape, _ = specs.get(name, (like.shape, None))
      specs[name] = (tuple(map(max, shape, like.shape)), like.dtype)
  for name, (shape, _) in specs.items():
    if name.split('/')[-1] == 'image':
      specs[name] = (shape, request.image_dtype)
  image, _ = specs['image']
  frames = max(stages.frame_count(request, each) for each in stages_.values())
  if frames:
    specs['frames'] = ((frames, *image), request.image_dtype)
  return specs | results.ARRAYS


def _opened(
  plan: Plan,
  workdir: str,
  source: str,
  here: hosts.Hosts,
  allow_versions: bool = False,
) -> tuple[bool, list[_Job]]:
  """Opens a workdir; process 0 makes the arrays and the rows that it lacks.

  Returns:
    Whether the workdir is new, and the missing runs of each layer.
  """
  made_by = _made_by(plan, source)
  if here.count > 1:
    hosts.agree(here, provenance.facts(made_by))

  def begin():
    new = not store.claim(workdir, made_by, _rules(plan, allow_versions))
    _grow(plan, workdir, made_by)
    return new

  def look():
    jobs = [_job(plan.request, workdir, p) for p in plan.layers]
    if not any(job.missing for job in jobs):
      return jobs
    maker = provenance.enlisted(workdir)
    return [job._replace(maker=maker) for job in jobs]

  # No process writes before every process knows which runs are missing.
  new = hosts.together(here, begin if here.index == 0 else lambda: False)
  return new, hosts.together(here, look)


def _grow(plan: Plan, workdir: str, made_by: dict[str, Any]) -> None:
  """Makes the arrays and the rows that a workdir lacks."""
  begun = _begun(plan, workdir)
  more = [p for p in plan.layers if growth.lacks(workdir, p.layer, p.preset)]
  # Other programs are refused before anything is written: those of the layers
  # that get rows and, for what all layers share, that of the first one, also
  # where nothing is missing.
  for p in begun:
    if p is begun[0] or p in more:
      digests.compare(workdir, p.layer, _programs(plan.request, p))
  growth.record(workdir, made_by, {p.layer: p.preset for p in plan.layers})
  format_ = store.format_of(store.read_config(workdir))
  left_out = [store.MAKER] if format_ == 1 else []
  for p in plan.layers:
    path = store.directory(workdir, p.layer)
    specs = {
      name: spec
      for name, spec in p.array_specs.items()
      if name not in (*p.preset, *left_out)
    }
    store.create(path, specs, len(p.runs.channel), p.chunk, p.preset)
    growth.rows(path, p.preset, p.array_specs)


def _programs(request: build.Request, p: LayerPlan) -> digests.LayerDigests:
  """Returns the digests of a layer."""
  return digests.of_layer(request, p.stages, p.runs)


def _made_by(plan: Plan, source: str) -> dict[str, Any]:
  """Returns the content of config.json of a new workdir."""
  made_by = provenance.of(plan.request, source)
  free = [name for name, why in _grows(plan).items() if why is None]
  return made_by | {
    'format': store.FORMAT,
    'digests': {
      'request': digests.request(made_by['config'], free),
      **plan.digests,
      'constants': {},  # of each layer, once it is begun
      'program': {},
      'arrays': {},
    },
    'makers': [made_by['versions']],
    'layers': [p.layer for p in plan.layers],
    'network': plan.network,
    # Names of the units, for the layers whose units have any.
    'labels': {p.layer: list(p.labels) for p in plan.layers if p.labels},
    # What images are of that are of no unit.
    'subjects': {
      p.layer: p.subject for p in plan.layers if p.subject != 'unit'
    },
    'asked': [growth.asked(made_by['config'], made_by['versions'])],
  }


def _digests(request: build.Request) -> dict[str, str]:
  """Returns the digests of what all layers are made from."""
  photographs = () if request.scales is None else request.scales.photographs
  return {
    'weights': digests.weights(_networks(request)),
    'data': digests.data(
      request.noted.strings, [each.image for each in photographs]
    ),
  }


def _networks(request: build.Request) -> list[core.Model]:
  """Returns all networks that images are made from, in a fixed order."""
  others = sorted(request.networks.items())
  return [request.model, *(network for _, network in others)]


def _grows(plan: Plan) -> dict[str, str | None]:
  """Returns the knobs that may grow, with the reason where one may not."""
  compared = any(p.group for p in plan.layers)
  fixed = growth.fixed(plan.request, compared)
  return {'layer': None, 'units': None, 'replicates': fixed}


def _rules(plan: Plan, allow_versions: bool) -> store.Rules:
  """Returns the rules by which `store` compares a workdir with the plan."""
  # A workdir of an older version lacks newer knobs.
  defaults = build.config().to_dict()
  earlier = functools.partial(_fingerprint, plan)
  return store.Rules(defaults, _grows(plan), earlier, allow_versions)


def _job(request, workdir: str, p: LayerPlan) -> _Job:
  """Returns the missing rows of a layer, its plan in the order of its rows."""
  layer_store = store.open_(store.directory(workdir, p.layer))
  rows = growth.at(layer_store, p.preset)
  # A row that the request does not ask for gets its first run, and is never
  # missing.
  places_ = np.zeros(layer_store.count, int)
  places_[rows] = np.arange(len(rows))
  table = runs.Runs(p.layer, *(column[places_] for column in p.runs[1:]))
  specs = {
    name: (
      layer_store.arrays[name].shape[1:]
      if name in layer_store.arrays
      else shape,
      dtype,
    )
    for name, (shape, dtype) in p.array_specs.items()
  }
  tried = np.full(layer_store.count, -1)
  tried[rows] = results.due(layer_store, request.retries, p.group)[rows]
  missing = store.by_chunk(layer_store, np.flatnonzero(tried >= 0))
  p = p._replace(runs=table, array_specs=specs)
  return _Job(p, workdir, layer_store, missing, tried)


def _begun(plan: Plan, workdir: str) -> list[LayerPlan]:
  """Returns the layers that a workdir holds arrays of."""
  paths = {p.layer: store.directory(workdir, p.layer) for p in plan.layers}
  return [p for p in plan.layers if store.begun(paths[p.layer])]


def _unfinished(request, workdir: str, p: LayerPlan) -> bool:
  """Returns whether a layer that is begun lacks a row, or a row its image."""
  if growth.lacks(workdir, p.layer, p.preset):
    return True
  return bool(_job(request, workdir, p).missing)


def _jobs(jobs: list[_Job], here: hosts.Hosts) -> list[_Job]:
  """Returns this process's share of the jobs, in the order of the network."""
  pieces = [(i, number) for i, job in enumerate(jobs) for number in job.missing]
  costs = [_cost(job.plan) for job in jobs]
  work = [costs[i] * len(jobs[i].missing[number]) for i, number in pieces]
  own = [pieces[k] for k in hosts.share(here, work)]
  return [
    job._replace(missing={n: job.missing[n] for k, n in own if k == i})
    for i, job in enumerate(jobs)
    if any(k == i for k, _ in own)
  ]


def _steps(request: build.Request, job: _Job) -> int:
  """Counts the steps of single runs that a job makes, without retries."""
  return steps(request, job.plan) * sum(map(len, job.missing.values()))


def _cost(p: LayerPlan) -> int:
  """Returns the cost of a step of a run: the activations that it computes."""
  return sum(
    act.size
    for each in p.stages.values()
    for program in each.programs
    for act in program.acts.values()
  )


def _prepared(
  request, job: _Job, mesh, goes_on: bool
) -> dict[bool, capacity.Work]:
  """Returns the compiled programs of a job, by whether runs are boxed.

  Raises:
    UserError: other programs made the rows of the layer that are finished.
  """
  if goes_on:
    digests.keep(job.workdir, job.plan.layer, _programs(request, job.plan))
  rows = np.concatenate(list(job.missing.values()))
  boxed = job.plan.runs.boxed[rows]
  return {
    kind: capacity.prepared(
      request, job.plan.runs, each, rows[boxed == kind], mesh
    )
    for kind, each in job.plan.stages.items()
    if (boxed == kind).any()
  }


def _wait(following: futures.Future, job: _Job, report) -> None:
  """Waits until a job's programs are compiled; `report` may interrupt it."""
  now = Progress(job.plan.layer, *_done(job), 0, compiling=True)
  while not futures.wait([following], timeout=0.2).done:
    report(now)


def _fitted(
  request: build.Request, job: _Job, following: futures.Future, prepare
) -> dict[bool, capacity.Work]:
  """Returns the programs of a job, for as many runs at a time as fit now.

  The programs were compiled while the arrays of the layer before were on the
  device, so the free memory is measured again. A program of the same size is
  not compiled again.
  """
  try:
    work = following.result()
  except capacity.Exhausted:
    work = prepare(job)
  boxed = job.plan.runs.boxed[np.concatenate(list(job.missing.values()))]
  devices = jax.local_device_count()
  return {
    kind: each.prepare(
      devices * capacity.most(request, int((boxed == kind).sum()), each.group)
    )
    for kind, each in work.items()
  }


def _done(job: _Job) -> tuple[int, int]:
  """Counts a layer's finished runs: now, and after this process's share."""
  finished = store.read(job.layer_store, store.DONE) > 0
  done = int((finished & (job.tried < 0)).sum())
  return done, done + sum(map(len, job.missing.values()))


def _batches(
  request: build.Request,
  job: _Job,
  work: dict[bool, capacity.Work],
  mesh,
  report,
  watch,
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
  """Yields the rows and arrays of each batch; failed runs are made again."""
  p, tried = job.plan, job.tried.copy()
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
        batch = _batch(request, job, each, part, work[kind].batch, attempt)
        # The total of steps is without retries.
        counted = (job.tried[part] == attempt).all()

        def call(steps, done=done, counted=counted):
          report(Progress(p.layer, done, count, steps if counted else 0))

        made = _run(p, batch, work[kind].runner, attempt, call, watch)
        if made is None:
          work[kind] = capacity.halved(work[kind], mesh)
          continue
        arrays, failed = made
        del made
        yield part, arrays
        del arrays  # Nothing of a batch is held while the next one is made.
        again = part[failed] if attempt < request.retries else part[:0]
        tried[again] += 1
        left = np.concatenate([left[~np.isin(left, part)], again])
        done += len(part) - len(again)
        report(Progress(p.layer, done, count, 0))


def _batch(
  request: build.Request,
  job: _Job,
  each: stages.Stages,
  part: np.ndarray,
  size: int,
  attempt,
) -> batches.Batch:
  """Returns some rows as a batch; the last are repeated until it is full."""
  p = job.plan
  spare = np.resize(part[-(p.group or 1) :], size - len(part))
  return batches.Batch(
    request,
    results.again(p.runs, attempt),
    each,
    np.concatenate([part, spare]),
    len(part),
    store.interrupted(job.layer_store, int(part[0]), attempt),
  )


def _run(
  p: LayerPlan, batch: batches.Batch, runner, attempt: int, call, watch
) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
  """Makes a batch.

  Returns:
    The arrays of the rows as they are stored, and whether each run [b] failed;
    None where the memory of a device is too small for the batch.
  """
  try:
    found = batches.run(
      batch, runner, call, watch and functools.partial(watch, p)
    )
  except jax.errors.JaxRuntimeError as error:
    if not capacity.exhausted(error):
      raise
    return None
  seeds = batch.runs.seed[batch.rows[: batch.count]]
  found = results.judged(found, seeds, attempt)
  failed = results.together(results.failed(found), p.group)
  specs = {n: s for n, s in p.array_specs.items() if n not in p.preset}
  return results.rows(specs, found), failed


def _commit(job: _Job, rows: np.ndarray, arrays: dict[str, np.ndarray]) -> None:
  """Writes the arrays of a batch, and removes the file of its interruption."""
  layer_store = job.layer_store
  arrays = {**arrays, store.MAKER: np.full(len(rows), job.maker, np.int32)}
  # A store of an older version lacks newer arrays.
  known = {n: array for n, array in arrays.items() if n in layer_store.arrays}
  store.write(layer_store, rows, known)
  attempt = int(arrays[results.RETRIES][0])
  folders.write(store.interrupted(layer_store, int(rows[0]), attempt), None)


def _fingerprint(plan: Plan, made: str) -> str:
  """Returns the fingerprint of format 1, by the rule that one was made by."""
  request = plan.request
  if made.startswith(store.WHOLE):
    photographs = () if request.scales is None else request.scales.photographs
    return format1.of_networks(request.values, _networks(request), photographs)
  parts = []
  for p in plan.layers:
    for each in p.stages.values():
      recipe = each.programs[-1].recipe
      parts.append(recipe.model)
      if request.values.get('prior', '').strip():
        parts.append(recipe.parameterization)
      if each.scales is not None:
        parts += [photograph.image for photograph in each.scales.photographs]
  return format1.of_parts(request.values, parts)
