"""Measures the range of each unit of a layer over photographs.

  vizjax act_range --model="load('bvlc_caffenet')" \\
    --layer=relu6 --dataset=DIR --sigmas=3 --out=relu6_3x.txt
  ... --dataset=tfds:imagenet_v2:test --sigmas=-3      # lower bounds
  ... --integers                                    # as the published files

Mean + so many standard deviations (the population's) of every unit; of a map
every position is one. The file is a line of numbers as those of act_range in
https://github.com/Evolving-AI-Lab/synthesizing, in the order channels, rows,
columns: --config.bounds of nguyen2016. Photographs are found and
prepared as by vizjax validate; they need no classes.
"""

import math

from absl import flags
from absl import logging

from vizjax import files
from vizjax.cli import launch
from vizjax.cli import validate
from vizjax.errors import UserError
from vizjax.photographs import classifiers
from vizjax.photographs import datasets
from vizjax.photographs import moments as moments_
from vizjax.photographs import preprocessing

_REQUIRED = ('model', 'layer', 'dataset', 'sigmas', 'out')


def define() -> None:
  """Defines the flags."""
  text, number = flags.DEFINE_string, flags.DEFINE_integer
  text('model', None, "A network of vizjax, or a formula: 'caffe.load(...)'.")
  text('layer', None, 'The layer; behind its rectifier it is called relu6.')
  text('dataset', None, 'A folder of photographs, or tfds:NAME[:SPLIT].')
  flags.DEFINE_alias('data', 'dataset')  # its name before
  text('sigmas', None, 'Standard deviations added to the mean: 3, or -3.')
  text('out', None, 'The text file.')
  flags.DEFINE_bool('integers', False, 'Round to whole numbers.')
  text('preprocessing', None, f'{preprocessing.EXAMPLE}; else its own.')
  number('batch', 32, 'Photographs at a time.', lower_bound=1)
  number('limit', None, 'Only the first so many photographs.', lower_bound=1)
  launch.define_quiet()


def main() -> None:
  """Measures the units, and writes the file."""
  f = flags.FLAGS
  logging.set_verbosity(logging.WARNING)  # TFDS tells which files it opens
  act_range(
    f.model,
    f.layer,
    f.dataset,
    f.sigmas,
    f.out,
    integers=f.integers,
    preprocess=f.preprocessing,
    batch=f.batch,
    limit=f.limit,
    quiet=f.quiet,
  )


def start() -> None:
  """Runs the command."""
  launch.run(main, *_REQUIRED, define=define, anew=True)


def act_range(
  model: str,
  layer: str,
  data: str,
  sigmas: str,
  out: str,
  *,
  integers: bool = False,
  preprocess: str | None = None,
  batch: int = 32,
  limit: int | None = None,
  quiet: bool = False,
) -> None:
  """Writes the file, and prints what is in it; what `define` lists."""
  factor = _number(sigmas)
  how = None if preprocess is None else preprocessing.parse(preprocess)
  path = validate.destination(out)
  photographs = datasets.open(data)
  net = validate.load(model)
  shape = classifiers.shapes(net, layer)[layer]
  size = net.input_shape[:2]
  how = preprocessing.own(net, size) if how is None else how
  preprocessing.check(how, size)
  total = len(photographs)
  count = total if limit is None else min(limit, total)
  print(
    f'{model}: layer {layer!r} of {"x".join(map(str, shape))}, {count} of '
    f'{total} photographs of {data}, {preprocessing.told(how, size)}',
    flush=True,
  )
  with files.replacing(path) as partial:
    partial.touch()  # what cannot be written is told at once
    with validate.bar(count, quiet) as bar:
      moments = moments_.measured(
        net,
        layer,
        photographs,
        how,
        count=count,
        batch=batch,
        report=bar.update,
      )
    bounds = moments_.bounds(moments, factor)
    partial.write_text(moments_.text(bounds, integers))
  print(
    f'{out}: {len(bounds)} numbers from {bounds.min():.6g} to '
    f'{bounds.max():.6g}, mean {bounds.mean():.6g}'
  )


def _number(sigmas: str) -> float:
  try:
    factor = float(sigmas)
  except ValueError:
    factor = math.nan
  if not math.isfinite(factor):
    raise UserError(
      f'--sigmas={sigmas}: expected one number: type --sigmas=3, or '
      '--sigmas=-3 for lower bounds'
    )
  return factor
