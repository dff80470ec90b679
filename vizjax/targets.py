"""Arrays that differ between runs, by formula: start, mask, direction, data.

A factory returns a maker, (shape, seed) -> array, given the shape that is
wanted and the seed of the run. Makers are added and multiplied like terms:

  config.direction = 'one_hot(3) - 0.5 * one_hot(7)'
  config.start = 'legacy_normal(model, 10.)'

Images are in grey levels, 0-255, whatever the range of the model.
"""

from collections.abc import Callable
import warnings

import numpy as np

from vizjax import core
from vizjax import images
from vizjax import npy_files
from vizjax.models import files

Maker = Callable[[tuple[int, ...], int], np.ndarray]

_OF_MEANS = (
  '.npy', '.binaryproto', '.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff',
)  # fmt: skip


def npy(path: str) -> Maker:
  """The array of a .npy file, of the wanted shape.

  Raises:
    OSError: it cannot be read.
    ValueError: it is not such a file, or its shape does not fit.
  """
  array = load_npy(path)

  def make(shape, seed):
    del seed
    if array.shape != shape:
      raise ValueError(f'{path!r} holds {array.shape}, expected {shape}')
    return array

  return make


def one_hot(channel: int) -> Maker:
  """1 in one channel, 0 elsewhere."""

  def make(shape, seed):
    del seed
    if not 0 <= channel < shape[-1]:
      raise ValueError(
        f'one_hot({channel}): expected a channel from 0 to {shape[-1] - 1}'
      )
    array = np.zeros(shape)
    array[..., channel] = 1
    return array

  return make


def unit(channel: int, y: int = 0, x: int = 0) -> Maker:
  """1 in one unit, 0 elsewhere: 'unit(3, 6, 6) - 0.5 * unit(7, 6, 6)'."""

  def make(shape, seed):
    del seed
    index = (channel,) if len(shape) == 1 else (y, x, channel)
    if any(not 0 <= i < n for i, n in zip(index, shape, strict=True)):
      raise ValueError(
        f'unit({channel}, {y}, {x}): expected channel, row and column of a '
        f'layer of shape {shape}'
      )
    array = np.zeros(shape)
    array[index] = 1
    return array

  return make


def window(top: int, left: int, height: int, width: int) -> Maker:
  """1 in a part of the map, 0 elsewhere: 'one_hot(3) * window(0, 0, 4, 4)'."""

  def make(shape, seed):
    del seed
    array = np.zeros(shape)
    part = array[top : top + height, left : left + width]
    if min(top, left) < 0 or part.shape[:2] != (height, width) or not part.size:
      raise ValueError(
        f'window({top}, {left}, {height}, {width}): expected a part of a map '
        f'of shape {shape}'
      )
    part[...] = 1
    return array

  return make


def central(size: int) -> Maker:
  """1 in the middle size x size positions of the map, 0 elsewhere."""

  def make(shape, seed):
    if len(shape) != 3 or not 1 <= size <= min(shape[:2]):
      raise ValueError(
        f'central({size}): expected a size that fits a map of shape {shape}'
      )
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    return window(top, left, size, size)(shape, seed)

  return make


def channels(first: int, last: int) -> Maker:
  """1 in the channels from the first to before the last, 0 elsewhere."""

  def make(shape, seed):
    del seed
    if not 0 <= first < last <= shape[-1]:
      raise ValueError(
        f'channels({first}, {last}): expected a range of 0 to {shape[-1]}'
      )
    array = np.zeros(shape)
    array[..., first:last] = 1
    return array

  return make


def noise_of_norm(
  model: core.Model, norm: core.Number, count: int = 1
) -> Maker:
  """The mean plus N(0, 1) scaled to the Euclidean norm `norm` / sqrt(count).

  Mahendran and Vedaldi 2015 scale the noise of `count` images together.
  NumPy's RandomState(seed) over [h, w, c].
  """

  def make(shape, seed):
    noise = np.random.RandomState(seed).normal(size=shape)
    scale = norm / np.sqrt(count) / np.linalg.norm(noise)
    return _mean(model) + scale * noise

  return make


def photograph(path: str) -> Maker:
  """An image file, resized to the wanted shape; grey for one channel."""
  image = images.read(path)

  def make(shape, seed):
    del seed
    return images.resize(images.channels(image, shape[-1]), shape[:2])

  return make


def legacy_normal(model: core.Model, std: core.Number) -> Maker:
  """The mean plus N(0, std), drawn as the Caffe programs draw it.

  NumPy's RandomState(seed).normal over [c, h, w] in BGR order: the
  `mean_plus_rand` start of Yosinski et al. 2015, to the digit.
  """

  def make(shape, seed):
    h, w, c = shape
    noise = np.random.RandomState(seed).normal(0, std, (c, h, w))
    return _mean(model) + noise[::-1].transpose(1, 2, 0)

  return make


def legacy_uniform(model: core.Model) -> Maker:
  """Even noise from 0 to 255: the `randu` start of Yosinski et al. 2015."""
  del model

  def make(shape, seed):
    h, w, c = shape
    noise = np.random.RandomState(seed).uniform(0, 255, (c, h, w))
    return noise[::-1].transpose(1, 2, 0)

  return make


def mean_image(model: core.Model) -> Maker:
  """The mean of the network: the `mean` start of Yosinski et al. 2015."""
  return lambda shape, seed: np.broadcast_to(_mean(model), shape)


