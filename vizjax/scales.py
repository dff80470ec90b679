"""An image made at several sizes, one after the other.

  scales = grown(model, '270x480', '1080x1920', 5)   # a knob

Each size is worked for config.steps, and what was made at one is the start of
the next. What is done between them is part of the published methods: a
`Scales` says it, on the host, for one image.
"""

from collections.abc import Callable
import math
from typing import NamedTuple

import numpy as np

from vizjax import core
from vizjax import errors
from vizjax.errors import UserError
from vizjax.photographs import files
from vizjax.photographs import images

Size = files.Size
# How a size is told: 'HxW' or (h, w); 'xF' or F times another; None for that.
Named = str | Size | core.Number | None
_Photographs = tuple[files.Photograph, ...]


class StageStart(NamedTuple):
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
    enter: (stage, original, image) -> StageStart; `image` is what the stage
      before made, None at the first.
    photographs: to start from, one for each run or one for all; () for none.
    film: whether every image of the last size is a frame of a film.
    shown: how the program shows an image [h, w, 3]: 0-255.
  """

  sizes: tuple[Size, ...]
  enter: Callable[[int, np.ndarray | None, np.ndarray | None], StageStart]
  photographs: _Photographs = ()
  film: bool = False
  shown: Callable[[np.ndarray], np.ndarray] = lambda image: image


def grown(
  model: core.Model,
  initial_size: Named,
  final_size: Named,
  num_sizes: int,
  resize_type: str = 'geometric',
  photograph: files.Source | None = None,
) -> Scales:
  """From a small image to a large one, by bilinear interpolation.

  For any recipe whose parameterization starts from an image: pixels, fourier.

  Args:
    model: gives the size without a photograph.
    initial_size: as of `size`; None for the size at hand.
    final_size: the same, of the last size.
    num_sizes: how many; with 1 the first alone.
    resize_type: 'geometric' or 'linear'.
    photograph: an image file, or several: 'a.jpg,b.jpg', 'DIR/*.jpg'; or an
      array [h, w, c] of 0-255, or a list.
  """
  found = files.alike(files.read(photograph, model.input_shape[2]))
  ends = initial_size, final_size
  sizes = named(model, found, *ends, num_sizes, resize_type)

  def enter(stage, original, image):
    reference = None
    if original is not None:
      reference = images.resize(original, sizes[stage])
    start = reference if stage == 0 else images.resize(image, sizes[stage])
    return StageStart(original, start, reference)

  return Scales(sizes, enter, found)


def with_channels(scales: Scales, channels: int) -> Scales:
  """Returns scales whose photographs have as many channels as the network.

  Raises:
    UserError: the network takes neither colour nor grey.
  """
  return scales._replace(
    photographs=tuple(
      one._replace(image=images.channels(one.image, channels))
      for one in scales.photographs
    )
  )


def named(
  model: core.Model,
  found: _Photographs,
  initial_size: Named,
  final_size: Named,
  num_sizes: int,
  resize_type: str,
) -> tuple[Size, ...]:
  """Sizes by their texts: of the first photograph, or the model's input."""
  base = model.input_shape[:2]
  if found:
    base = found[0].image.shape[:2]
  first = size(initial_size, base, 'initial_size')
  last = size(final_size, base, 'final_size')
  return between(first, last, num_sizes, resize_type)


def size(named: Named, base: Size, name: str) -> Size:
  """Returns a size, as cnn-vis reads it: 'HxW', 'xF', or None.

  Args:
    named: 'HxW' or (h, w) in pixels; 'xF' or F, a number, for F times `base`,
      cut to whole pixels; None for `base`.
    base: (h, w).
    name: of the knob, for messages.

  Raises:
    UserError: it does not parse.
  """
  if named is None:
    return base
  if isinstance(named, tuple):
    text = 'x'.join(map(str, named))
  else:
    text = named if isinstance(named, str) else f'x{named}'
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
    raise UserError(
      f'{name} is {named!r}, expected HxW, as 270x480, or xF, as x0.5, of '
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
    UserError: the number or the kind is none, or the last is the smaller.
  """
  errors.whole('num_sizes', number, 1)
  if kind not in ('geometric', 'linear'):
    raise UserError(
      f"resize_type is {kind!r}, expected 'geometric' or 'linear'"
    )
  if number == 1:
    return (first,)
  if min(np.subtract(last, first)) < 0:
    raise UserError(
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
