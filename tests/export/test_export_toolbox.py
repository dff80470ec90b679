"""The toolbox's files of a run of its recipe."""

import json
import pathlib
import pickle
import pickletools
import shutil

import cv2
import numpy as np
import pytest
import test_configs
import test_export
import test_launchers

from vizjax import build
from vizjax.errors import UserError
from vizjax.export import toolbox
from vizjax.sweeps import sweep

pytestmark = pytest.mark.usefixtures('quickly')

# A float32 image is stored with its mean, which is about 100.
STORED = 2e-5


@pytest.fixture(scope='module')
def yosinski(tmp_path_factory):
  path = tmp_path_factory.mktemp('yosinski') / 'w'
  config = test_configs.load('yosinski2015', '3')
  with config.unlocked():
    config.model = 'toynets.net()'
    config.layer = 'conv2,fc3'
    config.units = '0:2'
    config.replicates = 2
    config.steps = 7
    config.batch = 4
  sweep.execute(sweep.plan(build.request(config)), str(path))
  return path


def test_the_toolbox_names_its_files(yosinski, tmp_path):
  test_export.write(yosinski, 'toolbox', tmp_path)
  assert test_export.names(tmp_path) == sorted(
    f'opt_{layer}_{channel:04d}_{seed}_{ending}'
    for layer in ('conv2', 'fc3')
    for channel in (0, 1)
    for seed in (0, 1)  # of the replicates
    for ending in (
      *('best_X.jpg', 'best_Xpm.jpg'),
      *('info.txt', 'info.pkl', 'info_big.pkl'),
    )
  )


