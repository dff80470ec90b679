"""What a workdir says of the network that it is of."""

import json

import conftest
import jax.numpy as jnp

from vizjax import models
from vizjax.sweeps import provenance


def told_of(model):
  _, shapes = models.fitting(model, *model.input_shape[:2])
  return provenance.network(model, shapes)


def test_a_network_is_told_with_its_wires_and_shapes():
  told = told_of(conftest.toy())
  assert json.loads(json.dumps(told)) == told
  rows = {name: (kind, inputs, shape) for name, kind, inputs, shape in told}
  assert list(rows)[0] == 'conv1'
  kind, inputs, shape = rows['conv2']
  assert kind == 'conv' and len(inputs) == 1 and len(shape) == 3
  assert all(name in rows or name == 'data' for r in told for name in r[2])


def test_of_a_function_the_wires_are_not_known():
  def network(params, image):
    return {'first': image * params, 'sum': jnp.sum(image, (0, 1))}

  net = models.from_function(network, jnp.float32(2), input_shape=(4, 5, 3))
  assert told_of(net) == [
    ['first', 'function', [], [4, 5, 3]],
    ['sum', 'function', [], [3]],
  ]
