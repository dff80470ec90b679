"""Transforms of one image in NumPy and SciPy, given what was drawn."""

import numpy as np
from scipy import ndimage

GREY = 127.5


def windows(view, h, w):
  """Every h x w window, by its corner."""
  height, width, _ = view.shape
  return {
    (y, x): view[y : y + h, x : x + w]
    for y in range(height - h + 1)
    for x in range(width - w + 1)
  }


def rolls(view, d):
  """Every circular shift by up to d, by the shift."""
  return {
    (y, x): np.roll(np.roll(view, y, 0), x, 1)
    for y in range(-d, d + 1)
    for x in range(-d, d + 1)
  }


def pad(view, w, value=GREY):
  """A border of one value."""
  h, width, c = view.shape
  framed = np.full((h + 2 * w, width + 2 * w, c), value)
  framed[w : w + h, w : w + width] = view
  return framed


def fit(view, h, w):
  """The middle, pixel by pixel; where it does not halve, up and left."""
  height, width, c = view.shape
  top, left = (h - height) // 2, (w - width) // 2
  made = np.full((h, w, c), GREY)
  for y in range(h):
    for x in range(w):
      if 0 <= y - top < height and 0 <= x - left < width:
        made[y, x] = view[y - top, x - left]
  return made


def scale(view, factor):
  """Magnified about the middle."""
  return _affine(view, np.eye(2) / factor)


def rotate(view, degrees):
  """Turned about the middle, clockwise where rows go down."""
  a = np.deg2rad(degrees)
  return _affine(
    view, np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
  )


def _affine(view, matrix):
  """Every pixel is read bilinearly at matrix @ its place from the middle."""
  h, w, _ = view.shape
  middle = np.array([(h - 1) / 2, (w - 1) / 2])
  return np.stack(
    [
      ndimage.affine_transform(
        channel,
        matrix,
        middle - matrix @ middle,
        order=1,
        mode='grid-constant',
        cval=GREY,
      )
      for channel in np.moveaxis(np.asarray(view, float), -1, 0)
    ],
    -1,
  )
