"""Makes the preferred images that a config asks for.

  python -m experiments.run --config=configs/demo.py --workdir=DIR
  ... --config.layer='conv*' --config.units=0:16 --config.steps=64
  ... --dry_run                        # the plan, and nothing else

The same command goes on after an interruption.
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags
import tqdm

from experiments import launch
from vizjax import descriptions
from vizjax import sweep
from vizjax import watching

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'A file of configs/, and overrides as --config.KNOB=VALUE.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the results go.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Print the plan and stop.')


def main() -> None:
  config = _CONFIG.value
  if not _DRY_RUN.value and not _WORKDIR.value:
    raise ValueError('--workdir is missing: type --workdir=DIR')
  plans = sweep.plan(config)
  for note in descriptions.notes(config, plans):
    print(note, file=sys.stderr)
  if _DRY_RUN.value:
    print(descriptions.plan(config, plans))
    return
  path = config_flags.get_config_filename(flags.FLAGS['config'])
  source = pathlib.Path(path.split(':')[0]).read_text()  # FILE:ARGUMENT
  watch = watching.watcher(config, plans, _WORKDIR.value)
  bar = _Bar(config, plans)
  with launch.patient() as asked_to_stop:

    def report(progress):
      bar.report(progress)
      if asked_to_stop():
        raise KeyboardInterrupt

    sweep.execute(config, plans, _WORKDIR.value, report, source, watch)
  bar.close()


class _Bar:
  """A bar for each layer on a terminal; elsewhere a line now and then."""

  def __init__(self, config, plans):
    self.steps = {p.layer: sweep.steps(config, p) for p in plans}
    self.bar = None
    self.layer = None

  def report(self, progress: sweep.Progress) -> None:
    if progress.layer != self.layer:
      self.close()
      self.layer = progress.layer
      self.bar = self._open(progress)
    self.bar.set_postfix_str(
      f'{progress.units}/{progress.count} units', refresh=False
    )
    self.bar.update(progress.steps)

  def close(self) -> None:
    if self.bar is not None:
      self.bar.close()

  def _open(self, progress: sweep.Progress) -> tqdm.tqdm:
    return launch.bar(
      '{desc}:{postfix}, {percentage:.0f}%, {rate_fmt}, {remaining} left',
      desc=progress.layer,
      total=progress.count * self.steps[progress.layer],
      initial=progress.units * self.steps[progress.layer],
      unit=' image steps',
    )


if __name__ == '__main__':
  launch.run(main, 'config')
