"""What readers of weight files share: bounds, and errors that name the file."""

from collections.abc import Iterator
import contextlib
import importlib
import pathlib
import types

# What a file may unfold to: this many times its size, and some room for small
# ones. Trained weights shrink by a tenth; a file of zeros, by a thousand.
EXPANSION = 64
ROOM = 2**20

Path = str | pathlib.Path


def content(path: Path) -> bytes:
  """The bytes of a file.

  Raises:
    ValueError: it cannot be read.
  """
  try:
    return pathlib.Path(path).read_bytes()
  except OSError as error:
    raise ValueError(
      f'weights file {str(path)!r} cannot be read ({error.strerror}): '
      'expected the path of a file'
    ) from error


def bound(size: int) -> int:
  """How many bytes of arrays a file of so many bytes may hold."""
  return EXPANSION * size + ROOM


@contextlib.contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
  """Turns whatever is raised within into a ValueError that names the file."""
  try:
    yield
  except Exception as error:  # A parser may raise anything on damaged input.
    said = str(error)[:400]
    if type(error) is not ValueError:
      said = f'{type(error).__name__} {said}'
    raise ValueError(
      f'weights file {str(path)!r} is not a {kind} that can be read: {said}; '
      'if it should be one, take it from its source again'
    ) from error


def library(name: str) -> types.ModuleType:
  """A module that only some of the readers need.

  Raises:
    ValueError: it is not installed.
  """
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    package = name.partition('.')[0]
    raise ValueError(
      f'this kind of weights file is read by the package {package}, which is '
      "not installed: pip install 'vizjax[weights]'"
    ) from error
