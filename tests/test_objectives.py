"""Terms against loops in NumPy and the numbers of the published programs."""

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import odd_networks
import optax
import pytest

from oracles import objectives as twin
from vizjax import core
from vizjax import metrics
from vizjax import objectives
from vizjax import parameterizations
from vizjax.errors import UserError

pytestmark = pytest.mark.usefixtures('quickly')

# Sums of a few hundred float32 numbers of one size: about 100 roundings.
FLOAT32 = 1e-5
# The published table has ten digits; the arithmetic is float64.
PRINTED = 1e-8
# The same sums in float64, in another order.
FLOAT64 = 1e-12

UNIT = {'unit': core.Unit(3, 1, 2)}


# Terms that read a unit, and what of it.
UNITS = {
  'neuron': (objectives.neuron('conv'), ('channel', 'y', 'x')),
  'channel': (objectives.channel('conv'), ('channel',)),
  'amplify_neuron': (objectives.amplify_neuron('conv'), ('channel',)),
  'direction_neuron': (objectives.direction_neuron('conv'), ('y', 'x')),
  'is_max': (objectives.is_max('conv'), ('channel', 'y', 'x')),
  'rank': (metrics.rank('conv'), ('channel', 'y', 'x')),
}


def acts(seed=0):
  draw = np.random.RandomState(seed)
  return {
    'conv': jnp.asarray(draw.normal(0, 1, (4, 5, 6)), jnp.float32),
    'fc': jnp.asarray(draw.normal(0, 1, 6), jnp.float32),
  }


def direction():
  return jnp.asarray(np.random.RandomState(2).normal(0, 1, 6), jnp.float32)


def double(array):
  return np.asarray(array, np.float64)


def published():
  """The image of the published checks, [h, w, c] of (c, h, w)."""
  image = (np.arange(60.0) ** 1.5).reshape(3, 4, 5)
  return image.transpose(1, 2, 0)


def of_image(term, image):
  """Value and gradient as functions of 'centered'."""

  def value(image):
    return term({'centered': image}, {})

  return jax.jit(jax.value_and_grad(value))(jnp.asarray(image))


def test_neuron_is_the_activation_at_row_column_and_channel():
  values = acts()
  term = objectives.neuron('conv')
  assert term(values, UNIT) == values['conv'][1, 2, 3]


def test_neuron_of_a_fully_connected_layer_ignores_the_position():
  values = acts()
  assert objectives.neuron('fc')(values, UNIT) == values['fc'][3]


BEYOND = (
  ('channel', 6),
  ('channel', -1),
  ('y', 4),
  ('y', -1),
  ('x', 5),
  ('x', -2),
)


@pytest.mark.parametrize('part, number', BEYOND)
@pytest.mark.parametrize('name', UNITS)
def test_a_unit_that_is_not_in_the_layer_is_an_error_or_nan(name, part, number):
  term, parts = UNITS[name]
  wrong = UNIT['unit']._replace(**{part: number})
  values = {**acts(), 'view': jnp.zeros((8, 8, 3))}
  target = {'direction': direction()}
  traced = jax.jit(lambda unit: term(values, {**target, 'unit': unit}))
  assert np.isfinite(traced(UNIT['unit']))
  if part not in parts:
    assert traced(wrong) == traced(UNIT['unit'])
    return
  # Inside `jit`, a unit that is not traced still has known numbers.
  match = rf"the unit has {part}={number}, but layer 'conv' is 4 x 5 x 6"
  for one in (wrong, core.Unit(*map(jnp.array, wrong))):
    with pytest.raises(UserError, match=match):
      jax.jit(lambda a, one=one: a * term(values, {**target, 'unit': one}))(2.0)
  assert np.isnan(traced(wrong))


@pytest.mark.parametrize(
  'name',
  ('neuron', 'channel', 'amplify_neuron', 'layer', 'mask', 'direction',
   'direction_neuron'),
)  # fmt: skip
def test_a_term_of_units_turns_with_the_sign(name):
  values = acts()
  target = {**UNIT, 'direction': direction(), 'mask': values['conv'] + 1}
  term = getattr(objectives, name)('conv')
  for sign in (1.0, -1.0):
    turned = term(values, {**target, 'sign': jnp.array(sign)})
    assert turned == sign * term(values, target) != 0


