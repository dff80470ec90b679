"""L-BFGS-B as an optax optimizer: one evaluation of the score per step.

  [B] Byrd, Lu, Nocedal, Zhu 1995, A limited memory algorithm for bound
      constrained optimization, SIAM J. Sci. Comput. 16, 1190-1208
  [Z] Zhu, Byrd, Lu, Nocedal 1997, Algorithm 778, ACM TOMS 23, 550-560
  [M] Morales, Nocedal 2011, Remark on algorithm 778, ACM TOMS 38, 7
  [T] Moré, Thuente 1994, Line search algorithms with guaranteed sufficient
      decrease, ACM TOMS 20, 286-307

It is SciPy's minimize(method='L-BFGS-B') turned inside out: an update takes
the value and the gradient at the parameters, and moves these to where both
are wanted next, most often a trial of the line search.

With W = [Y, theta S], the last pairs y and s as columns, the Hessian is
B = theta I - W M W' [B, eq. 3.2]. Here V = [Y, S]' has the pairs as rows.
"""

from typing import Any, NamedTuple

import jax
from jax import flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree
import numpy as np
import optax

from vizjax import core

_FTOL, _GTOL, _XTOL = 1e-3, 0.9, 0.1  # of the line search: lnsrlb in [Z]

# Breakpoints of the projected gradient path that are looked at together.
_BLOCK = 1024


class _Memory(NamedTuple):
  V: Float[Array, 'k n']  # y in the first m rows, s in the others; k = 2m
  VV: Float[Array, 'k k']  # V V'
  theta: Float[Array, '']
  written: Int[Array, 'm']  # the number of the pair in a row, -1: none
  pairs: Int[Array, '']  # stored so far


class _Search(NamedTuple):
  """The names are MINPACK's; a point is [step, value, derivative]."""

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


class State(NamedTuple):
  """All that the method knows; vectors are flat."""

  lower: Float[Array, 'n']
  upper: Float[Array, 'n']
  x: Float[Array, 'n']  # the iterate x_k, its value and gradient
  f: Float[Array, '']
  g: Float[Array, 'n']
  z: Float[Array, 'n']  # the line search goes from x to z
  memory: _Memory
  search: _Search
  iteration: Int[Array, '']
  begun: Bool[Array, '']
  done: Bool[Array, '']  # converged or unable to go on: stays at x


def lbfgsb(
  lower: Any,
  upper: Any,
  memory: int = 10,
  ftol: core.Number = 2.220446049250313e-09,
  gtol: core.Number = 1e-5,
  maxls: int = 20,
) -> optax.GradientTransformationExtraArgs:
  """Minimizes in a box; an update spends one value and one gradient.

  The first update projects parameters outside the box onto it, which costs
  one evaluation. After convergence the parameters stay at the best iterate.

  A trial whose value or gradient is not finite has failed, and the longest
  step allowed becomes half-way back to the best one. At the first point, the
  parameters wait until both are finite.

  Differs from SciPy by rounding, and where breakpoints coincide: variables
  that reach their bounds together are fixed together.

  Args:
    lower: a number, an array that broadcasts to the params, or None.
    upper: likewise.
    memory: the number m of pairs.
    ftol: ends at (f_k - f_k+1) / max(|f_k|, |f_k+1|, 1) <= ftol.
    gtol: ends where no element of the projected gradient exceeds it.
    maxls: trials of a line search.
  """
  lower = -np.inf if lower is None else lower
  upper = np.inf if upper is None else upper
  if not np.all(np.asarray(lower) <= np.asarray(upper)):
    raise ValueError(
      f'lbfgsb(lower={lower!r:.60}, upper={upper!r:.60}): expected lower <= '
      'upper everywhere; type None for no bound'
    )
  if memory < 1 or maxls < 1:
    raise ValueError(
      f'lbfgsb(memory={memory!r}, maxls={maxls!r}): expected 1 or more'
    )

  def flat(params, bound):
    def fill(leaf):
      return jnp.broadcast_to(jnp.asarray(bound, leaf.dtype), leaf.shape)

    return flatten_util.ravel_pytree(jax.tree.map(fill, params))[0]

  def init(params: PyTree) -> State:
    return _init(flat(params, lower), flat(params, upper), memory)

  def update(updates, state, params=None, *, value, **extra):
    del extra
    point, unravel = flatten_util.ravel_pytree(params)
    g, _ = flatten_util.ravel_pytree(updates)
    f = value.astype(point.dtype)
    state, target = _advance(state, point, f, g, ftol, gtol, maxls)
    return unravel(_difference(state, point, target)), state

  return optax.GradientTransformationExtraArgs(init, update)


