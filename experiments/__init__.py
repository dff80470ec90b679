"""The launchers, each run as `python -m experiments.NAME`."""

import os
import signal
import sys


def _end(number, frame):
  # Not by print, which the signal may have interrupted.
  os.write(2, b'interrupted before it began: type the same command again\n')
  os._exit(128 + number)


# While `python -m experiments.NAME` imports this package, sys.argv[0] is '-m'.
# The imports that follow take seconds; after them `launch.run` answers Ctrl-C.
# A shell lets what it starts in the background ignore Ctrl-C: that stays so.
if sys.argv[:1] == ['-m'] and (
  signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
  signal.signal(signal.SIGINT, _end)
