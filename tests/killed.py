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

from experiments import launch
from experiments import run
from vizjax import growth
from vizjax import places
from vizjax import store
from vizjax import sweep

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
places.write = _counting(places.write)
places.change = _counting(places.change)
growth._resized = _counting(growth._resized)
growth._put = _counting(growth._put)
sweep.Progress = _counting(sweep.Progress)


def _main():
  run.main()
  print(_count)


if __name__ == '__main__':
  launch.run(_main, 'config')