def lbfgsb_pixels(
  model: core.Model,
  memory: int = 10,
  ftol: core.Number = 2.220446049250313e-09,
  gtol: core.Number = 1e-5,
  maxls: int = 20,
) -> optax.GradientTransformationExtraArgs:
  """`lbfgsb` for params that are image - model.mean, an image in 0-255."""
  mean = jnp.asarray(model.mean)
  return lbfgsb(-mean, 255 - mean, memory, ftol, gtol, maxls)


def _init(lower: Array, upper: Array, m: int) -> State:
  vector, scalar = jnp.zeros_like(lower), jnp.zeros((), lower.dtype)
  V, VV = (jnp.zeros((2 * m, k), lower.dtype) for k in (lower.size, 2 * m))
  zero, no = jnp.array(0), jnp.array(False)
  memory = _Memory(V, VV, scalar + 1, jnp.full(m, -1), zero)
  search = _start_search(scalar, scalar, scalar, scalar)
  x, f, g, z = vector, scalar, vector, vector
  return State(lower, upper, x, f, g, z, memory, search, zero, no, no)


def _advance(state, point, f, g, ftol, gtol, maxls) -> tuple[State, Array]:
  """The state after an evaluation, and the point to be evaluated next."""
  finite = jnp.isfinite(f) & jnp.isfinite(g).all()
  feasible = jnp.clip(point, state.lower, state.upper)
  begins = ~state.begun & finite & (feasible == point).all()
  running = state.begun & ~state.done

  trial, descent = _trial(state), -state.search.stp * state.search.start[2]
  search, found = _dcsrch(state.search, f, _dot(g, state.z - state.x), finite)
  accepts = running & found
  fails = running & ~found & (search.trials >= maxls)
  moves = begins | accepts

  stuck = fails & (state.memory.written < 0).all()
  # Not stp d: in float32 the difference is the step that y belongs to.
  pair = trial - state.x, g - state.g
  memory = _remember(state.memory, *pair, descent, accepts)
  memory = _forget(memory, fails)
  largest = jnp.maximum(jnp.maximum(jnp.abs(f), jnp.abs(state.f)), 1)
  converged = accepts & (state.f - f <= ftol * largest)
  state = state._replace(
    x=jnp.where(begins, point, jnp.where(accepts, trial, state.x)),
    f=jnp.where(moves, f, state.f),
    g=jnp.where(moves, g, state.g),
    iteration=state.iteration + accepts,
  )
  converged |= moves & (_projected_gradient(state) <= gtol)

  wanted = (moves | fails) & ~converged & ~stuck
  z, slope, memory = _minimizer(wanted, state, memory)
  starts = wanted & (slope < 0)
  search = _choose(running, search, state.search)
  new = _start_search(state.f, slope, *_first_trial(state, z))
  state = state._replace(
    z=jnp.where(starts, z, state.z),
    memory=memory,
    search=_choose(starts, new, search),
    begun=state.begun | begins,
    done=state.done | converged | stuck | wanted & ~starts,
  )
  target = jnp.where(state.done, state.x, _trial(state))
  return state, jnp.where(state.begun, target, feasible)


