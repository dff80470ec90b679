"""Convolutions without a stride: the numbers of XLA, by other ways."""

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vizjax.models.interpreter.cpu import correlation
from vizjax.models.interpreter.cpu import unstrided
from vizjax.sweeps import alike

pytestmark = pytest.mark.usefixtures('quickly')


@pytest.fixture(autouse=True)
def small(monkeypatch):
  """Few channels, and positions, are taken for many."""
  monkeypatch.setattr(unstrided, '_CHANNELS', 1)
  monkeypatch.setattr(unstrided, '_SIDE', 4)
  monkeypatch.setattr(unstrided, '_ENOUGH', 4)
  monkeypatch.setattr(unstrided, '_GIVEN', 500)
  monkeypatch.setattr(unstrided, '_GIVEN_BY_ROWS', 1000)
  monkeypatch.setattr(unstrided, '_SLOW', 5)
  monkeypatch.setattr(unstrided, '_POSITIONS', range(2, 4097))
  monkeypatch.setattr(correlation, '_PRODUCTS', 4)
  monkeypatch.setattr(correlation, '_POSITIONS', 4)


def plain(x, kernel, padding):
  return jax.lax.conv_general_dilated(
    x[None], kernel, (1, 1), padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )[0]


def draws(size, kernel, dtype=np.float64, count=2):
  draw = np.random.RandomState(0)
  x = draw.normal(0, 1, (count, *size, kernel[2]))
  return jnp.asarray(x, dtype), jnp.asarray(draw.normal(0, 1, kernel), dtype)


@pytest.mark.parametrize('size, kernel, padding, ways', (
  ((13, 14), (3, 3, 4, 6), ((1, 1), (1, 1)), ('_by_tiles', '_by_tiles')),
  pytest.param(
    *((14, 11), (3, 3, 4, 3), ((0, 0), (0, 0)), ('_by_tiles', '_by_tiles')),
    marks=pytest.mark.slow,
  ),
  ((9, 12), (3, 3, 6, 4), ((2, 0), (1, 3)), ('_by_tiles', '_by_tiles')),
  pytest.param(
    *((12, 9), (3, 3, 4, 6), ((4, 3), (0, 5)), ('_by_tiles', '_by_tiles')),
    marks=pytest.mark.slow,
  ),
  ((3, 9), (3, 3, 4, 6), ((0, 0), (0, 0)), ('_framed', '_by_shifts')),
  ((4, 3), (3, 2, 4, 6), ((1, 2), (4, 0)), (None, '_by_shifts')),
  ((10, 9), (5, 5, 5, 3), ((2, 2), (2, 2)), (None, '_by_pairs')),
  pytest.param(
    *((7, 10), (5, 4, 3, 5), ((0, 1), (2, 0)), ('_by_pairs', None)),
    marks=pytest.mark.slow,
  ),
  ((5, 4), (1, 1, 6, 3), ((0, 0), (0, 0)), ('_by_product', '_by_product')),
  ((5, 4), (1, 1, 6, 3), ((0, 1), (0, 0)), (None, '_by_shifts')),
  pytest.param(
    *((9, 8), (3, 4, 3, 2), ((0, 0), (0, 0)), ('_framed', None)),
    marks=pytest.mark.slow,
  ),
  ((6, 6), (2, 7, 5, 5), ((1, 1), (3, 3)), ('_by_pairs', '_by_pairs')),
))  # fmt: skip
def test_values_and_derivatives_are_those_of_xla(
  size, kernel, padding, ways, x64
):
  x, taps = draws(size, kernel)

  def derivatives(function):
    def total(x, taps):
      y = jax.vmap(lambda one: function(one, taps, padding))(x)
      return jnp.sum(jnp.sin(y)), y

    return jax.jit(jax.grad(total, (0, 1), has_aux=True))(x, taps)

  found = jax.tree.leaves(derivatives(unstrided.convolve))
  for one, two in zip(found, jax.tree.leaves(derivatives(plain)), strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-11)
  assert taken(size, kernel, padding) == ways


def taken(size, kernel, padding):
  """The ways forward and backward."""
  out = correlation.outputs(size, kernel, (1, 1), padding)
  around = tuple(
    (k - 1 - a, k - 1 - b) for k, (a, b) in zip(kernel, padding, strict=False)
  )
  ways = (
    unstrided._way((*size, kernel[2]), kernel, padding, False),
    unstrided._way((*out, kernel[3]), kernel, around, True),
  )
  return tuple(way and way.__name__ for way in ways)


@pytest.mark.slow
def test_the_derivative_has_a_derivative(x64):
  x, taps = draws((8, 9), (3, 3, 3, 4), count=1)

  def slope(function):
    def total(x):
      return jnp.sum(jnp.sin(function(x, taps, ((1, 1), (0, 1)))))

    return lambda x: jnp.sum(jax.grad(total)(x) ** 2)

  found, expected = (
    jax.grad(slope(function))(x[0]) for function in (unstrided.convolve, plain)
  )
  np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('kernel', ((3, 3, 96, 96), (5, 5, 96, 5)))
def test_the_error_is_that_of_xla(kernel, x64):
  x, taps = draws((13, 13), kernel)
  padding = ((kernel[0] // 2,) * 2,) * 2

  def error(function):
    over = jax.jit(
      jax.vmap(lambda one, k: function(one, k, padding), (0, None))
    )
    exact = jax.vmap(lambda one: plain(one, taps, padding))(x)
    found = over(x.astype(np.float32), taps.astype(np.float32))
    return float(jnp.sqrt(jnp.mean((found - exact) ** 2) / jnp.mean(exact**2)))

  # 2^-24 is a rounding; the inputs have been rounded as well.
  assert error(unstrided.convolve) < max(2 * error(plain), 4e-7)


@conftest.needs_avx512
@pytest.mark.parametrize('size, kernel, padded', (
  (11, (5, 5, 96, 5), True),
  (5, (3, 3, 192, 384), False),
  *conftest.slow(
    (8, (1, 1, 512, 128), False),
    (11, (3, 3, 192, 384), True),
    (12, (3, 3, 192, 64), False),
    (9, (1, 1, 192, 96), False),
    (11, (5, 5, 64, 192), False),
    (14, (5, 5, 48, 96), False),
  ),
))  # fmt: skip
def test_an_image_is_the_same_in_any_batch(size, kernel, padded, monkeypatch):
  monkeypatch.setattr(unstrided, '_ENOUGH', 64)
  x, taps = draws((size, size), kernel, np.float32, 16)
  padding = ((kernel[0] // 2 * padded,) * 2,) * 2

  def both(one, taps):
    y, back = jax.vjp(lambda one: unstrided.convolve(one, taps, padding), one)
    return y, back(jnp.cos(y))[0]

  mapped = jax.jit(
    jax.vmap(alike.alike(both), (0, None)), compiler_options=alike.options()
  )
  for count in (2, 4):
    alone = mapped(x[:count], taps)
    for one, other in zip(mapped(x, taps), alone, strict=True):
      np.testing.assert_array_equal(one[:count], other)


def test_it_is_used_where_the_sums_are_exact_enough():
  kernel = jnp.zeros((3, 3, 32, 32), np.float32)
  assert unstrided.suits(kernel, (1, 1))
  assert not unstrided.suits(kernel, (2, 1))
  assert not unstrided.suits(kernel[..., :2], (1, 1))
  assert not unstrided.suits(kernel.astype(jnp.bfloat16), (1, 1))
