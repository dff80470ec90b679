"""What readers of weight files share: bounds, and errors that name the file."""

from collections.abc import Iterator
import contextlib
import errno
import importlib
import os
import pathlib
import types
from typing import BinaryIO

from vizjax import errors
from vizjax.errors import UserError

# What a file may unfold to: this many times its size, and some room for small
# ones. Trained weights shrink by a tenth; a file of zeros, by a thousand.
EXPANSION = 64
ROOM = 2**20

Path = str | pathlib.Path


def opened(path: Path) -> BinaryIO:
  """A file, open for reading; `~` is the home directory.

  Raises:
    OSError: it cannot be opened, or is a pipe, socket or device, where reading
      would wait for someone who writes.
  """
  path = os.path.expanduser(path)
  if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
    why = 'it is a pipe, a socket or a device'
    raise OSError(errno.EINVAL, why, str(path))
  return open(path, 'rb')


def content(path: Path, size: int = -1) -> bytes:
  """The bytes of a file, or the first so many of them.

  Raises:
    UserError: it cannot be read.
  """
  try:
    with opened(path) as file:
      return file.read(size)
  except OSError as error:
    raise UserError(
      f'weights file {str(path)!r} cannot be read ({error.strerror}): '
      'expected the path of a file'
    ) from error


def length(path: Path) -> int:
  """How many bytes a file has.

  Raises:
    UserError: it cannot be read.
  """
  content(path, 1)  # whose error names it
  return os.path.getsize(path)


def bound(size: int) -> int:
  """How many bytes of arrays a file of so many bytes may hold."""
  return EXPANSION * size + ROOM


class NotRead(UserError):
  """A whole file of a kind that is not read; the message says what to type."""


@contextlib.contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
  """Turns what a damaged file raises within into a UserError that names it."""
  try:
    yield
  except NotRead as error:
    raise UserError(
      f'weights file {str(path)!r} cannot be read: {one_line(str(error))}'
    ) from error
  except Exception as error:  # A parser may raise anything on damaged input.
    if errors.is_bug(error):
      raise
    raise UserError(
      f'weights file {str(path)!r} is not a {kind} that can be read: '
      f'{told(error)}; if it should be one, take it from its source again'
    ) from error


def told(error: Exception) -> str:
  """Returns the message of an exception as one line, and mostly its type."""
  said = one_line(str(error))[:400]
  if type(error) in (UserError, ValueError):
    return said
  return f'{type(error).__name__} {said}'


def one_line(text: str) -> str:
  """The text without line breaks and control letters, which a file may hold."""
  shown = (letter if letter.isprintable() else ' ' for letter in text)
  return ' '.join(''.join(shown).split())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[pathlib.Path]:
  """A path to write to, renamed to this one once all is written.

  Raises:
    FileNotFoundError: the folder of the path is not there.
    OSError: the path is a folder, or a device such as /dev/null.
  """
  path = pathlib.Path(path)
  if path.exists() and not path.is_file():
    number = errno.EISDIR if path.is_dir() else errno.EINVAL
    raise OSError(number, 'it is no file', str(path))
  if not path.parent.is_dir():
    raise FileNotFoundError(
      errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent)
    )
  partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
  try:
    yield partial
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)


def library(
  name: str,
  extra: str = 'weights',
  use: str = 'this kind of weights file is read by',
) -> types.ModuleType:
  """A module that only some of the readers, or writers, need.

  Args:
    name: of the module.
    extra: of vizjax, which installs it.
    use: what it is needed for, for the error.

  Raises:
    UserError: it is not installed.
  """
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    package = name.partition('.')[0]
    raise UserError(
      f'{use} the package {package}, which is not installed: '
      f"pip install 'vizjax[{extra}]'"
    ) from error
