"""Recipes: files that make a config, found by name or by path.

  recipes.find('yosinski2015:3')                   # the path of its file
  recipes.load('yosinski2015:3', build.config)     # its config
  recipes.load('mine.py', build.config)            # of a file of one's own

A name is looked for as NAME.py and configs/NAME.py in the working directory,
then among the recipes that come with vizjax. What follows a colon is the
argument of the file's `get_config`.
"""

from collections.abc import Callable
import importlib.machinery
import importlib.util
import inspect
import os
import pathlib
import re
import sys
import traceback
from typing import Any
import warnings

from ml_collections import config_dict

from vizjax import errors
from vizjax.errors import UserError

_PACKAGE = pathlib.Path(__file__).parent


def names() -> list[str]:
  """Returns the names of the recipes that come with vizjax."""
  return sorted(path.stem for path in _folder().glob('[!_]*.py'))


def split(name: str) -> tuple[str, str | None]:
  """Splits 'NAME:ARGUMENT' or 'FILE.py:ARGUMENT'; None: no argument."""
  drive = re.match(r'[A-Za-z]:[\\/]', name)  # C:\FILE.py
  start = drive.end() if drive else 0
  file, colon, argument = name[start:].partition(':')
  return name[:start] + file, argument if colon else None


def find(name: str, by: str = 'recipe') -> pathlib.Path:
  """Returns the path of the file of a recipe.

  A file of the user's comes before a recipe of vizjax of the same name, which
  a warning says.

  Args:
    name: NAME or FILE.py; an ARGUMENT behind a colon is ignored.
    by: the argument or the flag that the user gave the name by.

  Raises:
    UserError: there is no such recipe and no such file.
  """
  name, _ = split(name)
  shipped = _folder() / f'{name}.py'
  is_shipped = name in names()
  if name and not name.endswith('.py'):
    for own in (
      pathlib.Path(f'{name}.py'),
      pathlib.Path('configs', f'{name}.py'),
    ):
      if own.is_file():
        if is_shipped and not own.samefile(shipped):
          warnings.warn(
            f'{_typed(by, name)} is your file {str(own)!r}: for the recipe of '
            f'vizjax type {_typed(by, shipped)}',
            stacklevel=2,
          )
        return own
  if is_shipped:
    return shipped
  path = pathlib.Path(name)
  if name and path.is_file():
    return path
  raise UserError(_not_there(name, by))


def load(
  name: str,
  knobs: Callable[[], config_dict.ConfigDict] | None = None,
  by: str = 'recipe',
) -> config_dict.ConfigDict:
  """Returns the config of a recipe.

  Args:
    name: NAME, FILE.py, NAME:ARGUMENT or FILE.py:ARGUMENT.
    knobs: makes a config with every knob that the recipe must have, such as
      `build.config`; None: the knobs are not checked.
    by: the argument or the flag that the user gave the name by.

  Raises:
    UserError: there is no such recipe, or its file cannot be read, raises
      SystemExit or UserError, does not take the argument, or lacks knobs.
    Exception: whatever else the file raises.
  """
  file = str(find(name, by))
  _, argument = split(name)
  arguments = [] if argument is None else [argument]
  try:
    config = _get_config(file, arguments, by)
  except (UserError, SyntaxError, SystemExit) as error:
    raise UserError(_at_place(error, file)) from error
  lacks = _lacks(config, knobs)
  if lacks:
    begin = f'{_public(knobs)}()' if knobs else 'vizjax.build.config()'
    raise UserError(
      f'{file}: get_config() returns {lacks}: expected all knobs; begin with '
      f'config = {begin}, change some, and type return config'
    )
  return config


def _folder() -> pathlib.Path:
  """Returns the folder of the recipes: in the package, or in a checkout."""
  inside = _PACKAGE / 'configs'
  return inside if inside.is_dir() else _PACKAGE.parent / 'configs'


def _not_there(name: str, by: str) -> str:
  """Returns the message about a name that is no recipe and no file."""
  path = pathlib.Path(name)
  if name and path.exists():
    kind = 'a folder' if path.is_dir() else 'a pipe or a device'
    return (
      f'config file {name!r} is {kind}: type {_typed(by, "FILE.py")}, such as '
      f'{_typed(by, "demo")}'
    )
  near = errors.nearest(path.stem, names())
  advice = (
    f'type {_typed(by, near)}'
    if near
    else f'type {_typed(by, "NAME")} or {_typed(by, "FILE.py")}'
  )
  return (
    f'there is no recipe and no file {name!r}, expected one of '
    f'{", ".join(names())}, or a file: {advice}'
  )


def _typed(by: str, name: str | pathlib.Path) -> str:
  """Returns a flag or an argument with its value, as people type it."""
  return f'{by}={name}' if by.startswith('-') else f'{by}={str(name)!r}'


def _get_config(file: str, arguments: list[str], by: str) -> Any:
  """Returns what `get_config` of a file returns."""
  loader = importlib.machinery.SourceFileLoader('config_config', file)
  spec = importlib.util.spec_from_loader(loader.name, loader)
  assert spec is not None  # The loader is given.
  module = importlib.util.module_from_spec(spec)
  loader.exec_module(module)
  if not hasattr(module, 'get_config'):
    raise UserError(
      'the file has no function get_config, which returns the config, as '
      f'{_folder() / "demo.py"} has'
    )
  try:
    inspect.signature(module.get_config).bind(*arguments)
  except TypeError as error:
    typed = ':'.join(['', *arguments])
    variant = '' if arguments else ':VARIANT'
    raise UserError(
      f'get_config() does not take {typed!r} ({error}): type '
      f'{_typed(by, file + variant)}'
    ) from error
  return module.get_config(*arguments)


def _lacks(
  config: Any, knobs: Callable[[], config_dict.ConfigDict] | None
) -> str:
  """Returns why an object is not a whole config; '' if it is."""
  if not isinstance(config, config_dict.ConfigDict):
    return f'{config!r:.60}, which is no ConfigDict'
  missing = sorted({*knobs()} - {*config}) if knobs else []
  more = ', ...' if len(missing) > 3 else ''
  return f'a config without {", ".join(missing[:3])}{more}' if missing else ''


def _public(function: Callable[..., Any]) -> str:
  """Returns the name that people type for a function of a package."""
  package = function.__module__.rpartition('.')[0]
  given = getattr(sys.modules[package], function.__name__, None)
  module = package if given is function else function.__module__
  return f'{module}.{function.__name__}'


def _at_place(error: BaseException, file: str) -> str:
  """Returns FILE:LINE where a config file raised an error, and the error."""
  if isinstance(error, SyntaxError):
    return f'{error.filename or file}:{error.lineno or 1}: {error.msg}'
  frames = traceback.extract_tb(error.__traceback__)
  at = os.path.abspath(file)
  lines = [f.lineno for f in frames if os.path.abspath(f.filename) == at]
  place = f'{file}:{lines[-1]}' if lines else file
  if isinstance(error, SystemExit):
    return (
      f'{place}: sys.exit({error.code!r}) would end the program: expected '
      'get_config() to return a config; remove this call'
    )
  return f'{place}: {error}'