@pytest.mark.parametrize('layer, seed', [('conv2', 0), ('fc3', 1)])
def test_the_toolbox_pickles_belong_together(yosinski, tmp_path, layer, seed):
  test_export.write(yosinski, 'toolbox', tmp_path, layers=layer, units='1')
  path = tmp_path / f'opt_{layer}_0001_{seed}_info_big.pkl'
  params, results = pickle.loads(path.read_bytes())
  start = np.random.RandomState(seed).normal(0, 10, (3, 12, 12))
  np.testing.assert_allclose(results['x0'], start, atol=STORED)
  mean = np.array([100.0, 115.0, 120.0])[:, None, None]  # BGR
  np.testing.assert_array_equal(
    results['data_mean'], np.broadcast_to(mean, (3, 12, 12))
  )
  assert params['rand_seed'] == seed
  at = (6 // 2, 6 // 2) if layer == 'conv2' else (0, 0)
  assert params['push_spatial'] == at
  assert params['push_unit'] == (1, *at)
  assert results['ii'] == list(range(7))
  for name in ('best', 'last', 'majority'):
    if results[f'{name}_xx'] is None:
      assert name == 'majority' and f'{name}_ii' not in results
      continue
    step, image = results[f'{name}_ii'], results[f'{name}_xx']
    assert results['obj'][step] == results[f'{name}_obj']
    # The records were taken from the very image, before it was stored.
    norms = (np.linalg.norm(image), np.linalg.norm(image - results['x0']))
    found = (results['norm'][step], results['dist'][step])
    np.testing.assert_allclose(norms, found, rtol=1e-5)
    np.testing.assert_allclose(image.std(), results['std'][step], rtol=1e-5)
  assert results['best_obj'] == max(results['obj'])
  assert results['last_ii'] == 6
  tops = [top == params['push_unit'] for top in results['idxmax']]
  assert results['ismax'] == tops
  success = 'success' if any(tops) else 'failure'
  assert results['meta_result'] == f'Metaresult: majority {success}'


def test_the_toolbox_pickles_need_nothing_but_numpy(yosinski, tmp_path):
  test_export.write(yosinski, 'toolbox', tmp_path, layers='fc3', units='0')
  for path in tmp_path.glob('*.pkl'):
    named = {
      argument.split()[0].split('.')[0]
      for code, argument, _ in pickletools.genops(path.read_bytes())
      if code.name == 'GLOBAL'
    }
    assert named <= {'numpy', '_codecs'}
  _, big = pickle.loads((tmp_path / 'opt_fc3_0000_0_info_big.pkl').read_bytes())
  _, small = pickle.loads((tmp_path / 'opt_fc3_0000_0_info.pkl').read_bytes())
  assert big.keys() == small.keys()
  for key, value in big.items():
    if isinstance(value, np.ndarray):
      assert small[key].startswith('Trimmed (3, 12, 12) array [')
      assert len(small[key]) < 70
    else:
      assert small[key] == value


@pytest.mark.parametrize('kind', ['best_X', 'best_Xpm'])
def test_the_toolbox_jpegs_are_those_of_opencv(yosinski, tmp_path, kind):
  test_export.write(yosinski, 'toolbox', tmp_path, layers='fc3', units='1')
  stem = tmp_path / 'opt_fc3_0001_0'
  _, results = pickle.loads(pathlib.Path(f'{stem}_info_big.pkl').read_bytes())
  image = results['best_xx'].astype(float)  # BGR, as OpenCV wants it
  if kind == 'best_X':
    image = image / (max(2 * image.max(), -2 * image.min()) + 1e-10) + 0.5
  else:
    image = image + results['data_mean']
    image = image - image.min()
    image = image / (image.max() + 1e-10)
  cv2.imwrite(str(tmp_path / 'cv.jpg'), 255 * image.transpose(1, 2, 0))
  ours, theirs = (
    test_export.pixels(path).astype(int)
    for path in (f'{stem}_{kind}.jpg', tmp_path / 'cv.jpg')
  )
  assert np.abs(ours - theirs).max() <= 1


TEXT = """\
FindParams:
                         decay: 0.0001
                     lr_params: {'lr': 100.0}


FindResults:
                       best_ii: 3
                      best_obj: 71.18645
                       best_xx: (2, 2) array [0.5054164, -1e-12, ...]
                        idxmax: [(330, 0, 0), (533, 0, 0), (1, 2, 3)]
                         ismax: [False, False, ..., True, True]
                   meta_result: Metaresult: majority success
                          norm: [3921.5237, 1.5, ..., nan, 647.37885]

"""


def test_the_toolbox_text_is_laid_out_as_published():
  results = {
    'norm': np.float32([3921.5237, 1.5, 7, np.nan, 647.37885]).tolist(),
    'ismax': [False, False, True, True, True],
    'idxmax': [(330, 0, 0), (533, 0, 0), (1, 2, 3)],
    'best_obj': float(np.float32(71.186447)),
    'best_xx': np.float32([[0.5054164, -1e-12], [1, 2]]),
    'best_ii': 3,
    'meta_result': 'Metaresult: majority success',
  }
  params = {'lr_params': {'lr': 100.0}, 'decay': 0.0001}
  assert toolbox.text(params, results) == TEXT


def item(**changes):
  """What a store holds of a run of five steps, all ones."""
  image = np.ones((2, 2, 3), np.float32)
  return {
    **{f'trace/{name}': np.ones(5) for name in ('obj', 'norm', 'dist', 'std')},
    'trace/ismax': np.zeros(5),
    'trace/idxmax': np.ones((5, 3)),
    'trace/gradient_norm': np.ones(5),
    **{'image': image, 'last/image': image, 'majority/image': image},
    **{
      'step': 1,
      'last/step': 4,
      'majority/step': -1,
      'size': np.array([2, 2]),
    },
    **changes,
  }


def results_of(**changes):
  config = test_configs.load('yosinski2015', '3').to_dict()
  mean = np.zeros((2, 2, 3), np.float32)
  return toolbox._results(item(**changes), config, mean)


def test_a_run_that_the_toolbox_stopped_ends_there():
  stop = np.array([1, 1, 0, np.nan, np.nan])
  nan = {f'trace/{n}': stop for n in ('obj', 'norm', 'gradient_norm')}
  top = np.where(np.isnan(stop)[:, None], np.nan, np.ones(3))
  found = results_of(**nan, **{'last/step': 2, 'trace/idxmax': top})
  assert found['ii'] == [0, 1, 2]
  assert found['obj'] == [1, 1, 0]
  assert found['idxmax'] == [(1, 1, 1)] * 3
  assert found['meta_result'] == 'Metaresult: grad 0 failure'
  assert found['majority_xx'] is None and 'majority_ii' not in found


def test_a_unit_that_was_never_the_largest_is_a_failure():
  assert results_of()['meta_result'] == 'Metaresult: majority failure'
  found = results_of(**{'majority/step': 1, 'trace/ismax': np.eye(5)[1]})
  assert found['meta_result'] == 'Metaresult: majority success'
  assert found['majority_ii'] == 1


def test_a_score_that_was_never_a_number_has_no_best_image():
  found = results_of(step=-1)
  assert found['best_xx'] is None and found['best_obj'] is None
  contents = toolbox._contents({}, found, np.zeros((2, 2, 3)), False)
  assert set(contents) == {'info.txt', 'info.pkl', 'info_big.pkl'}


@pytest.mark.parametrize('optimizer, policy, rates', [
  ('sgd(rate)', 'constant', {'lr': 100.0}),
  ('sgd(3)', 'constant', {'lr': 3}),
  ('progress(desired, 5.)', 'progress', {'desired_prog': 2.0, 'max_lr': 5.0}),
  ('progress01(early, max_rate=7., late=late)', 'progress01',
   {'early_prog': 0.1, 'late_prog_mult': 0.5, 'max_lr': 7.0}),
  ('adam(rate)', 'adam(rate)', {}),
])  # fmt: skip
def test_the_toolbox_policies(optimizer, policy, rates):
  config = test_configs.load('yosinski2015', '3').to_dict()
  config['optimizer'] = optimizer
  assert toolbox._policy(config) == (policy, rates)


def test_the_toolbox_replaces_nothing_unless_brave(yosinski, tmp_path):
  there = tmp_path / 'opt_fc3_0001_1_info.txt'
  there.write_text('mine')
  with pytest.raises(UserError, match=r"info.txt' is there \(1 such.*--brave"):
    test_export.write(yosinski, 'toolbox', tmp_path)
  assert test_export.names(tmp_path) == [there.name]
  assert there.read_text() == 'mine'
  test_export.write(yosinski, 'toolbox', tmp_path, brave=True, skipbig=True)
  assert there.read_text().startswith('FindParams:')
  assert len(test_export.names(tmp_path)) == 2 * 2 * 2 * 4
  assert not list(tmp_path.glob('*_info_big.pkl'))


def test_the_toolbox_wants_its_own_recipe(tmp_path):
  test_export.fabricate(tmp_path / 'w')
  with pytest.raises(UserError, match="'trace/obj'.*yosinski2015:3"):
    test_export.write(tmp_path / 'w', 'toolbox', tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_nothing_is_left_of_a_file_that_could_not_be_written(
  yosinski, tmp_path, monkeypatch
):
  def fail(self, target):
    raise OSError(28, 'No space left on device', str(target))

  monkeypatch.setattr(pathlib.Path, 'replace', fail)
  with pytest.raises(OSError, match='No space'):
    test_export.write(yosinski, 'toolbox', tmp_path / 'out')
  assert test_export.names(tmp_path / 'out') == []


def export(workdir, out, *more):
  process = test_launchers.start(
    *('-m', 'vizjax', 'export', f'--workdir={workdir}', f'--out={out}'),
    *('--format=toolbox', *more),
  )
  return test_launchers.finish(process)


def test_a_workdir_that_calls_other_functions_has_to_be_trusted(
  yosinski, tmp_path
):
  code, out, err = export(yosinski, tmp_path / 'out')
  assert code == 2 and not out
  assert f"'{yosinski}/config.json' calls toynets.net, which is none" in err
  assert len(err.splitlines()) == 1 and '--trust' in err
  assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_a_workdir_that_is_trusted_is_exported(yosinski, tmp_path):
  code, _, err = export(yosinski, tmp_path / 'out', '--units=0', '--trust')
  assert code == 0, err
  assert list((tmp_path / 'out').glob('*_best_Xpm.jpg'))


def test_an_optimizer_that_calls_other_functions_has_to_be_trusted(
  yosinski, tmp_path
):
  """The format evaluates the arguments of the optimizer's formula."""
  text = (yosinski / 'config.json').read_text()
  config = json.loads(text)
  config['config'] |= {
    'model': "load('alexnet_features')",
    'optimizer': 'sgd(my_evil.f())',
  }
  shutil.copytree(yosinski, tmp_path / 'w')
  (tmp_path / 'w' / 'config.json').write_text(json.dumps(config))
  with pytest.raises(UserError, match=r'calls my_evil\.f, .*--trust'):
    test_export.write(tmp_path / 'w', 'toolbox', tmp_path / 'o', trust=False)
