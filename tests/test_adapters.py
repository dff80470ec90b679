"""Networks that are the user's own."""

from flax import linen as nn
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vizjax import core
from vizjax import models
from vizjax import objectives
from vizjax import parameterizations

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
  variables = module.init(jax.random.key(0), image[None])
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


@pytest.mark.parametrize(
  'function, words',
  [
    (lambda w, x: x[None], r'is \(1, 9, 7, 4\) for one image'),
    (lambda w, x: {'a': {'b': 'text'}}, 'gives str for a/b'),
    (lambda w, x: x @ jnp.ones((3, 3)), 'does not take an image of'),
  ],
)
def test_what_is_no_network_is_refused(function, words):
  with pytest.raises(ValueError, match=words):
    models.from_function(function, {}, input_shape=SHAPE)
