"""From a configuration to a store: what is in it, and that it survives."""

import json
import zlib

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toynets

import toyplans

from vizjax import build
from vizjax import core
from vizjax.build import assemble
from vizjax.build import geometry
from vizjax.errors import UserError
from vizjax.sweeps import description
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

# The same float32 network compiled in another program, over the largest
# activation of the layer.
RECOMPILED = 1e-5


class Crash(Exception):
  """The power fails."""


def config(**changes):
  """Random starts, random windows and a record: all that a key decides."""
  c = assemble.config()
  c.model = 'toynets.net()'
  c.layer = 'conv2'
  c.parameterization = 'pixels(model, std=100.)'  # beyond 0-255
  c.transforms = 'jitter(2)'
  c.optimizer = 'sgd(500.)'
  c.trace = 'norm = l2_norm()'
  c.steps = 4
  c.batch = 4
  for name, value in changes.items():
    c[name] = value
  return c


def few(**changes):
  """One step of a small layer: what compiles fastest."""
  small = {'layer': 'conv1', 'units': '0', 'steps': 1, 'transforms': ''}
  return config(**{**small, 'trace': '', **changes})


def mixed(**changes):
  """Units in their boxes and one at the edge, two images of each."""
  made = {'units': '0:2@2x3,4@0x5,5', 'replicates': 2, 'save_every': 2}
  made['metrics'] = 'rank = rank(layer), rectified = neuron(rectifier)'
  return config(**{**made, **changes})


def execute(c, workdir, **more):
  sweep.execute(sweep.plan(build.request(c)), str(workdir), **more)
  return everything(workdir)


def everything(workdir):
  """{layer: {field: array}} of a workdir."""
  found = {}
  for path in sorted(workdir.iterdir()):
    if path.is_dir():
      kept = store.open_(path)
      found[path.name] = {n: store.read(kept, n) for n in kept.arrays}
  return found


def assert_same(one, other):
  """Equal bits, NaN included."""
  assert set(one) == set(other)
  for layer in one:
    assert set(one[layer]) == set(other[layer])
    for name, array in one[layer].items():
      np.testing.assert_array_equal(array, other[layer][name])


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """Of `mixed`, made at one go."""
  path = tmp_path_factory.mktemp('swept')
  execute(mixed(), path, source='def get_config(): ...')
  return path


@pytest.fixture(scope='module')
def swept(workdir):
  return everything(workdir)['conv2']


@pytest.mark.parametrize(
  'row, boxed', [(1, True), pytest.param(4, False, marks=pytest.mark.slow)]
)
def test_a_sweep_is_the_core_once_for_each_run(swept, row, boxed):
  c, net = mixed(), toynets.net()
  channel, y, x = map(int, swept['unit'][row])
  program = toyplans.program(c, net, 'conv2', boxed=boxed)
  at = (0, 0) if boxed else (y, x)
  target = {'unit': core.Unit(*(jnp.array(n) for n in (channel, *at)))}
  key = jax.random.fold_in(jax.random.key(0), zlib.crc32(b'conv2'))
  for number in (channel, y, x, int(swept['replicate'][row])):
    key = jax.random.fold_in(key, number)
  start, steps = jax.random.split(key)
  states = [core.init(program.recipe, target, start)]
  scores, norms = [], []
  for _ in range(2):
    state, trace = core.optimize(
      program.recipe, states[-1], target, steps, steps=2
    )
    states.append(state)
    scores += list(trace['score'])
    norms += list(trace['norm'])
  mean = np.asarray(net.mean)[None, None]
  h, w = swept['size'][row]

  def equal(image, params):
    # Float32 at 255, after a few steps of a few grey levels.
    np.testing.assert_allclose(image[:h, :w], params + mean, atol=1e-3)

  equal(swept['image'][row], states[-1].best.params)
  assert swept['step'][row] == states[-1].best.step
  np.testing.assert_allclose(swept['trace/score'][row], scores, rtol=1e-4)
  np.testing.assert_allclose(swept['trace/norm'][row], norms, rtol=1e-4)
  # Frame f is the image that step 2 f evaluates.
  for frame, state in zip(swept['frames'][row], states[:2], strict=True):
    equal(frame, state.params)


