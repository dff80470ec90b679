"""Images of a unit and their numbers: least, several, shaken, tried again."""

import numpy as np
import pytest
import test_sweep

from vizjax import build
from vizjax.build import runs as runs_
from vizjax.errors import UserError
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

config, few, execute = test_sweep.config, test_sweep.few, test_sweep.execute

# The same float32 network compiled in another program.
RECOMPILED = 1e-5


RAW = {'units': '0:3', 'trace': 'raw = neuron(layer)', 'transforms': ''}


def made(path, **changes):
  return execute(config(**changes), path)['conv2']


@pytest.fixture(scope='module')
def both(tmp_path_factory):
  path = tmp_path_factory.mktemp('both')
  return made(path, sign='both', **RAW)


def test_the_least_image_starts_where_the_greatest_does(both):
  assert both['sign'].tolist() == [1, -1] * 3
  first = both['trace/raw'][:, 0]
  np.testing.assert_array_equal(first[::2], first[1::2])
  greatest, least = both['activation'][::2], both['activation'][1::2]
  assert (least < first[1::2]).all() and (first[::2] < greatest).all()


def test_the_score_is_maximized_and_the_activation_is_as_it_is(both):
  signs = both['sign'][:, None]
  np.testing.assert_array_equal(both['trace/score'], signs * both['trace/raw'])
  np.testing.assert_allclose(
    both['score'], both['sign'] * both['activation'], rtol=RECOMPILED
  )


def test_the_greatest_is_the_same_without_the_least(both, tmp_path):
  alone = made(tmp_path, **RAW)
  np.testing.assert_allclose(
    alone['image'], both['image'][::2], atol=255 * RECOMPILED
  )


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'sign': 'least'}, "'least', expected one of .*'max', 'min', 'both'"),
    ({'sign': 'min', 'objective': 'dream(layer)'}, 'dream.*no least.*neuron'),
    ({'sign': 'both', 'procedure': 'act_max()'}, 'only maximizes'),
    ({'objective': 'neuron(layer) + diversity(layer)'}, 'replicates=4'),
    (
      {'objective': 'diversity(layer)', 'replicates': 2, 'result': 'best'},
      'result=last',
    ),
    ({'robust': 'jiter(2)'}, 'config.robust.*jitter'),
    ({'robust': 'jitter(2)', 'robust_draws': 0}, 'robust_draws is 0'),
    ({'retries': -1}, 'retries is -1'),
    ({'metrics': 'dead = std()'}, "metrics: 'dead' is measured by itself"),
  ],
)  # fmt: skip
def test_what_cannot_be_is_refused(changes, words):
  with pytest.raises(UserError, match=words):
    sweep.plan(build.request(few(**changes)))


def test_an_image_is_measured_again_under_transforms(tmp_path):
  robust = {'robust': 'jitter(3) | scale(0.8, 1.2)', 'robust_draws': 5}
  shaken = made(tmp_path / 'a', units='0:3', box=False, **robust)
  assert (shaken['metric/robust_std'] > 0).all()
  same = made(tmp_path / 'b', units='0:3', robust='roll(0)', box=False)
  largest = abs(same['activation']).max()
  np.testing.assert_allclose(
    same['metric/robust_std'], 0, atol=RECOMPILED * largest
  )
  np.testing.assert_allclose(
    same['metric/robust_mean'], same['activation'], rtol=RECOMPILED
  )
  np.testing.assert_array_equal(same['image'], shaken['image'])


@pytest.mark.slow
def test_the_same_test_for_every_image(tmp_path):
  """Whatever is made with it: the draws are those of no run."""
  robust = {'robust': 'jitter(3)', 'robust_draws': 4}
  some = made(tmp_path / 'a', units='0:3', replicates=2, **robust)
  one = made(tmp_path / 'b', units='2', replicates=2, **robust)
  for name in ('metric/robust_mean', 'metric/robust_std'):
    np.testing.assert_array_equal(some[name][4:], one[name])


# Of a first start without numbers comes nothing, of the third something.
UNLUCKY = {
  'start': f'toynets.unlucky({runs_.APART + 1})',
  'units': '0:3',
  'optimizer': 'sgd(500.)',
}


def test_what_failed_is_made_again_from_another_seed(tmp_path):
  found = execute(few(**UNLUCKY, retries=3), tmp_path / 'a')['conv1']
  assert found['metric/retries'].tolist() == [2] * 3
  assert found['seed'].tolist() == [2 * runs_.APART] * 3
  assert np.isfinite(found['score']).all()
  lucky = execute(few(**UNLUCKY, seed=2 * runs_.APART), tmp_path / 'b')['conv1']
  for name in ('image', 'score', 'activation', 'seed'):
    np.testing.assert_array_equal(found[name], lucky[name])
  assert lucky['metric/retries'].tolist() == [0] * 3


def test_only_what_failed_is_made_again(tmp_path):
  c = few(**{**UNLUCKY, 'start': 'toynets.unlucky(1)'}, replicates=2)
  once = execute(c, tmp_path / 'a')['conv1']
  bad = ~np.isfinite(once['score'])
  assert bad.tolist() == [True, False] * 3
  c.retries = 1
  # In the same workdir: what failed is due again.
  again = execute(c, tmp_path / 'a')['conv1']
  assert again['metric/retries'].tolist() == [1, 0] * 3
  assert again['seed'].tolist() == [runs_.APART, 0] * 3
  assert np.isfinite(again['score']).all()
  np.testing.assert_array_equal(once['image'][~bad], again['image'][~bad])
  test_sweep.assert_same({'conv1': again}, execute(c, tmp_path / 'b'))


