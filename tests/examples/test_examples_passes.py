"""A pass of the toy network over drawn photographs, and its state on disk."""

import json

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toynets

from oracles import metrics
from vizjax import models
from vizjax.build import geometry
from vizjax.errors import UserError
from vizjax.examples import passes
from vizjax.examples import top
from vizjax.photographs import datasets
from vizjax.photographs import preprocessing

HOW = preprocessing.Preprocessing(14, False, 'bilinear')
LAYERS = ('conv1', 'conv2', 'fc3')
FLOAT = 1e-4  # float32 sums in another order


def photographs(count=11, bad=(4,)):
  """Noise; some of them cannot be decoded."""

  def example(number):
    if number in bad:
      raise UserError(f'{number} is\ndamaged')
    draw = np.random.RandomState(number)
    image = draw.randint(0, 256, (15, 14 + number, 3)).astype(np.uint8)
    return datasets.Example(f'{number}.png', image, '')

  name = lambda number: f'{number}.png'
  return datasets.Dataset('noise', (), count, example, name)


def scan(net=None, data=None, k=4, layers=LAYERS):
  net = models.cut(conftest.toy() if net is None else net, layers)
  data = photographs() if data is None else data
  maps = geometry.activation_shapes(net)
  shapes = {name: maps[name].shape for name in layers}
  return passes.Scan(net, shapes, (12, 12), data, HOW, len(data), k)


def walked(one, batch=4):
  *_, tally = passes.walk(one, passes.begin(one), batch)
  return tally


def maxima(one):
  """[n, units]: value and position of every photograph, one at a time."""
  forward, values, positions = jax.jit(one.model.__call__), [], []
  for number in range(one.count):
    try:
      image = one.data[number].image
    except ValueError:
      continue
    image = preprocessing.apply(one.how, image, one.size)
    acts = forward(jnp.asarray(image))
    flat = [
      np.asarray(acts[n]).reshape(-1, s[-1]) for n, s in one.layers.items()
    ]
    values.append(np.concatenate([a.max(0) for a in flat]))
    positions.append(np.concatenate([a.argmax(0) for a in flat]))
  return np.stack(values), np.stack(positions)


def test_a_pass_finds_what_a_search_of_all_finds():
  one = scan()
  tally = walked(one)
  values, positions = maxima(one)
  numbers = np.delete(np.arange(11), 4)
  order = np.argsort(-values, 0, kind='stable')[:4]
  np.testing.assert_array_equal(tally.top.index, numbers[order])
  for found, expected in (
    (tally.top.value, values),
    (tally.top.position, positions),
  ):
    expected = np.take_along_axis(expected, order, 0)
    np.testing.assert_allclose(found, expected, rtol=FLOAT, atol=FLOAT)
  assert tally.skipped == (('4.png', '4 is damaged'),)
  assert (tally.number, tally.last, tally.moments.count) == (11, '10.png', 10)
  found = passes.statistics(one, tally)
  for name, expected in metrics.statistics(values).items():
    np.testing.assert_allclose(found[name], expected, rtol=FLOAT, atol=FLOAT)


def test_units_are_dealt_out_to_layers():
  found = passes.units(scan())
  assert found == {
    'conv1': slice(0, 4),
    'conv2': slice(4, 10),
    'fc3': slice(10, 15),
  }


def test_the_batch_changes_nothing_but_last_digits():
  one = scan()
  expected = walked(one, 11)
  for batch in (1, 3, 32):
    tally = walked(one, batch)
    np.testing.assert_array_equal(tally.top.index, expected.top.index)
    np.testing.assert_array_equal(tally.top.position, expected.top.position)
    np.testing.assert_allclose(
      tally.moments.mean, expected.moments.mean, rtol=FLOAT
    )


def test_of_equal_photographs_the_first_comes_first():
  grey = np.full((14, 14, 3), 99, np.uint8)
  example = lambda number: datasets.Example(str(number), grey, '')
  one = scan(data=datasets.Dataset('grey', (), 9, example))
  assert (walked(one, 3).top.index == np.arange(4)[:, None]).all()


def test_of_equal_positions_the_first_is_taken():
  def function(params, image):
    red = image[:, :, :1]
    return {'map': jnp.concatenate([red * 0, -jnp.abs(red - 7), red], -1)}

  net = models.from_function(function, {}, input_shape=(12, 12, 3))
  image = np.zeros((12, 12, 3), np.uint8)
  image[5, 3:5] = image[8, 1] = 7
  example = lambda number: datasets.Example(str(number), image, '')
  data = datasets.Dataset('one', (), 1, example)
  how = preprocessing.Preprocessing(12, False, 'bilinear')
  one = passes.Scan(net, {'map': (12, 12, 3)}, (12, 12), data, how, 1, 1)
  tally = walked(one, 2)
  assert tally.top.position.tolist() == [[0, 5 * 12 + 3, 5 * 12 + 3]]
  assert tally.top.value.tolist() == [[0, 0, 7]]


