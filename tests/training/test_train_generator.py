"""Training a generator: its plan, its workdir, the command."""

import conftest
import csv
import json
import pathlib
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
import test_configs
import test_launchers

from vizjax.errors import UserError
from vizjax.generators import networks
from vizjax.photographs import datasets
from vizjax.training import crops
from vizjax.training import plans
from vizjax.training import runs
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

FIXTURES = pathlib.Path(__file__).parents[3] / 'shared' / 'fixtures'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Fourteen pictures of a few blobs, upright and lying."""
  folder = tmp_path_factory.mktemp('pictures')
  draw = np.random.RandomState(0)
  for number in range(14):
    small = Image.fromarray(draw.randint(0, 256, (3, 4, 3)).astype(np.uint8))
    size = (20, 15) if number % 2 else (15, 20)
    small.resize(size, Image.Resampling.BICUBIC).save(folder / f'{number}.png')
  return folder


def configured(folder, **fields):
  config = plans.config()
  config.model = 'toynets.net()'
  config.layer = 'relu2'
  config.data = str(folder)
  config.held_out = 4
  config.steps = 7
  config.every = 3
  config.batch_size = 4
  config.widths = (8,)
  config.rate = 0.01
  config.shown = 3
  config.update(fields)
  return config


@pytest.fixture(scope='module')
def planned(folder):
  """A configuration with two losses, and its plan."""
  config = configured(folder, feature_weight=0.5)
  return config, plans.plan(config)


def run(planned, workdir, report=lambda progress: None):
  with jax.numpy_rank_promotion('raise'):
    return runs.execute(*planned, str(workdir), report, 'source')


@pytest.fixture(scope='module')
def undisturbed(planned, tmp_path_factory):
  """A workdir, what was reported, the result."""
  workdir = tmp_path_factory.mktemp('undisturbed') / 'w'
  reports = []
  return workdir, reports, run(planned, workdir, reports.append)


def test_the_constants_are_means_of_the_crops(planned):
  config, plan = planned
  found = plans.constants(config, plan)
  size = plan.model.input_shape[:2]
  batches = crops.batches(plan.data, plan.kept, plan.how, size, seed=0, size=4)
  images = np.concatenate([next(batches) for _ in range(3)]).astype(float)
  mean = images.mean(0)
  np.testing.assert_allclose(found.image, mean, rtol=1e-6)
  acts = [plan.model(jnp.float32(image))['relu2'] for image in images]
  acts = np.array(acts, float)
  # float32 means of squares, of which nearly all cancels in a variance.
  np.testing.assert_allclose(
    found.image_variance, ((images - mean) ** 2).mean(), rtol=1e-4
  )
  np.testing.assert_allclose(
    found.feature_variance, ((acts - acts.mean(0)) ** 2).mean(), rtol=1e-4
  )
  np.testing.assert_allclose(found.code_square, (acts**2).mean(), rtol=1e-5)


def test_a_run_leaves_all_that_is_to_be_known(planned, undisturbed, folder):
  config, plan = planned
  workdir, reports, result = undisturbed
  assert [r.step for r in reports] == list(range(1, 8))
  assert not reports[0].losses and set(reports[1].losses) >= {'sum', 'image'}
  with (workdir / 'losses.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert [row['step'] for row in rows] == ['3', '6', '7']
  mean = np.mean([r.losses['image'] for r in reports[1:4]])
  np.testing.assert_allclose(float(rows[0]['image']), mean, rtol=1e-5)
  assert float(rows[-1]['image']) < float(rows[0]['image'])
  grids = sorted(path.name for path in (workdir / 'grids').iterdir())
  assert grids == ['0000003.png', '0000006.png', '0000007.png']
  assert json.loads((workdir / 'result.json').read_text()) == result
  told = store.read_config(str(workdir))
  held = crops.split(14, 4)[1]
  names = [example.id for example in datasets.open(str(folder))]
  assert told['held_out'] == [names[number] for number in held]
  assert told['source'] == 'source' and told['versions']['jax']
  assert told['config']['layer'] == 'relu2' and told['run']['every'] == 3


def test_the_result_is_measured_on_what_is_held_out(planned, undisturbed):
  config, plan = planned
  workdir, _, result = undisturbed
  net, generator = plan.model, networks.trained(str(workdir))
  shown = plan.held.images
  assert len(shown) == result['photographs'] == 4
  codes = [net(jnp.float32(image))['relu2'] for image in shown]
  made = [generator(code)['picture'] for code in codes]
  made = np.clip(np.array(made) + np.array(net.mean), 0, 255)
  mean = plans.constants(config, plan).image
  others = {'reconstruction': made, 'mean_image': mean[None]}
  errors = {
    name: ((shown - other) ** 2).mean((1, 2, 3))
    for name, other in others.items()
  }
  for name, error in errors.items():
    np.testing.assert_allclose(
      result['pixel_error'][name], error.mean(), rtol=1e-4
    )
    images = np.broadcast_to(others[name], shown.shape)
    seen = [net(jnp.float32(image))['relu2'] for image in images]
    apart = np.sum((np.array(seen) - np.array(codes)) ** 2)
    np.testing.assert_allclose(
      result['feature_error'][name],
      apart / np.sum(np.array(codes) ** 2),
      rtol=1e-3,
    )
  better = np.sum(errors['reconstruction'] < errors['mean_image'])
  assert result['better_than_mean_image'] == better
  apart = ((made[:, None] - shown[None]) ** 2).mean((2, 3, 4))
  assert result['identified'] == np.sum(apart.argmin(1) == np.arange(4))


def contents(workdir):
  """What must not depend on an interruption."""
  files = ('generator.npz', 'losses.csv', 'result.json', 'grids/0000007.png')
  return {name: (workdir / name).read_bytes() for name in files}


@pytest.mark.parametrize('at', [5, *conftest.slow(1, 7)])
def test_interrupted_and_resumed_the_numbers_are_the_same(
  at, planned, undisturbed, tmp_path
):
  def stop(progress):
    if progress.step == at:
      raise KeyboardInterrupt

  workdir, _, result = undisturbed
  with pytest.raises(KeyboardInterrupt):
    run(planned, tmp_path / 'w', stop)
  assert not (tmp_path / 'w' / 'result.json').exists()
  seen = []
  assert run(planned, tmp_path / 'w', seen.append) == result
  assert seen[0].step == {1: 1, 5: 4, 7: 7}[at]  # after the last checkpoint
  assert contents(tmp_path / 'w') == contents(workdir)


def stopping(function, calls):
  """The function, but for an interruption after so many calls."""
  left = iter(range(calls))

  def stop(*args, **kwargs):
    if next(left, None) is None:
      raise KeyboardInterrupt
    return function(*args, **kwargs)

  return stop


@pytest.mark.parametrize(
  'module, name',
  [
    (store, 'claim'),
    (runs, '_checkpoints'),
    (networks, 'write'),
    *conftest.slow(
      (plans.crops, 'batches'),
      (runs, '_note'),
      (runs, '_draw'),
      (runs, '_result'),
    ),
  ],
)
def test_killed_between_any_two_writes_the_numbers_are_the_same(
  module, name, planned, undisturbed, tmp_path, monkeypatch
):
  workdir, _, result = undisturbed
  function = getattr(module, name)
  for calls in (0, 1):  # before the first one, and before the second
    stop = stopping(function, calls)
    monkeypatch.setattr(module, name, stop)
    try:
      run(planned, tmp_path / 'w')
    except KeyboardInterrupt:
      pass
    monkeypatch.undo()
  assert run(planned, tmp_path / 'w') == result
  assert contents(tmp_path / 'w') == contents(workdir)


def test_a_finished_run_is_left_alone(planned, undisturbed):
  workdir, reports, result = undisturbed
  before = {p: p.stat().st_mtime_ns for p in workdir.rglob('*')}
  assert run(planned, workdir, reports.append) == result
  assert before == {p: p.stat().st_mtime_ns for p in workdir.rglob('*')}
  assert len(reports) == 7


def test_another_config_is_refused(planned, undisturbed, folder):
  workdir, *_ = undisturbed
  config, plan = planned
  other = configured(folder, **config.to_dict())
  other.update(rate=0.5, steps=9, every=2)
  with pytest.raises(UserError, match='rate: 0.01 there, 0.5 here; steps: 7'):
    run((other, plan), workdir)
  with pytest.raises(UserError, match='rate: 0.01 there, 0.5 here; steps: 7'):
    runs.check(other, plan, str(workdir))
  runs.check(config, plan, str(workdir))
  fewer = plan._replace(held=plan.held._replace(images=plan.held.images[:3]))
  with pytest.raises(UserError, match='weights or arrays'):
    run((config, fewer), workdir)


def test_a_bucket_is_refused_before_anything_is_made(
  planned, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  for name, words in (
    ('gs://b/w', 'is no directory.*--workdir=DIR'),
    ('gs:/b', 'no bucket'),
  ):
    for use in (run, lambda both, workdir: runs.check(*both, workdir)):
      with pytest.raises(UserError, match=words):
        use(planned, name)
  assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_is_told(planned, tmp_path):
  def stop(progress):
    if progress.step == 5:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run(planned, tmp_path / 'w', stop)
  for path in (tmp_path / 'w' / 'checkpoints' / '3').rglob('*'):
    if path.is_file():
      path.write_bytes(b'damaged')
  with pytest.raises(UserError, match="checkpoints/3' cannot be read") as error:
    run(planned, tmp_path / 'w')
  assert '\n' not in str(error.value)


def test_losses_that_are_no_numbers_end_it(planned, tmp_path, monkeypatch):
  constants = plans.constants(*planned)._replace(image_variance=np.nan)
  monkeypatch.setattr(plans, 'constants', lambda config, plan: constants)
  with pytest.raises(UserError, match='before 3 are not finite.*config.rate'):
    run(planned, tmp_path / 'w')
  assert not (tmp_path / 'w' / 'generator.npz').exists()


def test_a_damaged_photograph_is_named(folder, tmp_path):
  for path in folder.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  held = crops.split(14, 4)[1]
  names = [example.id for example in datasets.open(str(folder))]
  kept = next(n for i, n in enumerate(names) if i not in held)
  config = configured(tmp_path)
  plan = plans.plan(config)
  (tmp_path / kept).write_bytes(b'damaged')
  with pytest.raises(UserError, match=f"{kept}' cannot be decoded") as error:
    run((config, plan), tmp_path / 'w')
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'w').exists()
  (tmp_path / names[held[0]]).write_bytes(b'damaged')
  with pytest.raises(UserError, match=f"{names[held[0]]}' cannot be decoded"):
    plans.plan(config)


BAD = {
  'unknown layer': ({'layer': 'relu3'}, "'relu3' is not.*Did you mean 'relu"),
  'unknown comparator': ({'comparator': 'relu3'}, "'relu3' is not in the net"),
  'unknown network': ({'model': "load('alexnet')"}, '^config.model: '),
  'a grey network': ({'model': 'toynets.grey()'}, '^config.model: '),
  'no photographs': ({'data': ''}, '--config.data=DIR'),
  'no folder': ({'data': 'nowhere'}, "'nowhere' is not a folder"),
  'too few': ({'held_out': 14}, '14 photographs, of which 14.*held_out'),
  'none held out': ({'held_out': 0}, 'config.held_out is 0, expected'),
  'no steps': ({'steps': 0}, 'config.steps is 0, expected a whole number'),
  'many steps': (
    {'steps': 2**31},
    'expected a whole number from 1 to 2147483647',
  ),
  'no batch': ({'batch_size': 0}, 'config.batch_size is 0, expected'),
  'a negative seed': ({'seed': -1}, 'config.seed is -1, expected a whole'),
  'no loss': ({'image_weight': 0.0}, 'expected numbers >= 0, one of them more'),
  'a negative one': ({'feature_weight': -1.0}, 'feature_weight -1.0'),
  'no widths': ({'widths': ()}, 'widths are'),
  'too small': ({'preprocessing': 'warp:9:bilinear'}, '--config.preproc'),
  'no optimizer': ({'optimizer': 'adm(rate)'}, "mean 'adam'"),
  'a line search': ({'optimizer': 'lbfgs()'}, "'lbfgs.*expected one as 'adam"),
}


@pytest.mark.parametrize('name', BAD)
def test_what_is_wrong_is_told_in_one_line(name, folder):
  fields, words = BAD[name]
  with pytest.raises(UserError, match=words) as error:
    plans.plan(configured(folder, **fields))
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('library', ['grain', 'orbax.checkpoint'])
def test_a_missing_extra_is_told(library, folder, monkeypatch):
  monkeypatch.setitem(sys.modules, library, None)
  with pytest.raises(UserError, match=r"pip install 'vizjax\[train\]'"):
    plans.plan(configured(folder))


def test_the_config_is_one(folder):
  config = test_configs.load('generator')
  assert set(config) == set(plans.config())
  with config.unlocked():
    config.update(model='toynets.net()', layer='fc3', data=str(folder))
    config.update(held_out=4, comparator='relu2')
  plan = plans.plan(config)
  assert plan.code == (1, 1, 5)
  assert 'fc3' in plans.describe(config, plan)


def start(folder, workdir, *more):
  return test_launchers.start(
    '-m',
    'vizjax',
    'train_generator',
    '--config=configs/generator.py',
    '--config.model=toynets.net()',
    '--config.layer=relu2',
    '--config.comparator=relu1',
    f'--config.data={folder}',
    '--config.held_out=4',
    '--config.batch_size=4',
    '--config.every=20',
    '--config.steps=60',
    f'--workdir={workdir}',
    *more,
  )


@pytest.mark.slow
def test_killed_at_any_moment_the_command_goes_on(folder, tmp_path):
  code, out, err = test_launchers.finish(start(folder, tmp_path / 'whole'))
  assert code == 0, err
  assert f'--config.prior="trained(\'{tmp_path}/whole\')"' in out
  assert 'images/s' in err.splitlines()[-1]
  for signals in ([signal.SIGKILL] * 3, [signal.SIGINT]):
    workdir = tmp_path / signals[0].name
    for number, sent in enumerate(signals):
      process = start(folder, workdir)
      wanted = workdir / ('losses.csv' if number else 'constants.npz')
      while not wanted.exists() and process.poll() is None:
        pass
      process.send_signal(sent)
      assert test_launchers.finish(process)[0] in (-sent, 130)
    code, out, err = test_launchers.finish(start(folder, workdir))
    assert code == 0, err
    for name in ('generator.npz', 'losses.csv', 'result.json'):
      whole = (tmp_path / 'whole' / name).read_bytes()
      assert (workdir / name).read_bytes() == whole, name


@pytest.mark.slow
def test_the_command_tells_what_is_wrong_in_one_line(folder, tmp_path):
  for more, words in {
    '--config.layer=relu3': "Did you mean 'relu",
    '--workdir=setup.py/results': "'setup.py/results' cannot be used",
    '--config.stepz=3': "'stepz'",
    '--workdir=': '--workdir=DIR',
  }.items():
    code, out, err = test_launchers.finish(start(folder, tmp_path, more))
    assert code == 2, err
    assert words in err and len(err.strip().splitlines()) == 1, err


@pytest.mark.slow
@pytest.mark.skipif(
  not (FIXTURES / 'imagenet500').exists(), reason='the images are not there'
)
def test_conv5_of_alexnet_is_inverted(tmp_path):
  config = test_configs.load('generator')
  with config.unlocked():
    config.data = str(FIXTURES / 'imagenet500')
    config.steps, config.every = 60, 60
  result = run((config, plans.plan(config)), tmp_path / 'w')
  errors = result['pixel_error']
  # It is 0.65 of the mean image's error, after 1,600 steps 0.49.
  assert errors['reconstruction'] < 0.75 * errors['mean_image']
  assert result['better_than_mean_image'] > 40
