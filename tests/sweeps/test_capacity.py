"""How many at a time: what suits, what fits, and never another picture."""

import conftest
import threading

import jax
import numpy as np
import pytest
import test_sweep

from vizjax import build
from vizjax.sweeps import batches
from vizjax.sweeps import capacity
from vizjax.sweeps import parallel
from vizjax.sweeps import sweep

pytestmark = pytest.mark.usefixtures('quickly')

MESH_SIZE = 2  # of conftest


def work(c, monkeypatch, free):
  """What is prepared for all runs of the toy network, by the free bytes."""
  monkeypatch.setattr(capacity, 'available', lambda: free)
  plan = sweep.plan(build.request(c))
  (p,) = plan.layers
  mesh = parallel.local_mesh()
  (each,) = p.stages.values()
  rows = np.arange(len(p.runs.channel))
  return capacity.prepared(plan.request, p.runs, each, rows, mesh)


@pytest.mark.parametrize(
  'batch, count, most',
  [
    (None, 99, 8),
    (None, 6, 3),
    (None, 1, 2),
    (4, 99, 2),
    (5, 99, 3),
    (1, 9, 2),
  ],
)
def test_a_device_works_on_what_suits_it(batch, count, most):
  request = build.request(test_sweep.config(batch=batch))
  assert capacity.most(request, count) == most


def test_large_images_may_be_made_one_by_one():
  c = test_sweep.config(batch=1, scales="grown(model, '12x12', '14x14', 2)")
  assert capacity.most(build.request(c), 9) == 1


@pytest.mark.slow
def test_the_batch_is_as_large_as_memory_allows(monkeypatch):
  c = test_sweep.config(units='0:6', replicates=3, batch=16)
  whole = work(c, monkeypatch, 10**9).batch
  assert whole == 16
  taken = []
  runner = parallel.runner

  def spying(*arguments, **options):
    made = runner(*arguments, **options)

    def prepare(*batch, **more):
      taken.append(made.prepare(*batch, **more))
      return taken[-1]

    return made._replace(prepare=prepare)

  monkeypatch.setattr(parallel, 'runner', spying)
  assert work(c, monkeypatch, None).batch == 16  # nothing is known
  (of_16,) = taken
  assert work(c, monkeypatch, of_16).batch == 16
  assert work(c, monkeypatch, of_16 - 1).batch == 8
  assert taken[-1] < of_16
  with pytest.raises(
    capacity.Exhausted, match='conv2 takes .* GB for 2 images'
  ):
    work(c, monkeypatch, 10)


class Idle:
  """A runner that compiles nothing, whose programs take nothing."""

  def __init__(self, *arguments, **options):
    pass

  def prepare(self, *batch, **options):
    return 0


def test_a_batch_is_halved_to_the_least(monkeypatch):
  monkeypatch.setattr(parallel, 'runner', Idle)
  mesh = parallel.local_mesh()
  c = test_sweep.config(units='0:6', replicates=3, batch=16)
  found = work(c, monkeypatch, None)
  sizes = []
  while True:
    sizes.append(found.batch)
    try:
      found = capacity.halved(found, mesh)
    except capacity.Exhausted as error:
      assert 'exhausted by 4 images' in str(error)
      break
  assert sizes == [16, 8, 4]  # two on each of two devices


def test_images_that_are_compared_stay_together(monkeypatch):
  monkeypatch.setattr(parallel, 'runner', Idle)
  mesh = parallel.local_mesh()
  c = test_sweep.config(
    units='0:6', replicates=3, batch=16, metrics='far = distance(layer)'
  )
  found = work(c, monkeypatch, None)
  sizes = [found.batch]
  with pytest.raises(capacity.Exhausted, match='by 6 images'):
    while True:
      found = capacity.halved(found, mesh)
      sizes.append(found.batch)
  assert sizes == [18, 6]


def test_exhausted_memory_changes_no_bit(tmp_path, monkeypatch):
  c = test_sweep.few(units='0:4', replicates=3, batch=12, steps=4)
  whole = test_sweep.execute(c, tmp_path / 'whole')
  runner = parallel.runner
  seen = []

  def scarce(*arguments, **more):
    made = runner(*arguments, **more)

    def advance(state, targets, keys, *, steps):
      seen.append(len(keys))
      if len(keys) > 4 and len(seen) > 2:
        raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of memory')
      return made.advance(state, targets, keys, steps=steps)

    return made._replace(advance=advance)

  monkeypatch.setattr(parallel, 'runner', scarce)
  found = test_sweep.execute(c, tmp_path / 'scarce')
  assert {12, 4} <= set(seen)
  test_sweep.assert_same(whole, found)


