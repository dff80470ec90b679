"""Folders of results: directories of this machine, or of a bucket.

  folders.write(folders.File('gs://bucket/atlas', 'config.json'), b'{}')

A folder is a path, or what TensorStore opens as a key-value store: gs://, s3://.
"""

from collections.abc import Callable, Iterator
import contextlib
import functools
import hashlib
import os
import pathlib
import re
import shutil
from typing import NamedTuple

import tensorstore

from vizjax.errors import UserError

Path = str | pathlib.Path

# Other folders of a workdir, and the ends of its other files.
_TAKEN = ('atlas', 'examples', 'export', 'shown')
_FILES = ('.css', '.html', '.js', '.json', '.py')

# Errors of TensorStore for an array that it cannot open, or a chunk that it
# cannot decode.
_DAMAGED = re.compile(
  '(DATA_LOSS|FAILED_PRECONDITION|INVALID_ARGUMENT|NOT_FOUND): '
  'Error (opening|reading)'
)

# Bytes of a folder's name: a file of the layer's may have 255 in all.
_LONGEST = 150


class File(NamedTuple):
  """A place for a file that is written whole or not at all."""

  folder: str
  name: str

  @property
  def path(self) -> str:
    return f'{self.folder}/{self.name}'


def remote(workdir: Path) -> bool:
  """Whether a workdir is not a directory of this machine, but gs:// or such."""
  return '://' in str(workdir)


def local(workdir: str, advice: str) -> pathlib.Path:
  """The directory of a workdir, for what is written beside the arrays.

  Raises:
    UserError: it is none of this machine, and the advice.
  """
  _check(workdir)
  if remote(workdir):
    raise UserError(
      f'{workdir!r} is no directory of this machine, where other files could '
      f'be written: {advice}'
    )
  return pathlib.Path(workdir).expanduser()


def output(
  out: str | None, workdir: str, subfolder: str, advice: str
) -> pathlib.Path:
  """Returns the directory for files that are made of a workdir's arrays.

  Args:
    out: the directory that the user typed; None: WORKDIR/SUBFOLDER.
    workdir: where the arrays are.
    subfolder: one that is in no layer's way, as 'export/png'.
    advice: what to type where this is no directory of this machine.

  Raises:
    UserError: it is in a bucket, or among the arrays of the workdir.
  """
  if out is None:
    return local(workdir, advice) / subfolder
  if not out:
    raise UserError(f'--out is empty: {advice}, or leave --out out')
  found = local(out, advice)
  if not remote(workdir):
    here = pathlib.Path(workdir).expanduser().resolve()
    own = here / pathlib.PurePath(subfolder).parts[0]
    there = found.resolve()
    if there.is_relative_to(here) and not there.is_relative_to(own):
      raise UserError(
        f'--out={out} is inside the workdir {workdir!r}, among its arrays: '
        'type an --out that is not inside, or leave --out out, for '
        f'{workdir.rstrip("/")}/{subfolder}'
      )
  return found if found.name else found.absolute()  # as of '.'


def where(path: str) -> str | dict[str, str]:
  """A folder, as TensorStore names it."""
  if remote(path):
    return path.rstrip('/') + '/'
  path = os.path.abspath(os.path.expanduser(path))
  return {'driver': 'file', 'path': path + '/'}


@contextlib.contextmanager
def _doing(what: str, path: str) -> Iterator[None]:
  """Turns what TensorStore raises into an error that names the place.

  Raises:
    UserError: the path is misspelt, or what it holds is damaged.
    OSError: anything else, such as a disk that is full.
  """
  _check(path)
  try:
    yield
  except ValueError as error:
    if _DAMAGED.match(str(error)):
      raise UserError(damaged(path)) from error
    # 'RESOURCE_EXHAUSTED: Failed writing: "...": ... No space left on device'
    why = str(error).splitlines()[0].partition(' [')[0]
    raise OSError(
      f'{path!r} cannot be {what} ({why}): expected a place that exists and '
      'that you may use, with room; the same command goes on from here'
    ) from error


reading = functools.partial(_doing, 'read')
writing = functools.partial(_doing, 'written')


