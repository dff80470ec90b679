"""Terms of the score: factories of `core.Term`, maximized.

A term reads activations by name (`acts['conv5']`, [h, w, c] or [c]; also the
reserved 'view', 'centered', 'image', 'params') and what differs between runs
from `target`. A regularizer is a term with a negative weight:

  neuron(layer) - 0.1 * total_variation()

Terms of a unit, channel, layer, mask or direction are multiplied by
target['sign'] where there is one, -1 for an image that minimizes them. A term
that does not read target['sign'] cannot be minimized.

What a term reads, `build/reach.py` finds out from the term itself: a term that
reads the unit's position alone is made on its receptive field, and one that
reads the unit's channel has a run for each channel of a layer.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vizjax import core
from vizjax import reading
from vizjax.errors import UserError


def neuron(layer: str, read: str | None = None) -> core.Term:
  """The activation of target['unit'] in a layer.

  Args:
    layer: its name; the gradient enters here.
    read: the layer whose value is reported, `layer` unless given. Programs
      on Caffe networks with in-place rectifiers read `relu5` and
      differentiate `conv5`: neuron('conv5', read='relu5').
  """

  @core.Term
  def term(acts, target):
    unit = target['unit']
    act = reading.unit(reading.layer(acts, layer), unit, layer)
    if read not in (None, layer):
      # Sliced before they are joined: a sum of maps would be read as a whole.
      value = reading.unit(reading.layer(acts, read), unit, read)
      act = _with_derivative_of(act, value)
    return _turned(act, target)

  return term


def channel(layer: str) -> core.Term:
  """The mean of one channel over the map of a layer.

  Olah et al. 2017, https://distill.pub/2017/feature-visualization.
  """

  @core.Term
  def term(acts, target):
    act = reading.layer(acts, layer)
    one = reading.channel(act, target['unit'], layer)
    return _turned(jnp.mean(one), target)

  return term


def layer(name: str) -> core.Term:
  """The mean activation of a whole layer."""

  @core.Term
  def term(acts, target):
    return _turned(jnp.mean(reading.layer(acts, name)), target)

  return term


def dream(layer: str) -> core.Term:
  """Half the mean square of a layer: DeepDream (Mordvintsev et al. 2015).

  The published gradient is that of half the *sum* of squares; the program
  then divides by the gradient's mean, so only the direction matters.
  """

  @core.Term
  def term(acts, target):
    del target
    return jnp.mean(reading.layer(acts, layer) ** 2) / 2

  return term


def amplify_layer(
  layer: str,
  l1: core.Number,
  l2: core.Number,
  clip: core.Number,
  read: str | None = None,
) -> core.Term:
  """What cnn-vis climbs: the sum of l1 a|a| / 2 and l2 h(a) over a layer.

  Its gradient is l1 |a| + l2 clip(a, -g, g), and h(a) the Huber function of
  that bound g: a^2 / 2 up to it, linear beyond.

  Args:
    layer: its name; the gradient enters here.
    l1: weight of the first part.
    l2: weight of the second.
    clip: g.
    read: the layer whose values are taken, as in `neuron`.
  """

  @core.Term
  def term(acts, target):
    del target
    act = _read(acts, layer, read)
    size = jnp.abs(act)
    huber = jnp.where(size < clip, act**2 / 2, clip * (size - clip / 2))
    return jnp.sum(l1 * act * size / 2 + l2 * huber)

  return term


def amplify_neuron(layer: str, read: str | None = None) -> core.Term:
  """The sum of one channel over the map of a layer (cnn-vis).

  Args:
    layer: its name; the gradient enters here.
    read: the layer whose values are taken, as in `neuron`.
  """

  @core.Term
  def term(acts, target):
    act = _read(acts, layer, read)
    one = reading.channel(act, target['unit'], layer)
    return _turned(jnp.sum(one), target)

  return term


def mask(layer: str) -> core.Term:
  """The sum of a layer weighted by target['mask'], of the layer's shape."""

  @core.Term
  def term(acts, target):
    act = reading.layer(acts, layer)
    weighted = act * _data(target, 'mask', act.shape)
    return _turned(jnp.sum(weighted), target)

  return term


def direction(layer: str, power: core.Number = 0) -> core.Term:
  """Agreement of every position of a layer with target['direction'] [c].

  The mean over positions of (a . v) max(0.1, cos(a, v))^power, as lucid's
  objectives.direction (Olah et al. 2018 use power 1 and 2; 0 is the dot
  product): https://distill.pub/2018/building-blocks.
  """

  @core.Term
  def term(acts, target):
    act = reading.layer(acts, layer)
    vector = _data(target, 'direction', act.shape[-1:])
    return _turned(jnp.mean(_dot_cosine(act, vector, power)), target)

  return term


def direction_neuron(layer: str, power: core.Number = 0) -> core.Term:
  """`direction` at the position of target['unit'] alone."""

  @core.Term
  def term(acts, target):
    act = reading.layer(acts, layer)
    vector = _data(target, 'direction', act.shape[-1:])
    here = reading.position(act, target['unit'], layer)
    return _turned(_dot_cosine(here, vector, power), target)

  return term


def total_variation(beta: core.Number = 2, of: str = 'centered') -> core.Term:
  """Sum of (dy^2 + dx^2)^(beta/2), differences to the next pixel.

  Mahendran and Vedaldi 2015, eq. 4, https://arxiv.org/abs/1412.0035; zero
  beyond the last row and column. For beta < 2 the derivative is infinite on
  flat ground, so there it is taken where the summand is 1e-5, as they do.
  """

  @core.Term
  def term(acts, target):
    del target
    image = acts[of]
    down = jnp.pad(jnp.diff(image, axis=0), ((0, 1), (0, 0), (0, 0)))
    right = jnp.pad(jnp.diff(image, axis=1), ((0, 0), (0, 1), (0, 0)))
    return jnp.sum(_half_power(down**2 + right**2, beta))

  return term