@pytest.mark.parametrize('stop', range(4))
def test_what_is_written_goes_on_to_the_same_bits(stop):
  one = scan()
  walk = passes.walk(one, passes.begin(one), 3)
  tally = [passes.begin(one), *walk][stop]
  content = passes.content(one, tally, {'k': 4, 'layers': ['a']})
  again, facts = passes.restored(content)
  assert facts == {'k': 4, 'layers': ['a']} and again.number == 3 * stop
  *_, end = passes.walk(one, again, 3)
  expected = walked(one, 3)
  final = [passes.content(one, s, {}) for s in (end, expected)]
  for a, b in zip(*(passes.restored(c)[0] for c in final), strict=True):
    if isinstance(a, tuple):
      for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
    else:
      assert a == b
  statistics = [passes.statistics(one, s) for s in (end, expected)]
  for name, found in statistics[0].items():
    np.testing.assert_array_equal(found, statistics[1][name])


def test_what_is_damaged_is_no_state():
  one = scan()
  content = passes.content(one, passes.begin(one), {})
  for part in (b'', b'damaged', content[:-40], content[:100]):
    with pytest.raises(UserError, match='it is damaged'):
      passes.restored(part)


def test_many_values_are_kept_no_longer_than_needed(monkeypatch):
  one = scan(data=photographs(400, bad=()), layers=('conv1',), k=2)
  for tally in passes.walk(one, passes.begin(one), 50):
    assert sum(map(len, tally.high)) <= 256 + 50
  values, _ = maxima(one)
  found = passes.statistics(one, tally)
  expected = np.percentile(values.astype(np.float64), 99, axis=0)
  np.testing.assert_allclose(found['p99'], expected, rtol=FLOAT)
  monkeypatch.setattr(passes, 'ROOM', 4 * 4 * 3)  # bytes: three each
  tally = walked(one, 50)
  found = passes.statistics(one, tally)
  assert np.isnan(found['p99']).all()
  expected = np.percentile(values.astype(np.float64), 99.9, axis=0)
  np.testing.assert_allclose(found['p99_9'], expected, rtol=FLOAT)
  np.testing.assert_allclose(found['maximum'], values.max(0), rtol=FLOAT)


@pytest.mark.filterwarnings('ignore:.*weights are NaN or infinite')
def test_what_is_no_number_is_told_and_no_example():
  one = scan(net=toynets.broken(), layers=('conv1', 'conv2'))
  tally = walked(one)
  units = passes.units(one)
  bad = units['conv2'].start + 1
  assert (tally.top.index[:, bad] == top.NONE).all()
  others = np.delete(np.arange(10), bad)
  assert (tally.top.index[:, others] < 11).all()
  for name, found in passes.statistics(one, tally).items():
    assert np.isnan(found[bad]), name
    assert np.isfinite(found[others]).all(), name


def test_a_strip_is_skipped():
  image = np.zeros((3, 301, 3), np.uint8)
  example = lambda number: datasets.Example(str(number), image, '')
  tally = walked(scan(data=datasets.Dataset('strip', (), 1, example)))
  assert tally.skipped == (
    ('0', "'0' is 301 x 3 pixels, expected a side at most 100 times the other"),
  )
  assert not tally.moments.count


def test_what_may_not_be_read_is_skipped_and_a_broken_disk_is_not():
  whole = photographs(bad=())

  def failing(error):
    def example(number):
      if number == 6:
        raise error
      return whole.example(number)

    return datasets.Dataset('noise', (), 11, example)

  tally = walked(scan(data=failing(PermissionError(13, 'Permission denied'))))
  assert tally.skipped == (('6', 'it cannot be read (Permission denied)'),)
  for error in (OSError(5, 'I/O error'), FileNotFoundError(2, 'gone')):
    with pytest.raises(type(error)):
      walked(scan(data=failing(error)))


def test_the_facts_are_json():
  one = scan()
  content = passes.content(one, walked(one), {'ids': ['\udcff']})
  assert passes.restored(content)[1] == {'ids': ['\udcff']}
  assert json.dumps(passes.restored(content)[0].skipped)
