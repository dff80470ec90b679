"""Convolutions with a stride: the derivative of XLA, by another way."""

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vizjax.models.interpreter.cpu import strided


@pytest.mark.parametrize('size, kernel, stride, padding', (
  ((31, 27), (11, 11), (4, 4), ((2, 2), (2, 2))),
  ((26, 20), (5, 7), (2, 3), ((1, 2), (0, 3))),
  *conftest.slow(
    ((30, 30), (7, 7), (2, 2), ((3, 3), (3, 3))),
    ((29, 33), (7, 5), (3, 2), ((0, 0), (0, 0))),
  ),
))  # fmt: skip
def test_the_derivatives_are_those_of_xla(size, kernel, stride, padding, x64):
  draw = np.random.RandomState(0)
  x = jnp.asarray(draw.normal(0, 1, (2, *size, 3)))
  taps = jnp.asarray(draw.normal(0, 1, (*kernel, 3, 4)))

  def plain(x, taps):
    return jax.lax.conv_general_dilated(
      x[None], taps, stride, padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )[0]

  def derivatives(function):
    def total(x, taps):
      return jnp.sum(jnp.sin(jax.vmap(lambda one: function(one, taps))(x)))

    return jax.jit(jax.grad(total, (0, 1)))(x, taps)

  found = derivatives(lambda x, k: strided.convolve(x, k, stride, padding))
  for one, expected in zip(found, derivatives(plain), strict=True):
    np.testing.assert_allclose(one, expected, rtol=1e-10, atol=1e-12)


def test_it_is_used_where_it_is_faster():
  assert strided.suits((11, 11), (4, 4))
  assert strided.suits((7, 7), (2, 2))
  assert not strided.suits((3, 3), (2, 2))
  assert not strided.suits((5, 5), (1, 1))
