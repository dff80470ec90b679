"""optimize_image and prefer_img_gd against their twins, step by step.

The twins (oracles/programs.py) are NumPy and SciPy, written from a
description of the published programs; so is the network that both visualise.
All in float64: what differs after 20 steps is the order of sums.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracles import network
from oracles import programs as twin
from test_configs import load
import toyplans

from vizjax import build
from vizjax import core
from vizjax import objectives
from vizjax import projections
from vizjax import targets
from vizjax.build import assemble
from vizjax.errors import UserError
from vizjax.models import means
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

FIXTURES = pathlib.Path(__file__).parents[3] / 'shared' / 'fixtures'
MEAN_IMAGE = FIXTURES / 'ilsvrc_2012_mean.npy'

needs_mean = pytest.mark.skipif(
  not MEAN_IMAGE.exists(), reason='the mean image of ImageNet is not there'
)

TABLE = tables.sequence(
  tables.conv('conv1', 8, 5, stride=2),
  tables.relu('relu1'),
  tables.lrn('norm1'),
  tables.max_pool('pool1', 3, 2, ceil=True),
  tables.conv('conv2', 6, 3, pad=1, groups=2),
  tables.relu('relu2'),
  tables.fc('fc3', 7),
  tables.relu('relu3'),
  tables.fc('fc4', 5),
  tables.softmax('prob'),
)
SIZE = 20
STEPS = 20
MEAN = (123.0, 117.0, 104.0)  # RGB
UNIT = (2, 0, 0)  # channel, row, column; of fc4 unless said otherwise

# After 20 steps; the errors found are about 1e-13.
TOLERANCE = 1e-10


def mortal():
  """Unit 0 of fc4 is dead; the others die when the image is faint."""
  numbers = network.AlexNet()
  weight, _ = numbers.weights['conv1']
  numbers.weights['conv1'] = weight, np.full(8, -5.0)
  weight, _ = numbers.weights['conv2']
  numbers.weights['conv2'] = weight, np.zeros(6)
  weight, bias = numbers.weights['fc4']
  weight[0] = 0
  return numbers


def net() -> core.Model:
  """The network of the twin, in float64."""
  return _model(network.AlexNet())


def mortal_net() -> core.Model:
  """The one that can die."""
  return _model(mortal())


def _model(numbers):
  params = {}
  for name, (weight, bias) in numbers.weights.items():
    weight = weight[:, ::-1] if name == 'conv1' else weight  # reads RGB
    weight = weight.transpose((2, 3, 1, 0) if weight.ndim == 4 else (1, 0))
    params[name] = {'kernel': weight, 'bias': bias}
  shape = (SIZE, SIZE, 3)
  model = layers.model(TABLE, params, mean=MEAN, input_shape=shape)
  return dataclasses.replace(
    model,
    params=jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params),
    mean=jnp.asarray(MEAN, jnp.float64),
  )


def run(config, *others):
  """All runs of a configuration, and every image that was evaluated.

  Args:
    config: what is compiled.
    others: configurations whose runs differ in nothing but data.

  Returns:
    A list with, for each run, (images less the mean, trace, last state).
  """
  found = []
  for one in (config, *others):
    model = assemble.model(one)
    (layer,) = assemble.layers(one, model)
    table = toyplans.runs(one, model, layer)
    program = toyplans.program(one, model, layer, boxed=False)
    found.append((program, program.target(table, np.arange(len(table.y)))))
  recipe = found[0][0].recipe
  target = jax.tree.map(lambda *t: np.concatenate(t), *[t for _, t in found])
  key = jax.random.key(0)

  @jax.jit
  def advance(recipe, state, target):
    step = lambda s, t: core.optimize(recipe, s, t, key, steps=1)
    return jax.vmap(step)(state, target)

  state = jax.vmap(lambda t: core.init(recipe, t, key))(target)
  state = jax.device_get(state)  # of one kind, or it compiles twice
  states, traces = [], []
  for _ in range(config.steps):
    state, trace = jax.device_get(advance(recipe, state, target))
    states.append(state)
    traces.append(trace)
  made = []
  for i in range(len(target['unit'].y)):
    images = np.stack([state.last.params[i] for state in states])
    trace = {name: np.stack([t[name][i, 0] for t in traces]) for name in trace}
    made.append((images, trace, jax.tree.map(lambda x, i=i: x[i], state)))
  return made


def close(found, expected, tolerance=TOLERANCE):
  """Apart by less than a fraction of the largest number."""
  expected = np.asarray(expected, float)
  assert np.shape(found) == expected.shape
  error = np.max(np.abs(found - expected), initial=0)
  assert error <= tolerance * np.max(np.abs(expected), initial=0) + 1e-11


def toolbox(number, **options):
  config = load('yosinski2015', number)
  with config.unlocked():
    config.model = 'test_programs.net()'
    config.layer = 'fc4'
    config.units = '2'
    config.steps = STEPS
    config.update(options)
  return config


def cnnpref(**options):
  config = load('cnnpref', 'gd_lower')
  with config.unlocked():
    config.model = 'test_programs.net()'
    config.layer = 'fc4'
    config.units = '2'
    config.steps = STEPS + 1  # the image after the last update
    config.update(options)
  return config


def same_record(made, expected, factor=1):
  """What the toolbox keeps of a run, all of it."""
  images, trace, state = made
  steps = len(expected['obj'])
  for name in ('obj', 'idxmax', 'ismax', 'norm', 'dist', 'std'):
    close(trace[name][:steps], expected[name])
    assert np.isnan(trace[name][steps:]).all()
  close(trace['score'][:steps], factor * np.array(expected['obj']))
  close(images[:steps], [twin.rgb(xx) for xx in expected['xx']])
  close(state.extra['start'], twin.rgb(expected['x0']))
  snapshots = {
    'best': state.best,
    'last': state.last,
    'majority': state.extra['majority'],
  }
  for name, snapshot in snapshots.items():
    if expected[name] is None:
      assert snapshot.step == -1
      continue
    ii, obj, xx = expected[name]
    assert snapshot.step == ii
    close(snapshot.score, factor * obj)
    close(snapshot.params, twin.rgb(xx))


# The network.


def test_the_networks_are_one(x64):
  numbers, model = network.AlexNet(), net()
  draw = np.random.RandomState(1)
  x = draw.normal(0, 10, (3, SIZE, SIZE))
  expected = numbers.forward(x)
  cotangents = {
    name: draw.normal(0, 1, expected[name].shape) for name in numbers.LAYERS
  }
  here = lambda a: jnp.asarray(np.moveaxis(a, 0, -1) if a.ndim == 3 else a)

  @jax.jit
  def both(x, cotangents):
    acts, back = jax.vjp(lambda x: model.apply(model.params, x), x)
    zeros = jax.tree.map(jnp.zeros_like, acts)
    entered = {k: back({**zeros, k: v}) for k, v in cotangents.items()}
    return acts, entered

  acts, grads = both(twin.rgb(x), jax.tree.map(here, cotangents))
  for name in numbers.LAYERS:
    close(acts[name], here(expected[name]), 1e-13)
    back = numbers.backward(x, name, cotangents[name])
    assert np.abs(back).max() > 1e-4
    close(grads[name][0], twin.rgb(back), 1e-13)


# optimize_image.

# As published; see the table of recommended sets.
SETS = {
  '1': {
    'blur_radius': 0.5,
    'blur_every': 4,
    'small_norm_percentile': 50,
    'lr_policy': 'progress',
    'lr_params': {'max_lr': 100, 'desired_prog': 2},
  },
  '2': {
    'decay': 0.3,
    'small_norm_percentile': 20,
    'lr_params': {'lr': 100},
  },
  '3': {
    'decay': 1e-4,
    'blur_radius': 1.0,
    'blur_every': 4,
    'lr_params': {'lr': 100},
  },
  '4': {
    'blur_radius': 0.5,
    'blur_every': 4,
    'px_abs_benefit_percentile': 90,
    'lr_policy': 'progress',
    'lr_params': {'max_lr': 1e8, 'desired_prog': 2},
  },
}


def optimize_image(number, layer, unit, numbers=None, mean=None, **options):
  numbers = numbers or network.AlexNet()
  mean = np.array(MEAN[::-1]) if mean is None else mean
  options = {**SETS[number], 'max_iter': STEPS, **options}
  return twin.optimize_image(numbers, mean, layer, unit, **options)


@pytest.mark.parametrize(
  'number',
  ['3', *(pytest.param(n, marks=pytest.mark.slow) for n in '124')],
)
def test_the_four_sets(x64, number):
  # Two units from two starts each, in one program.
  config = toolbox(number, units='0,2', replicates=2)
  made = run(config)
  runs = [(0, 0), (0, 1), (2, 0), (2, 1)]
  for one, (channel, seed) in zip(made, runs, strict=True):
    same_record(
      one, optimize_image(number, 'fc4', (channel, 0, 0), rand_seed=seed)
    )


# Each option by itself: of the configuration, of the program.
OPTIONS = {
  'small values': ({'small_val': 30.0}, {'small_val_percentile': 30}),
  'benefit': ({'px_benefit': 20.0}, {'px_benefit_percentile': 20}),
  'blur every 3': ({'period': 3}, {'blur_every': 3}),
  'clipped': ({'rate': 5e3}, {'lr_params': {'lr': 5e3}}),
  'push_dir 2': ({'push_dir': 2.0}, {'push_dir': 2.0}),
  'all four': (
    {
      'small_val': 10.0,
      'small_norm': 15.0,
      'px_benefit': 12.0,
      'px_abs_benefit': 25.0,
    },
    {
      'small_val_percentile': 10,
      'small_norm_percentile': 15,
      'px_benefit_percentile': 12,
      'px_abs_benefit_percentile': 25,
    },
  ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', OPTIONS)
def test_each_option(x64, name):
  options, program = OPTIONS[name]
  (made,) = run(toolbox('3', **options))
  expected = optimize_image('3', 'fc4', UNIT, **program)
  same_record(made, expected, factor=program.get('push_dir', 1))
  if name == 'clipped':
    shown = twin.rgb(expected['xx'][-1]) + np.array(MEAN)
    assert np.sum((shown < 1e-9) | (shown > 255 - 1e-9)) > 20


@pytest.mark.slow
@pytest.mark.parametrize(
  'layer, units, places',
  [
    ('fc3', '0,5', [(0, 0, 0), (5, 0, 0)]),
    ('conv2', '1@2x1,5', [(1, 2, 1), (5, 2, 2)]),  # the middle of 4 x 4
  ],
  ids=['fc3', 'conv2'],
)
def test_units_are_read_behind_their_rectifier(x64, layer, units, places):
  made = run(toolbox('3', layer=layer, units=units))
  expected = [optimize_image('3', layer, place) for place in places]
  for one, program in zip(made, expected, strict=True):
    same_record(one, program)
  # One of them starts below zero, where the gradient is not masked.
  assert min(program['obj'][0] for program in expected) == 0


STARTS = {
  'mean_plus_rand': 'legacy_normal(model, std)',
  'randu': 'legacy_uniform(model)',
  'mean': 'mean_image(model)',
}


@pytest.mark.slow
def test_the_three_starts_around_a_mean_image(x64, tmp_path):
  # One of 24 x 25, of which the program cuts the middle, rounding down; with
  # noise on top it is clipped before the first evaluation.
  file = tmp_path / 'mean.npy'
  mean = np.random.RandomState(2).uniform(0, 255, (3, 24, 25))
  np.save(file, mean)
  configs = [
    toolbox('3', start=start, seed=3, mean=str(file))
    for start in STARTS.values()
  ]
  for made, start in zip(run(*configs), STARTS, strict=True):
    expected = optimize_image(
      '3', 'fc4', UNIT, mean=mean[:, 2:22, 2:22], start_at=start, rand_seed=3
    )
    same_record(made, expected)
    assert (expected['dist'][0] > 1) == (start == 'mean_plus_rand')


@pytest.mark.slow
@pytest.mark.parametrize(
  'push_dir',
  [
    1.0,
    2.0,
  ],
)
def test_progress_of_a_probability(x64, push_dir):
  config = toolbox(
    '3',
    layer='prob',
    optimizer='progress01(early, late, max_rate, push_dir)',
    early=0.2,
    late=0.3,
    max_rate=1e5,
    push_dir=push_dir,
  )
  params = {'early_prog': 0.2, 'late_prog_mult': 0.3, 'max_lr': 1e5}
  expected = optimize_image(
    '3',
    'prob',
    UNIT,
    push_dir=push_dir,
    lr_policy='progress01',
    lr_params=params,
  )
  # Both bounds of what is promised take their turns.
  assert min(expected['obj']) < 1 - 0.2 / 0.3 < max(expected['obj'])
  (made,) = run(config)
  same_record(made, expected, factor=push_dir)


@pytest.mark.slow
def test_a_unit_can_be_pushed_down(x64):
  # The program's own recorder refuses to; here the best is the lowest.
  (made,) = run(toolbox('3', push_dir=-1.0))
  images, trace, state = made
  expected = optimize_image('3', 'fc4', UNIT, push_dir=-1.0)
  obj = expected['obj']
  assert obj[-1] < obj[0] - 5
  close(trace['obj'], obj)
  close(trace['score'], -np.array(obj))
  close(images, [twin.rgb(xx) for xx in expected['xx']])
  assert state.best.step == np.argmin(obj)
  close(state.best.score, -min(obj))


MORTAL = {'rate': 1.0, 'decay': 0.3, 'sigma': 0.0, 'units': '0,1'}
MORTAL_PROGRAM = {'lr_params': {'lr': 1}, 'decay': 0.3, 'blur_radius': 0}


def mortal_runs():
  """Dead at once; dead after some steps; dead without an image."""
  return [
    optimize_image('3', 'fc4', unit, mortal(), start_at=start, **MORTAL_PROGRAM)
    for unit, start in [
      ((0, 0, 0), 'mean_plus_rand'),
      ((1, 0, 0), 'mean_plus_rand'),
      ((1, 0, 0), 'mean'),
    ]
  ]


@pytest.mark.slow
def test_a_gradient_of_zero_ends_a_run(x64):
  model = 'test_programs.mortal_net()'
  made = run(
    toolbox('3', model=model, **MORTAL),
    toolbox('3', model=model, start=STARTS['mean'], **{**MORTAL, 'units': '1'}),
  )
  expected = mortal_runs()
  lengths = [len(e['obj']) for e in expected]
  assert lengths[0] == lengths[2] == 1 and 3 < lengths[1] < STEPS
  for one, program, steps in zip(made, expected, lengths, strict=True):
    assert program['meta_result'] == 'Metaresult: grad 0 failure'
    same_record(one, program)
    images, trace, state = one
    assert state.stopped
    assert trace['gradient_norm'][steps - 1] == 0
    assert np.isnan(trace['gradient_norm'][steps:]).all()
    assert (images[steps:] == images[steps - 1]).all()


def test_the_store_holds_the_record(x64, tmp_path):
  # Images are written in float32, all else as it is.
  config = toolbox('3', model='test_programs.mortal_net()', **MORTAL)
  with config.unlocked():
    config.keep = 'best, last, majority'
  sweep.execute(sweep.plan(build.request(config)), str(tmp_path / 'w'))
  kept = store.open_(tmp_path / 'w' / 'fc4')
  for row, expected in enumerate(mortal_runs()[:2]):
    steps = len(expected['obj'])
    for name in ('obj', 'idxmax', 'ismax', 'norm', 'dist', 'std'):
      record = store.read(kept, f'trace/{name}')[row]
      close(record[:steps], expected[name])
      assert np.isnan(record[steps:]).all()
    for name in ('best', 'last', 'majority'):
      step = store.read(kept, f'{name}/step')[row]
      score = store.read(kept, f'{name}/score')[row]
      if expected[name] is None:
        assert step == -1 and np.isnan(score)
        continue
      ii, obj, xx = expected[name]
      assert step == ii
      close(score, obj)
      image = twin.rgb(xx) + np.array(MEAN)
      close(store.read(kept, f'{name}/image')[row], image, 1e-7)
      if name == 'best':
        close(store.read(kept, 'image')[row], image, 1e-7)
        close(store.read(kept, 'activation')[row], obj)


# prefer_img_gd.


def prefer_img_gd(layer, units, **options):
  """The twin, for a mask of some units."""
  numbers = network.AlexNet()
  zeros = np.zeros((3, SIZE, SIZE))
  mask = np.zeros(numbers.forward(zeros)[layer].shape)
  for unit in units:
    mask[unit[: mask.ndim]] = 1
  mean = np.array(MEAN[::-1])
  options = {'iter_n': STEPS, **options}
  return twin.prefer_img_gd(numbers, mean, layer, mask, **options)


def same_descent(made, expected, factor=1):
  """Every image that enters a step, the last one, and the score."""
  images, trace, state = made
  xs = [twin.rgb(x) for x in expected['xx']]
  close(images[:-1], xs)
  close(images[-1] + np.array(MEAN), expected['image'])
  close(trace['score'][:-1], factor * np.array(expected['feature']))
  assert state.last.step == STEPS


# As the example script calls it.
LOWER = {
  'lr_start': 1,
  'lr_end': 1,
  'momentum_start': 0.001,
  'momentum_end': 0.001,
  'decay_start': 0.001,
  'decay_end': 0.001,
  'jitter_size': 4,
  'sigma_start': 2.5,
  'sigma_end': 0.5,
  'clip_small_norm': True,
  'clip_small_norm_every': 1,
  'clip_small_contribution': True,
  'clip_small_contribution_every': 1,
}


def test_the_example_script(x64):
  # Without a place, the one in the middle of 8 x 8.
  made = run(cnnpref(layer='conv1', units='0,3@2x5', replicates=2))
  runs = [((0, 4, 4), 0), ((0, 4, 4), 1), ((3, 2, 5), 0), ((3, 2, 5), 1)]
  for one, (unit, seed) in zip(made, runs, strict=True):
    same_descent(one, prefer_img_gd('conv1', [unit], seed=seed, **LOWER))


# Everything at once, and every schedule goes somewhere.
EVERYTHING = {
  'momentum_start': 0.9,
  'momentum_end': 0.6,
  'decay_start': 0.1,
  'decay_end': 0.02,
  'jitter_size': 7,
  'sigma_start': 1.5,
  'sigma_end': 0.4,
  'use_p_norm_reg': True,
  'p': 3,
  'lamda_start': 0.5,
  'lamda_end': 0.1,
  'use_TV_norm_reg': True,
  'TVbeta': 2,
  'TVlamda_start': 0.2,
  'TVlamda_end': 0.6,
  'clip_extreme': True,
  'clip_extreme_every': 4,
  'e_pct_start': 10,
  'e_pct_end': 2,
  'clip_small_norm': True,
  'clip_small_norm_every': 3,
  'n_pct_start': 5,
  'n_pct_end': 21,
  'clip_small_contribution': True,
  'clip_small_contribution_every': 2,
  'c_pct_start': 17,
  'c_pct_end': 3,
}
NAMES = {
  'jitter_size': 'jitter',
  'lr_start': 'rate_start',
  'lr_end': 'rate_end',
  'lamda_start': 'p_start',
  'lamda_end': 'p_end',
  'TVbeta': 'tv',
  'TVlamda_start': 'tv_start',
  'TVlamda_end': 'tv_end',
  'clip_extreme_every': 'e_every',
  'clip_small_norm_every': 'n_every',
  'clip_small_contribution_every': 'c_every',
  'e_pct_start': 'e_start',
  'e_pct_end': 'e_end',
  'n_pct_start': 'n_start',
  'n_pct_end': 'n_end',
  'c_pct_start': 'c_start',
  'c_pct_end': 'c_end',
}
ONLY_NAMES = {
  'use_p_norm_reg',
  'use_TV_norm_reg',
  'clip_extreme',
  'clip_small_norm',
  'clip_small_contribution',
}


def knobs(options):
  """The options of the program as those of the configuration."""
  return {
    NAMES.get(name, name): value if name.endswith('every') else float(value)
    for name, value in options.items()
    if name not in ONLY_NAMES
  } | {'jitter': options['jitter_size']}


@pytest.mark.slow
@pytest.mark.parametrize('normalize', [True, False])
def test_everything_at_once(x64, normalize):
  # Without normalizing, the gradient is of a thousandth of a grey level.
  rates = {'lr_start': 2, 'lr_end': 0.3}
  if not normalize:
    rates = {'lr_start': 400, 'lr_end': 100}
  options = {**EVERYTHING, **rates}
  made = run(cnnpref(normalize=normalize, replicates=2, **knobs(options)))
  for seed, one in enumerate(made):
    expected = prefer_img_gd(
      'fc4', [UNIT], seed=seed, grad_normalize=normalize, **options
    )
    assert expected['feature'][-1] > expected['feature'][0]
    same_descent(one, expected)


@pytest.mark.slow
def test_units_by_a_mask_from_a_given_image_unblurred(x64, tmp_path):
  # The program then draws one image, not two, before the shifts.
  image = np.random.RandomState(5).uniform(0, 255, (SIZE, SIZE, 3))
  mask = np.zeros((4, 4, 6))
  mask[1, 2, 3] = mask[3, 0, 5] = 1
  np.save(tmp_path / 'image.npy', image)
  np.save(tmp_path / 'mask.npy', mask)
  config = cnnpref(
    layer='conv2',
    start=str(tmp_path / 'image.npy'),
    mask=str(tmp_path / 'mask.npy'),
    data='shifts = legacy_shifts(jitter, steps, 1)',
    objective='weight * mask(layer)',
    activation='mask(layer)',
    weight=3.0,
    normalize=False,
    rate_start=20.0,
    rate_end=5.0,
    momentum_start=0.9,
    momentum_end=0.9,
    decay_start=0.1,
    decay_end=0.1,
    sigma_start=0.0,
    sigma_end=0.0,
    n_every=0,
    c_every=0,
    units=None,
  )
  expected = prefer_img_gd(
    'conv2',
    [(3, 1, 2), (5, 3, 0)],
    feature_weight=3.0,
    initial_image=image,
    grad_normalize=False,
    lr_start=20,
    lr_end=5,
    jitter_size=4,
    image_blur=False,
  )
  (made,) = run(config)
  same_descent(made, expected, factor=3 * 2)  # the program notes the mean


# Figures that need no weights.

SHAPE = (227, 227, 3)


def the_mean():
  """The middle of ImageNet's mean image, RGB."""
  return means.mean(str(MEAN_IMAGE), SHAPE)


