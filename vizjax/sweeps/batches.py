"""One batch of runs from its start to its end: sizes, frames, pauses.

A batch is made at one size after the other where its plan has several. After
every few steps `report` is called; if it raises KeyboardInterrupt, what is
made so far is kept in a file, and the next `run` of the same rows goes on. If
it raises `Enough` at the last size, the batch ends there.
"""

from collections.abc import Callable, Mapping, Sequence
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vizjax import build
from vizjax import core
from vizjax import errors
from vizjax import scales as scales_
from vizjax.build import program as program_
from vizjax.build import runs as runs_
from vizjax.build import stages as stages_
from vizjax.errors import UserError
from vizjax.models.formats import arrays
from vizjax.photographs import images
from vizjax.sweeps import parallel
from vizjax.workdir import folders

# A batch of several sizes is also kept as it comes to a new one, but no sooner
# than so many seconds after the last time.
_BETWEEN = 60


class Enough(Exception):
  """Asks for the images as they are after this step."""


class Status(NamedTuple):
  """Where a batch stands.

  Attributes:
    rows: [b] of `Batch.runs`.
    stage: number of the size.
    step: steps made at it.
    trace: () -> {name: [b, steps of all sizes so far, ...]}.
    images: () -> [b, h, w, c] that would be evaluated next.
  """

  rows: np.ndarray
  stage: int
  step: int
  trace: Callable[[], dict[str, np.ndarray]]
  images: Callable[[], np.ndarray]


class _Checkpoint(NamedTuple):
  """What a batch goes on from."""

  stage: int
  step: int
  state: Sequence[Any]  # leaves of core.State; () at the start of a stage
  traces: list[dict[str, Any]]  # {name: [b, k, ...]}, one after the other
  frames: list[np.ndarray]  # [b, h, w, c] of the stage they were made at
  originals: list[Any]  # photographs [b], None for runs without
  given: dict[str, np.ndarray]  # start and reference of this stage


class Batch(NamedTuple):
  """What is to be made together.

  Attributes:
    request: what is wanted.
    runs: of the layer.
    stages: how they are made.
    rows: [b] of the runs; the last is repeated to fill the batch up.
    count: how many are no repetition.
    file: where it is kept if it is interrupted.
  """

  request: build.Request
  runs: runs_.Runs
  stages: stages_.Stages
  rows: np.ndarray
  count: int
  file: folders.File


def run(
  batch: Batch,
  runner: Callable[[program_.Program], parallel.Runner],
  report: Callable[[int], None],
  watch: Callable[[Status], None] | None = None,
) -> dict[str, np.ndarray]:
  """Everything that a batch gives, less what fills it up.

  Args:
    batch: what is made.
    runner: gives the runner of a program, the same one each time.
    report: is called with the number of steps of single runs just made.
    watch: is shown every request.every steps of a size, and an interruption.

  Returns:
    {name: [count, ...]}: of `parallel.Runner.finish`, 'trace/NAME', and
    'frames' where there are some.
  """
  programs, scales = batch.stages.programs, batch.stages.scales
  now = _read(batch) or _first(batch)
  report(batch.count * (now.stage * batch.request.steps + now.step))
  kept_at = time.monotonic()
  while True:
    program = programs[now.stage]
    work = runner(program)
    targets = program.target(batch.runs, batch.rows, now.given)
    targets |= _cast(program, now.given)
    now, state = _worked(batch, work, targets, now, report, watch)
    if scales is None:
      break
    image = np.asarray(work.render(state))
    if scales.film and program is programs[-1]:
      now.frames.append(_framed(batch, image))
    if now.stage == len(programs) - 1:
      break
    now = _entered(scales, now, image)
    if time.monotonic() - kept_at > _BETWEEN:
      _write(batch, now)
      kept_at = time.monotonic()
  results = jax.device_get(work.finish(state, targets))
  results |= {f'trace/{n}': t for n, t in _joined(now.traces).items()}
  if now.frames:
    results['frames'] = _film(batch, now.frames)
  return {name: array[: batch.count] for name, array in results.items()}


