"""Weights that are fetched, from a server on this machine that misbehaves."""

import fcntl
import hashlib
import http.server
import io
import json
import os
import pathlib
import re
import socket
import tarfile
import threading
import zipfile

import pytest

from vizjax import models
from vizjax.errors import UserError
from vizjax.models.download import catalogue
from vizjax.models.download import transfer

PUBLISHED = (
  pathlib.Path(__file__)
  .parents[3]
  .joinpath('shared', 'fixtures', 'synthesizing', 'act_range')
)
CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
OTHER = CONTENT[::-1]


class Server:
  """A file at /weights, given well or badly.

  What it is asked and what it gives is kept in `log`: (Range, status, bytes).
  """

  def __init__(self):
    self.content = CONTENT
    self.tag = '"one"'
    self.date = None
    self.ranges = True  # whether it knows Range
    self.careless = False  # whether it takes no notice of If-Range
    self.shift = 0  # how far from what is asked its ranges start
    self.length = True  # whether it tells the length
    self.cuts = []  # after how many bytes to close, one a request
    self.statuses = []  # to answer with instead, one a request
    self.location = None
    self.stalls = threading.Event()  # once cut, wait for it
    self.stalls.set()
    self.stalled = threading.Event()
    self.log = []
    self.conditions = []  # of If-Range
    server = self

    class Handler(http.server.BaseHTTPRequestHandler):
      def do_GET(self):
        server.answer(self)

      def log_message(self, *args):
        del args

    self.http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    self.http.handle_error = lambda *args: None  # a client that went away
    self.address = f'http://127.0.0.1:{self.http.server_port}/weights'

  def __enter__(self):
    loop = self.http.serve_forever
    self.thread = threading.Thread(target=loop, args=(0.01,))
    self.thread.start()
    return self

  def __exit__(self, *error):
    self.stalls.set()
    self.http.shutdown()
    self.thread.join()
    self.http.server_close()

  def answer(self, request):
    asked = request.headers.get('Range')
    status = self.statuses.pop(0) if self.statuses else 200
    if status != 200:
      self.log.append((asked, status, 0))
      request.send_response(status)
      if self.location is not None:
        request.send_header('Location', self.location)
      return request.end_headers()
    start, whole = 0, len(self.content)
    condition = request.headers.get('If-Range')
    self.conditions.append(condition)
    same = condition in (None, self.tag or self.date) or self.careless
    if asked and self.ranges and same:
      start, status = int(asked[6:-1]) + self.shift, 206
    if start >= whole:
      self.log.append((asked, 416, 0))
      request.send_response(416)
      request.send_header('Content-Range', f'bytes */{whole}')
      return request.end_headers()
    request.send_response(status)
    if status == 206:
      span = f'bytes {start}-{whole - 1}/{whole}'
      request.send_header('Content-Range', span)
    if self.tag:
      request.send_header('ETag', self.tag)
    if self.date:
      request.send_header('Last-Modified', self.date)
    if self.length:
      request.send_header('Content-Length', str(whole - start))
    body = self.content[start:]
    body = body[: self.cuts.pop(0)] if self.cuts else body
    # Before the head is given, at which the client may go and ask once more.
    self.log.append((asked, status, len(body)))
    request.end_headers()
    request.wfile.write(body)
    self.stalled.set()
    self.stalls.wait(30)


@pytest.fixture
def server(monkeypatch):
  monkeypatch.setenv('no_proxy', '*')
  monkeypatch.setattr(transfer, 'PAUSE', 0)
  with Server() as server:
    yield server


@pytest.fixture
def home(tmp_path, monkeypatch):
  monkeypatch.setenv(catalogue.VARIABLE, str(tmp_path / 'weights'))
  return tmp_path / 'weights'


def sha256(content):
  return hashlib.sha256(content).hexdigest()


RIGHT = catalogue.Checksum('sha256', sha256(CONTENT))


