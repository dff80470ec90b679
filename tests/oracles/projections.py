"""Projections in NumPy and SciPy, as the published programs apply them."""

import numpy as np
from scipy import ndimage


def blur(image, sigma):
  """Each channel of [h, w, c] by SciPy's own Gaussian filter."""
  channels = [
    ndimage.gaussian_filter(channel, sigma, mode='reflect')
    for channel in np.moveaxis(image, -1, 0)
  ]
  return np.stack(channels, -1)


def decay(image, rate):
  return (1 - rate) * image


def clip_percentile(image, q):
  low, high = np.percentile(image, [q / 2, 100 - q / 2])
  return np.minimum(np.maximum(image, low), high)


def small_values(image, grads, q):
  size = np.abs(image)
  made = image.copy()
  made[size < np.percentile(size, q)] = 0
  return made


def small_norms(image, grads, q):
  return _pixels(image, np.sqrt((image**2).sum(-1)), q)


def small_contributions(image, grads, q):
  return _pixels(image, np.sqrt(((image * grads) ** 2).sum(-1)), q)


def small_benefits(image, grads, q):
  return _pixels(image, (grads * -image).sum(-1), q)


def small_abs_benefits(image, grads, q):
  return _pixels(image, np.abs((grads * -image).sum(-1)), q)


def _pixels(image, size, q):
  """All channels of the pixels strictly below the percentile become zero."""
  made = image.copy()
  made[size < np.percentile(size, q)] = 0
  return made