def _worked(
  batch: Batch,
  work: parallel.Runner,
  targets: core.Target,
  now: _Checkpoint,
  report: Callable[[int], None],
  watch: Callable[[Status], None] | None,
) -> tuple[_Checkpoint, core.State]:
  """The end of a stage, from where it stands."""
  request = batch.request
  every = request.save_every
  per_call = parallel.steps_per_call(request.steps, every, request.every)
  keys = _keys(batch, now.stage)
  state = _restored(work.start(targets, keys), now.state)
  while now.step < request.steps:
    if every is not None and now.step % every == 0:
      now.frames.append(_framed(batch, np.asarray(work.render(state))))
    # A batch that was kept under another config.every, or on another kind of
    # device, may stand between two calls: the first call makes up for it.
    steps = per_call - now.step % per_call
    state, trace = work.advance(state, targets, keys, steps=steps)
    now.traces.append(trace)
    now = now._replace(step=now.step + steps)
    # Waiting for the call before keeps the device busy and the bar honest.
    jax.block_until_ready(now.traces[-2:][0])
    try:
      report(batch.count * steps)
      shown = request.every is not None and now.step % request.every == 0
      if watch is not None and shown:
        watch(_status(batch, now, work, state))
    except Enough:
      if now.stage < len(batch.stages.programs) - 1:
        raise  # images of a smaller size
      break
    except KeyboardInterrupt:
      _write(batch, now._replace(state=jax.tree.leaves(state)))
      if watch is not None:
        watch(_status(batch, now, work, state))
      raise
  return now, state


def _status(
  batch: Batch, now: _Checkpoint, work: parallel.Runner, state: core.State
) -> Status:
  count = batch.count

  def trace():
    joined = _joined(now.traces)
    return {name: array[:count] for name, array in joined.items()}

  def images():
    return np.asarray(work.render(state))[:count]

  return Status(batch.rows[:count], now.stage, now.step, trace, images)


def _first(batch: Batch) -> _Checkpoint:
  """Before the first step."""
  channels, scales = batch.runs.channel[batch.rows], batch.stages.scales
  originals = [None] * len(channels)
  if scales is None:
    return _Checkpoint(0, 0, (), [], [], originals, {})
  photographs = scales.photographs
  if photographs:
    # With several photographs the units are their numbers.
    originals = [photographs[c % len(photographs)].image for c in channels]
  now = _Checkpoint(-1, 0, (), [], [], originals, {})
  return _entered(scales, now, [None] * len(channels))


def _entered(
  scales: scales_.Scales, now: _Checkpoint, image: Any
) -> _Checkpoint:
  """At the start of the next stage, from the images of this one."""
  stage = now.stage + 1
  stage_starts = [
    scales.enter(stage, original, one)
    for original, one in zip(now.originals, image, strict=True)
  ]
  given = {
    name: np.stack([getattr(stage_start, name) for stage_start in stage_starts])
    for name in ('start', 'reference')
    if getattr(stage_starts[0], name) is not None
  }
  originals = [stage_start.original for stage_start in stage_starts]
  return now._replace(
    stage=stage, step=0, state=(), originals=originals, given=given
  )


