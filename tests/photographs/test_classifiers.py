"""Scores and answers, with a network whose scores are easily told."""

import dataclasses

import conftest
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from vizjax import models
from vizjax.errors import UserError
from vizjax.models.interpreter import tables
from vizjax.photographs import classifiers
from vizjax.photographs import datasets
from vizjax.photographs import preprocessing

HOW = preprocessing.Preprocessing(14, False, 'bilinear')


def photographs(count=7, labels=('a', 'b', '')):
  """Grey squares, each brighter than the one before."""

  def example(number):
    image = np.full((20, 30, 3), 10 * number, np.uint8)
    return datasets.Example(str(number), image, labels[number % len(labels)])

  return datasets.Dataset('squares', ('a', 'b'), count, example)


def linear(weights, bias):
  """A network of one pixel's red: scores = weights * red + bias."""
  params = {'weights': np.float32(weights), 'bias': np.float32(bias)}

  def function(params, image):
    red = image[0, 0, 0]
    return {'zero': image, 'a': params['weights'] * red + params['bias']}

  return models.from_function(function, params, input_shape=(12, 12, 3))


def test_scores_are_the_networks_whatever_the_batch():
  model = conftest.toy()
  classifier = classifiers.of(model)
  draw = np.random.RandomState(0)
  images = draw.uniform(0, 255, (7, 12, 12, 3)).astype(np.float32)
  expected = [np.asarray(model(jnp.asarray(i))['fc3']) for i in images]
  for batch in (1, 3, 7, 32):
    found = list(classifiers.scores(classifier, iter(images), batch))
    assert len(found) == 7
    np.testing.assert_allclose(found, expected, atol=1e-4)  # float32 sums


def test_one_compilation_serves_all_batches():
  classifier = classifiers.of(linear([3, 1], [0, 0]))
  before = classifiers._forward._cache_size()
  for count in (1, 4, 6):
    images = np.zeros((count, 12, 12, 3), np.float32)
    list(classifiers.scores(classifier, images, 4))
  assert classifiers._forward._cache_size() == before + 1


@pytest.mark.parametrize('batch', [1, 2, 7, 8])
@pytest.mark.parametrize('count', [None, 3, 99])
def test_answers_are_in_the_order_of_the_examples(batch, count):
  # Unit i is largest between 10 i - 5 and 10 i + 5: -(red - 10 i) ** 2.
  units = np.arange(9)
  net = linear(2.0 * 10 * units, -((10.0 * units) ** 2))
  found = list(
    classifiers.answers(
      classifiers.of(net),
      photographs(),
      HOW,
      {'a': 0, 'b': 3},
      count=count,
      batch=batch,
    )
  )
  assert [a.id for a in found] == [str(i) for i in range(7)][:count]
  assert [a.best[0] for a in found] == list(range(7))[:count]
  assert [a.unit for a in found] == [0, 3, None, 0, 3, None, 0][:count]
  # How many units are nearer to the brightness, and then the first of equals.
  ranks = [1, 4, None, 6, 2, None, 9]
  assert [a.rank for a in found] == ranks[:count]
  assert found[1].best == (1, 0, 2, 3, 4)


def test_no_more_photographs_are_held_than_a_batch_needs(monkeypatch):
  forward, shapes = classifiers._forward, []

  def recorded(net, images, *, layer):
    shapes.append((images.shape, images.dtype))
    return forward(net, images, layer=layer)

  monkeypatch.setattr(classifiers, '_forward', recorded)
  classifier = classifiers.of(linear([3, 1], [0, 0]))
  for batch, sizes in {30000: [7], 4: [4, 4]}.items():
    shapes.clear()
    found = list(classifiers.rows(classifier, photographs(), HOW, batch=batch))
    assert [red for _, _, (red, _) in found] == [30 * i for i in range(7)]
    assert shapes == [((n, 12, 12, 3), np.uint8) for n in sizes]


