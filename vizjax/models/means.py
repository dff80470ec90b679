"""The mean that is subtracted from images: numbers, or a file of Caffe's."""

import warnings

import numpy as np

from vizjax import files
from vizjax.errors import UserError
from vizjax.models.formats import caffemodel
from vizjax.models.formats import npy
from vizjax.photographs import images

_MEAN_FILES = (
  '.npy', '.binaryproto', '.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff',
)  # fmt: skip


def load_npy(path: str) -> np.ndarray:
  """The array of numbers in a .npy file.

  Raises:
    OSError: it cannot be read.
    UserError: it is not an array of numbers.
  """
  with files.opened(path) as file:
    content = file.read()
  try:
    array = npy.read(content)
  except ValueError as error:  # UserError, or NumPy's of an array too large
    raise UserError(
      f'{path!r} is not a .npy file of real numbers: {error}'
    ) from None
  if not np.isfinite(array).all():
    raise UserError(f'{path!r} holds numbers that are not finite')
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
    UserError: it holds another shape, or the numbers are not c.
  """
  h, w, c = shape
  if not text.lower().endswith(_MEAN_FILES):
    return _mean_color(text, c)
  image, held = _mean_image(text, c)
  if image is not None and image.shape[:2] == (1, 1):
    return image[0, 0]
  if image is None or min(np.subtract(image.shape, shape)) < 0:
    color = [118] * c if image is None else image.mean((0, 1)).tolist()
    numbers = ','.join(f'{number:.6g}' for number in color)
    raise UserError(
      f'config.mean: {text!r} holds {held}, expected at least {shape}, or '
      f'{(c, h, w)} as Caffe has it: type another file, or one number for each '
      f'channel, as --config.mean={numbers}'
    )
  # Caffe's programs cut the middle, rounding down.
  top, left = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
  return image[top : top + h, left : left + w]


def _mean_color(text: str, c: int) -> np.ndarray:
  """The numbers of '123,117,104', [c]."""
  try:
    values = np.array([float(number) for number in text.split(',')])
  except ValueError:
    values = np.empty(0)
  if len(values) != c or not np.isfinite(values).all():
    raise UserError(
      f'config.mean is {text!r}, expected {c} numbers, as '
      f'{",".join(["118"] * c)}, or a file that ends with '
      f'{", ".join(_MEAN_FILES)}'
    )
  return values


def _mean_image(path: str, c: int) -> tuple[np.ndarray | None, tuple[int, ...]]:
  """A mean image [h, w, c], or None if it is not one; the shape in the file."""
  if path.lower().endswith('.binaryproto'):
    array = caffemodel.read_mean(path)
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