def model_of_a_mean(mean):
  return core.Model({}, mean, lambda params, image: {}, SHAPE)


def normal_start():
  return targets.legacy_normal(model_of_a_mean(np.zeros(3)), 10)(SHAPE, 0)


def test_the_start_of_the_published_run(x64):
  x0 = normal_start()
  np.testing.assert_allclose(
    x0[0, :2, 2], [17.6405234597, 4.00157208367], rtol=0, atol=5e-11
  )
  norm = objectives.l2_norm('params')({'params': jnp.asarray(x0)}, {})
  std = objectives.std('params')({'params': jnp.asarray(x0)}, {})
  assert f'{norm:.8f} {std:.11f}' == '3921.52364497 9.97384688005'


def test_percentiles_of_the_published_start(x64):
  x0 = jnp.asarray(normal_start())

  def kept(projection):
    return np.asarray(projection(x0, x0, 0))

  norms = np.linalg.norm(x0, axis=-1)
  for percentile, published in [(50.0, 15.33040028), (20.0, 9.94586834)]:
    assert f'{np.percentile(norms, percentile):.8f}' == f'{published:.8f}'
    left = kept(projections.drop_small_norms(percentile)).any(-1)
    assert norms[left].min() > published - 1e-8
    assert norms[~left].max() < published
    if percentile == 50:
      assert (~left).sum() == 25764
  left = kept(projections.drop_small_values(50.0)) != 0
  assert f'{np.abs(x0)[left].min():.8f}' == '6.71676104'
  assert (~left).sum() == x0.size // 2


