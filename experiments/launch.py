"""The door of every launcher: flags in, and whose mistake an error is.

What the user can mend is one line and exit status 2. An exception of the user's
own code is its traceback and its place; any other one is a bug of vizjax, and
its traceback asks for a report; both end with exit status 1.

And the bars by which a launcher tells how far it is.
"""

from collections.abc import Callable, Iterator
import contextlib
import importlib.machinery
import importlib.util
import inspect
import logging
import os
import signal
import sys
import traceback
import warnings
from typing import Any, NoReturn

from absl import app
from absl import flags
import jax
from ml_collections import config_dict
from ml_collections import config_flags
import tqdm

from vizjax import errors
from vizjax.errors import UserError

# The text of a bar where there is no terminal, as tqdm's bar_format.
LINE = '{desc}: {n_fmt} of {total_fmt}, {rate_fmt}, {remaining} left'

# Ctrl-C; a cluster that wants its machine; a terminal that closes; Slurm.
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def run(
  main: Callable[..., None],
  *required: str,
  positional: bool = False,
  anew: bool = False,
  knobs: Callable[[], config_dict.ConfigDict] | None = None,
) -> None:
  """Parses the flags, runs `main`, and explains what the user got wrong.

  Args:
    main: reads flags.FLAGS; raises UserError or OSError for the user.
    required: flags without which it cannot run.
    positional: whether `main` takes the list of what is typed besides flags;
      without it that is refused.
    anew: whether the same command begins again after an interruption; without
      it, it goes on.
    knobs: gives a config with every knob that --config must have.
  """

  def parse(argv):
    try:
      argv = [argv[0], *map(_at_home, _expanded(argv[1:]))]
      argv, none = _without_none(argv, _loaded(argv, knobs))
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
    warnings.showwarning = _warn
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
      if _place(error) is None:
        raise
      _fail(error)
    except BaseException as error:
      _fail(error)

  app.run(guarded, flags_parser=parse)


def define_config() -> flags.FlagHolder:
  """The flag --config of a launcher: a file, and overrides of its knobs."""
  try:
    return config_flags.DEFINE_config_file(
      'config',
      None,
      'A file of configs/, and overrides as --config.KNOB=VALUE.',
    )
  except flags.Error as error:  # of a --flagfile, which is read here
    _fail(UserError(_explain(error)))
  except UnicodeDecodeError:
    _fail(UserError('--flagfile is not text: expected a flag a line'))


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
  ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
  numbers = [n for n in _STOPS if n != signal.SIGHUP or not ignored]
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
  signal.signal(signal.SIGALRM, lambda _, frame: _raise(number, frame))
  signal.setitimer(signal.ITIMER_REAL, 0.01)


class Bars:
  """A bar for each part of some work; one is open at a time.

    with launch.Bars(unit=' images') as bars:
      bars.of('photographs', total=100).update(32)

  Args:
    line: as of `bar`.
    options: of tqdm, the same for every part.
  """

  def __init__(self, line: str = LINE, **options: Any):
    self.line, self.options = line, options
    self.part = self.bar = None

  def __enter__(self) -> 'Bars':
    return self

  def __exit__(self, *raised: Any) -> None:
    self.close()

  def of(self, part: str, **options: Any) -> tqdm.tqdm:
    """Returns the bar of a part; a new part closes the bar of the last one.

    Args:
      part: what the bar is of, as tqdm's `desc`.
      options: of tqdm, for the bar of a new part.
    """
    if part != self.part:
      self.close()
      self.part = part
      self.bar = bar(self.line, desc=part, **self.options, **options)
    return self.bar

  def close(self) -> None:
    """Closes the bar that is open, if any."""
    if self.bar is not None:
      self.bar.close()
    self.part = self.bar = None