def test_units_and_replicates_stand_in_order(swept):
  units = [[0, 2, 3], [1, 2, 3], [4, 0, 5], [5, 3, 3]]
  assert swept['unit'].tolist() == [u for u in units for _ in range(2)]
  assert swept['replicate'].tolist() == [0, 1] * 4
  assert swept['done'].all()


def test_every_run_is_an_image_of_its_own(swept):
  pictures = swept['image'][:, :10, :10]
  assert len({picture.tobytes() for picture in pictures}) == 8
  assert len(set(swept['score'].tolist())) == 8


def test_box_size_and_seen_say_where_the_image_belongs(swept):
  # conv2 sees 8 x 8 from 2 y - 3; jitter(2) makes a canvas of 10, or 14.
  inside = [[1, 3, 8, 8], [1, 3, 8, 8], [0, 0, 12, 12], [3, 3, 8, 8]]
  assert swept['box'][::2].tolist() == inside
  assert swept['size'][::2].tolist() == [[10, 10], [10, 10], [14, 14], [10, 10]]
  seen = [[1, 1, 8, 8], [1, 1, 8, 8], [0, 8, 6, 6], [1, 1, 8, 8]]
  assert swept['seen'][::2].tolist() == seen


def test_an_image_smaller_than_its_place_is_at_the_top_left(swept):
  assert swept['image'].shape == (8, 14, 14, 3)
  for name in ('image', 'frames'):
    for image, (h, w) in zip(swept[name], swept['size'], strict=True):
      assert np.isfinite(image[..., :h, :w, :]).all()
      assert np.isnan(image[..., h:, :, :]).all()
      assert np.isnan(image[..., w:, :]).all()


def test_the_activation_is_that_of_the_stored_image(swept):
  net = toynets.net()
  for i, (channel, y, x) in enumerate(swept['unit']):
    # The view without jitter is the middle; a box goes back to its place.
    top, left, h, w = swept['box'][i]
    assert [h + 2, w + 2] == swept['size'][i].tolist()
    image = np.random.RandomState(i).uniform(0, 255, (12, 12, 3))
    middle = swept['image'][i, 1 : 1 + h, 1 : 1 + w]
    image[top : top + h, left : left + w] = middle
    acts = net(jnp.asarray(image, jnp.float32))['conv2']
    error = RECOMPILED * float(jnp.abs(acts).max())
    here = np.asarray(acts[y, x], np.float64)
    activation = float(swept['activation'][i])
    assert abs(here[channel] - activation) < error
    # A channel that is as strong may be counted or not.
    stronger = swept['metric/rank'][i] - 1
    assert (here > activation + error).sum() <= stronger
    assert stronger <= (np.delete(here, channel) > activation - error).sum()
    assert swept['metric/rectified'][i] == max(0, swept['activation'][i])


def test_the_score_is_that_of_the_best_step(swept):
  best = swept['trace/score'].argmax(1)
  np.testing.assert_array_equal(swept['step'], best)
  np.testing.assert_array_equal(swept['score'], swept['trace/score'].max(1))
  assert len(set(best.tolist())) > 1


def test_frames_of_a_period_that_does_not_divide_the_steps(tmp_path):
  c = few(steps=5, save_every=2, result='last')
  found = execute(c, tmp_path)['conv1']
  assert found['frames'].shape[1] == 3
  # Step 4 is the last: its frame is the result.
  np.testing.assert_array_equal(found['frames'][:, 2], found['image'])
  assert not np.array_equal(found['frames'][:, 1], found['image'])


@pytest.mark.parametrize('batch', [3, *conftest.slow(1, 64)])
def test_the_batch_changes_no_bit(swept, tmp_path, batch):
  found = execute(mixed(batch=batch), tmp_path)
  assert_same({'conv2': swept}, found)