@needs_mean
def test_the_even_start(x64):
  model = model_of_a_mean(the_mean())
  start = jnp.asarray(targets.legacy_uniform(model)(SHAPE, 0) - the_mean())
  norm = objectives.l2_norm('params')({'params': start}, {})
  std = objectives.std('params')({'params': start}, {})
  found = ' '.join(f'{x:.8f}' for x in start[0, :2, 2])
  assert found == '26.79283382 69.17419937'
  # The norm is printed as 29717.2022; NumPy, by itself, has 29717.2020022.
  assert f'{norm:.7f} {std:.8f}' == '29717.2020022 74.33658983'


@pytest.mark.slow
@needs_mean
def test_the_first_two_records_of_set_three(x64):
  # With the rate zero: what decay and blur alone make of the start.
  config = toolbox(
    '3',
    layer='conv2',
    units='0',
    shape='227x227',
    mean=str(MEAN_IMAGE),
    steps=2,
    rate=0.0,
  )
  ((_, trace, _),) = run(config)
  norm, std, dist = trace['norm'], trace['std'], trace['dist']
  assert f'{norm[0]:.8f} {std[0]:.11f}' == '3921.52364497 9.97384688005'
  assert dist[0] < 1e-11
  assert f'{norm[1]:.5f} {std[1]:.7f}' == '1118.40795 2.8440958'
  assert f'{dist[1]:.5f}' == '3413.04436'


