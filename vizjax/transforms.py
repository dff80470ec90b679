"""Transforms of the image before the network: factories of `core.Transform`.

A transform maps views [v, h, w, c] to views; most keep their number,
`random_crops` multiplies it. Each view has a draw of its own, from its own
run's key, so no image of a batch depends on its neighbours. Nothing is
resized but by `crop`, `jitter` and `pad`: what leaves the canvas is cut and
what enters it is grey (127.5), so that one program serves every draw.

Lucid's five (Olah et al. 2017), and what its recipes add for a network that
wants images of one size:

  pad(12) | jitter(8) | scale(.9, 1.1) | rotate(10) | jitter(4) | trim(model)
"""

from collections.abc import Callable
import math

import jax
from jax.tree_util import Partial
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from vizjax import core
from vizjax import errors
from vizjax.errors import UserError

# Multiples of these two, less their whole parts, fill a square evenly: powers
# of 1 / 1.3247..., the root of x^3 = x + 1 (Roberts 2018,
# https://extremelearning.com.au/unreasonable-effectiveness-of-quasirandom-
# sequences).
_EVENLY = (0.7548776662466927, 0.5698402909980532)

GREY = 127.5  # the middle of 0-255: lucid pads with 0.5 of 1

# The attribute of a transform that shows an image tile by tile: (h, w) -> the
# transform into tiles of that size that lie still, for what is measured.
STILL = 'still'


def jitter(d: int) -> core.Transform:
  """A random crop, d smaller: [h, w] -> [h - d, w - d] (lucid)."""
  _whole('jitter', 0, d=d)

  def draw_view(draw, key, view):
    del draw
    h, w, c = view.shape
    y, x = jax.random.randint(key, (2,), 0, d + 1)
    return jax.lax.dynamic_slice(view, (y, x, 0), (h - d, w - d, c))

  return _per_view('jitter', draw_view, lambda h, w: (h - d, w - d))


def roll(d: int) -> core.Transform:
  """Circular shift by up to d pixels both ways (DeepDream, cnnpref)."""
  _whole('roll', 0, d=d)

  def draw_view(draw, key, view):
    del draw
    shift = jax.random.randint(key, (2,), -d, d + 1)
    return jnp.roll(view, shift, axis=(0, 1))

  return _per_view('roll', draw_view)


def pad(w: int, value: core.Number = GREY) -> core.Transform:
  """A border of w pixels: [h, w] -> [h + 2w, w + 2w]."""
  _whole('pad', 0, w=w)

  def draw_view(draw, key, view):
    del draw, key
    return jnp.pad(view, ((w, w), (w, w), (0, 0)), constant_values=value)

  return _per_view('pad', draw_view)


def scale(
  low: core.Number, high: core.Number, count: int | None = None
) -> core.Transform:
  """Magnifies about the centre by a factor drawn evenly from [low, high].

  Args:
    low: smallest factor.
    high: largest factor.
    count: draw one of so many evenly spaced factors (lucid: 11).
  """
  if not 0 < low <= high:
    raise UserError(
      f'scale({low!r}, {high!r}): expected 0 < low <= high, as scale(.9, 1.1)'
    )
  _count('scale', count)

  def draw_view(draw, key, view):
    del draw
    factor = _draw(key, low, high, count, view.dtype)
    h, w, _ = view.shape
    rows = _magnify(h, factor, view.dtype)
    columns = _magnify(w, factor, view.dtype)
    # Sums over rows, then columns; grey reads as zero.
    flat = jnp.einsum('ih,hwc->iwc', rows, view - GREY)
    return jnp.einsum('jw,iwc->ijc', columns, flat) + GREY

  return _per_view('scale', draw_view)


