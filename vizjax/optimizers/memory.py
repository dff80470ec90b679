"""The limited memory of L-BFGS-B: pairs, and the matrices made of them.

Byrd, Lu, Nocedal, Zhu 1995 [B] and Zhu, Byrd, Lu, Nocedal 1997 [Z], as
`lbfgs` cites them. With W = [Y, theta S], the last pairs y and s as columns,
the Hessian is B = theta I - W M W' [B, eq. 3.2]; V = [Y, S]' has the pairs as
rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Memory(NamedTuple):
  """The last pairs s = x_k+1 - x_k, y = g_k+1 - g_k, and their products."""

  V: Float[Array, 'k n']  # y in the first m rows, s in the others; k = 2m
  VV: Float[Array, 'k k']  # V V'
  theta: Float[Array, '']
  written: Int[Array, 'm']  # the number of the pair in a row, -1: none
  pairs: Int[Array, '']  # stored so far


def dot(a: Array, b: Array) -> Array:
  """A product in full float32, which accelerators must be told."""
  return jnp.matmul(a, b, precision='highest')


def remember(memory, s, y, descent, accepts) -> Memory:
  """Adds a pair unless its curvature is too small [B, eq. 3.9]."""
  sy = dot(s, y)
  keep = accepts & (sy > jnp.finfo(s.dtype).eps * descent)
  V, VV, theta, written, pairs = memory
  m = written.size
  slot = pairs % m
  rows = (slot, y), (m + slot, s)
  for i, row in rows:
    V = V.at[i].set(jnp.where(keep, row, V[i]))
  for i, row in rows:
    products = jnp.where(keep, dot(V, row), VV[i])
    VV = VV.at[i].set(products).at[:, i].set(products)
  written = written.at[slot].set(jnp.where(keep, pairs, written[slot]))
  theta = jnp.where(keep, dot(y, y) / sy, theta)
  return Memory(V, VV, theta, written, pairs + keep)


def forget(memory: Memory, condition: Array) -> Memory:
  """B = I again; the rows stay, and are ignored."""
  theta = jnp.where(condition, 1, memory.theta)
  written = jnp.where(condition, -1, memory.written)
  return memory._replace(theta=theta, written=written)


def scale(memory: Memory) -> Array:
  """W' = diag(scale) V; zero where there is no pair."""
  known = (memory.written >= 0).astype(memory.V.dtype)
  return jnp.concatenate([known, memory.theta * known])


def blocks(memory: Memory, products: Array) -> tuple[Array, ...]:
  """D, L, and of products like V V': Y'Y, S'Y and S'S; zero if no pair."""
  m, written = memory.written.size, memory.written
  known = (written[:, None] >= 0) & (written[None] >= 0)
  newer = known & (written[:, None] > written[None])
  SY = memory.VV[m:, :m]
  parts = products[:m, :m], products[m:, :m], products[m:, m:]
  D, L = known * jnp.diag(jnp.diag(SY)), jnp.where(newer, SY, 0)
  return D, L, *(jnp.where(known, part, 0) for part in parts)


def inverse(memory: Memory, G: Array, H: Array, C: Array) -> Array:
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
  X = dot(dot(H, P.T), P)
  J = invert(C + empty + dot(X, H.T))
  Q = jnp.block([[P, jnp.zeros_like(P)], [dot(J, X), J]])
  return Q * jnp.tile(known, 2)[None]


def signs(Q: Array) -> Array:
  """The diagonal of E, of `inverse`."""
  return jnp.repeat(jnp.array([-1, 1], Q.dtype), Q.shape[0] // 2)
