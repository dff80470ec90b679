"""A layer before its rectifier, of networks that nobody has described."""

import functools

import conftest
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vizjax
from vizjax import models

pytestmark = pytest.mark.usefixtures('quickly')

SHAPES = ((16, 16, 1), (18, 14, 3), (16, 16, 5))
# Inputs of 0-255, of 0-1, and of 0-1 in deviations from the mean.
INPUTS = ({}, {'range': (0, 1)}, {'range': (0, 1), 'mean': 0.45, 'scale': 4.5})


class Net(nn.Module):
  """A small network, whose units are rectified in several ways."""

  @nn.compact
  def __call__(self, x):
    pool = lambda x: nn.max_pool(x, (2, 2), (2, 2))
    raw = nn.Conv(4, (5, 5))(x)
    acts = {'raw': raw, 'conv': nn.relu(raw)}
    acts['pool'] = pool(acts['conv'])
    x = acts['maximum'] = jnp.maximum(nn.Conv(6, (3, 3))(acts['pool']), 0)
    x = acts['compiled'] = jax.jit(nn.relu)(nn.Conv(6, (3, 3))(x))
    x = acts['pooled'] = pool(nn.relu6(nn.Conv(6, (3, 3))(x)))
    dense = nn.Dense(8)(x.reshape(len(x), -1))
    acts['smooth'] = nn.gelu(dense)
    acts['dense'] = nn.relu(dense)
    acts['mean'] = acts['conv'].mean((1, 2))
    return acts


@functools.cache
def net(shape=SHAPES[1], bias=-9.0, **inputs):
  """Returns a network whose rectifiers are closed on a grey image."""
  module = Net()
  variables = module.init(jax.random.key(0), jnp.zeros((1, *shape)))
  closed = lambda path, a: (
    jnp.full(a.shape, bias) if 'bias' in jax.tree_util.keystr(path) else a
  )
  variables = jax.tree_util.tree_map_with_path(closed, variables)
  return models.from_linen(module, variables, input_shape=shape, **inputs)


RECTIFIED = {
  'conv': lambda before: jnp.maximum(before, 0),
  'pool': lambda before: jnp.maximum(before, 0),
  'maximum': lambda before: jnp.maximum(before, 0),
  'compiled': lambda before: jnp.maximum(before, 0),
  'pooled': lambda before: jnp.clip(before, 0, 6),
  'dense': lambda before: jnp.maximum(before, 0),
}


@pytest.mark.parametrize('layer', RECTIFIED)
def test_what_goes_into_the_rectifier(layer):
  model = net(bias=0.1)
  found, name = models.unrectified(model, layer)
  assert name != layer
  image = jax.random.uniform(jax.random.key(1), model.input_shape) * 255
  plain = model(image)
  acts = jax.jit(lambda model, image: model(image))(found, image)
  np.testing.assert_allclose(acts[layer], plain[layer], rtol=1e-5, atol=1e-4)
  rectified = RECTIFIED[layer](acts[name])
  np.testing.assert_allclose(rectified, acts[layer], rtol=1e-5, atol=1e-4)
  assert (acts[name] < 0).any() and acts.keys() == {*plain, name}
  if layer == 'conv':
    np.testing.assert_allclose(acts[name], acts['raw'], rtol=1e-5, atol=1e-4)
  # The same network again is the same program.
  assert models.unrectified(model, layer)[0].apply == found.apply


@pytest.mark.parametrize('layer', ['raw', 'smooth', 'mean'])
def test_a_layer_that_no_rectifier_ends_stays_as_it_is(layer):
  model = net()
  assert models.unrectified(model, layer) == (model, layer)


def test_a_function_that_is_compiled_as_a_whole_is_looked_into():
  def apply(weights, image):
    raw = image.mean((0, 1)) @ weights
    return {'raw': raw, 'units': jax.nn.relu(raw)}

  weights = jnp.array([[1.0, -1], [2, 1], [0, 1]])
  for compiled in (jax.jit(apply), jax.checkpoint(apply)):
    model = models.from_function(compiled, weights, input_shape=(4, 4, 3))
    found, name = models.unrectified(model, 'units')
    assert name != 'units'
    image = 255 * jax.random.uniform(jax.random.key(0), (4, 4, 3)) - 400
    acts = found(image)
    np.testing.assert_array_equal(acts[name], acts['raw'])


def test_of_a_table_it_is_the_layer_below():
  model = conftest.toy()
  assert models.unrectified(model, 'relu1') == (model, 'conv1')
  assert models.unrectified(model, 'conv1') == (model, 'conv1')


@pytest.mark.parametrize('case', [1, *conftest.slow(0, 2)])
def test_no_unit_is_dead_without_a_recipe(case):
  """With the units themselves, behind their rectifiers, some are."""
  model, layer = net(SHAPES[case], **INPUTS[case]), 'conv'
  ask = {'quiet': True, 'steps': 2, 'retries': 0}
  images = vizjax.visualize(model, layer, **ask)
  assert images['metric/dead'].sum() == 0
  assert images.image.shape[3] == SHAPES[case][2]
  neuron = vizjax.objectives.neuron
  images = vizjax.visualize(model, layer, objective=neuron, **ask)
  assert images['metric/dead'].sum() > 0
