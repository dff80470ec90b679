"""Files of the web, whole, over connections that break.

What arrives is appended to a file, and beside it is noted what it is a part
of: a later connection, of this process or of another one, asks for the rest.
The standard library only, urllib over http and https: pooch and the downloader
of tensorflow-datasets begin a broken transfer from its first byte again, and
the weights are up to half a gigabyte.
"""

from collections.abc import Callable, Iterator
import contextlib
import http.client
import json
import os
import pathlib
import time
from typing import Any, BinaryIO, NamedTuple, NoReturn
import urllib.error
import urllib.parse
import urllib.request

from vizjax.errors import UserError

TRIES = 5  # connections that may break before it is given up
PAUSE = 1.0  # seconds before the second try; doubled before each later one
TIMEOUT = 60.0  # seconds without a byte

_BLOCK = 1 << 20  # bytes
_PASSING = (408, 429, 500, 502, 503, 504)  # statuses that another try may end


class Progress(NamedTuple):
  """How far a download is."""

  done: int  # bytes
  total: int | None  # bytes; None: not known


class _Source(NamedTuple):
  """What the bytes that are here are a part of."""

  address: str
  validator: str | None  # strong ETag or date: tells one version from another
  total: int | None  # bytes


@contextlib.contextmanager
def whole(
  address: str,
  path: pathlib.Path,
  size: int | None,
  checked: bool,
  report: Callable[[Progress], None],
) -> Iterator[None]:
  """A context in which the file is whole, and nobody else's.

  To rename the file, or to delete one that is wrong, is left to the context.

  Args:
    address: of http or https.
    path: where it goes; the part of an earlier process is gone on from.
    size: of the whole file in bytes; None: what the server says.
    checked: whether the context compares a checksum. Without one, what the
      server cannot tell from another version is fetched from its start.
    report: is told how far it is, at the start and after each block.

  Raises:
    UserError: it cannot be had.
    OSError: it cannot be written.
  """
  if urllib.parse.urlsplit(address).scheme not in ('http', 'https'):
    raise UserError(f'{address!r} is no address of http or https')
  notes = path.with_suffix('.json')
  with _alone(path) as stream:
    try:
      _receive_all(address, stream, notes, size, checked, report)
      os.fsync(stream.fileno())
      yield
    finally:
      if os.fstat(stream.fileno()).st_size == 0:
        path.unlink(missing_ok=True)
      if not path.exists():
        notes.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(path: pathlib.Path) -> Iterator[BinaryIO]:
  """A file, open for appending, in no other process at the same time."""
  with open(path, 'ab') as stream:
    try:
      _lock(stream)
      # The process that had it may have renamed it just now.
      mine = path.exists() and os.path.samefile(stream.fileno(), path)
    except BlockingIOError:
      mine = False
    if not mine:
      raise UserError(
        f'{str(path)!r} is in use: expected no other process that fetches it'
      )
    yield stream


def _lock(stream: BinaryIO) -> None:
  """Locks a file, except on Windows, where Python has no fcntl.

  Raises:
    BlockingIOError: another process has locked the file.
  """
  try:
    import fcntl
  except ImportError:
    return
  fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _receive_all(
  address: str,
  stream: BinaryIO,
  notes: pathlib.Path,
  size: int | None,
  checked: bool,
  report: Callable[[Progress], None],
) -> None:
  """Receives over as many connections as it takes, up to TRIES."""
  broken: ConnectionError | None = None
  for number in range(TRIES):
    if number > 0:
      time.sleep(PAUSE * 2 ** (number - 1))
    source = _recall(address, notes, checked)
    try:
      return _receive(address, stream, notes, source, size, report)
    except ConnectionError as error:
      broken = error
  raise UserError(
    f'{address} broke off {TRIES} times ({broken}): expected the whole file; '
    'what came of it is kept'
  )


def _recall(address: str, notes: pathlib.Path, checked: bool) -> _Source | None:
  """What the bytes here are a part of; None: nothing to go on from."""
  try:
    source = _Source(**json.loads(notes.read_text()))
  except (FileNotFoundError, ValueError, TypeError):  # none, or half written
    return None
  told_apart = checked or source.validator is not None
  return source if told_apart and source.address == address else None


