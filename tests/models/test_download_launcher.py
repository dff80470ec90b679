"""vizjax weights, mostly without starting it."""

import os
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
import test_download

from vizjax.cli import weights
from vizjax.errors import UserError
from vizjax.models.download import catalogue
from vizjax.models.download import transfer
from vizjax.models.formats import arrays
from vizjax.models.formats import detect as readers

ROOT = pathlib.Path(__file__).parents[2]
CONTENT = test_download.CONTENT
NAMES = ('one', 'two', 'free')


@pytest.fixture
def home(tmp_path, monkeypatch):
  monkeypatch.setenv(catalogue.VARIABLE, str(tmp_path / 'weights'))
  return tmp_path / 'weights'


@pytest.fixture
def server(home, monkeypatch):
  """Three files of one server, two of them not for commercial use."""
  monkeypatch.setenv('no_proxy', '*')
  monkeypatch.setattr(transfer, 'PAUSE', 0)
  with test_download.Server() as server:
    files = (
      catalogue.File(
        'one', '1.zip', server.address, test_download.RIGHT, 'research only'
      ),
      catalogue.File('two', '2.zip', server.address, None, 'research only'),
      catalogue.File(
        'free', '3.zip', server.address, None, 'CC BY', note='A note.'
      ),
    )
    monkeypatch.setattr(catalogue, 'FILES', files)
    yield server


def test_the_list_has_a_line_for_each_file(home, capsys):
  home.mkdir()
  (home / 'vgg16-397923af.pth').touch()
  weights.do(['list'])
  head, *lines, last = capsys.readouterr().out.splitlines()
  assert head.split() == list(weights._HEAD)
  cells = {line.split()[0]: line.split() for line in lines}
  assert list(cells) == [file.name for file in catalogue.FILES]
  sha1 = '239785e7862442717d831f682bb824055e51e9ba'
  address = (
    'http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/'
    'VGG_ILSVRC_19_layers.caffemodel'
  )
  told = [
    'vgg19',
    'no',
    '574,671,192',
    '-',
    'CC',
    'BY-NC',
    '4.0',
    sha1,
    address,
  ]
  assert cells['vgg19'] == told
  assert cells['torchvision_vgg16'][1:4] == [
    'yes',
    '553,433,881',
    '71.592/90.382',
  ]
  # Bounds are listed beside, though they are no network's weights.
  assert cells['act_range_3x_fc6'][1:5] == ['no', '12,185', '-', 'MIT']
  assert last == f'1 of {len(catalogue.FILES)} are in {home}'


def test_terms_are_told_before_and_a_restriction_once(server, home, capsys):
  weights.do(['fetch', *NAMES])
  out, err = capsys.readouterr()
  assert out.count('NOT FOR COMMERCIAL USE') == 1
  assert out.count('licence: ') == 3 and 'note: A note.' in out
  digest = test_download.sha256(CONTENT)
  assert f'{home / "1.zip"}: SHA-256 {digest}, as published' in out
  assert f'{home / "2.zip"}: SHA-256 {digest}, with none to compare' in out
  assert '512k of 512k' in err


def test_bounds_are_fetched_and_verified_as_weights_are(
  server, home, monkeypatch, capsys
):
  file = catalogue.File(
    *('act_range', 'act_range.txt', server.address, test_download.RIGHT, 'MIT'),
    what='bounds',
  )
  monkeypatch.setattr(catalogue, 'FILES', (*catalogue.FILES, file))
  weights.do(['fetch', 'act_range'])
  out = capsys.readouterr().out
  assert 'licence: MIT: free to use' in out and 'COMMERCIAL' not in out
  assert out.endswith(', as published\n')
  assert (home / 'act_range.txt').read_bytes() == CONTENT
  weights.do(['verify', 'act_range'])
  assert str(home / 'act_range.txt') in capsys.readouterr().out


def test_all_names_are_known_before_the_first_is_fetched(server, home):
  for command in ('fetch', 'verify'):
    with pytest.raises(UserError, match="'fre' is not .* mean 'free'"):
      weights.do([command, 'one', 'fre'])
  assert not server.log and not home.exists()


def test_verify_tells_what_is_right_and_what_is_not(server, home, capsys):
  weights.do(['fetch', 'one'])
  capsys.readouterr()
  weights.do(['verify', 'one'])
  assert capsys.readouterr().out.endswith(', as published\n')
  (home / '1.zip').write_bytes(test_download.OTHER)
  with pytest.raises(UserError, match=test_download.sha256(CONTENT)):
    weights.do(['verify', 'one'])
  with pytest.raises(UserError, match='fetch two'):
    weights.do(['verify', 'two'])


@pytest.mark.parametrize(
  'typed, told',
  [
    ([], 'Commands: list, fetch'),
    (['fetsh', 'one'], "Did you mean 'fetch'"),
    (['fetch'], 'fetch was given no more, expected NAME'),
    (['verify'], 'verify was given no more, expected NAME'),
    (['list', 'one'], 'list was given one, expected no more'),
    (['convert', 'a.pth'], 'convert was given a.pth, expected FILE OUT'),
  ],
)
def test_what_cannot_be_run_is_told_with_what_to_type(typed, told):
  with pytest.raises(UserError, match=told) as raised:
    weights.do(typed)
  assert 'type vizjax weights ' in str(raised.value)


