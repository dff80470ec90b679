"""A workdir gets more units, replicates and layers, and keeps what it has."""

import conftest
import itertools
import json
import shutil

import bucket
import numpy as np
import pytest
import test_sweep

from vizjax import build
from vizjax import listing
from vizjax.build import runs as runs_
from vizjax.errors import UserError
from vizjax.export import selecting
from vizjax.sweeps import growth
from vizjax.sweeps import hosts
from vizjax.sweeps import sweep
from vizjax.workdir import folders
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

config, execute, few = test_sweep.config, test_sweep.execute, test_sweep.few


def rows(found):
  """{(channel, y, x, sign, replicate): {field: row}} of a layer."""
  columns = zip(found['unit'], found['sign'], found['replicate'], strict=True)
  return {
    (*unit, sign, replicate): {name: a[i] for name, a in found.items()}
    for i, (unit, sign, replicate) in enumerate(columns)
  }


def assert_same_images(one, other):
  """The same runs of a layer, with equal bits, in any order."""
  one, other = rows(one), rows(other)
  assert one.keys() == other.keys()
  for key, fields in one.items():
    h, w = fields['size']
    for name, value in fields.items():
      if name in ('image', 'frames'):  # of a larger place the rest is NaN
        assert np.isnan(other[key][name][..., h:, :, :]).all()
        value = value[..., :h, :w, :]
        other[key][name] = other[key][name][..., :h, :w, :]
      np.testing.assert_array_equal(value, other[key][name], str((key, name)))


def read(workdir):
  return json.loads((workdir / 'config.json').read_text())


def test_units_and_replicates_are_added(tmp_path):
  # First in boxes alone; then one at the edge, on a larger image.
  same = {'save_every': 1, 'transforms': 'jitter(2)'}
  before = execute(few(units='1@2x3,3@2x2', **same), tmp_path / 'a')['conv1']
  same['replicates'] = 2
  grown = execute(few(units='0:2@2x3,2@0x5', **same), tmp_path / 'a')['conv1']
  whole = few(units='0:2@2x3,2@0x5,3@2x2', **same)
  full = execute(whole, tmp_path / 'b')['conv1']
  asked = {key for key in rows(full) if key[0] != 3 or key[-1] == 0}
  assert rows(grown).keys() == asked
  assert before['image'].shape[1:] != grown['image'].shape[1:]
  for name, array in before.items():  # at its place, with its bits
    part = tuple(map(slice, array.shape))
    np.testing.assert_array_equal(grown[name][part], array)
  again = execute(whole, tmp_path / 'a')['conv1']
  assert_same_images(full, again)
  assert again['image'].shape == full['image'].shape


def test_a_layer_that_is_added_keeps_its_subject(tmp_path):
  dream = {'objective': 'dream(layer)', 'units': None}
  execute(few(layer='conv1', **dream), tmp_path)
  assert read(tmp_path)['subjects'] == {'conv1': 'layer'}
  execute(few(layer='conv1,conv2', **dream), tmp_path)
  assert read(tmp_path)['subjects'] == {'conv1': 'layer', 'conv2': 'layer'}


def test_less_makes_nothing_and_keeps_everything(tmp_path):
  c = few(units='0:4', replicates=2)
  before = execute(c, tmp_path)
  files = sorted(p for p in tmp_path.rglob('*'))
  reports = []
  less = few(units='1,3')
  test_sweep.assert_same(before, execute(less, tmp_path, report=reports.append))
  assert not reports and files == sorted(p for p in tmp_path.rglob('*'))


def test_only_what_is_asked_for_is_made(tmp_path):
  class Stop(Exception):
    pass

  def stop(progress):
    if progress.runs:
      raise Stop

  with pytest.raises(Stop):
    execute(few(units='0:4', batch=2), tmp_path, report=stop)
  # The batch that is written when the next one stops is there or not.
  found = execute(few(units='3'), tmp_path)['conv1']
  assert found['done'][[2, 3]].tolist() == [0, 1]
  assert np.isnan(found['image'][2]).all()


