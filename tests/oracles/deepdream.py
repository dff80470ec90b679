"""DeepDream in NumPy and SciPy, step by step.

Images are RGB [h, w, 3] less their mean, in float64. A network is two
functions: `forward(image)` gives the activation [h, w, c] of the layer before
its rectifier, and `backward(cotangent)` the gradient [h, w, 3] at the image of
the last forward, as Caffe's calls of these names. They take images of any size.
"""

import numpy as np
from scipy import ndimage


def zoom(image, size):
  """The image at size (h, w), linear between its pixels, corner on corner."""
  factors = (size[0] / image.shape[0], size[1] / image.shape[1], 1)
  zoomed_image = spline(image, factors)
  if zoomed_image.shape[:2] != tuple(size):
    raise ValueError(f'Zoomed to {zoomed_image.shape[:2]}, expected {size}.')
  return zoomed_image


def octaves(image, number, scale):
  """The image and its successive zooms by 1 / scale, largest first."""
  bases = [image]
  while len(bases) < number:
    factors = (1 / scale, 1 / scale, 1)
    bases.append(spline(bases[-1], factors))
  return bases


def spline(image, factors):
  """SciPy's zoom of order 1, which rounds the size and aligns the corners."""
  # The default mode gives 0 in the last row or column where its coordinate,
  # i * (old - 1) / (new - 1), rounds to above old - 1: 56 to 40 is a case.
  return ndimage.zoom(image, factors, order=1, mode='nearest')


def roll(image, right, down):
  return np.roll(np.roll(image, right, 1), down, 0)


def guide(x_act, guide_act):
  """The cotangent [h, w, c]: at each position of x_act, its match in the guide.

  Args:
    x_act: [h, w, c].
    guide_act: [rows, cols, c], the same layer on the guide image. Its vector
      with the largest inner product is taken; of equals the first, row by row.
  """
  y = guide_act.reshape(-1, guide_act.shape[-1])
  cotangent = np.zeros(x_act.shape)
  for row, col in np.ndindex(x_act.shape[:2]):
    products = [np.sum(x_act[row, col] * vector) for vector in y]
    cotangent[row, col] = y[np.argmax(products)]
  return cotangent


def step(
  image,
  forward,
  backward,
  mean,
  shift,
  *,
  step_size=1.5,
  guide_act=None,
  clip=True,
):
  """The image after one step.

  Args:
    image: [h, w, 3] less the mean.
    forward, backward: see above.
    mean: [3], RGB.
    shift: (ox, oy), the columns to the right and the rows down.
    step_size: the mean of |change| over the whole image.
    guide_act: of `guide`; None dreams without one.
    clip: keeps image + mean within 0 and 255.
  """
  ox, oy = shift
  x = roll(image, ox, oy)
  act = forward(x)
  cotangent = act if guide_act is None else guide(act, guide_act)
  grad = backward(cotangent)
  x = x + step_size / np.mean(np.abs(grad)) * grad
  x = roll(x, -ox, -oy)
  if clip:
    x = np.minimum(np.maximum(x, -mean), 255 - mean)
  return x


def dream(
  image,
  shifts,
  forward,
  backward,
  mean,
  *,
  scale=1.4,
  step_size=1.5,
  guide_act=None,
  clip=True,
):
  """The dream of an image, and what each octave ended with.

  Args:
    image: [h, w, 3] less the mean.
    shifts: shifts[octave][iteration] is (ox, oy); octave 0 is the smallest.
      Their number is the number of octaves, and of iterations in each.
    scale: of an octave to the one before it.
    forward, backward, ..., clip: as in `step`; guide_act serves all octaves.

  Returns:
    (x, xs): the last x, and the last x of each octave, smallest first.
  """
  bases = octaves(image, len(shifts), scale)[::-1]
  detail = np.zeros(bases[0].shape)
  xs = []
  for base, shifts_here in zip(bases, shifts, strict=True):
    detail = zoom(detail, base.shape[:2])
    x = base + detail
    for shift in shifts_here:
      x = step(
        x,
        forward,
        backward,
        mean,
        shift,
        step_size=step_size,
        guide_act=guide_act,
        clip=clip,
      )
    detail = x - base
    xs.append(x)
  return xs[-1], xs


def zoomed(frame, s):
  """The next frame of the video: [h, w, 3] enlarged by 1 / (1 - s)."""
  h, w, _ = frame.shape
  offsets = [h * s / 2, w * s / 2, 0]
  return ndimage.affine_transform(frame, [1 - s, 1 - s, 1], offsets, order=1)


def bare(image, forward, backward, steps, rate):
  """The image after the blog's steps: the gradient as it is, nothing else."""
  x = image
  for _ in range(steps):
    x = x + rate * backward(forward(x))
  return x
