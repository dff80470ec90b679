"""What images of a unit have in common, and how their power falls: by loops."""

import fractions
import functools
import math

import numpy as np


def alikeness(images):
  """The cosines of Gram matrices [n, n], of maps [h, w, c] or [p, c]."""
  grams = []
  for positions in images:
    flat = np.reshape(positions, (-1, np.shape(positions)[-1]))
    gram = sum(np.outer(a, a) for a in flat)
    grams.append(gram / math.sqrt(max((gram**2).sum(), 1e-10)))
  return np.array([[(a * b).sum() for b in grams] for a in grams])


def slope(image):
  """Of the line through log power over log frequency; [h, w, c]."""
  h, w, _ = image.shape
  grey = image.astype(np.float64).mean(-1)
  if grey.min() == grey.max():
    return math.nan
  # Hann's window, as the cosine that it is.
  hann = [
    [0.5 - 0.5 * math.cos(2 * math.pi * (i + 1) / (n + 1)) for i in range(n)]
    for n in (h, w)
  ]
  window = np.array([[a * b for b in hann[1]] for a in hann[0]])
  grey = (grey - (grey * window).sum() / window.sum()) * window
  rows = np.exp(-2j * np.pi * np.outer(np.arange(h), np.arange(h)) / h)
  columns = np.exp(-2j * np.pi * np.outer(np.arange(w), np.arange(w)) / w)
  power = abs(rows @ grey @ columns) ** 2
  rings = {}
  for place, ring in ring_of(h, w).items():
    rings.setdefault(ring, []).append(power[place])
  points = [
    (math.log(ring), math.log(np.mean(rings[ring])))
    for ring in range(2, min(h, w) // 2 + 1)
  ]
  return np.polyfit(*zip(*points, strict=True), 1)[0]


@functools.cache
def ring_of(h, w):
  """{(row, column) of the spectrum: number of its ring}."""
  found = {}
  for i in range(h):
    for k in range(w):
      y = fractions.Fraction(min(i, h - i), h)
      x = fractions.Fraction(min(k, w - k), w)
      # Exact: half way between two rings is in the outer one.
      square, ring = min(h, w) ** 2 * (y**2 + x**2), 0
      while square >= (ring + fractions.Fraction(1, 2)) ** 2:
        ring += 1
      found[i, k] = ring
  return found


def statistics(values):
  """Of the maxima [photographs, units] of photographs."""
  return {
    'maximum': values.max(0),
    'mean': values.mean(0),
    'deviation': values.std(0),
    'p99': np.percentile(values, 99, axis=0),
    'p99_9': np.percentile(values, 99.9, axis=0),
  }
