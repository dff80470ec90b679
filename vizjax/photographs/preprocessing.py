"""How a network wants its photographs: resized, and cut at the centre.

  how = preprocessing.own(models.load('efficientnet_lite0'), (224, 224))
  pixels = preprocessing.apply(how, image, (224, 224))

The mean is no part of it: a `core.Model` subtracts its own.
"""

from typing import NamedTuple

from jaxtyping import Float32, UInt8
import numpy as np
from PIL import Image

from vizjax import core
from vizjax.errors import UserError
from vizjax.photographs import datasets

FILTERS = {
  'bilinear': Image.Resampling.BILINEAR,
  'bicubic': Image.Resampling.BICUBIC,
}
EXAMPLE = 'short:256:bilinear or warp:256:bicubic'

# Bytes of the photographs of a batch, 7,000 of 224 x 224: the next batch is
# read meanwhile, and the activations take more than the photographs.
ROOM = 2**30


# A strip would be scaled to a great many pixels; no photograph is one.
LONGEST = 100  # times the shorter side
LARGEST = 4096  # pixels of a side that photographs are scaled to


class Preprocessing(NamedTuple):
  """Resize, then take the centre."""

  size: int  # pixels, of the shorter side, or of both if warped
  warp: bool  # to a square, whatever the shape was
  filter: str  # of Pillow: 'bilinear' or 'bicubic', smoothed where it shrinks

  def __str__(self) -> str:
    return f'{"warp" if self.warp else "short"}:{self.size}:{self.filter}'


# Caffe's: convert_imageset resizes to 256 x 256, data_transformer.cpp takes
# the centre, https://github.com/BVLC/caffe/blob/master/examples/imagenet.
# There OpenCV resizes, without the smoothing.
CAFFE = Preprocessing(256, True, 'bilinear')

# https://github.com/pytorch/vision/blob/main/references/classification,
# presets.py: the first weights of all its networks.
TORCHVISION = Preprocessing(256, False, 'bilinear')


def own(model: core.Model, shape: tuple[int, int]) -> Preprocessing:
  """Returns the preprocessing of a network, for an input of some size.

  Args:
    model: the network.
    shape: (h, w) of its input.

  Returns:
    `model.preprocessing`, or `default` where that is None. The preprocessing
    of a model is for inputs of 224 to 256 pixels. An input of another size is
    cut from an image in proportion: 256 for 227 if warped, else 256 for 224.

  Raises:
    UserError: `model.preprocessing` is of another type.
  """
  stated = model.preprocessing
  if stated is None:
    return default(shape)
  if not isinstance(stated, Preprocessing):
    raise UserError(
      f'preprocessing= of the network is {stated!r}, expected None or a '
      "Preprocessing: type preprocessing.parse('short:256:bilinear')"
    )
  return _at(stated, shape)


def _at(stated: Preprocessing, shape: tuple[int, int]) -> Preprocessing:
  """A preprocessing for networks of about 224 pixels, for an input (h, w)."""
  longer = max(shape)
  if 224 <= longer <= stated.size:
    return stated
  margin = stated.size / (227 if stated.warp else 224)
  return stated._replace(size=round(longer * margin))


def default(shape: tuple[int, int]) -> Preprocessing:
  """256 pixels for an input of 224, and in proportion; bilinear."""
  return Preprocessing(round(max(shape) * 256 / 224), False, 'bilinear')


def prepared(
  preprocessing: Preprocessing,
  example: datasets.Example,
  shape: tuple[int, int],
) -> datasets.Example:
  """An example as the network wants it: its image is uint8 [k, l, 3].

  Raises:
    UserError: its image is a strip.
  """
  h, w = example.image.shape[:2]
  if max(h, w) > LONGEST * min(h, w):
    raise UserError(
      f'{example.id!r} is {w} x {h} pixels, expected a side at most {LONGEST} '
      'times the other'
    )
  image = apply(preprocessing, example.image, shape)
  return example._replace(image=image.astype(np.uint8))  # whole numbers


def told(preprocessing: Preprocessing, shape: tuple[int, int]) -> str:
  """How photographs are prepared for an input (h, w), for a progress line."""
  return f'{preprocessing}, of which the middle {shape[0]}x{shape[1]} is seen'


def parse(text: str) -> Preprocessing:
  """A preprocessing as it is typed: 'warp:256:bilinear', 'short:256:bicubic'.

  Raises:
    UserError: it is not of that form.
  """
  how, size, name = text.split(':') if text.count(':') == 2 else ('', '', '')
  whole = size.isdecimal() and 0 < int(size) <= LARGEST
  if how not in ('warp', 'short') or not whole or name not in FILTERS:
    raise UserError(
      f'the preprocessing {text!r} cannot be read: expected warp or short, '
      f'the pixels of a side, 1 to {LARGEST}, and one of '
      f'{", ".join(FILTERS)}: type {EXAMPLE}'
    )
  return Preprocessing(int(size), how == 'warp', name)


def apply(
  preprocessing: Preprocessing,
  image: UInt8[np.ndarray, 'h w 3'],
  shape: tuple[int, int],
) -> Float32[np.ndarray, 'k l 3']:
  """A photograph as the network wants it.

  Args:
    preprocessing: how.
    image: [h, w, 3], RGB, 0-255.
    shape: (k, l) of the network's input.

  Returns:
    [k, l, 3], RGB, whole numbers 0-255. The long side is rounded down, and
    where the margins cannot be equal the upper and the left one are smaller.

  Raises:
    UserError: the network's input is larger than what it is cut from.
  """
  check(preprocessing, shape)
  whole = resized(preprocessing, image)
  sizes = whole.size[::-1]
  top, left = ((a - b) // 2 for a, b in zip(sizes, shape, strict=True))
  box = (left, top, left + shape[1], top + shape[0])
  return np.asarray(whole.crop(box), np.float32)


def together(asked: int, count: int, shape: tuple[int, int]) -> int:
  """How many photographs are computed at a time: no more than there are.

  Args:
    asked: the batch, as typed.
    count: of photographs.
    shape: (h, w) of the network's input.

  Raises:
    UserError: a batch takes more than `ROOM` bytes: what to type.
  """
  batch = max(1, min(asked, count))
  size = 3 * shape[0] * shape[1]
  if batch * size > ROOM and batch > 1:
    raise UserError(
      f'--batch={asked}: {batch} photographs of {shape[0]} x {shape[1]} take '
      f'{batch * size / 2**30:.1f} GiB, expected at most {ROOM / 2**30:g}: '
      f'type --batch={max(1, ROOM // size)} or less'
    )
  return batch


def resized(
  preprocessing: Preprocessing, image: UInt8[np.ndarray, 'h w 3']
) -> Image.Image:
  """A photograph before it is cut; the long side is rounded down."""
  h, w = image.shape[:2]
  size, short = preprocessing.size, min(h, w)
  # In whole numbers, as torchvision has it: int(256 * long / short).
  sizes = (
    (size, size)
    if preprocessing.warp
    else (size * h // short, size * w // short)
  )
  return Image.fromarray(image).resize(
    sizes[::-1], FILTERS[preprocessing.filter]
  )


def check(preprocessing: Preprocessing, shape: tuple[int, int]) -> None:
  """Refuses a resized photograph that can be smaller than the input (h, w).

  Raises:
    UserError: that is so: what to type.
  """
  if preprocessing.size < max(shape):
    raise UserError(
      f'the preprocessing {preprocessing} leaves {preprocessing.size} pixels, '
      f'expected at least {max(shape)} for an input of '
      f'{shape[0]} x {shape[1]}: type --preprocessing={default(shape)}'
    )
