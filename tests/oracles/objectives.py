"""Terms of the score in plain loops, and their derivative by hand."""

import math

import numpy as np


def mean_of_channel(act, channel):
  """Over rows and columns; a fully connected layer has one position."""
  if act.ndim == 1:
    return act[channel]
  h, w, _ = act.shape
  return sum(act[y, x, channel] for y in range(h) for x in range(w)) / (h * w)


def agreement(vector, direction, power):
  """(a . v) max(0.1, cos)^power at one position, with lucid's 1e-4."""
  dot = sum(a * b for a, b in zip(vector, direction, strict=True))
  length = math.sqrt(sum(a * a for a in vector))
  other = math.sqrt(sum(b * b for b in direction))
  cosine = dot / (1e-4 + length) / (1e-4 + other)
  return dot * max(0.1, cosine) ** power


def mean_agreement(act, direction, power):
  """Over the positions of a map [h, w, c]."""
  h, w, _ = act.shape
  positions = [act[y, x] for y in range(h) for x in range(w)]
  return sum(agreement(p, direction, power) for p in positions) / (h * w)


def total_variation(image, beta):
  """(value, gradient) of an image [h, w, c]: algorithms of cnnpref, 3.5."""
  h, w, c = image.shape
  value = 0.0
  gradient = np.zeros(image.shape)
  for y in range(h):
    for x in range(w):
      for k in range(c):
        down = image[y + 1, x, k] - image[y, x, k] if y + 1 < h else 0.0
        right = image[y, x + 1, k] - image[y, x, k] if x + 1 < w else 0.0
        summand = (down**2 + right**2) ** (beta / 2)
        value += summand
        weight = max(summand, 1e-5) ** (2 * (beta / 2 - 1) / beta)
        gradient[y, x, k] -= beta * weight * (down + right)
        if y + 1 < h:
          gradient[y + 1, x, k] += beta * weight * down
        if x + 1 < w:
          gradient[y, x + 1, k] += beta * weight * right
  return value, gradient
