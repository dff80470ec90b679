"""Arrays that differ between runs, by formula: start, mask, direction, data.

A factory returns a maker, (shape, seed) -> array, given the shape that is
wanted and the seed of the run. Makers are added and multiplied like terms:

  config.direction = 'one_hot(3) - 0.5 * one_hot(7)'
  config.start = 'legacy_normal(model, 10.)'

Images are in grey levels, 0-255, whatever the range of the model.
"""

from collections.abc import Callable

import numpy as np

from vizjax import core
from vizjax.errors import UserError
from vizjax.models import means
from vizjax.photographs import files
from vizjax.photographs import images

Maker = Callable[[tuple[int, ...], int], np.ndarray]


def npy(path: str) -> Maker:
  """The array of a .npy file, of the wanted shape.

  Raises:
    OSError: it cannot be read.
    UserError: it is not such a file, or its shape does not fit.
  """
  array = means.load_npy(path)

  def make(shape, seed):
    del seed
    if array.shape != shape:
      raise UserError(f'{path!r} holds {array.shape}, expected {shape}')
    return array

  return make


def one_hot(channel: int) -> Maker:
  """1 in one channel, 0 elsewhere."""

  def make(shape, seed):
    del seed
    if not 0 <= channel < shape[-1]:
      raise UserError(
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
      raise UserError(
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
      raise UserError(
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
      raise UserError(
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
      raise UserError(
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


def photograph(source: files.Source) -> Maker:
  """A photograph, resized to the wanted shape; grey for one channel.

  Args:
    source: an image file, or an array [h, w, c] of 0-255.
  """
  image = files.single(source).image

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


def _mean(model: core.Model) -> np.ndarray:
  """The mean of a network in grey levels."""
  return np.asarray(core.in_grey_levels(model).mean)
