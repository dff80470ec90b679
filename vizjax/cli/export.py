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

Some formats evaluate the formulas of DIR, which call functions of vizjax and
optax alone unless --trust is typed: whoever made DIR wrote the formulas.

A sweep may be under way; what is not made yet is left out. The last line says
what is where.
"""

import itertools

from absl import flags
from absl import logging

from vizjax import progress
from vizjax.cli import launch
from vizjax.errors import UserError
from vizjax.export import cnnpref
from vizjax.export import grid
from vizjax.export import pictures
from vizjax.export import plots
from vizjax.export import selecting
from vizjax.export import synthesizing
from vizjax.export import toolbox
from vizjax.workdir import folders

# What writes each format, and the flags that it takes.
FORMATS = {
  'png': (pictures.png, ('stretch',)),
  'montage': (pictures.montage, ('stretch', 'columns', 'tile')),
  'strip': (pictures.strip, ('stretch', 'columns', 'tile')),
  'gif': (pictures.gif, ('stretch', 'fps')),
  'mp4': (pictures.mp4, ('stretch', 'fps')),
  'plots': (plots.plots, ('plots_format',)),
  'toolbox': (toolbox.toolbox, ('brave', 'skipbig', 'trust')),
  'cnnpref': (cnnpref.cnnpref, ()),
  'synthesizing': (synthesizing.synthesizing, ('trust',)),
  'grid': (grid.grid, ('stretch', 'tile')),
  'neural_style': (
    grid.neural_style,
    ('preserve_colors', 'overwrite'),
  ),
}


def define() -> None:
  """Defines the flags."""
  text, number, switch = (
    flags.DEFINE_string,
    flags.DEFINE_integer,
    flags.DEFINE_bool,
  )
  text('workdir', None, 'Of vizjax run.')
  flags.DEFINE_enum('format', None, list(FORMATS), 'What is written.')
  text('out', None, 'A folder; else DIR/export/FORMAT.')
  text('layer', None, """conv3,conv5, or a glob, or '"a,b",c'; else all.""")
  text('units', None, "As config.units: 0:16, 3,7, 3@2x10, '*'; else all.")
  switch('stretch', False, 'Show each image from its smallest number to 255.')
  number(
    'columns',
    None,
    'Tiles in a row of a montage, or of a strip.',
    lower_bound=1,
    upper_bound=1000,
  )
  number(
    'tile',
    None,
    "Pixels of a tile's longer side.",
    lower_bound=1,
    upper_bound=4096,
  )
  flags.DEFINE_float('fps', 10, 'Frames a second.', 0.1, 1000)
  flags.DEFINE_enum('plots_format', 'png', plots.FORMATS, 'Of the plots.')
  switch('preserve_colors', False, 'The colors are those of the content.')
  switch('overwrite', False, 'Replace files of neural_style that are there.')
  switch('brave', False, 'Replace files of the toolbox that are there.')
  switch('skipbig', False, 'Leave out info_big.pkl, the large one.')
  launch.define_quiet()
  switch('trust', False, 'Formulas of DIR may call any function.')


def main() -> None:
  """Writes the files."""
  f = flags.FLAGS
  logging.set_verbosity(logging.WARNING)  # matplotlib tells of its fonts
  write, takes = FORMATS[f.format]
  _check(f, takes)
  selection = selecting.select(f.workdir, f.layer, f.units)
  out = folders.output(f.out, f.workdir, f'export/{f.format}', 'type --out=DIR')
  options = {name: f[name].value for name in takes}
  paths = write(selection, out, **options)
  first = next(paths)  # or an error, before there is a bar
  line = '{n_fmt} files, {elapsed}'
  count = 0
  with progress.bar(line, quiet=f.quiet, unit=' files', delay=3) as bar:
    for _ in itertools.chain([first], paths):
      count += 1
      bar.update()
  made = sum(len(layer.rows) for layer in selection.layers)
  missing = sum(layer.missing for layer in selection.layers)
  left = f'; {missing} not made yet' if missing else ''
  print(f'{out}: {count} files of {made} images{left}')


def start() -> None:
  """Runs the command."""
  launch.run(main, 'workdir', 'format', define=define, anew=True)


def _check(f: flags.FlagValues, takes: tuple[str, ...]) -> None:
  """Refuses the flags of another format."""
  if f.out is not None and not f.out:
    raise UserError('--out is empty: type --out=DIR, or leave it out')
  for name in sorted({n for _, names in FORMATS.values() for n in names}):
    if f[name].present and name not in takes:
      others = [key for key, (_, names) in FORMATS.items() if name in names]
      raise UserError(
        f'--{name} is given with --format={f.format}, expected '
        f'--format={" or ".join(others)}: leave one of them out'
      )
