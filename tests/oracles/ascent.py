"""Gradient ascent on a two-layer network, by hand, in plain NumPy.

  hidden = first @ x,  out = second @ max(0, hidden),  x = image - mean
  score  = out[unit] - weight * sum x^2

No automatic differentiation, no loop shared with the library: this is what
`vizjax.core` does when it is given the same recipe.
"""

import numpy as np


def forward(first, second, x):
  """(hidden, out) of an image less its mean."""
  hidden = first @ x.reshape(-1)
  return hidden, second @ np.maximum(hidden, 0)


def gradient(first, second, x, unit, weight):
  """Of the score, with respect to x; the shape of x."""
  hidden, _ = forward(first, second, x)
  back = first.T @ (second[unit] * (hidden > 0))
  return back.reshape(x.shape) - 2 * weight * x


def ascend(
  first,
  second,
  mean,
  start,
  unit,
  *,
  weight,
  rate,
  momentum,
  decay,
  steps,
):
  """Heavy-ball ascent, then decay, then the clip to 0-255, step by step.

  Args:
    first: [hidden, h * w * c].
    second: [out, hidden].
    mean: [c].
    start: [h, w, c], the first x.
    unit: which output.
    weight: of the sum of squares that is subtracted.
    rate: pixels per unit of score.
    momentum: fraction of the last velocity that is kept.
    decay: fraction of x that is removed.
    steps: evaluations.

  Returns:
    A list of (x, score, norm of the gradient, sum of squares), one for each
    evaluation, and the x that would be evaluated next.
  """
  x, velocity = start.copy(), np.zeros_like(start)
  seen = []
  for _ in range(steps):
    square = np.sum(x**2)
    score = forward(first, second, x)[1][unit] - weight * square
    slope = gradient(first, second, x, unit, weight)
    seen.append((x.copy(), score, np.sqrt(np.sum(slope**2)), square))
    velocity = momentum * velocity + slope
    x = (x + rate * velocity) * (1 - decay)
    x = np.minimum(np.maximum(x, -mean), 255 - mean)
  return seen, x