def test_it_ends_and_says_so(tmp_path):
  c = few(model='toynets.dull()', objective='neuron(rectifier)', retries=2)
  c.units, c.steps = '0:3', 2
  reports = []
  found = execute(c, tmp_path, report=reports.append)['conv1']
  assert found['metric/dead'].tolist() == [0, 1, 0]
  assert found['metric/retries'].tolist() == [0, 2, 0]
  assert found['seed'].tolist() == [0, 2 * runs_.APART, 0]
  assert found['done'].all()
  assert reports[-1].runs == reports[-1].count == 3
  # As often as the plan says: what is made again is not counted.
  assert sum(report.steps for report in reports) == 3 * 2
  again = []
  execute(c, tmp_path, report=again.append)
  assert again == []


@pytest.mark.parametrize(
  'k', [4, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 6, 8))]
)
def test_a_crash_between_the_attempts_changes_nothing(tmp_path, k):
  c = few(**UNLUCKY, retries=2, batch=2)
  whole = execute(c, tmp_path / 'whole')
  calls = []

  def fail(progress):
    calls.append(progress)
    if len(calls) == k:
      raise test_sweep.Crash

  with pytest.raises(test_sweep.Crash):
    execute(c, tmp_path / 'w', report=fail)
  test_sweep.assert_same(whole, execute(c, tmp_path / 'w'))


@pytest.mark.slow
def test_a_paused_attempt_is_no_other_attempt(tmp_path):
  c = few(**UNLUCKY, retries=2, batch=4, steps=3)
  whole = execute(c, tmp_path / 'whole')
  for k in (3, 6, 9):
    calls = []

    def pause(progress, calls=calls, k=k):
      calls.append(progress)
      if len(calls) == k:
        raise KeyboardInterrupt

    workdir = tmp_path / f'w{k}'
    with pytest.raises(KeyboardInterrupt):
      execute(c, workdir, report=pause)
    test_sweep.assert_same(whole, execute(c, workdir))


def several(**changes):
  found = {
    'objective': 'neuron(layer) + 200 * diversity(layer)',
    'activation': 'neuron(layer)',
    'metrics': 'far = distance(layer)',
    'units': '0:3',
    'replicates': 3,
    'result': 'last',
    'batch': 6,
  }
  return config(**{**found, **changes})


@pytest.fixture(scope='module')
def diverse(tmp_path_factory):
  path = tmp_path_factory.mktemp('diverse')
  return execute(several(), path)['conv2']


def test_images_of_a_unit_become_unlike(diverse, tmp_path):
  c = several(objective='neuron(layer)', box=False)
  plain = execute(c, tmp_path)['conv2']
  assert diverse['unit'][:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
  further = diverse['metric/far'].mean() - plain['metric/far'].mean()
  assert further > 0.1


def test_a_unit_is_compared_with_itself_alone(diverse, tmp_path):
  alone = execute(several(units='2', batch=3), tmp_path / 'a')['conv2']
  for name in ('image', 'score', 'activation', 'metric/far', 'trace/score'):
    np.testing.assert_array_equal(diverse[name][6:], alone[name])


def test_a_chunk_holds_whole_units():
  for batch, chunk in ((1, 3), (4, 3), (6, 6), (64, 9), (None, 9)):
    (p,) = sweep.plan(build.request(several(batch=batch))).layers
    assert (p.chunk, p.group) == (chunk, 3)


def test_all_images_of_a_unit_are_made_again(tmp_path):
  c = several(start='toynets.unlucky(2)', retries=1, steps=1)
  found = execute(c, tmp_path)['conv2']
  # The third start was good, but was compared with what was not.
  assert found['metric/retries'].tolist() == [1] * 9
  assert np.isfinite(found['score']).all()


def test_distance_leaves_the_box(tmp_path):
  c = several(objective='neuron(layer)', units='0@2x2', replicates=2)
  assert sweep.plan(build.request(c)).layers[0].runs.boxed.all()
  assert (
    not sweep.plan(build.request(several(units='0@2x2')))
    .layers[0]
    .runs.boxed.any()
  )


def test_a_store_of_an_older_version_is_finished(tmp_path):
  c = few(units='0:4', batch=2)
  p = sweep.plan(build.request(c)).layers[0]
  old = {
    name: field
    for name, field in p.array_specs.items()
    if name not in ('metric/dead', 'metric/retries', 'seed')
  }
  columns = {n: column for n, column in p.preset.items() if n != 'sign'}
  rows = {n: f for n, f in old.items() if n not in p.preset}
  whole = execute(c, tmp_path / 'a')
  directory = store.directory(str(tmp_path / 'b'), 'conv1')
  (tmp_path / 'b').mkdir()
  config_file = (tmp_path / 'a' / 'config.json').read_bytes()
  (tmp_path / 'b' / 'config.json').write_bytes(config_file)
  store.create(directory, rows, 4, p.chunk, columns)
  found = execute(c, tmp_path / 'b')['conv1']
  assert set(whole['conv1']) - set(found) == {
    'metric/dead', 'metric/retries', 'seed', 'sign',
  }  # fmt: skip
  for name, array in found.items():
    np.testing.assert_array_equal(array, whole['conv1'][name])


def test_defaults_are_those_of_a_single_image():
  c = build.config()
  assert (c.sign, c.replicates, c.retries, c.robust) == ('max', 1, 0, '')