@pytest.fixture
def put(server, home, monkeypatch):
  """Puts a file of the server into the zoo, with other facts if wanted."""

  def change(**facts):
    file = catalogue.File('toy', 'toy.npz', server.address, RIGHT, 'CC BY')
    monkeypatch.setattr(catalogue, 'FILES', (file._replace(**facts),))
    return catalogue.FILES[0]

  change()
  return change


def left(home):
  """What is in the directory."""
  return sorted(path.name for path in home.iterdir())


PARTIAL = ['.toy.npz.json', '.toy.npz.partial']


def break_off(server, home, after):
  """A fetch of which so many bytes arrive, and no more."""
  server.cuts = [after] + [0] * (transfer.TRIES - 1)
  with pytest.raises(UserError, match='broke off'):
    catalogue.fetch('toy')
  assert left(home) == PARTIAL
  assert (home / '.toy.npz.partial').read_bytes() == server.content[:after]
  server.log.clear()


def test_a_file_is_fetched_and_its_checksum_told(server, home, put):
  assert catalogue.fetch('toy') == f'SHA-256 {sha256(CONTENT)}'
  assert left(home) == ['toy.npz']
  assert catalogue.find('toy').read_bytes() == CONTENT
  assert server.log == [(None, 200, len(CONTENT))]


@pytest.mark.parametrize(
  'checksum',
  [
    catalogue.Checksum('sha1', hashlib.sha1(CONTENT).hexdigest()),
    catalogue.Checksum('sha256-prefix', sha256(CONTENT)[:8]),
    None,
  ],
)
def test_every_kind_of_checksum_is_compared(server, home, put, checksum):
  file = put(checksum=checksum, size=len(CONTENT))
  found = catalogue.fetch('toy')
  kind = hashlib.sha1 if 'SHA-1 ' in found else hashlib.sha256
  assert found.split()[1] == kind(CONTENT).hexdigest()
  assert catalogue.verify(file, home / 'toy.npz') == found
  (home / 'toy.npz').write_bytes(OTHER)
  if checksum is None:
    assert catalogue.verify(file, home / 'toy.npz') != found
    return
  with pytest.raises(UserError, match=checksum.value):
    catalogue.verify(file, home / 'toy.npz')


def test_a_file_that_is_here_is_not_fetched_again(server, home, put):
  first = catalogue.fetch('toy')
  before = (home / 'toy.npz').stat()
  server.log.clear()
  assert catalogue.fetch('toy') == first
  assert not server.log
  assert (home / 'toy.npz').stat() == before


def test_progress_is_told_from_start_to_end(server, put):
  told = []
  catalogue.fetch('toy', told.append)
  done = [progress.done for progress in told]
  assert done[0] == 0 and done[-1] == len(CONTENT) and done == sorted(done)
  assert {progress.total for progress in told} == {len(CONTENT)}


def test_a_broken_connection_is_taken_up_with_the_rest(server, home, put):
  server.cuts = [100_000, 150_000]
  told = []
  catalogue.fetch('toy', told.append)
  assert catalogue.find('toy').read_bytes() == CONTENT
  assert server.log == [
    (None, 200, 100_000),
    ('bytes=100000-', 206, 150_000),
    ('bytes=250000-', 206, len(CONTENT) - 250_000),
  ]
  done = [progress.done for progress in told]
  assert done == sorted(done) and done[-1] == len(CONTENT)


def test_the_next_command_takes_up_what_an_earlier_one_kept(server, home, put):
  break_off(server, home, 123_456)
  catalogue.fetch('toy')
  assert server.log == [('bytes=123456-', 206, len(CONTENT) - 123_456)]
  assert server.conditions[-1] == server.tag
  assert catalogue.find('toy').read_bytes() == CONTENT
  assert left(home) == ['toy.npz']


def test_each_try_waits_twice_as_long(server, home, put, monkeypatch):
  pauses = []
  monkeypatch.setattr(transfer, 'PAUSE', 1.5)
  monkeypatch.setattr(transfer.time, 'sleep', pauses.append)
  break_off(server, home, 10)
  assert pauses == [1.5, 3, 6, 12]


