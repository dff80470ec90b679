"""Numbers of an image against loops in NumPy, and what they are good for."""

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracles import metrics as twin
from vizjax import core
from vizjax import metrics
from vizjax.errors import UserError

pytestmark = pytest.mark.usefixtures('quickly')

# Sums of a few hundred float32 numbers of one size.
FLOAT32 = 1e-5


def noise(seed, *shape):
  draw = np.random.RandomState(seed)
  return jnp.asarray(draw.normal(0, 1, shape), jnp.float32)


def among(term, images):
  """The term of each of the images of a unit."""
  one = lambda act: term({'conv': act}, {})
  return jax.vmap(one, axis_name=metrics.REPLICATE)(images)


@pytest.mark.parametrize('shape', [(4, 5, 6), (6,)])
def test_rank_is_the_place_in_the_order_of_the_channels(shape):
  values = {'layer': noise(0, *shape)}
  here = np.asarray(values['layer'])
  here = here[1, 2] if len(shape) == 3 else here
  for place, channel in enumerate(np.argsort(-here), start=1):
    target = {'unit': core.Unit(int(channel), 1, 2)}
    assert metrics.rank('layer')(values, target) == place
  equal = {'layer': jnp.zeros(shape)}
  assert metrics.rank('layer')(equal, target) == 1
  unknown = {'layer': jnp.full(shape, jnp.nan)}
  assert np.isnan(metrics.rank('layer')(unknown, target))


@pytest.mark.parametrize('shape', [(4, 5, 6), (6,), (1, 1, 6)])
def test_images_are_compared_as_the_twin_does(shape):
  images = noise(1, 3, *shape)
  wanted = twin.alikeness(np.asarray(images, np.float64).reshape(3, -1, 6))
  others = wanted.sum(1) - 1
  np.testing.assert_allclose(
    among(metrics.diversity('conv'), images), -others, rtol=FLOAT32
  )
  np.testing.assert_allclose(
    among(metrics.distance('conv'), images), 1 - others / 2, rtol=FLOAT32
  )


@pytest.mark.parametrize('shape', [(4, 5, 6), *conftest.slow(((6,),))])
def test_the_gradient_is_that_of_the_sum_over_all_images(shape):
  images = noise(2, 3, *shape)

  def total(images):
    flat = images.reshape(3, -1, 6)
    grams = jnp.einsum('npc,npd->ncd', flat, flat)
    grams /= jnp.sqrt(jnp.sum(grams**2, (1, 2), keepdims=True))
    cosines = jnp.einsum('ncd,mcd->nm', grams, grams)
    return -(jnp.sum(cosines) - jnp.trace(cosines))

  slope = jax.grad(lambda act: metrics.diversity('conv')({'conv': act}, {}))
  found = jax.jit(jax.vmap(slope, axis_name=metrics.REPLICATE))(images)
  wanted = jax.jit(jax.grad(total))(images)
  np.testing.assert_allclose(
    found, wanted, atol=FLOAT32 * float(abs(wanted).max())
  )


def test_an_image_is_not_far_from_itself_and_far_from_what_shares_nothing():
  one = noise(3, 4, 5, 6)
  same = among(metrics.distance('conv'), jnp.stack([one, 7 * one]))
  np.testing.assert_allclose(same, 0, atol=FLOAT32)
  first = jnp.zeros((2, 4, 5, 6)).at[0, ..., :3].set(1).at[1, ..., 3:].set(1)
  np.testing.assert_allclose(among(metrics.distance('conv'), first), 1)


def test_silent_layers_and_single_images_have_no_infinities():
  silent = jnp.zeros((2, 4, 5, 6))
  np.testing.assert_array_equal(among(metrics.diversity('conv'), silent), 0)
  alone = among(metrics.distance('conv'), noise(4, 1, 4, 5, 6))
  assert np.isnan(alone).all()
  np.testing.assert_allclose(
    among(metrics.diversity('conv'), noise(4, 1, 4, 5, 6)), 0, atol=FLOAT32
  )


@pytest.mark.parametrize('name', ['diversity', 'distance'])
def test_without_others_on_an_axis_it_says_what_is_missing(name):
  with pytest.raises(UserError, match='images of a unit.*vizjax run'):
    getattr(metrics, name)('conv')({'conv': noise(5, 4, 5, 6)}, {})


@pytest.mark.parametrize(
  'h, w', [(8, 8), (9, 12), *conftest.slow((20, 15), (32, 32))]
)
def test_the_slope_is_the_twins(h, w):
  image = 50 * noise(6, h, w, 3) + 100
  found = metrics.spectrum_slope()({'view': image}, {})
  # Logarithms of sums of float32 numbers.
  np.testing.assert_allclose(found, twin.slope(np.asarray(image)), atol=1e-4)


@pytest.mark.parametrize('power', [0, 1, 2, 3])
def test_noise_has_the_slope_that_it_was_made_with(power):
  y, x = np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)
  radius = np.hypot(y, x)
  radius[0, 0] = np.inf
  slopes = []
  for seed in range(8):
    spectrum = np.fft.fft2(np.asarray(noise(seed, 128, 128)))
    made = np.fft.ifft2(spectrum * radius ** (-power / 2)).real
    image = jnp.asarray(made[..., None], jnp.float32)
    slopes.append(float(metrics.spectrum_slope()({'view': image}, {})))
  # Of a window: a few percent of steep spectra leaks upwards.
  np.testing.assert_allclose(np.mean(slopes), -power, atol=0.1)


def test_the_slope_knows_no_brightness_no_contrast_and_no_flat_image():
  image = noise(7, 16, 16, 3)
  slope = metrics.spectrum_slope()
  np.testing.assert_allclose(
    slope({'view': image}, {}), slope({'view': 40 * image + 9}, {}), rtol=1e-3
  )
  for color in (0.0, 118.0, 0.1):
    assert np.isnan(slope({'view': jnp.full((16, 16, 3), color)}, {}))
  with pytest.raises(UserError, match='7 x 9 pixels, expected at least 8'):
    slope({'view': image[:7, :9]}, {})
  with pytest.raises(UserError, match="'params'.*expected 'view' or 'image'"):
    metrics.spectrum_slope('params')
