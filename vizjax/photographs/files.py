"""Photographs, of files or arrays: one, several, a folder; and their sizes.

read('a.jpg')            read('a.jpg,b.jpg')            read('DIR/*.jpg')
read(array)              read([array, 'a.jpg'])
"""

from collections.abc import Sequence
import glob
import itertools
import math
import os
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from vizjax.errors import UserError
from vizjax.photographs import decoding
from vizjax.photographs import images

Size = tuple[int, int]  # (h, w)

# A file, or an array [h, w, c] of 0-255; [h, w] is grey.
_Picture = str | os.PathLike | np.ndarray | jax.Array
Source = _Picture | Sequence[_Picture]


class Photograph(NamedTuple):
  """A photograph of its own size."""

  name: str  # of the file; 'photograph 0' of an array
  image: np.ndarray  # [H, W, 3], RGB, or [H, W, 1], grey; 0-255


def read(
  source: Source | None, channels: int | None = None
) -> tuple[Photograph, ...]:
  """Returns the photographs of 'a.jpg,b.jpg', of 'DIR/*.jpg', or of arrays.

  Args:
    source: as above; an array [h, w, c] or [n, h, w, c] of 0-255; or a list of
      files and arrays; None for none.
    channels: of the network that they are for; 1 makes them grey. None leaves
      them as they are: three of a file.

  Raises:
    OSError: a file cannot be read.
    UserError: a file or an array is no image, there is no file of that name,
      or the network takes neither colour nor grey.
  """
  if source is None:
    return ()
  photographs = map(_read, _sources(source), itertools.count())
  if channels is None:
    return tuple(photographs)
  return tuple(
    one._replace(image=images.channels(one.image, channels))
    for one in photographs
  )


def single(source: Source, channels: int | None = None) -> Photograph:
  """Returns the photograph of a file or of an array.

  Args:
    source: as of `read`, of one photograph.
    channels: as of `read`.

  Raises:
    OSError: the file cannot be read.
    UserError: it is no image, or several.
  """
  photographs = read(source, channels)
  if len(photographs) != 1:
    raise UserError(
      f'{len(photographs)} photographs are given, expected one: type the name '
      'of one file, or one array [h, w, c] of 0-255'
    )
  return photographs[0]


def first(source: Source) -> Photograph:
  """Returns the first photograph of a source; the others are not read."""
  item = _sources(source)[0]
  return together(item)[0] if isinstance(item, str) else _read(item)


def listed(paths: str) -> tuple[str, ...]:
  """The files of 'a.jpg,b.jpg' or 'DIR/*.jpg'.

  A comma separates files, unless a file of that name exists. A name that is no
  pattern is taken as typed, whether the file exists or not.

  Raises:
    UserError: nothing is named, or a pattern is the name of no file.
  """
  found = []
  for path in _parts(paths, ','):
    # A file name may hold the brackets of a pattern.
    names = [path] if os.path.lexists(path) else sorted(glob.glob(path))
    if not names and glob.has_magic(path):
      raise UserError(
        f"{path!r} is the name of no file, expected photographs, as 'DIR/*.jpg'"
      )
    found += names or [path]
  if not found:
    raise UserError(
      f'the photograph is {paths!r}, expected a file: type '
      '--config.photograph=FILE'
    )
  return tuple(found)


def blended(paths: str) -> tuple[str, ...]:
  """The files of 'a.jpg+b.jpg'; a file of that very name is one file."""
  return tuple(_parts(paths, '+'))


def check(paths: str) -> None:
  """Refuses 'a.jpg+b.jpg' if one of the files does not exist.

  Raises:
    OSError: there is no such file.
    UserError: one is a folder, a pipe, or a link that leads nowhere.
  """
  for path in blended(paths):
    decoding.check(path)


def together(source: Source) -> tuple[Photograph, ...]:
  """Returns the photographs of 'a.jpg+b.jpg', which make one run together.

  Args:
    source: as above, or a list of files and arrays.

  Raises:
    OSError: one cannot be read.
    UserError: one is no image.
  """
  if isinstance(source, str):
    return tuple(map(_read, blended(source)))
  return read(source)


def stem(paths: str) -> str:
  """The names of 'DIR/a.jpg+b.jpg' without folders and endings: 'a+b'."""
  names = map(os.path.basename, blended(paths))
  return '+'.join(os.path.splitext(name)[0] for name in names)


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
    raise UserError(f"fit is {fit!r}, expected 'middle' or 'whole'")
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


def _sources(source: Source) -> list:
  """Returns the name of each file of a source, and each array."""
  if isinstance(source, (str, os.PathLike)):
    return list(listed(os.fspath(source)))
  if isinstance(source, (list, tuple)):
    if not source:
      raise UserError('the list of photographs is empty, expected one or more')
    return [item for one in source for item in _sources(one)]
  return list(source) if np.ndim(source) == 4 else [source]


def _read(item: _Picture, number: int = 0) -> Photograph:
  """Returns a photograph, of a file or of an array.

  Args:
    item: from `_sources`.
    number: of the array among the others, for its name.
  """
  if isinstance(item, str):
    return Photograph(stem(item), images.read(item))
  return Photograph(f'photograph {number}', images.of_array(item))


def _parts(text: str, mark: str) -> list[str]:
  """The names between marks, without ~ and the blanks around them.

  Marks and blanks that belong to the name of an existing file stay.
  """
  pieces, found = text.split(mark), []
  while pieces:
    counts = range(1, len(pieces) + 1)
    # The whole text may be one name, though its parts are names, too.
    tried = counts if found else (len(pieces), *counts)
    named = (_named(mark.join(pieces[:count])) for count in tried)
    pairs = zip(tried, named, strict=True)
    nothing = 1, os.path.expanduser(pieces[0].strip())
    count, name = next((pair for pair in pairs if pair[1]), nothing)
    found.append(name)
    del pieces[:count]
  return list(filter(None, found))


def _named(text: str) -> str | None:
  """A text as it names a file, or is a pattern that one matches; else None."""
  for name in map(os.path.expanduser, (text, text.strip())):
    if os.path.lexists(name) and not os.path.isdir(name):
      return name
    if glob.has_magic(name) and glob.glob(name):
      return name
  return None


def _middle(image: np.ndarray, size: Size) -> np.ndarray:
  h, w, _ = image.shape
  height, width = size
  rows = min(h, max(1, round(w * height / width)))
  columns = min(w, max(1, round(h * width / height)))
  top, left = (h - rows) // 2, (w - columns) // 2
  return image[top : top + rows, left : left + columns]
