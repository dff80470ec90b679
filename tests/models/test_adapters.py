"""Networks that are the user's own."""

from flax import linen as nn
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vizjax import core
from vizjax import errors
from vizjax import models
from vizjax import objectives
from vizjax import parameterizations
from vizjax.errors import UserError
from vizjax.models import adapters
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

SHAPE = (9, 7, 4)  # not square, and not RGB


class Linen(nn.Module):
  @nn.compact
  def __call__(self, x, train=True):
    x = nn.Conv(5, (3, 3), name='conv')(x)
    x = nn.BatchNorm(use_running_average=not train, name='norm')(x)
    return {'map': x, 'logits': nn.Dense(3, name='head')(x.mean((1, 2)))}


class Nnx(nnx.Module):
  def __init__(self, rngs):
    self.conv = nnx.Conv(4, 5, (3, 3), rngs=rngs)
    self.head = nnx.Linear(5, 3, rngs=rngs)

  def __call__(self, x):
    x = nnx.relu(self.conv(x))
    return {'map': x, 'logits': self.head(x.mean((1, 2)))}


@pytest.fixture
def image():
  draw = np.random.RandomState(0)
  return jnp.asarray(draw.uniform(0, 1, SHAPE), jnp.float32)


def ascends(model, layer, channel):
  """Whether a few steps raise a unit, and leave the others' weights alone."""
  recipe = core.Recipe(
    model=model,
    parameterization=parameterizations.pixels(model, std=0.1),
    objective=objectives.neuron(layer),
    optimizer=optax.sgd(0.1),
  )
  target = {'unit': core.Unit(jnp.array(channel), jnp.array(0), jnp.array(0))}
  key = jax.random.key(0)
  state = core.init(recipe, target, key)
  _, trace = core.optimize(recipe, state, target, key, steps=5)
  return (np.diff(trace['score']) > 0).all()


def test_a_linen_module_is_a_model(image):
  module = Linen()
  variables = jax.jit(module.init)(jax.random.key(0), image[None])
  model = models.from_linen(
    module, variables, input_shape=SHAPE, mean=0.5, train=False
  )
  expected = module.apply(variables, image[None] - 0.5, train=False)
  found = model(image)
  assert found.keys() == {'map', 'logits'}
  for name in found:
    np.testing.assert_allclose(found[name], expected[name][0], rtol=1e-6)
  assert [info.channels for info in model.layers] == [5, 3]
  assert ascends(model, 'logits', 1)


def test_the_submodules_of_linen_can_be_targets(image):
  module = Linen()
  variables = module.init(jax.random.key(0), image[None])
  model = models.from_linen(
    module, variables, input_shape=SHAPE, intermediates=True, train=False
  )
  found = model(image)
  assert {'conv', 'norm', 'head', 'map', 'logits'} == found.keys()
  np.testing.assert_array_equal(found['head'], found['logits'])
  assert found['conv'].shape == (9, 7, 5)


def test_an_nnx_module_is_a_model(image):
  module = Nnx(nnx.Rngs(0))
  model = models.from_nnx(module, input_shape=SHAPE, mean=[0.1, 0.2, 0.3, 0.4])
  expected = module(image[None] - jnp.array([[[[0.1, 0.2, 0.3, 0.4]]]]))
  found = model(image)
  for name in ('map', 'logits'):
    np.testing.assert_allclose(found[name], expected[name][0], rtol=1e-6)
  assert ascends(model, 'map', 2)


def test_a_function_is_a_model(image):
  weights = {'w': np.random.RandomState(0).normal(0, 1, (4, 6))}

  def function(weights, image):
    return jnp.tanh(jnp.einsum('hwc,cd->hwd', image, weights['w']))

  model = models.from_function(function, weights, input_shape=SHAPE)
  expected = np.tanh(np.asarray(image) @ weights['w'])
  assert model(image).keys() == {'output'}
  np.testing.assert_allclose(model(image)['output'], expected, atol=1e-6)
  assert ascends(model, 'output', 4)


def test_weights_of_an_adapted_model_are_not_in_the_program(image):
  weights = np.random.RandomState(0).normal(0, 1, (252, 2000))

  def function(weights, image):
    return image.reshape(-1) @ weights

  model = models.from_function(function, weights, input_shape=SHAPE)
  text = jax.jit(lambda model, x: model(x)).lower(model, image).as_text()
  assert len(text) < 20_000  # the weights are two megabytes


