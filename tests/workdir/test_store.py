"""Arrays on disk: whole, refused where foreign, and safe at every write."""

import conftest
from concurrent import futures
import itertools
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from vizjax.errors import UserError
from vizjax.sweeps import results
from vizjax.workdir import store

FIELDS = {
  'image': ((2, 3, 3), np.float32),
  'score': ((), np.float32),
  'unit': ((3,), np.int32),
  'trace/score': ((4,), np.float32),
}
COUNT, CHUNK = 7, 3  # two chunks of three, and one of one
PROVENANCE = {'config': {'rate': 1.0, 'batch': 64}, 'fingerprint': 'ab12'}


class Crash(Exception):
  """What happens at a write that never happens."""


class Fragile:
  """An array of a store that fails where `fails` says so.

  Args:
    array: what is written to otherwise.
    fails: () -> 'before' or 'during' or None, asked at every write.
  """

  def __init__(self, array, fails):
    self.array, self.fails = array, fails

  def __getitem__(self, part):
    return Fragile(self.array[part], self.fails)

  def read(self):
    return self.array.read()

  def write(self, values, **options):
    when = self.fails()
    if when == 'before':
      raise Crash
    future = self.array.write(values)
    return Broken() if when == 'during' else future


class Broken:
  """The future of a write that fails later."""

  def result(self):
    raise Crash


def contents(number, seed=0):
  """What a chunk holds, by its number."""
  rows = len(range(COUNT)[number * CHUNK : (number + 1) * CHUNK])
  draw = np.random.RandomState(100 * seed + number)
  return {
    name: draw.randint(1, 99, (rows, *shape)).astype(dtype)
    for name, (shape, dtype) in FIELDS.items()
  }


def fill(kept):
  for number, rows in store.missing(kept).items():
    store.write(kept, rows, contents(number))


def rows_of(number):
  return np.arange(COUNT)[number * CHUNK : (number + 1) * CHUNK]


def put(kept, number):
  store.write(kept, rows_of(number), contents(number))


def everything(path):
  kept = store.open_(path)
  return {name: store.read(kept, name) for name in kept.arrays}


def make(tmp_path, name='conv1'):
  return store.create(tmp_path / name, FIELDS, COUNT, CHUNK)


def test_what_is_written_is_read(tmp_path):
  fill(make(tmp_path))
  found = everything(tmp_path / 'conv1')
  chunks = [contents(number) for number in range(3)]
  for name, (shape, dtype) in FIELDS.items():
    expected = np.concatenate([chunk[name] for chunk in chunks])
    np.testing.assert_array_equal(found[name], expected)
    assert found[name].dtype == dtype and found[name].shape == (7, *shape)
  np.testing.assert_array_equal(found['done'], np.ones(7))


def test_some_rows_are_read(tmp_path):
  kept = make(tmp_path)
  fill(kept)
  whole = store.read(kept, 'image')
  np.testing.assert_array_equal(store.read(kept, 'image', 4), whole[4])
  some = store.read(kept, 'image', slice(2, 5))
  np.testing.assert_array_equal(some, whole[2:5])


def test_rows_that_are_not_made_are_nan_or_zero(tmp_path):
  kept = make(tmp_path)
  put(kept, 1)
  found = everything(tmp_path / 'conv1')
  for rows in (slice(0, 3), slice(6, 7)):
    for name in ('image', 'score', 'trace/score'):
      assert np.isnan(found[name][rows]).all()
    assert not found['unit'][rows].any() and not found['done'][rows].any()
  assert np.isfinite(found['score'][3:6]).all()


def test_chunks_are_missing_until_they_are_done(tmp_path):
  kept = make(tmp_path)
  assert list(store.missing(kept)) == [0, 1, 2]
  put(kept, 2)
  assert list(store.missing(kept)) == [0, 1]
  put(kept, 0)
  assert list(store.missing(store.open_(tmp_path / 'conv1'))) == [1]


def test_rows_are_missing_until_they_are_done(tmp_path):
  kept = make(tmp_path)
  two = {name: array[:2] for name, array in contents(1).items()}
  store.write(kept, np.array([3, 5]), two)  # some of a chunk
  found = {number: list(rows) for number, rows in store.missing(kept).items()}
  assert found == {0: [0, 1, 2], 1: [4], 2: [6]}
  image = store.read(kept, 'image')
  np.testing.assert_array_equal(image[[3, 5]], two['image'])
  assert np.isnan(image[4]).all()


