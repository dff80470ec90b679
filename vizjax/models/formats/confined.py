"""HDF5 files, read in a process of its own with limits of time and memory.

libhdf5 loops for ever on some damaged files, and crashes on others. One process
reads file after file; it is replaced when it dies or takes too long.
"""

import atexit
import io
import json
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np

from vizjax import files
from vizjax.errors import UserError
from vizjax.models.formats import hdf5

START = 60  # seconds
SECONDS = 5  # for a file, and one more for each PACE bytes
PACE = 20 * 2**20  # slower than any disk from which one would work
MEMORY = 2**30  # bytes for a file, and some for each of its bytes
COPIES = 4

_lock = threading.Lock()
_processes = {}  # {id of this process: its reader}; a fork has another id


def arrays(
  path: files.Path, size: int, bound: int
) -> list[tuple[str, str, np.ndarray]]:
  """(layer, weight, array) of the weights in a Keras HDF5 file.

  Args:
    path: of the file.
    size: its bytes.
    bound: how many bytes of arrays it may hold.

  Raises:
    UserError: it is damaged, or libhdf5 hangs or crashes on it.
  """
  seconds = SECONDS + size // PACE
  request = {
    'path': os.path.abspath(path),
    'size': size,
    'bound': bound,
    'memory': MEMORY + COPIES * size,
    'seconds': seconds,
  }
  with _lock:
    process, late = _reader(), threading.Event()
    timer = _killing(process, seconds, late)
    try:
      requests, _ = _pipes(process)
      requests.write(json.dumps(request).encode() + b'\n')
      requests.flush()
      found, last = _answers(process, bound)
    except (OSError, EOFError):
      process.wait()
      _stop()
      said = f'crashes on it (status {process.returncode})'
      if late.is_set():
        said = f'does not finish reading it within {seconds} s'
      raise UserError(f'libhdf5 {said}') from None
    except BaseException:
      _stop()
      raise
    finally:
      timer.cancel()
    if last['leaves']:
      _stop()
  if last['error']:
    kind = files.NotRead if last['not_read'] else UserError
    raise kind(last['error'])
  return found


def _reader() -> subprocess.Popen:
  """The reader of this process, which is started unless it is there."""
  process = _processes.get(os.getpid())
  if process is None or process.poll() is not None:
    _stop()
    process = _processes[os.getpid()] = subprocess.Popen(
      # Not from its folder, where modules have names such as torch.
      [sys.executable, '-P', hdf5.__file__],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      env={**os.environ, 'OPENBLAS_NUM_THREADS': '1'},
    )
    timer = _killing(process, START, threading.Event())
    started = _pipes(process)[1].readline() == hdf5.READY
    timer.cancel()
    if not started:
      _stop()
      raise UserError(
        f'the program that reads HDF5 does not start: type {sys.executable} '
        f'-P {hdf5.__file__} to see why'
      )
  return process


def _pipes(
  process: subprocess.Popen,
) -> tuple[io.BufferedWriter, io.BufferedReader]:
  """What the process reads, and what it writes."""
  requests, answers = process.stdin, process.stdout
  assert isinstance(requests, io.BufferedWriter)
  assert isinstance(answers, io.BufferedReader)
  return requests, answers


def _killing(
  process: subprocess.Popen, seconds: int, late: threading.Event
) -> threading.Timer:
  """Kills the process, and sets `late`, unless it is canceled before."""

  def kill():
    late.set()
    process.kill()

  timer = threading.Timer(seconds, kill)
  timer.daemon = True
  timer.start()
  return timer


def _answers(
  process: subprocess.Popen, left: int
) -> tuple[list[tuple[str, str, np.ndarray]], dict[str, Any]]:
  """The arrays that a file holds, and the answer that ends them."""
  found = []
  _, answers = _pipes(process)
  while True:
    line = answers.readline()
    if not line.endswith(b'\n'):
      raise EOFError
    answer = json.loads(line)
    if 'error' in answer:
      return found, answer
    array = np.empty(answer['shape'], answer['dtype'])
    left -= array.nbytes
    if left < 0:
      raise UserError('its arrays are larger than it may hold')
    view = array.reshape(-1).view(np.uint8).data
    if answers.readinto(view) < len(view):
      raise EOFError
    found.append((answer['layer'], answer['name'], array))


@atexit.register
def _stop() -> None:
  """Ends the reader of this process, if it has one."""
  process = _processes.pop(os.getpid(), None)
  if process is not None:
    process.kill()
    process.communicate()
