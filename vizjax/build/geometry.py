"""Sizes: of the image that is made, and of what the network sees of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree
import numpy as np

from vizjax import core
from vizjax import transforms
from vizjax.errors import UserError
from vizjax.models import receptive_fields

Size = tuple[int, int]  # (h, w)


class Geometry(NamedTuple):
  """The sizes that a program works at, and the way from one to the other."""

  canvas: Size  # the image that is made and kept
  view: Size  # what the network sees
  transforms: tuple[core.Transform, ...]
  clean: core.Transform  # the view of an image that nothing moves


def activation_shapes(
  model: core.Model, size: Size | None = None
) -> dict[str, jax.ShapeDtypeStruct]:
  """Shape and dtype of every activation; nothing is computed.

  Args:
    model: the network.
    size: (h, w) of the image; the network's own unless given.
  """
  h, w = model.input_shape[:2] if size is None else size
  shape = (h, w, model.input_shape[2])
  image = jax.ShapeDtypeStruct(shape, jnp.result_type(model.mean))
  return output_shapes(model.apply, model.params, image)


def output_shapes(
  apply: Callable, params: PyTree, image: PyTree
) -> dict[str, jax.ShapeDtypeStruct]:
  """What a network gives for an image; traced once, and not computed."""
  like = jax.tree.map(
    lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)),
    (params, image),
  )
  return _apply.eval_shape(apply, *like)


# Of a function of one's own JAX would trace every call.
_apply = jax.jit(
  lambda apply, params, image: apply(params, image), static_argnums=0
)


def of_canvas(
  links: tuple[core.Transform, ...], canvas: Size, channels: int
) -> Geometry:
  """A canvas of the user's size; the network sees what is left of it."""
  return _geometry(canvas, _after(links, canvas, channels), links, links)


def of_view(
  links: tuple[core.Transform, ...], view: Size, channels: int
) -> Geometry:
  """A view of the network's size (its input, or the box of a unit).

  The canvas is larger by what transforms like jitter eat, so that a view is
  always full of image; what `pad` adds beyond is cut off again.

  Raises:
    UserError: a transform of fixed size leaves less than the view.
  """
  canvas = view
  for link in reversed(links):
    grown = [(canvas[0] + n, canvas[1] + n) for n in (512, 513)]
    changes = [
      np.subtract(_after([link], size, channels), size) for size in grown
    ]
    if (changes[0] == changes[1]).all():  # else it gives a fixed size
      h, w = canvas - np.minimum(changes[0], 0)
      canvas = int(h), int(w)
  left = _after(links, canvas, channels)
  if left == view:
    return _geometry(canvas, view, links, links)
  if min(np.subtract(left, view)) < 0:
    raise UserError(
      f'the transforms leave {left[0]} x {left[1]} pixels, the network needs '
      f'{view[0]} x {view[1]}: set --config.shape=HxW, or leave out a crop'
    )
  return _geometry(canvas, view, (*links, transforms.crop(*view)), links)


def tiled(geometry_: Geometry) -> bool:
  """Whether the network is shown an image tile by tile."""
  return _still(geometry_.transforms) is not None


def _geometry(
  canvas: Size,
  view: Size,
  moving: tuple[core.Transform, ...],
  links: tuple[core.Transform, ...],
) -> Geometry:
  still = _still(links) or transforms.crop
  return Geometry(canvas, view, moving, still(*view))


def _still(links: Sequence[core.Transform]) -> Callable | None:
  """Returns the factory (h, w) -> Transform of the tiles; None for none."""
  stills = (getattr(link, transforms.STILL, None) for link in links)
  return next((still for still in stills if still is not None), None)


def on_canvas(
  box: receptive_fields.Box, geometry_: Geometry
) -> receptive_fields.Box:
  """A box of the clean view, on the canvas; what lies off it is cut away."""
  corners = np.array([[box.top, box.left], [0, 0]])
  corners[1] = corners[0] + [box.height, box.width]
  # As transforms.fit puts the canvas into the view.
  corners = corners - np.subtract(geometry_.view, geometry_.canvas) // 2
  (top, left), (bottom, right) = np.clip(corners, 0, geometry_.canvas).tolist()
  return receptive_fields.Box(top, left, bottom - top, right - left)


def _after(links: Sequence[core.Transform], shape: Size, channels: int) -> Size:
  """The size after some transforms; nothing is computed."""

  # The arrays of runs have no shapes before the canvas has one.
  target = {'unit': core.Unit(*jnp.zeros(3, int))}

  def apply(views):
    for link in links:
      views = link(core.Draw(core.key(0), jnp.array(0), target), views)
    return views

  views = jax.ShapeDtypeStruct((1, *shape, channels), jnp.float32)
  _, h, w, _ = jax.eval_shape(apply, views).shape
  return h, w
