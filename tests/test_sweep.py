"""From a configuration to a store: what is in it, and that it survives."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import odd_networks
import pytest
import toynets

from vizjax import build
from vizjax import core
from vizjax import images
from vizjax import runs
from vizjax import store
from vizjax import sweep

# The same float32 network compiled in another program, over the largest
# activation of the layer.
RECOMPILED = 1e-5


class Crash(Exception):
  """The power fails."""


def config(**changes):
  """Random starts, random windows and a record: all that a key decides."""
  c = build.config()
  c.model = 'toynets.net()'
  c.layer = 'conv2'
  c.transforms = 'jitter(1)'
  c.optimizer = 'adam(2.)'
  c.trace = 'norm = l2_norm()'
  c.steps = 4
  c.batch = 4
  for name, value in changes.items():
    c[name] = value
  return c


def execute(c, workdir, **more):
  sweep.execute(c, sweep.plan(c), str(workdir), **more)
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


def by_hand(c, channel, y, x, replicate=0, boxed=True):
  """One run, by the core alone: state and trace."""
  net = build.model(c)
  program = build.program(c, net, c.layer, boxed=boxed)
  at = (0, 0) if boxed else (y, x)
  target = {'unit': core.Unit(*(jnp.array(n) for n in (channel, *at)))}
  table = runs.table(c.layer, [(channel, y, x)], replicate + 1, None, (1, 1))
  (key,) = runs.keys(table, np.array([replicate]), c.seed)
  start, steps = jax.random.split(key)
  state = core.init(program.recipe, target, start)
  return core.optimize(program.recipe, state, target, steps, steps=c.steps)


@pytest.fixture(scope='module')
def swept(tmp_path_factory):
  """A sweep that nothing disturbs: boxed and whole, two images of each."""
  c = config(units='0:2@2x3,4@0x5,5', replicates=2, save_every=2)
  workdir = tmp_path_factory.mktemp('swept')
  return c, execute(c, workdir)['conv2']


def test_a_sweep_is_the_core_once_for_each_run(swept):
  c, found = swept
  for i, (unit, boxed) in enumerate(
    zip(found['unit'], [1, 1, 1, 1, 0, 0, 1, 1], strict=True)
  ):
    state, trace = by_hand(c, *unit, found['replicate'][i], bool(boxed))
    mean = np.asarray(toynets.net().mean)[None, None]
    h, w = found['size'][i]
    # Four steps of two grey levels make little of a rounding.
    np.testing.assert_allclose(
      found['image'][i, :h, :w], state.best.params + mean, atol=1e-3
    )
    assert found['step'][i] == state.best.step
    np.testing.assert_allclose(
      found['trace/score'][i], trace['score'], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(found['trace/norm'][i], trace['norm'], rtol=1e-4)


def test_units_and_replicates_stand_in_order(swept):
  _, found = swept
  units = [[0, 2, 3], [1, 2, 3], [4, 0, 5], [5, 3, 3]]
  assert found['unit'].tolist() == [u for u in units for _ in range(2)]
  assert found['replicate'].tolist() == [0, 1] * 4
  assert found['done'].all()


def test_every_run_is_an_image_of_its_own(swept):
  _, found = swept
  pictures = found['image'][:, :9, :9]
  assert len({picture.tobytes() for picture in pictures}) == 8
  assert len(set(found['score'].tolist())) == 8


def test_box_size_and_seen_say_where_the_image_belongs(swept):
  _, found = swept
  # conv2 sees 8 x 8 from 2 y - 3; jitter(1) makes a canvas of 9, or 13.
  inside = [[1, 3, 8, 8], [1, 3, 8, 8], [0, 0, 12, 12], [3, 3, 8, 8]]
  assert found['box'][::2].tolist() == inside
  assert found['size'][::2].tolist() == [[9, 9], [9, 9], [13, 13], [9, 9]]
  seen = [[0, 0, 8, 8], [0, 0, 8, 8], [0, 7, 5, 6], [0, 0, 8, 8]]
  assert found['seen'][::2].tolist() == seen


def test_an_image_smaller_than_its_place_is_at_the_top_left(swept):
  _, found = swept
  assert found['image'].shape == (8, 13, 13, 3)
  for image, (h, w) in zip(found['image'], found['size'], strict=True):
    assert np.isfinite(image[:h, :w]).all()
    assert np.isnan(image[h:]).all() and np.isnan(image[:, w:]).all()


def test_the_activation_is_that_of_the_stored_image(swept):
  _, found = swept
  net = toynets.net()
  for i, (channel, y, x) in enumerate(found['unit']):
    # The view without jitter is the middle; a box goes back to its place.
    top, left, h, w = found['box'][i]
    assert [h + 1, w + 1] == found['size'][i].tolist()
    image = np.random.RandomState(i).uniform(0, 255, (12, 12, 3))
    image[top : top + h, left : left + w] = found['image'][i, :h, :w]
    acts = net(jnp.asarray(image, jnp.float32))['conv2']
    largest = float(jnp.abs(acts).max())
    error = abs(float(acts[y, x, channel]) - float(found['activation'][i]))
    assert error < RECOMPILED * largest


def test_the_score_is_that_of_the_best_step(swept):
  _, found = swept
  best = found['trace/score'].argmax(1)
  np.testing.assert_array_equal(found['step'], best)
  np.testing.assert_array_equal(found['score'], found['trace/score'].max(1))


def test_a_frame_is_the_image_at_its_step(swept):
  c, found = swept
  assert found['frames'].shape == (8, 2, 13, 13, 3)
  mean = np.asarray(toynets.net().mean)[None, None]
  for i in (1, 4):
    boxed = found['size'][i, 0] == 9
    h, w = found['size'][i]
    arguments = (*found['unit'][i], found['replicate'][i], boxed)
    for frame, steps in enumerate((0, 2)):
      # The image that step `steps` evaluates is made by those before it.
      following, _ = by_hand(_with_steps(c, steps), *arguments)
      np.testing.assert_allclose(
        found['frames'][i, frame, :h, :w],
        following.params + mean,
        atol=1e-3,
      )
    assert np.isnan(found['frames'][i, :, h:]).all()


def test_a_frame_is_kept_of_a_period_that_does_not_divide_the_steps(tmp_path):
  c = config(steps=5, save_every=2, units='0', result='last', transforms='')
  found = execute(c, tmp_path)['conv2']
  assert found['frames'].shape[1] == 3
  # Step 4 is the last: its frame is the result.
  np.testing.assert_array_equal(found['frames'][:, 2], found['image'])
  assert not np.array_equal(found['frames'][:, 1], found['image'])


def _with_steps(c, steps):
  return config(**{**c.to_dict(), 'steps': steps})


def test_the_batch_changes_no_bit(swept, tmp_path):
  c, undisturbed = swept
  for batch in (1, 3, 64):
    found = execute(
      config(**{**c.to_dict(), 'batch': batch}), tmp_path / str(batch)
    )
    assert_same({'conv2': undisturbed}, found)


def test_a_unit_is_the_same_whatever_is_made_with_it(swept, tmp_path):
  c, undisturbed = swept
  alone = config(**{**c.to_dict(), 'units': '5,1@2x3', 'replicates': 1})
  found = execute(alone, tmp_path)['conv2']
  for i, row in enumerate((6, 2)):
    h, w = found['size'][i]
    np.testing.assert_array_equal(
      found['image'][i], undisturbed['image'][row, :h, :w]
    )
    np.testing.assert_array_equal(
      found['trace/score'][i], undisturbed['trace/score'][row]
    )


def test_a_sweep_that_crashed_is_finished_the_same(swept, tmp_path):
  c, undisturbed = swept
  reports = []
  execute(c, tmp_path / 'whole', report=reports.append)
  # Before the first chunk, after it and at the very end.
  for k in (0, 3, len(reports) // 2, len(reports) - 1):
    workdir = tmp_path / str(k)
    calls = []

    def fail(progress, k=k, calls=calls):
      if len(calls) == k:
        raise Crash
      calls.append(progress)

    with pytest.raises(Crash):
      execute(c, workdir, report=fail)
    before = store.missing(store.open_(workdir / 'conv2'))
    resumed = []
    assert_same(
      {'conv2': undisturbed}, execute(c, workdir, report=resumed.append)
    )
    # What was done is not done again.
    steps = sum(progress.steps for progress in resumed)
    assert steps == 4 * c.steps * len(before)


def test_a_finished_sweep_does_nothing_again(swept, tmp_path):
  c, _ = swept
  before = execute(c, tmp_path)
  reports = []
  assert_same(before, execute(c, tmp_path, report=reports.append))
  assert reports == []


def test_reports_count_units_and_steps(tmp_path):
  c = config(units='0:6', batch=4, steps=3)
  reports = []
  execute(c, tmp_path, report=reports.append)
  assert sum(progress.steps for progress in reports) == 6 * 3
  done = [progress.units for progress in reports]
  assert done == sorted(done) and (done[0], done[-1]) == (0, 6)
  assert {(p.layer, p.count) for p in reports} == {('conv2', 6)}


def test_another_plan_is_refused(tmp_path):
  execute(config(units='0', steps=1), tmp_path)
  with pytest.raises(ValueError, match='steps: 1 there, 2 here'):
    execute(config(units='0', steps=2), tmp_path)


def test_other_weights_are_refused(tmp_path, monkeypatch):
  c = config(units='0', steps=1)
  execute(c, tmp_path)
  monkeypatch.setattr(toynets, 'net', _renamed(odd_networks.other))
  with pytest.raises(ValueError, match='the weights'):
    execute(c, tmp_path)


def _renamed(function):
  def net():
    return function()

  net.__module__ = 'toynets'
  return net


def test_other_directions_are_refused(tmp_path):
  file = tmp_path / 'd.npy'
  c = config(objective='direction_neuron(layer)', direction=str(file), steps=1)
  directions = np.random.RandomState(0).normal(0, 1, (3, 6))
  np.save(file, directions)
  execute(c, tmp_path / 'work')
  directions[2] *= -1  # not the first
  np.save(file, directions)
  with pytest.raises(ValueError, match='the weights or arrays'):
    execute(c, tmp_path / 'work')


def test_a_knob_that_is_a_tuple_can_be_resumed(tmp_path):
  c = config(units='0', steps=1)
  c.range = (0.9, 1.1)
  before = execute(c, tmp_path)
  assert_same(before, execute(c, tmp_path))


def test_provenance_is_written(tmp_path):
  c = config(units='0', steps=1)
  execute(c, tmp_path, source='def get_config(): ...')
  found = json.loads((tmp_path / 'config.json').read_text())
  assert found['config'] == c.to_dict()
  assert found['source'] == 'def get_config(): ...'
  assert found['versions']['jax'] == jax.__version__
  assert set(found['versions']) >= {'vizjax', 'python', 'numpy', 'device'}


@pytest.mark.parametrize('dtype', ['uint8', 'float16'])
def test_images_are_kept_in_the_type_that_is_asked_for(tmp_path, dtype):
  # A start far beyond 0-255, so that clipping shows.
  changes = {
    'units': '3,3@0x0',
    'parameterization': 'pixels(model, std=200.)',
    'save_every': 2,
  }
  exact = execute(config(**changes), tmp_path / 'exact')['conv2']
  found = execute(config(**changes, image_dtype=dtype), tmp_path / dtype)[
    'conv2'
  ]
  for name in ('image', 'frames'):
    assert found[name].dtype == np.dtype(dtype)
  for i, (h, w) in enumerate(exact['size']):
    image = exact['image'][i, :h, :w]
    assert image.min() < 0 and image.max() > 255
    expected = (
      np.rint(np.clip(image, 0, 255)) if dtype == 'uint8' else image
    ).astype(dtype)
    np.testing.assert_array_equal(found['image'][i, :h, :w], expected)
  beyond = found['image'][0, exact['size'][0, 0] :]
  assert (beyond == 0).all() if dtype == 'uint8' else np.isnan(beyond).all()
  for name in ('score', 'activation', 'trace/score'):
    np.testing.assert_array_equal(found[name], exact[name])


def test_the_result_is_best_or_last(tmp_path):
  changes = {'units': '0,3', 'optimizer': 'sgd(3e4)', 'steps': 6}
  best = execute(config(**changes), tmp_path / 'best')['conv2']
  last = execute(config(**changes, result='last'), tmp_path / 'last')['conv2']
  np.testing.assert_array_equal(best['trace/score'], last['trace/score'])
  assert (last['step'] == 5).all()
  np.testing.assert_array_equal(last['score'], last['trace/score'][:, 5])
  np.testing.assert_array_equal(best['score'], best['trace/score'].max(1))
  assert (best['step'] < 5).any()
  for i in np.flatnonzero(best['step'] < 5):
    assert not np.array_equal(best['image'][i], last['image'][i])


def test_a_unit_without_numbers_is_recorded_and_the_rest_intact(tmp_path):
  c = config()
  intact = execute(c, tmp_path / 'net')['conv2']
  c = config(model='toynets.broken()')
  found = execute(c, tmp_path / 'broken')['conv2']
  (bad,) = np.flatnonzero(np.isnan(found['score']))
  assert np.isnan(toynets.broken().params['conv2']['bias'])[bad]
  assert found['step'][bad] == -1
  assert np.isnan(found['trace/score'][bad]).all()
  good = np.arange(6) != bad
  for name in ('image', 'score', 'step', 'activation', 'trace/score'):
    np.testing.assert_array_equal(found[name][good], intact[name][good])
  assert found['done'].all()


@pytest.mark.parametrize('layer', ['conv1,fc3', '*', 'fc3, relu1'])
def test_several_layers_are_several_directories(tmp_path, layer):
  c = config(layer=layer, units='1', transforms='', steps=2)
  found = execute(c, tmp_path)
  names = {
    'conv1,fc3': {'conv1', 'fc3'},
    '*': {'conv1', 'conv2', 'fc3'},
    'fc3, relu1': {'fc3', 'relu1'},
  }[layer]
  assert set(found) == names
  for name in names:
    alone = config(layer=name, units='1', transforms='', steps=2)
    assert_same(
      {name: found[name]}, execute(alone, tmp_path.with_name(f'just-{name}'))
    )


def test_a_row_of_directions_is_a_run(tmp_path):
  rows = np.random.RandomState(0).normal(0, 1, (3, 6)).astype(np.float32)
  np.save(tmp_path / 'd.npy', rows)
  c = config(
    objective='direction(layer)',
    direction=str(tmp_path / 'd.npy'),
    transforms='',
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
    steps=2,
  )
  found = execute(c, tmp_path / 'work')['conv2']
  assert len(found['image']) == 1
  acts = toynets.net()(jnp.asarray(found['image'][0]))['conv2']
  np.testing.assert_allclose(
    found['activation'][0], np.sum(acts * mask), rtol=1e-4
  )


def test_a_wide_network_has_more_boxes(tmp_path):
  units = ','.join(f'0@{y}x{y}' for y in range(8))
  c = config(model='odd_networks.wide()', units=units, steps=1)
  found = execute(c, tmp_path)['conv2']
  boxed = found['size'][:, 0] == 9
  assert boxed.tolist() == [False, False, True, True, True, True, False, False]
  assert found['box'][2:6, 0].tolist() == [1, 3, 5, 7]


def test_the_plan_is_told_in_words():
  c = config(layer='conv1,fc3', units='0:3', replicates=2, transforms='')
  plans = sweep.plan(c)
  text = sweep.describe(c, plans)
  for name in ('model', 'objective', 'optimizer', 'transforms', 'steps'):
    assert any(
      line.split(None, 1) == [name, str(c[name] or '-')]
      for line in text.splitlines()
    )
  rows = {line.split()[0]: line for line in text.splitlines()}
  assert '6 images of 3x3 seen as 3x3; 2 batches of 3;' in rows['conv1']
  assert '6 images of 12x12 seen as 12x12; 2 batches of 3;' in rows['fc3']
  # An image, a score, a step, an activation, three traces of four steps, and
  # unit, replicate, box, size, seen of 3 + 1 + 4 + 2 + 4 numbers.
  bytes_of = {
    side: 6 * 4 * (side * side * 3 + 1 + 1 + 1 + 3 * 4 + 14) for side in (3, 12)
  }
  assert rows['conv1'].endswith(f'{bytes_of[3] / 1000:.3g} KB')
  assert rows['fc3'].endswith(f'{bytes_of[12] / 1000:.3g} KB')
  total = sum(bytes_of.values()) / 1000
  assert f'12 images, 48 steps, {total:.3g} KB before compression' in text


def test_a_plan_writes_nothing_and_computes_nothing(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(
    'vizjax.parallel.runner', lambda *a, **k: pytest.fail('compiled')
  )
  c = config(units='0:2@2x3,4@0x5')
  sweep.describe(c, sweep.plan(c))
  assert list(tmp_path.iterdir()) == []


def test_a_plan_has_the_fields_that_a_run_gives(swept):
  c, found = swept
  (plan,) = sweep.plan(c)
  assert set(plan.fields) == set(found) - {'done'}
  for name, (shape, dtype) in plan.fields.items():
    assert found[name].shape == (8, *shape)
    assert found[name].dtype == dtype


def test_a_displayed_image_is_the_stored_one(swept):
  # What is kept as uint8 is what an image file would hold.
  _, found = swept
  image = found['image'][0, :9, :9]
  np.testing.assert_array_equal(
    images.to_uint8(image), np.rint(np.clip(image, 0, 255)).astype(np.uint8)
  )


def test_what_does_not_run_is_an_error_of_the_plan():
  with pytest.raises(ValueError, match='conv9'):
    sweep.plan(config(objective="layer('conv9')"))
  with pytest.raises(ValueError, match='gaussian_blur works on pixels'):
    sweep.plan(
      config(parameterization='fourier(model)', projections='gaussian_blur(1.)')
    )