def test_neuron_serves_every_unit_with_one_compilation():
  values = acts()
  term = jax.jit(objectives.neuron('conv'))
  for c, y, x in [(0, 0, 0), (5, 3, 4), (2, 3, 0)]:
    unit = core.Unit(*map(jnp.array, (c, y, x)))
    assert term(values, {'unit': unit}) == values['conv'][y, x, c]
  assert term._cache_size() == 1


@pytest.mark.parametrize('sign', [-1.0, 1.0])
def test_read_gives_one_side_and_differentiates_the_other(sign):
  term = objectives.neuron('before', read='after')

  def value(image):
    layers = {'before': 7 * image, 'after': jax.nn.relu(7 * image)}
    return term(layers, UNIT)

  image = jnp.full((4, 5, 6), sign)
  got, gradient = jax.value_and_grad(value)(image)
  expected = np.zeros((4, 5, 6))
  expected[1, 2, 3] = 7  # also where the rectifier is shut
  assert got == max(7 * sign, 0)
  np.testing.assert_array_equal(gradient, expected)


def test_without_read_a_shut_rectifier_passes_no_gradient():
  term = objectives.neuron('after')
  gradient = jax.grad(lambda image: term({'after': jax.nn.relu(image)}, UNIT))(
    jnp.full((4, 5, 6), -1.0)
  )
  assert not gradient.any()


def test_channel_is_the_mean_over_the_map():
  values = acts()
  for name in ('conv', 'fc'):
    np.testing.assert_allclose(
      objectives.channel(name)(values, UNIT),
      twin.mean_of_channel(double(values[name]), 3),
      rtol=FLOAT32,
    )


def test_layer_is_the_mean_of_all_of_it():
  values = acts()
  np.testing.assert_allclose(
    objectives.layer('conv')(values, {}),
    double(values['conv']).mean(),
    rtol=FLOAT32,
  )


def test_dream_climbs_in_the_direction_of_the_activation():
  image = acts()['conv']
  term = objectives.dream('conv')
  value, gradient = jax.value_and_grad(lambda a: term({'conv': a}, {}))(image)
  np.testing.assert_allclose(
    value, (double(image) ** 2).sum() / 2 / image.size, rtol=FLOAT32
  )
  # DeepDream's cotangent is the activation, here divided by their number.
  np.testing.assert_allclose(gradient, image / image.size, rtol=FLOAT32)


def test_mask_weights_the_layer():
  values = acts()
  mask = jnp.asarray(np.random.RandomState(1).uniform(0, 1, (4, 5, 6)))
  value, gradient = jax.value_and_grad(
    lambda a: objectives.mask('conv')({'conv': a}, {'mask': mask})
  )(values['conv'])
  expected = (double(values['conv']) * mask).sum()
  np.testing.assert_allclose(value, expected, rtol=FLOAT32)
  np.testing.assert_array_equal(gradient, mask)


@pytest.mark.parametrize('power', [1.0, 0.5, *conftest.slow(0.0, 2.0)])
def test_direction_is_the_mean_agreement_over_positions(power):
  values = acts()
  vector = direction()
  np.testing.assert_allclose(
    objectives.direction('conv', power)(values, {'direction': vector}),
    twin.mean_agreement(double(values['conv']), vector, power),
    rtol=FLOAT32,
  )


@pytest.mark.parametrize('power', [0.0, 1.0, 2.0])
def test_direction_neuron_is_the_agreement_at_the_unit(power):
  values = acts()
  vector = direction()
  target = {**UNIT, 'direction': vector}
  for name, act in [('conv', values['conv'][1, 2]), ('fc', values['fc'])]:
    np.testing.assert_allclose(
      objectives.direction_neuron(name, power)(values, target),
      twin.agreement(double(act), vector, power),
      rtol=FLOAT32,
    )


def test_an_opposite_direction_still_has_a_gradient():
  vector = jnp.ones(6)
  gradient = jax.grad(
    lambda a: objectives.direction('fc', 2.0)({'fc': a}, {'direction': vector})
  )(-vector)
  # The cosine is -1, floored at 0.1: 0.1^2 v is left.
  np.testing.assert_allclose(gradient, 0.01 * vector, rtol=FLOAT32)