def test_the_last_chunk_is_shorter(tmp_path):
  kept = make(tmp_path)
  rows = store.missing(kept).values()
  assert [list(each) for each in rows] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_store_keeps_its_chunk(tmp_path):
  make(tmp_path)
  again = store.create(tmp_path / 'conv1', FIELDS, COUNT, 5)
  assert (again.count, again.chunk) == (7, 3)


def test_arrays_that_are_there_are_not_made_again(tmp_path):
  fill(make(tmp_path))
  before = everything(tmp_path / 'conv1')
  assert store.missing(make(tmp_path)) == {}
  assert_same(before, everything(tmp_path / 'conv1'))


def test_a_name_with_a_slash_is_one_directory(tmp_path):
  path = store.directory(str(tmp_path), 'inception/3a')
  assert path == str(tmp_path / 'inception--3a')
  fill(store.create(path, FIELDS, COUNT, CHUNK))
  assert [entry.name for entry in tmp_path.iterdir()] == ['inception--3a']
  assert set(everything(path)) == {*FIELDS, 'done'}


def test_layers_that_are_begun_are_found_in_their_order(tmp_path):
  names = ['inception/3a', 'conv1', 'conv2', 'fc6']
  store.claim(str(tmp_path), PROVENANCE | {'layers': names})
  assert store.layers(str(tmp_path)) == {}
  for name in ('fc6', 'conv1', 'inception/3a'):
    path = store.directory(str(tmp_path), name)
    store.create(path, FIELDS, COUNT, CHUNK)
  assert store.layers(str(tmp_path)) == {
    name: store.directory(str(tmp_path), name)
    for name in ('inception/3a', 'conv1', 'fc6')
  }


def test_columns_that_are_known_are_there_at_once(tmp_path):
  columns = {'unit': np.arange(3 * COUNT, dtype=np.int32).reshape(COUNT, 3)}
  fields = {name: FIELDS[name] for name in FIELDS if name not in columns}
  kept = store.create(tmp_path / 'conv1', fields, COUNT, CHUNK, columns)
  np.testing.assert_array_equal(store.read(kept, 'unit'), columns['unit'])
  assert set(kept.arrays) == {*FIELDS, 'done'}
  assert (kept.count, kept.chunk) == (COUNT, CHUNK)


def test_a_layer_is_a_group_that_names_its_arrays(tmp_path):
  make(tmp_path)
  group = json.loads((tmp_path / 'conv1' / 'zarr.json').read_text())
  assert group['node_type'] == 'group'
  assert set(group['attributes']['arrays']) == {*FIELDS, 'done'}
  (tmp_path / 'conv1' / 'zarr.json').write_text('{"zarr_format": 3}')
  with pytest.raises(UserError, match="conv1' is damaged: remove that fol"):
    store.open_(tmp_path / 'conv1')


def test_a_creation_that_was_cut_is_made_again(tmp_path):
  # All that there can be of it: any of the arrays, also in other chunks.
  make(tmp_path, 'whole')
  for k, name in enumerate([*FIELDS, 'done']):
    for chunk in (CHUNK, CHUNK + 1):
      cut = tmp_path / f'{k}-{chunk}'
      other = store.create(tmp_path / 'other', FIELDS, COUNT, chunk)
      shutil.copytree(tmp_path / 'other' / name, cut / name)
      assert other.chunk == chunk
      shutil.rmtree(tmp_path / 'other')
      with pytest.raises(UserError, match='holds no results'):
        store.open_(cut)
      kept = store.create(cut, FIELDS, COUNT, CHUNK)
      fill(kept)
      assert (kept.count, kept.chunk) == (COUNT, CHUNK)
      assert set(everything(cut)) == {*FIELDS, 'done'}


