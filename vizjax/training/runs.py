"""Training a generator in a workdir, safe against crashes.

  plan = plans.plan(config)
  result = runs.execute(config, plan, workdir)

  workdir/config.json          written first, as by a sweep
  workdir/constants.npz        what the losses are measured against
  workdir/checkpoints/STEP/    Orbax's, the last two
  workdir/losses.csv           means of the steps since the row before
  workdir/grids/STEP.png       held-out photographs over their reconstructions
  workdir/generator.npz        of the last checkpoint: `networks.trained`
  workdir/result.json          written last

Executing again after a crash goes on from the last checkpoint, to the same
numbers.
"""

from collections.abc import Callable, Sequence
import csv
import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import config_dict
import numpy as np

from vizjax import core
from vizjax import errors
from vizjax import files
from vizjax.errors import UserError
from vizjax.generators import networks
from vizjax.models.formats import arrays
from vizjax.photographs import images
from vizjax.sweeps import provenance as provenance_
from vizjax.training import inversion
from vizjax.training import plans
from vizjax.workdir import folders
from vizjax.workdir import store

# Fields that change nothing in the numbers.
FREE = ('every', 'shown', 'readers')

LOSSES = ('sum', *inversion.LossWeights._fields, 'discriminator')


class Progress(NamedTuple):
  """How far an execution is."""

  step: int  # steps made
  losses: dict[str, float]  # of the last batch but one; {} at the start


class Job(NamedTuple):
  """All that an execution needs besides the state."""

  config: config_dict.ConfigDict
  plan: plans.Plan
  constants: plans.Constants
  method: inversion.Method
  place: pathlib.Path


def check(
  config: config_dict.ConfigDict, plan: plans.Plan, workdir: str
) -> None:
  """Refuses a workdir that `execute` refuses, and writes nothing.

  Raises:
    UserError: it belongs to something else.
    OSError: it cannot be read.
  """
  folders.local(workdir, 'type --workdir=DIR')
  store.check(workdir, _provenance(config, plan, ''))


def execute(
  config: config_dict.ConfigDict,
  plan: plans.Plan,
  workdir: str,
  report: Callable[[Progress], None] = lambda progress: None,
  source: str = '',
) -> dict[str, Any]:
  """Trains a generator in a workdir, or goes on with it.

  Args:
    config: the configuration.
    plan: from `plans.plan`.
    workdir: a new directory, or one of an earlier run of the same plan.
    report: is called after every step.
    source: text of the configuration's file, to be kept.

  Returns:
    What result.json holds: `_result`.

  Raises:
    UserError: the workdir belongs to something else or is damaged, a
      photograph cannot be decoded, or a loss is not finite.
    OSError: it cannot be written.
  """
  place = folders.local(workdir, 'type --workdir=DIR')
  provenance = _provenance(config, plan, source)
  result = place / 'result.json'
  if (place / store.CONFIG).exists():
    store.claim(workdir, provenance)
    if result.exists():
      return json.loads(result.read_text())
  # Reads photographs: no workdir is made if one is damaged.
  constants = _constants(config, plan, place / 'constants.npz')
  store.claim(workdir, provenance)
  arrays.write(place / 'constants.npz', {'mean': constants._asdict()})
  method = plans.method(config, plan, constants)
  job = Job(config, plan, constants, method, place)
  (place / 'grids').mkdir(exist_ok=True)
  with _checkpoints(place) as checkpoints:
    state = _train(job, checkpoints, report)
  found = _result(job, state.params)
  with files.replacing(result) as partial:
    partial.write_text(json.dumps(found, indent=2) + '\n')
  return found


