"""Cross-correlation by XLA, and a form of it that a CPU takes faster."""

import math

import jax
from jaxtyping import Array

Pair = tuple[int, int]  # (down, right)
Padding = tuple[Pair, Pair]  # before and after, of each axis

# Sums of fewer products, and maps of fewer positions, do not gain.
_PRODUCTS, _POSITIONS = 128, 64


def by_xla(x: Array, kernel: Array, stride: Pair, padding: Padding) -> Array:
  """As it is.

  Args:
    x: [h, w, c].
    kernel: [height, width, c, out].
    stride: from one window to the next.
    padding: rows and columns of zeros.
  """
  return jax.lax.conv_general_dilated(
    x[None], kernel, stride, padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )[0]


def framed(x: Array, kernel: Array, stride: Pair, padding: Padding) -> Array:
  """The same numbers; without padding, with a row of zeros below.

  Where there is no padding at all XLA goes another way on the CPU, which has
  a third of the rate (JAX 0.10.2; conv1 of AlexNet on 163 x 163 pixels: 12 ms
  instead of 34).
  """
  if any(map(any, padding)):
    return by_xla(x, kernel, stride, padding)
  h, _ = outputs(x.shape, kernel.shape, stride, padding)
  return by_xla(x, kernel, stride, ((0, 1), (0, 0)))[:h]


def gains(
  size: tuple[int, ...],
  kernel: tuple[int, ...],
  stride: Pair,
  padding: Padding,
) -> bool:
  """Whether a row of zeros pays."""
  positions = math.prod(outputs(size, kernel, stride, padding))
  many = math.prod(kernel[:3]) >= _PRODUCTS and positions >= _POSITIONS
  return many and not any(map(any, padding))


def outputs(
  size: tuple[int, ...],
  kernel: tuple[int, ...],
  stride: Pair,
  padding: Padding,
) -> list[int]:
  """Height and width of what comes out."""
  return [
    (n + sum(pair) - k) // s + 1
    for n, k, s, pair in zip(size, kernel, stride, padding, strict=False)
  ]