@pytest.mark.parametrize(
  'k', [3, *(pytest.param(k, marks=pytest.mark.slow) for k in (0, 6, -1))]
)
def test_a_sweep_that_crashed_is_finished_the_same(workdir, tmp_path, swept, k):
  # Of 18 reports: each of two chunks has boxes and a whole image, of four
  # steps each or none, and says so when it is done.
  calls = []

  def fail(progress):
    calls.append(progress)
    if len(calls) == k + 1 or (k == -1 and progress.runs == 8):
      raise Crash

  with pytest.raises(Crash):
    execute(mixed(), tmp_path, report=fail)
  before = len(store.missing(store.open_(tmp_path / 'conv2')))
  resumed = []
  found = execute(mixed(), tmp_path, report=resumed.append)
  assert_same({'conv2': swept}, found)
  # What was done is not done again.
  assert sum(progress.steps for progress in resumed) == 4 * 4 * before


def test_a_finished_sweep_does_nothing_again(workdir):
  before = everything(workdir)
  reports = []
  assert_same(before, execute(mixed(), workdir, report=reports.append))
  assert reports == []


def test_a_unit_is_the_same_whatever_is_made_with_it(swept, tmp_path):
  c = mixed(units='3@2x2,5,1@2x3', replicates=1, save_every=None)
  found = execute(c, tmp_path)['conv2']
  for i, row in ((1, 6), (2, 2)):
    np.testing.assert_array_equal(
      found['image'][i], swept['image'][row, :10, :10]
    )
    np.testing.assert_array_equal(
      found['trace/score'][i], swept['trace/score'][row]
    )


def test_reports_count_units_and_steps(tmp_path):
  reports = []
  execute(few(units='0:3', batch=2, steps=3), tmp_path, report=reports.append)
  assert sum(progress.steps for progress in reports) == 3 * 3
  done = [progress.runs for progress in reports]
  assert done == sorted(done) and (done[0], done[-1]) == (0, 3)
  assert {(p.layer, p.count) for p in reports} == {('conv1', 3)}


def test_another_plan_is_refused(workdir):
  before = everything(workdir)
  with pytest.raises(UserError, match='steps: 4 there, 2 here'):
    execute(mixed(steps=2), workdir)
  assert_same(before, everything(workdir))


def test_other_weights_are_refused(workdir, monkeypatch):
  other = conftest.toy(seed=1)
  monkeypatch.setattr(conftest, 'toy', lambda: other)
  with pytest.raises(UserError, match="other weights .digest 'weights'"):
    execute(mixed(), workdir)


@pytest.mark.parametrize('row', [2, *conftest.slow(0)])
def test_other_directions_are_refused(tmp_path, row):
  file = tmp_path / 'd.npy'
  c = few(objective='direction_neuron(layer)', direction=str(file), units=None)
  directions = np.random.RandomState(0).normal(0, 1, (3, 4))
  np.save(file, directions)
  execute(c, tmp_path / 'work')
  directions[row] *= -1
  np.save(file, directions)
  with pytest.raises(UserError, match="other data .digest 'data'.*bytes of a"):
    execute(c, tmp_path / 'work')


def test_a_knob_that_is_a_tuple_can_be_resumed(tmp_path):
  c = few()
  c.range = (0.9, 1.1)
  before = execute(c, tmp_path)
  assert_same(before, execute(c, tmp_path))


def test_provenance_is_written(workdir):
  found = json.loads((workdir / 'config.json').read_text())
  assert found['config'] == mixed().to_dict()
  assert found['source'] == 'def get_config(): ...'
  assert found['versions']['jax'] == jax.__version__
  assert set(found['versions']) >= {'vizjax', 'python', 'numpy', 'device'}