def words(result: dict[str, Any]) -> list[str]:
  """A result in lines."""
  pixels, features = result['pixel_error'], result['feature_error']
  own, mean = pixels['reconstruction'], pixels['mean_image']
  return [
    f'{result["photographs"]} photographs held out: squared error of a pixel '
    f'{own:.0f}, of the mean image {mean:.0f} ({own / mean:.2f}), of the mean '
    f'colour {pixels["mean_colour"]:.0f}; better than the mean image for '
    f'{result["better_than_mean_image"]}, nearest to its own photograph for '
    f'{result["identified"]}',
    f'squared error of {result["layer"]} over its square: '
    f'{features["reconstruction"]:.2f}, of the mean image '
    f'{features["mean_image"]:.2f}',
  ]


def _train(job: Job, checkpoints: Any, report: Callable) -> inversion.State:
  """The state after all steps; what is made on the way is written."""
  state = _restored(job, checkpoints)
  first, config = int(state.step) + 1, job.config
  window, before = [], {}
  steps = plans.steps(config, job.plan, job.method, job.constants, state)
  for number, (latest, found) in enumerate(steps, first):
    state = latest
    # Waiting for the step before keeps the device busy and the bar honest.
    known = {name: float(before[name]) for name in LOSSES if before}
    report(Progress(number, known))
    window.append(found)
    before = found
    if number % config.every == 0 or number == config.steps:
      _save(job, checkpoints, number, state, window)
      window = []
  return state


def _save(
  job: Job,
  checkpoints: Any,
  number: int,
  state: inversion.State,
  window: Sequence[dict[str, jax.Array]],
) -> None:
  """A checkpoint, after everything that goes with it."""
  ocp = _orbax()
  window = jax.device_get(window)
  means = [np.mean([found[n] for found in window]) for n in LOSSES]
  if not np.isfinite(means).all():
    raise UserError(
      f'the losses of the steps before {number} are not finite: '
      f'expected numbers; type a smaller --config.rate than {job.config.rate}'
    )
  _note(job.place / 'losses.csv', number, [f'{mean:.6g}' for mean in means])
  _draw(job, number, state)
  networks.write(
    job.place / networks.FILE,
    job.method.table,
    state.params,
    job.plan.code,
    job.plan.model.mean,
    _about(job, number),
  )
  checkpoints.save(number, args=ocp.args.StandardSave(state))


def _restored(job: Job, checkpoints: Any) -> inversion.State:
  """The state of the last checkpoint, or the first one."""
  ocp = _orbax()
  key = core.key(job.config.seed)
  first = inversion.init(job.method, job.plan.model, key)
  number = checkpoints.latest_step()
  if number is None:
    return first
  try:
    return checkpoints.restore(number, args=ocp.args.StandardRestore(first))
  except Exception as error:  # of a damaged file it may raise anything
    if errors.is_bug(error):
      raise
    path = job.place / 'checkpoints' / str(number)
    why = str(error).strip().splitlines()[:1]
    raise UserError(
      f'the checkpoint {str(path)!r} cannot be read ({" ".join(why)}): remove '
      'it, and the same command goes on from the one before'
    ) from error


def _checkpoints(place: pathlib.Path) -> Any:
  ocp = _orbax()
  options = ocp.CheckpointManagerOptions(
    max_to_keep=2,
    enable_async_checkpointing=False,
    cleanup_tmp_directories=True,
  )
  path = (place / 'checkpoints').absolute()
  return ocp.CheckpointManager(path, options=options)


def _orbax() -> Any:
  return files.library('orbax.checkpoint', 'train', 'checkpoints are made by')


def _constants(
  config: config_dict.ConfigDict, plan: plans.Plan, path: pathlib.Path
) -> plans.Constants:
  """Those of the workdir, or new ones."""
  if not path.is_file():
    return plans.constants(config, plan)
  with files.reading(path, 'file of constants'):
    return plans.Constants(**arrays.read(path)['mean'])


def _provenance(
  config: config_dict.ConfigDict, plan: plans.Plan, source: str
) -> dict[str, Any]:
  values = config.to_dict()
  fixed = {name: v for name, v in values.items() if name not in FREE}
  numbers = [*jax.tree.leaves(plan.model), plan.held.images, len(plan.data)]
  return {
    'config': fixed,
    'run': {name: values[name] for name in FREE},
    'fingerprint': store.fingerprint(numbers, []),
    'versions': provenance_.versions(),
    'source': source,
    'held_out': plan.held.ids,
  }