def test_of_equal_scores_the_first_unit_is_better():
  classifier = classifiers.of(linear([0, 0, 0, 0], [1, 5, 5, 1]))
  answer, *_ = classifiers.answers(classifier, photographs(), HOW, {'a': 3})
  assert answer.best == (1, 2, 0, 3) and answer.rank == 4


@pytest.mark.filterwarnings('ignore:.*weights are NaN or infinite')
def test_nan_is_an_error_and_not_a_right_answer():
  classifier = classifiers.of(linear([0, 1], [0, np.nan]))
  with pytest.raises(UserError, match="layer 'a' is NaN for '0'"):
    list(classifiers.answers(classifier, photographs(), HOW, {'a': 0}))


def test_without_a_layer_it_is_the_last_before_a_softmax():
  assert classifiers.of(conftest.toy()).layer == 'fc3'
  soft = conftest.toy(
    (*conftest.TOY, tables.softmax('p')._replace(inputs=('fc3',)))
  )
  assert classifiers.of(soft).layer == 'fc3'
  assert classifiers.of(soft, 'p').layer == 'p'
  # In the order of the network, not of the alphabet.
  assert classifiers.of(linear([1], [0])).layer == 'a'
  bare = dataclasses.replace(linear([1], [0]), layers=())
  assert classifiers.of(bare).layer == 'a'


def test_a_map_of_one_position_is_a_vector():
  def function(params, image):
    return image.mean((0, 1), keepdims=True) * params

  net = models.from_function(function, 1.0, input_shape=(12, 12, 3))
  classifier = classifiers.of(net)
  assert classifier.count == 3
  image = np.arange(12 * 12 * 3, dtype=np.float32).reshape(12, 12, 3)
  (row,) = classifiers.scores(classifier, [image], 2)
  np.testing.assert_allclose(row, image.mean((0, 1)), rtol=1e-6)


def test_labels_belong_to_the_layer_with_as_many_units():
  net = dataclasses.replace(conftest.toy(), labels=tuple('abcde'))
  assert classifiers.of(net).labels == tuple('abcde')
  assert classifiers.of(net, labels=tuple('vwxyz')).labels == tuple('vwxyz')
  net = dataclasses.replace(net, labels=('a', 'b'))
  assert classifiers.of(net).labels == ()
  with pytest.raises(UserError, match="2 labels, expected 5: layer 'fc3'"):
    classifiers.of(net, labels=('a', 'b'))


def test_a_layer_that_is_no_vector_is_refused():
  with pytest.raises(UserError, match=r"'conv2' is \(6, 6, 6\).*: fc3$"):
    classifiers.of(conftest.toy(), 'conv2')
  with pytest.raises(UserError, match="'fc4' is not.*Did you mean 'fc3'"):
    classifiers.of(conftest.toy(), 'fc4')
  cut = models.cut(conftest.toy(), ('conv2',))
  with pytest.raises(UserError, match='but the network has none'):
    classifiers.of(cut)


def test_a_network_of_neither_color_nor_grey_is_refused():
  net = models.from_function(
    lambda params, image: image.sum((0, 1)), (), input_shape=(8, 8, 2)
  )
  with pytest.raises(UserError, match=r'\(8, 8, 2\), expected 3 channels'):
    classifiers.of(net)


def test_a_network_of_one_channel_is_shown_grey_photographs(tmp_path):
  net = models.from_function(
    lambda params, image: image.mean((0, 1)), (), input_shape=(8, 8, 1)
  )
  pixels = np.random.RandomState(0).randint(0, 256, (8, 8, 3), np.uint8)
  photograph = Image.fromarray(pixels)
  photograph.save(tmp_path / 'a.png')
  how = preprocessing.parse('short:8:bilinear')
  data = datasets.open(str(tmp_path))
  ((_, _, row),) = classifiers.rows(classifiers.of(net), data, how)
  grey = np.asarray(photograph.convert('L'), np.float64)
  np.testing.assert_allclose(row, [grey.mean()], rtol=1e-5)
