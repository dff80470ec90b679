"""A run's image is its own: whatever is beside it, and wherever it is made."""

import dataclasses
import functools

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vizjax import core
from vizjax import models
from vizjax import objectives
from vizjax import parameterizations
from vizjax import projections
from vizjax import transforms
from vizjax.build import geometry
from vizjax.build import outputs
from vizjax.build import program as program_
from vizjax.sweeps import parallel

STEPS = 40

# A line search branches on float32 sums, whose order may differ with what is
# computed beside them. Forty steps make of that 1e-4 grey levels at most (one
# device and two); images of two units are tens of grey levels apart.
LINE_SEARCH = 1e-3  # grey levels

# Programs of a step take up to 140,000 characters. A mean image in one adds
# 1.2 million, AlexNet's weights twenty.
SMALL_PROGRAM = 1e6  # characters


def first_order(model):
  """Fourier, random windows, Adam; and pixels, descent, blur and clip."""
  fourier = core.Recipe(
    model=model,
    parameterization=parameterizations.fourier(model, shape=(14, 14)),
    objective=objectives.neuron('conv2'),
    optimizer=optax.adam(0.05),
    transforms=(transforms.jitter(2),),
  )
  pixels = core.Recipe(
    model=model,
    parameterization=parameterizations.pixels(model),
    objective=objectives.neuron('conv2'),
    optimizer=optax.sgd(50.0),
    projections=(
      projections.every(4, projections.gaussian_blur(0.5)),
      projections.clip_pixels(model),
    ),
    trace=(('norm', objectives.l2_norm()),),
  )
  return {'fourier': fourier, 'pixels': pixels}


def clean(recipe):
  h, w, _ = recipe.model.input_shape
  crop = transforms.crop(h, w)
  return dataclasses.replace(recipe, transforms=(crop,), trace=())


def row_of_devices(count):
  devices = jax.local_devices()[:count]
  kinds = (jax.sharding.AxisType.Auto,)
  return jax.make_mesh((count,), (parallel.UNIT,), kinds, devices=devices)


def batch(channels):
  """Targets and keys of some channels: a key belongs to its channel."""
  channels = jnp.asarray(channels)
  unit = core.Unit(channels, jnp.full_like(channels, 3), channels % 3 + 1)
  key = functools.partial(jax.random.fold_in, jax.random.key(5))
  return {'unit': unit}, jax.vmap(key)(channels)


@functools.cache
def first_order_runner(method, devices):
  """One for all tests, for compiling takes longer than running."""
  return compiled(first_order(conftest.toy())[method], devices)


def compiled(recipe, devices=1, result='best'):
  mesh = row_of_devices(devices)
  return parallel.runner(recipe, clean(recipe), result, mesh)