@pytest.mark.parametrize(
  'dtype', ['uint8', pytest.param('float16', marks=pytest.mark.slow)]
)
def test_images_are_kept_in_the_type_that_is_asked_for(swept, tmp_path, dtype):
  found = execute(mixed(image_dtype=dtype), tmp_path)['conv2']
  for name in ('image', 'frames'):
    assert found[name].dtype == np.dtype(dtype)
    for i, (h, w) in enumerate(swept['size']):
      image = swept[name][i, ..., :h, :w, :]
      assert image.min() < 0 and image.max() > 255
      if dtype == 'uint8':
        image = np.rint(np.clip(image, 0, 255))
      np.testing.assert_array_equal(
        found[name][i, ..., :h, :w, :], image.astype(dtype)
      )
  beyond = found['image'][0, 10:]
  assert (beyond == 0).all() if dtype == 'uint8' else np.isnan(beyond).all()
  for name in ('score', 'activation', 'trace/score'):
    np.testing.assert_array_equal(found[name], swept[name])


def test_the_result_is_best_or_last(swept, tmp_path):
  last = execute(mixed(result='last'), tmp_path)['conv2']
  np.testing.assert_array_equal(swept['trace/score'], last['trace/score'])
  assert (last['step'] == 3).all()
  np.testing.assert_array_equal(last['score'], last['trace/score'][:, 3])
  (earlier,) = np.nonzero(swept['step'] < 3)
  assert 0 < len(earlier) < 8
  for i in range(8):
    same = np.array_equal(swept['image'][i], last['image'][i], equal_nan=True)
    assert same == (i not in earlier)


@pytest.mark.filterwarnings('ignore:.*weights are NaN or infinite')
def test_a_unit_without_numbers_is_recorded_and_the_rest_intact(
  swept, tmp_path
):
  found = execute(mixed(model='toynets.broken()'), tmp_path)['conv2']
  bias = np.asarray(toynets.broken().params['conv2']['bias'])
  bad = np.isnan(bias)[found['unit'][:, 0]]
  assert bad.sum() == 2  # both replicates of one unit
  assert np.isnan(found['score'][bad]).all()
  assert (found['step'][bad] == -1).all()
  assert np.isnan(found['trace/score'][bad]).all()
  for name in ('image', 'score', 'step', 'activation', 'trace/score'):
    np.testing.assert_array_equal(found[name][~bad], swept[name][~bad])
  assert found['done'].all()


def test_several_layers_are_several_directories(tmp_path):
  same = {'units': '1', 'transforms': '', 'steps': 2, 'optimizer': 'sgd(1.)'}
  found = execute(config(layer='relu1,f*', **same), tmp_path / 'both')
  assert set(found) == {'relu1', 'fc3'}
  alone = execute(config(layer='fc3', **same), tmp_path / 'fc3')
  assert_same({'fc3': found['fc3']}, alone)


def test_a_row_of_directions_is_a_run(tmp_path):
  rows = np.random.RandomState(0).normal(0, 1, (3, 6)).astype(np.float32)
  np.save(tmp_path / 'd.npy', rows)
  c = config(
    objective='direction(layer)',
    direction=str(tmp_path / 'd.npy'),
    transforms='',
    optimizer='sgd(1.)',
    steps=2,
  )
  found = execute(c, tmp_path / 'work')['conv2']
  assert found['unit'][:, 0].tolist() == [0, 1, 2]
  for row, image, activation in zip(
    rows, found['image'], found['activation'], strict=True
  ):
    acts = np.asarray(toynets.net()(jnp.asarray(image))['conv2'])
    np.testing.assert_allclose(activation, np.mean(acts @ row), rtol=1e-4)


def test_a_direction_by_formula_is_one_run(tmp_path):
  c = config(
    objective='direction_neuron(layer)',
    direction='2 * one_hot(4) - one_hot(1)',
    transforms='',
    units='0@3x2',
    steps=2,
  )
  found = execute(c, tmp_path)['conv2']
  image = np.full((12, 12, 3), 99.0, np.float32)
  image[3:11, 1:9] = found['image'][0]
  acts = toynets.net()(jnp.asarray(image))['conv2'][3, 2]
  np.testing.assert_allclose(
    found['activation'][0], 2 * acts[4] - acts[1], rtol=1e-4
  )


