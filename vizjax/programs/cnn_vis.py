"""cnn-vis (Johnson 2015): a large image, tile by tile and size by size.

Source: https://github.com/jcjohnson/cnn-vis, which follows "Inceptionism"
(Mordvintsev et al. 2015). An image of any size is covered by tiles of the
size that the network takes. Each tile has an optimizer state of its own. Two
sets of tiles move in turn, so that tiles of a set share corners at most. Its
recipe is configs/cnn_vis.py; cnn_vis_images.py makes what it starts from, and
sweeps/watching.py writes its pictures.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
import optax

from vizjax import core
from vizjax import transforms
from vizjax.errors import UserError

# Rows and columns of the pixels whose history the program plots.
PIXELS = ((100, 100), (200, 200), (100, 200), (200, 100))

# A smaller squared difference counts as this one, in value and derivative.
_FLAT = 1e-3

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


class _Norm(NamedTuple):
  """A penalty: weight * sum of |pixel / scale|^power."""

  weight: core.Number
  power: core.Number
  scale: core.Number


class _Variation(NamedTuple):
  """A penalty: weight * total variation of the image / scale."""

  weight: core.Scheduled
  power: core.Number
  scale: core.Number
  operator: str  # a key of _KERNELS


class _Options(NamedTuple):
  """The options of `cnn_vis`, a group for each penalty."""

  tile: int
  norm: _Norm  # of the image less the photograph
  auxiliary: _Norm  # of the image
  variation: _Variation
  divides_by_coverage: bool


class _Maps(NamedTuple):
  """Arrays of the image's size, cut into tiles as the image is."""

  reference: Float[Array, 'h w c']  # the photograph; zeros without one
  coverage: Float[Array, 'h w 1']  # number of tiles that a pixel lies in


class _Moved(NamedTuple):
  """The image, and the records of the tile that was moved last."""

  image: Float[Array, 'h w c']
  update: Float[Array, 't t c']
  pixels: Float[Array, 't t c']  # after the update
  records: dict[str, Float[Array, '']]


