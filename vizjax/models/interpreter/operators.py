"""What each kind of layer computes, on one image, in Caffe's arithmetic.

The name of a function is the kind of a `layers.Layer`; a function takes the
row, the inputs and, by name, the weights. Maps are [h, w, c], vectors [c].
Where Caffe counts axes or flattens, it means [1, c, h, w]: `axis=1` is c.

Source: https://github.com/BVLC/caffe, src/caffe/layers.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vizjax.errors import UserError
from vizjax.models.interpreter.cpu import pooling
from vizjax.models.interpreter.cpu import strided
from vizjax.models.interpreter.cpu import unstrided

Row = Any  # layers.Layer, which imports this module


def conv(row: Row, x: Array, kernel: Array, bias: Array | None = None) -> Array:
  """Cross-correlation with zeros around; kernel [h, w, in/groups, out].

  With option 'same' the zeros are TensorFlow's: as many as make the size
  n / stride, rounded up, the odd one below and to the right. Option 'end' has
  the numbers below and to the right where they are not those of `row.pad`.
  """
  padding = _padding(row)
  if row.option('same', False):
    padding = pooling.same(row, x.shape[:2])
  if row.groups == x.shape[2] == kernel.shape[3]:
    y = _depthwise(row, x, kernel, padding)
    return y if bias is None else y + bias[None, None]
  rows, columns = ((int(before), int(after)) for before, after in padding)
  frame = rows, columns
  simple = row.groups == 1 and row.dilation == (1, 1)
  if simple and strided.suits(row.kernel, row.stride):
    y = strided.convolve(x, kernel, row.stride, frame)
  elif simple and unstrided.suits(kernel, row.stride):
    y = unstrided.convolve(x, kernel, frame)
  else:
    y = jax.lax.conv_general_dilated(
      x[None],
      kernel,
      row.stride,
      frame,
      rhs_dilation=row.dilation,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=row.groups,
    )[0]
  return y if bias is None else y + bias[None, None]


def _depthwise(row: Row, x: Array, kernel: Array, padding: list) -> Array:
  """A convolution of each channel by itself, as a sum over the taps.

  XLA runs the gradient of a grouped convolution on the CPU one group at a
  time; this is fused into one pass.
  """
  x = jnp.pad(x, (*padding, (0, 0)))
  sizes = [
    (n - (k - 1) * d - 1) // s + 1
    for n, k, d, s in zip(
      x.shape, row.kernel, row.dilation, row.stride, strict=False
    )
  ]
  total: Any = 0.0
  for i in range(row.kernel[0]):
    for j in range(row.kernel[1]):
      top, left = i * row.dilation[0], j * row.dilation[1]
      bottom = top + (sizes[0] - 1) * row.stride[0] + 1
      right = left + (sizes[1] - 1) * row.stride[1] + 1
      taps = jax.lax.slice(
        x, (top, left, 0), (bottom, right, x.shape[2]), (*row.stride, 1)
      )
      total += taps * kernel[i, j][None]
  return total


def deconv(
  row: Row, x: Array, kernel: Array, bias: Array | None = None
) -> Array:
  """The adjoint of `conv`: size stride (n - 1) + kernel - pad before - after.

  The kernel is [h, w, in/groups, out] as well, already turned by 180 degrees.
  """
  reach = [(k - 1) * d for k, d in zip(row.kernel, row.dilation, strict=True)]
  y = jax.lax.conv_general_dilated(
    x[None],
    kernel,
    (1, 1),
    [(r - a, r - b) for r, (a, b) in zip(reach, _padding(row), strict=True)],
    lhs_dilation=row.stride,
    rhs_dilation=row.dilation,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=row.groups,
  )[0]
  return y if bias is None else y + bias[None, None]


def fc(row: Row, x: Array, kernel: Array, bias: Array | None = None) -> Array:
  """A fully connected layer; reads a map as [c, h, w], kernel [in, out]."""
  del row
  y = to_caffe(x).reshape(-1) @ kernel
  return y if bias is None else y + bias


def relu(row: Row, x: Array) -> Array:
  """max(0, x), or slope * x below zero; the derivative at zero is slope.

  Option 'ceiling' bounds it from above: 6 for ReLU6.
  """
  slope, ceiling = row.option('slope', 0.0), row.option('ceiling', None)
  y = jnp.where(x > 0, x, slope * x) if slope else jax.nn.relu(x)
  return y if ceiling is None else jnp.where(x < ceiling, y, ceiling)


def prelu(row: Row, x: Array, slope: Array) -> Array:
  """max(0, x) + slope min(0, x); slope [c], or [1] for all channels."""
  return jnp.maximum(x, 0) + _along(slope, x, 1) * jnp.minimum(x, 0)


def elu(row: Row, x: Array) -> Array:
  """x, or alpha (exp(x) - 1) below zero."""
  return jax.nn.elu(x, row.option('alpha', 1.0))


def sigmoid(row: Row, x: Array) -> Array:
  """1 / (1 + exp(-x))."""
  return jax.nn.sigmoid(x)


def tanh(row: Row, x: Array) -> Array:
  """Hyperbolic tangent."""
  return jnp.tanh(x)


def absolute(row: Row, x: Array) -> Array:
  """|x|."""
  return jnp.abs(x)


def power(row: Row, x: Array) -> Array:
  """(shift + scale x)^power."""
  inner = row.option('shift', 0.0) + row.option('scale', 1.0) * x
  exponent = row.option('power', 1.0)
  return inner if exponent == 1 else inner**exponent


def exp(row: Row, x: Array) -> Array:
  """base^(shift + scale x); base e unless given."""
  inner = row.option('shift', 0.0) + row.option('scale', 1.0) * x
  return jnp.exp(inner * math.log(row.option('base', math.e)))


def log(row: Row, x: Array) -> Array:
  """Logarithm of shift + scale x; base e unless given."""
  inner = row.option('shift', 0.0) + row.option('scale', 1.0) * x
  return jnp.log(inner) / math.log(row.option('base', math.e))


def identity(row: Row, x: Array) -> Array:
  """x: Caffe's Split, and Dropout when it is not training."""
  return x


