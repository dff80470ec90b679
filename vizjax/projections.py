"""What is done to the parameters after the update: `core.Projection`.

A projection is (params, gradient of the score, step) -> params. They run in
the order of the formula:

  l2_decay(decay) | every(period, gaussian_blur(sigma)) | clip_pixels(model)

A number may be a schedule, a function of the step such as
linear_schedule(2., .5, steps).
"""

from collections.abc import Callable
import warnings

import jax
from jax.tree_util import Partial
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vizjax import core
from vizjax import errors
from vizjax.errors import UserError

_LATEST = 10**9  # a step at which every schedule has come to its end

# A knob that is zero leaves its projection out of the program.
_NOTHING = Partial(lambda params, grads, step: params)


def l2_decay(rate: core.Scheduled) -> core.Projection:
  """Multiplies the parameters by 1 - rate (the fraction *removed*)."""
  _within('l2_decay', rate, 0, 1)

  def project(params, grads, step):
    del grads
    kept = 1 - core.at(rate, step)
    return jax.tree.map(lambda p: p * jnp.asarray(kept, p.dtype), params)

  return Partial(project)


def gaussian_blur(sigma: core.Scheduled) -> core.Projection:
  """Blurs each channel of the pixels; sigma in pixels.

  The kernel reaches int(4 sigma + 0.5) pixels and the border is reflected
  (d c b a | a b c d | d c b a), as scipy.ndimage.gaussian_filter does. A
  scheduled sigma must be largest at its start or its end; one that grows
  beyond both gives NaN, for its kernel would not fit the program.
  """
  _within('gaussian_blur', sigma, 0, 1e4)
  largest = max(map(float, _ends(sigma)))
  if largest == 0:
    return _NOTHING
  if largest < 0.3:
    warnings.warn(
      f'gaussian_blur({largest:g}) hardly blurs: below 0.3 pixels the kernel '
      'has no neighbours to speak of',
      stacklevel=2,
    )
  radius = int(4 * largest + 0.5)

  def project(params, grads, step):
    del grads
    _need_pixels('gaussian_blur', params)
    h, w, _ = params.shape
    now = jnp.asarray(core.at(sigma, step), params.dtype)
    rows = _blur_matrix(h, now, radius)
    columns = _blur_matrix(w, now, radius)
    exact = jax.lax.Precision.HIGHEST
    down = jnp.einsum('ih,hwc->iwc', rows, params, precision=exact)
    both = jnp.einsum('jw,iwc->ijc', columns, down, precision=exact)
    return jnp.where(now > largest, jnp.nan, both)

  return Partial(project)


def clip_pixels(model: core.Model) -> core.Projection:
  """Keeps the image within the model's range, 0-255 unless it has another.

  The params are image - mean, so they stay within low - mean and high - mean.
  """
  black_white = model.range

  def project(mean, params, grads, step):
    del grads, step
    _need_pixels('clip_pixels', params)
    mean = jnp.broadcast_to(mean, params.shape)
    return jnp.clip(params, *core.bounds(black_white, mean))

  return Partial(project, model.mean)


def clip_box(
  lower: ArrayLike | None, upper: ArrayLike | None
) -> core.Projection:
  """Clips the parameters to [lower, upper]: numbers, or arrays like them.

  None is no bound.

  The codes of generators: clip_box(0, bound(bounds, prior)).
  """

  def project(lower, upper, params, grads, step):
    del grads, step

    def clipped(p):
      ends = (
        None if end is None else jnp.asarray(end, p.dtype)
        for end in (lower, upper)
      )
      return jnp.clip(p, *ends)

    return jax.tree.map(clipped, params)

  return Partial(project, lower, upper)


def weighted_blur(center: core.Number = 188) -> core.Projection:
  """Averages each pixel with its neighbours; zero beyond the border.

  The kernel is [[1, 2, 1], [2, center, 2], [1, 2, 1]] over its sum: the blur
  of the class visualisation of Stanford's CS231n (2016), with 188 of 200.
  """
  kernel = jnp.array([[1.0, 2.0, 1.0], [2.0, center, 2.0], [1.0, 2.0, 1.0]])
  kernel /= kernel.sum()

  def project(params, grads, step):
    del grads, step
    _need_pixels('weighted_blur', params)
    h, w, _ = params.shape
    padded = jnp.pad(params, ((1, 1), (1, 1), (0, 0)))
    taps = [
      kernel[i, j].astype(params.dtype) * padded[i : i + h, j : j + w]
      for i in range(3)
      for j in range(3)
    ]
    return sum(taps)

  return Partial(project)


