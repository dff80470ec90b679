"""L-BFGS-B as an optax optimizer: one evaluation of the score per step.

  [B] Byrd, Lu, Nocedal, Zhu 1995, A limited memory algorithm for bound
      constrained optimization, SIAM J. Sci. Comput. 16, 1190-1208
  [Z] Zhu, Byrd, Lu, Nocedal 1997, Algorithm 778, ACM TOMS 23, 550-560
  [M] Morales, Nocedal 2011, Remark on algorithm 778, ACM TOMS 38, 7

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
from vizjax.errors import UserError
from vizjax.optimizers import line_search
from vizjax.optimizers import memory as memory_

# The first step moves a variable by this many units in the last place of the
# largest one, or gradients of float32 pixels that are small would be lost.
_RESOLVED = 1e4

# Breakpoints of the projected gradient path that are looked at together.
_BLOCK = 1024


class _Ends(NamedTuple):
  """When it ends: arguments of `lbfgsb`."""

  ftol: core.Number
  gtol: core.Number
  maxls: int
  iterations: int


class State(NamedTuple):
  """All that the method knows; vectors are flat."""

  lower: Float[Array, 'n']
  upper: Float[Array, 'n']
  x: Float[Array, 'n']  # the iterate x_k, its value and gradient
  f: Float[Array, '']
  g: Float[Array, 'n']
  z: Float[Array, 'n']  # the line search goes from x to z
  memory: memory_.Memory
  search: line_search.Search
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
  iterations: int | None = None,
) -> optax.GradientTransformationExtraArgs:
  """Minimizes in a box; an update spends one value and one gradient.

  The first update projects parameters outside the box onto it, which costs
  one evaluation. After convergence the parameters stay at the best iterate.

  A trial whose value or gradient is not finite has failed, and the longest
  step allowed becomes half-way back to the best one. At the first point, the
  parameters wait until both are finite.

  Differs from SciPy by rounding; where breakpoints coincide, as variables
  that reach their bounds together are fixed together; and by longer first
  steps where rounding would undo them, in float32 below some 0.1 grey levels.

  Args:
    lower: a number, an array that broadcasts to the params, or None.
    upper: likewise.
    memory: the number m of pairs.
    ftol: ends at (f_k - f_k+1) / max(|f_k|, |f_k+1|, 1) <= ftol.
    gtol: ends where no element of the projected gradient exceeds it.
    maxls: trials of a line search.
    iterations: ends after so many; None for no bound.
  """
  lower = -np.inf if lower is None else lower
  upper = np.inf if upper is None else upper
  if not np.all(np.asarray(lower) <= np.asarray(upper)):
    raise UserError(
      f'lbfgsb(lower={lower!r:.60}, upper={upper!r:.60}): expected lower <= '
      'upper everywhere; type None for no bound'
    )
  if memory < 1 or maxls < 1:
    raise UserError(
      f'lbfgsb(memory={memory!r}, maxls={maxls!r}): expected 1 or more'
    )

  most = np.iinfo(np.int32).max if iterations is None else iterations
  ends = _Ends(ftol, gtol, maxls, most)

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
    state, target = _advance(state, point, f, g, ends)
    return unravel(_difference(state, point, target)), state

  # optax's own types do not know keywords that an update has to be given.
  return optax.GradientTransformationExtraArgs(
    init,
    update,  # pyright: ignore[reportArgumentType]
  )


def lbfgsb_pixels(
  model: core.Model,
  memory: int = 10,
  ftol: core.Number = 2.220446049250313e-09,
  gtol: core.Number = 1e-5,
  maxls: int = 20,
  iterations: int | None = None,
) -> optax.GradientTransformationExtraArgs:
  """`lbfgsb` for params that are image - model.mean, an image in its range."""
  ends = core.bounds(model.range, jnp.asarray(model.mean))
  return lbfgsb(*ends, memory, ftol, gtol, maxls, iterations)


def _init(lower: Array, upper: Array, m: int) -> State:
  vector, scalar = jnp.zeros_like(lower), jnp.zeros((), lower.dtype)
  V, VV = (jnp.zeros((2 * m, k), lower.dtype) for k in (lower.size, 2 * m))
  zero, no = jnp.zeros((), jnp.int32), jnp.array(False)
  memory = memory_.Memory(V, VV, scalar + 1, jnp.full(m, -1, jnp.int32), zero)
  search = line_search.start(scalar, scalar, scalar, scalar)
  x, f, g, z = vector, scalar, vector, vector
  return State(lower, upper, x, f, g, z, memory, search, zero, no, no)


def _advance(state, point, f, g, ends) -> tuple[State, Array]:
  """The state after an evaluation, and the point to be evaluated next."""
  finite = jnp.isfinite(f) & jnp.isfinite(g).all()
  feasible = jnp.clip(point, state.lower, state.upper)
  begins = ~state.begun & finite & (feasible == point).all()
  running = state.begun & ~state.done

  trial, descent = _trial(state), -state.search.stp * state.search.start[2]
  search, found = line_search.advance(
    state.search, f, memory_.dot(g, state.z - state.x), finite
  )
  accepts = running & found
  fails = running & ~found & (search.trials >= ends.maxls)
  moves = begins | accepts

  stuck = fails & (state.memory.written < 0).all()
  # Not stp d: in float32 the difference is the step that y belongs to.
  pair = trial - state.x, g - state.g
  memory = memory_.remember(state.memory, *pair, descent, accepts)
  memory = memory_.forget(memory, fails)
  largest = jnp.maximum(jnp.maximum(jnp.abs(f), jnp.abs(state.f)), 1)
  converged = accepts & (state.f - f <= ends.ftol * largest)
  state = state._replace(
    x=jnp.where(begins, point, jnp.where(accepts, trial, state.x)),
    f=jnp.where(moves, f, state.f),
    g=jnp.where(moves, g, state.g),
    iteration=state.iteration + accepts,
  )
  converged |= moves & (_projected_gradient(state) <= ends.gtol)
  converged |= accepts & (state.iteration >= ends.iterations)

  wanted = (moves | fails) & ~converged & ~stuck
  z, slope, memory = _minimizer(wanted, state, memory)
  starts = wanted & (slope < 0)
  search = core.chosen(running, search, state.search)
  new = line_search.start(state.f, slope, *_first_trial(state, z))
  state = state._replace(
    z=jnp.where(starts, z, state.z),
    memory=memory,
    search=core.chosen(starts, new, search),
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


def _minimizer(wanted, state, memory) -> tuple[Array, Array, memory_.Memory]:
  """z, the model's approximate minimizer in the box; g'(z - x); the memory.

  Where rounding has left B indefinite, or z is uphill, the memory is emptied
  and z taken again. A loop, since a batch then repeats it only if one of its
  members must, and skips it while all are searching.
  """

  def attempt(carry):
    theta = jnp.where((carry[3] < 0).all(), first, carry[2])
    known = memory._replace(theta=theta, written=carry[3])
    D, L, _, _, SS = memory_.blocks(known, known.VV)
    Q = memory_.inverse(known, D, L, known.theta * SS)
    z = _subspace(state, known, Q, *_cauchy(state, known, Q))
    slope = memory_.dot(state.g, z - state.x)
    again = ~(slope < 0) & (known.written >= 0).any()
    known = memory_.forget(known, again)
    return z, slope, known.theta, known.written, again

  lost = _RESOLVED * jnp.finfo(state.x.dtype).eps * jnp.abs(state.x).max()
  first = jnp.minimum(1, _projected_gradient(state) / lost)
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
  E, scale = memory_.signs(Q), memory_.scale(memory)
  dd, p = memory_.dot(d, d), memory_.dot(Q, scale * memory_.dot(memory.V, d))
  least = jnp.finfo(x.dtype).eps * theta * dd  # of f''; cauchy in [Z]

  def look(carry):
    left, (dd, p, F), last, _, _ = carry
    ends, i = jax.lax.top_k(-left, min(_BLOCK, left.size))
    ends = -ends  # [k]
    moving = jnp.where(jnp.isfinite(ends), jnp.stack([d[i], room[i]]), 0)
    W = memory_.dot(Q, scale[:, None] * memory.V[:, i])  # [2m, k]
    dd = dd - _sums(moving[0] ** 2)  # [k + 1], before each breakpoint
    p = p[:, None] - _sums(W * moving[:1])  # [2m, k + 1]
    F = F[:, None] + _sums(W * moving[1:])
    MF, Mp = memory_.dot(E, p * F), memory_.dot(E, p * p)
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
  V, theta, scale = memory.V, memory.theta, memory_.scale(memory)
  lower, upper, shift = state.lower, state.upper, cauchy - state.x
  Mc = memory_.dot(
    memory_.signs(Q) * memory_.dot(Q, scale * memory_.dot(V, shift)), Q
  )
  r = memory_.dot(scale * Mc, V) - theta * shift - state.g
  r = jnp.where(fixed, 0, r)  # minus the reduced gradient [B, eq. 5.4]
  VAV = memory_.dot(jnp.where(fixed, V, 0), V.T)  # of the active variables
  D, L, YAY, SAY, SAS = memory_.blocks(memory, VAV)
  _, _, YZY, SZY, _ = memory_.blocks(memory, memory.VV - VAV)
  K = memory_.inverse(memory, D + YZY / theta, L - SZY, theta * SAS)
  v = memory_.dot(
    memory_.signs(K) * memory_.dot(K, scale * memory_.dot(V, r)), K
  )
  step = (r + memory_.dot(scale * v, V) / theta) / theta  # [B, eq. 5.11]
  step = jnp.where(fixed | (memory.written < 0).all(), 0, step)

  z = jnp.clip(cauchy + step, lower, upper)
  hit = (~fixed & ((z == lower) | (z == upper))).any()
  uphill = memory_.dot(state.g, z - state.x) > 0
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
  short = jnp.minimum(1 / jnp.sqrt(memory_.dot(d, d)), stpmax)
  return jnp.where(first & ~(below & above).all(), short, 1), stpmax
