"""Codes of a generator, optimized as two programs do, step by step.

The twins (oracles/codes.py) are NumPy, written from a description of the
programs; so are the generator and the network that looks at its picture. All
in float64.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from oracles import codes as twin
from oracles import network
from oracles import programs
import pytest
from scipy import optimize
from test_configs import load
from test_programs import close
from test_programs import run

import toyplans

from vizjax import core
from vizjax.build import assemble
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables

pytestmark = pytest.mark.usefixtures('quickly')

STEPS = 20
VECTOR, MAP = twin.Generator(), twin.Generator(of_map=True)
# Bounds that are met: codes are N(0, 1) or ten times that.
UPPER = np.linspace(0.3, 9.0, 12)


def table(generator):
  """The twin's layers."""
  rows = [
    tables.conv('Rconv6', 6, 2, pad=1)
    if generator.of_map
    else tables.fc('defc5', 54)
  ]
  if not generator.of_map:
    options = (('shape', (6, 3, 3)),)
    rows.append(tables.Layer('reshape', 'reshape', options=options))
  for name, _, features, k, stride, pad in generator.DECONVOLUTIONS:
    rows.append(tables.relu(f'relu_{name}', twin.SLOPE))
    rows.append(tables.deconv(name, features, k, stride, pad))
  return tables.sequence(*rows)


def prior(generator) -> core.Model:
  """The twin's generator; its picture is RGB."""
  params = {}
  for name, (weight, bias) in generator.weights.items():
    if name == 'deconv0':
      weight, bias = weight[:, ::-1], bias[::-1]
    if name == 'Rconv6':
      weight = weight.transpose(2, 3, 1, 0)
    elif weight.ndim == 4:  # turned by 180 degrees
      weight = weight.transpose(2, 3, 0, 1)[::-1, ::-1]
    else:
      weight = weight.T
    params[name] = {'kernel': weight, 'bias': bias}
  c, h, w = (*generator.shape, 1, 1)[:3]
  made = layers.model(
    table(generator), params, mean=(0.0,) * c, input_shape=(h, w, c)
  )
  return dataclasses.replace(
    made,
    params=jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params),
    mean=jnp.zeros(c, jnp.float64),
  )


def vector() -> core.Model:
  """A generator of codes [12]."""
  return prior(VECTOR)


def mapped() -> core.Model:
  """A generator of codes [2, 2, 3]."""
  return prior(MAP)


def configured(name, form, generator, **knobs):
  config = load(name, form)
  which = 'mapped' if generator.of_map else 'vector'
  with config.unlocked():
    config.model = 'test_programs.net()'
    config.prior = f'test_synthesizing.{which}()'
    config.layer, config.units = 'fc4', '2'
    config.steps = STEPS
    config.update(knobs)
  return config


def pictures(generator, codes):
  """RGB [steps, h, w, 3] less the mean: the middle 20 of 24 pixels."""
  whole = [generator.picture(np.asarray(code)) for code in codes]
  return np.stack([programs.rgb(x[:, 2:22, 2:22]) for x in whole])


def along(found, expected):
  """Equal at first; later as far apart as rounding grows on such a path.

  Steps of this size leap between the sides of rectifiers: 1e-14 becomes 1e-8.
  """
  close(found[:5], expected[:5], 1e-12)
  close(found, expected, 1e-6)


@pytest.fixture
def bounds(tmp_path):
  path = tmp_path / 'bounds.txt'
  path.write_text(' '.join(map(repr, UPPER.tolist())))
  return str(path)


ACT_MAX = {
  'a class': ({}, {}),
  'bounds and decay': (
    {'bounds': None, 'decay': 0.01, 'rate_start': 8.0, 'rate_end': 1e-10},
    {'bound': UPPER, 'L2': 0.99, 'start_lr': 8.0, 'end_lr': 1e-10},
  ),
  'clip': (
    {'projections': 'clip_box(-1., 1.) | l2_decay(decay)', 'decay': 0.2},
    {'clip': 1, 'L2': 0.8},
  ),
  'a map': (
    {'layer': 'conv2', 'units': '4@1x1', 'bounds': None, 'seed': 5},
    {'act_layer': 'conv2', 'unit': 4, 'xy': 1, 'bound': UPPER, 'seed': 5},
  ),
}


def cases(names, quick):
  """Of codes that are vectors, and of maps; all but the `quick` are slow."""
  return [
    pytest.param(
      name,
      generator,
      id=f'{name}-{"map" if generator.of_map else "vector"}',
      marks=[] if (name, generator) in quick else [pytest.mark.slow],
    )
    for name in names
    for generator in (VECTOR, MAP)
  ]