def reverse(row: Row, x: Array) -> Array:
  """The channels in the opposite order: RGB for BGR."""
  return x[..., ::-1]


def softmax(row: Row, x: Array) -> Array:
  """Probabilities over channels, or over option 'axis'."""
  return jax.nn.softmax(x, _axis(row, x))


def concat(row: Row, *inputs: Array) -> Array:
  """The inputs side by side: channels, or option 'axis'."""
  return jnp.concatenate(inputs, _axis(row, inputs[0]))


def slice(row: Row, x: Array) -> Array:
  """Options 'start' to 'stop' of the channels, or of option 'axis'.

  Or option 'part', (number, count): one of so many equal parts.
  """
  axis = _axis(row, x)
  number, count = row.option('part', (0, 1))
  if x.shape[axis] % count:
    raise UserError(
      f'{x.shape[axis]} channels cannot be cut into {count} equal parts'
    )
  if count > 1:
    size = x.shape[axis] // count
    return jax.lax.slice_in_dim(
      x, number * size, (number + 1) * size, axis=axis
    )
  stop = row.option('stop', x.shape[axis])
  return jax.lax.slice_in_dim(x, row.option('start', 0), stop, axis=axis)


def eltwise(row: Row, *inputs: Array) -> Array:
  """Sum (with option 'coefficients'), product or maximum of equals."""
  if len({x.shape for x in inputs}) > 1:
    raise UserError('expected inputs of one shape')
  operation = row.option('operation', 'sum')
  if operation == 'sum':
    weights = row.option('coefficients', (1.0,) * len(inputs))
    total: Any = sum(c * x for c, x in zip(weights, inputs, strict=True))
    return total
  function = {'prod': jnp.multiply, 'max': jnp.maximum}[operation]
  result = inputs[0]
  for x in inputs[1:]:
    result = function(result, x)
  return result


def scale(
  row: Row,
  x: Array,
  factor: Array | None = None,
  scale: Array | None = None,
  bias: Array | None = None,
) -> Array:
  """x times weights or a second input, plus a bias, from option 'axis' on."""
  axis = row.option('axis', 1)
  y = x * _along(_given(scale, factor), x, axis)
  return y if bias is None else y + _along(bias, x, axis)


def bias(
  row: Row, x: Array, addend: Array | None = None, bias: Array | None = None
) -> Array:
  """x plus weights or a second input, from option 'axis' on."""
  return x + _along(_given(bias, addend), x, row.option('axis', 1))


