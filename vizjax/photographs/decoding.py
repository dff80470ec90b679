"""One reader of image files, for photographs and data sets alike.

  found = decoding.of_file('a.png')
  found.pixels                  # uint8 [h, w, 3], RGB
  found.notes                   # ("'a.png' has transparent pixels: ...",)

Grey is tripled. Transparent pixels are laid over white. A photograph is turned
as its EXIF orientation says. Of several frames the first is taken. Grey of
more than 8 bits is divided by the largest number of its depth (65535 for 16
bits, 4095 for a TIFF of 12); floating-point numbers have to lie between 0 and
1. Both are rounded to 8 bits, as Pillow reads colours of 16 bits. Colour
profiles are not applied.
"""

from collections.abc import Mapping
import io
import os
import stat
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL import ImageOps
from PIL import UnidentifiedImageError

from vizjax import errors
from vizjax.errors import UserError

# Numbers of the tags of TIFF 6.0.
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


class Decoded(NamedTuple):
  """An image."""

  pixels: np.ndarray  # uint8 [h, w, 3], RGB
  notes: tuple[str, ...]  # sentences that say what was lost or assumed


def of_file(path: str) -> Decoded:
  """The image in a file.

  Raises:
    UserError: the file is a folder, a pipe or the like, a link that leads
      nowhere, or no image that can be decoded.
    OSError: the file cannot be read.
  """
  check(path)
  with open(path, 'rb') as file:
    return of_content(file, path)


def check(path: str) -> None:
  """Refuses what is not a file, without reading it.

  Raises:
    UserError: a folder, a pipe or the like, or a link that leads nowhere.
    OSError: there is nothing of this name.
  """
  # To open a pipe would wait for someone who writes to it.
  if not stat.S_ISREG(_status(path).st_mode):
    kind = 'a folder' if os.path.isdir(path) else 'a pipe, socket or device'
    raise UserError(f'{path!r} is {kind}, expected an image file')


def of_content(file: io.BufferedIOBase, name: str) -> Decoded:
  """The image that an open file holds.

  Args:
    file: can be sought in.
    name: of the file, for messages.

  Raises:
    UserError: it cannot be decoded: its name, and why.
    OSError: the disk fails.
  """
  try:
    with Image.open(file) as image:
      pixels, notes = _rgb(image)
    return Decoded(pixels, tuple(f'{name!r} {note}' for note in notes))
  except UnidentifiedImageError:
    why = 'it begins like none, or is of a kind that Pillow does not know'
  except Image.DecompressionBombError:
    limit = 2 * Image.MAX_IMAGE_PIXELS
    raise UserError(
      f'{name!r} is too large, expected at most {limit} pixels: make it smaller'
    ) from None
  # A damaged file makes Pillow raise nearly anything.
  except Exception as error:
    if isinstance(error, OSError) and error.errno is not None:
      raise  # of the disk
    if errors.is_bug(error):
      raise
    why = one_line(error)
  raise UserError(
    f'{name!r} cannot be decoded, expected an image that Pillow reads: repair, '
    f'replace or remove it ({why})'
  )


def one_line(error: Exception) -> str:
  """The words of an exception, in one line of moderate length."""
  words = ' '.join(str(error).split()) or type(error).__name__
  return words if len(words) <= 200 else f'{words[:200]}...'


def _status(path: str) -> os.stat_result:
  """Returns the status of a path; refuses a link that leads nowhere."""
  try:
    return os.stat(path)
  except OSError as error:
    if not os.path.islink(path):
      raise
    raise UserError(
      f'{path!r} is a link that leads to no file ({error.strerror}): expected '
      'an image file'
    ) from None


def _rgb(image: Image.Image) -> tuple[np.ndarray, list[str]]:
  """uint8 [h, w, 3], and notes without the name of the file."""
  notes = []
  # Pillow removes the orientation tag of an image that it turned.
  tags = dict(image.tag_v2) if image.format == 'TIFF' else {}
  invisible = image.info.get('transparency')
  image = ImageOps.exif_transpose(image)
  if image.mode == 'F' or image.mode.startswith('I'):
    if image.mode == 'F':
      notes.append('has floating-point pixels: 0 to 1 become 0 to 255')
    numbers = np.asarray(image)
    alpha = np.full(numbers.shape, 255, np.uint8)
    if invisible is not None:  # the one level that is transparent
      alpha[numbers == invisible] = 0
    layers = np.stack([_eight_bits(numbers, tags), alpha], -1)
    image = Image.fromarray(layers, 'LA')
  if image.has_transparency_data:
    image = image.convert('RGBA')
    if image.getextrema()[3][0] < 255:
      notes.append('has transparent pixels: they are laid over white')
    white = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(white, image)
  return np.asarray(image.convert('RGB')), notes


def _eight_bits(numbers: np.ndarray, tags: Mapping[int, Any]) -> np.ndarray:
  """Levels of grey of another depth as uint8, by their share of the largest."""
  low, high = numbers.min(), numbers.max()
  if numbers.dtype.kind == 'f':
    if not 0 <= low <= high <= 1:  # NaN, too
      raise UserError(
        f'its pixels are floating-point numbers from {low:g} to {high:g}, '
        'expected 0 to 1'
      )
    largest = 1
  else:
    # Pillow has PNG, PGM and JPEG 2000 as 16 bits, whatever depth they state.
    bits = tags.get(_BITS, (16,))[0]
    largest = 2 ** min(bits, 16) - 1
    if bits > 16 or not 0 <= low <= high <= largest:
      raise UserError(
        f'its pixels are whole numbers from {low} to {high}, expected 0 to '
        '65535 in 16 bits'
      )
  share = numbers / np.float32(largest)
  if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
    share = 1 - share
  return np.rint(255 * share).astype(np.uint8)
