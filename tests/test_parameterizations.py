"""What is optimized and the image that it stands for."""

import conftest
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from oracles import parameterizations as twin
from vizjax import core
from vizjax import parameterizations
from vizjax.errors import UserError

pytestmark = pytest.mark.usefixtures('quickly')

# Grey levels: an image of float32 sums of some hundred cosines.
LEVELS = 1e-3
# The twin in float64, in grey levels.
FLOAT64 = 1e-10
# Grey levels: the logit of 1 and of 254 is steep, float32 has 7 digits.
ROUND_TRIP = 0.02
# Of 5,000 and more draws: the standard error of a deviation is 1 in 100.
SAMPLE = 0.05

# Even and odd, wide and high, and a single row or column.
SIZES = [(12, 16), (7, 8), (6, 5), (5, 3), (1, 6), (6, 1)]
KEY = jax.random.key(3)


def a_model(shape=(12, 16, 3), mean=(120.0, 115.0, 100.0), dtype=np.float32):
  """Of no layers: a parameterization reads the size and the mean."""
  mean = jnp.asarray(mean, dtype)
  return core.Model({}, mean, lambda params, image: {}, shape)


def photograph(h, w):
  """Smooth, colored, and as bright and dark as photographs are."""
  y, x = np.linspace(0, 3, h)[:, None], np.linspace(0, 4, w)[None, :]
  draw = np.random.RandomState(5)
  light, *colors = [
    np.cos(draw.uniform(-2, 2) * y + draw.uniform(-2, 2) * x + 2 * k)
    for k in range(4)
  ]
  image = 127 + 90 * light[..., None] + 20 * np.stack(colors, -1)
  return image.astype(np.float32)


def test_pixels_start_around_the_mean():
  model = a_model((60, 50, 3))
  pixels = parameterizations.pixels(model, std=10.0)
  params = pixels.init(KEY, {})
  assert params.shape == (60, 50, 3)
  assert abs(params.mean()) < 10 * SAMPLE
  np.testing.assert_allclose(params.std(), 10, rtol=SAMPLE)
  np.testing.assert_array_equal(
    pixels.render(params), np.asarray(params) + np.asarray(model.mean)
  )


def test_pixels_start_at_a_photograph_where_there_is_one():
  start = photograph(12, 16)
  pixels = parameterizations.pixels(a_model())
  params = pixels.init(KEY, {'start': start})
  np.testing.assert_allclose(
    params, start - np.array([120, 115, 100]), atol=LEVELS
  )
  np.testing.assert_allclose(pixels.render(params), start, atol=LEVELS)


def test_pixels_take_a_mean_image_and_another_size():
  mean = photograph(12, 16)
  pixels = parameterizations.pixels(a_model(mean=mean))
  zero = pixels.render(jnp.zeros((12, 16, 3)))
  np.testing.assert_array_equal(zero, mean)
  larger = parameterizations.pixels(a_model(), shape=(20, 9))
  assert larger.init(KEY, {}).shape == (20, 9, 3)


def test_different_keys_start_differently():
  for factory in (parameterizations.pixels, parameterizations.fourier):
    keys = jax.vmap(jax.random.key)(np.array([1, 1, 2]))
    made = jax.vmap(lambda key, f=factory: f(a_model()).init(key, {}))(keys)
    one, same, other = np.asarray(made)
    assert (one == same).all()
    assert (one != other).mean() > 0.9