def rotate(
  degrees: core.Number, count: int | None = None, zeros: int = 0
) -> core.Transform:
  """Turns about the centre by an angle drawn evenly from [-degrees, degrees].

  Bilinear, where lucid takes the nearest pixel and fills with black.

  Args:
    degrees: the largest angle.
    count: draw one of so many evenly spaced angles.
    zeros: and as one of so many further draws, none (lucid: 21 and 5).
  """
  if not 0 <= degrees <= 360:
    raise UserError(f'rotate({degrees!r}): expected an angle from 0 to 360')
  _count('rotate', count)
  _whole('rotate', 0, zeros=zeros)
  if zeros and count is None:
    raise UserError('rotate(zeros=...) needs count, as rotate(10, 21, 5)')

  def draw_view(draw, key, view):
    del draw
    choose, draw_angle = jax.random.split(key)
    angle = _draw(draw_angle, -degrees, degrees, count, view.dtype)
    if zeros and count is not None:
      turned = jax.random.randint(choose, (), 0, count + zeros) < count
      angle = jnp.where(turned, angle, 0)
    return _turn(view, angle * (math.pi / 180))

  return _per_view('rotate', draw_view)


def crop(h: int, w: int) -> core.Transform:
  """The middle h x w pixels; grey is added where the view is smaller."""
  _whole('crop', 1, h=h, w=w)

  def draw_view(draw, key, view):
    del draw, key
    return fit(view, h, w)

  return _per_view('crop', draw_view)


def trim(model: core.Model) -> core.Transform:
  """The middle of a view, as large as the image: what `pad` added is cut off.

  In a larger view the image lies elsewhere on the grid of the network's strides
  than by itself: after lucid's five by 6 pixels in the mean, of the 16 from
  unit to unit of AlexNet's conv5. Images made there have less activation by
  themselves (`configs/olah2017.py`).

  Args:
    model: gives the size of the image.
  """
  return crop(*model.input_shape[:2])