def _about(job: Job, number: int) -> dict[str, Any]:
  """What the file of a generator tells besides its weights."""
  names = ('model', 'layer', 'data', 'seed')
  return {
    **{name: job.config[name] for name in names},
    'size': job.plan.model.input_shape[:2],
    'step': number,
    'versions': provenance_.versions(),
  }


def _note(path: pathlib.Path, number: int, values: Sequence[str]) -> None:
  """The losses up to a step, whatever came after it once."""
  rows = []
  if path.is_file():
    with path.open(newline='') as file:
      rows = [row for row in [*csv.reader(file)][1:] if int(row[0]) < number]
  with files.replacing(path) as partial, partial.open('w', newline='') as file:
    csv.writer(file).writerows([('step', *LOSSES), *rows, (number, *values)])


def _measured(
  job: Job, params: Any, photographs: np.ndarray
) -> dict[str, np.ndarray]:
  """`inversion.measure` of each photograph, stacked."""
  constant = jnp.asarray(job.constants.image)
  found = [
    inversion.measure(
      job.method, job.plan.model, params, constant, jnp.asarray(photograph)
    )
    for photograph in photographs
  ]
  return jax.tree.map(lambda *each: np.stack(each), *jax.device_get(found))


def _draw(job: Job, number: int, state: inversion.State) -> None:
  """The first held-out photographs, and under each its reconstruction."""
  held = job.plan.held
  shown = held.images[: job.config.shown]
  made = _measured(job, state.params, shown)['picture']
  stems = [pathlib.PurePath(name).stem[:30] for name in held.ids]
  # A file name may hold bytes that are no text.
  names = [stem.encode('ascii', 'replace').decode() for stem in stems]
  labels = [*names[: len(shown)], *[''] * len(shown)]
  sheet = images.contact_sheet([*shown, *made], labels, columns=len(shown))
  images.write(job.place / 'grids' / f'{number:07}.png', sheet)


def _result(job: Job, params: Any) -> dict[str, Any]:
  """How near the reconstructions of held-out photographs are.

  Returns:
    'pixel_error': mean squared differences, in squared grey levels, of the
    reconstruction, of the mean crop of the training photographs, and of the
    network's mean. 'feature_error': those of the code over its mean square.
    'better_than_mean_image': for how many photographs. 'identified': how
    many reconstructions have no other held-out photograph nearer.
  """
  shown = job.plan.held.images
  found = _measured(job, params, shown)
  wide = np.float64
  flat = shown.reshape(len(shown), -1).astype(wide)
  others = {
    'reconstruction': found['picture'],
    'mean_image': job.constants.image[None],
    'mean_colour': np.broadcast_to(job.plan.model.mean, shown.shape),
  }
  distances = {
    name: ((shown - other.astype(wide)) ** 2).mean((1, 2, 3))
    for name, other in others.items()
  }
  own = found['picture'].reshape(flat.shape).astype(wide)
  # |a - b|^2, less |a|^2, which is the same for all b.
  apart = (flat**2).sum(1)[None] - 2 * own @ flat.T
  square = found['square'].sum(dtype=wide)
  better = distances['reconstruction'] < distances['mean_image']
  return {
    'photographs': len(shown),
    'layer': job.plan.layer,
    'steps': job.config.steps,
    'pixel_error': {name: float(e.mean()) for name, e in distances.items()},
    'feature_error': {
      'reconstruction': float(found['feature'].sum(dtype=wide) / square),
      'mean_image': float(found['constant'].sum(dtype=wide) / square),
    },
    'better_than_mean_image': int(better.sum()),
    'identified': int((apart.argmin(1) == np.arange(len(shown))).sum()),
    'generator': networks.FILE,
  }
