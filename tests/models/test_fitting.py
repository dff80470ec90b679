"""`models.fitting` against a trace of each layer by itself."""

import functools

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vizjax import models
from vizjax.build import geometry
from vizjax.errors import UserError
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import operators
from vizjax.models.interpreter import tables

PACKAGED = ('alexnet_features', 'efficientnet_lite0')


@functools.cache
def network(name):
  """A network with its packaged weights, or with zeros."""
  if name in PACKAGED:
    return models.load(name)
  described = models.described(name)
  _, shapes = layers.shapes(described.table, described.input_shape)
  return layers.model(
    described.table,
    jax.tree.map(lambda like: np.zeros(like.shape, like.dtype), shapes),
    mean=described.mean,
    input_shape=described.input_shape,
  )


def alone(model, size):
  """{layer: shape} of the layers that can be traced when cut out alone."""
  shapes = {}
  for info in model.layers:
    try:
      acts = geometry.activation_shapes(models.cut(model, (info.name,)), size)
    except UserError:
      continue
    shapes[info.name] = acts[info.name]
  return shapes


@pytest.mark.parametrize(
  'name, size, first_left_out',
  (
    ('alexnet_features', (224, 224), None),
    ('alexnet_features', (61, 90), None),
    ('alexnet_features', (30, 40), 'pool2'),
    ('bvlc_googlenet', (160, 192), 'pool5/7x7_s1'),
    *conftest.slow(
      ('bvlc_googlenet', (224, 224), None),
      ('vgg16', (224, 224), None),
      ('vgg16', (100, 224), 'fc6'),
      ('vgg16', (15, 40), 'fc6'),
      ('efficientnet_lite0', (224, 224), None),
      ('efficientnet_lite0', (97, 130), None),
    ),
  ),
)
def test_shapes_are_those_of_the_network_that_is_cut(
  name, size, first_left_out
):
  model = network(name)
  small, shapes = models.fitting(model, *size)
  names = [info.name for info in model.layers]
  left_out = [name for name in names if name not in shapes]
  assert (left_out or [None])[0] == first_left_out
  cut = models.cut(model, tuple(shapes))
  assert shapes == geometry.activation_shapes(cut, size)
  assert small.apply == models.sized(cut, *size).apply
  assert small.layers == models.sized(cut, *size).layers
  assert small.input_shape == (*size, 3)
  assert small.params.keys() == cut.params.keys()
  if left_out:
    with pytest.raises(UserError):
      first = models.cut(model, (first_left_out,))
      geometry.activation_shapes(first, size)


# Two maps of one size only because Caffe's crop makes them so.
CROPPED = tables.sequence(
  tables.conv('stem', 4, 3),
  tables.max_pool('large', 7, 1),
  tables.relu('above'),
  tables.conv('small', 4, 3)._replace(inputs=('stem',)),
  tables.fc('dense', 5)._replace(inputs=('small',)),
  tables.softmax('prob'),
  tables.Layer('sum', 'eltwise', ('stem', 'stem')),
  tables.Layer('cropped', 'crop', ('stem', 'small')),
  tables.Layer('both', 'concat', ('small', 'cropped')),
  tables.Layer('high', 'crop', ('sum', 'above')),
  tables.Layer('joined', 'eltwise', ('high', 'above')),
  tables.relu('last')._replace(inputs=('sum',)),
)


@pytest.mark.parametrize('size', [(12, 12), (8, 12), (4, 9), (13, 7), (2, 2)])
@pytest.mark.parametrize('variant', ['plain', 'unpadded', 'bfloat16'])
def test_a_layer_stays_where_it_can_be_computed_alone(size, variant):
  model = conftest.toy(CROPPED)
  if variant == 'unpadded':
    model = models.unpadded(conftest.toy())
  elif variant == 'bfloat16':
    model = models.computed_in(model, 'bfloat16')
  small, shapes = models.fitting(model, *size)
  assert shapes == alone(model, size)
  assert shapes == geometry.activation_shapes(small, size)


def test_what_is_left_computes_the_same_numbers():
  model = conftest.toy(CROPPED)
  small, shapes = models.fitting(model, 8, 12)
  assert 'above' not in shapes and 'both' in shapes
  image = jnp.asarray(np.random.RandomState(0).uniform(0, 255, (8, 12, 3)))
  image = image.astype(jnp.float32)
  acts = models.cut(model, tuple(shapes))(image)
  for name, act in small(image).items():
    np.testing.assert_array_equal(act, acts[name])
    assert (act.shape, act.dtype) == (shapes[name].shape, shapes[name].dtype)


def test_every_row_is_traced_once(monkeypatch):
  traced = []
  computed = layers._computed

  def counted(row, *rest):
    traced.append(row.name)
    return computed(row, *rest)

  monkeypatch.setattr(layers, '_computed', counted)
  models.fitting(network('alexnet_features'), 77, 78)
  assert len(traced) == len(set(traced)) == len(network(PACKAGED[0]).layers)


@pytest.mark.parametrize('bug', [AttributeError, NameError, KeyError])
def test_a_bug_of_an_operator_is_no_layer_that_does_not_fit(monkeypatch, bug):
  model = conftest.toy()

  def broken(row, x):
    raise bug('no such thing')

  monkeypatch.setattr(operators, 'relu', broken)
  with pytest.raises(bug, match='no such thing'):
    models.fitting(model, 12, 12)


def test_a_network_without_a_table_keeps_its_layers():
  def apply(params, image):
    return {'map': image * params, 'mean': image.mean((0, 1))}

  model = models.from_function(apply, 2.0, input_shape=(12, 12, 3))
  small, shapes = models.fitting(model, 7, 9)
  assert small.input_shape == (7, 9, 3)
  assert (small.apply, small.layers) == (model.apply, model.layers)
  assert shapes == geometry.activation_shapes(model, (7, 9))
  assert models.fitting(model, 12, 12)[0].input_shape == model.input_shape
