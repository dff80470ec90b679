"""Convolutions with a stride, and a derivative that a CPU takes faster.

With a stride s the derivative by the input is, by XLA, a convolution of zeros
with few numbers between them. Here it is one without a stride that makes all
s x s pixels of a block at once: half the time for the first layer of AlexNet.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vizjax.models.interpreter.cpu import correlation


def suits(kernel: correlation.Pair, stride: correlation.Pair) -> bool:
  """Whether it is the faster one: a kernel of more than two strides."""
  return max(stride) > 1 and all(
    k > 2 * s for k, s in zip(kernel, stride, strict=True)
  )


def convolve(
  x: Array,
  kernel: Array,
  stride: correlation.Pair,
  padding: correlation.Padding,
) -> Array:
  """Cross-correlation with zeros around; in reverse mode only.

  Args:
    x: [h, w, c].
    kernel: [height, width, c, out].
    stride: from one window to the next.
    padding: rows and columns of zeros.
  """
  return _by_parts(x, kernel, stride, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
@functools.partial(jax.jit, static_argnums=(2, 3), inline=True)
def _by_parts(x, kernel, stride, padding):
  if not correlation.gains(x.shape, kernel.shape, stride, padding):
    return correlation.by_xla(x, kernel, stride, padding)
  options = {'stride': stride, 'padding': padding}
  return jax.lax.platform_dependent(
    x,
    kernel,
    cpu=functools.partial(correlation.framed, **options),
    default=functools.partial(correlation.by_xla, **options),
  )


def _forward(x, kernel, stride, padding):
  return _by_parts(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, residuals, slope):
  plain = functools.partial(correlation.by_xla, stride=stride, padding=padding)

  def by_xla(x, kernel, slope):
    _, back = jax.vjp(lambda x: plain(x, kernel), x)
    return back(slope)[0]

  x, kernel = residuals
  _, by_kernel = jax.vjp(lambda k: plain(x, k), kernel)
  by_blocks = functools.partial(_by_blocks, stride=stride, padding=padding)
  by_input = jax.lax.platform_dependent(
    x, kernel, slope, cpu=by_blocks, default=by_xla
  )
  return by_input, by_kernel(slope)[0]


_by_parts.defvjp(_forward, _backward)


def _by_blocks(x, kernel, slope, *, stride, padding):
  (down, right), (h, w, c) = stride, x.shape
  height, width, _, out = kernel.shape
  rows, columns = -(-height // down), -(-width // right)
  # Tap (a, b) of the kernel is pixel (a % down, b % right) of a block.
  frame = (
    (0, rows * down - height),
    (0, columns * right - width),
    (0, 0),
    (0, 0),
  )
  taps = jnp.pad(kernel, frame).reshape(rows, down, columns, right, c, out)
  taps = taps[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4)
  blocks = correlation.by_xla(
    slope,
    taps.reshape(rows, columns, out, down * right * c),
    (1, 1),
    ((rows - 1, rows - 1), (columns - 1, columns - 1)),
  )
  i, j, _ = blocks.shape
  pixels = blocks.reshape(i, j, down, right, c).transpose(0, 2, 1, 3, 4)
  pixels = pixels.reshape(i * down, j * right, c)
  (above, _), (before, _) = padding
  # Pixels that no window sees are left over, or lacking, at the end.
  frame = (
    (0, max(0, above + h - i * down)),
    (0, max(0, before + w - j * right)),
    (0, 0),
  )
  return jnp.pad(pixels, frame)[above : above + h, before : before + w]
