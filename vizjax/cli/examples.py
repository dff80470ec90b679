"""Finds the photographs that excite each unit of a workdir.

  vizjax examples --workdir=DIR --dataset=PHOTOGRAPHS
  ... --dataset=tfds:imagenet_v2:test --k=16
  ... --layer='conv*' --limit=10000
  ... --trust     # the formula of DIR's network may call any function

DIR is a workdir of vizjax run, finished or not. One pass of its network
over the data finds, of every channel of every layer, the k photographs with
the highest maximum over all positions, and the maximum, mean, deviation and
99th and 99.9th percentile of that maximum over all photographs. They are
written to DIR/examples, with what the units see of the photographs:
vizjax/examples/search.py. Layers whose images are of no unit, but of a
direction or of the whole layer, are left out, and a line says so. The same
command goes on after an interruption.
Photographs are found and prepared as by vizjax validate.
"""

import sys
import time

from absl import flags
from absl import logging

from vizjax import progress as progress_
from vizjax.cli import launch
from vizjax.examples import crops
from vizjax.examples import search as search_
from vizjax.photographs import preprocessing

_EVERY = 60  # seconds, after which what is known is written
_LISTED = 5  # photographs that are skipped


def define() -> None:
  """Defines the flags."""
  text, number = flags.DEFINE_string, flags.DEFINE_integer
  text('workdir', None, 'Of vizjax run.')
  text('dataset', None, 'A folder of photographs, or tfds:NAME[:SPLIT].')
  number('k', 9, 'Photographs of each channel.', lower_bound=1)
  text('layer', None, """conv3,conv5, globs, or '"a,b",c'; else all there.""")
  text('preprocessing', None, f'{preprocessing.EXAMPLE}; else its own.')
  number('batch', 32, 'Photographs at a time.', lower_bound=1)
  number('limit', None, 'Only the first so many photographs.', lower_bound=1)
  launch.define_quiet()
  flags.DEFINE_bool('trust', False, 'Formulas of DIR may call any function.')


def main() -> None:
  """Searches the photographs of a workdir's network."""
  f = flags.FLAGS
  logging.set_verbosity(logging.WARNING)  # TFDS tells which files it opens
  search(
    f.workdir,
    f.dataset,
    k=f.k,
    layer=f.layer,
    preprocess=f.preprocessing,
    batch=f.batch,
    limit=f.limit,
    trust=f.trust,
    quiet=f.quiet,
  )


def start() -> None:
  """Runs the command."""
  launch.run(main, 'workdir', 'dataset', define=define)


def search(
  workdir: str,
  dataset: str,
  *,
  k: int = 9,
  layer: str | None = None,
  preprocess: str | None = None,
  batch: int = 32,
  limit: int | None = None,
  trust: bool = False,
  quiet: bool = False,
) -> None:
  """Searches, and prints what was found; what `define` lists."""
  plan = search_.plan(
    workdir,
    dataset,
    k=k,
    layer=layer,
    preprocess=preprocess,
    limit=limit,
    trust=trust,
  )
  if plan.left_out:
    named = ', '.join(f'{name} ({of})' for name, of in plan.left_out.items())
    print(f'{workdir}: not searched, as the images are of no unit: {named}')
  scan = plan.scan
  size = crops.size(scan, plan.receptive_fields)
  channels = sum(shape[-1] for shape in scan.layers.values())
  print(
    f'{workdir}: {len(scan.layers)} layers of {channels} channels, '
    f'{scan.count} of {len(scan.data)} photographs of {dataset}, '
    f'{preprocessing.told(scan.how, scan.size)}; '
    f'crops of {size / 1e6:.1f} MB, uncompressed',
    flush=True,
  )
  watch = _Watch()
  shown = progress_.Bars(quiet=quiet, unit=' photographs')
  with launch.patient() as stop, shown as bars:

    def report(progress):
      watch.report(bars, progress)
      stop()

    found = search_.search(plan, batch=batch, report=report, due=watch.due)
  for name, why in found['skipped'][:_LISTED]:
    print(f'skipped {name}: {why}', file=sys.stderr)
  more = len(found['skipped']) - _LISTED
  if more > 0:
    print(f'skipped {more} more: examples.json lists them', file=sys.stderr)
  print(
    f'{workdir.rstrip("/")}/examples: {min(k, found["count"])} of '
    f'{found["count"]} photographs for each channel, '
    f'{len(found["skipped"])} skipped{watch.rate()}'
  )


class _Watch:
  """Measures how far a search is, and how long its parts take."""

  def __init__(self):
    self.what = None
    self.rates = []
    self.written = time.monotonic()

  def report(self, bars: progress_.Bars, progress: search_.Progress) -> None:
    if progress.what != self.what:
      self.what, self.first = progress.what, progress.done
      self.began = time.monotonic()
    bar = bars.of(progress.what, total=progress.count, initial=progress.done)
    bar.update(progress.done - bar.n)
    if progress.what == 'photographs' and progress.done == progress.count:
      passed = time.monotonic() - self.began
      self.rates = [(progress.done - self.first) / max(passed, 1e-9)]

  def due(self) -> bool:
    """Whether what is known has not been written for long."""
    passed = time.monotonic() - self.written > _EVERY
    if passed:
      self.written = time.monotonic()
    return passed

  def rate(self) -> str:
    """', 20.1 photographs/s', or nothing where no pass was made."""
    return ''.join(f', {rate:.1f} photographs/s' for rate in self.rates)
