"""The process that reads HDF5 files: its limits, and that it is replaced."""

import conftest
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
import test_keras

from vizjax.errors import UserError
from vizjax.models.formats import confined
from vizjax.models.formats import hdf5
from vizjax.models.formats import keras

ROOT = pathlib.Path(__file__).parents[2]
FILES = ROOT.parent / 'shared' / 'cases' / 'files'

# The program, on a file that makes libhdf5 do something else.
PROGRAM = f"""
import importlib.util, os
spec = importlib.util.spec_from_file_location('hdf5', {hdf5.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
def send(*arguments):
  FAULT
module._send = send
module.serve()
"""
HANG, CRASH = 'while True: pass', 'os.abort()'


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'weights.h5'


@pytest.fixture
def faulty(tmp_path, monkeypatch):
  """Makes the program faulty until the test ends."""
  whole = hdf5.__file__

  def make(fault):
    program = tmp_path / 'program.py'
    program.write_text(PROGRAM.replace('FAULT', fault))
    monkeypatch.setattr(hdf5, '__file__', str(program))
    confined._stop()

  yield make
  monkeypatch.setattr(hdf5, '__file__', whole)
  confined._stop()


@pytest.mark.parametrize(
  'fault, match',
  [
    (HANG, 'does not finish reading it within 1 s'),
    (CRASH, r'libhdf5 crashes on it \(status -6\)'),
    ('os.close(0); os._exit(3)', r'crashes on it \(status 3\)'),
  ],
)
def test_a_reader_that_hangs_or_dies_is_replaced(
  fault, match, path, faulty, monkeypatch
):
  test_keras.save(path)
  program = hdf5.__file__
  faulty(fault)
  with monkeypatch.context() as patch:
    patch.setattr(confined, 'SECONDS', 1)
    for _ in range(2):
      with pytest.raises(UserError, match=f'weights.h5.*{match}') as raised:
        keras.read(path)
  assert '\n' not in str(raised.value)
  monkeypatch.setattr(hdf5, '__file__', program)
  test_keras.check(path)


def test_one_process_reads_file_after_file(path):
  test_keras.save(path)
  test_keras.check(path)
  first = confined._processes[os.getpid()]
  for _ in range(3):
    test_keras.check(path)
    path.write_bytes(b'damaged')
    with pytest.raises(UserError, match='signature not found'):
      keras.read(path)
    test_keras.save(path)
  assert confined._processes[os.getpid()] is first
  first.kill()  # as whoever is short of memory may
  first.wait()
  test_keras.check(path)


def test_memory_is_limited(path, monkeypatch):
  with h5py.File(path, 'w') as file:
    file.attrs['layer_names'] = [b'a']
    file.create_group('a').attrs['weight_names'] = [b'w']
    file['a/w'] = np.zeros(2**25, 'u1')
  assert keras.read(path)['a']['w'].nbytes == 2**25
  monkeypatch.setattr(confined, 'MEMORY', 2**20)
  monkeypatch.setattr(confined, 'COPIES', 0)
  with pytest.raises(UserError, match='MemoryError|[Uu]nable to'):
    keras.read(path)


def test_threads_may_read_at_once(tmp_path):
  def read(number):
    path = tmp_path / f'{number}.h5'
    if number % 2:
      path.write_bytes(b'damaged')
      with pytest.raises(UserError, match=f'{number}.h5'):
        keras.read(path)
    else:
      test_keras.save(path)
      test_keras.check(path)

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    list(pool.map(read, range(12)))


@pytest.mark.parametrize('fault', ['', HANG])
def test_the_program_ends_without_its_parent(fault, path, tmp_path):
  """When its input ends; or, in the middle of a file, after so much time."""
  size = len(test_keras.save(path))
  program = tmp_path / 'program.py'
  program.write_text(PROGRAM.replace('FAULT', fault))
  request = {'path': str(path), 'size': size, 'bound': 2**20}
  request |= {'memory': 2**30, 'seconds': 1}
  with subprocess.Popen(
    [sys.executable, '-P', program if fault else hdf5.__file__],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  ) as process:
    assert process.stdout.readline() == hdf5.READY
    process.stdin.write(json.dumps(request).encode() + b'\n')
    process.stdin.flush()
    if fault:
      assert process.wait(60) == -signal.SIGXCPU
    else:
      process.stdin.close()
      assert process.stdout.read().endswith(b'"leaves": false}\n')
      assert process.wait(60) == 0


@pytest.mark.parametrize(
  'name', ['crash_1439.h5', *conftest.slow('hang_164.h5')]
)
def test_files_that_end_libhdf5_are_one_line(name, monkeypatch):
  if not (FILES / name).exists():
    pytest.skip('the cases are not here')
  monkeypatch.setattr(confined, 'SECONDS', 2)
  with pytest.raises(UserError, match=name) as raised:
    keras.read(FILES / name)
  assert '\n' not in str(raised.value)