def _difference(state: State, point: Array, target: Array) -> Array:
  """target - point, such that adding it to the point stays in the box."""
  step = target - point
  size = jnp.maximum(jnp.abs(point), jnp.abs(step))
  slack = 2 * jnp.finfo(point.dtype).eps * size  # of the sum's rounding
  step = jnp.where(point + step > state.upper, step - slack, step)
  return jnp.where(point + step < state.lower, step + slack, step)


def _trial(state: State) -> Array:
  stp = state.search.stp
  x = state.x + stp * (state.z - state.x)
  x = jnp.clip(x, state.lower, state.upper)
  return jnp.where(stp == 1, state.z, x)  # a bound is met exactly


def _projected_gradient(state: State) -> Array:
  """The largest element of P(x - g) - x [B, eq. 6.1]."""
  below = jnp.maximum(state.g, state.x - state.upper)
  above = jnp.minimum(state.g, state.x - state.lower)
  return jnp.abs(jnp.where(state.g < 0, below, above)).max()


def _choose(condition: Array, yes: Any, no: Any) -> Any:
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _dot(a: Array, b: Array) -> Array:
  """A product in full float32, which accelerators must be told."""
  return jnp.matmul(a, b, precision='highest')


def _remember(memory, s, y, descent, accepts) -> _Memory:
  """Adds a pair unless its curvature is too small [B, eq. 3.9]."""
  sy = _dot(s, y)
  keep = accepts & (sy > jnp.finfo(s.dtype).eps * descent)
  V, VV, theta, written, pairs = memory
  m = written.size
  slot = pairs % m
  rows = (slot, y), (m + slot, s)
  for i, row in rows:
    V = V.at[i].set(jnp.where(keep, row, V[i]))
  for i, row in rows:
    products = jnp.where(keep, _dot(V, row), VV[i])
    VV = VV.at[i].set(products).at[:, i].set(products)
  written = written.at[slot].set(jnp.where(keep, pairs, written[slot]))
  theta = jnp.where(keep, _dot(y, y) / sy, theta)
  return _Memory(V, VV, theta, written, pairs + keep)


def _forget(memory: _Memory, condition: Array) -> _Memory:
  """B = I again; the rows stay, and are ignored."""
  theta = jnp.where(condition, 1, memory.theta)
  written = jnp.where(condition, -1, memory.written)
  return memory._replace(theta=theta, written=written)


def _scale(memory: _Memory) -> Array:
  """W' = diag(scale) V; zero where there is no pair."""
  known = (memory.written >= 0).astype(memory.V.dtype)
  return jnp.concatenate([known, memory.theta * known])


def _blocks(memory: _Memory, products: Array) -> tuple[Array, ...]:
  """D, L, and of products like V V': Y'Y, S'Y and S'S; zero if no pair."""
  m, written = memory.written.size, memory.written
  known = (written[:, None] >= 0) & (written[None] >= 0)
  newer = known & (written[:, None] > written[None])
  SY = memory.VV[m:, :m]
  parts = products[:m, :m], products[m:, :m], products[m:, m:]
  D, L = known * jnp.diag(jnp.diag(SY)), jnp.where(newer, SY, 0)
  return D, L, *(jnp.where(known, part, 0) for part in parts)


def _inverse(memory: _Memory, G: Array, H: Array, C: Array) -> Array:
  """Q, with [-G H'; H C]^-1 = Q' E Q and E = diag(-I, I).

  By two Cholesky factors, as formt and formk in [Z]; NaN if there are none.
  """
  known = memory.written >= 0
  empty = jnp.diag((~known).astype(G.dtype))  # keeps the factors regular
  eye = jnp.eye(known.size, dtype=G.dtype)

  def invert(matrix):
    factor = jnp.linalg.cholesky(matrix)
    return jax.scipy.linalg.solve_triangular(factor, eye, lower=True)

  P = invert(G + empty)
  X = _dot(_dot(H, P.T), P)
  J = invert(C + empty + _dot(X, H.T))
  Q = jnp.block([[P, jnp.zeros_like(P)], [_dot(J, X), J]])
  return Q * jnp.tile(known, 2)[None]


