"""Makes the site of a workdir; the last line printed is where to look.

python -m experiments.atlas --workdir=DIR
... --serve --port=8000              # and shows it to a browser, till Ctrl-C
... --serve --host=0.0.0.0           # of any machine that reaches this one
"""

import errno
import functools
from http import server
import pathlib
import sys

from absl import flags

from experiments import launch
from vizjax.atlas import site
from vizjax.errors import UserError

_WORKDIR = flags.DEFINE_string('workdir', None, 'Of experiments.run.')
_CONTRAST = flags.DEFINE_float(
  'contrast',
  0.5,
  'Percent of values at either end shown as black and white; 0: as stored.',
  lower_bound=0,
  upper_bound=49,
)
_OUT = flags.DEFINE_string(
  'out', None, 'The folder; WORKDIR/atlas unless given.'
)
_SERVE = flags.DEFINE_bool('serve', False, 'Show it to browsers, too.')
_PORT = flags.DEFINE_integer(
  'port', 8000, 'Of --serve; 0 for any.', lower_bound=0, upper_bound=65535
)
_HOST = flags.DEFINE_string(
  'host', '127.0.0.1', 'Of --serve; 0.0.0.0 for other machines.'
)


class _Handler(server.SimpleHTTPRequestHandler):
  """Files of a folder; what is read is not told line by line."""

  def log_message(self, *arguments):
    del arguments


class _Server(server.ThreadingHTTPServer):
  """Says nothing of a browser that closes a connection."""

  def handle_error(self, request, client_address):
    if not isinstance(sys.exception(), ConnectionError):
      super().handle_error(request, client_address)


def main() -> None:
  if not _SERVE.value:
    print(_written())
    return
  # A port that is taken is told before the pages are made.
  with _server() as serving:
    index = _written()
    serving.RequestHandlerClass = functools.partial(
      _Handler, directory=str(index.parent)
    )
    print(index)
    host, port = serving.server_address[:2]
    print(f'http://{host}:{port}/ until Ctrl-C', flush=True)
    try:
      serving.serve_forever()
    except KeyboardInterrupt as asked:
      print('stopped; the site stays where it is', file=sys.stderr)
      sys.exit(128 + asked.args[0])


def _written() -> pathlib.Path:
  line = '{desc}: {n_fmt} of {total_fmt} images, {remaining} left'
  # A small site is written before two seconds have passed.
  with launch.Bars(line, unit=' images', delay=2) as bars:
    return site.write(
      _WORKDIR.value,
      contrast=_CONTRAST.value,
      out=_OUT.value,
      report=lambda layer, _, count: bars.of(layer, total=count).update(),
    )


def _server() -> server.ThreadingHTTPServer:
  host, port = _HOST.value, _PORT.value
  try:
    return _Server((host, port), _Handler)
  except OSError as error:
    why = 'another program has it' if _taken(error) else error.strerror
    raise UserError(
      f'--host={host} --port={port} cannot be listened on ({why}): type '
      'another --port, as --port=8001, or 0 for any'
    ) from None


def _taken(error: OSError) -> bool:
  return error.errno == errno.EADDRINUSE


if __name__ == '__main__':
  launch.run(main, 'workdir', anew=True)
