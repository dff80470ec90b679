"""One file out of a tar archive or a zip."""

from collections.abc import Iterator
import contextlib
import fnmatch
import shutil
import tarfile
import zipfile

from vizjax import files
from vizjax.errors import UserError


def unpack(archive: files.Path, pattern: str, out: files.Path) -> None:
  """Writes the one member whose path matches; it appears complete.

  Args:
    archive: a .zip, or a .tar of any compression.
    pattern: as '*.caffemodel', of the member's whole path.
    out: where it goes.

  Raises:
    UserError: no archive, a damaged one, or none or several such members.
    OSError: it cannot be written.
  """
  with contextlib.ExitStack() as stack:
    with files.reading(archive, 'zip or tar archive'):
      names, source = stack.enter_context(_opened(archive))
      found = fnmatch.filter(names, pattern)
      if len(found) != 1:
        raise UserError(
          f'it has {len(found)} files {pattern!r}, expected one: it holds '
          f'{", ".join(names)[:300]}'
        )
      stream = stack.enter_context(source(found[0]))
    partial = stack.enter_context(files.replacing(out))
    with open(partial, 'wb') as target:
      with files.reading(archive, 'zip or tar archive'):
        shutil.copyfileobj(stream, target)


@contextlib.contextmanager
def _opened(archive: files.Path) -> Iterator[tuple]:
  """Names of the files in it, and what opens one of them."""
  if zipfile.is_zipfile(archive):
    with zipfile.ZipFile(archive) as content:
      yield content.namelist(), content.open
    return
  with tarfile.open(archive) as content:
    members = {m.name: m for m in content.getmembers() if m.isfile()}
    yield list(members), lambda name: content.extractfile(members[name])