def test_a_workdir_is_not_claimed_by_what_does_not_fit(tmp_path, monkeypatch):
  workdir = tmp_path / 'w'
  monkeypatch.setattr(capacity, 'available', lambda: 10)
  with pytest.raises(capacity.Exhausted):
    test_sweep.execute(test_sweep.few(), workdir)
  assert not list(workdir.iterdir())

  def stop(progress):
    if progress.runs:
      raise KeyboardInterrupt

  monkeypatch.undo()
  c = test_sweep.few(units='0:4', batch=2)
  with pytest.raises(KeyboardInterrupt):
    test_sweep.execute(c, workdir, report=stop)
  monkeypatch.setattr(capacity, 'available', lambda: 10)
  with pytest.raises(capacity.Exhausted):
    test_sweep.execute(c, workdir)
  assert (workdir / 'conv1').exists()  # what was there before stays


@pytest.mark.parametrize('part', (0.7, *conftest.slow(0)))
def test_the_next_batch_is_chosen_when_the_device_is_free(
  part, tmp_path, monkeypatch
):
  """The next layer is compiled while this layer's arrays take memory."""
  c = test_sweep.few(units='0:4', batch=4)
  plan = sweep.plan(build.request(c))
  (p,) = plan.layers
  (each,) = p.stages.values()
  mesh, main = parallel.local_mesh(), threading.current_thread()
  whole = capacity.prepared(plan.request, p.runs, each, np.arange(4), mesh)
  keys, targets = (
    jax.random.split(jax.random.key(0), 4),
    each.programs[0].target(p.runs, np.arange(4)),
  )
  taken = whole.runner(each.programs[0]).prepare(targets, keys, steps=1)
  monkeypatch.setattr(
    capacity,
    'available',
    lambda: taken if threading.current_thread() is main else int(part * taken),
  )
  sizes = []
  run = batches.run

  def spying(batch, *arguments):
    sizes.append(len(batch.rows))
    return run(batch, *arguments)

  monkeypatch.setattr(batches, 'run', spying)
  test_sweep.execute(c, tmp_path)
  assert sizes == [4]


def test_other_errors_of_a_device_are_told(tmp_path, monkeypatch):
  runner = parallel.runner

  def broken(*arguments, **options):
    def advance(*batch, **more):
      raise jax.errors.JaxRuntimeError('INTERNAL: it burns')

    return runner(*arguments, **options)._replace(advance=advance)

  monkeypatch.setattr(parallel, 'runner', broken)
  with pytest.raises(jax.errors.JaxRuntimeError, match='it burns'):
    test_sweep.execute(test_sweep.few(), tmp_path)


def test_what_is_free_is_known_here():
  free = capacity.available()
  assert 0 < free < 2**50
  assert isinstance(free, int)


SLURM = 'slurm/uid_1000/job_7/step_0'


def limited(root, top, group, lines, files):
  """A tree of control groups with files in some of them."""
  (root / 'proc/self').mkdir(parents=True)
  (root / 'proc/self/cgroup').write_text(lines)
  (root / top / group).mkdir(parents=True)
  for path, text in files.items():
    (root / top / path).write_text(text)
  return capacity._host_memory(root)


@pytest.mark.parametrize(
  'group', (SLURM, f'{SLURM}/user/task_0', 'of/the/host')
)
def test_the_limit_of_any_group_above_counts(group, tmp_path):
  """cgroups v2: Slurm limits the job, a container its own top group."""
  limit = 'slurm/uid_1000/job_7/' if group.startswith('slurm') else ''
  at = group if group.startswith('slurm') else ''
  left = limited(
    tmp_path, 'sys/fs/cgroup', at, f'0::/{group}\n',
    {
      f'{limit}memory.max': '5000000\n',
      f'{limit}memory.current': '4000000\n',
      f'{limit}memory.stat': 'anon 3\ninactive_file 700000\n',
      f'{at}/memory.max': '5000000' if not limit else 'max',
    },
  )  # fmt: skip
  assert left == 1_700_000


def test_the_limit_of_the_first_version_counts(tmp_path):
  left = limited(
    tmp_path, 'sys/fs/cgroup/memory', SLURM,
    f'5:cpu,cpuacct:/\n4:memory:/{SLURM}\n1:name=systemd:/\n0::/\n',
    {
      f'{SLURM}/memory.limit_in_bytes': f'{2**63 - 4096}\n',
      f'{SLURM}/memory.usage_in_bytes': '10\n',
      f'{SLURM}/memory.stat': 'total_inactive_file 0\n',
      'slurm/uid_1000/job_7/memory.limit_in_bytes': '3000\n',
      'slurm/uid_1000/job_7/memory.usage_in_bytes': '1000\n',
      'slurm/uid_1000/job_7/memory.stat': 'total_inactive_file 1\n',
    },
  )  # fmt: skip
  assert left == 2001


def test_without_a_limit_what_is_free_counts(tmp_path):
  assert limited(tmp_path, 'sys/fs/cgroup', 'a', '0::/a\n', {}) > 2**20
