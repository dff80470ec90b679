"""Trains a generator that inverts a layer of a network.

  python -m experiments.train_generator --config=configs/generator.py \\
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
from ml_collections import config_flags

from experiments import launch
from vizjax.errors import UserError
from vizjax.training import plans
from vizjax.training import runs

_CONFIG = launch.define_config()
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the generator goes.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Print the plan and stop.')

_LINE = '{desc}:{postfix}, {percentage:.0f}%, {rate_fmt}, {remaining} left'


def main() -> None:
  logging.set_verbosity(logging.ERROR)  # Orbax tells of every file
  config, workdir = _CONFIG.value, _WORKDIR.value
  if not _DRY_RUN.value and not workdir:
    raise UserError('--workdir is missing: type --workdir=DIR')
  plan = plans.plan(config)
  if workdir:
    runs.check(config, plan, workdir)
  print(plans.describe(config, plan), flush=True)
  if _DRY_RUN.value:
    return
  path = config_flags.get_config_filename(flags.FLAGS['config'])
  source = pathlib.Path(path.split(':')[0]).read_text()  # FILE:ARGUMENT
  bars = launch.Bars(_LINE, unit=' images')
  report = functools.partial(_report, config, bars)
  result = runs.execute(config, plan, workdir, report, source)
  bars.close()
  for line in runs.words(result):
    print(line)
  print(f'generator: {pathlib.Path(workdir) / result["generator"]}')
  print(
    'use it: python -m experiments.run --config=configs/nguyen2016.py:own '
    f'--config.prior="trained({workdir!r})" --workdir=...'
  )


def _report(
  config: config_dict.ConfigDict, bars: launch.Bars, progress: runs.Progress
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


if __name__ == '__main__':
  launch.run(main, 'config', knobs=plans.config)
