"""Mean and deviation of activations, against NumPy over all of them at once."""

import pathlib

import conftest
import jax.numpy as jnp
import numpy as np
import pytest

from vizjax import models
from vizjax.errors import UserError
from vizjax.photographs import datasets
from vizjax.photographs import moments as moments_
from vizjax.photographs import preprocessing

PUBLISHED = (
  pathlib.Path(__file__)
  .parents[3]
  .joinpath('shared', 'fixtures', 'synthesizing', 'act_range')
)
HOW = preprocessing.Preprocessing(14, False, 'bilinear')
ROUNDED = 1e-5  # float32 sums in another order, of activations about 10


def photographs(count=7):
  """Noise of different brightness."""
  draw = np.random.RandomState(1)
  pictures = [
    draw.randint(0, 256 - 30 * i, (20, 30, 3)).astype(np.uint8)
    for i in range(count)
  ]

  def example(number):
    return datasets.Example(f'{number}.png', pictures[number], '')

  return datasets.Dataset('noise', (), count, example)


def activations(net, layer, data):
  """[n, units] float64: of one image after the other, in Caffe's order."""
  found = []
  for example in data:
    pixels = preprocessing.apply(HOW, example.image, (12, 12))
    acts = np.asarray(net(jnp.asarray(pixels))[layer], np.float64)
    flat = []
    for channel in range(acts.shape[-1]):
      flat += acts[..., channel].ravel().tolist()
    found.append(flat)
  return np.array(found)


@pytest.mark.parametrize('layer, size', [('pool1', 4 * 6 * 6), ('fc3', 5)])
def test_mean_and_deviation_are_numpys(layer, size):
  net = conftest.toy()
  acts = activations(net, layer, photographs())
  assert acts.shape == (7, size) and acts.std(0).max() > 1
  moments = moments_.measured(net, layer, photographs(), HOW, batch=3)
  assert moments.count == 7
  for sigmas in (0, 3.0, -2):
    expected = acts.mean(0) + sigmas * acts.std(0)  # ddof is 0
    found = moments_.bounds(moments, sigmas)
    np.testing.assert_allclose(found, expected, atol=ROUNDED * abs(acts).max())


def test_nothing_depends_on_the_batch():
  net = conftest.toy()
  found = [
    moments_.bounds(
      moments_.measured(net, 'fc3', photographs(), HOW, batch=b), 3
    )
    for b in (1, 4, 7, 32)
  ]
  for other in found[1:]:
    np.testing.assert_allclose(other, found[0], rtol=ROUNDED)


def test_only_the_first_may_be_asked_for_and_each_is_reported():
  net, told = conftest.toy(), []
  some = moments_.measured(
    net, 'fc3', photographs(), HOW, count=3, report=lambda: told.append(1)
  )
  assert some.count == len(told) == 3
  few = moments_.measured(net, 'fc3', photographs(), HOW, batch=32, count=3)
  np.testing.assert_array_equal(some.mean, few.mean)
  one = moments_.measured(net, 'fc3', photographs(), HOW, count=1)
  np.testing.assert_array_equal(moments_.bounds(one, 5), one.mean)


def test_what_is_small_beside_the_mean_is_not_lost():
  draw = np.random.RandomState(0)
  rows = 1e8 + draw.normal(0, 1, (200, 9))
  moments = moments_.empty(9)
  for row in rows:
    moments = moments_.added(moments, row)
  deviation = moments_.bounds(moments, 1) - moments.mean
  # The sum of squares less the square of the sum would be zero or negative.
  np.testing.assert_allclose(deviation, rows.std(0), rtol=1e-5)


def test_the_text_is_one_line_in_the_form_of_the_published_files():
  bounds = np.array([12.3456789, 2.5, -0.4, 0.0, 1234567.0])
  assert moments_.text(bounds) == '12.3457 2.5 -0.4 0 1.23457e+06\n'
  assert moments_.text(bounds, integers=True) == '12 2 0 0 1234567\n'


@pytest.mark.skipif(not PUBLISHED.exists(), reason='the files are not there')
@pytest.mark.parametrize('name', ['1x', '2x', '3x'])
def test_a_published_file_is_written_as_it_is(name):
  path = PUBLISHED / name / 'fc6.txt'
  numbers = np.loadtxt(path)
  assert numbers.shape == (4096,)
  published = path.read_text().strip()
  assert moments_.text(numbers, integers=True).strip() == published


@pytest.mark.parametrize('wrong, told', [
  (np.inf, "'a' is infinite for '2.png'"), (np.nan, "'a' is NaN for '2.png'"),
])  # fmt: skip
def test_an_activation_that_is_no_number_is_told_with_its_image(wrong, told):
  def function(limit, image):
    dark = image.mean() < limit
    return {'a': jnp.where(dark, wrong, image.mean((0, 1)))}

  data = photographs()
  pixels = preprocessing.apply(HOW, data[1].image, (12, 12))
  net = models.from_function(
    function, np.float32(pixels.mean() - 5), input_shape=(12, 12, 3)
  )
  with pytest.raises(UserError, match=told):
    moments_.measured(net, 'a', data, HOW)


def test_an_unknown_layer_is_refused_with_the_nearest():
  with pytest.raises(UserError, match="'pool2' is not.*Did you mean 'pool1'"):
    moments_.measured(conftest.toy(), 'pool2', photographs(), HOW)