def batch_norm(
  row: Row,
  x: Array,
  mean: Array | None = None,
  variance: Array | None = None,
  scale: Array | None = None,
  bias: Array | None = None,
) -> Array:
  """(x - mean) / sqrt(variance + eps), with the statistics of training.

  With option 'affine' that times scale, plus bias. With option 'whole' the
  statistics are those of x itself, of each channel, and have a derivative.
  """
  if row.option('whole', False):
    channels = to_caffe(x).reshape(to_caffe(x).shape[0], -1)
    mean, variance = channels.mean(1), channels.var(1)
  # A row without these weights is `whole`.
  assert mean is not None and variance is not None
  # One factor a channel: XLA takes a product and a quotient of each number in
  # an order that depends on the number of devices.
  factor = 1 / jnp.sqrt(variance + row.option('eps', 1e-5))
  factor = factor if scale is None else scale * factor
  y = (x - _along(mean, x, 1)) * _along(factor, x, 1)
  return y if bias is None else y + _along(bias, x, 1)


def normalize(row: Row, x: Array, scale: Array) -> Array:
  """x over its Euclidean norm, times scale (SSD: Liu et al. 2016).

  The norm is of each position, or of everything with 'across_spatial'.
  """
  axes = None if row.option('across_spatial', True) else -1
  square = jnp.sum(x**2, axes, keepdims=True) + row.option('eps', 1e-10)
  return x / jnp.sqrt(square) * _along(scale, x, 1)


def lrn(row: Row, x: Array) -> Array:
  """x (k + alpha/n sum x^2)^-beta over n channels, or an n x n window.

  Krizhevsky et al. 2012, section 3.3. Within a channel, the mean square is
  Caffe's average pooling: alpha is over n^2, and k is 1.
  """
  n = row.option('size', 5)
  reach = (n - 1) // 2
  if row.option('within', False):
    square = row._replace(kernel=(n, n), stride=(1, 1), pad=(reach, reach))
    mean, k = average_pool(square, x**2), 1.0
  else:
    padding = ((0, 0), (0, 0), (reach, n - 1 - reach))
    total = jax.lax.reduce_window(
      x**2, 0.0, jax.lax.add, (1, 1, n), (1, 1, 1), padding
    )
    mean, k = total / n, row.option('k', 1.0)
  return x * (k + row.option('alpha', 1.0) * mean) ** -row.option('beta', 0.75)


def max_pool(row: Row, x: Array) -> Array:
  """The maximum of each window; padding never wins."""
  kernel, stride, padding = _pooling(row, x)
  ceil = row.option('ceil', False)
  counts, padding = pooling.frame(x.shape[:2], kernel, stride, padding, ceil)
  framed = jnp.pad(x, (*padding, (0, 0)), constant_values=-jnp.inf)
  pooled = pooling.largest(framed, kernel, stride)
  return pooled[: counts[0], : counts[1]]


def average_pool(row: Row, x: Array) -> Array:
  """The mean of each window; padding counts, what is beyond it does not.

  With option 'inside' padding does not count either, as in TensorFlow.
  """
  kernel, stride, padding = _pooling(row, x)
  ceil = row.option('ceil', False)
  counts, frame = pooling.frame(x.shape[:2], kernel, stride, padding, ceil)
  inside = row.option('inside', False)
  area = pooling.areas(x.shape[:2], counts, kernel, stride, padding, inside)
  total = jax.lax.reduce_window(
    x, 0.0, jax.lax.add, (*kernel, 1), (*stride, 1), (*frame, (0, 0))
  )[: counts[0], : counts[1]]
  area = jnp.broadcast_to(area[:, :, None], total.shape)
  return total / area.astype(x.dtype)


