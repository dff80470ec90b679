"""The strongest photographs of every unit: short lists that merge exactly.

  top = nothing(9, 256)
  top = merged(top, of(values, indices, positions), 9)

What `merged` gives does not depend on the order in which lists are merged,
nor on how the photographs were dealt out to them.
"""

from typing import NamedTuple

from jaxtyping import Float, Float64, Int
import numpy as np

# In place of a photograph's number where there is none; after all others.
NONE = np.iinfo(np.int32).max


class Top(NamedTuple):
  """The strongest photographs of n units, the strongest first."""

  value: np.ndarray  # [k, n] float32, the activation; -inf where there is none
  index: np.ndarray  # [k, n] int32, number of the photograph; NONE
  position: np.ndarray  # [k, n] int32, of the maximum: row * width + column


def nothing(k: int, n: int) -> Top:
  """The list of k places before the first photograph."""
  value = np.full((k, n), -np.inf, np.float32)
  index = np.full((k, n), NONE, np.int32)
  return Top(value, index, np.zeros((k, n), np.int32))


def of(
  values: Float[np.ndarray, 'b n'],
  indices: Int[np.ndarray, 'b'],
  positions: Int[np.ndarray, 'b n'],
) -> Top:
  """Photographs, as a list to be merged; what is NaN is left out.

  Args:
    values: [b, n], the maximum of each unit.
    indices: [b], of the photographs in their data set.
    positions: [b, n], of the maxima.
  """
  absent = np.isnan(values)
  index = np.broadcast_to(indices[:, None], values.shape)
  return Top(
    np.where(absent, -np.inf, values).astype(np.float32) + 0,
    np.where(absent, NONE, index).astype(np.int32),
    np.where(absent, 0, positions).astype(np.int32),
  )


def merged(top: Top, other: Top, k: int) -> Top:
  """The k strongest of two lists; of equals, the smaller number comes first."""
  both = Top(*(np.concatenate(pair) for pair in zip(top, other, strict=True)))
  order = np.lexsort((both.index, -both.value), axis=0)[:k]
  return Top(*(np.take_along_axis(part, order, 0) for part in both))


def added(top: Top, other: Top) -> Top:
  """`merged`, into a sorted list; the units that stay as they are cost little.

  Args:
    top: from `nothing` or `merged`.
    other: in any order.
  """
  # A tie may still be won by the smaller number.
  (units,) = np.nonzero(other.value.max(0) >= top.value[-1])
  if not len(units):
    return top
  some = [Top(*(part[:, units] for part in each)) for each in (top, other)]
  found = merged(*some, len(top.value))
  new = Top(*(part.copy() for part in top))
  for part, those in zip(new, found, strict=True):
    part[:, units] = those
  return new


def highest(
  values: Float[np.ndarray, 'm n'], more: Float[np.ndarray, 'b n'], count: int
) -> Float[np.ndarray, 'k n']:
  """The highest values of each unit, descending; NaN counts as the lowest.

  Args:
    values: [m, n].
    more: [b, n].
    count: how many are kept, if there are as many.
  """
  both = np.concatenate([values, more])
  both[np.isnan(both)] = -np.inf
  return -np.sort(-both, axis=0)[:count]


def needed(count: int, thousandths: int) -> int:
  """How many of the highest of so many values a percentile depends on."""
  return count - (count - 1) * thousandths // 1000


def percentile(
  high: Float[np.ndarray, 'm n'], count: int, thousandths: int
) -> Float64[np.ndarray, 'n']:
  """A percentile of so many values, of which the highest are known.

  Between two values it is interpolated, as NumPy's default is.

  Args:
    high: [m, n], from `highest`.
    count: of all the values, at least 1.
    thousandths: 990 for the 99th percentile.

  Returns:
    [n]; NaN where it lies below what is known.
  """
  if needed(count, thousandths) > len(high):
    return np.full(high.shape[1], np.nan)
  below, rest = divmod((count - 1) * thousandths, 1000)
  lower = high[count - 1 - below].astype(np.float64)
  if not rest:
    return lower
  upper = high[count - 2 - below].astype(np.float64)
  with np.errstate(invalid='ignore'):  # infinite activations
    return lower + (upper - lower) * (rest / 1000)