def _receive(
  address: str,
  stream: BinaryIO,
  notes: pathlib.Path,
  source: _Source | None,
  size: int | None,
  report: Callable[[Progress], None],
) -> None:
  """Appends what one connection gives.

  Raises:
    ConnectionError: it broke; another one may give the rest.
    UserError: the server has no such file.
  """
  have = 0 if source is None else stream.seek(0, os.SEEK_END)
  if source is not None and have and have == source.total:
    return
  with _request(address, have, source) as response:
    if response.status == 416 and have and have == _extent(response)[1]:
      return
    if response.status == 200:
      source, have = _describe(address, response, size), 0
      _begin(stream, notes, source)
    elif source is None or not _continues(response, have, source):
      _refuse(address, response, have, notes)
    total = size if source.total is None else source.total
    report(Progress(have, total))
    for block in _blocks(response, None if total is None else total - have):
      stream.write(block)
      stream.flush()
      have += len(block)
      report(Progress(have, total))
  if total is not None and have < total:
    raise ConnectionError(f'closed after {have} of {total} bytes')


def _request(address: str, have: int, source: _Source | None) -> Any:
  """The answer, of whatever status, to a request of all but some bytes."""
  headers = {'User-Agent': 'vizjax'}
  if have and source is not None:
    headers['Range'] = f'bytes={have}-'
    if source.validator is not None:
      headers['If-Range'] = source.validator
  request = urllib.request.Request(address, headers=headers)
  try:
    return _opener().open(request, timeout=TIMEOUT)
  except urllib.error.HTTPError as error:
    return error
  except (OSError, http.client.HTTPException) as error:
    reason = getattr(error, 'reason', error)
    if have:  # which would be a pity to give up
      raise ConnectionError(str(reason)) from error
    raise UserError(
      f'{address} cannot be reached ({reason}): expected an answer'
    ) from error


def _opener() -> urllib.request.OpenerDirector:
  """Without what the usual one follows a redirection to: files and FTP."""
  opener = urllib.request.OpenerDirector()
  for handler in (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.UnknownHandler,
  ):
    opener.add_handler(handler())
  return opener


def _describe(address: str, response: Any, size: int | None) -> _Source:
  """What the answer to a request of everything tells of the file."""
  length = response.headers.get('Content-Length', '')
  total = int(length) if length.isdecimal() else None
  if None not in (size, total) and size != total:
    raise UserError(f'{address} offers {total} bytes: expected {size}')
  return _Source(address, _validator(response), total)


def _validator(response: Any) -> str | None:
  """What If-Range takes: an ETag unless it is weak, or else a date."""
  tag = response.headers.get('ETag')
  if tag is not None and not tag.startswith('W/'):
    return tag
  return response.headers.get('Last-Modified')


def _begin(stream: BinaryIO, notes: pathlib.Path, source: _Source) -> None:
  """Empties the file; killed at any moment, no note is of another's bytes."""
  notes.unlink(missing_ok=True)
  stream.seek(0)
  stream.truncate()
  notes.write_text(json.dumps(source._asdict()))


def _continues(response: Any, have: int, source: _Source) -> bool:
  """Whether an answer is the rest of the same file."""
  start, total = _extent(response)
  if response.status != 206 or start != have:
    return False
  # Some servers take no notice of If-Range.
  news = _validator(response) or source.validator, total or source.total
  return news == (source.validator, source.total or total)


def _refuse(
  address: str, response: Any, have: int, notes: pathlib.Path
) -> NoReturn:
  """Raises what an answer without the file calls for."""
  if response.status in (206, 416):
    notes.unlink(missing_ok=True)  # so that the next try begins anew
    raise ConnectionError('the file has changed on the way')
  if have and response.status in _PASSING:
    raise ConnectionError(f'status {response.status}')
  raise UserError(
    f'{address} answers {response.status} {response.reason}: expected a file'
  )


def _extent(response: Any) -> tuple[int | None, int | None]:
  """First byte and total of 'bytes 100-199/200'; None for what is not told."""
  span, _, total = response.headers.get('Content-Range', '').partition('/')
  start = span.removeprefix('bytes ').partition('-')[0]
  first, count = (int(t) if t.isdecimal() else None for t in (start, total))
  return first, count


def _blocks(response: Any, count: int | None) -> Iterator[bytes]:
  """What arrives, as it arrives; no more than a known count of bytes."""
  while count is None or count > 0:
    try:
      block = response.read1(_BLOCK if count is None else min(_BLOCK, count))
    except (OSError, http.client.HTTPException) as error:
      raise ConnectionError(str(error)) from error
    if not block:
      return
    count = None if count is None else count - len(block)
    yield block
