"""Copies of vizjax's terms with their helpers, as a user's module has them."""

import jax
import jax.numpy as jnp

REPLICATE = 'replicate'


def neuron(layer, read=None):
  def term(acts, target):
    unit = target['unit']
    act = _unit(acts[layer], unit)
    if read not in (None, layer):
      value = _unit(acts[read], unit)
      act = act + jax.lax.stop_gradient(value - act)
    return _turned(act, target)

  return term


def channel(layer):
  def term(acts, target):
    one = _get(acts[layer], (..., target['unit'].channel))
    return _turned(jnp.mean(one), target)

  return term


def rank(layer):
  def term(acts, target):
    act = acts[layer]
    here = _position(act, target['unit'])
    own = _unit(act, target['unit'])
    place = 1.0 + jnp.sum(here > own, dtype=act.dtype)
    unknown = jnp.isnan(own) | jnp.isnan(here).any()
    return jnp.where(unknown, jnp.nan, place)

  return term


def distance(layer):
  def term(acts, target):
    del target
    likeness = _likeness(reading_seen(acts, layer))
    others = jax.lax.axis_size(REPLICATE) - 1
    return 1 - likeness / others if others else jnp.nan * likeness

  return term


def direction_neuron(layer, power=0):
  def term(acts, target):
    here = _position(acts[layer], target['unit'])
    return _turned(_dot_cosine(here, target['direction'], power), target)

  return term


# Ways in which a unit is read by hand.


def indexed(layer):
  def term(acts, target):
    unit = target['unit']
    return target['sign'] * acts[layer][unit.y, unit.x, unit.channel]

  return term


def indexed_twice(layer):
  def term(acts, target):
    unit = target['unit']
    return target['sign'] * acts[layer][unit.y, unit.x][unit.channel]

  return term


def unpacked(layer):
  def term(acts, target):
    channel, y, x = target['unit']
    here = jax.lax.dynamic_slice(acts[layer], (y, x, channel), (1, 1, 1))
    return target['sign'] * here.squeeze()

  return term


def taken(layer):
  @jax.jit
  def pick(act, unit):
    return jnp.take(act[unit.y, unit.x], unit.channel)

  return lambda acts, target: target['sign'] * pick(acts[layer], target['unit'])


def swapped(layer):
  def term(acts, target):
    unit = target['unit']
    return target['sign'] * acts[layer][unit.x, unit.y, unit.channel]

  return term


def neighbor(layer):
  def term(acts, target):
    unit = target['unit']
    return target['sign'] * acts[layer][unit.y - 1, unit.x, unit.channel]

  return term


def row_as_channel(layer):
  def term(acts, target):
    unit = target['unit']
    return target['sign'] * acts[layer][unit.y, unit.x, unit.y]

  return term


def sized(layer):
  def term(acts, target):
    unit, act = target['unit'], acts[layer]
    return target['sign'] * act[unit.y, unit.x, unit.channel] / act.shape[0]

  return term


def alone(layer):
  def term(acts, target):
    unit, act = target['unit'], acts[layer]
    value = target['sign'] * act[unit.y, unit.x, unit.channel]
    return value if act.shape[0] > 1 else -value

  return term


def wrapped(layer):
  """Equal to the unit's row only in the first 16 rows."""

  def term(acts, target):
    unit, act = target['unit'], acts[layer]
    return target['sign'] * act[unit.y % 16, unit.x, unit.channel]

  return term


def grouped(layer):
  def term(acts, target):
    unit = target['unit']
    index = unit.y, unit.x, unit.channel // 64
    return target['sign'] * acts[layer].at[index].get(mode='fill')

  return term


@jax.custom_vjp
def _unit_of(act, unit):
  return act[unit.y, unit.x, unit.channel]


def _unit_forward(act, unit):
  return _unit_of(act, unit), act


def _unit_backward(act, slope):
  return slope * jnp.abs(act), None  # not of the unit alone


_unit_of.defvjp(_unit_forward, _unit_backward)


def own_derivative(layer):
  return lambda acts, target: (
    target['sign'] * _unit_of(acts[layer], target['unit'])
  )


def picky(layer):
  def term(acts, target):
    unit, act = target['unit'], acts[layer]
    assert act.shape[:2] in ((6, 6), (13, 11))
    return target['sign'] * act[unit.y, unit.x, unit.channel]

  return term


def mirrored(layer):
  def term(acts, target):
    unit, act = target['unit'], acts[layer]
    return target['sign'] * act[unit.y, 5 - unit.y, unit.channel]

  return term


def branched(layer):
  def term(acts, target):
    unit, act = target['unit'], acts[layer]
    read = lambda: act[unit.y, unit.x, unit.channel]
    return target['sign'] * jax.lax.cond(unit.channel >= 0, read, lambda: 0.0)

  return term


def symmetry(layer):
  """No unit, and no sign."""
  return lambda acts, target: (
    -jnp.mean((acts[layer] - acts[layer][:, ::-1]) ** 2)
  )


def idle(layer, other):
  """Another layer is looked up, and nothing comes of it."""

  def term(acts, target):
    del target
    acts[other]
    return jnp.mean(acts[layer])

  return term


def idle_by_get(layer, other):
  def term(acts, target):
    del target
    assert acts.get(other) is not None and acts.get('nothing') is None
    return jnp.mean(acts[layer])

  return term


def holding(layer):
  """Another network, as it must not be held."""
  weights = jnp.ones((600, 600))
  return lambda acts, target: (
    target['sign'] * jnp.sum(weights) + jnp.mean(acts[layer])
  )


def failing(layer):
  def term(acts, target):
    raise ZeroDivisionError('of the term')

  return term


def _unit(act, unit):
  return _get(act, (unit.y, unit.x, unit.channel))


def _position(act, unit):
  return _get(act, (unit.y, unit.x))


def _get(act, index):
  return act.at[index].get(
    mode='fill', fill_value=jnp.nan, wrap_negative_indices=False
  )


def _turned(value, target):
  return target['sign'] * value if 'sign' in target else value


def _dot_cosine(act, vector, power):
  dot = act @ vector
  if power == 0:
    return dot
  square = jnp.sum(act**2, axis=-1)
  safe = jnp.where(square > 0, square, 1)
  norms = jnp.where(square > 0, jnp.sqrt(safe), 0)
  cosine = dot / (1e-4 + norms) / (1e-4 + jnp.linalg.norm(vector))
  return dot * jnp.maximum(cosine, 0.1) ** power


def reading_seen(acts, name):
  from vizjax import reading

  return reading.seen(acts, name)


def _likeness(act):
  flat = act.reshape(-1, act.shape[-1])
  gram = jnp.matmul(flat.T, flat, precision=jax.lax.Precision.HIGHEST)
  gram = gram / jnp.sqrt(jnp.maximum(jnp.sum(gram**2), 1e-10))
  return jnp.sum(gram * (jax.lax.psum(gram, REPLICATE) - gram))