@pytest.mark.parametrize(
  ('size', 'decay'), [*((size, 1.0) for size in SIZES), ((7, 8), 1.5)]
)
def test_fourier_is_the_image_of_lucid(x64, size, decay):
  h, w = size
  fourier = parameterizations.fourier(
    a_model((h, w, 3), dtype=np.float64), decay=decay
  )
  params = np.random.RandomState(0).normal(0, 0.5, (2, h, w // 2 + 1, 3))
  np.testing.assert_allclose(
    jax.jit(fourier.render)(params),
    twin.fft_image(params, h, w, decay),
    atol=FLOAT64,
  )


def test_fourier_without_decorrelation_takes_any_channels(x64):
  model = a_model((6, 8, 2), mean=(100.0, 90.0), dtype=np.float64)
  fourier = parameterizations.fourier(model, decorrelate=False)
  params = np.random.RandomState(0).normal(0, 0.5, (2, 6, 5, 2))
  np.testing.assert_allclose(
    jax.jit(fourier.render)(params),
    twin.fft_image(params, 6, 8, decorrelate=False),
    atol=FLOAT64,
  )


@pytest.mark.parametrize('size', SIZES)
def test_fourier_has_a_gradient_for_every_coefficient_that_shows(size):
  h, w = size
  fourier = parameterizations.fourier(a_model((h, w, 3)))
  draw = np.random.RandomState(0)
  params = draw.normal(0, 0.01, (2, h, w // 2 + 1, 3)).astype(np.float32)
  weights = draw.normal(0, 1, (h, w, 3)).astype(np.float32)
  score = jax.jit(jax.grad(lambda p: (fourier.render(p) * weights).sum()))
  gradient = np.asarray(score(params))
  assert np.isfinite(gradient).all()
  # Column 0 is its own mirror image, so that the imaginary part of its
  # mean does not show; every other real part does.
  assert (gradient[0] != 0).all()
  assert (gradient[1, 0, 0] == 0).all()


def test_fourier_scale_is_unitary_up_to_lucids_quarter(x64):
  h, w = 12, 16
  model = a_model((h, w, 3), dtype=np.float64)
  fourier = parameterizations.fourier(model, decay=0.0, decorrelate=False)
  params = np.random.RandomState(0).normal(0, 0.01, (2, h, w // 2 + 1, 3))
  params[:, :, [0, -1]] = 0  # the columns that are their own mirror images
  image = np.asarray(jax.jit(fourier.render)(params)) / 255
  logits = np.log(image / (1 - image))
  np.testing.assert_allclose(
    (logits**2).sum(), 2 * (params**2).sum() / 4**2, rtol=FLOAT64
  )


def test_fourier_starts_with_coefficients_of_the_given_size():
  model = a_model((60, 50, 3))
  fourier = parameterizations.fourier(model, std=0.02)
  params = fourier.init(KEY, {})
  assert params.shape == (2, 60, 26, 3)
  np.testing.assert_allclose(params.std(), 0.02, rtol=SAMPLE)
  zero = fourier.render(jnp.zeros_like(params))
  np.testing.assert_allclose(zero, jnp.full((60, 50, 3), 127.5), atol=LEVELS)


@pytest.mark.parametrize(
  'h, w, decorrelate',
  [
    (13, 15, True),
    (12, 16, False),
    *conftest.slow((12, 16, True), (13, 15, False)),
  ],
)
def test_fourier_starts_at_a_photograph(h, w, decorrelate):
  size = h, w
  start = photograph(*size)
  fourier = parameterizations.fourier(
    a_model((*size, 3)), decorrelate=decorrelate
  )
  params = fourier.init(KEY, {'start': start})
  assert params.shape == (2, size[0], size[1] // 2 + 1, 3)
  np.testing.assert_allclose(fourier.render(params), start, atol=ROUND_TRIP)


def test_fourier_starts_black_and_white_at_one_grey_level_less():
  start = np.zeros((12, 16, 3), np.float32)
  start[:, 8:] = 255
  fourier = parameterizations.fourier(a_model())
  image = fourier.render(fourier.init(KEY, {'start': start}))
  np.testing.assert_allclose(image, np.clip(start, 1, 254), atol=ROUND_TRIP)


def test_fourier_fits_a_photograph():
  start = jnp.asarray(photograph(24, 32))
  fourier = parameterizations.fourier(a_model((24, 32, 3)))
  adam = optax.adam(0.05)
  params = fourier.init(KEY, {})

  def error(params):
    return jnp.mean((fourier.render(params) - start) ** 2)

  def step(carry, _):
    params, state = carry
    updates, state = adam.update(jax.grad(error)(params), state)
    return (optax.apply_updates(params, updates), state), None

  carry = params, adam.init(params)
  (fitted, _), _ = jax.lax.scan(step, carry, length=300)
  # From 60 grey levels to a few: a wrong sign or scale stays at tens.
  assert jnp.sqrt(error(params)) > 50
  assert jnp.abs(fourier.render(fitted) - start).mean() < 3


def test_fourier_takes_another_size():
  fourier = parameterizations.fourier(a_model(), shape=(9, 14))
  params = jax.eval_shape(fourier.init, KEY, {})
  assert params.shape == (2, 9, 8, 3)
  assert jax.eval_shape(fourier.render, params).shape == (9, 14, 3)


@pytest.mark.parametrize('channels', [1, *conftest.slow(2, 5)])
def test_fourier_decorrelates_only_images_of_three_channels(channels):
  model = a_model((12, 16, channels), mean=(100.0,) * channels)
  start = np.tile(photograph(12, 16), 2)[..., :channels]
  fourier = parameterizations.fourier(model)
  made = fourier.render(fourier.init(KEY, {'start': jnp.asarray(start)}))
  np.testing.assert_allclose(made, np.clip(start, 1, 254), atol=ROUND_TRIP)
  params = fourier.init(KEY, {})
  plain = parameterizations.fourier(model, decorrelate=False)
  np.testing.assert_array_equal(fourier.render(params), plain.render(params))
  with pytest.raises(UserError, match=f'the model has {channels}: leave'):
    parameterizations.fourier(model, decorrelate=True)


@pytest.mark.parametrize('low, high', [(0.0, 1.0), (-1.0, 1.0)])
def test_the_image_is_in_the_range_of_the_model(low, high):
  grey = a_model()
  model = dataclasses.replace(
    grey, mean=grey.mean * (high - low) / 255 + low, range=(low, high)
  )
  start = jnp.asarray(photograph(12, 16))
  for name in ('pixels', 'fourier'):
    factory = getattr(parameterizations, name)
    for target in ({}, {'start': start}):
      expected = factory(grey).render(factory(grey).init(KEY, target))
      own = {n: a * (high - low) / 255 + low for n, a in target.items()}
      made = factory(model).render(factory(model).init(KEY, own))
      levels = (np.asarray(made, np.float64) - low) * 255 / (high - low)
      np.testing.assert_allclose(levels, expected, atol=ROUND_TRIP)


def test_the_dtype_is_that_of_the_mean(x64):
  for dtype in (np.float32, np.float64):
    for factory in (parameterizations.pixels, parameterizations.fourier):
      made = factory(a_model(dtype=dtype))
      params = jax.eval_shape(made.init, KEY, {})
      assert params.dtype == dtype
      assert jax.eval_shape(made.render, params).dtype == dtype
