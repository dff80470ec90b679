"""Images from the activations of a layer, in NumPy, step by step.

Mahendran & Vedaldi 2015 (their program deep-goggle), the course CS231n of 2016
and the form that blogs have of it; and the caricatures of lucid (Olah et al.).

An image x is [c, h, w] less its mean, in float64. A network up to a layer is
two functions: `forward(x)` gives the activation, and `backward(x, top)` the
gradient at x of the gradient `top` at the activation.
"""

import numpy as np
from oracles import programs

NORM = 27098.11571533  # of a usual image, "x0_sigma"


def paper_weight(position):
  """The weight of the total variation, by the layer's place from 1 to 20."""
  if not 1 <= position <= 20:
    raise ValueError(f'position is {position}, expected 1 to 20.')
  if position <= 6:
    return 1.0
  return 10.0 if position <= 12 else 100.0


def start(noise, sigma=NORM, repeats=1):
  """The noise [c, h, w] of one of the repeats, together of norm sigma."""
  return noise / np.sqrt(np.sum(noise**2)) * sigma / np.sqrt(repeats)


def mahendran(
  x,
  forward,
  backward,
  wanted,
  mask=None,
  *,
  rates,
  alpha=6,
  alpha_weight=8e-10,
  beta=2,
  tv_weight=10.0,
  momentum=0.9,
  sigma=NORM,
):
  """Mahendran & Vedaldi: the last image, and what was before each step.

  Args:
    x: [c, h, w], of `start`.
    forward, backward: see above.
    wanted: the activation to be found.
    mask: of its shape, 1 where it counts and 0 elsewhere; None counts all.
    rates: one of each step.
    alpha: an even power; the norm is the sum of x^alpha.
    beta: of the total variation.
    sigma: the norm of a usual image.

  Returns:
    (x, records): a pair (error, energy) before each step. The error is the
    square of the distance, where it counts, over that of all of wanted.
  """
  mask = np.ones(wanted.shape) if mask is None else mask
  scale = np.sum(wanted**2)
  velocity = np.zeros(x.shape)
  records = []
  for t, rate in enumerate(rates):
    difference = mask * (forward(x) - wanted)
    error = np.sum(difference**2) / scale
    variation, variation_back = programs.tv_norm(x, beta)
    power, power_back = np.sum(x**alpha), alpha * x ** (alpha - 1)
    penalty = tv_weight / 2 * variation + alpha_weight / 2 * power
    records.append((error, error + penalty / sigma**2))

    grad = tv_weight / 2 * variation_back + alpha_weight / 2 * power_back
    grad = grad + sigma**2 / scale * backward(x, 2 * difference)
    if t > 0 and rate != rates[t - 1]:
      velocity = np.zeros(x.shape)
    velocity = momentum * velocity - rate * grad
    x = x + velocity
  return x, records


def blog(x, forward, backward, wanted, *, rate, decay, steps):
  """Blogs: the image after plain steps, and the loss before each of them.

  Args:
    decay: of the square of x, whose gradient is 2 * decay * x.
  """
  losses = []
  for _ in range(steps):
    difference = forward(x) - wanted
    losses.append(np.sum(difference**2) + decay * np.sum(x**2))
    x = x - rate * (backward(x, 2 * difference) + 2 * decay * x)
  return x, losses


def blur(x):
  """Each channel with a kernel of sum 1; beyond the border there is 0."""
  kernel = np.array([[1, 2, 1], [2, 188, 2], [1, 2, 1]]) / 200
  _, h, w = x.shape
  padded = np.pad(x, [(0, 0), (1, 1), (1, 1)])
  out = np.zeros(x.shape)
  for row, col in np.ndindex(3, 3):
    out += kernel[row, col] * padded[:, row : row + h, col : col + w]
  return out


def cs231n(
  x,
  forward,
  backward,
  wanted,
  mean,
  *,
  rate=10000.0,
  steps=500,
  decay=1e-7,
  blur_every=1,
):
  """CS231n: as `blog`, clipped after each step and now and then blurred.

  Args:
    mean: [c, 1, 1] or [c, h, w]; x + mean stays within 0 and 255.
    blur_every: blurs after the clip of steps 0, blur_every, ...; 0 never.
  """
  losses = []
  for t in range(steps):
    x, (loss,) = blog(
      x, forward, backward, wanted, rate=rate, decay=decay, steps=1
    )
    losses.append(loss)
    x = np.minimum(np.maximum(x, -mean), 255 - mean)
    if blur_every > 0 and t % blur_every == 0:
      x = blur(x)
  return x, losses


def caricature(act, wanted, power):
  """(a . b) max(0.1, cos)^power, a and b the whole activations."""
  dot = np.sum(act * wanted)
  lengths = np.sqrt(np.sum(act**2)), np.sqrt(np.sum(wanted**2))
  cosine = dot / (1e-4 + lengths[0]) / (1e-4 + lengths[1])
  return dot * np.maximum(0.1, cosine) ** power