def test_a_mask_weighs_a_layer(tmp_path):
  mask = np.random.RandomState(0).normal(0, 1, (6, 6, 6)).astype(np.float32)
  np.save(tmp_path / 'm.npy', mask)
  c = config(
    objective='mask(layer)',
    mask=str(tmp_path / 'm.npy'),
    transforms='',
    optimizer='sgd(1.)',
    steps=2,
  )
  found = execute(c, tmp_path / 'work')['conv2']
  assert len(found['image']) == 1
  acts = toynets.net()(jnp.asarray(found['image'][0]))['conv2']
  np.testing.assert_allclose(
    found['activation'][0], np.sum(acts * mask), rtol=1e-4
  )


def test_more_units_are_inside_a_wider_image():
  units = ','.join(f'0@{y}x{y}' for y in range(8))
  (plan,) = sweep.plan(
    build.request(config(model='odd_networks.wide()', units=units))
  ).layers
  boxed = plan.preset['size'][:, 0] == 10
  assert boxed.tolist() == [False, False, True, True, True, True, False, False]
  assert plan.preset['box'][2:6, 0].tolist() == [1, 3, 5, 7]


def test_the_plan_is_told_in_words():
  c = config(layer='conv1,fc3', units='0:3', replicates=2, transforms='')
  plans = sweep.plan(build.request(c))
  text = description.plan(plans)
  for name in ('model', 'objective', 'optimizer', 'transforms', 'steps'):
    assert any(
      line.split(None, 1) == [name, str(c[name] or '-')]
      for line in text.splitlines()
    )
  rows = {line.split()[0]: line for line in text.splitlines()}
  assert '6 images of 3x3 (view 3x3); at most 2 at a time' in rows['conv1']
  assert '6 images of 12x12 (view 12x12); at most 2 at a time' in rows['fc3']
  # An image, a score, a step, an activation, three traces of four steps, and
  # unit, sign, replicate, box, size, seen of 3 + 1 + 1 + 4 + 2 + 4 numbers;
  # the number of retries and of the maker, a seed of 8 bytes, and a byte for
  # whether it is dead.
  each = 1 + 1 + 1 + 3 * 4 + 15 + 1 + 1 + 2 + 0.25
  bytes_of = {side: 6 * 4 * (side * side * 3 + each) for side in (3, 12)}
  assert rows['conv1'].endswith(f'{bytes_of[3] / 1000:.3g} KB')
  assert rows['fc3'].endswith(f'{bytes_of[12] / 1000:.3g} KB')
  total = sum(bytes_of.values()) / 1000
  assert f'12 images, 48 steps, {total:.3g} KB before compression' in text


