"""Kills one of two processes that share a sweep, at random moments.

  python tests/killed_hosts.py [TRIALS] [SEED]

In each trial two processes begin a sweep of the toy network on one machine,
and one of them is killed without warning; the other one has to finish its own
share, and the next run the rest. Whatever happened, the store has to be that of
one undisturbed process, bit by bit. Prints a line for each trial and a summary;
exit status 1 if one of them failed.
"""

import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np

from vizjax.workdir import store

ROOT = pathlib.Path(__file__).parent.parent
LAYERS = ('conv2', 'fc3')


def begin(workdir, *more):
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
  environment['PYTHONPATH'] = os.pathsep.join([str(ROOT), str(ROOT / 'tests')])
  return subprocess.Popen(
    [sys.executable, '-m', 'vizjax', 'run', '--config=tests/toy_config.py',
     '--config.units=0:5', '--config.replicates=8', '--config.steps=300',
     '--nodistributed', f'--workdir={workdir}', *more],
    cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    text=True,
  )  # fmt: skip


def pair(workdir):
  """Two processes that share a sweep."""
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    port = probe.getsockname()[1]
  return [
    begin(workdir, '--distributed', f'--coordinator=127.0.0.1:{port}',
          '--processes=2', f'--process={i}', '--patience=60')
    for i in range(2)
  ]  # fmt: skip


def end(process):
  _, err = process.communicate(timeout=120)
  return process.returncode, err


def contents(workdir):
  """{(layer, field): array} of a workdir, and how many rows are not done."""
  arrays, missing = {}, 0
  for layer in LAYERS:
    kept = store.open_(store.directory(str(workdir), layer))
    missing += sum(map(len, store.missing(kept).values()))
    for name in kept.arrays:
      arrays[layer, name] = store.read(kept, name)
  return arrays, missing


def same(one, other):
  return one.keys() == other.keys() and all(
    np.array_equal(
      one[name], other[name], equal_nan=one[name].dtype.kind == 'f'
    )
    for name in one
  )


def claimed(workdir):
  """Two processes, as soon as one of them has claimed the workdir."""
  both = pair(workdir)
  while not (workdir / store.CONFIG).exists() and both[0].poll() is None:
    time.sleep(0.01)
  return both


def trial(workdir, victim, delay):
  """Kills one of two after a delay; (what was seen, whether all was well)."""
  both = claimed(workdir)
  time.sleep(delay)
  both[victim].send_signal(signal.SIGKILL)
  codes = [end(process)[0] for process in both]
  _, missing = contents(workdir)
  code, err = end(begin(workdir))
  seen = f'exits {codes[0]} and {codes[1]}, {missing} of 80 rows left'
  return seen, codes[1 - victim] == 0 and code == 0, err


def main(trials=20, seed=0):
  draw = random.Random(seed)
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    os.environ['JAX_COMPILATION_CACHE_DIR'] = str(root / 'compiled')
    code, err = end(begin(root / 'alone'))
    assert code == 0, err
    whole, _ = contents(root / 'alone')
    both = claimed(root / 'pair')
    began = time.monotonic()
    codes = [end(process) for process in both]
    took = time.monotonic() - began
    assert [code for code, _ in codes] == [0, 0], codes
    assert same(whole, contents(root / 'pair')[0])
    print(f'two processes make the store of one, bit by bit ({took:.1f} s)')
    good = cut = 0
    for number in range(trials):
      victim, delay = draw.randrange(2), draw.uniform(0, took)
      workdir = root / str(number)
      seen, well, err = trial(workdir, victim, delay)
      found, missing = contents(workdir)
      well = well and missing == 0 and same(whole, found)
      good, cut = good + well, cut + ('-9' in seen)
      print(
        f'{number + 1}: process {victim} killed {delay:.2f} s after the claim: '
        f'{seen}; after the next run {"the same" if well else f"NOT: {err}"}',
        flush=True,
      )
  print(f'{good} of {trials} as it should be; {cut} were killed at work')
  return 0 if good == trials else 1


if __name__ == '__main__':
  sys.exit(main(*map(int, sys.argv[1:])))