def random_crops(n: int, h: int, w: int) -> core.Transform:
  """n random crops of every view: [v, ...] -> [v n, h, w, c]."""
  _whole('random_crops', 1, n=n, h=h, w=w)

  def transform(draw, views):
    v, height, width, c = views.shape
    _fits('random_crops', height - h + 1, width - w + 1)

    def one(i):
      key = jax.random.fold_in(draw.key, i)
      limit = jnp.array([height - h + 1, width - w + 1])
      y, x = jax.random.randint(key, (2,), 0, limit)
      view = views[i // n]
      return jax.lax.dynamic_slice(view, (y, x, 0), (h, w, c))

    return jax.vmap(one)(jnp.arange(v * n))

  return Partial(transform)


def tiles(h: int, w: int, moving: bool = True) -> core.Transform:
  """Windows that cover every view: [v, H, W, c] -> [v n, h, w, c].

  With config.views = 'sum' an image larger than a network's input is scored
  tile by tile. Tiles that a pixel is in have equal shares in its
  gradient. What a network sees at the border of a tile is not what is there:
  the seams are spread, not gone, as they are with `seamless`.

  Args:
    h: rows of a tile.
    w: columns.
    moving: whether the tiles lie elsewhere at every step, one more of them
      a side; else where `starts` has them. The offsets are spread evenly, not
      drawn: all are used equally often.
  """
  _whole('tiles', 1, h=h, w=w)

  def corners(step, total, size, ratio):
    fixed = starts(total, size)
    if not moving or len(fixed) == 1:
      return jnp.array(fixed)
    stride = -(-(total - size) // (len(fixed) - 1))
    regular = stride * jnp.arange(len(fixed) + 1) - _evenly(step, stride, ratio)
    return jnp.clip(regular, 0, total - size)

  def one(step, view):
    height, width, c = view.shape
    rows = corners(step, height, h, _EVENLY[0])
    columns = corners(step, width, w, _EVENLY[1])

    def cut(y, x, of_rows, of_columns):
      tile = jax.lax.dynamic_slice(view, (y, x, 0), (h, w, c))
      here = jax.lax.stop_gradient(tile)
      share = (of_rows[:, None] * of_columns[None])[:, :, None]
      share = jnp.broadcast_to(share, tile.shape).astype(tile.dtype)
      return here + share * (tile - here)  # the tile, with that derivative

    shares = _shares(rows, height, h), _shares(columns, width, w)
    across = jax.vmap(cut, (None, 0, None, 0))
    return jax.vmap(across, (0, None, 0, None))(rows, columns, *shares)

  def transform(draw, views):
    _, height, width, c = views.shape
    _fits('tiles', height - h + 1, width - w + 1)
    tiled = jax.vmap(lambda view: one(draw.step, view))(views)
    return tiled.reshape(-1, h, w, c)

  return _with_still_tiles(Partial(transform))


def seamless(model: core.Model, layer: str, h: int, w: int) -> core.Transform:
  """Tiles in which each unit of a layer is once: [v, H, W, c] -> [v n, ...].

  For a network without padding, models.unpadded: the sum over tiles of a sum
  over the layer is then that over the image as a whole, to the last pixel and
  with its gradient, whatever the size of a tile. The image is framed in the
  network's mean, so that all units that see any of it are there. The map lies
  elsewhere at every step, by whole pixels, up to its stride.

  It costs (h / step)^2 times what `tiles` do, for its tiles are a field less a
  stride wider than the step from one to the next.

  Args:
    model: gives the mean and the field.
    layer: the last that the objective reads.
    h: rows of a tile, at most; as many as whole units fill.
    w: columns.

  Raises:
    UserError: no field, a layer that is padded, or a tile that is too small.
  """
  field = {info.name: info.receptive_field for info in model.layers}.get(layer)
  if field is None or min(field.y.offset, field.x.offset) < 0:
    why = 'is padded: type unpadded(...) around the network'
    why = why if field else 'has no receptive field'
    raise UserError(f'seamless: layer {layer!r} {why}, or use tiles({h}, {w})')
  least = [span.offset + span.size for span in field]  # with what none sees
  if h < least[0] or w < least[1]:
    raise UserError(
      f'seamless({h}, {w}): a unit of {layer} needs tiles of at least '
      f'{least[0]} x {least[1]} pixels'
    )

  def side(step, total, most, span, ratio):
    """The corners of tiles along a side, their size, and the frame."""
    end = span.offset + span.size
    apart = ((most - end) // span.stride + 1) * span.stride
    size = apart - span.stride + end
    before = end + span.stride - 2
    count = -(-(total + before - span.offset) // apart)
    shift = _evenly(step, span.stride, ratio)
    corners = apart * jnp.arange(count) + shift
    last = apart * (count - 1) + span.stride - 1 + size
    return corners, size, (before, max(last - total - before, 0))

  def one(mean, step, view):
    rows, height, above = side(step, view.shape[0], h, field.y, _EVENLY[0])
    columns, width, beside = side(step, view.shape[1], w, field.x, _EVENLY[1])
    view = view - jnp.broadcast_to(mean, view.shape)
    view = jnp.pad(view, (above, beside, (0, 0)))

    def cut(y, x):
      return jax.lax.dynamic_slice(
        view, (y, x, 0), (height, width, view.shape[2])
      )

    across = jax.vmap(cut, (None, 0))
    found = jax.vmap(across, (0, None))(rows, columns)
    return found + jnp.broadcast_to(mean, found.shape)

  def transform(mean, draw, views):
    tiled = jax.vmap(lambda view: one(mean, draw.step, view))(views)
    return tiled.reshape(-1, *tiled.shape[-3:])

  mean = core.grey_levels(model.range, model.mean)
  return _with_still_tiles(Partial(transform, mean))


def _with_still_tiles(transform: Partial) -> Partial:
  """Returns a transform into tiles with its unmoving form beside it."""
  setattr(transform, STILL, lambda h, w: tiles(h, w, moving=False))
  return transform


def starts(total: int, size: int) -> list[int]:
  """The first pixels of the tiles that cover a side: the rule of cnn-vis.

  As few as touch or overlap, evenly spaced, the last at the end; halves are
  rounded up. No pixel is in three of them.

  Args:
    total: pixels of the side.
    size: of a tile, at most as many.
  """
  count = -(-total // size)
  # floor(x + 1/2) of k (total - size) / (count - 1), in whole numbers.
  gap, room = max(count - 1, 1), total - size
  return [(2 * k * room + gap) // (2 * gap) for k in range(count)]


def fit(
  view: Float[Array, 'h w c'], height: int, width: int
) -> Float[Array, 'k l c']:
  """The middle of an image, cut or framed in grey to height x width."""
  h, w, _ = view.shape
  top, left = (height - h) // 2, (width - w) // 2
  bottom, right = height - h - top, width - w - left
  edges = ((top, bottom, 0), (left, right, 0), (0, 0, 0))
  return jax.lax.pad(view, jnp.array(GREY, view.dtype), edges)


def _per_view(
  name: str, draw_view: Callable, size: Callable = lambda h, w: (h, w)
) -> Partial:
  """A transform that treats each view by itself, with a key of its own."""

  def transform(draw, views):
    _fits(name, *size(*views.shape[1:3]))
    keys = jax.vmap(lambda i: jax.random.fold_in(draw.key, i))(
      jnp.arange(len(views))
    )
    return jax.vmap(lambda key, view: draw_view(draw, key, view))(keys, views)

  return Partial(transform)


def _draw(
  key: Key[Array, ''],
  low: core.Number,
  high: core.Number,
  count: int | None,
  dtype,
) -> Float[Array, '']:
  if count is None:
    return jax.random.uniform(key, (), dtype, low, high)
  values = jnp.linspace(low, high, count, dtype=dtype)
  return values[jax.random.randint(key, (), 0, count)]


def _magnify(
  size: int, factor: Float[Array, ''], dtype
) -> Float[Array, 'size size']:
  """The matrix of linear interpolation that magnifies about the middle."""
  at = jnp.arange(size, dtype=dtype)
  middle = (size - 1) / 2
  source = (at - middle) / factor + middle
  distance = jnp.abs(source[:, None] - at[None, :])
  return jnp.maximum(1 - distance, 0)


def _turn(
  view: Float[Array, 'h w c'], angle: Float[Array, '']
) -> Float[Array, 'h w c']:
  """Rotates about the centre by bilinear interpolation, grey outside."""
  h, w, _ = view.shape
  y = jnp.arange(h, dtype=view.dtype)[:, None] - (h - 1) / 2
  x = jnp.arange(w, dtype=view.dtype)[None, :] - (w - 1) / 2
  cosine, sine = jnp.cos(angle), jnp.sin(angle)
  source_y = y * cosine - x * sine + (h - 1) / 2
  source_x = y * sine + x * cosine + (w - 1) / 2
  top, left = jnp.floor(source_y), jnp.floor(source_x)

  # A frame of grey, so that every corner that is read exists.
  framed = jnp.pad(view - GREY, ((1, 1), (1, 1), (0, 0)))
  row = jnp.clip(top + 1, 0, h).astype(int)
  column = jnp.clip(left + 1, 0, w).astype(int)
  down = jnp.clip(source_y + 1 - row, 0, 1)[..., None]
  right = jnp.clip(source_x + 1 - column, 0, 1)[..., None]
  upper = framed[row, column] * (1 - right) + framed[row, column + 1] * right
  lower = (
    framed[row + 1, column] * (1 - right) + framed[row + 1, column + 1] * right
  )
  return upper * (1 - down) + lower * down + GREY


def _shares(
  starts: Int[Array, 'n'], total: int, size: int
) -> Float[Array, 'n size']:
  """Returns the share of each tile in the pixels of a side."""
  pixels = jnp.arange(total)[None]
  inside = (pixels >= starts[:, None]) & (pixels < starts[:, None] + size)
  return (1 / inside.sum(0))[starts[:, None] + jnp.arange(size)[None]]


def _evenly(step: Int[Array, ''], count: int, ratio: float) -> Int[Array, '']:
  """One of 0 to count - 1 for each step, all equally often."""
  return jnp.floor(count * ((ratio * step + 0.5) % 1)).astype(int)


def _whole(name: str, least: int, **values: int) -> None:
  for argument, value in values.items():
    errors.whole(f'{name}: {argument}', value, least)


def _count(name: str, count: int | None) -> None:
  if count is not None:
    _whole(name, 1, count=count)


def _fits(name: str, height: int, width: int) -> None:
  if height < 1 or width < 1:
    raise UserError(
      f'{name} asks for more pixels than the view has: '
      f'use a larger image or a smaller {name}'
    )
