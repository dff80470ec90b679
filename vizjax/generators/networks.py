"""Generators: upconvolutional networks that make a picture of a code.

  table = networks.table((13, 13, 256), (224, 224), (256, 128, 64, 32))
  params = networks.init(jax.random.key(0), table, (13, 13, 256))
  model = networks.trained('DIR')     # what vizjax train_generator made

The code is the network's `image` [h, w, c], the activation of a layer of
another network, the encoder; that of a fully connected layer is [1, 1, c].
The picture is the last layer [H, W, 3], RGB less the encoder's mean. It is at
least as large as the encoder's input, which is the centre of it.

Source: Dosovitskiy and Brox 2016, "Generating images with perceptual
similarity metrics based on deep networks", https://arxiv.org/abs/1602.02644,
whose own networks are in `vizjax.models.networks.deepsim`.
"""

from collections.abc import Mapping, Sequence
import functools
import json
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
import numpy as np

from vizjax import core
from vizjax import errors
from vizjax import files
from vizjax.errors import UserError
from vizjax.models.formats import arrays
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import operators
from vizjax.models.interpreter import tables
from vizjax.models.networks import deepsim

FILE = 'generator.npz'
COMMAND = (
  'vizjax train_generator --config=generator --config.data=IMAGES --workdir=DIR'
)

# Grey levels that an output of 1 stands for, so that weights of the usual
# size make a picture: about the standard deviation of photographs.
LEVELS = 60.0

_ABOUT = 'generator'  # in the file, beside the layers
_FORMAT = 1
_SMALLEST = 4  # rows of the map that a vector becomes: deepsim's reshape


def table(
  code: tuple[int, int, int],
  size: tuple[int, int],
  widths: Sequence[core.Number],
  deviation: core.Number = 1.0,
) -> tables.Table:
  """The layers of a generator.

  A map is first brought to the image's size over a power of two, rounded up,
  by a convolution of 3 or 4 in either direction; a vector becomes a map by
  two fully connected layers. Then each deconvolution doubles the size. As in
  deepsim, all but the last are followed by a leaky rectifier.

  Args:
    code: (h, w, c); (1, 1, c) for a vector.
    size: (h, w) of the encoder's input.
    widths: channels at each size, the last for half the image's, the one
      before it for a quarter, and so on; the first is for all that are
      smaller still.
    deviation: what the code is divided by.

  Raises:
    UserError: the map is of no such size, or the widths are no widths.
  """
  if not widths or not all(errors.is_whole(width, 1) for width in widths):
    raise UserError(
      f'the widths are {tuple(widths)}, expected whole numbers >= 1, as '
      '256,128,64,32'
    )
  vector = code[:2] == (1, 1)
  doublings = _doublings_of_vector(size) if vector else _doublings(code, size)
  start = _sizes(size, doublings)
  # The one of half the size comes last; without doublings, of the full one.
  count = max(doublings, 1)
  channels = [widths[max(len(widths) - count + i, 0)] for i in range(count)]
  rows = [_power('scaled', 1 / deviation)]
  if vector:
    features = math.prod(start) * channels[0]
    rows += _rectified(tables.fc('fc', features))
    rows += _rectified(tables.fc('map', features))
    options = (('shape', (channels[0], *start)),)
    rows.append(tables.Layer('reshape', 'reshape', options=options))
  else:
    rows += _rectified(_fitting(code, start, channels[0]))
  for i in range(doublings - 1):
    name = f'deconv{doublings - 1 - i}'
    rows += _rectified(tables.deconv(name, channels[i + 1], 4, 2, pad=1))
  if doublings:
    rows.append(tables.deconv('deconv0', 3, 4, 2, pad=1))
  else:
    rows.append(tables.conv('conv0', 3, 3, pad=1))
  return tables.sequence(*rows, _power('picture', LEVELS))


@functools.partial(jax.jit, static_argnames=('table', 'code'))
def init(
  key: Key[Array, ''], table: tables.Table, code: tuple[int, int, int]
) -> dict[str, dict[str, Array]]:
  """The first weights of a generator: `drawn`.

  Args:
    key: of the draw.
    table: from `table`.
    code: (h, w, c) of the code.

  Returns:
    {layer: {'kernel': [h, w, in, out] or [in, out], 'bias': [out]}}.
  """
  _, shapes = layers.shapes(table, code)
  rectified = {row.inputs[0] for row in table if row.kind == 'relu'}
  kernels = {}
  for row in table:
    if row.name in shapes:
      shape = shapes[row.name]['kernel'].shape
      # Of a deconvolution's taps, one in stride meets a pixel of its output.
      met = math.prod(row.stride) if row.kind == 'deconv' else 1
      kernels[row.name] = shape, met, row.name in rectified
  return drawn(key, kernels)