@pytest.mark.parametrize(
  'case, generator', cases(ACT_MAX, [('bounds and decay', VECTOR)])
)
def test_act_max_is_the_twin(case, generator, bounds):
  knobs, options = ACT_MAX[case]
  given = {'bounds': 'inf', 'decay': 0.0, 'rate_start': 2.0, 'rate_end': 2.0}
  if 'projections' not in knobs and 'bounds' not in knobs:
    given['projections'] = 'l2_decay(decay)'
  given |= knobs
  given['bounds'] = bounds if given['bounds'] is None else given['bounds']
  options = {'act_layer': 'fc4', 'unit': 2, **options}
  form = 'hidden' if case == 'a map' else 'activate_output'
  with jax.enable_x64(True):
    config = configured('nguyen2016', form, generator, **given)
    ((codes, trace, state),) = run(config)
    acts = network.AlexNet()
    expected, crops, scores = twin.act_max(acts, generator, **options)
    assert len(expected) == STEPS
    along(codes, expected)
    along(trace['score'], scores)
    assert state.last.step == STEPS - 1  # whose image is the result
    images = np.stack([programs.rgb(crop) for crop in crops])
    along(pictures(generator, codes), images)
  assert np.abs(np.diff(codes, axis=0)).max() > 0.1  # it does move


def test_an_image_is_the_middle_of_the_picture_and_the_mean():
  with jax.enable_x64(True):
    config = configured('nguyen2016', 'activate_output', VECTOR, bounds='inf')
    recipe = toyplans.program(
      config, assemble.model(config), 'fc4', boxed=False
    ).recipe
    code = np.random.RandomState(1).normal(0, 1, 12)
    image = recipe.parameterization.render(jnp.asarray(code))
    expected = pictures(VECTOR, [code])[0] + np.asarray(recipe.model.mean)
    close(image, expected)


def test_act_max_ends_where_nothing_is_to_be_gained(bounds):
  # Unit 0 of that network is dead.
  with jax.enable_x64(True):
    config = configured(
      'nguyen2016',
      'activate_output',
      VECTOR,
      model='test_programs.mortal_net()',
      units='0',
      bounds=bounds,
    )
    ((codes, trace, state),) = run(config)
  assert state.stopped and state.step == 1
  assert trace['gradient_norm'][0] == 0
  start = np.random.RandomState(0).normal(0, 1, 12)
  close(state.last.params, start)  # the image of the iteration that ended it
  close(state.params, 0.99 * np.clip(start, 0, UPPER))


DGN = {
  'as it is': ({'bounds': '100'}, {'feat_upper_bound': 100.0}),
  'everything': (
    {
      'bounds': None,
      'rate_start': 3.0,
      'rate_end': 0.1,
      'momentum_start': 0.5,
      'momentum_end': 0.95,
      'decay_start': 0.05,
      'decay_end': 0.01,
      'weight': 3.0,
      'seed': 4,
    },
    {
      'feat_upper_bound': UPPER,
      'lr': (3.0, 0.1),
      'momentum': (0.5, 0.95),
      'decay': (0.05, 0.01),
      'feature_weight': 3.0,
      'seed': 4,
    },
  ),
  'no bounds': (
    {
      'projections': 'l2_decay(linear_schedule(decay_start, decay_end, steps))',
      'layer': 'conv2',
      'units': '4@1x2',
    },
    {
      'feat_upper_bound': None,
      'feat_lower_bound': None,
      'layer': 'conv2',
      'index': (4, 1, 2),
    },
  ),
}


@pytest.mark.parametrize(
  'case, generator', cases(DGN, [('everything', VECTOR), ('everything', MAP)])
)
def test_dgn_gd_is_the_twin(case, generator, bounds):
  knobs, options = DGN[case]
  given = {'bounds': bounds, **knobs}
  given['bounds'] = bounds if given['bounds'] is None else given['bounds']
  options = {'layer': 'fc4', 'index': (2,), **options}
  with jax.enable_x64(True):
    config = configured('cnnpref', 'dgn_gd_higher', generator, **given)
    ((codes, _, state),) = run(config)
    # legacy_code is rounded to float32, as there; and so are both.
    expected, _ = twin.prefer_img_dgn_gd(
      network.AlexNet(), generator, **options
    )
  along(codes, expected)
  assert state.last.step == STEPS - 1
  assert np.abs(np.diff(codes, axis=0)).max() > 0.1


@pytest.mark.slow
def test_dgn_lbfgs_is_scipys(bounds):
  acts = network.AlexNet()
  tried = []

  def loss(code):
    picture = VECTOR.picture(code)
    crop = picture[:, 2:22, 2:22]
    top = np.zeros(picture.shape)
    value = acts.forward(crop)['fc4']
    cotangent = twin.one_hot(value, (2,), -10.0)
    top[:, 2:22, 2:22] = acts.backward(crop, 'fc4', cotangent)
    tried.append((code.copy(), value[2]))
    return -10 * value[2], VECTOR.backward(code, top)

  start = np.minimum(twin.first_code(VECTOR, 0), UPPER)
  optimize.minimize(
    loss,
    start,
    jac=True,
    method='L-BFGS-B',
    bounds=[(0, upper) for upper in UPPER],
    options={'maxiter': 6},
  )
  with jax.enable_x64(True):
    config = configured(
      'cnnpref', 'dgn_lbfgs_higher', VECTOR, bounds=bounds, iterations=6
    )
    ((codes, trace, state),) = run(config)
  # The first evaluation is of the start before it is put into the bounds.
  outside = int((twin.first_code(VECTOR, 0) > UPPER).any())
  expected = np.array([code for code, _ in tried])
  found = codes[outside : outside + len(expected)]
  close(found, expected, 1e-8)
  assert state.best.score == pytest.approx(10 * max(v for _, v in tried))
