"""Makes a site of a workdir's images.

vizjax atlas --workdir=DIR
... --serve --port=8000              # and shows it to a browser, till Ctrl-C
... --serve --host=0.0.0.0           # of any machine that reaches this one
"""

import errno
import functools
from http import server
import pathlib
import sys

from absl import flags

from vizjax import progress
from vizjax.atlas import site
from vizjax.cli import launch
from vizjax.errors import UserError


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_string('workdir', None, 'Of vizjax run.')
  flags.DEFINE_float(
    'contrast',
    0.5,
    'Percent of values at either end shown as black and white; 0: as stored.',
    lower_bound=0,
    upper_bound=49,
  )
  flags.DEFINE_string('out', None, 'The folder; WORKDIR/atlas unless given.')
  flags.DEFINE_bool('serve', False, 'Show it to browsers, too.')
  flags.DEFINE_integer(
    'port', 8000, 'Of --serve; 0 for any.', lower_bound=0, upper_bound=65535
  )
  flags.DEFINE_string(
    'host', '127.0.0.1', 'Of --serve; 0.0.0.0 for other machines.'
  )
  launch.define_quiet()


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
  """Writes the site, and serves it where that is asked for."""
  if not flags.FLAGS.serve:
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


def start() -> None:
  """Runs the command."""
  launch.run(main, 'workdir', define=define, anew=True)


def _written() -> pathlib.Path:
  f = flags.FLAGS
  line = '{desc}: {n_fmt} of {total_fmt} images, {remaining} left'
  # A small site is written before two seconds have passed.
  with progress.Bars(line, quiet=f.quiet, unit=' images', delay=2) as bars:
    return site.write(
      f.workdir,
      contrast=f.contrast,
      out=f.out,
      report=lambda layer, _, count: bars.of(layer, total=count).update(),
    )


def _server() -> server.ThreadingHTTPServer:
  host, port = flags.FLAGS.host, flags.FLAGS.port
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