@pytest.mark.parametrize(
  ('beta', 'value', 'norm', 'first', 'other'),
  [
    (1.0, 1865.44675, 5.991442301, -1.085110922, 1.537693881e-5),
    (2.0, 77765.21434, 456.1353924, -24.36067977, -6.798473196),
  ],
)
def test_total_variation_has_the_published_numbers(
  x64, beta, value, norm, first, other
):
  got, gradient = of_image(objectives.total_variation(beta), published())
  gradient = np.moveaxis(np.asarray(gradient), -1, 0)
  found = [got, np.linalg.norm(gradient), gradient[0, 0, 0], gradient[1, 2, 3]]
  np.testing.assert_allclose(found, [value, norm, first, other], rtol=PRINTED)


@pytest.mark.parametrize('beta', [1.0, 1.5, 2.0, 2.5, 3.0])
def test_total_variation_is_the_sum_over_pixels(x64, beta):
  image = np.random.RandomState(0).normal(0, 10, (4, 6, 3))
  # Flat and nearly flat ground, where the derivative is floored.
  image[1:3, 2:5] = 7
  image[3, :4] = 7 + 1e-6 * image[3, :4]
  value, gradient = of_image(objectives.total_variation(beta), image)
  expected, slope = twin.total_variation(image, beta)
  np.testing.assert_allclose(value, expected, rtol=FLOAT64)
  np.testing.assert_allclose(gradient, slope, rtol=FLOAT64, atol=FLOAT64)


@pytest.mark.parametrize(
  ('p', 'scale', 'value', 'norm', 'first'),
  [
    (2.0, 1.0, 1548348.84, 2488.653323, -200),
    (4.0, 10.0, 10902335.69, 39645.97653, -400),
    (8.0, 100.0, 97489.90248, 887.2172135, -0.08),
  ],
)
def test_p_norm_has_the_published_numbers(x64, p, scale, value, norm, first):
  term = objectives.p_norm(p, scale)
  got, gradient = of_image(term, published() - 100)
  found = [got, np.linalg.norm(gradient), gradient[0, 0, 0]]
  np.testing.assert_allclose(found, [value, norm, first], rtol=PRINTED)


def test_a_p_norm_below_one_is_that_of_numpy(x64):
  image = np.array([-4.0, 0.0, 9.0]).reshape(1, 1, 3)
  value, gradient = of_image(objectives.p_norm(0.5), image)
  np.testing.assert_allclose(value, 5, rtol=FLOAT64)
  np.testing.assert_allclose(gradient.ravel(), [-1 / 4, 0, 1 / 6], rtol=FLOAT64)
  for power in (0, -1.0, float('nan')):
    with pytest.raises(UserError, match='expected a power above 0'):
      objectives.p_norm(power)


def test_l1_l2_and_norm_are_those_of_numpy(x64):
  image = np.random.RandomState(0).normal(0, 10, (4, 6, 3))
  norm = np.linalg.norm(image)
  for term, value, slope in [
    (objectives.l1(), np.abs(image).sum(), np.sign(image)),
    (objectives.l2(), norm**2, 2 * image),
    (objectives.l2_norm(), norm, image / norm),
  ]:
    got, gradient = of_image(term, image)
    np.testing.assert_allclose(got, value, rtol=FLOAT64)
    np.testing.assert_allclose(gradient, slope, rtol=FLOAT64)


def test_std_is_that_of_the_population(x64):
  image = np.random.RandomState(0).normal(3, 10, (4, 6, 3))
  got, _ = of_image(objectives.std(), image)
  np.testing.assert_allclose(got, np.std(image), rtol=FLOAT64)


@pytest.mark.parametrize(
  'term',
  [
    objectives.total_variation(1.0),
    objectives.total_variation(1.5),
    objectives.total_variation(2.0),
    objectives.total_variation(3.0),
    objectives.p_norm(1.5),
    objectives.p_norm(0.5),
    objectives.p_norm(6.0, 10.0),
    objectives.l1(),
    objectives.l2(),
    objectives.l2_norm(),
  ],
)
def test_regularizers_leave_a_zero_image_alone(term):
  value, gradient = of_image(term, np.zeros((4, 5, 3), np.float32))
  assert value == 0
  np.testing.assert_array_equal(gradient, np.zeros((4, 5, 3)))


