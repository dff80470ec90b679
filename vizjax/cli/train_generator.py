"""Trains a generator that inverts a layer of a network.

  vizjax train_generator --config=generator \\
    --config.data=IMAGES --workdir=DIR
  ... --config.data=tfds:imagenet_v2 --config.layer=relu3
  ... --dry_run                        # the plan, and nothing else

IMAGES is a folder. DIR/grids shows how far it is, DIR/result.json how near it
came. The same command goes on after an interruption. The extra `train` has
what is needed: pip install 'vizjax[train]'.
"""

import functools
import pathlib

from absl import flags
from absl import logging
from ml_collections import config_dict

from vizjax import progress as progress_
from vizjax.cli import launch
from vizjax.errors import UserError
from vizjax.training import plans
from vizjax.training import runs

_LINE = '{desc}:{postfix}, {percentage:.0f}%, {rate_fmt}, {remaining} left'


def define() -> None:
  """Defines the flags."""
  launch.define_config()
  flags.DEFINE_string('workdir', None, 'Where the generator goes.')
  flags.DEFINE_bool('dry_run', False, 'Print the plan and stop.')
  launch.define_quiet()


def main() -> None:
  """Trains the generator, and prints how near it came."""
  logging.set_verbosity(logging.ERROR)  # Orbax tells of every file
  f = flags.FLAGS
  config, workdir = f.config, f.workdir
  if not f.dry_run and not workdir:
    raise UserError('--workdir is missing: type --workdir=DIR')
  plan = plans.plan(config)
  if workdir:
    runs.check(config, plan, workdir)
  print(plans.describe(config, plan), flush=True)
  if f.dry_run:
    return
  with progress_.Bars(_LINE, quiet=f.quiet, unit=' images') as bars:
    report = functools.partial(_report, config, bars)
    result = runs.execute(config, plan, workdir, report, launch.source())
  for line in runs.words(result):
    print(line)
  print(f'generator: {pathlib.Path(workdir) / result["generator"]}')
  print(
    'use it: vizjax run --config=nguyen2016:own '
    f'--config.prior="trained({workdir!r})" --workdir=...'
  )


def start() -> None:
  """Runs the command."""
  launch.run(main, 'config', define=define, knobs=plans.config)


def _report(
  config: config_dict.ConfigDict, bars: progress_.Bars, progress: runs.Progress
) -> None:
  """Shows the images trained with so far, of all, and the last losses."""
  size = config.batch_size
  bar = bars.of(
    'losses', total=config.steps * size, initial=(progress.step - 1) * size
  )
  losses = progress.losses.items()
  told = ' '.join(f'{name} {loss:.3f}' for name, loss in losses if loss)
  bar.set_postfix_str(told, refresh=False)
  bar.update(size)
