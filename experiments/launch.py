"""The door of every launcher: flags in, one line and exit status 2 on error."""

from collections.abc import Callable
import logging
import os
import sys

from absl import app
from absl import flags


def run(main: Callable[[], None], *required: str) -> None:
  """Parses the flags, runs `main`, and explains what the user got wrong.

  Args:
    main: reads flags.FLAGS; raises ValueError or OSError for the user.
    required: flags without which it cannot run.
  """

  def parse(argv):
    try:
      rest = flags.FLAGS(argv)
      if len(rest) > 1:
        raise ValueError(f'{rest[1]!r} is no flag: type --FLAG=VALUE')
      for name in required:
        # Reading a config reads its file.
        if flags.FLAGS[name].value is None:
          raise ValueError(f'--{name} is missing; see --help')
      return rest
    except (
      flags.Error,
      AttributeError,
      KeyError,
      ValueError,
      OSError,
    ) as error:
      _fail(error)

  def guarded(argv):
    del argv
    # JAX tells of each kind of device that it does not find.
    logging.getLogger('jax').setLevel(logging.WARNING)
    try:
      main()
    except (ValueError, OSError) as error:
      _fail(error)
    except KeyboardInterrupt:
      print('interrupted: the same command goes on from here', file=sys.stderr)
      os._exit(130)  # without waiting for what the device still computes

  app.run(guarded, flags_parser=parse)


def _fail(error: Exception) -> None:
  if flags.FLAGS.is_parsed() and flags.FLAGS.traceback:
    raise error
  text = error.args[0] if isinstance(error, KeyError) else error
  print(' '.join(str(text).split()), file=sys.stderr)
  sys.exit(2)


flags.DEFINE_bool('traceback', False, 'Show where an error comes from.')