def drawn(
  key: Key[Array, ''],
  kernels: Mapping[str, tuple[tuple[int, ...], int, bool]],
) -> dict[str, dict[str, Array]]:
  """Weights that keep the variance of what passes; biases are 0.

  He et al. 2015, equations 14 and 15, https://arxiv.org/abs/1502.01852.

  Args:
    key: of one draw for all: a draw is what XLA compiles the longest.
    kernels: of each layer the shape [..., out], how many outputs share a
      kernel's inputs, and whether a leaky rectifier follows.
  """
  sizes = [math.prod(shape) for shape, _, _ in kernels.values()]
  numbers = jax.random.normal(key, (sum(sizes),))
  params, start = {}, 0
  for size, (name, kernel) in zip(sizes, kernels.items(), strict=True):
    shape, shared, rectified = kernel
    gain = 2 / (1 + deepsim.SLOPE**2) if rectified else 1
    deviation = math.sqrt(gain * shared / math.prod(shape[:-1]))
    part = numbers[start : start + size].reshape(shape)
    bias = jnp.zeros(shape[-1])
    params[name] = {'kernel': deviation * part, 'bias': bias}
    start += size
  return params


def picture(
  table: tables.Table,
  params: Mapping[str, Mapping[str, Array]],
  code: Float[Array, 'h w c'],
) -> Float[Array, 'H W 3']:
  """The last layer of `layers.Network`, computed so that it can be trained.

  Convolutions are products of matrices: XLA takes ten times as long on a CPU
  for the gradient of a dilated convolution by its kernel.

  Args:
    table: from `table`.
    params: from `init`.
    code: [h, w, c].

  Returns:
    [H, W, 3], RGB less the encoder's mean.
  """
  x = code
  for row in table:  # each reads the one before it
    operator = _PRODUCTS.get(row.kind) or getattr(operators, row.kind)
    x = operator(row, x, **params.get(row.name, {}))
  return x