def test_the_config_holds_all_of_it_and_says_what_was_asked(tmp_path):
  requests = [('relu1', '0:2', 1), ('relu1', '0:4', 1)]
  requests += [
    ('conv1,relu1', '0:4', 2),
    ('fc3', '1@0x0,4', 1),
    ('relu1', '3', 1),
  ]
  for layer, units, replicates in requests:
    c = few(layer=layer, units=units, replicates=replicates)
    execute(c, tmp_path)
    if replicates == 2:
      assert read(tmp_path)['config'] == c.to_dict()  # the last is all of it
  found = read(tmp_path)
  assert found['layers'] == ['conv1', 'relu1', 'fc3']
  assert (
    found['config']
    == few(layer='conv1,relu1,fc3', units='0:4,1@0x0,4', replicates=2).to_dict()
  )
  asked = [tuple(a[n] for n in growth.KNOBS) for a in found['asked']]
  assert asked == requests[:-1]  # the last one added nothing
  assert found['asked'][0]['versions'] == found['versions']


@pytest.mark.parametrize(
  'changes, words',
  [
    (
      {'steps': 2},
      r'steps: 1 there, 2 here\): type --config.steps=1, or '
      '--workdir=ANOTHER, a new folder$',
    ),
    (
      {'objective': 'channel(layer)'},
      "type '--config.objective=neuron.layer.'",
    ),
    *conftest.slow(
      (
        {'shape': '20x20'},
        r"shape: None there, '20x20' here\): type --config.shape=none, or "
        '--workdir=ANOTHER',
      ),
      ({'sign': 'both'}, "sign: 'max' there, 'both' here"),
    ),
  ],
)
def test_anything_else_is_refused_with_what_to_type(tmp_path, changes, words):
  execute(few(), tmp_path)
  before = (tmp_path / 'config.json').read_bytes()
  with pytest.raises(UserError, match=words):
    execute(few(units='0:4', **changes), tmp_path)
  c = few(units='0:4', **changes)
  with pytest.raises(UserError, match=words):
    sweep.check(sweep.plan(build.request(c)), str(tmp_path))
  assert (tmp_path / 'config.json').read_bytes() == before
  assert store.open_(tmp_path / 'conv1').count == 1


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'metrics': 'far = distance(layer)'}, 'are compared with each other'),
    pytest.param(
      {'start': 'noise_of_norm(model, 100., replicates)'},
      'a formula reads it',
      marks=pytest.mark.slow,
    ),
  ],
)
def test_replicates_that_depend_on_their_number_cannot_grow(
  tmp_path, changes, words
):
  execute(few(replicates=2, **changes), tmp_path)
  for replicates in (1, 4):
    with pytest.raises(UserError, match=f'2 there, .*{words}.*=2, or --work'):
      execute(few(replicates=replicates, **changes), tmp_path)
  found = execute(few(units='0:3', replicates=2, **changes), tmp_path)['conv1']
  whole = execute(few(units='0:3', replicates=2, **changes), tmp_path / 'b')
  test_sweep.assert_same({'conv1': found}, whole)


@pytest.mark.slow
def test_a_retried_image_starts_as_no_replicate_does(tmp_path):
  starts = {'start': 'toynets.unlucky(1)', 'optimizer': 'sgd(500.)'}
  c = few(**starts, retries=1, replicates=2)
  before = execute(c, tmp_path / 'a')['conv1']
  assert before['metric/retries'].tolist() == [1, 0]
  c.replicates = 4
  found = execute(c, tmp_path / 'a')['conv1']
  starts = (found['seed'] + found['replicate']).tolist()
  assert starts == [runs_.APART, 1, 2, 3]
  test_sweep.assert_same({'conv1': found}, execute(c, tmp_path / 'b'))
  np.testing.assert_array_equal(found['image'][:2], before['image'])