def clip_percentile(q: core.Scheduled) -> core.Projection:
  """Clips to the percentiles q/2 and 100 - q/2 over all channels (cnnpref)."""
  _within('clip_percentile', q, 0, 100)

  def project(params, grads, step):
    del grads
    half = core.at(q, step) / 2
    low, high = jnp.percentile(params, jnp.array([half, 100 - half]))
    return jnp.clip(params, low, high)

  return Partial(project)


def drop_small_values(q: core.Scheduled) -> core.Projection:
  """Zeroes the entries whose size is below the q-th percentile of sizes.

  Yosinski et al. 2015, https://arxiv.org/abs/1506.06579; as all `drop_`, the
  comparison is strict and q is a percentage of the whole image.
  """
  return _drop('drop_small_values', q, lambda x, _: jnp.abs(x))


def drop_small_norms(q: core.Scheduled) -> core.Projection:
  """Zeroes the pixels whose norm over channels is small (Yosinski 2015)."""
  return _drop('drop_small_norms', q, lambda x, _: jnp.linalg.norm(x, axis=-1))


def drop_small_contributions(q: core.Scheduled) -> core.Projection:
  """Zeroes the pixels where the norm of x * gradient is small (cnnpref)."""
  return _drop(
    'drop_small_contributions',
    q,
    lambda x, g: jnp.linalg.norm(x * g, axis=-1),
  )


def drop_small_benefits(q: core.Scheduled) -> core.Projection:
  """Zeroes the pixels where -sum_c x * gradient is small (Yosinski 2015).

  That is the predicted gain of zeroing a pixel; the program zeroes those
  that gain *least*, and so does this.
  """
  return _drop('drop_small_benefits', q, lambda x, g: jnp.sum(g * -x, axis=-1))


def drop_small_abs_benefits(q: core.Scheduled) -> core.Projection:
  """Zeroes the pixels where |sum_c x * gradient| is small (Yosinski 2015)."""
  return _drop(
    'drop_small_abs_benefits', q, lambda x, g: jnp.abs(jnp.sum(g * x, axis=-1))
  )


def every(
  n: int, projection: core.Projection, phase: int = 0
) -> core.Projection:
  """Applies a projection at the steps where (step + phase) % n == 0.

  With n = 0 never. The toolbox of Yosinski et al. counts from its first step
  (phase 0), cnnpref from the n-th (phase 1).
  """
  errors.whole('every: n', n, 0)
  if n == 0:
    return _NOTHING

  def project(projection, params, grads, step):
    due = (step + phase) % n == 0
    changed = projection(params, grads, step)
    return jax.tree.map(lambda a, b: jnp.where(due, a, b), changed, params)

  return Partial(project, core.as_data(projection))


def _drop(name: str, q: core.Scheduled, measure: Callable) -> core.Projection:
  _within(name, q, 0, 100)
  if not callable(q) and q == 0:
    return _NOTHING  # nothing is below the smallest

  def project(params, grads, step):
    _need_pixels(name, params)
    size = measure(params, grads)
    kept = size >= jnp.percentile(size, core.at(q, step))
    kept = kept if kept.ndim == params.ndim else kept[..., None]
    return jnp.where(kept, params, 0)

  return Partial(project)


def _blur_matrix(
  size: int, sigma: Float[Array, ''], radius: int
) -> Float[Array, 'size size']:
  """Row i holds the weights of the pixels that are averaged into pixel i."""
  offset = jnp.arange(-radius, radius + 1)
  variance = jnp.where(sigma > 0, sigma, 1) ** 2
  weights = jnp.exp(-(offset**2) / (2 * variance))
  # scipy cuts the kernel at int(4 sigma + 0.5) of the sigma at hand.
  reach = jnp.floor(4 * sigma + 0.5)
  weights = jnp.where(jnp.abs(offset) <= reach, weights, 0)
  weights /= weights.sum()
  here = jnp.arange(size)[:, None]
  there = (here + offset[None, :]) % (2 * size)
  there = jnp.where(there < size, there, 2 * size - 1 - there)
  weights = jnp.broadcast_to(weights, there.shape)
  return jnp.zeros((size, size), weights.dtype).at[here, there].add(weights)


def _within(
  name: str, number: core.Scheduled, low: core.Number, high: core.Number
) -> None:
  for value in map(float, _ends(number)):
    if not low <= value <= high:
      raise UserError(
        f'{name}({value!r}): expected a number from {low} to {high}'
      )


def _ends(number: core.Scheduled) -> tuple[core.Number | Array, ...]:
  """What a number is at the first step and at the last of any run."""
  return (number(0), number(_LATEST)) if callable(number) else (number,)


def _need_pixels(name: str, params: core.Params) -> None:
  if not isinstance(params, jax.Array) or params.ndim != 3:
    raise UserError(
      f'{name} works on pixels [h, w, c], but this parameterization has '
      f'{jax.tree.map(jnp.shape, params)}: use parameterization '
      "'pixels(model)', or take the projection out"
    )
