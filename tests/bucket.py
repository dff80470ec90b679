"""A Google Cloud Storage bucket in memory, behind a local HTTP server.

What the `gs://` driver of TensorStore needs of the JSON API, one bucket for
all names: https://cloud.google.com/storage/docs/json_api/v1/objects
"""

import contextlib
import http
import http.server
import json
import re
import threading
import urllib.parse

_PATH = re.compile(r'(?:/upload)?/storage/v1/b/[^/]+/o(?:/(?P<key>.+))?')


@contextlib.contextmanager
def serving():
  """An empty `Bucket` that answers until the block ends."""
  with Bucket(('127.0.0.1', 0), _Handler) as served:
    serve = lambda: served.serve_forever(poll_interval=0.01)  # seconds
    threading.Thread(target=serve, daemon=True).start()
    try:
      yield served
    finally:
      served.shutdown()


class Bucket(http.server.ThreadingHTTPServer):
  """The objects, and who may have them.

  Attributes:
    address: such as 'http://127.0.0.1:8080'.
    environment: the variables that direct a process's `gs://` here.
    objects: key -> (generation, bytes); generations count up from 1.
    refuse: None, or called with (method, key) before each request, where the
      key of a listing is ''; an HTTP status that it returns is the answer.
    page: the most keys in one answer to a listing.
  """

  # TensorStore opens 32 at once; one that finds no place waits a second.
  request_queue_size = 128

  def __init__(self, *args):
    super().__init__(*args)
    self.address = f'http://127.0.0.1:{self.server_port}'
    self.environment = {
      'TENSORSTORE_GCS_HTTP_URL': self.address,
      'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'any',  # so that none is looked for
      'no_proxy': '127.0.0.1',
    }
    self.objects, self.refuse, self.page = {}, None, 1000
    self._generation, self._lock = 0, threading.Lock()

  def answer(self, method, key, query, headers, body):
    """The status, headers and content with which a request is answered."""
    status = self.refuse(method, key) if self.refuse is not None else None
    if status is not None:
      return _json(status)
    with self._lock:
      if method == 'GET' and not key:
        return _json(200, self._listed(query))
      generation, content = self.objects.get(key, (0, b''))
      if int(query.get('ifGenerationMatch', generation)) != generation:
        return _json(412)
      if method == 'POST':
        self._generation += 1
        self.objects[key] = (self._generation, body)
        return _json(200, _metadata(key, *self.objects[key]))
      if not generation:
        return _json(404)
      if method == 'DELETE':
        del self.objects[key]
        return 204, {}, b''
    if int(query.get('ifGenerationNotMatch', 0)) == generation:
      return 304, {}, b''
    if query.get('alt') != 'media':
      return _json(200, _metadata(key, generation, content))
    return _media(generation, content, headers['Range'])

  def _listed(self, query):
    token = bytes.fromhex(query.get('pageToken', '')).decode()
    first = max(query.get('startOffset', ''), token)
    keys = [k for k in sorted(self.objects) if k >= first]
    keys = [k for k in keys if k.startswith(query.get('prefix', ''))]
    if 'endOffset' in query:
      keys = [k for k in keys if k < query['endOffset']]
    page, rest = keys[: self.page], keys[self.page :]
    listed = {'items': [_metadata(k, *self.objects[k]) for k in page]}
    if rest:  # in hexadecimal, for TensorStore sends it back unquoted
      listed['nextPageToken'] = rest[0].encode().hex()
    return listed


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'  # for `Expect: 100-continue`

  def handle(self):
    with contextlib.suppress(ConnectionError):  # a client that was killed
      super().handle()

  def do_GET(self):
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    length = int(self.headers.get('Content-Length', 0))
    body = self.rfile.read(length)
    match, answer = _PATH.fullmatch(url.path), _json(400)
    if match is not None and len(body) == length:
      key = urllib.parse.unquote(match['key'] or '') or query.get('name', '')
      answer = self.server.answer(self.command, key, query, self.headers, body)
    status, headers, content = answer
    self.send_response(status)
    # One request each, so that none is answered after the end.
    close = {'Connection': 'close', 'Content-Length': len(content)}
    for name, value in (headers | close).items():
      self.send_header(name, str(value))
    self.end_headers()
    self.wfile.write(content)

  do_POST = do_DELETE = do_GET

  def log_message(self, *args):
    pass


def _media(generation, content, span):
  """All of an object, or 'bytes=1-2', 'bytes=1-' or 'bytes=-2' of it."""
  headers, size = {'x-goog-generation': generation}, len(content)
  if span is None:
    return 200, headers, content
  first, last = re.fullmatch(r'bytes=(\d*)-(\d*)', span).groups()
  start = int(first) if first else max(size - int(last), 0)
  stop = min(int(last) + 1, size) if first and last else size
  if start >= stop:
    return _json(416)
  headers['Content-Range'] = f'bytes {start}-{stop - 1}/{size}'
  return 206, headers, content[start:stop]


def _metadata(key, generation, content):
  return {'name': key, 'generation': str(generation), 'size': str(len(content))}


def _json(status, value=None):
  """An answer in JSON; without a value, the error of that status."""
  if value is None:
    error = {'code': status, 'message': http.HTTPStatus(status).phrase}
    value = {'error': error}
  return status, {}, json.dumps(value).encode()