def test_without_ranges_the_file_is_fetched_from_its_start(server, home, put):
  server.ranges = False
  server.cuts = [300_000]
  catalogue.fetch('toy')
  assert [entry[1:] for entry in server.log] == [
    (200, 300_000),
    (200, len(CONTENT)),
  ]
  assert catalogue.find('toy').read_bytes() == CONTENT


@pytest.mark.parametrize('careless', [False, True])
@pytest.mark.parametrize('by', ['tag', 'date'])
def test_a_file_that_changed_is_fetched_from_its_start(
  server, home, put, by, careless
):
  server.tag, server.date, server.careless = None, None, careless
  setattr(server, by, 'Mon, 05 Jan 2015 10:00:00 GMT')
  put(checksum=None)
  break_off(server, home, 123_456)
  server.content = OTHER
  setattr(server, by, 'Tue, 06 Jan 2015 10:00:00 GMT')
  catalogue.fetch('toy')
  assert catalogue.find('toy').read_bytes() == OTHER
  assert server.log[-1][1:] == (200, len(OTHER))


def test_a_weak_tag_does_not_join_two_halves(server, home, put):
  server.tag = 'W/"one"'
  put(checksum=None)
  server.cuts = [1000]
  catalogue.fetch('toy')
  assert server.log[-1] == (None, 200, len(CONTENT))


def test_a_server_that_tells_no_version_is_resumed_under_a_checksum(
  server, home, put
):
  server.tag = None
  server.cuts = [1000]
  catalogue.fetch('toy')
  assert server.log[-1] == ('bytes=1000-', 206, len(CONTENT) - 1000)
  assert catalogue.find('toy').read_bytes() == CONTENT


def test_a_shorter_file_after_a_break_is_fetched_from_its_start(
  server, home, put
):
  put(checksum=None)
  break_off(server, home, 123_456)
  server.content = CONTENT[:100]  # under the same tag: Range is past its end
  catalogue.fetch('toy')
  assert [entry[1] for entry in server.log] == [416, 200]
  assert catalogue.find('toy').read_bytes() == CONTENT[:100]


def test_a_download_killed_before_its_last_rename_needs_no_more(
  server, home, put
):
  server.length = False  # so that only 416 tells that all is here
  home.mkdir()
  (home / '.toy.npz.partial').write_bytes(CONTENT)
  source = transfer._Source(server.address, server.tag, None)
  (home / '.toy.npz.json').write_text(json.dumps(source._asdict()))
  catalogue.fetch('toy')
  assert server.log == [(f'bytes={len(CONTENT)}-', 416, 0)]
  assert left(home) == ['toy.npz']


def test_a_part_that_is_all_of_it_is_not_asked_for(server, home, put):
  home.mkdir()
  (home / '.toy.npz.partial').write_bytes(CONTENT)
  source = transfer._Source(server.address, server.tag, len(CONTENT))
  (home / '.toy.npz.json').write_text(json.dumps(source._asdict()))
  catalogue.fetch('toy')
  assert not server.log
  assert left(home) == ['toy.npz']


def test_another_part_than_was_asked_for_is_not_appended(server, home, put):
  break_off(server, home, 1000)
  server.shift = -256  # the content repeats itself after as many bytes
  catalogue.fetch('toy')
  assert [entry[1] for entry in server.log] == [206, 200]
  assert catalogue.find('toy').read_bytes() == CONTENT


@pytest.mark.parametrize('notes', ['', '{', '[]', '{"address": 1}', '\0'])
def test_a_part_of_unknown_origin_is_not_gone_on_from(server, home, put, notes):
  home.mkdir()
  (home / '.toy.npz.partial').write_bytes(b'of something else')
  (home / '.toy.npz.json').write_text(notes)
  catalogue.fetch('toy')
  assert catalogue.find('toy').read_bytes() == CONTENT
  assert server.log == [(None, 200, len(CONTENT))]


