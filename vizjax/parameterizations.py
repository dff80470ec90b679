"""What is optimized, and how it becomes an image: `core.Parameterization`.

Every factory takes the model for its image shape. A start photograph, where
the run has one, is data: target['start'], an image [h, w, c] like any other.
"""

import math

import jax
from jax.tree_util import Partial
import jax.numpy as jnp
import numpy as np

from vizjax import core

# Square root of the covariance of ImageNet colours, and the factor after the
# inverse transform: lucid, optvis/param/color.py and spatial.py. Its authors
# give no reason for the 4; it is part of what "lucid's Fourier image" means.
_COLORS = np.array(
  [[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]]
)
_LUCID_FACTOR = 4.0


def pixels(
  model: core.Model,
  std: core.Number = 10.0,
  shape: tuple[int, int] | None = None,
) -> core.Parameterization:
  """The image itself, less the model's mean: params are [h, w, c].

  Starts at target['start'] if there is one, else at N(0, std) grey levels
  around the mean.

  Args:
    model: gives the mean, the channels and, unless `shape` does, the size.
    std: standard deviation of the start, in grey levels.
    shape: (h, w).
  """
  size = _shape(model, shape)
  mean = jnp.broadcast_to(model.mean, size)

  def init(mean, key, target):
    if 'start' in target:
      return target['start'] - mean
    return std * jax.random.normal(key, size, mean.dtype)

  def render(mean, params):
    return params + mean

  return core.Parameterization(Partial(init, mean), Partial(render, mean))


def fourier(
  model: core.Model,
  std: core.Number = 0.01,
  decay: core.Number = 1.0,
  decorrelate: bool = True,
  shape: tuple[int, int] | None = None,
) -> core.Parameterization:
  """Fourier coefficients of a decorrelated image: params [2, h, w//2+1, c].

  image = 255 sigmoid(C irfft2(params / f^decay)), with the frequency f in
  cycles per pixel floored at one cycle per image, and C the square root of
  the covariance of natural colours (Olah et al. 2017,
  https://distill.pub/2017/feature-visualization; lucid's fft_image). Odd
  widths are transformed as they are; lucid transforms one column more and
  cuts it off.

  Args:
    model: gives the channels and, unless `shape` does, the size.
    std: standard deviation of the first coefficients.
    decay: power of 1/f.
    decorrelate: whether the channels are decorrelated colours; needs three.
    shape: (h, w).
  """
  h, w, c = _shape(model, shape)
  if decorrelate and c != 3:
    raise ValueError(
      f'fourier() decorrelates RGB, the model has {c} channels: '
      'type decorrelate=False'
    )
  dtype = jnp.result_type(model.mean)
  frequency = np.hypot(
    *np.meshgrid(np.fft.fftfreq(h), np.fft.rfftfreq(w), indexing='ij')
  )
  scale = math.sqrt(h * w) / np.maximum(frequency, 1 / max(h, w)) ** decay
  # Partial arguments, not constants: arrays travel as leaves.
  scale = jnp.asarray(scale / _LUCID_FACTOR, dtype)[..., None]
  scale = jnp.broadcast_to(scale, (*scale.shape[:2], c))
  largest = np.linalg.norm(_COLORS, axis=0).max()
  matrix = _COLORS.T / largest if decorrelate else np.eye(c)
  colors = jnp.asarray(matrix, dtype)

  def init(scale, colors, key, target):
    if 'start' in target:
      # A grey level keeps the logit finite at black and white.
      value = jnp.clip(target['start'], 1, 254) / 255
      logits = jnp.log(value) - jnp.log1p(-value)
      plane = jnp.linalg.solve(colors.T, logits.reshape(-1, c).T).T
      spectrum = jnp.fft.rfft2(plane.reshape(h, w, c), axes=(0, 1)) / scale
      return jnp.stack([spectrum.real, spectrum.imag])
    return std * jax.random.normal(key, (2, *scale.shape), dtype)

  def render(scale, colors, params):
    spectrum = jax.lax.complex(params[0], params[1]) * scale
    plane = jnp.fft.irfft2(spectrum, s=(h, w), axes=(0, 1))
    return 255 * jax.nn.sigmoid(plane @ colors)

  return core.Parameterization(
    Partial(init, scale, colors), Partial(render, scale, colors)
  )


def _shape(
  model: core.Model, shape: tuple[int, int] | None
) -> tuple[int, int, int]:
  channels = model.input_shape[2]
  return model.input_shape if shape is None else (*shape, channels)
