"""The formats that a workdir becomes files of, by name or by import path.

  write = formats.find('montage')
  write = formats.find('my_lab.formats.tiff')

A format is a function (selection, out, *, options) that yields the path of each
file it writes; an option is a keyword with a default, such as `columns=None`.
"""

from collections.abc import Callable, Iterator
import importlib
import inspect
import pathlib
import re
import typing
from typing import Any

from vizjax import errors
from vizjax import formula
from vizjax.errors import UserError

# Flags and arguments of every format, which no option can be called.
TAKEN = (
  'workdir', 'format', 'out', 'layer', 'layers', 'units', 'model', 'quiet',
  'traceback', 'help',
)  # fmt: skip

Format = Callable[..., Iterator[pathlib.Path]]

# The module of this package that holds the function of a format's name.
NAMES = {
  'png': 'pictures',
  'montage': 'pictures',
  'strip': 'pictures',
  'gif': 'pictures',
  'mp4': 'pictures',
  'plots': 'plots',
  'toolbox': 'toolbox',
  'cnnpref': 'cnnpref',
  'synthesizing': 'synthesizing',
  'grid': 'grid',
  'neural_style': 'grid',
}


def find(name: str | Format) -> Format:
  """Returns the function that writes a format.

  Args:
    name: of NAMES, the import path of a function of one's own, or the function
      itself.

  Raises:
    UserError: there is none of that name.
  """
  if callable(name):
    return _checked(name)
  if name in NAMES:
    module = importlib.import_module(f'vizjax.export.{NAMES[name]}')
    return getattr(module, name)
  if not isinstance(name, str) or not all(name.split('.')) or '.' not in name:
    raise UserError(
      f'format {name!r} is not known, expected one of {", ".join(NAMES)}, or '
      'the import path of a function of your own, as my_lab.formats.tiff.'
      f'{errors.hint(str(name), NAMES)}'
    )
  return _checked(formula.imported(name))


def name_of(write: Format) -> str:
  """Returns the name of a format, for the folder of its files."""
  return getattr(write, '__name__', type(write).__name__)


def _checked(write: Format) -> Format:
  """Refuses a function that is no format.

  Raises:
    UserError: its arguments are others.
  """
  name = name_of(write)
  parameters = inspect.signature(write).parameters.values()
  places = [
    p
    for p in parameters
    if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
  ]
  if len(places) != 2:
    raise UserError(
      f'the format {name} takes {len(places)} arguments, expected two and '
      f'options: type def {name}(selection, out, *, option=value)'
    )
  for option, parameter in options(write).items():
    plain = isinstance(parameter.default, bool | int | float | str | None)
    if option in TAKEN or not plain:
      raise UserError(
        f'the option {option} of the format {name} cannot be a flag: expected '
        'a default that is a number, a text, True, False or None, and none of '
        f'the names {", ".join(TAKEN)}'
      )
  return write


def written(
  write: Format, selection: Any, out: pathlib.Path, given: dict[str, Any]
) -> Iterator[pathlib.Path]:
  """Yields the paths that a format writes.

  Raises:
    UserError: the function gives something else.
  """
  paths = write(selection, out, **given)
  if not isinstance(paths, Iterator):
    raise UserError(
      f'the format {name_of(write)} returns {paths!r:.60}, expected a '
      'generator: type yield path for each file'
    )
  yield from paths


def options(write: Format) -> dict[str, inspect.Parameter]:
  """Returns the options of a format, by name: its keyword-only parameters."""
  parameters = inspect.signature(write).parameters.values()
  return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


def check(write: Format, given: dict[str, Any]) -> None:
  """Refuses options that a format does not have.

  Raises:
    UserError: with the options that it has.
  """
  known = options(write)
  for name in given:
    if name not in known:
      raise UserError(
        f'{name}= is no option of this format, expected '
        f'{", ".join(known) or "none"}.{errors.hint(name, known)}'
      )


def kind(option: inspect.Parameter) -> type:
  """Returns the type of an option's values: bool, int, float or str."""
  types = {type(option.default)} | {*typing.get_args(option.annotation)}
  types |= {option.annotation}
  return next((t for t in (bool, float, int) if t in types), str)


def told(write: Format) -> dict[str, str]:
  """Returns what the docstring of a format says of its arguments, by name."""
  docstring = inspect.getdoc(write) or ''
  _, _, rest = docstring.partition('\nArgs:\n')
  section = rest.partition('\n\n')[0]
  found, name = {}, ''
  for line in section.splitlines():
    argument = re.match(r'  (\w+): (.*)', line)
    if argument:
      name = argument[1]
      found[name] = argument[2]
    elif name:
      found[name] += ' ' + line.strip()
  return {n: text[:1].upper() + text[1:] for n, text in found.items()}