READ = {
  'keras': {'fc8': {'fc8/kernel:0': np.eye(3), 'fc8/bias:0': np.ones(3)}},
  'caffe': {'conv1/7x7_s2': [np.eye(2), np.zeros(2)]},
  'torch': {'features.0.weight': np.eye(2), 'features.0.bias': np.ones(2)},
}
WRITTEN = {
  'keras': {'fc8': {'fc8/kernel': np.eye(3), 'fc8/bias': np.ones(3)}},
  'caffe': {'conv1/7x7_s2': {'0': np.eye(2), '1': np.zeros(2)}},
  'torch': {'features.0': {'weight': np.eye(2), 'bias': np.ones(2)}},
}


@pytest.mark.parametrize('form', READ)
@pytest.mark.parametrize('ending', ['npz', 'safetensors'])
def test_what_any_reader_gives_is_written_by_layer_and_weight(
  form, ending, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(readers, 'read', lambda path: (form, READ[form]))
  out = tmp_path / f'out.{ending}'
  weights.do(['convert', 'FILE', str(out)])
  jax.tree.map(np.testing.assert_array_equal, arrays.read(out), WRITTEN[form])
  layers, count = len(WRITTEN[form]), 2
  told = f'{out}: {count} arrays of {layers} layers, from {form}\n'
  assert capsys.readouterr().out == told


def test_one_format_of_vizjax_becomes_the_other(tmp_path):
  params = {'conv1': {'kernel': np.ones((3, 3, 3, 4), np.float32)}}
  first, second = tmp_path / 'a.npz', tmp_path / 'b.safetensors'
  arrays.write(first, params)
  weights.do(['convert', str(first), str(second)])
  jax.tree.map(np.testing.assert_array_equal, arrays.read(second), params)
  with pytest.raises(UserError, match='expected .* .npz or .safetensors'):
    weights.do(['convert', str(first), str(tmp_path / 'c.txt')])


def test_numbers_that_are_not_finite_are_told_of(tmp_path):
  params = {
    f'conv{i}': {'kernel': np.full(2, value, np.float32)}
    for i, value in enumerate([0, np.nan, np.inf, *[np.nan] * 5])
  }
  arrays.write(tmp_path / 'a.npz', params)
  told = 'a.npz. has NaN or infinite .* conv1.kernel, conv2.*and 2 more: '
  with pytest.warns(UserWarning, match=told):
    weights.do(['convert', str(tmp_path / 'a.npz'), str(tmp_path / 'b.npz')])
  found = arrays.read(tmp_path / 'b.npz')
  jax.tree.map(np.testing.assert_array_equal, found, params)


def test_nothing_is_written_for_a_file_that_is_refused(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  (tmp_path / 'a.pth').write_bytes(b'')
  with pytest.raises(UserError, match='a.pth.* it is empty'):
    weights.do(['convert', '~/a.pth', '~/b.npz'])
  assert os.listdir(tmp_path) == ['a.pth']
  arrays.write(tmp_path / 'a.npz', {'a': {'b': np.ones(1)}})
  with pytest.raises(OSError) as raised:
    weights.do(['convert', '~/a.npz', '~/none/b.npz'])
  assert raised.value.filename == str(tmp_path / 'none')
  weights.do(['convert', '~/a.npz', '~/b.npz'])
  assert (tmp_path / 'b.npz').exists()


# The launcher with one file, of the server at the address that it is given.
LAUNCHER = """
import sys
from vizjax.cli import launch, weights
from vizjax.models.download import catalogue as zoo
address = sys.argv.pop(1)
zoo.FILES = (zoo.File('one', '1.zip', address, None, 'research only'),)
launch.run(weights.main, define=launch.define_quiet, positional=True)
"""


def start(*arguments):
  return subprocess.Popen(
    [sys.executable, *arguments],
    cwd=ROOT,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_a_killed_fetch_goes_on_where_it_was(server, home):
  server.stalls.clear()
  server.cuts = [200_000]
  process = start('-c', LAUNCHER, server.address, 'fetch', 'one')
  partial = home / '.1.zip.partial'
  assert server.stalled.wait(60)  # it has sent all that it will
  while not partial.exists() or partial.stat().st_size < 200_000:
    assert process.poll() is None
  process.send_signal(signal.SIGKILL)
  out, _ = process.communicate(timeout=60)
  assert process.returncode == -signal.SIGKILL
  assert 'NOT FOR COMMERCIAL USE' in out
  assert sorted(p.name for p in home.iterdir()) == [
    '.1.zip.json',
    '.1.zip.partial',
  ]
  server.stalls.set()
  server.log.clear()
  catalogue.fetch('one')
  assert server.log == [('bytes=200000-', 206, len(CONTENT) - 200_000)]
  assert [p.name for p in home.iterdir()] == ['1.zip']
  assert (home / '1.zip').read_bytes() == CONTENT


def test_errors_are_one_line_and_status_two(home):
  home.write_text('a file')  # not a directory
  bad = {
    (
      'verify',
      'vgg16',
      '--traceback=false',
    ): 'fetch vgg16, or put there by hand',
    ('fetch', 'vgg16'): f"'{home}' is a file: expected a folder",
  }
  running = {typed: start('-m', 'vizjax', 'weights', *typed) for typed in bad}
  told = {typed: p.communicate(timeout=60) for typed, p in running.items()}
  for typed, (_, err) in told.items():
    assert running[typed].returncode == 2, err
    assert len(err.strip().splitlines()) == 1, err
    assert bad[typed] in err
