"""Tells a mistake of the user from a bug, and what a misspelt name may mean.

Three kinds: a `UserError` names what was given, what was expected and what to
type; an exception out of the user's own file is found by `place`; every other
exception is a bug of vizjax.
"""

from collections.abc import Iterable
import difflib
import math
import numbers
import os
import pathlib
import re
import sysconfig
import traceback
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_STANDARD = tuple(
  sysconfig.get_paths()[name] + os.sep for name in ('stdlib', 'platstdlib')
)

_BUGS = (AssertionError, AttributeError, NameError)


class UserError(ValueError):
  """Input that vizjax refuses: given, expected, and what to type, in one line.

  Commands print it without a traceback, and end with exit status 2.
  """


def whole(
  name: str,
  value: Any,
  least: int,
  most: int | float = math.inf,
  advice: str = '',
) -> None:
  """Refuses a value that is not a whole number from `least` to `most`.

  Args:
    name: of the argument, as the user typed it.
    value: that the argument was given.
    least: the smallest number that is accepted.
    most: the largest one; infinity: there is none.
    advice: the end of the message, with its punctuation.

  Raises:
    UserError: the value is another one.
  """
  if not is_whole(value, least, most):
    wanted = f'>= {least}' if most == math.inf else f'from {least} to {most}'
    raise UserError(
      f'{name} is {value!r}, expected a whole number {wanted}{advice}'
    )


def is_whole(value: Any, least: int, most: int | float = math.inf) -> bool:
  """Whether a value is a whole number, of Python or NumPy, of a range."""
  if not isinstance(value, numbers.Integral) or isinstance(value, bool):
    return False
  return least <= int(value) <= most


def place(error: BaseException) -> str | None:
  """Returns FILE:LINE of the user's own code that raised an error.

  Frames of Python and of installed packages are passed over: an error belongs
  to the code that called them.

  Args:
    error: raised, with its traceback.

  Returns:
    The place, or None if code of vizjax raised it.
  """
  frames = [
    (frame.filename, frame.lineno)
    for frame in traceback.extract_tb(error.__traceback__)
  ]
  if type(error).__name__ == 'JaxRuntimeError':
    # It holds the traceback of a callback as a text.
    frames += re.findall(r'File "(.+)", line (\d+)', str(error))
  for file, line in reversed(frames):
    if os.path.abspath(file).startswith(_HERE + os.sep):
      return None
    if not is_library(file):
      return f'{file}:{line}'
  return None


def is_bug(error: BaseException) -> bool:
  """Whether code of vizjax raised what damaged input cannot make it raise.

  For readers that turn whatever a parser raises into a `UserError`: a name
  that is not defined is a bug, whatever the file holds.
  """
  frames = traceback.extract_tb(error.__traceback__)
  own = frames and os.path.abspath(frames[-1].filename).startswith(
    _HERE + os.sep
  )
  return bool(own) and isinstance(error, _BUGS)


def is_library(path: str) -> bool:
  """Whether a file is of Python or of an installed package."""
  installed = {'site-packages', 'dist-packages'} & {*pathlib.Path(path).parts}
  return bool(installed) or path.startswith(('<', *_STANDARD))


def nearest(name: str, known: Iterable[str]) -> str | None:
  """Returns the known name that is most like the given one; None if none is."""
  return next(iter(difflib.get_close_matches(name, list(known), 1)), None)


def hint(name: str, known: Iterable[str]) -> str:
  """Returns the end of a message: " Did you mean 'conv5'?", or ''."""
  near = nearest(name, known)
  return '' if near is None else f' Did you mean {near!r}?'
