"""Windows over a map: how many, and their maxima."""

from collections.abc import Sequence
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

Pair = tuple[int, int]  # (down, right)

# Larger windows would make a large program.
_TAPS = 25


def frame(
  size: Sequence[int],
  kernel: Sequence[int],
  stride: Pair,
  padding: list[Pair],
  ceil: bool,
) -> tuple[list[int], list[Pair]]:
  """How many windows there are, and what frame they need, for each axis.

  Args:
    size: of the map.
    kernel: of a window.
    stride: from one to the next.
    padding: (before, after) the map.
    ceil: whether the number is rounded up, as pooling_layer.cpp does; where
      there is any padding, a last window that would begin in it is left out.
  """
  counts, frames = [], []
  padded = any(map(any, padding))
  for n, k, s, (before, after) in zip(
    size, kernel, stride, padding, strict=True
  ):
    span = n + before + after - k
    count = (-(-span // s) if ceil else span // s) + 1
    if padded and (count - 1) * s >= n + before:
      count -= 1
    counts.append(count)
    frames.append((before, max(0, (count - 1) * s + k - n - before)))
  return counts, frames


def areas(
  size: Sequence[int],
  counts: list[int],
  kernel: Pair,
  stride: Pair,
  padding: list[Pair],
  inside: bool,
) -> Array:
  """The number of places of each window, [i, j].

  Padding counts unless only what is `inside` the map does; what is beyond the
  padding never counts. Other arguments are those of `frame`.
  """
  sides = []
  for n, count, k, s, (before, after) in zip(
    size, counts, kernel, stride, padding, strict=True
  ):
    starts = jnp.arange(count) * s - before
    if inside:
      sides.append(jnp.minimum(starts + k, n) - jnp.maximum(starts, 0))
    else:
      sides.append(jnp.minimum(starts + k, n + after) - starts)
  return sides[0][:, None] * sides[1][None, :]


def counts(row: Any, size: Sequence[int]) -> list[int]:
  """How many windows a convolution or a pool has on a map; 0 or less: none.

  Args:
    row: a `tables.Layer`.
    size: of the map.
  """
  reach = [
    (k - 1) * d + 1 for k, d in zip(row.kernel, row.dilation, strict=True)
  ]
  if row.option('same', False):
    return [-(-n // s) for n, s in zip(size, row.stride, strict=True)]
  ceil = row.option('ceil', False)
  padding = list(zip(row.pad, row.option('end', row.pad), strict=True))
  return frame(size, reach, row.stride, padding, ceil)[0]


def same(row: Any, size: Sequence[int]) -> list[Pair]:
  """TensorFlow's padding of a map: (above, below), (left, right).

  As much as makes the number of windows n / stride, rounded up; the odd row
  is below, the odd column to the right.

  Args:
    row: a `tables.Layer`, for kernel, stride and dilation.
    size: of the map.
  """
  reach = [
    (k - 1) * d + 1 for k, d in zip(row.kernel, row.dilation, strict=True)
  ]
  return jax.lax.padtype_to_pads(size, reach, row.stride, 'SAME')


def largest(x: Array, kernel: Pair, stride: Pair) -> Array:
  """The maximum of every whole window: [h, w, c] -> [i, j, c].

  Of equals the first, row by row, has the derivative. XLA's own derivative
  scatters: it visits every window and adds to where its maximum was. Here
  every position looks at the windows it is in, which on a CPU takes a third to
  a half of the time, and adds the same numbers. In reverse mode only.

  Args:
    x: a map.
    kernel: (height, width) of the window.
    stride: from one to the next.
  """
  gathered = math.prod(kernel) <= _TAPS
  return (_by_place if gathered else _maxima)(x, kernel, stride)


def _maxima(x, kernel, stride):
  return jax.lax.reduce_window(
    x, -jnp.inf, jax.lax.max, (*kernel, 1), (*stride, 1), 'VALID'
  )


_by_place = functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))(_maxima)


def _forward(x, kernel, stride):
  y = _maxima(x, kernel, stride)
  return y, (x, y)


def _backward(kernel, stride, residuals, slope):
  x, y = residuals

  def scattered(x, y, slope):
    del y
    return jax.vjp(lambda x: _maxima(x, kernel, stride), x)[1](slope)[0]

  gathered = functools.partial(_gather, kernel=kernel, stride=stride)
  return (
    jax.lax.platform_dependent(x, y, slope, cpu=gathered, default=scattered),
  )


_by_place.defvjp(_forward, _backward)


def _gather(x, y, slope, *, kernel, stride):
  (h, w, c), (i, j, _), (down, right) = x.shape, y.shape, stride
  # As many blocks of a stride as the windows cover, cut or filled up.
  blocks = [
    n + (k - 1) // s for n, k, s in zip((i, j), kernel, stride, strict=True)
  ]
  rows, columns = blocks[0] * down, blocks[1] * right
  framed = _resized(x, rows, columns).reshape(blocks[0], down, -1, right, c)
  open_ = jnp.ones(y.shape, bool)
  parts = {}  # by place in a block, what positions there are given
  for a in range(kernel[0]):
    for b in range(kernel[1]):
      top, left = a // down, b // right
      tap = framed[top : top + i, a % down, left : left + j, b % right]
      hit = open_ & (tap == y)
      open_ &= ~hit
      frame = (top, blocks[0] - i - top), (left, blocks[1] - j - left), (0, 0)
      part = jnp.pad(jnp.where(hit, slope, 0), frame)
      place = a % down, b % right
      parts[place] = parts[place] + part if place in parts else part
  nothing = jnp.zeros((*blocks, c), slope.dtype)
  interleaved = jnp.stack(
    [
      jnp.stack([parts.get((a, b), nothing) for b in range(right)], 2)
      for a in range(down)
    ],
    1,
  ).reshape(rows, columns, c)
  return _resized(interleaved, h, w)


def _resized(x: Array, rows: int, columns: int) -> Array:
  """Cut, or filled up with zeros below and to the right."""
  h, w, _ = x.shape
  frame = (0, max(0, rows - h)), (0, max(0, columns - w)), (0, 0)
  return jnp.pad(x, frame)[:rows, :columns]