@pytest.mark.parametrize('power', [1.0, 0.5, *conftest.slow(0.0, 2.0)])
def test_direction_has_a_finite_gradient_at_zero(power):
  vector = jnp.arange(1.0, 7.0)
  term = objectives.direction('conv', power)
  gradient = jax.grad(lambda a: term({'conv': a}, {'direction': vector}))(
    jnp.zeros((4, 5, 6))
  )
  # (a . v) max(0.1, cos)^power with cos = 0 there.
  expected = np.broadcast_to(vector * 0.1**power / 20, (4, 5, 6))
  np.testing.assert_allclose(gradient, expected, rtol=FLOAT32)


def test_exponents_may_be_whole_numbers(x64):
  image = np.random.RandomState(0).normal(0, 10, (4, 6, 3))
  for factory, number in [
    (objectives.total_variation, 1),
    (objectives.total_variation, 3),
    (objectives.p_norm, 6),
  ]:
    value, gradient = of_image(factory(number), image)
    expected, slope = of_image(factory(float(number)), image)
    np.testing.assert_allclose(value, expected, rtol=FLOAT64)
    np.testing.assert_allclose(gradient, slope, rtol=FLOAT64)


def test_regularizers_read_the_array_that_is_named():
  values = {'centered': jnp.zeros((2, 2, 3)), 'image': jnp.ones((2, 2, 3))}
  for factory in (objectives.l1, objectives.l2):
    assert factory()(values, {}) == 0
    assert factory(of='image')(values, {}) == 12


@pytest.mark.parametrize(
  'factory',
  [
    objectives.neuron,
    objectives.channel,
    objectives.layer,
    objectives.dream,
    objectives.mask,
    objectives.direction,
    objectives.direction_neuron,
  ],
)
def test_an_unknown_layer_is_named_with_those_there_are(factory):
  values = {**acts(), 'view': jnp.ones(3), 'params': jnp.ones(3)}
  with pytest.raises(
    UserError, match="'conv9', expected one of: conv, fc. Did you mean"
  ):
    factory('conv9')(values, UNIT)


def test_an_unknown_layer_to_read_is_an_error_too():
  with pytest.raises(UserError, match="layer 'relu9'"):
    objectives.neuron('conv', read='relu9')(acts(), UNIT)


@pytest.mark.parametrize(
  ('factory', 'name'),
  [
    (objectives.mask, 'mask'),
    (objectives.direction, 'direction'),
    (objectives.direction_neuron, 'direction'),
  ],
)
def test_missing_data_says_what_to_set(factory, name):
  with pytest.raises(UserError, match=f'set --config.{name}=FILE.npy'):
    factory('conv')(acts(), UNIT)


@pytest.mark.parametrize(
  ('factory', 'name', 'expected'),
  [
    (objectives.mask, 'mask', r'\(4, 5, 6\)'),
    (objectives.direction, 'direction', r'\(6,\)'),
    (objectives.direction_neuron, 'direction', r'\(6,\)'),
  ],
)
def test_data_of_the_wrong_shape_is_refused(factory, name, expected):
  target = {**UNIT, name: jnp.ones(5)}
  match = rf'{name} has shape \(5,\), expected {expected}'
  with pytest.raises(UserError, match=match):
    factory('conv')(acts(), target)


@pytest.mark.parametrize('name', core.RESERVED)
def test_a_layer_with_a_reserved_name_is_read_as_the_layer(name):
  net = odd_networks.named('first', name)
  recipe = core.Recipe(
    net, parameterizations.pixels(net), objectives.neuron(name), optax.sgd(1.0)
  )
  view = jnp.arange(48.0).reshape(4, 4, 3)
  acts = core.activations(recipe, view, view + 1, view + 2)
  unit = {'unit': core.Unit(1, 2, 3)}
  assert recipe.objective(acts, unit) == 2 * (view[2, 3, 1] - 100)
  expected = {
    'view': view, 'centered': view - 100, 'image': view + 1, 'params': view + 2
  }  # fmt: skip
  np.testing.assert_array_equal(acts[name], expected[name])
  with pytest.raises(UserError, match=f'expected one of: first, {name}$'):
    objectives.neuron('absent')(acts, unit)
