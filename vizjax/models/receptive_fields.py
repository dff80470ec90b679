"""What a unit sees: receptive-field arithmetic, and the box of one unit.

A layer's field along one axis is three numbers (Dumoulin and Visin, 2016,
https://arxiv.org/abs/1603.07285): its size, the distance between the fields
of neighbouring units (stride), and where the field of unit 0 starts; padding
makes the start negative.
"""

from typing import NamedTuple


class Span(NamedTuple):
  """The fields of a layer along one axis, in pixels of the image."""

  size: int
  stride: int
  offset: int


class Field(NamedTuple):
  """The fields of a layer along both axes."""

  y: Span
  x: Span


class Box(NamedTuple):
  """A rectangle of the image, in pixels."""

  top: int
  left: int
  height: int
  width: int


PIXEL = Field(Span(1, 1, 0), Span(1, 1, 0))


def compose(
  field: Field,
  kernel: tuple[int, int],
  stride: tuple[int, int],
  pad: tuple[int, int],
) -> Field:
  """The field of a sliding window laid over a layer that has `field`.

  Args:
    field: of the layer below.
    kernel: (height, width) of the window, dilation included.
    stride: (down, right).
    pad: zeros added (above and below, left and right).
  """
  spans = [
    Span(
      size=below.size + (k - 1) * below.stride,
      stride=below.stride * s,
      offset=below.offset - p * below.stride,
    )
    for below, k, s, p in zip(field, kernel, stride, pad, strict=True)
  ]
  return Field(*spans)


def union(fields: list[Field]) -> Field | None:
  """The field of a layer that reads several; None where strides differ."""
  spans = []
  for axis in zip(*fields, strict=True):
    if len({span.stride for span in axis}) > 1:
      return None
    start = min(span.offset for span in axis)
    stop = max(span.offset + span.size for span in axis)
    spans.append(Span(stop - start, axis[0].stride, start))
  return Field(*spans)


def box(field: Field, y: int, x: int) -> Box:
  """What the unit at row y, column x sees; parts may lie off the image."""
  top = field.y.offset + y * field.y.stride
  left = field.x.offset + x * field.x.stride
  return Box(top, left, field.y.size, field.x.size)


def first(field: Field, origin: tuple[int, int]) -> tuple[int, int]:
  """The first unit, (y, x), whose field begins at a pixel or after it.

  Args:
    field: of the layer.
    origin: (row, column) of the pixel.
  """
  y, x = (
    -((span.offset - pixel) // span.stride)  # rounded up
    for span, pixel in zip(field, origin, strict=True)
  )
  return y, x


def on_window(field: Field, origin: tuple[int, int]) -> Field:
  """The fields of the units that lie on a window, in pixels of the window.

  Args:
    field: of a layer, on the image that the window is a part of.
    origin: (row, column) of the image at which the window begins.
  """
  units = first(field, origin)
  spans = [
    span._replace(offset=span.offset + unit * span.stride - pixel)
    for span, unit, pixel in zip(field, units, origin, strict=True)
  ]
  return Field(*spans)


def inside(box: Box, height: int, width: int) -> bool:
  """Whether a box lies wholly on an image of that size."""
  return (
    box.top >= 0
    and box.left >= 0
    and box.top + box.height <= height
    and box.left + box.width <= width
  )