def _cast(
  program: program_.Program, given: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  dtype = jnp.result_type(program.recipe.model.mean)
  return {name: array.astype(dtype) for name, array in given.items()}


def _keys(batch: Batch, stage: int) -> jax.Array:
  """Every size draws by keys of its own; the first by those of the runs."""
  runs, scales = batch.runs, batch.stages.scales
  several = scales is not None and len(scales.photographs) > 1
  if several or batch.request.each:
    # A photograph is worked on as if it were the only one.
    runs = runs._replace(channel=np.zeros_like(runs.channel))
  keys = runs_.keys(runs, batch.rows)
  if not stage:
    return keys
  return jax.vmap(lambda key: jax.random.fold_in(key, stage))(keys)


def _restored(state: core.State, leaves: Sequence[Any]) -> core.State:
  if not leaves:
    return state
  fresh, tree = jax.tree.flatten(state)
  placed = [
    jax.device_put(leaf, like.sharding)
    for leaf, like in zip(leaves, fresh, strict=True)
  ]
  return jax.tree.unflatten(tree, placed)


def _joined(traces: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
  traces = jax.device_get(traces)
  return {
    name: np.concatenate([trace[name] for trace in traces], 1)
    for name in (traces[0] if traces else {})
  }


def _framed(batch: Batch, frames: np.ndarray) -> np.ndarray:
  """Frames [b, h, w, c] at the last size, as they are stored.

  A film is many times as large as all else that a batch holds.
  """
  size = batch.stages.programs[-1].geometry.canvas
  if frames.shape[1:3] != size:
    frames = np.stack([images.resize(frame, size) for frame in frames])
  dtype = np.dtype(batch.request.image_dtype)
  if frames.dtype == dtype:
    return frames
  return images.to_uint8(frames) if dtype == np.uint8 else frames.astype(dtype)


def _film(batch: Batch, frames: list[Any]) -> np.ndarray:
  """All frames [b, n, h, w, c] of a batch; each is let go once it is copied."""
  # An older version kept the frames of an interrupted batch as they were made.
  first = _framed(batch, frames[0])
  film = np.empty((len(first), len(frames), *first.shape[1:]), first.dtype)
  for i, each in enumerate(frames):
    film[:, i] = _framed(batch, each)
    frames[i] = None
  return film


def _write(batch: Batch, now: _Checkpoint) -> None:
  """Keeps a batch; the file appears whole or not at all."""
  originals = [one for one in now.originals if one is not None]
  numbered = {'state': now.state, 'frames': now.frames, 'originals': originals}
  content = {
    'at': {'rows': batch.rows, 'place': np.array([now.stage, now.step])},
    'trace': _joined(now.traces),
    'given': now.given,
    **{
      name: {str(i): array for i, array in enumerate(each)}
      for name, each in numbered.items()
    },
  }
  folders.write(batch.file, arrays.packed(_plain(content)))


def _plain(
  content: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, np.ndarray]]:
  """The arrays, those of a dtype that a `.npz` file lacks as their bytes.

  Such as bfloat16 and typed PRNG keys. The group '<group> dtypes' names the
  dtype, or the implementation of the keys, for `_typed`.
  """
  found = {}
  for group, each in content.items():
    plain, dtypes = {}, {}
    for name, array in each.items():
      if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        dtypes[name] = f'key {jax.random.key_impl(array)}'
        array = jax.random.key_data(array)
      array = np.asarray(array)
      if array.dtype.kind not in 'biuf':
        dtypes[name] = array.dtype.name
        array = np.asarray(array, order='C')[..., None].view(np.uint8)
      plain[name] = array
    found[group] = plain
    found[f'{group} dtypes'] = {
      name: np.frombuffer(dtype.encode(), np.uint8)
      for name, dtype in dtypes.items()
    }
  return found


def _typed(
  kept: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, dict[str, Any]]:
  """The arrays that `_plain` was given."""
  found = {group: dict(each) for group, each in kept.items()}
  for group, each in kept.items():
    for name, dtype in found.pop(f'{group} dtypes', {}).items():
      dtype, array = dtype.tobytes().decode(), each[name]
      if dtype.startswith('key '):
        impl = dtype.removeprefix('key ')
        found[group][name] = jax.random.wrap_key_data(
          jnp.asarray(array), impl=impl
        )
      else:
        found[group][name] = array.view(jnp.dtype(dtype))[..., 0]
  return found


def _read(batch: Batch) -> _Checkpoint | None:
  """What was kept of the same rows, if anything."""
  content, rows = folders.read(batch.file), batch.rows
  if content is None:
    return None
  try:
    kept = _typed(arrays.unpacked(content))
    at = kept['at']
  except Exception as error:  # A parser may raise anything on damaged input.
    if errors.is_bug(error):
      raise
    raise UserError(
      f'{batch.file.path!r} is damaged: remove it, and the same command begins '
      'the batch again'
    ) from None
  if not np.array_equal(at['rows'], rows):
    return None  # of another config.batch, or another part of the chunk
  stage, step = map(int, at['place'])
  if step > batch.request.steps:
    return None  # of a version that went too far
  state, frames, originals = (
    [kept.get(name, {})[str(i)] for i in range(len(kept.get(name, {})))]
    for name in ('state', 'frames', 'originals')
  )
  traces = [kept['trace']] if 'trace' in kept else []
  originals = originals or [None] * len(rows)
  return _Checkpoint(
    stage, step, state, traces, frames, originals, kept.get('given', {})
  )
