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
    return name
  if name in NAMES:
    module = importlib.import_module(f'vizjax.export.{NAMES[name]}')
    return getattr(module, name)
  if '.' not in str(name):
    raise UserError(
      f'format {name!r} is not known, expected one of {", ".join(NAMES)}, or '
      'the import path of a function of your own, as my_lab.formats.tiff.'
      f'{errors.hint(str(name), NAMES)}'
    )
  return formula.imported(name)


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
