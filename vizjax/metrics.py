"""Terms that tell how good an image is: selective, natural, unlike the others.

They are made for config.metrics, where they are taken of the final image
without transforms; `diversity` is an objective, too. What is measured under
transforms is config.robust, of `parallel`; what needs photographs is on the
pages of `atlas`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from vizjax import core
from vizjax import reading
from vizjax.errors import UserError

# The axis of `jax.vmap` over the images of one unit.
REPLICATE = 'replicate'

# Pixels of an image that has frequencies enough for a slope.
SMALLEST = 8

_LOWEST = 2  # of the frequencies in the slope: below, the window is seen


def rank(layer: str) -> core.Term:
  """The place of target['unit'] among the channels where it is: 1, 2, ...

  One more than how many are stronger; no gradient. How selective an image is
  for its unit. NaN where an activation that is compared is NaN.
  """

  @core.Term
  def term(acts, target):
    act = reading.layer(acts, layer)
    here = reading.position(act, target['unit'], layer)
    own = reading.unit(act, target['unit'], layer)
    place = 1.0 + jnp.sum(here > own, dtype=act.dtype)
    unknown = jnp.isnan(own) | jnp.isnan(here).any()
    return jnp.where(unknown, jnp.nan, place)

  return term


def spectrum_slope(of: str = 'view') -> core.Term:
  """How fast the power of an image falls with the frequency.

  The slope of the line through log power over log frequency, the power in the
  mean over rings one cycle an image wide, from two cycles to half a cycle a
  pixel; of the mean of the colours, under a Hann window. NaN for an image of
  one colour.

  Photographs have about -2 (Field 1987, https://doi.org/10.1364/JOSAA.4.002379)
  and, scaled down and compressed as those of ImageNet, less: -2.6 with a
  deviation of 0.5 at 227 x 227. Checks and stripes of single pixels lift it.

  Args:
    of: 'view', what the network sees, or 'image'.

  Raises:
    UserError: it is another, or lower or narrower than 8 pixels.
  """
  if of not in ('view', 'image'):
    raise UserError(f"spectrum_slope({of!r}): expected 'view' or 'image'")

  @core.Term
  def term(acts, target):
    del target
    grey = jnp.mean(acts[of], axis=-1)
    flat = grey.min() == grey.max()
    window, rings, counts = _rings(*grey.shape)
    window = window.astype(grey.dtype)
    grey = (grey - jnp.average(grey, weights=window)) * window
    power = jnp.abs(jnp.fft.fft2(grey)).ravel() ** 2
    mean = jnp.sum(jnp.append(power, 0)[rings], 1) / counts
    x = np.log(_LOWEST + np.arange(len(rings)))
    x = (x - x.mean()).astype(mean.dtype)
    slope = jnp.sum(x * jnp.log(mean)) / np.sum(x**2)
    return jnp.where(flat, jnp.nan, slope)

  return term


def diversity(layer: str) -> core.Term:
  """How unlike the others of its unit an image is: -sum_j cos(G, G_j).

  Over the other replicates, with the Gram matrices G = F'F of a layer's
  activations F [positions, c]. Olah et al. 2017, appendix 'Diversity',
  https://distill.pub/2017/feature-visualization. The gradient is that of the
  sum over all images of the unit, as lucid takes it; what lucid subtracts,
  `- 1e2 * diversity`, is added here: `+ 100 * diversity(layer)`.

  Args:
    layer: a map [h, w, c], or a layer [c], as one position.
  """

  @core.Term
  def term(acts, target):
    del target
    return -_likeness(reading.layer(acts, layer))

  return term


def distance(layer: str) -> core.Term:
  """How far from the others of its unit an image is: mean_j 1 - cos(G, G_j).

  From 0 to 1, with the G_j of `diversity`; NaN where there are no others. Of
  what is seen: in its receptive field, if a unit is made on that.

  Args:
    layer: as there.
  """

  @core.Term
  def term(acts, target):
    del target
    likeness = _likeness(reading.seen(acts, layer))
    others = jax.lax.axis_size(REPLICATE) - 1
    return 1 - likeness / others if others else jnp.nan * likeness

  return term


def _rings(h: int, w: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The Hann window [h, w], and the frequencies of every ring.

  As places in the spectrum [n, k], filled up with h * w, the place after its
  last; how many of them there are [n].
  """
  size = min(h, w)
  if size < SMALLEST:
    raise UserError(
      f'spectrum_slope() of {h} x {w} pixels, expected at least {SMALLEST} x '
      f'{SMALLEST}: leave it out of config.metrics for this layer'
    )
  # Without the zeros at its ends, which would cut two pixels off.
  window = np.outer(*(np.hanning(n + 2)[1:-1] for n in (h, w)))
  y, x = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)
  # Half way between two rings is in the outer one, whatever was rounded.
  ring = np.floor(np.hypot(y, x) * size + 0.5 + 1e-9).ravel()
  places = [
    np.flatnonzero(ring == number) for number in range(_LOWEST, size // 2 + 1)
  ]
  counts = np.array([len(each) for each in places])
  filled = np.full((len(places), counts.max()), h * w, np.int32)
  for row, each in zip(filled, places, strict=True):
    row[: len(each)] = each
  return window, filled, counts


def _likeness(act: Array) -> Float[Array, '']:
  """The sum of cos(G, G_j) over the other images of the unit."""
  try:
    if act.ndim == 1:
      # G is the product of a vector with itself.
      vector = act / _norm(act)
      everyone = jax.lax.all_gather(vector, REPLICATE)
      return jnp.sum((everyone @ vector) ** 2) - jnp.sum(vector**2) ** 2
    flat = act.reshape(-1, act.shape[-1])
    gram = jnp.matmul(flat.T, flat, precision=jax.lax.Precision.HIGHEST)
    gram = gram / _norm(gram)
    return jnp.sum(gram * (jax.lax.psum(gram, REPLICATE) - gram))
  except NameError:
    raise UserError(
      'diversity() and distance() compare the images of a unit: make them by '
      f'vizjax run, or under jax.vmap(..., axis_name={REPLICATE!r})'
    ) from None


def _norm(values: Array) -> Float[Array, '']:
  """The Euclidean norm, at least lucid's 1e-5: nothing is like nothing."""
  return jnp.sqrt(jnp.maximum(jnp.sum(values**2), 1e-10))
