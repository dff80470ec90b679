"""Convolutions without a stride, in ways that a CPU takes faster.

With 3 x 3 taps, a tile of 2 x 2 outputs takes 16 products of each pair of
channels instead of 36: sums of the inputs times sums of the taps, and sums of
those. All factors in the sums are ones and halves, so the error is that of the
plain convolution. Source: Lavin and Gray 2016, section 4.1,
https://arxiv.org/abs/1509.09308.

With 64 outputs, XLA's convolution on the CPU has half its rate. Then two
neighbors are made at a time, by taps that are a column wider. One tap is a
product of matrices. The derivative of a small map is what each of its numbers
gives to its window, added up.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vizjax.models.interpreter.cpu import correlation

# Below, nothing takes long.
_WEIGHTS = 4096

# Tiles pay where there are many channels (half their harmonic mean) for the
# sums of the inputs, and many positions (height and width) for those of the
# taps. Of less than 51 tiles XLA sums the products in another order: two
# images must have more, or they would not be the same as in a larger batch.
_CHANNELS = 72
_SIDE = 11

# Positions from which a product of matrices sums each row in the same order.
_ENOUGH = 64

# Numbers that a map gives to its windows, at most: they must stay in caches.
_GIVEN, _GIVEN_BY_ROWS = 80_000, 400_000

# Where the rate is low: outputs, and positions.
_SLOW, _POSITIONS = 64, range(300, 4097)


def suits(kernel: Array, stride: correlation.Pair) -> bool:
  """Whether there may be a faster way, here or in the derivative."""
  exact = kernel.dtype in (jnp.float32, jnp.float64)
  return exact and stride == (1, 1) and kernel.size >= _WEIGHTS


def convolve(x: Array, kernel: Array, padding: correlation.Padding) -> Array:
  """Cross-correlation with zeros around; in reverse mode only.

  Args:
    x: [h, w, c].
    kernel: [height, width, c, out].
    padding: rows and columns of zeros.
  """
  return _fastest(x, kernel, padding, False)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
@functools.partial(jax.jit, static_argnums=(2, 3), inline=True)
def _fastest(x, kernel, padding, adjoint):
  """With `adjoint`, by the kernel turned around: [height, width, out, c]."""
  options = {'padding': padding, 'adjoint': adjoint}
  way = _way(x.shape, kernel.shape, **options)
  if way is None:
    return _plain(x, kernel, **options)
  return jax.lax.platform_dependent(
    x,
    kernel,
    cpu=functools.partial(way, **options),
    default=functools.partial(_plain, **options),
  )


def _forward(x, kernel, padding, adjoint):
  return _fastest(x, kernel, padding, adjoint), (x, kernel)


def _backward(padding, adjoint, residuals, slope):
  x, kernel = residuals
  around = tuple(
    (k - 1 - before, k - 1 - after)
    for k, (before, after) in zip(kernel.shape, padding, strict=False)
  )
  by_kernel = jax.vjp(lambda k: _plain(x, k, padding, adjoint), kernel)[1]
  return _fastest(slope, kernel, around, not adjoint), by_kernel(slope)[0]


_fastest.defvjp(_forward, _backward)


def _way(size, kernel, padding, adjoint):
  """The faster way on a CPU, or None."""
  h, w = correlation.outputs(size, kernel, (1, 1), padding)
  c, out = kernel[:1:-1] if adjoint else kernel[2:]
  if kernel[:2] == (1, 1) and h * w >= _ENOUGH and not any(map(any, padding)):
    return _by_product
  many = c * out >= _CHANNELS * (c + out) and min(h, w) >= _SIDE
  if kernel[:2] == (3, 3) and many:
    return _by_tiles
  given = math.prod((*size[:2], *kernel[:3]))
  enough = math.prod(size[:2]) >= _ENOUGH
  if adjoint and given <= (_GIVEN_BY_ROWS if enough else _GIVEN):
    return _by_shifts
  if out == _SLOW and h * w in _POSITIONS:
    return _by_pairs
  framed = correlation.gains(size, kernel, (1, 1), padding)
  return _framed if framed else None


def _plain(x, kernel, padding, adjoint):
  kernel = _turned(kernel) if adjoint else kernel
  return correlation.by_xla(x, kernel, (1, 1), padding)


def _framed(x, kernel, padding, adjoint):
  kernel = _turned(kernel) if adjoint else kernel
  return correlation.framed(x, kernel, (1, 1), padding)


def _turned(kernel):
  return kernel[::-1, ::-1].swapaxes(2, 3)


def _by_product(x, kernel, padding, adjoint):
  h, w, c = x.shape
  contracted = ((1,), (1 if adjoint else 0,)), ((), ())
  y = jax.lax.dot_general(x.reshape(h * w, c), kernel[0, 0], contracted)
  return y.reshape(h, w, -1)


def _by_shifts(x, kernel, padding, adjoint):
  assert adjoint
  h, w, _ = x.shape
  height, width, c, out = kernel.shape
  (above, below), (before, after) = padding
  # All taps by one product, or by one for each of their rows.
  parts = 1 if h * w * kernel[..., 0].size <= _GIVEN else height
  rows = []
  for taps in jnp.split(kernel, parts):
    contracted = ((1,), (3,)), ((), ())
    given = jax.lax.dot_general(x.reshape(h * w, out), taps, contracted)
    given = given.reshape(h, w, -1, width, c)
    rows += [given[:, :, i] for i in range(given.shape[2])]
  # Less than no padding is cut off.
  frames = [(j + 1 + before - width, after - j, 0) for j in range(width)]
  rows = [
    sum(_padded(row[:, :, j], 1, frame) for j, frame in enumerate(frames))
    for row in rows
  ]
  frames = [(i + 1 + above - height, below - i, 0) for i in range(height)]
  return sum(map(_padded, rows, [0] * height, frames))


def _padded(x, axis, frame):
  frames = [(0, 0, 0)] * 3
  frames[axis] = frame
  return jax.lax.pad(x, jnp.zeros((), x.dtype), frames)


def _by_pairs(x, kernel, padding, adjoint):
  width = correlation.outputs(x.shape, kernel.shape, (1, 1), padding)[1]
  kernel = _turned(kernel) if adjoint else kernel
  rows, (before, after) = padding
  both = jnp.concatenate(
    [jnp.pad(kernel, ((0, 0), (i, 1 - i), (0, 0), (0, 0))) for i in range(2)],
    3,
  )
  frame = rows, (before, after + width % 2)
  y = correlation.framed(x, both, (1, 2), frame)
  return y.reshape(len(y), -1, kernel.shape[3])[:, :width]


def _by_tiles(x, kernel, padding, adjoint):
  height, width = correlation.outputs(x.shape, kernel.shape, (1, 1), padding)
  down, right = -(-height // 2), -(-width // 2)
  (above, below), (before, after) = padding
  frame = (above, below + height % 2, 0), (before, after + width % 2, 0)
  x = jax.lax.pad(x, jnp.zeros((), x.dtype), (*frame, (0, 0, 0)))
  # The sums of the taps serve both ways: a tile is turned, not the kernel.
  order = range(4)[::-1] if adjoint else range(4)
  rows = _of_inputs(*(x[i : i + 2 * down - 1 : 2] for i in order))
  contracted = ((2,), (2 if adjoint else 1,)), ((0,), (0,))
  products = []  # [4][4] of [down, right, out]
  for row, three in zip(rows, _of_taps(*kernel), strict=True):
    tiles = _of_inputs(*(row[:, j : j + 2 * right - 1 : 2] for j in order))
    four = jax.lax.dot_general(
      jnp.stack(tiles).reshape(4, down * right, -1),
      jnp.stack(_of_taps(*three)),
      contracted,
    )
    products.append([y.reshape(down, right, -1) for y in four])
  turn = -1 if adjoint else 1
  columns = zip(*products, strict=True)
  halves = zip(*(_of_products(*four) for four in columns), strict=True)
  y = [jnp.stack(_of_products(*four)[::turn], 2) for four in halves]
  y = jnp.stack(y[::turn], 1)  # [down, 2, right, 2, out]
  return y.reshape(2 * down, 2 * right, -1)[:height, :width]


def _of_inputs(a, b, c, d):
  return a - c, b + c, c - b, b - d


def _of_taps(a, b, c):
  return a, (a + b + c) / 2, (a - b + c) / 2, c


def _of_products(a, b, c, d):
  return a + b + c, b - c - d