def test_the_random_numbers_of_cnnpref():
  assert f'{targets.legacy_norm()(SHAPE, 0):.8f}' == '29024.28897493'
  noise = targets.legacy_integers(before=0)(SHAPE, 0)
  assert noise.reshape(-1)[:5].tolist() == [172, 47, 117, 192, 67]
  shifts = targets.legacy_shifts(32, 3, before=0)(SHAPE, 0)
  assert shifts.tolist() == [[12, 15], [32, -23], [-11, 4]]


# What cannot be.


@pytest.mark.parametrize(
  'number, field, value, message',
  [
    ('1', 'optimizer', 'progress(desired)', 'config.optimizer.*max_rate'),
    ('1', 'optimizer', 'progress01(early, late)', 'config.optimizer.*max_rate'),
    ('1', 'small_norm', 101.0, r'config.projections.*drop_small_norms\(101'),
    ('4', 'px_abs_benefit', -1.0, r'config.projections.*benefits\(-1'),
    ('3', 'decay', 1.5, r'config.projections.*l2_decay\(1.5'),
    ('3', 'start', 'legacy_normal()', 'config.start.*model'),
  ],
)
def test_bad_knobs_of_the_toolbox(x64, number, field, value, message):
  with pytest.raises(UserError, match=message) as found:
    sweep.plan(build.request(toolbox(number, **{field: value})))
  assert '\n' not in str(found.value)


@pytest.mark.parametrize(
  'field, value, message',
  [
    ('e_start', 101.0, r'config.projections.*clip_percentile'),
    ('n_start', 101.0, r'config.projections.*drop_small_norms'),
    ('c_end', -5.0, r'config.projections.*drop_small_contributions'),
  ],
)
def test_bad_percentiles_of_cnnpref(x64, field, value, message):
  with pytest.raises(UserError, match=message):
    sweep.plan(build.request(cnnpref(**{'e_every': 1, field: value})))


def test_a_momentum_is_missing(x64):
  with pytest.raises(UserError, match='config.procedure.*momentum') as found:
    sweep.plan(build.request(cnnpref(procedure='prefer_img_gd(1.)')))
  assert '\n' not in str(found.value)


def test_a_mask_of_another_shape(x64, tmp_path):
  np.save(tmp_path / 'mask.npy', np.zeros((5, 4, 6)))
  config = cnnpref(
    layer='conv2',
    mask=str(tmp_path / 'mask.npy'),
    objective='mask(layer)',
    activation='',
    units=None,
  )
  with pytest.raises(UserError, match=r'config.mask.*\(4, 4, 6\)') as found:
    sweep.plan(build.request(config))
  assert '\n' not in str(found.value)
