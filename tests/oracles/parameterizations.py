"""Lucid's Fourier image, summed cosine by cosine.

optvis/param/spatial.py (fft_image) and color.py (to_valid_rgb) of lucid, with
its transposed axes written channels last.
"""

import numpy as np

COLORS = np.array(
  [[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]]
)


def frequencies(h, w):
  """Cycles per pixel of each coefficient [h, w // 2 + 1]."""
  found = np.zeros((h, w // 2 + 1))
  for i in range(h):
    for j in range(w // 2 + 1):
      down = (i if i < (h + 1) // 2 else i - h) / h
      found[i, j] = np.sqrt(down**2 + (j / w) ** 2)
  return found


def plane(spectrum, h, w):
  """The real image [h, w, c] of half a spectrum [h, w // 2 + 1, c]."""
  y, x = np.arange(h)[:, None], np.arange(w)[None, :]
  image = np.zeros((h, w, spectrum.shape[-1]))
  for i in range(h):
    for j in range(w // 2 + 1):
      # Columns 0 and w/2 are their own mirror images, the others stand for
      # two coefficients.
      count = 1 if j in (0, w / 2) else 2
      wave = np.exp(2j * np.pi * (i * y / h + j * x / w))
      image += count * (wave[..., None] * spectrum[i, j]).real
  return image / (h * w)


def fft_image(params, h, w, decay=1.0, decorrelate=True):
  """The image [h, w, c], 0-255, of [2, h, w // 2 + 1, c] coefficients."""
  floor = np.maximum(frequencies(h, w), 1 / max(w, h))
  scale = (1 / floor) ** decay * np.sqrt(w * h)
  spectrum = scale[..., None] * (params[0] + 1j * params[1])
  image = plane(spectrum, h, w) / 4
  if decorrelate:
    normalized = COLORS / np.linalg.norm(COLORS, axis=0).max()
    image = image @ normalized.T
  return 255 / (1 + np.exp(-image))
