"""The line search of L-BFGS-B, one trial at a time.

Moré and Thuente 1994, Line search algorithms with guaranteed sufficient
decrease, ACM TOMS 20, 286-307 [T]; dcsrch and dcstep of MINPACK-2, which
SciPy's L-BFGS-B calls.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vizjax import core

_FTOL, _GTOL, _XTOL = 1e-3, 0.9, 0.1  # as lnsrlb of L-BFGS-B sets them


class Search(NamedTuple):
  """Names are of MINPACK; a point is [step, value, derivative]."""

  stp: Float[Array, '']  # to be evaluated next
  stpmax: Float[Array, '']
  start: Float[Array, '3']  # 0, finit, ginit
  best: Float[Array, '3']  # stx, fx, gx
  other: Float[Array, '3']  # sty, fy, gy: the other end of the interval
  limits: Float[Array, '2']  # stmin, stmax
  widths: Float[Array, '2']  # width, width1
  brackt: Bool[Array, '']
  stage2: Bool[Array, '']
  trials: Int[Array, '']  # evaluated so far


def start(f: Array, slope: Array, stp: Array, stpmax: Array) -> Search:
  """A search from a value and its derivative, with a first step."""
  zero, none, no = jnp.zeros_like(f), jnp.zeros((), jnp.int32), jnp.array(False)
  point = jnp.stack([zero, f, slope])
  limits, widths = jnp.stack([zero, 5 * stp]), jnp.stack([stpmax, 2 * stpmax])
  return Search(stp, stpmax, point, point, point, limits, widths, no, no, none)


def advance(search, f, g, finite) -> tuple[Search, Array]:
  """The search after a trial, and whether that is the next iterate [T].

  MINPACK-2's dcsrch; its convergence and its warnings both accept the trial.
  """
  stp, stpmax, (_, finit, ginit), best, other, limits, widths, *_ = search
  gtest = _FTOL * ginit
  enough = f <= finit + stp * gtest
  found = enough & (jnp.abs(g) <= -_GTOL * ginit)
  found |= (stp == stpmax) & enough & (g <= gtest)
  found |= (stp == 0) & (~enough | (g >= gtest))
  found = finite & (found | search.brackt & _narrow(stp, limits))

  stage2 = search.stage2 | enough & (g >= 0)
  # In the first stage the function is less its sufficient decrease.
  less = jnp.where(~stage2 & (f <= best[1]) & ~enough, gtest, 0)
  tilt = lambda p, by: p - by * jnp.stack([jnp.zeros_like(f), p[0], 1 + 0 * f])
  trial = jnp.stack([stp, f, g])
  best, other, trial = (tilt(p, less) for p in (best, other, trial))
  new, points, brackt = _dcstep(best, other, trial, search.brackt, limits)
  best, other = (tilt(p, -less) for p in points)

  stx, apart = best[0], jnp.abs(other[0] - best[0])
  bisect = brackt & (apart >= 0.66 * widths[1])
  new = jnp.where(bisect, (stx + other[0]) / 2, new)
  widths = jnp.where(brackt, jnp.stack([apart, widths[0]]), widths)
  ends = jnp.sort(jnp.stack([stx, other[0]]))
  beyond = new + jnp.array([1.1, 4], new.dtype) * (new - stx)
  limits = jnp.where(brackt, ends, beyond)
  new = jnp.clip(new, 0, stpmax)
  new = jnp.where(brackt & _narrow(new, limits), stx, new)
  after = (new, stpmax, search.start, best, other, limits, widths, brackt)

  half = (search.best[0] + stp) / 2
  most = jnp.maximum(half, search.best[0])
  failed = search._replace(stp=half, stpmax=most)
  after = Search(*after, stage2, search.trials)
  result = core.chosen(finite, core.chosen(found, search, after), failed)
  return result._replace(trials=search.trials + 1), found


def _narrow(stp, limits) -> Array:
  low, high = limits
  return (stp <= low) | (stp >= high) | (high - low <= _XTOL * high)


def _dcstep(best, other, trial, brackt, limits) -> tuple[Array, Any, Array]:
  """The next step and interval, by the four cases of [T, section 4]."""
  (stx, fx, dx), (sty, _, _), (stp, fp, dp) = best, other, trial
  higher = fp > fx
  opposite = jnp.sign(dp) * jnp.sign(dx) < 0
  farther = lambda a, b, p: jnp.abs(a - p) > jnp.abs(b - p)
  end = jnp.where(stp > stx, limits[1], limits[0])

  cubic, _ = _cubic(trial, best)
  quadratic = stx + dx / ((fx - fp) / (stp - stx) + dx) / 2 * (stp - stx)
  nearer = farther(quadratic, cubic, stx)
  case1 = jnp.where(nearer, cubic, cubic + (quadratic - cubic) / 2)

  cubic, turns = _cubic(best, trial)
  secant = stp + dp / (dp - dx) * (stx - stp)
  case2 = jnp.where(farther(cubic, secant, stp), cubic, secant)

  cubic = jnp.where(turns, cubic, end)
  far = farther(cubic, secant, stp)
  outer = jnp.where(far, cubic, secant)
  outer = jnp.maximum(jnp.minimum(outer, limits[1]), limits[0])
  inner = jnp.where(farther(secant, cubic, stp), cubic, secant)
  most = stp + 0.66 * (sty - stp)
  toward = jnp.where(stp > stx, 1, -1)  # inner is not to pass most
  inner = toward * jnp.minimum(toward * most, toward * inner)
  case3 = jnp.where(brackt, inner, outer)

  case4 = jnp.where(brackt, _cubic(other, trial)[0], end)

  cases = [higher, opposite, jnp.abs(dp) < jnp.abs(dx)]
  new = jnp.select(cases, [case1, case2, case3], case4)
  other = jnp.where(higher, trial, jnp.where(opposite, best, other))
  best = jnp.where(higher, best, trial)
  return new, (best, other), brackt | higher | opposite


def _cubic(first: Array, second: Array) -> tuple[Array, Array]:
  """The minimizer of the cubic through two points; if beyond the second."""
  (a, fa, da), (b, fb, db) = first, second
  theta = 3 * (fa - fb) / (b - a) + da + db
  s = jnp.maximum(jnp.abs(theta), jnp.maximum(jnp.abs(da), jnp.abs(db)))
  root = (theta / s) ** 2 - (da / s) * (db / s)
  gamma = s * jnp.sqrt(jnp.maximum(0, root)) * jnp.where(b > a, -1, 1)
  r = (gamma - db + theta) / (gamma - db + gamma + da)
  return b + r * (a - b), (r < 0) & (gamma != 0)
