"""An image made at several sizes, one after the other.

  scales = grown(model, '270x480', '1080x1920', 5)   # a config's field

Each size is worked for config.steps, and what was made at one is the start of
the next. What is done between them is part of the published methods: a
`Scales` says it, on the host, for one image.
"""

from collections.abc import Callable
import glob
import math
import os
from typing import NamedTuple
import warnings

import numpy as np
from PIL import Image

from vizjax import core
from vizjax import images

Size = tuple[int, int]  # (h, w)


class Photograph(NamedTuple):
  """A photograph of its own size."""

  name: str  # of the file
  image: np.ndarray  # [H, W, 3], RGB, 0-255


class Entry(NamedTuple):
  """What the work at a size begins with.

  Attributes:
    original: the photograph that the next entry is given.
    start: [h, w, 3], or None where the parameterization has its own.
    reference: [h, w, 3], the photograph at this size, or None without one.
  """

  original: np.ndarray | None
  start: np.ndarray | None
  reference: np.ndarray | None


class Scales(NamedTuple):
  """The sizes of an image, and the way from one to the next.

  Attributes:
    sizes: of each stage.
    enter: (stage, original, image) -> Entry; `image` is what the stage before
      made, None at the first.
    photographs: to start from, one for each run or one for all; () for none.
    film: whether every image of the last size is a frame of a film.
    shown: how the program shows an image [h, w, 3]: 0-255.
  """

  sizes: tuple[Size, ...]
  enter: Callable[[int, np.ndarray | None, np.ndarray | None], Entry]
  photographs: tuple[Photograph, ...] = ()
  film: bool = False
  shown: Callable[[np.ndarray], np.ndarray] = lambda image: image


def grown(
  model: core.Model,
  initial_size: str | None,
  final_size: str | None,
  num_sizes: int,
  resize_type: str = 'geometric',
  photograph: str | None = None,
) -> Scales:
  """From a small image to a large one, by bilinear interpolation.

  For any recipe whose parameterization starts from an image: pixels, fourier.

  Args:
    model: gives the size without a photograph.
    initial_size: 'HxW', or 'xF' times the size at hand; None for that.
    final_size: the same, of the last size.
    num_sizes: how many; with 1 the first alone.
    resize_type: 'geometric' or 'linear'.
    photograph: an image file, or several: 'a.jpg,b.jpg', 'DIR/*.jpg'.
  """
  found = alike(photographs(photograph))
  ends = initial_size, final_size
  sizes = named(model, found, *ends, num_sizes, resize_type)

  def enter(stage, original, image):
    reference = None
    if original is not None:
      reference = images.resize(original, sizes[stage])
    start = reference if stage == 0 else images.resize(image, sizes[stage])
    return Entry(original, start, reference)

  return Scales(sizes, enter, found)


def named(
  model: core.Model,
  photographs: tuple[Photograph, ...],
  initial_size: str | None,
  final_size: str | None,
  num_sizes: int,
  resize_type: str,
) -> tuple[Size, ...]:
  """Sizes by their texts: of the first photograph, or the model's input."""
  base = model.input_shape[:2]
  if photographs:
    base = photographs[0].image.shape[:2]
  first = size(initial_size, base, 'initial_size')
  last = size(final_size, base, 'final_size')
  return between(first, last, num_sizes, resize_type)


def size(text: str | None, base: Size, name: str) -> Size:
  """A size by its text, as cnn-vis reads it: 'HxW', 'xF', or None.

  Args:
    text: 'HxW' in pixels; 'xF' for F times `base`, cut to whole pixels; None
      for `base`.
    base: (h, w).
    name: of the field, for messages.

  Raises:
    ValueError: it does not parse.
  """
  if text is None:
    return base
  before, mark, after = text.partition('x')
  try:
    if not mark or not after:
      raise ValueError
    if before:
      h, w = int(before), int(after)
    else:
      h, w = (int(float(after) * n) for n in base)
  except (ValueError, OverflowError):
    h = w = 0
  if min(h, w) < 1:
    raise ValueError(
      f'{name} is {text!r}, expected HxW, as 270x480, or xF, as x0.5, of '
      f'{base[0]}x{base[1]}'
    )
  return h, w