def adaptive_average_pool(row: Row, x: Array) -> Array:
  """PyTorch's: window i of 'size' along n is n i/size to n (i+1)/size.

  The first rounded down, the second up; on a map of that size, x.
  """
  out = row.option('size', 1)
  for axis, n in enumerate(x.shape[:2]):
    if n != out:
      i, position = jnp.arange(out)[:, None], jnp.arange(n)
      inside = (position >= i * n // out) & (position < -(-(i + 1) * n // out))
      means = inside / inside.sum(1, keepdims=True)
      x = jnp.moveaxis(
        jnp.tensordot(means.astype(x.dtype), x, (1, axis)), 0, axis
      )
  return x


def flatten(row: Row, x: Array) -> Array:
  """Caffe's axes 'axis' to 'end_axis' in one, in the order [c, h, w]."""
  blob = to_caffe(x)
  start = _counted(row.option('axis', 1), blob)
  end = _counted(row.option('end_axis', -1), blob)
  shape = (*blob.shape[:start], -1, *blob.shape[end + 1 :])
  return from_caffe(blob.reshape(shape))


def reshape(row: Row, x: Array) -> Array:
  """[c, h, w] in another shape: 0 keeps a size, -1 takes what is left."""
  blob = to_caffe(x)
  shape = [
    blob.shape[i] if size == 0 else size
    for i, size in enumerate(row.option('shape', ()))
  ]
  return from_caffe(blob.reshape(shape))


def permute(row: Row, x: Array) -> Array:
  """Caffe's axes in the order 'order', which begins with 0."""
  order = [axis - 1 for axis in row.option('order', ())[1:]]
  return from_caffe(to_caffe(x).transpose(order))


def crop(row: Row, x: Array, like: Array) -> Array:
  """x from 'offsets' on, as large as `like`, from axis 'axis' on."""
  blob, size = to_caffe(x), to_caffe(like).shape
  axis = _counted(row.option('axis', 2), blob)
  offsets = row.option('offsets', (0,))
  count = blob.ndim - axis
  starts = offsets * count if len(offsets) == 1 else offsets
  for i, start in zip(range(axis, blob.ndim), starts, strict=True):
    blob = jax.lax.slice_in_dim(blob, start, start + size[i], axis=i)
  return from_caffe(blob)


def to_caffe(x: Array) -> Array:
  """[h, w, c] -> [c, h, w]; anything else stays."""
  return jnp.moveaxis(x, -1, 0) if x.ndim == 3 else x


def from_caffe(x: Array) -> Array:
  """[c, h, w] -> [h, w, c]; anything else stays."""
  return jnp.moveaxis(x, 0, -1) if x.ndim == 3 else x


def _pooling(
  row: Row, x: Array
) -> tuple[pooling.Pair, pooling.Pair, list[pooling.Pair]]:
  """Kernel, stride, padding; with option 'whole' one window over the map."""
  if row.option('whole', False):
    h, w, _ = x.shape
    return (h, w), (1, 1), [(0, 0), (0, 0)]
  return row.kernel, row.stride, _padding(row)


def _padding(row: Row) -> list[tuple[int, int]]:
  """(before, after) of each axis."""
  return list(zip(row.pad, row.option('end', row.pad), strict=True))


def _given(weights: Array | None, second: Array | None) -> Array:
  """The weights of a layer, or its second input, as Caffe orders the axes."""
  if weights is not None:
    return weights
  assert second is not None  # a layer of one input has weights
  return to_caffe(second)


def _axis(row: Row, x: Array) -> int:
  """Our axis for Caffe's: of [1, c, h, w], or of [1, c]."""
  axis = _counted(row.option('axis', 1), x)
  return (axis - 1) % 3 if x.ndim == 3 else axis


def _counted(axis: int, blob: Array) -> int:
  """The axis of a blob [c, h, w] or [c] for Caffe's of [1, c, h, w]."""
  count = blob.ndim + 1
  if not 1 <= axis % count < count or not -count <= axis < count:
    raise UserError(
      f'axis {axis} is none of one image, expected 1 to {blob.ndim}, or -1 to '
      f'-{blob.ndim}'
    )
  return axis % count - 1


def _along(weights: Array, x: Array, axis: int) -> Array:
  """Weights along Caffe's axes from `axis` on, to be spread over x."""
  blob = to_caffe(x)
  if weights.size == 1:
    weights = weights.reshape(())
    return jnp.broadcast_to(weights, x.shape)
  axis = _counted(axis, x) if axis else 0  # 0: from Caffe's batch on
  after = blob.ndim - axis - weights.ndim
  shape = (1,) * axis + weights.shape + (1,) * after
  return from_caffe(jnp.broadcast_to(weights.reshape(shape), blob.shape))
