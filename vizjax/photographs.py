"""Photographs in files: one, several, all of a folder; and their sizes.

read('a.jpg')            read('a.jpg,b.jpg')            read('DIR/*.jpg')
"""

import glob
import math
import os
from typing import NamedTuple
import warnings

import numpy as np
from PIL import Image

from vizjax import images

Size = tuple[int, int]  # (h, w)


class Photograph(NamedTuple):
  """A photograph of its own size."""

  name: str  # of the file
  image: np.ndarray  # [H, W, 3], RGB, 0-255


def read(paths: str | None) -> tuple[Photograph, ...]:
  """The photographs of 'a.jpg,b.jpg' or 'DIR/*.jpg'.

  Args:
    paths: as above; None for none.

  Raises:
    OSError: one cannot be read.
    ValueError: one is no image, or there is none of that name.
  """
  if paths is None:
    return ()
  return tuple(map(_read, listed(paths)))


def listed(paths: str) -> tuple[str, ...]:
  """The files of 'a.jpg,b.jpg' or 'DIR/*.jpg'.

  What is no pattern is taken as it is, whether it is there or not.

  Raises:
    ValueError: nothing is named, or a pattern is the name of no file.
  """
  if not paths.strip():
    raise ValueError(
      f'the photograph is {paths!r}, expected a file: type '
      '--config.photograph=FILE'
    )
  found = []
  for path in filter(None, map(str.strip, paths.split(','))):
    path = os.path.expanduser(path)
    # A name may hold brackets: what is there is no pattern.
    names = [path] if os.path.exists(path) else sorted(glob.glob(path))
    if not names and glob.has_magic(path):
      raise ValueError(
        f"{path!r} is the name of no file, expected photographs, as 'DIR/*.jpg'"
      )
    found += names or [path]
  return tuple(found)


def together(paths: str) -> tuple[Photograph, ...]:
  """The photographs of 'a.jpg+b.jpg', which make one run together.

  Raises:
    OSError: one cannot be read.
    ValueError: one is no image.
  """
  whole = os.path.exists(os.path.expanduser(paths))
  return tuple(map(_read, [paths] if whole else paths.split('+')))


def stem(paths: str) -> str:
  """What photographs are called: their files without folders and endings."""
  whole = os.path.exists(os.path.expanduser(paths))
  names = [paths] if whole else paths.split('+')
  return '+'.join(os.path.splitext(os.path.basename(n))[0] for n in names)


def fitted(
  image: np.ndarray, size: Size, fit: str = 'middle', rounded: bool = False
) -> np.ndarray:
  """An image [H, W, c] at another size, float32.

  Args:
    image: 0-255.
    size: (h, w).
    fit: 'middle': what is too high or too wide is cut; 'whole': squeezed.
    rounded: in 8 bits by Pillow's bicubic filter, as neural-style; else
      bilinear, and not rounded.
  """
  if fit not in ('middle', 'whole'):
    raise ValueError(f"fit is {fit!r}, expected 'middle' or 'whole'")
  rows, columns, _ = image.shape
  h, w = size
  # A height that was cut to whole pixels is of the same proportions.
  if fit == 'middle' and math.floor(rows / columns * w) != h:
    image = _middle(image, size)
  if rounded:
    return resized(image, size, Image.Resampling.BICUBIC)
  return images.resize(image, size)


def alike(
  found: tuple[Photograph, ...], size: Size | None = None
) -> tuple[Photograph, ...]:
  """The middle of each, in the proportions of (h, w); as much as there is.

  Args:
    found: of any sizes.
    size: (h, w); that of the first unless given.
  """
  if size is None and found:
    size = found[0].image.shape[:2]
  return tuple(one._replace(image=_middle(one.image, size)) for one in found)


def resized(image: np.ndarray, size: Size, how: Image.Resampling) -> np.ndarray:
  """An image of 8 bits resized to (h, w) by Pillow, as one; then float32."""
  h, w = size
  # Pillow knows images of three channels, and of one without an axis for it.
  channels = [Image.fromarray(c) for c in np.uint8(np.moveaxis(image, -1, 0))]
  made = [np.asarray(channel.resize((w, h), how)) for channel in channels]
  return np.stack(made, -1).astype(np.float32)


def _read(path: str) -> Photograph:
  path = os.path.expanduser(path.strip())
  image = images.read(path)
  _tell_mode(path)
  return Photograph(stem(path), image)


def _tell_mode(name: str) -> None:
  with Image.open(name) as image:
    mode = image.mode
  if mode != 'RGB':
    warnings.warn(
      f'{name!r} is of mode {mode}, taken as RGB without transparency',
      stacklevel=3,
    )


def _middle(image: np.ndarray, size: Size) -> np.ndarray:
  h, w, _ = image.shape
  height, width = size
  rows = min(h, max(1, round(w * height / width)))
  columns = min(w, max(1, round(h * width / height)))
  top, left = (h - rows) // 2, (w - columns) // 2
  return image[top : top + rows, left : left + columns]