def between(
  first: Size, last: Size, number: int, kind: str = 'geometric'
) -> tuple[Size, ...]:
  """Sizes from the first to the last, rounded; halves go to the even number.

  Args:
    first: (h, w).
    last: (h, w), at least the first; not looked at if `number` is 1.
    number: of sizes.
    kind: 'geometric', by equal factors, or 'linear', by equal differences.

  Raises:
    ValueError: the number or the kind is none, or the last is the smaller.
  """
  if not isinstance(number, int) or number < 1:
    raise ValueError(f'num_sizes is {number!r}, expected a whole number >= 1')
  if kind not in ('geometric', 'linear'):
    raise ValueError(
      f"resize_type is {kind!r}, expected 'geometric' or 'linear'"
    )
  if number == 1:
    return (first,)
  if min(np.subtract(last, first)) < 0:
    raise ValueError(
      f'final_size is {last[0]}x{last[1]}, smaller than initial_size, '
      f'{first[0]}x{first[1]}: expected at least as much'
    )
  lines = [
    np.logspace(math.log10(a), math.log10(b), number)
    if kind == 'geometric'
    else np.linspace(a, b, number)
    for a, b in zip(first, last, strict=True)
  ]
  h, w = (np.rint(line).astype(int).tolist() for line in lines)
  return tuple(zip(h, w, strict=True))


def photographs(paths: str | None) -> tuple[Photograph, ...]:
  """The photographs of 'a.jpg,b.jpg' or 'DIR/*.jpg'.

  Args:
    paths: as above; None for none.

  Raises:
    OSError: one cannot be read.
    ValueError: one is no image, or there is none of that name.
  """
  if paths is not None and not paths.strip():
    raise ValueError(
      f'the photograph is {paths!r}, expected a file: type '
      '--config.photograph=FILE'
    )
  found = []
  for path in filter(None, map(str.strip, (paths or '').split(','))):
    path = os.path.expanduser(path)
    # A name may hold brackets: what is there is no pattern.
    names = [path] if os.path.exists(path) else sorted(glob.glob(path))
    if not names and glob.has_magic(path):
      raise ValueError(
        f"{path!r} is the name of no file, expected photographs, as 'DIR/*.jpg'"
      )
    for name in names or [path]:
      stem = os.path.splitext(os.path.basename(name))[0]
      image = images.read(name)
      _tell_mode(name)
      found.append(Photograph(stem, image))
  return tuple(found)


def alike(
  photographs: tuple[Photograph, ...], size: Size | None = None
) -> tuple[Photograph, ...]:
  """The middle of each, in the proportions of (h, w); as much as there is.

  Args:
    photographs: of any sizes.
    size: (h, w); that of the first unless given.
  """
  if size is None and photographs:
    size = photographs[0].image.shape[:2]
  return tuple(
    one._replace(image=_middle(one.image, size)) for one in photographs
  )


def resized(image: np.ndarray, size: Size, how: Image.Resampling) -> np.ndarray:
  """An image of 8 bits resized to (h, w) by Pillow, as one; then float32."""
  h, w = size
  picture = Image.fromarray(np.asarray(image, np.uint8))
  return np.asarray(picture.resize((w, h), how), np.float32)


def _tell_mode(name: str) -> None:
  with Image.open(name) as image:
    mode = image.mode
  if mode != 'RGB':
    warnings.warn(
      f'{name!r} is of mode {mode}, taken as RGB without transparency',
      stacklevel=2,
    )


def _middle(image: np.ndarray, size: Size) -> np.ndarray:
  h, w, _ = image.shape
  height, width = size
  rows = min(h, max(1, round(w * height / width)))
  columns = min(w, max(1, round(h * width / height)))
  top, left = (h - rows) // 2, (w - columns) // 2
  return image[top : top + rows, left : left + columns]