def failing(weights, image):
  return image @ jnp.ones((3, 3))


@pytest.mark.parametrize(
  'function, words',
  [
    (lambda w, x: x[None], r'no target .*\(1, 9, 7, 4\).* leave out the batch'),
    (lambda w, x: {'a': {'b': 'text'}}, '^the network gives str for a/b'),
    (lambda w: w, r'does not take an image of \(9, 7, 4\): TypeError: .*takes'),
    (lambda w, x: {'loss': x.sum(), 'none': None}, r"'loss': float32\(\)"),
    (lambda w, x: None, r'no target for one image \(nothing\)'),
  ],
)
def test_what_is_no_network_is_refused(function, words):
  with pytest.raises(UserError, match=words) as caught:
    models.from_function(function, {}, input_shape=SHAPE)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  'function, kind', [(failing, TypeError), (lambda w, x: w['a'], KeyError)]
)
def test_an_error_of_the_users_network_is_left_with_a_note(function, kind):
  with pytest.raises(kind) as caught:
    models.from_function(function, {}, input_shape=SHAPE)
  assert errors.place(caught.value).startswith(f'{__file__}:')
  assert (
    'The network was given an image of (9, 7, 4).' in caught.value.__notes__
  )


def test_outputs_that_can_be_no_targets_are_left_out(image):
  def function(weights, image):
    return {
      'loss': image.sum(),
      'map': image * 2,
      'aux': [None, 3, image.mean((0, 1))],
      'best': image.argmax(-1)[..., None],
      'tokens': image.reshape(-1, 4),
    }

  model = models.from_function(function, {}, input_shape=SHAPE)
  assert [info.name for info in model.layers] == ['map', 'aux/2']
  assert model(image).keys() == {'map', 'aux/2'}


@pytest.mark.parametrize('door', ['function', 'linen', 'nnx', 'table'])
def test_the_network_gets_the_image_less_the_mean_times_the_scale(door, image):
  normal = {
    'mean': [0.1, 0.2, 0.3, 0.4],
    'scale': [2.0, 3.0, 4.0, 5.0],
    'range': (0, 1),
    'input_shape': SHAPE,
  }
  seen = (np.asarray(image) - normal['mean']) * normal['scale']
  seen = jnp.asarray(seen, jnp.float32)
  if door == 'function':
    model = models.from_function(lambda w, x: jnp.sin(x), {}, **normal)
    expected = {'output': jnp.sin(seen)}
  elif door == 'linen':
    module = Linen()
    variables = module.init(jax.random.key(0), image[None])
    model = models.from_linen(module, variables, train=False, **normal)
    expected = module.apply(variables, seen[None], train=False)
  elif door == 'nnx':
    module = Nnx(nnx.Rngs(0))
    model = models.from_nnx(module, **normal)
    expected = module(seen[None])
  else:
    table = (tables.Layer('norm', 'relu', (tables.DATA,)),)
    model = layers.model(table, {}, **normal)
    expected = {'norm': jnp.maximum(seen, 0)}
  assert model.range == (0.0, 1.0)
  for name, act in model(image).items():
    wanted = expected[name].reshape(act.shape)
    np.testing.assert_allclose(act, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  'given, words',
  [
    ({'mean': [1.0, 2.0]}, r'mean= is \[1.0, 2.0\], expected .* 4 numbers'),
    ({'scale': np.ones((9, 7, 4))}, r'scale= is an array of \(9, 7, 4\)'),
    ({'mean': 'grey'}, "mean= is 'grey', expected a number or 4 numbers"),
    ({'scale': ((1, 2), 3)}, r'scale= is \(\(1, 2\), 3\), expected a number'),
    ({'scale': 0}, 'scale= is 0, expected numbers other than 0'),
    ({'scale': np.nan}, 'scale= is nan'),
    ({'range': (1, 0)}, r'range= is \(1, 0\), expected \(low, high\)'),
    ({'range': 255}, 'range= is 255, expected'),
  ],
)
def test_a_normalization_that_cannot_be_is_refused(given, words):
  with pytest.raises(UserError, match=words):
    models.from_function(lambda w, x: x, {}, input_shape=SHAPE, **given)