def run(runner, channels, calls=1):
  """Everything that a batch gives, with its trace."""
  targets, keys = batch(channels)
  state = runner.start(targets, keys)
  traces = []
  for _ in range(calls):
    state, trace = runner.advance(state, targets, keys, steps=STEPS // calls)
    traces.append(jax.device_get(trace))
  results = jax.device_get(runner.finish(state, targets))
  results['next'] = jax.device_get(runner.render(state))
  return results | {
    f'trace/{name}': np.concatenate([trace[name] for trace in traces], 1)
    for name in traces[0]
  }


def row(results, number):
  return {name: array[number] for name, array in results.items()}


@pytest.mark.slow
@pytest.mark.parametrize('method', ['pixels', 'fourier'])
def test_a_unit_alone_is_the_unit_in_any_batch(method):
  runner = first_order_runner(method, devices=1)
  alone = row(run(runner, [4]), 0)
  first, last = run(runner, [4, 5, 1, 0]), run(runner, [2, 3, 1, 4])
  for results, place in ((first, 0), (last, 3)):
    jax.tree.map(np.testing.assert_array_equal, alone, row(results, place))
  # The others are other images, so equality is not that of constants.
  assert np.abs(first['image'][1] - alone['image']).max() > 1


@pytest.mark.parametrize(
  'method', ['pixels', pytest.param('fourier', marks=pytest.mark.slow)]
)
def test_two_devices_make_what_one_makes(method):
  channels = [4, 5, 1, 0]
  spread = first_order_runner(method, devices=2)
  one, two = (
    run(first_order_runner(method, devices=1), channels),
    run(spread, channels),
  )
  jax.tree.map(np.testing.assert_array_equal, one, two)
  pair = run(spread, [5, 4])  # one run a device
  jax.tree.map(np.testing.assert_array_equal, row(one, 0), row(pair, 1))


@pytest.mark.parametrize(
  'method', ['pixels', pytest.param('fourier', marks=pytest.mark.slow)]
)
def test_steps_can_be_made_in_any_number_of_calls(method):
  runner = first_order_runner(method, devices=1)
  whole = run(runner, [4, 5, 1, 0])
  assert whole['trace/score'].shape == (4, STEPS)
  for calls in (4, STEPS):
    jax.tree.map(
      np.testing.assert_array_equal, whole, run(runner, [4, 5, 1, 0], calls)
    )


@pytest.mark.parametrize(
  'method', ['pixels', pytest.param('fourier', marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_steps_inside_one_program_can_be_made_in_any_number(model, method):
  # What accelerators do: the loop is in the program.
  recipe = first_order(model)[method]
  runner = first_order_runner(method, devices=2)
  scan = parallel._spread(
    lambda recipe, state, targets, keys, *, steps: core.optimize(
      recipe, state, targets, jax.random.split(keys)[1], steps=steps
    ),
    recipe,
    mesh=row_of_devices(2),
  )
  targets, keys = batch([4, 5, 1, 0])

  def after(calls, steps):
    state, traces = runner.start(targets, keys), []
    for _ in range(calls):
      state, trace = scan(state, targets, keys, steps=steps)
      traces.append(trace['score'])
    return state.params, state.best, np.concatenate(traces, 1)

  whole = after(1, STEPS)
  assert whole[2].shape == (4, STEPS)
  for calls, steps in ((4, 10), (STEPS, 1)):
    jax.tree.map(np.testing.assert_array_equal, whole, after(calls, steps))


@pytest.mark.slow
def test_a_line_search_agrees_to_rounding(model):
  recipe = dataclasses.replace(
    first_order(model)['pixels'],
    objective=lambda acts, run: (
      objectives.neuron('conv2')(acts, run) - 1e-3 * objectives.l2()(acts, run)
    ),
    optimizer=optax.lbfgs(),
    projections=(),
  )
  together = run(compiled(recipe, devices=2), [0, 1, 4, 5])
  alone = run(compiled(recipe), [4])
  for name in ('image', 'next'):
    np.testing.assert_allclose(
      together[name][2], alone[name][0], atol=LINE_SEARCH
    )
  assert np.ptp(together['image'][2] - together['image'][3]) > 1


@pytest.mark.slow
def test_the_result_is_the_snapshot_that_is_asked_for(model):
  recipe = dataclasses.replace(
    first_order(model)['pixels'], optimizer=optax.sgd(2000.0)
  )
  best = run(compiled(recipe, result='best'), [0, 4])
  last = run(compiled(recipe, result='last'), [0, 4])
  scores = best['trace/score']
  assert list(last['step']) == [STEPS - 1] * 2
  np.testing.assert_array_equal(last['score'], scores[:, -1])
  np.testing.assert_array_equal(best['step'], scores.argmax(1))
  np.testing.assert_array_equal(best['score'], scores.max(1))
  assert (best['step'] < STEPS - 1).any()


@pytest.mark.slow
def test_the_activation_is_measured_without_transforms(model):
  recipe = first_order(model)['fourier']
  found = run(compiled(recipe, result='last'), [0, 4])
  targets, _ = batch([0, 4])
  middle = found['image'][:, 1:13, 1:13]
  assert found['image'].shape[1:3] == (14, 14)
  for i, image in enumerate(middle):
    unit = jax.tree.map(lambda leaf, i=i: int(leaf[i]), targets['unit'])
    clean_value = model(jnp.asarray(image))['conv2'][
      unit.y, unit.x, unit.channel
    ]
    np.testing.assert_allclose(found['activation'][i], clean_value, rtol=1e-5)
    assert found['activation'][i] != found['score'][i]


def test_the_score_of_a_run_without_numbers_is_nan(model):
  broken = jax.tree.map(lambda leaf: leaf * jnp.nan, model.params)
  model = dataclasses.replace(model, params=broken)
  found = run(compiled(first_order(model)['pixels']), [0, 4])
  assert np.isnan(found['score']).all()
  assert list(found['step']) == [-1, -1]
  assert np.isfinite(found['image']).all()


def test_fields_are_what_a_run_gives(model):
  recipe = first_order(model)['pixels']
  targets, _ = batch([0])
  one = jax.tree.map(lambda leaf: leaf[0], targets)
  acts = geometry.activation_shapes(model)
  program = program_.Program(
    recipe,
    clean(recipe),
    None,
    'best',
    (),
    None,
    None,
    acts,
    frozenset(acts),
    None,
  )
  found = outputs.shapes(program, one, steps=STEPS)
  given = run(compiled(recipe), [0])
  del given['next']
  assert set(found) == set(given)
  assert {'image', 'trace/score', 'trace/norm'} < set(found)
  for name, array in given.items():
    assert found[name].shape == array.shape[1:]
    assert found[name].dtype == array.dtype


def test_one_compilation_serves_every_batch(model):
  traced = []

  def apply(params, image):
    traced.append(image.shape)
    return model.apply(params, image)

  counted = dataclasses.replace(model, apply=apply)
  recipe = first_order(counted)['pixels']
  runner = parallel.runner(recipe, clean(recipe), 'best', row_of_devices(2))
  for channels in ([0, 1], [2, 3], [5, 4]):
    targets, keys = batch(channels)
    state = runner.start(targets, keys)
    state, _ = runner.advance(state, targets, keys, steps=3)
    runner.finish(state, targets)
  assert len(traced) == 2  # a step, and the clean activation


@pytest.fixture(scope='module')
def lowered():
  """The text of every program of a layer of AlexNet on two devices."""
  model = models.load('alexnet_features')
  recipe = core.Recipe(
    model=model,
    parameterization=parameterizations.fourier(model),
    objective=objectives.neuron('conv5'),
    optimizer=optax.adam(0.05),
    transforms=(transforms.scale(0.9, 1.1), transforms.rotate(5.0)),
  )
  mean = jnp.broadcast_to(model.mean, model.input_shape)
  whole = dataclasses.replace(model, mean=mean)
  pixels = dataclasses.replace(
    recipe,
    model=whole,
    parameterization=parameterizations.pixels(whole),
    projections=(
      projections.gaussian_blur(1.0),
      projections.clip_pixels(whole),
      projections.clip_box(-mean, 255 - mean),
    ),
  )
  return {
    f'{name} {program}': text
    for name, recipe in {'fourier': recipe, 'pixels': pixels}.items()
    for program, text in _programs(recipe, steps=2).items()
  }


def test_nothing_is_closed_over(lowered):
  # AlexNet's weights alone would be twenty million characters, a mean image
  # a million.
  sizes = {name: len(text) for name, text in lowered.items()}
  assert len(sizes) == 8
  assert {n: size for n, size in sizes.items() if size > SMALL_PROGRAM} == {}


def test_a_closed_over_mean_image_would_be_found(model):
  constant = jnp.asarray(np.random.RandomState(0).normal(0, 1, (224, 224, 3)))
  constant = constant.astype(jnp.float32)
  recipe = dataclasses.replace(
    first_order(model)['pixels'],
    parameterization=core.Parameterization(
      jax.tree_util.Partial(lambda key, run: constant),
      jax.tree_util.Partial(
        lambda params: params[:12, :12] + constant[0, 0, 0]
      ),
    ),
    projections=(),
  )
  assert max(map(len, _programs(recipe, steps=2).values())) > SMALL_PROGRAM


@pytest.mark.parametrize(
  'optimizer',
  [optax.adam(0.1), pytest.param(optax.lbfgs(), marks=pytest.mark.slow)],
)
def test_devices_never_wait_for_each_other(model, optimizer):
  recipe = dataclasses.replace(
    first_order(model)['pixels'], optimizer=optimizer
  )
  step, arguments = _step(recipe)
  text = step.lower(*arguments).compile().as_text()
  assert 'num_partitions=2' in text
  for collective in ('all-reduce', 'all-gather', 'collective-permute'):
    assert collective not in text


@pytest.mark.parametrize(
  'steps, every, expected',
  [
    (100, None, 25),
    (100, 10, 10),
    (64, 48, 16),
    (31, None, 31),
    (97, None, 1),
    (3, 5, 1),
  ],
)
def test_calls_are_equal_and_end_at_every_frame(
  monkeypatch, steps, every, expected
):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  found = parallel.steps_per_call(steps, every)
  assert found == expected
  monkeypatch.setattr(jax, 'default_backend', lambda: 'cpu')
  assert parallel.steps_per_call(steps, every) == 1


def test_the_mesh_is_every_device_in_a_row():
  mesh = parallel.local_mesh()
  assert mesh.axis_names == ('unit',)
  assert list(mesh.devices.flat) == jax.local_devices()
  assert mesh.size == 2


def _step(recipe):
  """The function that `advance` repeats on the CPU, and its arguments."""

  def step(recipe, state, targets, keys):
    return core.advance(recipe, state, targets, jax.random.split(keys)[1])

  mesh = parallel.local_mesh()
  runner = parallel.runner(recipe, clean(recipe), 'best', mesh)
  targets, keys = batch([0, 1])
  state = runner.start(targets, keys)
  split = jax.sharding.NamedSharding(
    mesh, jax.sharding.PartitionSpec(parallel.UNIT)
  )
  arguments = jax.device_put((state, targets, keys), split)
  return parallel._spread(step, recipe, mesh=mesh), arguments


def _programs(recipe, steps):
  """The text of each program of a recipe as it is lowered."""

  def scan(recipe, state, targets, keys, *, steps):
    return core.optimize(recipe, state, targets, keys, steps=steps)

  mesh = parallel.local_mesh()
  runner = parallel.runner(recipe, clean(recipe), 'best', mesh)
  targets, keys = batch([0, 1])
  state = runner.start(targets, keys)
  advance = parallel._spread(scan, recipe, mesh=mesh)
  return {
    'start': runner.start.lower(targets, keys).as_text(),
    'advance': advance.lower(state, targets, keys, steps=steps).as_text(),
    'frame': runner.render.lower(state).as_text(),
    'finish': runner.finish.lower(state, targets).as_text(),
  }
