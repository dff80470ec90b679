"""The door of every launcher: flags in, one line and exit status 2 on error.

And the bar by which it tells how far it is.
"""

from collections.abc import Callable, Iterator
import contextlib
import logging
import os
import signal
import sys
import warnings
from typing import Any

from absl import app
from absl import flags
import jax
import tqdm


def run(
  main: Callable[..., None], *required: str, positional: bool = False
) -> None:
  """Parses the flags, runs `main`, and explains what the user got wrong.

  Args:
    main: reads flags.FLAGS; raises ValueError or OSError for the user.
    required: flags without which it cannot run.
    positional: whether `main` takes the list of what is typed besides flags;
      without it that is refused.
  """

  def parse(argv):
    try:
      _find_config(argv)
      flags.FLAGS.set_gnu_getopt(positional)  # flags after it, too
      rest = flags.FLAGS(argv)
      if len(rest) > 1 and not positional:
        raise ValueError(f'{rest[1]!r} is no flag: type --FLAG=VALUE')
      for name in required:
        if flags.FLAGS[name].value is None:
          raise ValueError(f'--{name} is missing: type --{name}=..., or --help')
      return rest
    except (flags.Error, AttributeError, ValueError, OSError) as error:
      _fail(error)

  def guarded(argv):
    # JAX tells of each kind of device that it does not find.
    logging.getLogger('jax').setLevel(logging.WARNING)
    warnings.showwarning = _warn
    try:
      if positional:
        main(argv[1:])
      else:
        main()
    except (ValueError, OSError) as error:
      _fail(error)
    except (RuntimeError, AssertionError):
      advice = _no_device()
      if advice is None:
        raise
      _fail(ValueError(advice))
    except KeyboardInterrupt as asked:
      print('interrupted: the same command goes on from here', file=sys.stderr)
      sys.stderr.flush()
      # Without waiting for what the device still computes.
      os._exit(128 + (asked.args or (signal.SIGINT,))[0])

  app.run(guarded, flags_parser=parse)


@contextlib.contextmanager
def patient() -> Iterator[Callable[[], None]]:
  """Gives a function that raises KeyboardInterrupt once a stop is asked for.

  By Ctrl-C, or by SIGTERM, as a cluster sends it before it takes a machine
  away. What runs can then stop where it leaves nothing half done; asked a
  second time, it stops at once. The signal is the argument of the exception,
  and the exit status is 128 and its number: 130 or 143.
  """
  asked = []

  def handle(number, frame):
    if asked:
      raise KeyboardInterrupt(number)
    asked.append(number)
    print('stopping after this step; once more: at once', file=sys.stderr)

  def stop():
    if asked:
      raise KeyboardInterrupt(asked[0])

  numbers = (signal.SIGINT, signal.SIGTERM)
  before = [signal.signal(number, handle) for number in numbers]
  try:
    yield stop
  finally:
    for number, handler in zip(numbers, before, strict=True):
      signal.signal(number, handler)


def bar(line: str, **options: Any) -> tqdm.tqdm:
  """A bar on a terminal; elsewhere a line now and then.

  Args:
    line: what the lines hold, as tqdm's bar_format.
    options: of tqdm.
  """
  if not sys.stderr.isatty():
    options |= {'file': _Lines(), 'mininterval': 10, 'bar_format': line}
  return tqdm.tqdm(**options)


class _Lines:
  """Standard error, with each state of a bar on a line of its own."""

  def write(self, text: str) -> None:
    if text.strip():
      print(text.strip(), file=sys.stderr)

  def flush(self) -> None:
    sys.stderr.flush()


def _find_config(argv: list[str]) -> None:
  """A config that is not there fails here, not at its first override."""
  for before, argument in zip(['', *argv], argv, strict=False):
    name, _, value = argument.partition('=')
    path = value if name == '--config' and value else None
    path = argument if before == '--config' else path
    if path is not None and not os.path.isfile(path.split(':')[0]):
      raise ValueError(
        f'config file {path!r} is not there: type --config=FILE.py, '
        'such as --config=configs/demo.py'
      )


def _no_device() -> str | None:
  """What to type where JAX has no device to compute on."""
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:
    return (
      f'JAX_PLATFORMS is {os.environ.get("JAX_PLATFORMS")!r}, of which JAX '
      f'finds no device ({str(error) or "is its package there?"}): type '
      'JAX_PLATFORMS=cpu before the command, or leave it out'
    )
  return None


def _warn(message, category, filename, lineno, file=None, line=None):
  del category, filename, lineno, file, line
  print(f'warning: {message}', file=sys.stderr)


def _fail(error: Exception) -> None:
  if flags.FLAGS.is_parsed() and flags.FLAGS.traceback:
    raise error
  print(' '.join(_explain(error).split()), file=sys.stderr)
  sys.exit(2)


def _explain(error: Exception) -> str:
  if isinstance(error, OSError) and error.filename is not None:
    return (
      f'{str(error.filename)!r} cannot be used ({error.strerror}): '
      'expected a path that exists and that you may use'
    )
  if isinstance(error, AttributeError):  # of a ConfigDict, with a suggestion
    what = error.args[0]
    what = what.args[0] if isinstance(what, KeyError) else what
    return f'the config has no such knob: {what}'
  if 'Traceback' in str(error):  # of a config file, told by ml_collections
    return str(error).strip().splitlines()[-1]
  return str(error)


flags.DEFINE_bool('traceback', False, 'Show where an error comes from.')