@pytest.mark.parametrize(
  'given, words',
  [
    *(
      (
        {'apply': lambda params, x, made=made: made},
        f'returns {words}, expected',
      )
      for made, words in (
        ((), 'a tuple'),
        ([jnp.ones(3)], 'a list'),
        (None, 'None'),
        (jnp.ones(3), 'an array'),
        ({}, 'an empty dictionary'),
        ({'a': jnp.ones(3), 'b': None}, "a dictionary with 'b': NoneType"),
      )
    ),
    ({'mean': 3.0}, r'mean= is 3.0, .*: type mean=jnp.full\(4, 3.0\)'),
    *(
      ({'input_shape': shape}, r'expected \(height, .*: type input_shape=\(')
      for shape in (('x', 3, 3), (224, 224), (-9, 7, 4), (9.0, 7, 4), 9, None)
    ),
  ],
)
def test_a_network_made_by_hand_that_cannot_be_run_is_refused(given, words):
  model = core.Model({}, jnp.zeros(4), lambda params, x: {'x': x}, SHAPE)
  adapters.check(model)
  for name, value in given.items():
    # The type checker of the tests would refuse it before `check` does.
    object.__setattr__(model, name, value)
  with pytest.raises(UserError, match=words) as error:
    adapters.check(model)
  assert '\n' not in str(error.value)


def test_a_scale_of_one_is_no_part_of_the_program():
  model = models.from_function(lambda w, x: x, {}, input_shape=SHAPE, scale=1)
  assert model.scale is None
  assert model.range == core.GREY_LEVELS


class Noisy(nnx.Module):
  def __init__(self, rngs):
    self.conv = nnx.Conv(4, 5, (3, 3), rngs=rngs)
    self.norm = nnx.BatchNorm(5, rngs=rngs)
    self.drop = nnx.List([nnx.Dropout(0.5, rngs=rngs)])

  def __call__(self, x):
    return self.drop[0](self.norm(self.conv(x)))


def test_an_nnx_module_in_evaluation_mode_is_a_model(image):
  module = Noisy(nnx.Rngs(0))
  module.eval()
  model = models.from_nnx(module, input_shape=SHAPE)
  expected = module(image[None])[0]
  again = jax.jit(lambda model, image: model(image))
  for act in (model(image), again(model, image), again(model, image)):
    np.testing.assert_allclose(act['output'], expected, rtol=1e-5, atol=1e-6)
  assert ascends(model, 'output', 2)
  assert store.fingerprint(jax.tree.leaves(model), [])


def test_an_nnx_module_in_training_mode_is_refused():
  module = Noisy(nnx.Rngs(0))
  with pytest.raises(UserError, match=r'drop.0 \(Dropout\).*model.eval\(\)'):
    models.from_nnx(module, input_shape=SHAPE)
  module.drop[0].deterministic = True
  with pytest.raises(UserError, match=r'norm \(BatchNorm\).*model.eval\(\)'):
    models.from_nnx(module, input_shape=SHAPE)


def test_keys_among_the_params_stay_keys_for_the_function(image):
  key = jax.random.key(3)

  def function(weights, image):
    return image + jax.random.normal(weights['key'], image.shape)

  model = models.from_function(function, {'key': key}, input_shape=SHAPE)
  expected = image + jax.random.normal(key, SHAPE)
  np.testing.assert_array_equal(model(image)['output'], expected)
  assert store.fingerprint(jax.tree.leaves(model), [])


class Dropping(nn.Module):
  @nn.compact
  def __call__(self, x, deterministic):
    return nn.Dropout(0.5)(x, deterministic=deterministic)


def test_a_linen_module_in_training_mode_says_what_to_type(image):
  module = Linen()
  variables = module.init(jax.random.key(0), image[None])
  with pytest.raises(UserError, match=r'training mode .*train=False\)$'):
    models.from_linen(module, variables, input_shape=SHAPE)
  for arguments in ({}, {'deterministic': False}):
    with pytest.raises(UserError, match=r'deterministic=True\)$'):
      models.from_linen(Dropping(), {}, input_shape=SHAPE, **arguments)
