"""cnn-vis (Johnson 2015): a large image, window by window and size by size.

Source: https://github.com/jcjohnson/cnn-vis, which follows "Inceptionism"
(Mordvintsev et al. 2015). An image of any size is covered by windows of the
size that the network takes. Each window has an optimizer of its own, and two
sets of windows move by turns, so that windows of a set share corners at most.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vizjax import core
from vizjax import transforms
from vizjax.errors import UserError

# Rows and columns of the pixels whose history the program plots.
PIXELS = ((100, 100), (200, 200), (100, 200), (200, 100))

# Squared differences below it count as it, in value and derivative.
_FLAT = 1e-3

# What is recorded of the losses of a window.
_TOLD = ('p_loss', 'tv_loss', 'p', 'aux', 'tv')

# Kernels of differences to the right and down, of valid correlations.
_KERNELS = {
  'naive': ([[1, -1], [0, 0]], [[1, 0], [-1, 0]]),
  'sobel': (
    [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
  ),
  'sobel_squish': (
    [[-1, 1, 0], [-2, 2, 0], [-1, 1, 0]],
    [[-1, -2, -1], [1, 2, 1], [0, 0, 0]],
  ),
}


def cnn_vis(
  tile: int,
  p_reg: core.Number,
  alpha: core.Number,
  p_scale: core.Number,
  p_reg_aux: core.Number,
  alpha_aux: core.Number,
  p_scale_aux: core.Number,
  tv_reg: core.Scheduled,
  beta: core.Number,
  tv_reg_scale: core.Number,
  tv_grad_operator: str,
  use_pixel_learning_rates: bool = False,
) -> core.Procedure:
  """The step of cnn-vis. Arguments have the names of its options.

  The objective is that of one window, and the optimizer, of which each window
  has one, sees the gradient of all. Projections and transforms are not used.
  Reads target['reference'], the photograph at the size at hand, if there is
  one: `alpha` then is of the distance from it.

  Records, besides the objective summed over windows, what the program prints:
  p_loss and tv_loss of the last window of a step, the mean sizes of what is
  added to its gradient (p, aux, tv) and of the gradients of the last set
  (amplify), the mean and the median size of its step, mean and deviation of
  the image, and the mean of |step / pixel|; and `pixels`, [4, 3], the program's
  four pixels before the step, NaN where there are none.

  Args:
    tile: rows and columns of a window.
    p_reg: weight of the first p-norm.
    alpha: its power.
    p_scale: what pixels are divided by in it.
    p_reg_aux: weight of the p-norm of the image less its mean.
    alpha_aux: its power.
    p_scale_aux: what pixels are divided by in it.
    tv_reg: weight of the total variation; a schedule of steps of one size.
    beta: its power.
    tv_reg_scale: what pixels are divided by in it.
    tv_grad_operator: 'naive', 'sobel' or 'sobel_squish'.
    use_pixel_learning_rates: whether a step is divided by the number of
      windows that a pixel lies in.
  """
  if tv_grad_operator not in _KERNELS:
    raise UserError(
      f'tv_grad_operator is {tv_grad_operator!r}, expected one of '
      f'{", ".join(_KERNELS)}'
    )

  for name, power in (('alpha', alpha), ('alpha_aux', alpha_aux)):
    if not power > 0:
      raise UserError(
        f'cnn_vis: {name} is {power!r}, expected a power above 0, as 6'
      )

  def penalties(window, reference, now):
    """The two losses that are printed, and the three weighted gradients."""
    p_loss, p = p_norm(window - reference, alpha, p_scale)
    _, aux = p_norm(window, alpha_aux, p_scale_aux)
    tv_loss, tv = total_variation(window, beta, tv_grad_operator, tv_reg_scale)
    weight = core.at(tv_reg, now)
    losses = {'p_loss': p_loss, 'tv_loss': tv_loss}
    return losses, (p_reg * p, p_reg_aux * aux, weight * tv)

  def moved(recipe, reference, coverage, now, carry, window):
    """The image after the update of one window, which may share corners."""
    image, *_ = carry
    start, gradient, optimizer = window
    cut = functools.partial(_cut, start=start, tile=tile)
    before = cut(image)
    losses, added = penalties(before, cut(reference), now)
    slope = gradient + sum(added)
    update, optimizer = recipe.optimizer.update(slope, optimizer, before)
    if use_pixel_learning_rates:
      update = update / jnp.broadcast_to(cut(coverage), update.shape)
    after = before + update
    image = jax.lax.dynamic_update_slice(image, after, (*start, 0))
    sizes = [jnp.mean(jnp.abs(a)) for a in added]
    told = losses | dict(zip(('p', 'aux', 'tv'), sizes, strict=True))
    return (image, update, after, told), optimizer

  def step(recipe, state, target, key):
    del key
    image, now = state.params, state.step
    h, w, c = image.shape
    reference = jnp.zeros_like(image)
    if 'reference' in target:
      reference = core.center(recipe.model, target['reference'])
    coverage = _coverage(image.shape, tile, image.dtype)
    move = functools.partial(moved, recipe, reference, coverage, now)
    blank = jnp.zeros((tile, tile, c), image.dtype)
    none = dict.fromkeys(_TOLD, jnp.zeros((), image.dtype))
    carry = image, blank, blank, none
    optimizers, score = [], 0
    for starts, optimizer in zip(windows(h, w, tile), state.extra, strict=True):
      if starts:
        starts = jnp.array(starts)
        values, gradients = _amplified(recipe, target, carry[0], starts, tile)
        score += jnp.sum(values)
        carry, optimizer = jax.lax.scan(
          move, carry, (starts, gradients, optimizer)
        )
      optimizers.append(optimizer)
    trace = {'score': score, **_told(*carry, gradients)}
    trace['pixels'] = _pixels(image)
    state = core.noted(state, image, score)
    return state._replace(
      params=carry[0], step=now + 1, extra=tuple(optimizers)
    ), trace

  return core.Procedure(step, functools.partial(_extra, tile))


def steadily(
  start: core.Number, change: core.Number, every: int
) -> Callable[[Int[Array, '']], Float[Array, '']]:
  """A schedule that changes by so much every so many steps."""
  if every < 1:
    raise UserError(f'steadily: every is {every!r}, expected steps >= 1')
  return lambda step: start + change * (step // every)


def windows(
  height: int, width: int, tile: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
  """The corners (y, x) of the windows of an image: the even and the odd set.

  Column by column; a window is even if its row and its column both are, or
  neither. Windows that touch along a side are of different sets.
  """
  sets = [], []
  for i, x in enumerate(transforms.starts(width, tile)):
    for j, y in enumerate(transforms.starts(height, tile)):
      sets[(i + j) % 2].append((y, x))
  return sets


def p_norm(
  image: Float[Array, 'h w c'], p: core.Number, scale: core.Number
) -> tuple[Float[Array, ''], Float[Array, 'h w c']]:
  """The sum of |x / scale|^p, and its gradient: zero at zero for any p > 0."""
  ratio = image / scale
  size = jnp.abs(ratio)
  # Below p = 1 the power of zero is infinite: the program then has NaN.
  base = size if p >= 1 else jnp.where(size == 0, 1, size)
  return jnp.sum(size**p), p / scale * jnp.sign(ratio) * base ** (p - 1)


def total_variation(
  image: Float[Array, 'h w c'],
  beta: core.Number,
  operator: str,
  scale: core.Number,
) -> tuple[Float[Array, ''], Float[Array, 'h w c']]:
  """The sum of q^(beta/2) for q = max(dx^2 + dy^2, 1e-3), and its gradient.

  Mahendran and Vedaldi 2015 for 'naive'. The gradient of a flat place is that
  of its differences at q = 1e-3, not zero.

  Args:
    image: [h, w, c].
    beta: the power.
    operator: of the differences: 'naive', 'sobel' or 'sobel_squish'.
    scale: what the image is divided by.
  """
  correlate = functools.partial(_correlated, operator)
  differences, back = jax.vjp(correlate, image / scale)
  square = jnp.maximum(differences[0] ** 2 + differences[1] ** 2, _FLAT)
  slope = beta / 2 * square ** (beta / 2 - 1)
  (gradient,) = back(2 * differences * slope[None])
  return jnp.sum(square ** (beta / 2)), gradient / scale


def _extra(
  tile: int, recipe: core.Recipe, params: core.Params, target: core.Target
) -> tuple[Any, ...]:
  """The optimizers of the windows of both sets."""
  del target
  if not isinstance(params, jax.Array) or params.ndim != 3:
    raise UserError(
      "cnn_vis works on pixels: use parameterization 'pixels(model)'"
    )
  if recipe.model.range != core.GREY_LEVELS:
    raise UserError(
      f'cnn_vis is for images of 0-255, but those of the model are '
      f'{recipe.model.range}: type core.in_grey_levels(model) for the model'
    )
  if jnp.ndim(recipe.model.mean) > 1:
    raise UserError(
      'cnn_vis has one mean for all windows: give config.mean as r,g,b'
    )
  h, w, c = params.shape
  if min(h, w) < tile:
    raise UserError(
      f'the image is {h} x {w}, expected at least {tile} x {tile}, one window: '
      'type a larger --config.initial_size'
    )
  blank = jnp.zeros((tile, tile, c), params.dtype)
  state = recipe.optimizer.init(blank)

  def repeated(count):
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (count, *a.shape)), state)

  return tuple(repeated(len(starts)) for starts in windows(h, w, tile))


def _told(
  image: Float[Array, 'h w c'],
  update: Float[Array, 't t c'],
  after: Float[Array, 't t c'],
  losses: dict[str, Float[Array, '']],
  gradients: Float[Array, 'n t t c'],
) -> dict[str, Float[Array, '']]:
  """The records of a step: of its last window, its last set, the image."""
  size = jnp.abs(update)
  return losses | {
    'gradient_norm': jnp.sqrt(jnp.sum(gradients**2)),
    'amplify': jnp.mean(jnp.abs(gradients)),
    'step_mean': jnp.mean(size),
    'step_median': jnp.median(size),
    'image_mean': jnp.mean(image),
    'image_std': jnp.std(image),
    'step_ratio': jnp.mean(size / jnp.abs(after)),
  }


def _amplified(
  recipe: core.Recipe,
  target: core.Target,
  image: Float[Array, 'h w c'],
  starts: Int[Array, 'n 2'],
  tile: int,
) -> tuple[Float[Array, 'n'], Float[Array, 'n t t c']]:
  """The objective of each window, and the gradient of minus it."""

  def loss(window):
    view = window + jnp.broadcast_to(recipe.model.mean, window.shape)
    acts = core.activations(recipe, view, view, window)
    return -recipe.objective(acts, target)

  def one(start):
    return jax.value_and_grad(loss)(_cut(image, start=start, tile=tile))

  # Equal parts; the last is filled up with windows from the beginning.
  rows = core.parts(len(starts), recipe.tile_batch)
  found = jax.lax.map(lambda part: jax.vmap(one)(starts[part]), rows)
  flat = lambda a: a.reshape(-1, *a.shape[2:])[: len(starts)]
  values, gradients = jax.tree.map(flat, found)
  return -values, gradients


def _cut(image: Array, *, start: Array, tile: int) -> Array:
  shape = (tile, tile, image.shape[2])
  return jax.lax.dynamic_slice(image, (*start, 0), shape)


def _coverage(shape: Sequence[int], tile: int, dtype: Any) -> Array:
  """[h, w, 1]: the number of windows that a pixel lies in."""
  rows, columns = (
    sum((at >= s) & (at < s + tile) for s in transforms.starts(n, tile))
    for n, at in ((n, jnp.arange(n)) for n in shape[:2])
  )
  return (rows[:, None, None] * columns[None, :, None]).astype(dtype)


def _pixels(image: Float[Array, 'h w c']) -> Float[Array, '4 c']:
  """The values of PIXELS; NaN beyond the image."""
  h, w, c = image.shape
  nothing = jnp.full((c,), jnp.nan, image.dtype)
  return jnp.stack(
    [image[y, x] if y < h and x < w else nothing for y, x in PIXELS]
  )


def _correlated(
  operator: str, image: Float[Array, 'h w c']
) -> Float[Array, '2 k l c']:
  """Differences to the right and down, where the kernel is in the image."""
  h, w, _ = image.shape
  size = len(_KERNELS[operator][0])
  rows, columns = h - size + 1, w - size + 1
  return jnp.stack(
    [
      sum(
        number * image[i : i + rows, j : j + columns]
        for i, row in enumerate(kernel)
        for j, number in enumerate(row)
        if number
      )
      for kernel in _KERNELS[operator]
    ]
  )
