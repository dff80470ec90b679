"""Maxima over windows: the same numbers as XLA's, forward and backward."""

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vizjax.models.interpreter.cpu import pooling


def plain(x, kernel, stride):
  return jax.lax.reduce_window(
    x, -jnp.inf, jax.lax.max, (*kernel, 1), (*stride, 1), 'VALID'
  )


@pytest.mark.parametrize('kernel, stride', (
  ((3, 3), (2, 2)), ((2, 3), (3, 1)),
  *conftest.slow(
    ((2, 2), (2, 2)), ((3, 3), (1, 1)), ((1, 1), (2, 2)), ((3, 2), (2, 3)),
    ((6, 6), (2, 2)),
  ),
))  # fmt: skip
def test_the_derivative_is_that_of_xla(kernel, stride):
  # Of whole numbers, many of them equal, and some of them no numbers at all.
  draw = np.random.RandomState(0)
  x = draw.randint(0, 4, (2, 11, 13, 3)).astype(np.float32)
  x[0, :2] = -np.inf
  slope = draw.normal(0, 1, plain(x[0], kernel, stride).shape)

  def derivative(function):
    def total(x):
      y = function(x, kernel, stride)
      return jnp.sum(jnp.where(jnp.isfinite(y), y, 0) * slope.astype(x.dtype))

    return jax.jit(jax.vmap(jax.grad(total)))(x)

  found, expected = derivative(pooling.largest), derivative(plain)
  assert np.any(expected)
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
  np.testing.assert_array_equal(
    pooling.largest(jnp.asarray(x[1]), kernel, stride),
    plain(x[1], kernel, stride),
  )