def cnn_vis(
  tile: int,
  p_reg: core.Number = 1e-4,
  alpha: core.Number = 6.0,
  p_scale: core.Number = 1.0,
  p_reg_aux: core.Number = 0.0,
  alpha_aux: core.Number = 6.0,
  p_scale_aux: core.Number = 1.0,
  tv_reg: core.Scheduled = 0.5,
  beta: core.Number = 2.0,
  tv_reg_scale: core.Number = 1.0,
  tv_grad_operator: str = 'naive',
  use_pixel_learning_rates: bool = False,
) -> core.Procedure:
  """Returns the step of cnn-vis. Arguments are its options, with its defaults.

  The recipe's objective scores one tile. Each tile has an optimizer state
  of its own, and its gradient is that of the objective and of three penalties.
  The recipe's projections and transforms are not used. The image that the
  penalties see is less the network's mean. If the target has 'reference', the
  photograph at the current size, the first p-norm is that of the image less
  the photograph.

  A step records, besides the objective summed over all tiles ('score'), the
  numbers that the program prints:

    p_loss, tv_loss: the first p-norm and the total variation, last tile
    p, aux, tv: mean |gradient| of each weighted penalty, last tile
    amplify, gradient_norm: mean and norm of the objective's gradients, last set
    step_mean, step_median: mean and median |update|, last tile
    step_ratio: mean |update / updated pixel|, last tile
    image_mean, image_std: mean and standard deviation of the image, at the end
    pixels: [4, c], the pixels `PIXELS` before the step, NaN beyond the image

  Args:
    tile: rows and columns of a tile.
    p_reg: weight of the first p-norm.
    alpha: its power.
    p_scale: its divisor of pixels.
    p_reg_aux: weight of the second p-norm, that of the image itself.
    alpha_aux: its power.
    p_scale_aux: its divisor of pixels.
    tv_reg: weight of the total variation, or a schedule of the step.
    beta: its power.
    tv_reg_scale: its divisor of pixels.
    tv_grad_operator: 'naive', 'sobel' or 'sobel_squish'.
    use_pixel_learning_rates: whether the update of a pixel is divided by the
      number of tiles that the pixel lies in.

  Raises:
    UserError: the operator is unknown, or a power is not above 0.
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
  options = _Options(
    tile,
    _Norm(p_reg, alpha, p_scale),
    _Norm(p_reg_aux, alpha_aux, p_scale_aux),
    _Variation(tv_reg, beta, tv_reg_scale, tv_grad_operator),
    use_pixel_learning_rates,
  )
  return core.Procedure(
    functools.partial(_step, options), functools.partial(_extra, tile)
  )


def steadily(
  start: core.Number, change: core.Number, every: int
) -> Callable[[Int[Array, '']], Float[Array, '']]:
  """Returns a schedule: `start`, and `change` more after each `every` steps."""
  if every < 1:
    raise UserError(f'steadily: every is {every!r}, expected steps >= 1')
  return lambda step: start + change * (step // every)


def tile_corners(
  height: int, width: int, tile: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
  """Returns the corners (y, x) of an image's tiles: the even and the odd set.

  Both sets go column by column. A tile is even if the numbers of its row and
  column of tiles are both even or both odd, so tiles that touch along a
  side are of different sets.
  """
  sets = [], []
  for i, x in enumerate(transforms.starts(width, tile)):
    for j, y in enumerate(transforms.starts(height, tile)):
      sets[(i + j) % 2].append((y, x))
  return sets


def p_norm(
  image: Float[Array, 'h w c'], p: core.Number, scale: core.Number
) -> tuple[Float[Array, ''], Float[Array, 'h w c']]:
  """Returns the sum of |x / scale|^p, and its gradient.

  The gradient of a zero is zero for any p > 0.
  """
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
  """Returns the total variation of an image, and its gradient.

  The variation is the sum of q^(beta/2) for q = max(dx^2 + dy^2, 1e-3), as in
  Mahendran and Vedaldi 2015 for 'naive'. The gradient of a flat place is that
  of its differences at q = 1e-3, not zero.

  Args:
    image: [h, w, c].
    beta: the power.
    operator: of the differences: 'naive', 'sobel' or 'sobel_squish'.
    scale: divisor of the image.
  """
  correlate = functools.partial(_correlated, operator)
  differences, back = jax.vjp(correlate, image / scale)
  square = jnp.maximum(differences[0] ** 2 + differences[1] ** 2, _FLAT)
  slope = beta / 2 * square ** (beta / 2 - 1)
  (gradient,) = back(2 * differences * slope[None])
  return jnp.sum(square ** (beta / 2)), gradient / scale


def _step(
  options: _Options,
  recipe: core.Recipe,
  state: core.State,
  target: core.Target,
  key: Key[Array, ''],
) -> tuple[core.State, dict[str, Array]]:
  """Moves the tiles of the even set, then those of the odd set."""
  del key  # cnn-vis draws no random numbers after the start
  image, tile = state.params, options.tile
  h, w, _ = image.shape
  reference = jnp.zeros_like(image)
  if 'reference' in target:
    reference = core.center(recipe.model, target['reference'])
  maps = _Maps(reference, _coverage(image.shape, tile, image.dtype))
  move = functools.partial(
    _move_tile, options, recipe.optimizer, maps, state.step
  )
  moved, score, states = _unmoved(image, tile), 0, []
  for corners, states_of_set in zip(
    tile_corners(h, w, tile), state.extra, strict=True
  ):
    if corners:
      corners = jnp.array(corners)
      values, gradients = _amplified(recipe, target, moved.image, corners, tile)
      score += jnp.sum(values)
      moved, states_of_set = jax.lax.scan(
        move, moved, (corners, gradients, states_of_set)
      )
    states.append(states_of_set)
  trace = {
    'score': score,
    **_records(moved, gradients),
    'pixels': _pixels(image),
  }
  state = core.noted(state, image, score)
  return state._replace(
    params=moved.image, step=state.step + 1, extra=tuple(states)
  ), trace


def _move_tile(
  options: _Options,
  optimizer: optax.GradientTransformation,
  maps: _Maps,
  step: Int[Array, ''],
  moved: _Moved,
  tile: tuple[Array, Array, Any],
) -> tuple[_Moved, Any]:
  """Updates one tile of the image.

  Args:
    options: of the program.
    optimizer: of the recipe.
    maps: of the image's size.
    step: number of the step.
    moved: the image, in which tiles of this set may share corners.
    tile: its corner (y, x), the gradient of its objective, and the state of
      its optimizer.

  Returns:
    The image after the update, and the new state of the optimizer.
  """
  corner, gradient, optimizer_state = tile
  cut = functools.partial(_cut, corner=corner, tile=options.tile)
  before = cut(moved.image)
  losses, penalties = _penalties(options, before, cut(maps.reference), step)
  update, optimizer_state = optimizer.update(
    gradient + sum(penalties.values()), optimizer_state, before
  )
  if options.divides_by_coverage:
    update = update / jnp.broadcast_to(cut(maps.coverage), update.shape)
  after = before + update
  image = jax.lax.dynamic_update_slice(moved.image, after, (*corner, 0))
  sizes = {name: jnp.mean(jnp.abs(g)) for name, g in penalties.items()}
  return _Moved(image, update, after, losses | sizes), optimizer_state


def _penalties(
  options: _Options,
  pixels: Float[Array, 't t c'],
  reference: Float[Array, 't t c'],
  step: Int[Array, ''],
) -> tuple[dict[str, Float[Array, '']], dict[str, Float[Array, 't t c']]]:
  """Returns the two printed losses, and the three weighted gradients."""
  norm, variation = options.norm, options.variation
  p_loss, p = p_norm(pixels - reference, norm.power, norm.scale)
  _, aux = p_norm(pixels, options.auxiliary.power, options.auxiliary.scale)
  tv_loss, tv = total_variation(
    pixels, variation.power, variation.operator, variation.scale
  )
  losses = {'p_loss': p_loss, 'tv_loss': tv_loss}
  gradients = {
    'p': norm.weight * p,
    'aux': options.auxiliary.weight * aux,
    'tv': core.at(variation.weight, step) * tv,
  }
  return losses, gradients


def _unmoved(image: Float[Array, 'h w c'], tile: int) -> _Moved:
  """Returns the image before its first tile is moved, with blank records."""
  blank = jnp.zeros((tile, tile, image.shape[2]), image.dtype)
  names = ('p_loss', 'tv_loss', 'p', 'aux', 'tv')  # as `_move_tile` has them
  records = dict.fromkeys(names, jnp.zeros((), image.dtype))
  return _Moved(image, blank, blank, records)


def _records(
  moved: _Moved, gradients: Float[Array, 'n t t c']
) -> dict[str, Float[Array, '']]:
  """Returns the records of a step.

  Args:
    moved: the image, and the last tile, after all tiles were moved.
    gradients: of the objective, for the tiles of the last set.
  """
  size = jnp.abs(moved.update)
  return moved.records | {
    'gradient_norm': jnp.sqrt(jnp.sum(gradients**2)),
    'amplify': jnp.mean(jnp.abs(gradients)),
    'step_mean': jnp.mean(size),
    'step_median': jnp.median(size),
    'image_mean': jnp.mean(moved.image),
    'image_std': jnp.std(moved.image),
    'step_ratio': jnp.mean(size / jnp.abs(moved.pixels)),
  }


def _extra(
  tile: int, recipe: core.Recipe, params: core.Params, target: core.Target
) -> tuple[Any, ...]:
  """Returns the optimizer states [n, ...] of the tiles, for each set.

  Raises:
    UserError: the recipe or the image does not suit cnn-vis.
  """
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
      'cnn_vis has one mean for all tiles: give config.mean as r,g,b'
    )
  h, w, c = params.shape
  if min(h, w) < tile:
    raise UserError(
      f'the image is {h} x {w}, expected at least {tile} x {tile}, one tile: '
      'type a larger --config.initial_size'
    )
  blank = jnp.zeros((tile, tile, c), params.dtype)
  state = recipe.optimizer.init(blank)

  def repeated(count):
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (count, *a.shape)), state)

  return tuple(repeated(len(starts)) for starts in tile_corners(h, w, tile))


def _amplified(
  recipe: core.Recipe,
  target: core.Target,
  image: Float[Array, 'h w c'],
  corners: Int[Array, 'n 2'],
  tile: int,
) -> tuple[Float[Array, 'n'], Float[Array, 'n t t c']]:
  """Returns the objective of each tile, and the gradient of its negative."""

  def loss(pixels):
    view = pixels + jnp.broadcast_to(recipe.model.mean, pixels.shape)
    acts = core.activations(recipe, view, view, pixels)
    return -recipe.objective(acts, core.signed(target, view.dtype))

  def of_tile(corner):
    return jax.value_and_grad(loss)(_cut(image, corner=corner, tile=tile))

  # Parts of one size; tiles from the beginning fill the last part up.
  parts = core.view_batches(len(corners), recipe.tile_batch)
  of_part = lambda part: jax.vmap(of_tile)(corners[part])
  flat = lambda a: a.reshape(-1, *a.shape[2:])[: len(corners)]
  values, gradients = jax.tree.map(flat, jax.lax.map(of_part, parts))
  return -values, gradients


def _cut(image: Array, *, corner: Array, tile: int) -> Array:
  """Returns the tile [t, t, c] of an image at a corner (y, x)."""
  shape = (tile, tile, image.shape[2])
  return jax.lax.dynamic_slice(image, (*corner, 0), shape)


def _coverage(shape: Sequence[int], tile: int, dtype: Any) -> Array:
  """Returns [h, w, 1]: the number of tiles that each pixel lies in."""
  rows, columns = (
    sum((at >= s) & (at < s + tile) for s in transforms.starts(n, tile))
    for n, at in ((n, jnp.arange(n)) for n in shape[:2])
  )
  return (rows[:, None, None] * columns[None, :, None]).astype(dtype)


def _pixels(image: Float[Array, 'h w c']) -> Float[Array, '4 c']:
  """Returns the values of PIXELS; NaN beyond the image."""
  h, w, c = image.shape
  beyond = jnp.full((c,), jnp.nan, image.dtype)
  return jnp.stack(
    [image[y, x] if y < h and x < w else beyond for y, x in PIXELS]
  )


def _correlated(
  operator: str, image: Float[Array, 'h w c']
) -> Float[Array, '2 k l c']:
  """Returns differences to the right and down, where the kernel fits."""
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
