"""Makes the preferred images that a config asks for.

  vizjax run --config=demo --workdir=DIR
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

import sys

from absl import flags

from vizjax import build
from vizjax.cli import launch
from vizjax.errors import UserError
from vizjax.sweeps import compilation
from vizjax.sweeps import description
from vizjax.sweeps import hosts
from vizjax.sweeps import sweep
from vizjax.sweeps import watching


def define() -> None:
  """Defines the flags."""
  text, number = flags.DEFINE_string, flags.DEFINE_integer
  switch = flags.DEFINE_bool
  launch.define_config()
  text('workdir', None, 'Where the results go.')
  switch('dry_run', False, 'Print the plan and stop.')
  launch.define_quiet()
  switch(
    'allow_versions',
    False,
    'Go on in a workdir that other versions of vizjax, JAX or optax made.',
  )
  switch(
    'distributed',
    None,
    'Share the work with the other processes of this job; docs/scaling.md.',
  )
  text(
    'coordinator', None, 'HOST:PORT of process 0; None: as the cluster says.'
  )
  number('processes', None, 'How many there are.', lower_bound=1)
  number('process', None, 'Which one this is, from 0.', lower_bound=0)
  number('patience', hosts.PATIENCE, 'Seconds to wait for the others to start.')
  text(
    'compiled',
    None,
    "Where compiled programs are kept for the next start; '' for nowhere. "
    'None: $JAX_COMPILATION_CACHE_DIR, or ~/.cache/vizjax/compiled.',
  )


def main() -> None:
  """Plans and executes the sweep."""
  f = flags.FLAGS
  if not f.dry_run and not f.workdir:
    raise UserError('--workdir is missing: type --workdir=DIR')
  compilation.keep(f.compiled)
  here = _here(f)
  plan = hosts.together(here, lambda: sweep.plan(build.request(f.config)))
  if here.index == 0:
    for note in description.notes(plan):
      print(note, file=sys.stderr)
  if f.dry_run:
    if f.workdir:
      sweep.check(plan, f.workdir, allow_versions=f.allow_versions)
    print(description.plan(plan))
    return
  with (
    launch.patient() as stop,
    description.progress(plan, quiet=f.quiet) as show,
  ):

    def report(progress):
      stop()
      show(progress)

    sweep.execute(
      plan,
      f.workdir,
      report,
      launch.source(),
      watching.watcher(plan, f.workdir),
      here,
      allow_versions=f.allow_versions,
    )
  for line in description.outcome(plan, f.workdir):
    print(line)


def start() -> None:
  """Runs the command."""
  launch.run(main, 'config', define=define, knobs=build.config)


def _here(f: flags.FlagValues) -> hosts.Hosts:
  """Returns which process this is."""
  given = (f.coordinator, f.processes, f.process)
  if f.distributed:
    return hosts.join(*given, patience=f.patience)
  if any(value is not None for value in given):
    raise UserError(
      '--coordinator, --processes and --process say how several processes '
      'share the work: type --distributed, too'
    )
  return hosts.ALONE if f.distributed is False else hosts.alone()