def test_a_workdir_of_an_older_version_goes_on_but_does_not_grow(tmp_path):
  c = few(units='0:3')
  before = execute(c, tmp_path)
  found = read(tmp_path)
  for name in ('asked', 'format', 'digests', 'makers'):
    del found[name]
  # The first rule: of the layers that are asked for.
  found['fingerprint'] = sweep._fingerprint(
    sweep.plan(build.request(c)), 'ab12'
  )
  (tmp_path / 'config.json').write_text(json.dumps(found))
  test_sweep.assert_same(before, execute(c, tmp_path))
  with pytest.raises(UserError, match='units.*cannot grow.*older version'):
    execute(few(units='0:4'), tmp_path)
  found['fingerprint'] = 'ab12'
  (tmp_path / 'config.json').write_text(json.dumps(found))
  with pytest.raises(UserError, match='the weights or arrays'):
    execute(c, tmp_path)


def test_other_weights_add_no_layer(tmp_path, monkeypatch):
  import conftest

  execute(few(), tmp_path)
  other = conftest.toy(seed=1)
  monkeypatch.setattr(conftest, 'toy', lambda: other)
  with pytest.raises(UserError, match="digest 'weights'"):
    execute(few(layer='conv1,conv2'), tmp_path)
  assert read(tmp_path)['layers'] == ['conv1']


# These tests write arrays; they load no network.

FIELDS = {'image': ((2, 3), np.float32), 'score': ((), np.float32)}


def table(units, replicates=1):
  every = list(itertools.product(units, range(replicates)))
  return {
    'unit': np.array([(unit, 1, 1) for unit, _ in every], np.int32),
    'sign': np.ones(len(every), np.int32),
    'replicate': np.array([r for _, r in every], np.int32),
  }


def begin(path, columns):
  count = len(columns['unit'])
  store.create(path, FIELDS, count, 3, columns)
  return growth.rows(path, columns, FIELDS)


def fill(kept):
  """Writes what is missing: numbers that say which run they are of."""
  for part in store.missing(kept).values():
    units = store.read(kept, 'unit')[part, 0]
    numbers = 10.0 * units + store.read(kept, 'replicate')[part]
    numbers = numbers.astype(np.float32)
    image = np.broadcast_to(numbers[:, None, None], (len(part), 2, 3))
    store.write(kept, part, {'image': image, 'score': numbers})


def numbers(path):
  kept = store.open_(path)
  units, score = store.read(kept, 'unit')[:, 0], store.read(kept, 'score')
  expected = 10 * units + store.read(kept, 'replicate')
  np.testing.assert_array_equal(score, expected)
  np.testing.assert_array_equal(store.read(kept, 'image')[:, 1, 2], expected)
  assert store.read(kept, 'done').all()
  return expected.tolist()


def test_rows_are_added_after_those_that_are_there(tmp_path):
  path = str(tmp_path / 'a')
  fill(begin(path, table([3, 1])))
  assert numbers(path) == [30, 10]
  fill(begin(path, table([0, 1, 3])))
  fill(begin(path, table([1, 7], 2)))
  assert numbers(path) == [30, 10, 0, 11, 70, 71]
  assert begin(path, table([7, 0])).count == 6


class Killed(Exception):
  """The process ends."""


def dying(monkeypatch, after):
  """Ends the process before the write after so many; counts them."""
  count = itertools.count()

  def counted(function):
    def call(*args, **kwargs):
      if next(count) == after:
        raise Killed
      return function(*args, **kwargs)

    return call

  monkeypatch.setattr(folders, 'write', counted(folders.write))
  monkeypatch.setattr(folders, 'change', counted(folders.change))
  monkeypatch.setattr(store, '_create_arrays', counted(store._create_arrays))
  monkeypatch.setattr(growth, '_resized', counted(growth._resized))
  monkeypatch.setattr(growth, '_put', counted(growth._put))
  return count