@pytest.mark.parametrize('when', ['during', *conftest.slow('before')])
def test_killed_at_any_write_a_store_is_finished_the_same(tmp_path, when):
  fill(make(tmp_path, 'undisturbed'))
  undisturbed = everything(tmp_path / 'undisturbed')
  writes = 3 * (len(FIELDS) + 1)
  for k in range(writes):
    kept = make(tmp_path, f'cut{k}')
    left = itertools.chain([None] * k, [when], itertools.repeat(None))
    fragile = {
      name: Fragile(array, lambda left=left: next(left))
      for name, array in kept.arrays.items()
    }
    with pytest.raises(Crash):
      fill(kept._replace(arrays=fragile))
    again = make(tmp_path, f'cut{k}')
    # 'done' is the last of a chunk's five writes.
    if when == 'before':
      assert list(store.missing(again)) == [0, 1, 2][k // 5 :]
    fill(again)
    assert_same(undisturbed, everything(tmp_path / f'cut{k}'))


def test_done_is_written_after_all_else_has_committed(tmp_path):
  kept = make(tmp_path)
  log = []

  class Logged(Fragile):
    def __init__(self, array, name):
      super().__init__(array, lambda: None)
      self.name = name

    def __getitem__(self, part):
      return Logged(self.array[part], self.name)

    def write(self, values, **options):
      log.append(('begun', self.name))
      future = super().write(values)
      return Watched(future, self.name)

  class Watched:
    def __init__(self, future, name):
      self.future, self.name = future, name

    def result(self):
      log.append(('committed', self.name))
      return self.future.result()

  logged = {name: Logged(array, name) for name, array in kept.arrays.items()}
  put(kept._replace(arrays=logged), 0)
  begun = log.index(('begun', 'done'))
  committed = {name for what, name in log[:begun] if what == 'committed'}
  assert committed == set(FIELDS)


def test_a_new_directory_is_claimed(tmp_path):
  workdir = tmp_path / 'deep' / 'new'
  assert store.claim(str(workdir), PROVENANCE) is False
  assert store.read_config(str(workdir)) == PROVENANCE
  assert [entry.name for entry in workdir.iterdir()] == ['config.json']


def test_an_earlier_run_is_found_again(tmp_path):
  store.claim(str(tmp_path), PROVENANCE | {'versions': {'jax': '1'}})
  later = PROVENANCE | {'versions': {'jax': '2'}}
  assert store.claim(str(tmp_path), later) is True
  assert store.read_config(str(tmp_path))['versions'] == {'jax': '1'}
  assert [entry.name for entry in tmp_path.iterdir()] == ['config.json']


def test_of_several_claims_at_once_one_is_the_first(tmp_path):
  workdir = str(tmp_path / 'new')
  with futures.ThreadPoolExecutor(8) as pool:
    claims = [pool.submit(store.claim, workdir, PROVENANCE) for _ in range(8)]
    found = [claim.result() for claim in claims]
  assert sorted(found) == [False] + [True] * 7
  assert store.read_config(workdir) == PROVENANCE


def test_a_disk_that_is_full_is_an_os_error(tmp_path, monkeypatch):
  kept = make(tmp_path)

  class Full:
    def __getitem__(self, rows):
      return self

    def write(self, values, **options):
      raise ValueError('RESOURCE_EXHAUSTED: No space left on device [os=28]')

  full = kept._replace(arrays=kept.arrays | {'score': Full()})
  with pytest.raises(OSError, match='conv1.* No space left on device.*same'):
    put(full, 0)
  assert list(store.missing(make(tmp_path))) == [0, 1, 2]


def test_a_directory_with_other_files_is_refused(tmp_path):
  (tmp_path / 'thesis.tex').write_text('years')
  with pytest.raises(UserError, match=r"holds other files \('?thesis.tex"):
    store.claim(str(tmp_path), PROVENANCE)
  assert [entry.name for entry in tmp_path.iterdir()] == ['thesis.tex']


def test_a_lock_of_another_claim_is_no_other_file(tmp_path):
  (tmp_path / 'config.json.__lock').touch()
  assert not store.claim(str(tmp_path), PROVENANCE)


def test_another_config_is_refused_by_its_fields(tmp_path):
  store.claim(
    str(tmp_path),
    {'config': {'rate': 1.0, 'seed': 3, 'old': 5}, 'fingerprint': 'ab12'},
  )
  other = {
    'config': {'rate': 2.0, 'seed': 3, 'new': None},
    'fingerprint': 'ab12',
  }
  with pytest.raises(UserError) as error:
    store.claim(str(tmp_path), other)
  message = str(error.value)
  assert 'rate: 1.0 there, 2.0 here' in message
  assert "old: 5 there, '(absent)' here" in message
  assert "new: '(absent)' there, None here" in message
  assert 'seed' not in message and 'weights' not in message


def test_a_field_that_is_new_was_its_default(tmp_path):
  store.claim(str(tmp_path), PROVENANCE)
  rules = store.Rules(defaults={'new': None, 'newer': 1, 'rate': 7.0})
  later = PROVENANCE['config'] | {'new': None, 'newer': 1}
  assert store.claim(str(tmp_path), PROVENANCE | {'config': later}, rules)
  later['newer'] = 2
  with pytest.raises(UserError, match='config .newer: 1 there, 2 here.:'):
    store.claim(str(tmp_path), PROVENANCE | {'config': later}, rules)


def test_other_weights_are_refused(tmp_path):
  store.claim(str(tmp_path), PROVENANCE)
  with pytest.raises(UserError, match='the weights or arrays'):
    store.claim(str(tmp_path), PROVENANCE | {'fingerprint': 'cd34'})


def test_the_batch_may_change(tmp_path):
  store.claim(str(tmp_path), PROVENANCE)
  config = PROVENANCE['config'] | {'batch': 3}
  assert store.claim(str(tmp_path), PROVENANCE | {'config': config})


def test_values_that_json_turns_into_others_still_compare_equal(tmp_path):
  config = {'shape': (3, 4), 'nested': {'a': (1,)}}
  provenance = {'config': config, 'fingerprint': ''}
  store.claim(str(tmp_path), provenance)
  assert store.claim(str(tmp_path), provenance) is True


def test_a_path_below_a_file_is_an_os_error(tmp_path):
  (tmp_path / 'file').write_text('')
  for name in ('file', 'file/below'):
    with pytest.raises(OSError):
      store.claim(str(tmp_path / name), PROVENANCE)


@pytest.mark.parametrize('text', ['', '{"config": {"rate"', '\x00\x01'])
def test_a_damaged_config_is_said_to_be_damaged(tmp_path, text):
  (tmp_path / 'config.json').write_text(text)
  for use in (
    store.read_config,
    lambda workdir: store.claim(workdir, PROVENANCE),
  ):
    with pytest.raises(UserError, match='config.json.* is damaged'):
      use(str(tmp_path))


@pytest.mark.parametrize(
  'name, value',
  [
    ('layers', 3),
    ('layers', [1]),
    ('fingerprint', 3),
    ('format', 'x'),
    ('format', 0),
    ('digests', {}),
    ('digests', {'request': 1}),
    ('makers', []),
    ('makers', [1]),
    ('network', None),
    ('network', [['conv1']]),
    ('labels', [1]),
    ('labels', {'conv1': 'a'}),
    ('subjects', ['layer']),
    ('subjects', {'conv1': 3}),
    ('asked', 'x'),
    ('versions', None),
  ],
)
def test_an_entry_of_another_kind_is_damage(tmp_path, name, value):
  content = {'config': {}, 'fingerprint': '', name: value}
  (tmp_path / store.CONFIG).write_text(json.dumps(content))
  with pytest.raises(UserError, match=f"json' is damaged .its '{name}' is "):
    store.read_config(str(tmp_path))


def test_a_config_of_format_2_without_digests_is_damage(tmp_path):
  content = {'config': {}, 'fingerprint': '', 'format': 2}
  (tmp_path / store.CONFIG).write_text(json.dumps(content))
  with pytest.raises(UserError, match="lacks some of .*'digests', 'makers'"):
    store.read_config(str(tmp_path))


def test_a_row_is_of_no_maker_until_it_is_written(tmp_path):
  fields = FIELDS | {store.MAKER: ((), np.int32)}
  kept = store.create(tmp_path / 'conv1', fields, COUNT, CHUNK)
  maker = np.zeros(CHUNK, np.int32)
  store.write(kept, rows_of(0), contents(0) | {store.MAKER: maker})
  assert store.read(kept, store.MAKER).tolist() == [0] * 3 + [-1] * 4


def test_a_knob_that_json_cannot_hold_is_refused(tmp_path):
  content = {'config': {'extra': len}, 'fingerprint': ''}
  with pytest.raises(UserError, match='cannot be stored .*function.* formula'):
    store.claim(str(tmp_path), content)


@pytest.mark.parametrize('text', ['[]', '{}', '{"config": {}}', 'null'])
def test_a_config_of_something_else_is_said_to_be_damaged(tmp_path, text):
  (tmp_path / 'config.json').write_text(text)
  with pytest.raises(UserError, match='is damaged'):
    store.claim(str(tmp_path), PROVENANCE)


def test_a_directory_that_is_no_workdir_is_said_to_be_none(tmp_path):
  with pytest.raises(UserError, match='is not a workdir'):
    store.read_config(str(tmp_path))


def test_a_layer_that_is_not_there_holds_no_results(tmp_path):
  for path in (tmp_path, tmp_path / 'absent'):
    with pytest.raises(UserError, match='holds no results'):
      store.open_(path)


@pytest.mark.parametrize('content', [b'', b'garbage'])
def test_a_damaged_chunk_is_a_line_that_says_what_to_remove(tmp_path, content):
  kept = make(tmp_path)
  (rows, *_) = store.missing(kept).values()
  arrays = {n: np.ones((len(rows), *s), d) for n, (s, d) in FIELDS.items()}
  store.write(kept, rows, arrays)
  for path in (tmp_path / 'conv1' / 'score' / 'c').iterdir():
    path.write_bytes(content)
  again = store.open_(tmp_path / 'conv1')
  for use in (
    lambda: store.read(again, 'score'),
    lambda: store.write(again, rows[:1], {'score': np.ones(1, np.float32)}),
  ):
    with pytest.raises(UserError) as error:
      use()
    assert str(error.value) == (
      f"'{tmp_path}/conv1' is damaged: remove that folder, and the same "
      'vizjax run command makes its images again'
    )


def test_a_damaged_array_is_named(tmp_path):
  make(tmp_path)
  (tmp_path / 'conv1' / 'score' / 'zarr.json').write_text('{"zarr')
  with pytest.raises(UserError, match="conv1' is damaged: remove that fol"):
    store.open_(tmp_path / 'conv1')


def assert_same(one, other):
  """Equal names and equal bits, NaN included."""
  assert set(one) == set(other)
  for name, array in one.items():
    np.testing.assert_array_equal(array, other[name])


def test_bfloat16_that_is_not_written_yet_is_nan(tmp_path):
  fields = {'score': ((), jnp.bfloat16), 'trace': ((3,), jnp.bfloat16)}
  kept = store.create(tmp_path / 'l', fields, 4, 2)
  # The second step of each trace is that of a run which stopped.
  rows = {'score': np.ones(2), 'trace': np.ones((2, 2))}
  store.write(kept, np.arange(2), results.rows(fields, rows))
  assert (
    np.isnan(store.read(kept, 'score')).tolist() == [False] * 2 + [True] * 2
  )
  trace = np.isnan(store.read(kept, 'trace'))
  assert trace[:2].tolist() == [[False, False, True]] * 2 and trace[2:].all()


def test_of_two_that_make_the_arrays_at_once_the_first_decides(
  tmp_path, monkeypatch
):
  """Two commands with other values of config.batch lose no row."""
  create, arrays = store._create_arrays, {'score': np.ones(2, np.float32)}
  fields = {'score': FIELDS['score']}

  def second(*arguments):
    monkeypatch.setattr(store, '_create_arrays', create)
    kept = store.create(tmp_path / 'l', fields, 6, 3)
    store.write(kept, np.arange(2), arrays)
    create(*arguments)

  monkeypatch.setattr(store, '_create_arrays', second)
  kept = store.create(tmp_path / 'l', fields, 6, 2)
  assert kept.chunk == 2
  assert store.missing(kept)[1].tolist() == [2, 3]
  store.write(kept, np.arange(2, 4), arrays)
  assert store.read(kept, 'score')[:4].tolist() == [1.0] * 4
