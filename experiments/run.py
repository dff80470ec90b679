"""Makes the preferred images that a config asks for.

  python -m experiments.run --config=configs/demo.py --workdir=DIR
  ... --config.layer='conv*' --config.units=0:16 --config.steps=64
  ... --dry_run                        # the plan, and nothing else
  ... --allow_versions                 # go on with another version of JAX

The last lines say where the results are, what to type next, and what failed.
The same command goes on after an interruption: Ctrl-C, SIGTERM, SIGHUP, SIGUSR1
(exit status 128 and the number of the signal) or a crash. Several processes
share the work:

  ... --distributed                    # Slurm, Open MPI, GKE, Cloud TPU
  ... --distributed --coordinator=HOST:PORT --processes=2 --process=0
"""

from collections.abc import Callable
import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from experiments import launch
from vizjax import build
from vizjax.errors import UserError
from vizjax.sweeps import compilation
from vizjax.sweeps import description
from vizjax.sweeps import hosts
from vizjax.sweeps import sweep
from vizjax.sweeps import watching

_CONFIG = launch.define_config()
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the results go.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Print the plan and stop.')
_ALLOW_VERSIONS = flags.DEFINE_bool(
  'allow_versions',
  False,
  'Go on in a workdir that other versions of vizjax, JAX or optax made.',
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed',
  None,
  'Share the work with the other processes of this job; docs/scaling.md.',
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator', None, 'HOST:PORT of process 0; None: as the cluster says.'
)
_PROCESSES = flags.DEFINE_integer(
  'processes', None, 'How many there are.', lower_bound=1
)
_PROCESS = flags.DEFINE_integer(
  'process', None, 'Which one this is, from 0.', lower_bound=0
)
_PATIENCE = flags.DEFINE_integer(
  'patience', hosts.PATIENCE, 'Seconds to wait for the others to start.'
)
_COMPILED = flags.DEFINE_string(
  'compiled',
  None,
  "Where compiled programs are kept for the next start; '' for nowhere. "
  'None: $JAX_COMPILATION_CACHE_DIR, or ~/.cache/vizjax/compiled.',
)

_LINE = '{desc}{postfix}, {percentage:.0f}%, {rate_fmt}, {remaining} left'


def main() -> None:
  config = _CONFIG.value
  if not _DRY_RUN.value and not _WORKDIR.value:
    raise UserError('--workdir is missing: type --workdir=DIR')
  compilation.keep(_COMPILED.value)
  here = _here()
  plan = hosts.together(here, lambda: sweep.plan(build.request(config)))
  if here.index == 0:
    for note in description.notes(plan):
      print(note, file=sys.stderr)
  if _DRY_RUN.value:
    if _WORKDIR.value:
      allowed = _ALLOW_VERSIONS.value
      sweep.check(plan, _WORKDIR.value, allow_versions=allowed)
    print(description.plan(plan))
    return
  path = config_flags.get_config_filename(flags.FLAGS['config'])
  file = pathlib.Path(path.split(':')[0])  # FILE:ARGUMENT
  # Python accepts comments in any encoding.
  source = file.read_text('utf-8', errors='replace')
  watch = watching.watcher(plan, _WORKDIR.value)
  bars = launch.Bars(_LINE, unit=' image steps')
  show = _reporter(plan, bars)
  with launch.patient() as stop:

    def report(progress):
      stop()
      show(progress)

    sweep.execute(
      plan,
      _WORKDIR.value,
      report,
      source,
      watch,
      here,
      allow_versions=_ALLOW_VERSIONS.value,
    )
  bars.close()
  for line in description.outcome(plan, _WORKDIR.value):
    print(line)


def _here() -> hosts.Hosts:
  """Which process this is."""
  given = (_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
  if _DISTRIBUTED.value:
    return hosts.join(*given, patience=_PATIENCE.value)
  if any(value is not None for value in given):
    raise UserError(
      '--coordinator, --processes and --process say how several processes '
      'share the work: type --distributed, too'
    )
  return hosts.ALONE if _DISTRIBUTED.value is False else hosts.alone()


def _reporter(
  plan: sweep.Plan, bars: launch.Bars
) -> Callable[[sweep.Progress], None]:
  """Returns what shows the steps of each layer, and that it is compiled."""
  steps = {p.layer: sweep.steps(plan.request, p) for p in plan.layers}
  told = set()  # layers of which it is told that they are compiled

  def report(progress):
    layer, runs, count, made, compiling = progress
    if compiling:
      if layer not in told:
        bars.close()
        print(f'compiling {layer} ...', file=sys.stderr)
      told.add(layer)
      return
    postfix = f'{runs}/{count} images'
    total, done = count * steps[layer], runs * steps[layer]
    bar = bars.of(layer, total=total, initial=done, postfix=postfix)
    bar.set_postfix_str(postfix, refresh=False)
    bar.update(made)

  return report


if __name__ == '__main__':
  launch.run(main, 'config', knobs=build.config)