def test_a_part_from_another_address_is_not_gone_on_from(server, home, put):
  break_off(server, home, 1000)
  put(address=server.address + '?newer')
  catalogue.fetch('toy')
  assert server.log == [(None, 200, len(CONTENT))]


def test_a_wrong_file_is_refused_with_both_checksums(server, home, put):
  server.content = OTHER
  with pytest.raises(UserError) as raised:
    catalogue.fetch('toy')
  for words in (
    sha256(OTHER),
    sha256(CONTENT),
    f'{catalogue.COMMAND} fetch toy',
  ):
    assert words in str(raised.value)
  assert left(home) == []


def test_a_file_of_another_size_is_refused_before_it_is_fetched(
  server, home, put
):
  put(size=len(CONTENT) + 1)
  with pytest.raises(UserError, match='512000 bytes: expected 512001'):
    catalogue.fetch('toy')
  assert left(home) == []


@pytest.mark.parametrize('length', [False, True])
def test_a_truncated_file_is_refused_and_its_part_kept(
  server, home, put, length
):
  server.length = length
  put(size=len(CONTENT))  # else nothing tells, without a length
  break_off(server, home, 123_456)
  catalogue.fetch('toy')
  assert server.log == [('bytes=123456-', 206, len(CONTENT) - 123_456)]


def test_a_file_short_by_its_checksum_is_refused(server, home, put):
  server.content = CONTENT[:-1]
  with pytest.raises(UserError, match=f'{sha256(CONTENT[:-1])}, 511999 bytes'):
    catalogue.fetch('toy')
  assert left(home) == []


@pytest.mark.parametrize('status', [404, 403, 500, 204])
def test_a_server_without_the_file_is_told_of_at_once(
  server, home, put, status
):
  server.statuses = [status]
  with pytest.raises(UserError, match=f'answers {status} .*by hand'):
    catalogue.fetch('toy')
  assert len(server.log) == 1
  assert left(home) == []


def test_a_passing_fault_does_not_end_a_download(server, home, put):
  break_off(server, home, 1000)
  server.statuses = [503, 429]
  catalogue.fetch('toy')
  assert [entry[1] for entry in server.log] == [503, 429, 206]


def test_a_refused_connection_says_so_and_keeps_the_part(server, home, put):
  with socket.socket() as taken:
    taken.bind(('127.0.0.1', 0))  # and does not listen
    address = f'http://127.0.0.1:{taken.getsockname()[1]}/weights'
    put(address=address)
    with pytest.raises(UserError, match='cannot be reached .*refused'):
      catalogue.fetch('toy')
  assert left(home) == []


def test_a_server_that_falls_silent_is_given_up(server, home, put, monkeypatch):
  monkeypatch.setattr(transfer, 'TIMEOUT', 0.3)
  monkeypatch.setattr(transfer, 'TRIES', 2)
  server.stalls.clear()
  server.cuts = [1000, 1000]
  with pytest.raises(UserError, match='broke off 2 times .*timed out'):
    catalogue.fetch('toy')
  assert (home / PARTIAL[1]).read_bytes() == CONTENT[:2000]


def test_redirections_lead_to_the_web_and_nowhere_else(server, home, put):
  server.statuses, server.location = [302], server.address
  catalogue.fetch('toy')
  assert catalogue.find('toy').read_bytes() == CONTENT
  (home / 'toy.npz').unlink()
  for location in ('file:///etc/passwd', 'ftp://127.0.0.1/weights'):
    server.statuses, server.location = [302], location
    with pytest.raises(UserError, match='302|unknown url type'):
      catalogue.fetch('toy')
    assert left(home) == []


@pytest.mark.parametrize('address', ['file:///etc/passwd', 'ftp://a/b', 'a/b'])
def test_only_addresses_of_the_web_are_fetched(home, put, address):
  put(address=address)
  with pytest.raises(UserError, match='no address of http or https'):
    catalogue.fetch('toy')
  assert left(home) == []


def test_two_processes_do_not_write_one_file(server, home, put):
  home.mkdir()
  with open(home / PARTIAL[1], 'ab') as other:
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(UserError, match='in use'):
      catalogue.fetch('toy')
  catalogue.fetch('toy')
  assert catalogue.find('toy').read_bytes() == CONTENT


