"""Fetches, checks and converts the weights of networks.

  vizjax weights list
  vizjax weights fetch NAME ...
  vizjax weights verify NAME ...
  vizjax weights convert FILE OUT    # .npz or .safetensors

They go to $VIZJAX_WEIGHTS, or ~/.cache/vizjax. A fetch that was interrupted
goes on where it was when the same command is typed again. Published bounds of
units, such as act_range_3x_fc6, are listed, fetched and verified likewise.
"""

import functools
import os
import pathlib
import sys
import warnings

from absl import flags
import numpy as np

from vizjax import errors
from vizjax import progress as progress_
from vizjax.cli import launch
from vizjax.errors import UserError
from vizjax.models.download import catalogue
from vizjax.models.download import transfer
from vizjax.models.formats import arrays
from vizjax.models.formats import detect
from vizjax.models.formats import layouts

_HEAD = (
  'name', 'here', 'bytes', 'top-1/top-5', 'licence', 'checksum', 'address'
)  # fmt: skip


def main(arguments: list[str]) -> None:
  """Does what is typed."""
  do(arguments, quiet=flags.FLAGS.quiet)


def do(arguments: list[str], *, quiet: bool = False) -> None:
  """Runs `list`, `fetch`, `verify` or `convert`.

  Args:
    arguments: the command, and what is typed after it.
    quiet: whether no progress is shown.
  """
  command, *rest = arguments or ['']
  if command not in _COMMANDS:
    hint = errors.hint(command, _COMMANDS)
    raise UserError(
      f'{command!r} is no command. Commands: {", ".join(_COMMANDS)}; type '
      f'{_usage("list")}.{hint}'
    )
  function, takes = _COMMANDS[command]
  right = rest if '...' in takes else len(rest) == len(takes.split())
  if not right:
    raise UserError(
      f'{command} was given {" ".join(rest) or "no more"}, expected '
      f'{takes or "no more"}: type {_usage(command)}'
    )
  function(*rest, **({'quiet': quiet} if function is fetch else {}))


def start() -> None:
  """Runs the command."""
  launch.run(main, define=launch.define_quiet, positional=True)


def show() -> None:
  """Prints a table of the files, and where they are looked for."""
  rows = [_HEAD, *(_row(file) for file in catalogue.FILES)]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  for row in rows:
    cells = (f'{cell:{w}}' for cell, w in zip(row, widths, strict=True))
    print('  '.join(cells).rstrip())
  here = sum(row[1] == 'yes' for row in rows)
  print(f'{here} of {len(catalogue.FILES)} are in {catalogue.directory()}')


def fetch(*names: str, quiet: bool = False) -> None:
  """Downloads files, each after its licence; a restriction is told once."""
  # All of them, before the first is fetched.
  files = [catalogue.get(name) for name in names]
  told = set()
  for file in files:
    _tell_terms(file, told)
    with progress_.Bars(quiet=quiet, unit='B', unit_scale=True) as bars:
      report = functools.partial(_report, bars, file.name)
      found = catalogue.fetch(file.name, report)
    _tell_checksum(file, catalogue.path(file.name), found)
    if file.member:
      print(f'{catalogue.find(file.name)}: unpacked')


def verify(*names: str) -> None:
  """Compares files that are here with what was published."""
  files = [catalogue.get(name) for name in names]
  for file in files:
    path = catalogue.find(file.name)
    if file.member and catalogue.path(file.name).is_file():
      path = catalogue.path(file.name)  # what a checksum is of
    _tell_checksum(file, path, catalogue.verify(file, path))


def convert(source: str, out: str) -> None:
  """Writes the arrays of a file of any format, in the layout they have."""
  out = os.path.expanduser(out)
  form, content = detect.read(os.path.expanduser(source))
  params = layouts.nested(content)
  bad = [
    f'{layer}.{name}'
    for layer, group in params.items()
    for name, array in group.items()
    if array.dtype.kind == 'f' and not np.isfinite(array).all()
  ]
  if bad:
    more = f' and {len(bad) - 5} more' if len(bad) > 5 else ''
    warnings.warn(
      f'{source!r} has NaN or infinite numbers in {", ".join(bad[:5])}{more}: '
      'images of units above them will not be finite',
      stacklevel=2,
    )
  arrays.write(out, params)
  count = sum(map(len, params.values()))
  print(f'{out}: {count} arrays of {len(params)} layers, from {form}')


# What each runs, and what it takes.
_COMMANDS = {
  'list': (show, ''),
  'fetch': (fetch, 'NAME ...'),
  'verify': (verify, 'NAME ...'),
  'convert': (convert, 'FILE OUT'),
}


def _report(
  bars: progress_.Bars, name: str, progress: transfer.Progress
) -> None:
  """Shows how far the download of a file is."""
  bar = bars.of(name, total=progress.total, initial=progress.done)
  bar.update(progress.done - bar.n)


def _usage(command: str) -> str:
  return f'{catalogue.COMMAND} {command} {_COMMANDS[command][1]}'.strip()


def _row(file: catalogue.File) -> tuple[str, ...]:
  here = 'yes' if catalogue.here(file.name) else 'no'
  size = '-' if file.size is None else f'{file.size:,}'
  checksum = '-'
  if file.checksum is not None:
    kind, value = file.checksum
    checksum = value + '...' * kind.endswith('-prefix')
  accuracy = file.accuracy or '-'
  return (
    file.name, here, size, accuracy, file.licence, checksum, file.address
  )  # fmt: skip


def _tell_terms(file: catalogue.File, told: set[str]) -> None:
  terms = 'as above'
  if file.licence not in told:
    terms = catalogue.LICENCES[file.licence]
    if file.licence in catalogue.NONCOMMERCIAL:
      terms = f'NOT FOR COMMERCIAL USE: {terms}'
  told.add(file.licence)
  print(f'{file.name}: {file.address}')
  print(f'licence: {file.licence}: {terms}')
  if file.note:
    print(f'note: {file.note}')
  sys.stdout.flush()  # before the download


def _tell_checksum(
  file: catalogue.File, path: pathlib.Path, found: str
) -> None:
  sure = 'as published' if file.checksum else 'with none to compare it to'
  print(f'{path}: {found}, {sure}')
