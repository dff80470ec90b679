"""How a term reads the activations: a layer, a channel, a position, a unit.

A layer that is not there, and a unit that is not in it, are errors that say
what there is. Where the numbers of the unit are traced, as under `jax.jit`, no
error can be raised: a unit that is not in the layer then reads as NaN.
"""

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from vizjax import core
from vizjax.errors import UserError


def layer(acts: core.Acts, name: str) -> Array:
  """Returns the activations of a layer, [h, w, c] or [c].

  A reserved name means the layer where the network has one of that name: it
  is the image, or the like, only to terms that read `acts` themselves.

  Raises:
    UserError: there is none of that name.
  """
  shadowed = core.SHADOWED + name
  if not isinstance(acts, core.Activations):
    # A plain dictionary serves as well, and explains what it lacks, too.
    acts = core.Activations(acts)
  return acts[shadowed if shadowed in acts else name]


def seen(acts: core.Acts, name: str) -> Array:
  """Returns a layer as far as it is computed, [h, w, c] or [c].

  For terms that compare images as a whole: where a unit is made on its
  receptive field, such a term compares what lies in it. A term that reads the
  layer by `layer`, or by acts[name], keeps the unit on the whole image.

  Raises:
    UserError: there is none of that name.
  """
  as_seen = core.SEEN + name
  return acts[as_seen] if as_seen in acts else layer(acts, name)


def unit(act: Array, unit: core.Unit, name: str) -> Float[Array, '']:
  """The activation of a unit.

  Args:
    act: of the layer, [h, w, c] or [c]; a layer [c] has no positions, so the
      row and column of the unit are not read.
    unit: its channel, row and column.
    name: of the layer, for the error.

  Raises:
    UserError: the layer has no such unit.
  """
  if act.ndim == 1:
    return channel(act, unit, name)
  unit = placed(act, unit)
  _check(act, unit, name, ('channel', 'y', 'x'))
  return _get(act, (unit.y, unit.x, unit.channel))


def channel(act: Array, unit: core.Unit, name: str) -> Array:
  """The map [h, w] of a unit's channel, or the one number of a layer [c].

  Arguments and errors are those of `unit`.
  """
  _check(act, unit, name, ('channel',))
  return _get(act, (..., unit.channel))


def position(act: Array, unit: core.Unit, name: str) -> Float[Array, 'c']:
  """All channels at a unit's row and column; of a layer [c], the layer.

  Arguments and errors are those of `unit`.
  """
  if act.ndim == 1:
    return act
  unit = placed(act, unit)
  _check(act, unit, name, ('y', 'x'))
  return _get(act, (unit.y, unit.x))


def placed(act: Array, unit: core.Unit) -> core.Unit:
  """Returns the unit with the row and the column of the centre, if it has none.

  Args:
    act: of the layer, [h, w, c].
    unit: its channel, row and column.
  """
  y, x = (
    size // 2 if isinstance(number, core.Centre) else number
    for size, number in zip(act.shape, (unit.y, unit.x), strict=False)
  )
  return unit._replace(y=y, x=x)


def _get(act: Array, index: tuple) -> Array:
  reference = act.at[index]
  return reference.get(
    mode='fill', fill_value=jnp.nan, wrap_negative_indices=False
  )


def _check(
  act: Array, unit: core.Unit, name: str, parts: tuple[str, ...]
) -> None:
  axes = ('y', 'x', 'channel') if act.ndim == 3 else ('channel',)
  for part, size in zip(axes, act.shape, strict=True):
    number = getattr(unit, part)
    if part not in parts or isinstance(number, jax.core.Tracer):
      continue
    if not 0 <= int(number) < size:
      raise UserError(
        f'the unit has {part}={int(number)}, but layer {name!r} is '
        f'{" x ".join(map(str, act.shape))} ({", ".join(axes)}): expected '
        f'{part} from 0 to {size - 1}'
      )
