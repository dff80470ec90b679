"""Networks that a formula can name: config.model = 'toynets.net()'."""

import sys
import time

import conftest
import jax
import numpy as np

from vizjax import core
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables


def net() -> core.Model:
  """The toy network of conftest."""
  return conftest.toy()


def broken() -> core.Model:
  """The same with NaN in the bias of one channel of conv2."""
  toy = conftest.toy()
  params = jax.tree.map(np.array, toy.params)
  params['conv2']['bias'][1] = np.nan
  return layers.model(
    toy.apply.network.table,
    params,
    mean=toy.mean,
    input_shape=toy.input_shape,
  )


def unlucky(bad: int):
  """A start without numbers for seeds below one."""

  def make(shape, seed):
    start = np.random.RandomState(seed).normal(120, 50, shape)
    return np.full(shape, np.nan) if seed < bad else start

  return make


def dull() -> core.Model:
  """The toy network with a channel of conv1 that is never positive."""
  model = conftest.toy()
  bias = model.params['conv1']['bias'].at[1].set(-1e6)
  model.params['conv1']['bias'] = bias
  return model


def prior() -> core.Model:
  """A generator of the codes of fc3: [1, 1, 5] becomes [16, 16, 3]."""
  options = (('shape', (3, 4, 4)),)
  table = tables.sequence(
    tables.fc('defc', 48),
    tables.relu('relu_defc', 0.3),
    tables.Layer('reshape', 'reshape', options=options),
    tables.deconv('deconv1', 4, 4, 2, pad=1),
    tables.relu('relu_deconv1', 0.3),
    tables.deconv('deconv0', 3, 4, 2, pad=1),
  )
  _, shapes = layers.shapes(table, (1, 1, 5))
  draw = np.random.RandomState(2)
  params = jax.tree.map(lambda s: draw.normal(0, 1, s.shape), shapes)
  mean, shape = (0.0,) * 5, (1, 1, 5)
  return layers.model(table, params, mean=mean, input_shape=shape)


def impossible() -> core.Model:
  """A mistake in a network of one's own."""
  raise KeyError('conv9')


def endless() -> core.Model:
  """A network that is never there."""
  print('the network is being made', file=sys.stderr, flush=True)
  time.sleep(600)
