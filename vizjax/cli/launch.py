"""Starts a subcommand: parses its flags, and tells whose mistake an error is.

What the user can mend is one line and exit status 2. An exception of the user's
own code is its traceback and its place; any other one is a bug of vizjax, and
its traceback asks for a report; both end with exit status 1.
"""

import _thread
from collections.abc import Callable, Iterator
import contextlib
import inspect
import logging
import os
import pathlib
import signal
import sys
import textwrap
import threading
import traceback
import warnings
from typing import Any, NoReturn

from absl import app
from absl import flags
import jax
from ml_collections import config_dict
from ml_collections import config_flags

from vizjax import errors
from vizjax import recipes
from vizjax.errors import UserError

# Ctrl-C; a cluster that wants its machine; a terminal that closes; Slurm.
# Windows lacks the last two.
_STOPS = tuple(
  getattr(signal, name)
  for name in ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1')
  if hasattr(signal, name)
)

_INDENTS = ('initial_indent', 'subsequent_indent')

_HELP = ('--help', '-help', '-h', '-?', '--helpshort', '-helpshort')


def run(
  main: Callable[..., None],
  *required: str,
  define: Callable[[], None] = lambda: None,
  positional: bool = False,
  anew: bool = False,
  knobs: Callable[[], config_dict.ConfigDict] | None = None,
) -> None:
  """Parses the flags, runs `main`, and explains what the user got wrong.

  Args:
    main: reads flags.FLAGS; raises UserError or OSError for the user. --help
      shows the docstring of its module.
    required: flags without which it cannot run.
    define: defines the flags. Modules define none when they are imported, so
      that several can be.
    positional: whether `main` takes the list of what is typed besides flags;
      without it that is refused.
    anew: whether the same command begins again after an interruption; without
      it, it goes on.
    knobs: gives a config with every knob that --config must have.
  """

  def parse(argv):
    try:
      warnings.showwarning = _warn
      argv = [argv[0], *map(_at_home, _expanded(argv[1:]))]
      sys.argv = argv  # where ml_collections looks for overrides
      own = _defined(define)
      if {*argv} & {*_HELP}:
        print(_help(main, own))
        sys.exit()
      argv, config = _located(argv, knobs)
      argv, none = _without_none(argv, config)
      flags.FLAGS.set_gnu_getopt(positional)  # flags after it, too
      rest = _parsed(argv)
      if len(rest) > 1 and not positional:
        raise UserError(f'{rest[1]!r} is no flag: type --FLAG=VALUE')
      for name in required:
        if flags.FLAGS[name].value is None:
          raise UserError(f'--{name} is missing: type --{name}=..., or --help')
      for knob in none:
        flags.FLAGS.config[knob] = None
      return rest
    except KeyboardInterrupt as asked:
      _interrupted(asked, anew)
    except Exception as error:
      _fail(error)

  def guarded(argv):
    # JAX tells of each kind of device that it does not find.
    logging.getLogger('jax').setLevel(logging.WARNING)
    sys.unraisablehook = _again
    try:
      with _answering(_raise):
        if positional:
          main(argv[1:])
        else:
          main()
    except KeyboardInterrupt as asked:
      _interrupted(asked, anew)
    except (RuntimeError, AssertionError) as error:
      advice = _no_device()
      _fail(error if advice is None else UserError(advice))
    except SystemExit as error:
      if errors.place(error) is None:
        raise
      _fail(error)
    except BaseException as error:
      _fail(error)

  app.run(guarded, flags_parser=parse)


def define_config() -> None:
  """Defines --config, the recipe of a subcommand, and its overrides."""
  config_flags.DEFINE_config_file(
    'config',
    None,
    f'{", ".join(recipes.names())}, or FILE.py; NAME:VARIANT of those that '
    'have variants. --config.KNOB=VALUE sets a knob.',
  )


def define_quiet() -> None:
  """Defines --quiet, of a subcommand that shows how far it is."""
  flags.DEFINE_bool('quiet', False, 'Show no progress.')


def source() -> str:
  """Returns the text of the file that --config names."""
  typed = config_flags.get_config_filename(flags.FLAGS['config'])
  file, _ = recipes.split(typed)
  # Python accepts comments in any encoding.
  return pathlib.Path(file).read_text('utf-8', errors='replace')


@contextlib.contextmanager
def patient() -> Iterator[Callable[[], None]]:
  """Gives a function that raises KeyboardInterrupt once a stop is asked for.

  By Ctrl-C, by SIGTERM or SIGUSR1, as a cluster sends them before it takes a
  machine away, or by SIGHUP, when a terminal is closed. What runs can then stop
  where it leaves nothing half done; asked a second time, it stops at once. The
  signal is the argument of the exception, and the exit status is 128 and its
  number: 130 for Ctrl-C, 143 for SIGTERM.
  """
  asked = []

  def handle(number, frame):
    if asked:
      raise KeyboardInterrupt(number)
    asked.append(number)
    with contextlib.suppress(OSError):  # of a terminal that has gone
      # Not by print, which a signal may have interrupted.
      os.write(2, b'stopping after this step; once more: at once\n')

  def stop():
    if asked:
      raise KeyboardInterrupt(asked[0])

  with _answering(handle):
    yield stop