def centre(
  picture: Float[Array, 'H W 3'], size: tuple[int, int]
) -> Float[Array, 'h w 3']:
  """The part (h, w) of a picture that the encoder sees."""
  top, left = ((a - b) // 2 for a, b in zip(picture.shape, size, strict=False))
  return picture[top : top + size[0], left : left + size[1]]


def write(
  path: files.Path,
  table: tables.Table,
  params: Mapping[str, Mapping[str, Any]],
  code: tuple[int, int, int],
  mean: Any,
  about: Mapping[str, Any],
) -> None:
  """Writes a generator for `trained`; the file appears complete.

  Args:
    path: ends in .npz.
    table: from `table`.
    params: {layer: {'kernel': ..., 'bias': ...}}.
    code: (h, w, c) of the code.
    mean: [c] or [h, w, c], RGB, 0-255: what the picture lacks.
    about: what else is to be known of it, as JSON has it.
  """
  rows = [row._asdict() for row in table]
  told = {**about, 'format': _FORMAT, 'code': code, 'table': rows}
  text = np.frombuffer(json.dumps(told).encode(), np.uint8)
  extra = {_ABOUT: {'description': text, 'mean': np.asarray(mean)}}
  arrays.write(path, {**params, **extra})


def trained(path: str) -> core.Model:
  """A generator that `vizjax train_generator` wrote.

  Args:
    path: its workdir, or the file generator.npz in it.

  Returns:
    A model of codes [h, w, c], with a mean of zero.

  Raises:
    UserError: there is none, or it is damaged: what to type.
  """
  return read(path)[0]


def read(path: str) -> tuple[core.Model, dict[str, Any]]:
  """The model of `trained`, and what `write` was told about it, and 'mean'.

  Raises:
    UserError: as `trained`.
  """
  file = pathlib.Path(path).expanduser()
  file = file / FILE if file.is_dir() else file
  if not file.is_file():
    raise UserError(
      f'{str(file)!r} is not there, expected a trained generator: give the '
      f'workdir of one, or type {COMMAND}'
    )
  params = arrays.read(file)
  extra = params.pop(_ABOUT, None)
  if not isinstance(extra, dict) or {*extra} != {'description', 'mean'}:
    raise UserError(
      f'{str(file)!r} holds no generator: give the workdir of one, or type '
      f'{COMMAND}'
    )
  with files.reading(file, 'generator'):
    about = json.loads(extra['description'].tobytes())
    if about.pop('format') != _FORMAT:
      raise UserError('it is of another version of vizjax')
    table = tuple(tables.Layer(**_tuples(row)) for row in about.pop('table'))
    code = _tuples(about['code'])
    mean = (0.0,) * code[2]
    model = layers.model(table, params, mean=mean, input_shape=code)
    last = layers.shapes(table, code)[0][table[-1].name].shape
    if len(last) != 3 or last[2] != 3:
      raise UserError(f'its last layer is {last}, expected a picture')
  return model, {**about, 'code': code, 'mean': extra['mean']}


def _doublings(code: tuple[int, int, int], size: tuple[int, int]) -> int:
  """How often a map is doubled, so that it has to change the least."""

  def change(doublings):
    start = _sizes(size, doublings)
    return max(abs(s - n) for s, n in zip(start, code[:2], strict=True))

  found = min(range(max(size).bit_length() + 1), key=change)
  if change(found) > 3:
    start = ' x '.join(map(str, _sizes(size, found)))
    raise UserError(
      f'the code is {code} for an input of {size[0]} x {size[1]}, expected a '
      f'map within 3 rows and columns of {start}, or a vector: take another '
      'layer'
    )
  return found


def _doublings_of_vector(size: tuple[int, int]) -> int:
  """As many as leave a map of at least 4 rows and columns."""
  found = 0
  while min(_sizes(size, found + 1)) >= _SMALLEST:
    found += 1
  return found


def _sizes(size: tuple[int, int], doublings: int) -> tuple[int, int]:
  h, w = (-(-n // 2**doublings) for n in size)
  return h, w


def _fitting(
  code: tuple[int, int, int], start: tuple[int, int], features: int
) -> tables.Layer:
  """The convolution that makes a map of one size from one of another."""
  changes = [s - n for s, n in zip(start, code[:2], strict=True)]
  # A kernel of k with padding p changes the size by 2 p + 1 - k.
  kernel = tuple(4 if change % 2 else 3 for change in changes)
  pad = tuple((d + k - 1) // 2 for d, k in zip(changes, kernel, strict=True))
  return tables.Layer('conv', 'conv', (), features, kernel, pad=pad)


def _rectified(row: tables.Layer) -> list[tables.Layer]:
  return [row, tables.relu(f'relu_{row.name}', deepsim.SLOPE)]


def _power(name: str, scale: core.Number) -> tables.Layer:
  return tables.Layer(name, 'power', options=(('scale', float(scale)),))


def _conv(row: tables.Layer, x: Array, kernel: Array, bias: Array) -> Array:
  """`operators.conv` of stride 1."""
  pad_y, pad_x = row.pad
  return _taps(x, kernel, pad_y, pad_x) + bias[None, None]


def _deconv(row: tables.Layer, x: Array, kernel: Array, bias: Array) -> Array:
  """`operators.deconv` of 4 x 4, stride 2 and padding 1.

  Each output sees 2 x 2 inputs, by other taps in even rows and columns than
  in odd ones: four convolutions, which are computed as one.
  """
  del row
  h, w, c = x.shape
  out = kernel.shape[3]
  taps = kernel.reshape(2, 2, 2, 2, c, out).transpose(0, 2, 4, 1, 3, 5)
  y = _taps(x, taps.reshape(2, 2, c, 4 * out), 1, 1)
  y = y.reshape(h + 1, w + 1, 2, 2, out)
  rows = [
    jnp.stack([y[i : i + h, j : j + w, i, j] for j in (0, 1)], 2)
    for i in (0, 1)
  ]
  y = jnp.stack(rows, 1).reshape(2 * h, 2 * w, out)
  return y + bias[None, None]


def _taps(x: Array, kernel: Array, pad_y: int, pad_x: int) -> Array:
  """A cross-correlation as one product: [h, w, taps in] @ [taps in, out]."""
  rows, columns, _, out = kernel.shape
  x = jnp.pad(x, ((pad_y, pad_y), (pad_x, pad_x), (0, 0)))
  h, w = x.shape[0] - rows + 1, x.shape[1] - columns + 1
  windows = [
    x[i : i + h, j : j + w] for i in range(rows) for j in range(columns)
  ]
  return jnp.concatenate(windows, -1) @ kernel.reshape(-1, out)


_PRODUCTS = {'conv': _conv, 'deconv': _deconv}


def _tuples(value: Any) -> Any:
  """What JSON made of nested tuples, as tuples again."""
  if isinstance(value, dict):
    return {name: _tuples(inner) for name, inner in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