def constant(value: core.Number) -> Maker:
  """One number everywhere: constant(0) is a black image."""
  return lambda shape, seed: np.full(shape, float(value))


def legacy_integers(before: int = 1) -> Maker:
  """Even noise of whole numbers 0 to 255, [h, w, c]: the start of cnnpref.

  NumPy's RandomState(seed).randint(0, 256) after so many other images;
  cnnpref draws one before, whose norm is `legacy_norm`.
  """

  def make(shape, seed):
    draw = np.random.RandomState(seed)
    for _ in range(before):
      draw.randint(0, 256, shape)
    return draw.randint(0, 256, shape).astype(float)

  return make


def legacy_norm() -> Maker:
  """Half the Euclidean norm of the first image that RandomState(seed) draws.

  cnnpref measures the norms of its images by it.
  """

  def make(shape, seed):
    noise = np.random.RandomState(seed).randint(0, 256, shape)
    return np.array(np.linalg.norm(noise.astype(float)) / 2)

  return make


def legacy_shifts(reach: int, steps: int, before: int = 2) -> Maker:
  """[steps, 2] shifts of -reach to reach: right, then down.

  NumPy's RandomState(seed).randint after so many images, as cnnpref draws
  them: one image for its norm and one to start from.
  """

  def make(shape, seed):
    draw = np.random.RandomState(seed)
    for _ in range(before):
      draw.randint(0, 256, shape)
    pairs = [draw.randint(-reach, reach + 1, 2) for _ in range(steps)]
    return np.array(pairs, np.int32)

  return make


def load_npy(path: str) -> np.ndarray:
  """The array of numbers in a .npy file.

  Raises:
    OSError: it cannot be read.
    ValueError: it is not an array of numbers.
  """
  with files.opened(path) as file:
    content = file.read()
  try:
    array = npy_files.read(content)
  except ValueError as error:
    raise ValueError(
      f'{path!r} is not a .npy file of real numbers: {error}'
    ) from None
  if not np.isfinite(array).all():
    raise ValueError(f'{path!r} holds numbers that are not finite')
  return array


def mean(text: str, shape: tuple[int, int, int]) -> np.ndarray:
  """The mean of a network, by config.mean.

  Args:
    text: numbers, one for each channel, as '123,117,104'; or a file: a .npy
      of [h, w, c], or of [c, h, w], [1, c, h, w] or [c] in Caffe's order
      (BGR); a .binaryproto of Caffe; or an image. Of a larger mean image the
      middle is taken.
    shape: (h, w, c) of the image.

  Returns:
    [c], or [h, w, c].

  Raises:
    OSError: the file cannot be read.
    ValueError: it holds another shape, or the numbers are not c.
  """
  h, w, c = shape
  if not text.lower().endswith(_OF_MEANS):
    return _mean_color(text, c)
  image, held = _mean_image(text, c)
  if image is not None and image.shape[:2] == (1, 1):
    return image[0, 0]
  if image is None or min(np.subtract(image.shape, shape)) < 0:
    color = [118] * c if image is None else image.mean((0, 1)).tolist()
    numbers = ','.join(f'{number:.6g}' for number in color)
    raise ValueError(
      f'config.mean: {text!r} holds {held}, expected at least {shape}, or '
      f'{(c, h, w)} as Caffe has it: type another file, or one number for each '
      f'channel, as --config.mean={numbers}'
    )
  # Caffe's programs cut the middle, rounding down.
  top, left = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
  return image[top : top + h, left : left + w]


def _mean(model: core.Model) -> np.ndarray:
  """The mean of a network in grey levels."""
  return np.asarray(core.in_grey_levels(model).mean)


def _mean_color(text: str, c: int) -> np.ndarray:
  """The numbers of '123,117,104', [c]."""
  try:
    values = np.array([float(number) for number in text.split(',')])
  except ValueError:
    values = np.empty(0)
  if len(values) != c or not np.isfinite(values).all():
    raise ValueError(
      f'config.mean is {text!r}, expected {c} numbers, as '
      f'{",".join(["118"] * c)}, or a file that ends with '
      f'{", ".join(_OF_MEANS)}'
    )
  return values


def _mean_image(path: str, c: int) -> tuple[np.ndarray | None, tuple[int, ...]]:
  """A mean image [h, w, c], or None if it is not one; the shape in the file."""
  if path.lower().endswith('.binaryproto'):
    from vizjax.models import caffe  # which reads means by this module

    array = caffe.read_mean(path)
  elif path.lower().endswith('.npy'):
    array = load_npy(path)
  else:
    array = images.channels(images.read(path), c)
  held = array.shape
  if array.ndim == 4 and len(array) == 1:
    array = array[0]
  if array.ndim == 1:
    array = array[:, None, None]
  if array.ndim == 2 and c == 1:
    array = array[..., None]
  if array.ndim == 3 and array.shape[0] == c and array.shape[2] != c:
    # Only the three of a colour image are in another order there.
    array = (array[::-1] if c == 3 else array).transpose(1, 2, 0)
    if c == 3 and len(held) == 1:
      red, green, blue = array[0, 0].tolist()
      warnings.warn(
        f'config.mean: {path!r} holds 3 numbers, taken as blue, green, red, as '
        f'Caffe has them: if they are red, green, blue, type '
        f'--config.mean={blue:g},{green:g},{red:g}',
        stacklevel=2,
      )
  return (array if array.ndim == 3 and array.shape[2] == c else None), held