def test_a_plan_writes_nothing_and_computes_nothing(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(
    'vizjax.sweeps.parallel.runner', lambda *a, **k: pytest.fail('compiled')
  )
  c = config(units='0:2@2x3,4@0x5')
  description.plan(sweep.plan(build.request(c)))
  assert list(tmp_path.iterdir()) == []


def test_a_plan_has_the_fields_that_a_run_gives(swept):
  (plan,) = sweep.plan(build.request(mixed())).layers
  assert set(plan.array_specs) == set(swept) - {'done'}
  for name, (shape, dtype) in plan.array_specs.items():
    assert swept[name].shape == (8, *shape)
    assert swept[name].dtype == dtype


def test_what_does_not_run_is_an_error_of_the_plan():
  with pytest.raises(UserError, match='conv9'):
    sweep.plan(build.request(config(objective="layer('conv9')")))
  with pytest.raises(UserError, match='gaussian_blur works on pixels'):
    sweep.plan(
      build.request(
        config(
          parameterization='fourier(model)', projections='gaussian_blur(1.)'
        )
      )
    )


def test_a_group_of_units_is_the_same_by_file_and_by_formula(tmp_path):
  c = assemble.config()
  c.update(model='toynets.net()', layer='conv2', objective='mask(layer)')
  c.update(box=False, steps=2, batch=2)
  net = assemble.model(c)
  h, w, channels = shape = geometry.activation_shapes(net)['conv2'].shape
  mask = np.zeros((2, *shape))
  mask[0, 3, 1, 1], mask[0, 2, 0, 2] = 1, -0.5
  mask[1, : h - 1, :2, channels - 1] = 2
  np.save(tmp_path / 'masks.npy', mask)
  c.mask = str(tmp_path / 'masks.npy')
  sweep.execute(sweep.plan(build.request(c)), str(tmp_path / 'file'))
  kept = store.open_(tmp_path / 'file' / 'conv2')
  both = store.read(kept, 'trace/score')
  formulas = (
    'unit(1, 3, 1) - 0.5 * unit(2, 2, 0)',
    f'2 * one_hot({channels - 1}) * window(0, 0, {h - 1}, 2)',
  )
  for row, formula in enumerate(formulas):
    c.mask = formula
    (plan,) = sweep.plan(build.request(c)).layers
    assert len(plan.runs.channel) == 1
    program = toyplans.program(c, net, 'conv2', boxed=False)
    made = program.target(toyplans.runs(c, net, 'conv2'), np.array([0]))
    np.testing.assert_array_equal(made['mask'][0], mask[row].astype('f4'))
  assert both.shape == (2, 2) and np.isfinite(both).all()


def test_a_place_that_was_chosen_for_the_user_is_told():
  c = assemble.config()
  c.update(model='toynets.net()', layer='conv2,fc3', box=False, steps=1)
  (note,) = description.notes(sweep.plan(build.request(c)))
  assert note.startswith('conv2: units at row 3, column 3, the centre')
  assert '--config.units=0@0x0' in note
  for told in ({'units': '1@2x2', 'layer': 'conv2'}, {'box': True}):
    other = c.copy_and_resolve_references()
    other.update(told)
    assert description.notes(sweep.plan(build.request(other))) == []
  c.objective = 'channel(layer)'
  assert description.notes(sweep.plan(build.request(c))) == []


def test_weights_that_are_no_numbers_are_told_beforehand():
  c = few(model='toynets.broken()', layer='conv2')
  with pytest.warns(UserWarning, match='^conv2/bias: 1 of 6 weights are NaN'):
    sweep.plan(build.request(c))


def test_a_workdir_is_checked_without_writing(tmp_path):
  c = few()
  plans = sweep.plan(build.request(c))
  sweep.check(plans, str(tmp_path / 'new'))
  assert not list(tmp_path.iterdir())
  (tmp_path / 'other.txt').touch()
  with pytest.raises(UserError, match='holds other files.*workdir=ANOTHER'):
    sweep.check(plans, str(tmp_path))
  with pytest.raises(NotADirectoryError):
    sweep.check(plans, str(tmp_path / 'other.txt'))


@pytest.mark.filterwarnings('ignore:.*weights are NaN or infinite')
def test_no_other_seeds_are_advised_where_weights_are_no_numbers(tmp_path):
  c = few(model='toynets.broken()', layer='conv2', units='0:2')
  workdir, plans = str(tmp_path), sweep.plan(build.request(c))
  sweep.execute(plans, workdir)
  assert description.outcome(plans, workdir)[2:] == [
    'the score is NaN or infinite: conv2 1 of 2',
    'other seeds cannot help where weights are NaN or infinite: type '
    '--config.model with a file of finite weights, and --workdir=ANOTHER',
  ]


def test_the_outcome_says_where_it_is_what_is_next_and_what_failed(tmp_path):
  c = few(model='toynets.dull()', objective='neuron(rectifier)', units='0:3')
  workdir = str(tmp_path / 'a b')
  plans = sweep.plan(build.request(c))
  sweep.execute(plans, workdir)
  assert description.outcome(plans, workdir) == [
    f'results: {workdir} (3 images)',
    f"next: vizjax atlas --workdir='{workdir}'",
    'dead, the gradient was zero at every step: conv1 1 of 3',
    'to try these again from other seeds, type the same command with '
    '--config.retries=3',
  ]
  kept = store.open_(store.directory(workdir, 'conv1'))
  store.write(kept, np.arange(1, 2), {'score': np.float32([np.nan])})
  store.write(kept, np.arange(2, 3), {'activation': np.float32([np.inf])})
  found = description.outcome(plans, workdir)
  assert found[3] == 'the score is NaN or infinite: conv1 2 of 3'
  c = few(units='0:3')
  sweep.execute(plans := sweep.plan(build.request(c)), str(tmp_path / 'well'))
  assert len(description.outcome(plans, str(tmp_path / 'well'))) == 2


def test_the_next_image_is_that_after_the_last_update(tmp_path):
  plain = {'layer': 'conv1', 'units': '0:2', 'transforms': '', 'trace': ''}
  following = execute(
    config(**plain, steps=3, result='next', keep='last'), tmp_path / 'a'
  )['conv1']
  longer = execute(config(**plain, steps=4, result='last'), tmp_path / 'b')
  for name in ('image', 'activation', 'step'):
    np.testing.assert_array_equal(following[name], longer['conv1'][name])
  np.testing.assert_array_equal(following['score'], following['activation'])
  assert (following['last/step'] == 2).all()


@pytest.mark.slow
def test_any_recipe_grows(tmp_path):
  # Fourier images under Adam, from 12 to 20 rows, tile by tile.
  c = config(
    layer='conv1', units='1,3', parameterization='fourier(model)',
    transforms='tiles(12, 12)', views='sum', objective='channel(layer)',
    optimizer='adam(0.02)', tile_batch=2, steps=5,
    scales="grown(model, None, '20x17', 2)",
  )  # fmt: skip
  found = execute(c, tmp_path)['conv1']
  assert found['image'].shape == (2, 20, 17, 3)
  assert found['trace/score'].shape == (2, 10)
  assert (found['size'] == [20, 17]).all()
  ends = found['trace/score'][:, [0, 4, 5, 9]]
  assert (ends[:, 1] > ends[:, 0]).all()
  assert (ends[:, 3] > ends[:, 2]).all()
  with pytest.raises(UserError, match='config.shape is .20x20.*config.scales'):
    sweep.plan(build.request(config(shape='20x20', scales=c.scales)))


def test_layers_called_as_what_a_term_reads_are_the_layers(tmp_path):
  names = ('image', 'a/b', 'a--b')
  c = few(model=f'odd_networks.named({repr(names)[1:-1]})', layer='*')
  c.update(units='1@2x1', objective="neuron(layer) + 0 * std(of='image')")
  execute(c, tmp_path / 'w')
  assert [path.name for path in tmp_path.iterdir()] == ['w']
  found = store.layers(str(tmp_path / 'w'))
  assert {*found} == {*names} and len({*found.values()}) == len(names)
  for k, name in enumerate(names, 1):
    kept = store.open_(found[name])
    image = store.read(kept, 'image')[0]
    expected = k * (image[2, 1, 1] - 100)
    assert store.read(kept, 'activation')[0] == pytest.approx(expected)


def test_a_term_of_the_users_does_not_read_such_a_layer():
  model = "odd_networks.named('image', 'a')"
  terms = {'objective': 'test_sweep.own(layer)', 'model': model}
  with pytest.raises(UserError, match="cannot read layer 'image'"):
    sweep.plan(build.request(few(**terms, layer='image')))
  with pytest.raises(UserError, match="cannot read layer 'image'.*neuron"):
    terms['objective'] = "test_sweep.own('image')"
    sweep.plan(build.request(few(**terms, layer='a')))
  assert sweep.plan(
    build.request(
      few(**terms | {'objective': 'test_sweep.own(layer)'}, layer='a')
    )
  )


def own(layer):
  """A term that reads the activations itself."""
  return lambda acts, target: acts[layer].mean()


def vector(layer):
  """A term that forgets to bring its numbers together."""
  return lambda acts, target: acts[layer][0, 0]


def test_a_term_of_several_numbers_is_refused():
  c = config(objective='test_sweep.vector(layer)')
  with pytest.raises(UserError, match=r'an array of \(6,\), expected one num'):
    sweep.plan(build.request(c))
