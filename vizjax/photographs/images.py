"""Images on disk and for display: RGB, 0-255, [h, w, 3].

A network of one channel sees photographs in grey: `channels`.
"""

from collections.abc import Sequence
import math
import os
import pathlib
import warnings

from jax.typing import ArrayLike
import numpy as np
from PIL import Image
from PIL import ImageDraw

from vizjax import files
from vizjax.errors import UserError
from vizjax.photographs import decoding

_GAP = 2  # pixels between the channels of one image


def read(path: str) -> np.ndarray:
  """An image file as float32 [h, w, 3], as `decoding.of_file` reads it.

  Warns of transparent pixels, and of floating-point ones.

  Raises:
    OSError: the file cannot be read.
    UserError: the file is not an image.
  """
  found = decoding.of_file(os.path.expanduser(path))
  for note in found.notes:
    warnings.warn(note, stacklevel=2)
  return np.asarray(found.pixels, np.float32)


def of_array(array: ArrayLike) -> np.ndarray:
  """Returns an array of a caller as a photograph: float32 [h, w, c] of 0-255.

  Args:
    array: [h, w, c], or [h, w], grey.

  Raises:
    UserError: the array has another shape or dtype, or other numbers.
  """
  image = np.asarray(array)
  image = image[..., None] if image.ndim == 2 else image
  if image.ndim != 3 or 0 in image.shape or image.dtype.kind not in 'iuf':
    raise UserError(
      f'a photograph is {image.dtype} {np.shape(array)}, expected numbers of '
      '0-255 [h, w, c], or the name of a file'
    )
  low, high = image.min(), image.max()
  fractions = image.dtype.kind == 'f' and 0 < high <= 1
  if fractions or not (low >= 0 and high <= 255):
    advice = '255 * photograph' if fractions else 'np.clip(photograph, 0, 255)'
    raise UserError(
      f'a photograph has numbers from {low:g} to {high:g}, expected 0 to 255: '
      f'type {advice}'
    )
  return np.asarray(image, np.float32)


def channels(image: np.ndarray, count: int) -> np.ndarray:
  """A photograph [h, w, 3] for a network of so many channels: [h, w, count].

  One channel is the luma of ITU-R BT.601, as OpenCV, Caffe and Pillow have it:
  whole numbers, those of Pillow's mode L.

  Args:
    image: RGB, whole numbers 0-255; or [h, w, 1], grey; or [h, w, count],
      returned as it is.
    count: channels of the network.

  Raises:
    UserError: the network takes neither colour nor grey, or the photograph has
      neither.
  """
  if count == image.shape[-1]:
    return image
  if (image.shape[-1], count) == (1, 3):
    return np.repeat(image, 3, -1)
  if image.shape[-1] != 3:
    raise UserError(
      f'a photograph is {image.shape}, expected [h, w, 3], RGB, [h, w, 1], '
      f'grey, or [h, w, {count}], as the network takes it'
    )
  if count != 1:
    raise UserError(
      f'a photograph has red, green and blue, but the network takes {count} '
      'channels: expected a network of 3, or of 1, for which it becomes grey'
    )
  luma = Image.fromarray(to_uint8(image)).convert('L')
  return np.asarray(luma)[..., None].astype(image.dtype)


def write(path: str | os.PathLike, image: np.ndarray, **options: int) -> None:
  """Writes an image, clipped to 0-255 and rounded.

  The file appears whole or not at all. Its ending names the format.

  Args:
    path: of the file; its folder is there.
    image: [h, w, 3], RGB; or [h, w, 4] with alpha.
    options: of Pillow's writer of the format, as quality=95 of a JPEG.

  Raises:
    UserError: Pillow writes no format of this ending.
    FileNotFoundError: the folder of the path is missing.
  """
  path = pathlib.Path(path)
  form = Image.registered_extensions().get(path.suffix.lower())
  if form not in Image.SAVE:
    raise UserError(
      f'{str(path)!r} has the ending {path.suffix!r}, expected that of an '
      'image, as .png or .jpg'
    )
  with files.replacing(path) as partial:
    Image.fromarray(to_uint8(image)).save(partial, form, **options)


def rgb(image: np.ndarray) -> np.ndarray:
  """An image [h, w, c] in 0-255 for people: [h, w', 3].

  Three channels are red, green and blue. Of any other number, each is a grey
  image; they stand side by side from the first, white pixels between them.
  """
  if image.shape[-1] == 3:
    return image
  channels = [
    np.pad(channel, ((0, 0), (0, _GAP)), constant_values=255)
    for channel in np.moveaxis(image, -1, 0)
  ]
  grey = np.concatenate(channels, 1)[:, :-_GAP]  # [h, w, c] -> [h, c w + gaps]
  return np.stack([grey] * 3, -1)


def to_uint8(image: np.ndarray) -> np.ndarray:
  """0-255, clipped and rounded; NaN is black."""
  return np.rint(np.clip(np.nan_to_num(image), 0, 255)).astype(np.uint8)


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Bilinear to (h, w), smoothed where it shrinks; float32, not rounded."""
  h, w = shape
  channels = [
    Image.fromarray(channel).resize((w, h), Image.Resampling.BILINEAR)
    for channel in np.moveaxis(np.asarray(image, np.float32), -1, 0)
  ]
  return np.stack([np.asarray(channel) for channel in channels], -1)


def stretch(image: np.ndarray, percent: float | int) -> np.ndarray:
  """Contrast for display: so many percent at either end become 0 and 255.

  Args:
    image: [h, w, c], any range.
    percent: of all values; 0 leaves the image as it is.
  """
  if percent == 0 or not np.isfinite(image).all():
    return image
  low, high = np.percentile(image, [percent, 100 - percent])
  return (image - low) * (255 / max(high - low, 1e-6))


def contact_sheet(
  images: Sequence[np.ndarray],
  labels: Sequence[str],
  *,
  columns: int | None = None,
  gap: int = 4,
) -> np.ndarray:
  """All images on one sheet, row by row, each over its label.

  Args:
    images: n of [h, w, 3]; the largest gives the cell.
    labels: n short strings.
    columns: cells in a row; as many as rows unless given.
    gap: white pixels between cells.

  Returns:
    The sheet, uint8 [H, W, 3].
  """
  if columns is None:
    columns = math.ceil(math.sqrt(len(images)))
  columns = min(columns, len(images))
  rows = math.ceil(len(images) / columns)
  cell_h = max(len(image) for image in images) + 12  # and a line of text
  cell_w = max(image.shape[1] for image in images)
  size = (columns * (cell_w + gap) + gap, rows * (cell_h + gap) + gap)
  sheet = Image.new('RGB', size, 'white')
  draw = ImageDraw.Draw(sheet)
  for i, (image, label) in enumerate(zip(images, labels, strict=True)):
    left = gap + i % columns * (cell_w + gap)
    top = gap + i // columns * (cell_h + gap)
    sheet.paste(Image.fromarray(to_uint8(image)), (left, top))
    draw.text((left, top + cell_h - 11), label, fill='black')
  return np.asarray(sheet)
