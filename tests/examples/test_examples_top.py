"""Running lists against slow obvious twins, dealt out and merged anyhow."""

import numpy as np
import pytest

from vizjax.examples import top as top_


def drawn(seed, count=23, n=5):
  """Values with ties, infinities and NaN, of photographs 0 to count - 1."""
  draw = np.random.RandomState(seed)
  values = draw.randint(-3, 4, (count, n)).astype(np.float32)
  values[draw.uniform(size=values.shape) < 0.1] = np.nan
  values[draw.uniform(size=values.shape) < 0.05] = np.inf
  values[draw.uniform(size=values.shape) < 0.05] = -np.inf
  values[draw.uniform(size=values.shape) < 0.05] = -0.0
  return values, draw.randint(0, 99, values.shape).astype(np.int32)


def obvious(values, positions, k):
  """The list of each unit, by sorting all."""
  columns = []
  for unit in range(values.shape[1]):
    found = [
      (-value, number, value, positions[number, unit])
      for number, value in enumerate(values[:, unit])
      if not np.isnan(value)
    ]
    rows = [(v, i, p) for _, i, v, p in sorted(found)[:k]]
    rows += [(-np.inf, top_.NONE, 0)] * (k - len(rows))
    columns.append(rows)
  return top_.Top(*np.moveaxis(np.array(columns), (2, 1), (0, 1)))


def dealt(seed, values, positions, size):
  """The photographs in lists of some size, in any order."""
  numbers = np.random.RandomState(seed).permutation(len(values))
  for start in range(0, len(values), size):
    some = numbers[start : start + size]
    yield top_.of(values[some], some.astype(np.int32), positions[some])


def assert_equal(one, other):
  for name, a, b in zip(one._fields, one, other, strict=True):
    np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize('seed', range(20))
def test_lists_merge_in_any_order(seed):
  values, positions = drawn(seed)
  k = 1 + seed % 7
  expected = obvious(values, positions, k)
  draw = np.random.RandomState(seed)
  lists = list(dealt(seed, values, positions, 1 + seed % 9))
  lists.append(top_.nothing(k, values.shape[1]))
  while len(lists) > 1:  # any two, as brackets may stand anywhere
    one, other = (lists.pop(draw.randint(len(lists))) for _ in range(2))
    both = top_.merged(one, other, k)
    assert_equal(both, top_.merged(other, one, k))
    lists.append(both)
  assert_equal(lists[0], expected)


@pytest.mark.parametrize('seed', range(20))
def test_photographs_are_added_in_any_order(seed):
  values, positions = drawn(seed, count=40)
  top = top_.nothing(4, values.shape[1])
  for some in dealt(seed, values, positions, 1 + seed % 9):
    before = [part.copy() for part in top]
    new = top_.added(top, some)
    assert_equal(new, top_.merged(top, some, 4))
    assert_equal(top, top_.Top(*before))
    top = new
  assert_equal(top, obvious(values, positions, 4))
  assert [part.dtype for part in top] == [np.float32, np.int32, np.int32]


def test_more_places_than_photographs():
  values, positions = drawn(0, count=3)
  top = top_.of(values, np.arange(3, dtype=np.int32), positions)
  top = top_.merged(top_.nothing(5, 5), top, 5)
  assert_equal(top, obvious(values, positions, 5))
  assert (top.index[3:] == top_.NONE).all()


def test_minus_zero_is_zero():
  zeros = np.array([[-0.0], [0.0]], np.float32)
  numbers = np.arange(2, dtype=np.int32)
  top = top_.of(zeros, numbers, np.zeros((2, 1), np.int32))
  assert not np.signbit(top.value).any()


@pytest.mark.parametrize('seed', range(5))
def test_the_highest_are_those_of_all(seed):
  values, _ = drawn(seed, count=60)
  high = np.zeros((0, values.shape[1]), np.float32)
  for some in np.split(values, [1, 2, 30, 45]):
    high = top_.highest(high, some, 7)
  lowest = np.where(np.isnan(values), -np.inf, values)
  np.testing.assert_array_equal(high, np.sort(lowest, 0)[::-1][:7])


@pytest.mark.parametrize('count', [1, 2, 3, 99, 100, 101, 102, 500, 1001, 2345])
@pytest.mark.parametrize('thousandths', [990, 999])
def test_percentiles_are_numpys(count, thousandths):
  values = np.random.RandomState(count).normal(size=(count, 3))
  values = values.astype(np.float32)
  needed = top_.needed(count, thousandths)
  high = np.sort(values, 0)[::-1][:needed]
  found = top_.percentile(high, count, thousandths)
  wide = values.astype(np.float64)
  expected = np.percentile(wide, thousandths / 10, axis=0)
  # NumPy's share between two values is a float: 1 - 1e-13 of it is exact.
  np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
  less = top_.percentile(high[:-1], count, thousandths)
  assert np.isnan(less).all()


def test_few_values_serve_the_higher_percentile():
  values = -np.arange(5000, dtype=np.float32)[:, None]
  high = values[: top_.needed(5000, 999)]
  assert len(high) == 6
  assert np.isnan(top_.percentile(high, 5000, 990)).all()
  expected = np.percentile(values.astype(np.float64), 99.9)
  np.testing.assert_allclose(
    top_.percentile(high, 5000, 999), expected, rtol=1e-10
  )
