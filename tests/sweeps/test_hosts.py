"""Processes that share work: who does what, and who refuses."""

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from vizjax.errors import UserError
from vizjax.sweeps import hosts


@pytest.mark.parametrize('count', [1, 2, 3, 7, 40])
def test_every_piece_is_of_one_process_and_neighbours_stay_together(count):
  work = np.random.RandomState(count).randint(1, 50, 25).tolist()
  shares = [hosts.share(hosts.Hosts(i, count), work) for i in range(count)]
  assert sorted(n for share in shares for n in share) == list(range(25))
  firsts = [share[0] for share in shares if len(share)]
  assert firsts == sorted(firsts)


@pytest.mark.parametrize('count', [1, 2, 3, 7])
def test_shares_are_as_equal_as_pieces_allow(count):
  work = np.random.RandomState(count).randint(1, 9, 300)
  totals = [
    work[list(hosts.share(hosts.Hosts(i, count), work.tolist()))].sum()
    for i in range(count)
  ]
  # A piece at either end may be on the wrong side by half.
  assert max(totals) - min(totals) <= 2 * work.max()


def test_nothing_is_shared_as_nothing():
  assert not hosts.share(hosts.Hosts(1, 3), [])


def test_a_piece_for_many_is_done_by_one():
  shares = [hosts.share(hosts.Hosts(i, 5), [3.0]) for i in range(5)]
  assert [len(share) for share in shares] == [0, 0, 1, 0, 0]


def test_a_single_process_needs_nobody():
  assert hosts.together(hosts.ALONE, lambda: 7) == 7
  hosts.agree(hosts.ALONE, {'seed': 3})
  hosts.leave(hosts.ALONE)
  with pytest.raises(OSError, match='full'):
    hosts.together(hosts.ALONE, lambda: _raise(OSError('full')))


def _raise(error):
  raise error


def others(monkeypatch, *theirs):
  """What the others of several processes say, one answer a question."""
  left = list(theirs)

  def gathered(here, array):
    other = left.pop(0)
    return np.stack([array, np.asarray(other, array.dtype)])

  monkeypatch.setattr(hosts, '_gathered', gathered)
  return hosts.Hosts(0, 2)


def test_what_fails_elsewhere_is_not_begun_here(monkeypatch):
  here = others(monkeypatch, [True])
  with pytest.raises(UserError, match='process 1 of 2 could not begin'):
    hosts.together(here, lambda: 1)
  here = others(monkeypatch, [False])
  with pytest.raises(UserError, match='mine'):
    hosts.together(here, lambda: _raise(UserError('mine')))


def said(facts, length=None):
  """Some facts as they are exchanged."""
  import json

  text = json.dumps(facts, sort_keys=True).encode()
  return np.frombuffer(text.ljust(length or len(text), b'\0'), np.uint8)


def test_processes_that_would_not_do_the_same_are_refused(monkeypatch):
  mine = {'config.seed': 1, 'jax': '0.10.2', 'only here': None}
  theirs = {'config.seed': 2, 'jax': '0.10.2'}
  longest = len(said(mine))
  here = others(monkeypatch, [len(said(theirs))], said(theirs, longest))
  with pytest.raises(UserError) as error:
    hosts.agree(here, mine)
  assert 'process 1 of 2' in str(error.value)
  assert '(config.seed: 2 there, 1 here)' in str(error.value)


def test_processes_that_do_the_same_agree(monkeypatch):
  facts = {'config.seed': 1, 'shape': [3, 4]}
  here = others(monkeypatch, [len(said(facts))], said(facts))
  hosts.agree(here, {'shape': (3, 4), 'config.seed': 1})


@pytest.mark.parametrize(
  'name', ['SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE', 'PMI_SIZE']
)
def test_several_processes_by_accident_are_refused(name):
  with pytest.raises(UserError, match=f'one of 8 processes .{name}.*--distr'):
    hosts.alone({name: '8'})
  assert hosts.alone({name: '1'}) == hosts.alone({}) == hosts.ALONE


@pytest.mark.parametrize(
  'arguments, said',
  [
    (('localhost', 2, 0), "'localhost', expected HOST:PORT"),
    ((':80', 2, 0), 'expected HOST:PORT'),
    (('a:b', 2, 0), 'expected HOST:PORT'),
    (('a:80', 2, 2), 'process is 2 of 2: expected 0 to 1'),
    (('a:80', 2, -1), 'expected 0 to 1'),
    ((None, None, None), 'cannot be brought together .*--coordinator'),
  ],
)
def test_a_start_that_cannot_be_is_refused(arguments, said):
  with pytest.raises(UserError, match=said):
    hosts.join(*arguments)


@pytest.mark.slow
def test_who_waits_in_vain_says_so_and_ends():
  script = (
    'from vizjax.sweeps import hosts\n'
    'hosts.join("127.0.0.1:9", 2, 1, patience=2)\n'
    'print("alone")'
  )
  ended = subprocess.run(
    [sys.executable, '-c', script], capture_output=True, text=True, timeout=60
  )
  assert ended.returncode == 2
  assert 'did not come within 2 s' in ended.stderr
  assert not ended.stdout


@pytest.mark.slow
def test_who_waits_for_a_process_that_is_killed_ends_within_half_a_minute():
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    port = probe.getsockname()[1]
  script = (
    'import os, sys\n'
    'from vizjax.sweeps import hosts\n'
    'index = int(sys.argv[1])\n'
    f'here = hosts.join("127.0.0.1:{port}", 2, index, patience=60)\n'
    'hosts.together(here, lambda: index and os.kill(os.getpid(), 9))\n'
  )
  waiting, killed = (
    subprocess.Popen(
      [sys.executable, '-c', script, str(index)],
      env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
      stderr=subprocess.DEVNULL,
    )
    for index in range(2)
  )
  try:
    assert killed.wait(timeout=120) == -9
    dead = time.monotonic()
    assert waiting.wait(timeout=120) != 0
    assert time.monotonic() - dead < 30
  finally:
    waiting.kill()
    killed.kill()