def mean_variation(of: str = 'centered') -> core.Term:
  """Mean square of differences downwards, and of those to the right, in sum.

  Johnson et al. 2016, in the scale of neural-style: each mean is over its own
  number of differences.
  """

  @core.Term
  def term(acts, target):
    del target
    image = acts[of]
    down, right = jnp.diff(image, axis=0), jnp.diff(image, axis=1)
    return jnp.mean(down**2) + jnp.mean(right**2)

  return term


def p_norm(
  p: core.Number, scale: core.Number = 1.0, of: str = 'centered'
) -> core.Term:
  """Sum of |x / scale|^p over pixels and channels.

  Mahendran and Vedaldi 2015 use p = 6. The derivative at zero is zero, for p
  up to 1, too, where there is none.

  Raises:
    UserError: p is not above 0.
  """
  if not p > 0:
    raise UserError(f'p_norm({p!r}): expected a power above 0, as p_norm(6)')

  @core.Term
  def term(acts, target):
    del target
    # The sign makes the derivative of |x| zero at zero.
    ratio = acts[of] / scale
    size = ratio * jnp.sign(ratio)
    if p >= 1:
      return jnp.sum(size**p)
    # The derivative of size^p is infinite at zero, and 0 times that is NaN.
    zero = size == 0
    return jnp.sum(jnp.where(zero, 0, jnp.where(zero, 1, size) ** p))

  return term


def l1(of: str = 'centered') -> core.Term:
  """Sum of absolute values."""
  return p_norm(1.0, of=of)


def l2(of: str = 'centered') -> core.Term:
  """Sum of squares: the regularizer of Simonyan et al. 2013, eq. 1.

  https://arxiv.org/abs/1312.6034
  """

  @core.Term
  def term(acts, target):
    del target
    return jnp.sum(acts[of] ** 2)

  return term


def l2_norm(of: str = 'centered') -> core.Term:
  """Euclidean norm; its gradient at zero is zero."""

  @core.Term
  def term(acts, target):
    del target
    return _root(jnp.sum(acts[of] ** 2))

  return term


def std(of: str = 'centered') -> core.Term:
  """Population standard deviation over pixels and channels."""

  @core.Term
  def term(acts, target):
    del target
    return _root(jnp.var(acts[of]))

  return term


def argmax(layer: str) -> core.Term:
  """Channel, row and column [3] of the largest activation of a layer.

  The first of equals in Caffe's order, channels first.
  """

  @core.Term
  def term(acts, target):
    del target
    act = reading.layer(acts, layer)
    act = act if act.ndim == 3 else act[None, None]
    first = jnp.argmax(jnp.moveaxis(act, -1, 0))
    h, w, _ = act.shape
    return jnp.stack([first // (h * w), first // w % h, first % w])

  return term


def is_max(layer: str) -> core.Term:
  """1 where target['unit'] is the largest of a layer, else 0; of NaN, NaN."""
  largest = argmax(layer)

  @core.Term
  def term(acts, target):
    unit = target['unit']
    act = reading.layer(acts, layer)
    first = jnp.all(largest(acts, target) == jnp.stack(unit))
    own = reading.unit(act, unit, layer)
    unknown = jnp.isnan(own) | jnp.isnan(act).any()
    return jnp.where(unknown, jnp.nan, first).astype(acts['view'].dtype)

  return term


def _turned(value: Float[Array, ''], target: core.Target) -> Float[Array, '']:
  """The value, or less it where a unit's image is to be minimized."""
  return target['sign'] * value if 'sign' in target else value


def _read(acts: core.Acts, name: str, read: str | None) -> Array:
  """The values of one layer with the derivatives of another."""
  act = reading.layer(acts, name)
  if read in (None, name):
    return act
  return _with_derivative_of(act, reading.layer(acts, read))


def _with_derivative_of(act: Array, value: Array) -> Array:
  """Returns the value, with the derivative of `act`."""
  return act + jax.lax.stop_gradient(value - act)


def _data(target: core.Target, name: str, shape: tuple[int, ...]) -> Array:
  if name not in target:
    raise UserError(
      f'the objective reads a {name}, but none is given: '
      f'set --config.{name}=FILE.npy, or an expression'
    )
  if target[name].shape != shape:
    raise UserError(f'{name} has shape {target[name].shape}, expected {shape}')
  return target[name]


def _dot_cosine(
  act: Float[Array, '*p c'], vector: Float[Array, 'c'], power: core.Number
) -> Float[Array, '*p']:
  dot = act @ vector
  if power == 0:
    return dot
  # Lucid's constants (objectives_util.py): the floor keeps a gradient where
  # the cosine is negative, the small number keeps it finite at zero.
  norms = _root(jnp.sum(act**2, axis=-1))
  cosine = dot / (1e-4 + norms) / (1e-4 + jnp.linalg.norm(vector))
  return dot * jnp.maximum(cosine, 0.1) ** power


def _root(square: Array) -> Array:
  """The square root, with derivative zero at zero."""
  safe = jnp.where(square > 0, square, 1)
  return jnp.where(square > 0, jnp.sqrt(safe), 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _half_power(square: Array, beta: core.Number) -> Array:
  """square^(beta/2), with the derivative of where it is at least 1e-5."""
  return square ** (beta / 2)


@_half_power.defjvp
def _half_power_jvp(beta, primals, tangents):
  (square,), (tangent,) = primals, tangents
  slope = jnp.maximum(square, 1e-5 ** (2 / beta)) ** (beta / 2 - 1)
  return _half_power(square, beta), beta / 2 * slope * tangent
