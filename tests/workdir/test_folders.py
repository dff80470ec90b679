"""Folders of results, here and in a bucket."""

import itertools
import pathlib
import re

import bucket
import pytest
import test_sweep

from vizjax import build
from vizjax.errors import UserError
from vizjax.workdir import folders as folders_
from vizjax.workdir import store


@pytest.fixture(params=['directory', 'bucket'])
def folder(request, tmp_path, monkeypatch):
  if request.param == 'directory':
    yield str(tmp_path / 'a folder')
    return
  with bucket.serving() as served:
    for name, value in served.environment.items():
      monkeypatch.setenv(name, value)
    yield 'gs://bucket/a/folder'


def test_what_is_written_is_read(folder):
  file = folders_.File(folder, '.a file')
  assert folders_.read(file) is None
  assert folders_.write(file, b'one')
  assert folders_.read(file) == b'one'
  assert folders_.write(file, b'two')
  assert folders_.read(file) == b'two'
  folders_.write(file, None)
  assert folders_.read(file) is None
  folders_.write(file, None)  # of one that is not there


def test_what_is_written_once_stays(folder):
  file = folders_.File(folder, 'config.json')
  assert folders_.write(file, b'mine', once=True)
  assert not folders_.write(file, b'theirs', once=True)
  assert folders_.read(file) == b'mine'


def test_a_scheme_that_is_unknown_is_an_os_error():
  for use in (folders_.read, lambda file: folders_.write(file, b'')):
    with pytest.raises(OSError, match="'nowhere://x' cannot be .*nowhere"):
      use(folders_.File('nowhere://x', 'a'))


def test_files_beside_the_arrays_need_a_directory(tmp_path):
  assert folders_.local(str(tmp_path), 'type --out=DIR') == tmp_path
  with pytest.raises(UserError, match="'gs://b/c' is no directory.*--out=DIR"):
    folders_.local('gs://b/c', 'type --out=DIR')


def test_a_bucket_that_is_misspelt_makes_no_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ('gs:/', 'gs:', 'gs:b/c', 's3:/b/c', 'gs://', 's3:///b'):
    said = f"'{name}' names no bucket: type {name[:2]}://BUCKET/PATH, or ./"
    for use in (
      lambda name=name: store.claim(name, {'config': {}, 'fingerprint': ''}),
      lambda name=name: folders_.read(folders_.File(name, 'a')),
      lambda name=name: folders_.local(name, 'advice'),
    ):
      with pytest.raises(UserError, match=re.escape(said)):
        use()
  assert not list(tmp_path.iterdir())
  assert folders_.read(folders_.File('./gs:', 'a')) is None


def test_files_that_are_made_stay_out_of_the_arrays(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  given = ('export/png', 'type --out=DIR')
  for out in ('w', 'w/conv5', './w/pictures', 'v/../w/export/../conv5'):
    with pytest.raises(
      UserError, match="is inside the workdir 'w/', .* for w/export/png$"
    ):
      folders_.output(out, 'w/', *given)
  for out in ('v', 'w2', 'w/export', 'w/export/png/a'):
    assert folders_.output(out, 'w', *given) == pathlib.Path(out)
  assert folders_.output('.', 'w', *given) == tmp_path  # which has a name
  with pytest.raises(UserError, match='^--out is empty: type --out=DIR'):
    folders_.output('', 'w', *given)
  assert folders_.output(None, 'w', *given) == pathlib.Path('w/export/png')
  assert folders_.output('v', 'gs://b/w', *given) == pathlib.Path('v')
  for out, workdir in ((None, 'gs://b/w'), ('gs://b/v', 'w')):
    with pytest.raises(UserError, match='is no directory.*type --out=DIR'):
      folders_.output(out, workdir, *given)


def test_a_sweep_into_a_bucket_is_that_into_a_directory(tmp_path, monkeypatch):
  c = test_sweep.few(units='0:4', batch=2)
  here = test_sweep.execute(c, tmp_path)['conv1']
  with bucket.serving() as served:
    for name, value in served.environment.items():
      monkeypatch.setenv(name, value)
    workdir = 'gs://bucket/deep/run'
    plans = test_sweep.sweep.plan(build.request(c))
    test_sweep.sweep.execute(plans, workdir)
    assert store.read_config(workdir)['config']['units'] == '0:4'
    (path,) = store.layers(workdir).values()
    kept = store.open_(path)
    there = {name: store.read(kept, name) for name in kept.arrays}
    test_sweep.assert_same({'conv1': here}, {'conv1': there})
    with pytest.raises(UserError, match='steps: 1 there, 2 here'):
      other = test_sweep.few(units='0:4', batch=2, steps=2)
      test_sweep.sweep.execute(
        test_sweep.sweep.plan(build.request(other)), workdir
      )

    served.refuse = lambda method, key: 403 if method == 'POST' else None
    with pytest.raises(OSError, match='gs://bucket/other.*PERMISSION_DENIED'):
      test_sweep.sweep.execute(plans, 'gs://bucket/other')


def test_a_plain_name_is_its_folder():
  plain = ('conv5', 'conv1/7x7_s2', 'Conv2D_3:0', 'a.b', 'features-0', '[0]')
  spelled = [folders_.spelled(name) for name in (*plain, 'ünï', 'a b')]
  assert spelled == [n.replace('/', '--') for n in (*plain, 'ünï', 'a b')]


def test_no_two_layers_share_a_folder_and_none_leaves_the_workdir():
  parts = ('a', '/', '-', '.', '%', '%2E', '', '--', '2E', '\n', '\\')
  names = {''.join(some) for some in itertools.product(parts, repeat=4)}
  names |= {'x' * n for n in range(100, 400)} | {'/x' * 80, '/x' * 81}
  names |= {'examples', 'atlas', 'Export', 'shown', 'config.json', 'data.js'}
  folders = {name: folders_.spelled(name) for name in names}
  assert len(set(folders.values())) == len(names)
  for folder in folders.values():
    assert folder and not {'/', '\\'} & {*folder} and not folder.startswith('.')
    assert len(folder.encode()) < 200 and folder.isprintable()
  taken = {'examples', 'atlas', 'export', 'shown', 'config.json', 'data.js'}
  assert not taken & {folder.casefold() for folder in folders.values()}
  assert folders['a--a'] == '%61%2D%2Da' and folders['a/a'] == 'a--a'
  assert folders['..'] == '%2E%2E'


def test_a_change_is_made_to_what_is_there_now(tmp_path):
  file = folders_.File(str(tmp_path), 'a')
  folders_.write(file, b'1')
  asked = []

  def edit(content):
    if not asked:
      folders_.write(file, b'2')  # another process is quicker
    asked.append(content)
    return content + b'3'

  folders_.change(file, edit)
  assert asked == [b'1', b'2'] and folders_.read(file) == b'23'