def damaged(folder: Path) -> str:
  """Returns what to type where the folder of a layer is damaged."""
  return (
    f'{str(folder)!r} is damaged: remove that folder, and the same '
    'vizjax run command makes its images again'
  )


def spelled(layer: str) -> str:
  """The name of a layer's folder; no two layers have the same.

  It is the layer's name with '--' for '/', as conv1--7x7_s2. Where that is the
  folder of another layer ('a--b'), a folder of the program ('examples'), or no
  folder inside the workdir ('..'), everything but letters, digits and '_' is
  the hexadecimal numbers of its bytes ('%2E%2E'), and so is the first
  character; of a long name the end is a hash. A file system that takes capitals
  for small letters still has one folder for 'Conv' and 'conv'.
  """
  plain = layer.replace('/', '--')
  taken = plain.casefold() in _TAKEN or plain.casefold().endswith(_FILES)
  safe = plain.isprintable() and not taken and not {'%', '\\'} & {*plain}
  short = len(plain.encode()) <= _LONGEST
  if plain.replace('--', '/') == layer and safe and short and _inside(plain):
    return plain
  escaped = ''.join(
    c if i and (c.isalnum() or c == '_') else _escaped(c)
    for i, c in enumerate(layer)
  )
  if len(escaped.encode()) > _LONGEST:
    digest = hashlib.sha256(layer.encode()).hexdigest()
    return f'{escaped[:40]}%-{digest}'
  return escaped or '%'


def read(file: File) -> bytes | None:
  """The content of a file; None where it is missing.

  Raises:
    OSError: it cannot be read.
  """
  with reading(file.folder):
    found = _folder(file.folder).read(file.name).result()
  return found.value if found.state == 'value' else None


def write(file: File, content: bytes | None, *, once: bool = False) -> bool:
  """Writes a file, whole or not at all.

  Args:
    file: its place.
    content: what it then holds; None removes it.
    once: not if it is there already.

  Returns:
    Whether it was written.

  Raises:
    OSError: it cannot be written.
  """
  with writing(file.folder):
    folder = _folder(file.folder)
    if not once:
      folder.write(file.name, content).result()
      return True
    found = folder.read(file.name).result()
    if found.state == 'value':
      return False
    # The first of several writers wins.
    absent = found.stamp.generation
    written = folder.write(file.name, content, if_equal=absent).result()
    return bool(written.generation)


def change(file: File, edit: Callable[[bytes], bytes]) -> None:
  """Replaces what a file holds, whole; no change of another process is lost.

  Args:
    file: its place; it is there.
    edit: gives the new content for the old one. It is asked again where
      another process was quicker.

  Raises:
    OSError: the file cannot be read or written.
  """
  with writing(file.folder):
    folder = _folder(file.folder)
    while True:
      found = folder.read(file.name).result()
      content, stamp = edit(found.value), found.stamp.generation
      written = folder.write(file.name, content, if_equal=stamp).result()
      if written.generation:
        return


def clear(folder: str) -> None:
  """Removes all that is in a folder, and the folder, if there is one.

  Raises:
    OSError: it cannot be removed.
  """
  if not remote(folder):
    with contextlib.suppress(FileNotFoundError):
      shutil.rmtree(pathlib.Path(folder).expanduser())
    return
  with writing(folder):
    _folder(folder).delete_range(tensorstore.KvStore.KeyRange()).result()


def _check(path: Path) -> None:
  """Refuses gs:/BUCKET and gs:BUCKET, which would name a folder here."""
  text = str(path)
  scheme = re.match('(gs|s3):', text)
  if scheme and not re.match('..://[^/]', text):
    raise UserError(
      f'{text!r} names no bucket: type {scheme[0]}//BUCKET/PATH, or ./{text} '
      'for a folder of this machine'
    )


def _inside(name: str) -> bool:
  """Whether a name is that of a folder, and of none that is hidden."""
  return not name.startswith('.') and name != ''


def _escaped(character: str) -> str:
  return ''.join(f'%{byte:02X}' for byte in character.encode())


def _folder(path: str) -> tensorstore.KvStore:
  return tensorstore.KvStore.open(where(path)).result()