@contextlib.contextmanager
def _answering(handle: Callable[[int, Any], None]) -> Iterator[None]:
  """Lets `handle` answer the signals that ask for a stop."""
  # nohup ignores SIGHUP: what it starts outlives its terminal.
  closes = getattr(signal, 'SIGHUP', None)
  ignored = closes and signal.getsignal(closes) == signal.SIG_IGN
  numbers = [n for n in _STOPS if n != closes or not ignored]
  before = [signal.signal(number, handle) for number in numbers]
  try:
    yield
  finally:
    for number, handler in zip(numbers, before, strict=True):
      signal.signal(number, handler)


def _raise(number, frame):
  raise KeyboardInterrupt(number)


def _again(dropped: Any) -> None:
  """Raises a dropped KeyboardInterrupt once more, a little later.

  Python drops what is raised in destructors and in callbacks of its garbage
  collector, of which JAX has one; the program would go on.
  """
  if dropped.exc_type is not KeyboardInterrupt:
    sys.__unraisablehook__(dropped)
    return
  number, *_ = dropped.exc_value.args
  if hasattr(signal, 'SIGALRM'):
    signal.signal(signal.SIGALRM, lambda _, frame: _raise(number, frame))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
  else:  # on Windows
    threading.Timer(0.01, _thread.interrupt_main, [number]).start()


def _defined(define: Callable[[], None]) -> list[flags.Flag]:
  """Defines the flags of a subcommand, and returns them in their order."""
  before = {*flags.FLAGS}
  define()
  flags.DEFINE_bool('traceback', False, 'Show where an error comes from.')
  return [flags.FLAGS[name] for name in flags.FLAGS if name not in before]


def _help(main: Callable[..., None], own: list[flags.Flag]) -> str:
  """Returns what --help shows: the docstring of a subcommand, and its flags."""
  lines = [inspect.getdoc(sys.modules[main.__module__]) or '', '', 'Flags:']
  for flag in own:
    text = flag.help
    if flag.default not in (None, False, ''):
      text = f'{text} Default: {flag.default}.'
    lines.append(f'  --{"[no]" * flag.boolean}{flag.name}')
    lines += textwrap.wrap(text, 80, **dict.fromkeys(_INDENTS, ' ' * 6))
  return '\n'.join(lines)


def _expanded(argv: list[str]) -> list[str]:
  """The arguments, with those of each --flagfile in its place."""
  try:
    return flags.FLAGS.read_flags_from_files(argv, force_gnu=False)
  except (flags.Error, UnicodeDecodeError) as error:
    raise UserError(_explain(error)) from error


def _parsed(argv: list[str]) -> list[str]:
  """Gives every flag its value; returns what is typed besides flags.

  Raises:
    UserError: a flag or a knob that is not known, or a value that is not its.
  """
  try:
    rest = flags.FLAGS(argv)
  # absl and ml_collections say by these what is wrong with an argument.
  except (
    flags.Error,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
  ) as error:
    raise UserError(_explain(error)) from error
  for name in flags.FLAGS:
    if flags.FLAGS[name].value != flags.FLAGS[name].value:
      raise UserError(f'--{name} is nan, expected a number')
  return rest


def _at_home(argument: str) -> str:
  """--FLAG=~/FILE as the shell would have it: it expands a leading ~ alone."""
  flag, equals, value = argument.partition('=~')
  if equals and flag.startswith('-') and '=' not in flag:
    return f'{flag}={os.path.expanduser("~" + value)}'
  return argument


def _located(
  argv: list[str], knobs: Callable[[], config_dict.ConfigDict] | None
) -> tuple[list[str], config_dict.ConfigDict | None]:
  """Finds the recipe that --config names.

  ml_collections takes paths alone. It keeps errors to itself until a knob is
  read, and reports neither their place nor what is missing, so the config is
  loaded here before.

  Returns:
    The arguments with the path of the recipe's file, and the config before its
    overrides; None where --config is not typed.

  Raises:
    UserError: as of `recipes.load`.
  """
  argv, config = list(argv), None
  for i, argument in enumerate(argv):
    flag, equals, name = argument.partition('=')
    at = i if equals else i + 1
    if flag not in ('--config', '-config') or at == len(argv):
      continue
    path = _path(name if equals else argv[at])
    config = recipes.load(path, knobs, '--config')
    argv[at] = f'{flag}={path}' if equals else path
  return argv, config


def _path(name: str) -> str:
  """Returns FILE.py or FILE.py:ARGUMENT of a recipe, for ml_collections."""
  path = str(recipes.find(name, '--config'))
  if ':' in path:  # ml_collections would read an argument
    path = os.path.relpath(path)
  _, argument = recipes.split(name)
  return path if argument is None else f'{path}:{argument}'