def test_a_directory_that_cannot_be_written_is_an_oserror(put, home):
  home.write_text('a file')
  with pytest.raises(OSError) as raised:
    catalogue.fetch('toy')
  assert raised.value.filename == str(home)


def test_nothing_half_written_has_the_final_name(server, home, put):
  seen = []
  server.cuts = [100_000, 200_000]
  catalogue.fetch('toy', lambda progress: seen.append(left(home)))
  assert seen and all(names == PARTIAL for names in seen)


def test_a_missing_file_tells_command_address_and_destination(home):
  for file in catalogue.FILES:
    with pytest.raises(UserError) as raised:
      catalogue.find(file.name)
    for words in (
      f'vizjax weights fetch {file.name}',
      file.address,
      str(home / file.file),
      'by hand',
    ):
      assert words in str(raised.value)


@pytest.mark.skipif(not PUBLISHED.exists(), reason='the files are not there')
@pytest.mark.parametrize('times', ['1x', '2x', '3x'])
def test_published_bounds_are_found_and_verified(home, times):
  name = f'act_range_{times}_fc6'
  content = (PUBLISHED / times / 'fc6.txt').read_bytes()
  home.mkdir()
  catalogue.path(name).write_bytes(content)
  assert left(home) == [f'{name}.txt']  # none of them is called fc6.txt
  assert catalogue.find(name) == home / f'{name}.txt'
  found = catalogue.verify(catalogue.get(name), catalogue.find(name))
  assert found == f'SHA-256 {sha256(content)}'
  catalogue.path(name).write_bytes(content[::-1])
  with pytest.raises(UserError, match=f'expected SHA-256 {sha256(content)}'):
    catalogue.verify(catalogue.get(name), catalogue.find(name))


def test_bounds_are_no_weights_of_a_network(home):
  bounds = [file for file in catalogue.FILES if file.what == 'bounds']
  assert len(bounds) == 3
  home.mkdir()
  for file in bounds:
    with pytest.raises(UserError, match=f'bounds of .*fetch {file.name}'):
      catalogue.find(file.name)
    catalogue.path(file.name).write_text('12 11 13')
    assert catalogue.owner(file.file) is None
    with pytest.raises(UserError, match=f"'{file.name}' is not a network of"):
      models.load(file.name)
    with pytest.raises(UserError, match=f"{file.file}' cannot be read"):
      models.load('bvlc_caffenet', str(catalogue.path(file.name)))


def test_a_file_put_by_hand_is_found_and_verified(home, put):
  file = put(size=len(CONTENT))
  home.mkdir()
  (home / 'toy.npz').write_bytes(CONTENT)
  assert catalogue.find('toy') == home / 'toy.npz'
  assert (
    catalogue.verify(file, catalogue.find('toy'))
    == f'SHA-256 {sha256(CONTENT)}'
  )
  assert catalogue.fetch('toy') == f'SHA-256 {sha256(CONTENT)}'
  assert catalogue.vouches('toy', home / 'toy.npz')
  (home / 'toy.npz').write_bytes(CONTENT[:-1])
  assert not catalogue.vouches('toy', home / 'toy.npz')
  with pytest.raises(UserError, match='511999 bytes; expected .* 512000'):
    catalogue.find('toy')
  (home / 'toy.npz').write_bytes(OTHER)
  with pytest.raises(
    UserError, match=f'delete it and type {catalogue.COMMAND}'
  ):
    catalogue.fetch('toy')
  assert (home / 'toy.npz').read_bytes() == OTHER  # left to its owner


def packed(kind):
  """An archive with two generators and their descriptions."""
  stream = io.BytesIO()
  contents = {
    'release/fc6/generator.caffemodel': b'six',
    'release/fc6/generator.prototxt': b'name: "six"',
    'release/fc7/generator.caffemodel': b'seven',
  }
  if kind == 'zip':
    with zipfile.ZipFile(stream, 'w') as archive:
      for name, content in contents.items():
        archive.writestr(name, content)
  else:
    with tarfile.open(fileobj=stream, mode='w:gz') as archive:
      for name, content in contents.items():
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
  return stream.getvalue()