def test_a_growth_that_was_cut_is_finished_by_the_next_command(tmp_path):
  for after in itertools.count():
    path = str(tmp_path / str(after))
    fill(begin(path, table([3, 1])))
    with pytest.MonkeyPatch.context() as patch:
      count = dying(patch, after)
      try:
        begin(path, table([0, 1, 3], 2))
        cut = False
      except Killed:
        cut = True
    if cut:
      assert numbers(path) == [30, 10]  # nothing is seen of it
      begin(path, table([5]))  # whichever command is the next
    fill(begin(path, table([0, 1, 3], 2)))
    found = numbers(path)
    first = [50, 0, 1, 11, 31] if after == 0 else [0, 1, 11, 31, 50]
    assert found == [30, 10, *(first if cut else first[:-1])]
    if not cut:
      break
  assert after > 6 and next(count) > 6


@pytest.mark.parametrize('step', [6, pytest.param(1, marks=pytest.mark.slow)])
def test_a_command_that_is_killed_while_it_adds_is_mended_by_itself(
  tmp_path, step
):
  first, more = few(units='3,1'), few(units='0:4', layer='conv1,relu1')
  before = execute(first, tmp_path / 'before')['conv1']
  plans, opened = sweep.plan(build.request(more)), []
  for after in itertools.count(0, step):
    workdir = tmp_path / str(after)
    shutil.copytree(tmp_path / 'before', workdir)
    with pytest.MonkeyPatch.context() as patch:
      dying(patch, after)
      try:
        sweep._opened(plans, str(workdir), '', hosts.ALONE)
        cut = False
      except Killed:
        cut = True
    # export sees the rows of the finished images.
    (layer, *_) = selecting.select(str(workdir)).layers
    assert layer.stems == ('conv1_0003', 'conv1_0001')
    _, jobs = sweep._opened(plans, str(workdir), '', hosts.ALONE)
    missing = [np.concatenate([*job.missing.values()]).tolist() for job in jobs]
    assert missing == [[2, 3], [0, 1, 2, 3]]
    opened.append((workdir / 'config.json').read_bytes())
    found = test_sweep.everything(workdir)['conv1']
    assert found['unit'][:, 0].tolist() == [3, 1, 0, 2]
    for name, array in before.items():
      np.testing.assert_array_equal(found[name][:2], array)
    if not cut:
      break
  assert after > 12 and len(set(opened)) == 1


def test_of_two_that_add_rows_at_once_each_finds_its_own(tmp_path, monkeypatch):
  path = str(tmp_path / 'a')
  fill(begin(path, table([3])))
  write = folders.write

  def slower(file, content, *, once=False):
    monkeypatch.setattr(folders, 'write', write)
    begin(path, table([4, 5]))  # by another process, just before
    return write(file, content, once=once)

  monkeypatch.setattr(folders, 'write', slower)
  kept = begin(path, table([5, 6]))
  fill(kept)
  assert numbers(path) == [30, 40, 50, 60]


def test_a_growth_in_a_bucket_is_that_in_a_directory(tmp_path, monkeypatch):
  with bucket.serving() as served:
    for name, value in served.environment.items():
      monkeypatch.setenv(name, value)
    path = 'gs://bucket/run/a'
    fill(begin(path, table([3, 1])))
    fill(begin(path, table([0, 3], 2)))
    assert numbers(path) == [30, 10, 0, 1, 31]


def test_a_damaged_record_of_rows_is_named(tmp_path):
  path = tmp_path / 'a'
  begin(str(path), table([3, 1]))
  (path / '.rows2.npz').write_bytes(b'PK')
  with pytest.raises(UserError, match=r'rows2.npz. is damaged: remove it'):
    begin(str(path), table([4]))


def test_lists_of_names():
  assert listing.split('a, "b,c" ,d') == ['a', 'b,c', 'd']
  assert listing.split('') == ['']
  for names in (['a,b', 'c'], ['"', 'x"y', '""'], ['a\nb', ''], ['[0]', '*']):
    assert listing.split(listing.typed(names)) == names
  known = ['a,b', 'c', 'cc', '[0]', '0']
  assert listing.matching('"a,b",c*', known) == ({'a,b', 'c', 'cc'}, None)
  assert listing.matching('[0]', known) == ({'[0]'}, None)
  assert listing.matching('c,x', known) == ({'c'}, 'x')
  with pytest.raises(UserError, match='in double quotes'):
    listing.split('"conv5')