def bar(line: str = LINE, **options: Any) -> tqdm.tqdm:
  """Returns a bar on a terminal; elsewhere a line now and then.

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
    # tqdm writes '?' for a rate or a time that is not known yet.
    parts = text.strip().split(', ')
    if known := ', '.join(p for p in parts if not p.startswith('?')):
      print(known, file=sys.stderr)

  def flush(self) -> None:
    sys.stderr.flush()


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


def _loaded(
  argv: list[str], knobs: Callable[[], config_dict.ConfigDict] | None
) -> config_dict.ConfigDict | None:
  """The config that --config names, before its overrides; None without one.

  ml_collections loads it again; it keeps errors to itself until a field is
  read, and reports neither their place nor what is missing.

  Raises:
    UserError: the file is not there, raises something, or lacks knobs.
  """
  path = None
  for before, argument in zip(['', *argv], argv, strict=False):
    name, _, value = argument.partition('=')
    path = value if name in ('--config', '-config') and value else path
    path = argument if before in ('--config', '-config') else path
  if path is None:
    return None
  file, *argument = path.split(':', 1)
  if not os.path.isfile(file):
    kind = 'is not there'
    if os.path.exists(file):
      kind = 'is a folder' if os.path.isdir(file) else 'is a pipe or a device'
    raise UserError(
      f'config file {path!r} {kind}: type --config=FILE.py, '
      'such as --config=configs/demo.py'
    )
  try:
    config = _get_config(file, *argument)
  except (UserError, SyntaxError, SystemExit) as error:
    raise UserError(_at_place(error, file)) from error
  lacks = _lacks(config, knobs) if knobs else ''
  if lacks:
    raise UserError(
      f'{file}: get_config() returns {lacks}: expected all knobs; begin with '
      f'config = {_public(knobs)}(), change some, and '
      'type return config'
    )
  return config


def _public(function: Callable) -> str:
  """The name that people type for a function of a package of vizjax."""
  package = function.__module__.rpartition('.')[0]
  given = getattr(sys.modules[package], function.__name__, None)
  module = package if given is function else function.__module__
  return f'{module}.{function.__name__}'


def _get_config(file: str, *argument: str) -> Any:
  """Returns the config that a file makes."""
  loader = importlib.machinery.SourceFileLoader('config_config', file)
  spec = importlib.util.spec_from_loader(loader.name, loader)
  module = importlib.util.module_from_spec(spec)
  loader.exec_module(module)
  if not hasattr(module, 'get_config'):
    raise UserError(
      'the file has no function get_config, which returns the config, as in '
      'configs/demo.py'
    )
  try:
    inspect.signature(module.get_config).bind(*argument)
  except TypeError as error:
    typed = ':'.join(['', *argument])
    raise UserError(
      f'get_config() does not take {typed!r} ({error}): type --config={file}'
      f'{"" if argument else ":VARIANT"}'
    ) from error
  return module.get_config(*argument)


def _lacks(config: Any, knobs: Callable[[], config_dict.ConfigDict]) -> str:
  """Why an object is not a whole config; '' if it is."""
  if not isinstance(config, config_dict.ConfigDict):
    return f'{config!r:.60}, which is no ConfigDict'
  missing = sorted({*knobs()} - {*config})
  more = ', ...' if len(missing) > 3 else ''
  return missing and f'a config without {", ".join(missing[:3])}{more}'


def _at_place(error: BaseException, file: str) -> str:
  """FILE:LINE where a config file raised an error, and the error."""
  if isinstance(error, SyntaxError):
    return f'{error.filename or file}:{error.lineno or 1}: {error.msg}'
  frames = traceback.extract_tb(error.__traceback__)
  at = os.path.abspath(file)
  lines = [f.lineno for f in frames if os.path.abspath(f.filename) == at]
  place = f'{file}:{lines[-1]}' if lines else file
  if isinstance(error, SystemExit):
    return (
      f'{place}: sys.exit({error.code!r}) would end the program: expected '
      'get_config() to return a config; remove this call'
    )
  return f'{place}: {error}'


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


def _place(error: BaseException) -> str | None:
  """Returns FILE:LINE of the user's own code that raised an error, or None."""
  return errors.place(error, os.path.dirname(os.path.abspath(__file__)))


def _fail(error: BaseException) -> NoReturn:
  """Tells what went wrong and whose mistake it is, and ends the process."""
  place = _place(error)
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


flags.DEFINE_bool('traceback', False, 'Show where an error comes from.')
