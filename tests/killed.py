"""Runs a launcher and kills it without warning at the n-th event.

  python killed.py N --config=... --workdir=...

An event is anything after which the state on disk may be another: an array
made or made longer, the rows of one field handed over, a file, a step. With
N = 0 it runs to its end and says how many there were.
"""

import os
import signal
import sys

import numpy as np

from vizjax.cli import launch
from vizjax.cli import run
from vizjax.sweeps import growth
from vizjax.sweeps import sweep
from vizjax.workdir import folders
from vizjax.workdir import store

_last = int(sys.argv.pop(1))
_count = 0


def _counting(function):
  def counted(*args, **kwargs):
    global _count
    _count += 1
    if _count == _last:
      os.kill(os.getpid(), signal.SIGKILL)
    return function(*args, **kwargs)

  return counted


class _Numpy:
  """NumPy, whose `asarray` is called once for each field that is written."""

  def __getattr__(self, name):
    return getattr(np, name)

  asarray = staticmethod(_counting(np.asarray))


store.np = _Numpy()
store._metadata = _counting(store._metadata)
folders.write = _counting(folders.write)
folders.change = _counting(folders.change)
growth._resized = _counting(growth._resized)
growth._put = _counting(growth._put)
sweep.Progress = _counting(sweep.Progress)


def _main():
  run.main()
  print(_count)


if __name__ == '__main__':
  launch.run(_main, 'config', define=run.define)