@pytest.mark.parametrize('kind', ['zip', 'tar'])
def test_weights_in_an_archive_are_unpacked_when_they_are_asked_for(
  home, put, kind
):
  put(member='*fc7/generator.caffemodel')
  home.mkdir()
  (home / 'toy.npz').write_bytes(packed(kind))
  assert catalogue.here('toy')
  assert catalogue.find('toy') == home / 'toy.caffemodel'
  assert catalogue.find('toy').read_bytes() == b'seven'
  assert sorted(p.name for p in home.iterdir()) == ['toy.caffemodel', 'toy.npz']
  (home / 'toy.npz').unlink()  # it is needed no more
  assert catalogue.here('toy')
  assert catalogue.find('toy').read_bytes() == b'seven'


@pytest.mark.parametrize(
  'content, told',
  [
    (packed('zip')[:-40], 'not a zip or tar archive'),
    (packed('tar')[:-30], 'not a zip or tar archive'),
    (b'nothing of the kind', 'not a zip or tar archive'),
    (packed('zip'), r"it has 2 files '\*.caffemodel', expected one"),
  ],
  ids=['cut zip', 'cut tar', 'text', 'two of them'],
)
def test_a_bad_archive_leaves_nothing_behind(home, put, content, told):
  put(member='*.caffemodel')
  home.mkdir()
  (home / 'toy.npz').write_bytes(content)
  with pytest.raises(UserError, match=told):
    catalogue.find('toy')
  assert [p.name for p in home.iterdir()] == ['toy.npz']


def test_an_unknown_name_is_refused_with_the_nearest():
  with pytest.raises(UserError, match="Did you mean 'bvlc_caffenet'"):
    catalogue.path('bvlc_cafenet')


def test_the_directory_is_of_the_environment_or_of_the_user(monkeypatch):
  monkeypatch.setenv('HOME', '/nobody')
  monkeypatch.setenv(catalogue.VARIABLE, '~/here')
  assert str(catalogue.directory()) == '/nobody/here'
  for unset in (
    lambda: monkeypatch.setenv(catalogue.VARIABLE, ''),
    lambda: monkeypatch.delenv(catalogue.VARIABLE),
  ):
    unset()
    assert str(catalogue.directory()) == '/nobody/.cache/vizjax'


DIGITS = {'sha1': 40, 'sha256': 64, 'sha256-prefix': 8}


def test_the_names_and_files_of_the_table_are_each_their_own():
  for field in ('name', 'file', 'address'):
    values = [(getattr(file, field), file.member) for file in catalogue.FILES]
    assert len(set(values)) == len(values)
  assert set(catalogue.NONCOMMERCIAL) < set(catalogue.LICENCES)


@pytest.mark.parametrize('file', catalogue.FILES, ids=lambda file: file.name)
def test_each_row_of_the_table_is_well_formed(file):
  assert file.name.isidentifier()
  assert os.path.basename(file.file) == file.file
  assert re.fullmatch(r'https?://[^\s]+', file.address)
  assert file.what in ('weights', 'bounds')
  published = file.file if file.what == 'weights' else 'fc6.txt'
  assert file.address.endswith('/' + published)
  assert file.licence in catalogue.LICENCES
  assert re.fullmatch(r'(\d\d\.\d+/\d\d\.\d+)?', file.accuracy)
  small = file.what == 'bounds'  # thousands of bytes, not millions
  assert file.size is None or (file.size > 10_000_000) != small
  if file.checksum is not None:
    kind, value = file.checksum
    assert re.fullmatch(f'[0-9a-f]{{{DIGITS[kind]}}}', value)
  if file.checksum is not None and file.checksum.kind == 'sha256-prefix':
    assert file.file.endswith(f'-{file.checksum.value}.pth')
