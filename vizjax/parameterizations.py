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
from vizjax.errors import UserError

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
    std: standard deviation of the start, in grey levels: of the 255 from black
      to white, whatever the model's range.
    shape: (h, w).
  """
  size = _shape(model, shape)
  mean = jnp.broadcast_to(model.mean, size)
  low, high = model.range
  if model.range != core.GREY_LEVELS:
    std = std * (high - low) / 255

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
  decorrelate: bool | None = None,
  shape: tuple[int, int] | None = None,
) -> core.Parameterization:
  """Fourier coefficients of a decorrelated image: params [2, h, w//2+1, c].

  image = 255 sigmoid(C irfft2(params / f^decay)) grey levels, with the
  frequency f in cycles per pixel floored at one cycle per image, and C the
  square root of the covariance of natural colours (Olah et al. 2017,
  https://distill.pub/2017/feature-visualization; lucid's fft_image). Odd
  widths are transformed as they are; lucid transforms one column more and
  cuts it off.

  Args:
    model: gives the channels and, unless `shape` does, the size.
    std: standard deviation of the first coefficients.
    decay: power of 1/f.
    decorrelate: whether the channels are decorrelated colours; needs three.
      Unless given, images of three channels are.
    shape: (h, w).
  """
  h, w, c = _shape(model, shape)
  if decorrelate and c != 3:
    raise UserError(
      f'fourier(decorrelate=True) is for the three channels of RGB, the model '
      f'has {c}: leave decorrelate out'
    )
  decorrelate = c == 3 if decorrelate is None else decorrelate
  black_white = model.range
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
      start = core.grey_levels(black_white, target['start'])
      value = jnp.clip(start, 1, 254) / 255
      logits = jnp.log(value) - jnp.log1p(-value)
      plane = jnp.linalg.solve(colors.T, logits.reshape(-1, c).T).T
      spectrum = jnp.fft.rfft2(plane.reshape(h, w, c), axes=(0, 1)) / scale
      return jnp.stack([spectrum.real, spectrum.imag])
    return std * jax.random.normal(key, (2, *scale.shape), dtype)

  def render(scale, colors, params):
    spectrum = jax.lax.complex(params[0], params[1]) * scale
    plane = jnp.fft.irfft2(spectrum, s=(h, w), axes=(0, 1))
    grey = 255 * jax.nn.sigmoid(plane @ colors)
    return core.from_grey_levels(black_white, grey)

  return core.Parameterization(
    Partial(init, scale, colors), Partial(render, scale, colors)
  )


def generator(
  prior: core.Model,
  model: core.Model,
  std: core.Number = 1.0,
  layer: str | None = None,
  scale: core.Number = 1.0,
  offset: core.Number | None = None,
  bgr: bool = False,
) -> core.Parameterization:
  """The code of an image generator (Nguyen et al. 2016): params are [n].

  https://arxiv.org/abs/1605.09304. The code is the generator's input [h, w, c]
  as one vector: channels, rows, columns, the order in which Caffe's programs
  write bounds. image = scale * picture + offset grey levels, of which the
  middle is taken, (H - h) // 2 pixels from the top.

  Starts at target['code'] if there is one, else at N(0, std).

  Args:
    prior: the generator, a network whose input is the code.
    model: the network that looks at the image; gives its size.
    std: standard deviation of the start.
    layer: of the generator, that is the picture; its last unless given.
    scale: 127.5 for a generator of -1 to 1.
    offset: 127.5 for that one. Unless given the picture is less a mean, as
      those of load('deepsim_fc6') are, and the mean of `model` is added.
    bgr: whether the picture's channels are in that order, as from a Caffe
      generator that is read by caffe.load.
  """
  h, w, c = prior.input_shape
  dtype = jnp.result_type(prior.mean)
  name = _picture(prior, layer)
  code = jax.ShapeDtypeStruct((h * w * c,), dtype)

  def picture(prior, params):
    return prior(params.reshape(c, h, w).transpose(1, 2, 0))[name]

  found = jax.eval_shape(picture, prior, code).shape
  size = model.input_shape
  if (
    len(found) != 3 or found[2] != size[2] or min(np.subtract(found, size)) < 0
  ):
    raise UserError(
      f"the generator's picture {name!r} is {found}, but the image is {size}: "
      'use another generator, or a smaller --config.shape=HxW'
    )
  top, left = (found[0] - size[0]) // 2, (found[1] - size[1]) // 2
  black_white = model.range
  shift = jnp.broadcast_to(
    core.grey_levels(black_white, model.mean) if offset is None else offset,
    size,
  )

  def init(prior, key, target):
    if 'start' in target:
      raise UserError(
        'a generator starts from a code, not from config.start: type '
        "--config.data=\"code = encoded(encoder, 'relu6', 'a.jpg', prior)\""
      )
    if 'code' in target:
      return target['code']
    return std * jax.random.normal(key, code.shape, dtype)

  def render(prior, shift, params):
    image = picture(prior, params)[top : top + size[0], left : left + size[1]]
    image = image[..., ::-1] if bgr else image
    return core.from_grey_levels(black_white, scale * image + shift)

  return core.Parameterization(
    Partial(init, prior), Partial(render, prior, shift.astype(dtype))
  )


def _picture(prior: core.Model, layer: str | None) -> str:
  """The layer that a generator ends with, or the one that was named."""
  names = [info.name for info in prior.layers]
  if not names:

    def traced(prior, code):
      acts = prior(code)
      names.extend(acts)  # in its own order; what comes out of JAX is sorted
      return acts

    code = jax.ShapeDtypeStruct(prior.input_shape, jnp.result_type(prior.mean))
    jax.eval_shape(traced, prior, code)
  if layer is None:
    return names[-1]
  if layer not in names:
    raise UserError(
      f'generator(): layer {layer!r} is not in the generator. Layers: '
      f'{", ".join(names)}'
    )
  return layer


def _shape(
  model: core.Model, shape: tuple[int, int] | None
) -> tuple[int, int, int]:
  channels = model.input_shape[2]
  return model.input_shape if shape is None else (*shape, channels)