def _signs(Q: Array) -> Array:
  return jnp.repeat(jnp.array([-1, 1], Q.dtype), Q.shape[0] // 2)


def _minimizer(wanted, state, memory) -> tuple[Array, Array, _Memory]:
  """z, the model's approximate minimizer in the box; g'(z - x); the memory.

  Where rounding has left B indefinite, or z is uphill, the memory is emptied
  and z taken again. A loop, since a batch then repeats it only if one of its
  members must, and skips it while all are searching.
  """

  def attempt(carry):
    known = memory._replace(theta=carry[2], written=carry[3])
    D, L, _, _, SS = _blocks(known, known.VV)
    Q = _inverse(known, D, L, known.theta * SS)
    z = _subspace(state, known, Q, *_cauchy(state, known, Q))
    slope = _dot(state.g, z - state.x)
    again = ~(slope < 0) & (known.written >= 0).any()
    known = _forget(known, again)
    return z, slope, known.theta, known.written, again

  start = state.z, jnp.zeros_like(state.f), memory.theta, memory.written
  z, slope, theta, written, _ = jax.lax.while_loop(
    lambda carry: carry[-1], attempt, (*start, wanted)
  )
  return z, slope, memory._replace(theta=theta, written=written)


def _cauchy(state, memory, Q) -> tuple[Array, Array]:
  """The generalized Cauchy point [B, section 4] and which variables it fixes.

  The first local minimizer of the model on the path P(x - t g). Between two
  breakpoints the derivative is linear in t: with d the direction there, p =
  W'd, and F = W' times the displacement of the variables at rest,

    f'(t) = t f'' - (d'd + p'M F),  f'' = theta d'd - p'M p.

  The original goes from breakpoint to breakpoint. Here a block of the next
  ones is looked at together, by cumulative sums, until the minimizer lies in
  one: images pass thousands, and a block takes hardly longer than one. The
  blocks are selected, not sorted beforehand: on a CPU, sorting all takes
  longer than the gradient of AlexNet.
  """
  x, g, theta = state.x, state.g, memory.theta
  held = (x <= state.lower) & (g >= 0) | (x >= state.upper) & (g <= 0)
  d = jnp.where(held, 0, -g)
  room = jnp.where(d > 0, state.upper, state.lower) - x
  t = jnp.where(d == 0, jnp.inf, room / d)
  E, scale = _signs(Q), _scale(memory)
  dd, p = _dot(d, d), _dot(Q, scale * _dot(memory.V, d))
  least = jnp.finfo(x.dtype).eps * theta * dd  # of f''; cauchy in [Z]

  def look(carry):
    left, (dd, p, F), last, _, _ = carry
    ends, i = jax.lax.top_k(-left, min(_BLOCK, left.size))
    ends = -ends  # [k]
    moving = jnp.where(jnp.isfinite(ends), jnp.stack([d[i], room[i]]), 0)
    W = _dot(Q, scale[:, None] * memory.V[:, i])  # [2m, k]
    dd = dd - _sums(moving[0] ** 2)  # [k + 1], before each breakpoint
    p = p[:, None] - _sums(W * moving[:1])  # [2m, k + 1]
    F = F[:, None] + _sums(W * moving[1:])
    MF, Mp = _dot(E, p * F), _dot(E, p * p)
    best = (dd + MF) / jnp.maximum(theta * dd - Mp, least)
    # Not a number ends the search too, and shows in the slope.
    inside = ~(best[:-1] >= ends) | jnp.isinf(ends)
    j, found = jnp.argmax(inside), inside.any()
    starts = jnp.concatenate([last[None], ends])
    last = jnp.where(found, starts[j], starts[-1])
    after = dd[-1], p[:, -1], F[:, -1]
    return left.at[i].set(jnp.inf), after, last, best[j], found

  start = t, (dd, p, jnp.zeros_like(p)), -jnp.ones_like(dd), dd, held.all()
  last, step = jax.lax.while_loop(lambda carry: ~carry[-1], look, start)[2:4]
  reached = t <= last
  moved = x + jnp.maximum(step, last) * d
  moved = jnp.where(reached, x + room, moved)
  return jnp.clip(moved, state.lower, state.upper), held | reached


def _sums(terms: Array) -> Array:
  """Cumulative sums along the last axis, from none to all."""
  sums = jnp.cumsum(terms, -1)
  return jnp.concatenate([jnp.zeros_like(sums[..., :1]), sums], -1)


def _subspace(state, memory, Q, cauchy, fixed) -> Array:
  """Minimizes the model over the free variables, then returns to the box.

  The direct primal method [B, section 5.1] with formk's K = M^-1 N [Z]; the
  step is projected onto the box, or cut short where that leads uphill [M].
  """
  V, theta, scale = memory.V, memory.theta, _scale(memory)
  lower, upper, shift = state.lower, state.upper, cauchy - state.x
  Mc = _dot(_signs(Q) * _dot(Q, scale * _dot(V, shift)), Q)
  r = _dot(scale * Mc, V) - theta * shift - state.g
  r = jnp.where(fixed, 0, r)  # minus the reduced gradient [B, eq. 5.4]
  VAV = _dot(jnp.where(fixed, V, 0), V.T)  # of the active variables
  D, L, YAY, SAY, SAS = _blocks(memory, VAV)
  _, _, YZY, SZY, _ = _blocks(memory, memory.VV - VAV)
  K = _inverse(memory, D + YZY / theta, L - SZY, theta * SAS)
  v = _dot(_signs(K) * _dot(K, scale * _dot(V, r)), K)
  step = (r + _dot(scale * v, V) / theta) / theta  # [B, eq. 5.11]
  step = jnp.where(fixed | (memory.written < 0).all(), 0, step)

  z = jnp.clip(cauchy + step, lower, upper)
  hit = (~fixed & ((z == lower) | (z == upper))).any()
  uphill = _dot(state.g, z - state.x) > 0
  room = jnp.where(step > 0, upper, lower) - cauchy
  ratio = jnp.where(step == 0, jnp.inf, room / step)
  alpha = jnp.minimum(1, ratio.min())
  cut = jnp.where(ratio <= alpha, cauchy + room, cauchy + alpha * step)
  return jnp.where(hit & uphill, jnp.clip(cut, lower, upper), z)


def _first_trial(state: State, z: Array) -> tuple[Array, Array]:
  """The first step tried and the longest in the box: lnsrlb in [Z]."""
  below, above = jnp.isfinite(state.lower), jnp.isfinite(state.upper)
  first, bounded = state.iteration == 0, (below | above).any()
  d = z - state.x
  room = jnp.where(d > 0, state.upper, state.lower) - state.x
  ratio = jnp.where(d == 0, jnp.inf, room / d).min()
  stpmax = jnp.where(first & bounded, 1, jnp.minimum(1e10, ratio))
  short = jnp.minimum(1 / jnp.sqrt(_dot(d, d)), stpmax)
  return jnp.where(first & ~(below & above).all(), short, 1), stpmax


def _start_search(f: Array, slope: Array, stp: Array, stpmax: Array) -> _Search:
  zero, no = jnp.zeros_like(f), jnp.array(False)
  points = [jnp.stack([zero, f, slope])] * 3
  limits, widths = jnp.stack([zero, 5 * stp]), jnp.stack([stpmax, 2 * stpmax])
  return _Search(stp, stpmax, *points, limits, widths, no, no, jnp.array(0))


def _dcsrch(search, f, g, finite) -> tuple[_Search, Array]:
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
  points = [tilt(p, less) for p in (best, other, jnp.stack([stp, f, g]))]
  new, points, brackt = _dcstep(*points, search.brackt, limits)
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
  after = _Search(*after, stage2, search.trials)
  result = _choose(finite, _choose(found, search, after), failed)
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