def _without_none(
  argv: list[str], config: config_dict.ConfigDict | None
) -> tuple[list[str], list[str]]:
  """The arguments without --config.KNOB=none, and these knobs.

  Of knobs that may be None, which ml_collections cannot say: it would read a
  text, or a number.
  """
  rest, none = [], []
  for argument in argv:
    name, _, value = argument.partition('=')
    knob = name.partition('config.')[2] if name.startswith('-') else ''
    if config and knob in config and value.lower() == 'none':
      before, config[knob] = config[knob], None
      optional = before is None or config.get_type(knob) is not type(None)
      if optional:
        none.append(knob)
        continue
      config[knob] = before
      if not isinstance(before, str):
        raise UserError(
          f'{argument} is not possible: expected a value, as {name}={before}'
        )
    rest.append(argument)
  return rest, none


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


def _fail(error: BaseException) -> NoReturn:
  """Tells what went wrong and whose mistake it is, and ends the process."""
  place = errors.place(error)
  of_machine = isinstance(error, (OSError, MemoryError)) and place is None
  if isinstance(error, UserError) or of_machine:
    parsed = flags.FLAGS.is_parsed()
    if flags.FLAGS.traceback if parsed else '--traceback' in sys.argv:
      traceback.print_exception(error)
    print(' '.join(_explain(error).split()), file=sys.stderr)
    _leave(2)
  traceback.print_exception(error)
  if place is None:
    print(
      'This is a bug of vizjax: please report it, with the command and the '
      'lines above.',
      file=sys.stderr,
    )
  else:
    # format_exception_only also serves an error whose __str__ fails.
    said = ''.join(traceback.format_exception_only(error))
    for note in getattr(error, '__notes__', ()):  # such as JAX's on tracebacks
      said = said.replace(str(note), '')
    print(f'in your {place}: {" ".join(said.split())}', file=sys.stderr)
  _leave(1)


def _interrupted(asked: KeyboardInterrupt, anew: bool) -> NoReturn:
  then = 'starts anew' if anew else 'goes on from here'
  with contextlib.suppress(OSError):  # of a terminal that has gone
    print(f'interrupted: the same command {then}', file=sys.stderr)
  _leave(128 + (asked.args or (signal.SIGINT,))[0])


def _leave(status: int) -> NoReturn:
  """Ends the process without waiting for the device and for other threads.

  The interpreter would wait until the next layer is compiled, for minutes.
  """
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError):  # of a reader that has gone
      stream.flush()
  os._exit(status)


def _explain(error: BaseException) -> str:
  if isinstance(error, UserError):
    return str(error)
  if isinstance(error, MemoryError):
    return (
      f'there is not enough memory ({error}): type a smaller --config.shape, '
      '--config.batch or --batch'
    )
  if isinstance(error, flags.IllegalFlagValueError):
    return _illegal(error)
  if str(error).startswith('Missing value for flag'):  # of absl
    return f'{error}: type {str(error).split()[-1]}=VALUE'
  if isinstance(error, FileExistsError) and error.filename is not None:
    return (
      f'{str(error.filename)!r} is a file: expected a folder, or a path where '
      'nothing is yet'
    )
  if isinstance(error, OSError) and error.filename is not None:
    return (
      f'{str(error.filename)!r} cannot be used ({error.strerror}): '
      'expected a path that exists and that you may use'
    )
  if isinstance(error, flags.CantOpenFlagFileError):
    why = str(error).removeprefix('ERROR:: ')
    return f'{why}: expected --flagfile=FILE with a flag a line'
  if isinstance(error, AttributeError):  # of a ConfigDict, with a suggestion
    what = error.args[0]
    what = what.args[0] if isinstance(what, KeyError) else what
    return f'the config has no such knob: {what}'
  return str(error)


def _illegal(error: flags.IllegalFlagValueError) -> str:
  """Says in words that the value of a flag is not of its type."""
  text = str(error)
  name = text.removeprefix('flag --').partition('=')[0]
  if not text.startswith('flag --') or name not in flags.FLAGS:
    return text
  # absl ends its message with the error of the parser.
  value = text[len(f'flag --{name}=') : -len(f': {error.__context__}')]
  flag = flags.FLAGS[name]
  kind, parser = flag.flag_type(), flag.parser
  if kind == 'bool':
    expected, typed = 'true or false', f'true or --{name}=false'
  elif kind in ('int', 'float'):
    expected = parser.syntactic_help
    typed = _number(value, kind, parser, flag.default)
  elif kind == 'string enum':
    expected = f'one of {", ".join(parser.enum_values)}'
    near = errors.nearest(value, parser.enum_values)
    typed = near or parser.enum_values[0]
  else:
    return text
  return f'--{name} is {value!r}, expected {expected}: type --{name}={typed}'


def _number(value: str, kind: str, parser: Any, default: Any) -> str:
  """A number that a flag takes: what 1e3 means, the default, or the least."""
  if kind == 'int':
    with contextlib.suppress(ValueError, OverflowError):
      whole = int(float(value))
      if whole == float(value) and not parser.is_outside_bounds(whole):
        return str(whole)
  if default is None:
    return str(1 if parser.lower_bound is None else parser.lower_bound)
  return str(default)
