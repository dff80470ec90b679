"""Turns the images of a workdir into files.

  vizjax export --workdir=DIR --format=png
  ... --format=montage --tile=96 --columns=16     # a contact sheet a layer
  ... --format=gif --fps=20                       # of --config.save_every=10
  ... --format=strip --tile=96 --columns=10       # the same side by side
  ... --format=plots --plots_format=pdf
  ... --format=toolbox --out=DIR2 --skipbig       # of yosinski2015
  ... --format=synthesizing                       # of nguyen2016
  ... --format=grid --tile=96                     # photographs by layers
  ... --format=neural_style --preserve_colors     # of gatys2016
  ... --layer='conv*' --units=0:16                # some of them
  ... --format=toolbox --trust                    # of a DIR that you made
  ... --format=my_lab.formats.tiff                # a function of your own

Some formats evaluate the formulas of DIR, which call functions of vizjax and
optax alone unless --trust is typed: whoever made DIR wrote the formulas.

A sweep may be under way; what is not made yet is left out. The last line says
what is where.
"""

from collections.abc import Mapping
import itertools
import sys
from typing import Any

from absl import flags
from absl import logging

from vizjax import progress
from vizjax.cli import launch
from vizjax.errors import UserError
from vizjax.export import formats
from vizjax.export import selecting
from vizjax.workdir import folders

_FLAGS = {
  bool: flags.DEFINE_bool,
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  str: flags.DEFINE_string,
}


def define() -> None:
  """Defines the flags; those of the formats are their options."""
  text = flags.DEFINE_string
  text('workdir', None, 'Of vizjax run.')
  text(
    'format',
    None,
    f'What is written: {", ".join(formats.NAMES)}; or the import path of a '
    'function of your own, as my_lab.formats.tiff.',
  )
  text('out', None, 'A folder; else DIR/export/FORMAT.')
  text('layer', None, """conv3,conv5, or a glob, or '"a,b",c'; else all.""")
  text('units', None, "As config.units: 0:16, 3,7, 3@2x10, '*'; else all.")
  launch.define_quiet()
  # The user's own comes first: its defaults count where two have an option.
  for name in dict.fromkeys([*_typed(), *formats.NAMES]):
    write = formats.find(name)
    told = formats.told(write)
    for option, parameter in formats.options(write).items():
      if option not in flags.FLAGS:
        _FLAGS[formats.kind(parameter)](
          option, parameter.default, told.get(option, f'Of {name}.')
        )


def main() -> None:
  """Writes the files."""
  f = flags.FLAGS
  logging.set_verbosity(logging.WARNING)  # matplotlib tells of its fonts
  write = formats.find(f.format)
  takes = formats.options(write)
  _check(f, takes)
  selection = selecting.select(f.workdir, f.layer, f.units)
  out = folders.output(f.out, f.workdir, f'export/{f.format}', 'type --out=DIR')
  options = {name: f[name].value for name in takes}
  paths = formats.written(write, selection, out, options)
  first = [*itertools.islice(paths, 1)]  # or an error, before there is a bar
  line = '{n_fmt} files, {elapsed}'
  count = 0
  with progress.bar(line, quiet=f.quiet, unit=' files', delay=3) as bar:
    for _ in itertools.chain(first, paths):
      count += 1
      bar.update()
  made = sum(len(layer.rows) for layer in selection.layers)
  missing = sum(layer.missing for layer in selection.layers)
  left = f'; {missing} not made yet' if missing else ''
  print(f'{out}: {count} files of {made} images{left}')


def start() -> None:
  """Runs the command."""
  launch.run(main, 'workdir', 'format', define=define, anew=True)


def _typed() -> list[str]:
  """Returns the format of one's own that is typed: its options are flags."""
  found = []
  for before, argument in zip(['', *sys.argv], sys.argv, strict=False):
    name, _, value = argument.partition('=')
    value = argument if before in ('--format', '-format') else value
    if name in ('--format', '-format') or value == argument:
      found.append(value)
  return [value for value in found[-1:] if '.' in value]


def _check(f: flags.FlagValues, takes: Mapping[str, Any]) -> None:
  """Refuses the flags of another format."""
  if f.out is not None and not f.out:
    raise UserError('--out is empty: type --out=DIR, or leave it out')
  known = {name: formats.options(formats.find(name)) for name in formats.NAMES}
  for name in sorted({option for each in known.values() for option in each}):
    if f[name].present and name not in takes:
      others = [key for key, each in known.items() if name in each]
      raise UserError(
        f'--{name} is given with --format={f.format}, expected '
        f'--format={" or ".join(others)}: leave one of them out'
      )
