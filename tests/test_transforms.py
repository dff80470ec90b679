"""Transforms against NumPy and SciPy, for every draw they can make."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import conftest
from oracles import transforms as twin
from vizjax import core
from vizjax import transforms
from vizjax.errors import UserError

pytestmark = pytest.mark.usefixtures('quickly')

# Grey levels: four float32 products of numbers up to 255, and a position
# that is known to about 1e-5 of a pixel.
LEVELS = 0.02
# A factor, or degrees, read off the slope of a float32 ramp.
READ_OFF = 1e-3
# Draws for which each of ten values is missed with a chance of 1e-9.
MANY = 200


def an_image(h=11, w=8, seed=0):
  draw = np.random.RandomState(seed)
  return draw.uniform(0, 255, (h, w, 3)).astype(np.float32)


def ramps(size=21):
  """Rows, columns and noise: a linear map can be read off the middle."""
  at = np.arange(size, dtype=np.float32) * 10
  image = an_image(size, size)
  image[..., 0], image[..., 1] = at[:, None], at[None, :]
  return image


def draws(transform, views, n=MANY, seed=0):
  """The results [n, v, h, w, c] of n keys."""
  return np.asarray(compiled(transform)(keys(n, seed), views))


@functools.cache
def compiled(transform):
  """(keys [n], views [v, h, w, c]) -> [n, v, h, w, c]."""

  def apply(key, views):
    return transform(core.Draw(key, jnp.array(0), {}), views)

  return jax.jit(jax.vmap(apply, (0, None)))


def keys(n, seed=0):
  return jax.random.split(jax.random.key(seed), n)


def found_in(outputs, candidates):
  """Which candidate each output is; all must be one."""
  stack = np.stack(list(candidates.values()))
  names = list(candidates)
  found = []
  for output in outputs:
    same = (stack == output).all(axis=(1, 2, 3))
    assert same.sum() == 1
    found.append(names[int(same.argmax())])
  return found


def test_jitter_cuts_every_window_it_can():
  image = an_image()
  outputs = draws(transforms.jitter(2), image[None])[:, 0]
  candidates = twin.windows(image, 9, 6)
  assert set(found_in(outputs, candidates)) == set(candidates)


def test_roll_shifts_by_every_amount_up_to_its_bound():
  image = an_image()
  outputs = draws(transforms.roll(1), image[None])[:, 0]
  candidates = twin.rolls(image, 1)
  assert set(found_in(outputs, candidates)) == set(candidates)


def test_the_gradient_of_a_roll_is_rolled_back():
  image, weights = an_image(), an_image(seed=1)
  roll = transforms.roll(3)

  def score(image, key):
    [view] = roll(core.Draw(key, jnp.array(0), {}), image[None])
    return (view * weights).sum(), view

  gradients = jax.jit(jax.vmap(jax.grad(score, has_aux=True), (None, 0)))
  gradients, views = map(np.asarray, gradients(image, keys(10)))
  shifts = found_in(views, twin.rolls(image, 3))
  for gradient, (y, x) in zip(gradients, shifts, strict=True):
    back = np.roll(weights, (-y, -x), (0, 1))
    np.testing.assert_array_equal(gradient, back)


def test_pad_adds_a_border_of_grey_or_of_a_value():
  image = an_image()
  for transform, value in [
    (transforms.pad(3), 127.5),
    (transforms.pad(3, 9.0), 9.0),
  ]:
    [output] = draws(transform, image[None], 1)[:, 0]
    np.testing.assert_array_equal(output, twin.pad(image, 3, value))


def test_nothing_is_done_by_zero():
  image = an_image()
  for transform in (
    transforms.jitter(0),
    transforms.roll(0),
    transforms.pad(0),
    transforms.crop(11, 8),
    transforms.random_crops(1, 11, 8),
  ):
    np.testing.assert_array_equal(
      draws(transform, image[None], 3)[:, 0], np.stack([image] * 3)
    )


def test_scale_by_one_and_a_turn_by_nothing_change_nothing():
  image = an_image()
  for transform in (transforms.scale(1.0, 1.0), transforms.rotate(0.0)):
    for output in draws(transform, image[None], 3)[:, 0]:
      np.testing.assert_allclose(output, image, atol=LEVELS)


def test_scale_magnifies_by_a_factor_between_its_bounds():
  image = ramps()
  outputs = draws(transforms.scale(0.5, 1.5), image[None])[:, 0]
  # A step of one pixel is 10 in the image, 10 / factor when magnified.
  factors = 20 / (outputs[:, 11, 10, 0] - outputs[:, 9, 10, 0])
  assert 0.5 <= factors.min() < 0.55
  assert 1.45 < factors.max() <= 1.5
  for output, factor in zip(outputs[:40], factors, strict=False):
    np.testing.assert_allclose(
      output[..., :2], twin.scale(image, factor)[..., :2], atol=20 * READ_OFF
    )


@pytest.mark.parametrize('h, w', [(11, 8), *conftest.slow((8, 8), (5, 9))])
def test_scale_of_some_factors_gives_each_of_them(h, w):
  size = h, w
  image = an_image(*size)
  outputs = draws(transforms.scale(0.7, 1.5, 5), image[None], 100)[:, 0]
  candidates = [
    twin.scale(image, factor) for factor in np.linspace(0.7, 1.5, 5)
  ]
  assert nearest(outputs, candidates) == {0, 1, 2, 3, 4}


def test_rotate_turns_by_an_angle_between_its_bounds():
  image = ramps()
  outputs = draws(transforms.rotate(30.0), image[None])[:, 0]
  down = outputs[:, 11, 10] - outputs[:, 9, 10]
  degrees = np.rad2deg(np.arctan2(down[:, 1], down[:, 0]))
  assert -30 - READ_OFF <= degrees.min() < -28
  assert 28 < degrees.max() <= 30 + READ_OFF
  for output, angle in zip(outputs[:40], degrees, strict=False):
    np.testing.assert_allclose(
      output[..., :2], twin.rotate(image, angle)[..., :2], atol=LEVELS
    )


@pytest.mark.parametrize('h, w', [(11, 8), *conftest.slow((8, 8), (5, 9))])
def test_rotate_of_some_angles_gives_each_of_them(h, w):
  size = h, w
  image = an_image(*size)
  outputs = draws(transforms.rotate(160.0, 5), image[None], 100)[:, 0]
  candidates = [
    twin.rotate(image, angle) for angle in np.linspace(-160, 160, 5)
  ]
  assert nearest(outputs, candidates) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize('n', [9, *conftest.slow(8)])
def test_a_quarter_turn_moves_pixels_whole(n):
  image = an_image(n, n)
  outputs = draws(transforms.rotate(90.0, 2), image[None], 20)[:, 0]
  candidates = [np.rot90(image, 1), np.rot90(image, -1)]
  assert nearest(outputs, candidates) == {0, 1}


def test_so_many_of_the_draws_do_not_turn():
  image = an_image()
  outputs = draws(transforms.rotate(90.0, 2, 2), image[None], MANY)[:, 0]
  still = np.abs(outputs - image).max(axis=(1, 2, 3)) < LEVELS
  # Two of four draws; five standard errors of 200 fair coins are 0.18.
  assert abs(still.mean() - 0.5) < 0.18


@pytest.mark.parametrize('name', ['scale', 'rotate'])
def test_what_enters_the_canvas_is_grey(name):
  white = np.full((1, 9, 9, 3), 255, np.float32)
  transform = {
    'scale': transforms.scale(0.5, 0.5),
    'rotate': transforms.rotate(45.0, 2),
  }[name]
  [output] = draws(transform, white, 1)[:, 0]
  np.testing.assert_allclose(output[0, 0], np.full(3, 127.5), atol=LEVELS)
  np.testing.assert_allclose(output[4, 4], np.full(3, 255), atol=LEVELS)


@pytest.mark.parametrize('size', [(5, 4), (6, 3), (15, 12), (14, 13), (5, 13)])
def test_crop_is_the_middle_in_a_frame_of_grey(size):
  image = an_image()
  expected = twin.fit(image, *size)
  [output] = draws(transforms.crop(*size), image[None], 1)[:, 0]
  np.testing.assert_array_equal(output, expected)
  fitted = transforms.fit(jnp.asarray(image), *size)
  np.testing.assert_array_equal(fitted, expected)


def test_crop_undoes_pad():
  image = an_image()
  padded = transforms.fit(jnp.asarray(image), 17, 14)
  np.testing.assert_array_equal(transforms.fit(padded, 11, 8), image)


def test_trim_is_the_middle_of_the_size_of_the_image():
  # Lucid's five on an image of 40 x 36, each as the twin has it.
  net = conftest.toy(size=40)
  net = dataclasses.replace(net, input_shape=(40, 36, 3))
  image = an_image(40, 36)
  links = (
    transforms.pad(12), transforms.jitter(8), transforms.scale(0.9, 1.1, 11),
    transforms.rotate(10, 21, 5), transforms.jitter(4), transforms.trim(net),
  )  # fmt: skip

  def views(key, view):
    made = [view[None]]
    for i, link in enumerate(links):
      draw = core.Draw(jax.random.fold_in(key, i), jnp.array(0), {})
      made.append(link(draw, made[-1]))
    return tuple(each[0] for each in made)

  made = jax.jit(jax.vmap(views, (0, None)))(keys(4), image)
  for start, padded, cut, larger, turned, again, last in zip(
    *map(np.asarray, made), strict=True
  ):
    np.testing.assert_array_equal(padded, twin.pad(start, 12))
    found_in([cut], twin.windows(padded, 56, 52))
    factors = np.linspace(0.9, 1.1, 11)
    nearest([larger], [twin.scale(cut, factor) for factor in factors])
    angles = np.arange(-10, 11)
    nearest([turned], [twin.rotate(larger, angle) for angle in angles])
    found_in([again], twin.windows(turned, 52, 48))
    np.testing.assert_array_equal(last, twin.fit(again, 40, 36))


def test_random_crops_are_n_windows_of_every_view():
  views = np.stack([an_image(seed=0), an_image(seed=1)])
  outputs = draws(transforms.random_crops(3, 10, 6), views, 60)
  assert outputs.shape == (60, 6, 10, 6, 3)
  for view in range(2):
    candidates = twin.windows(views[view], 10, 6)
    cut = outputs[:, 3 * view : 3 * view + 3].reshape(-1, 10, 6, 3)
    assert set(found_in(cut, candidates)) == set(candidates)
  # The crops of a view are drawn independently: of 6 windows, three are the
  # same in 1 of 36.
  same = (outputs[:, 0] == outputs[:, 1]).all(axis=(1, 2, 3))
  assert same.mean() < 0.5


RANDOM = {
  'jitter': transforms.jitter(3),
  'roll': transforms.roll(3),
  'scale': transforms.scale(0.5, 1.5),
  'rotate': transforms.rotate(40.0),
  'random_crops': transforms.random_crops(2, 6, 5),
}


# The others are drawn and read in the same way.
QUICK = ['scale', 'random_crops', *conftest.slow('jitter', 'roll', 'rotate')]


@pytest.mark.parametrize('name', QUICK)
def test_equal_views_are_drawn_apart(name):
  outputs = draws(RANDOM[name], np.stack([an_image()] * 2), 5)
  own = outputs.shape[1] // 2
  # With a chance of 1 in 16 or less for each of five keys to be equal.
  assert (outputs[:, :own] != outputs[:, own:]).any((1, 2, 3, 4)).sum() > 2


@pytest.mark.parametrize('name', QUICK)
def test_a_view_does_not_depend_on_its_neighbors(name):
  first, second, other = (an_image(seed=seed) for seed in range(3))
  outputs = draws(RANDOM[name], np.stack([first, second]), 5)
  changed = draws(RANDOM[name], np.stack([first, other]), 5)
  alone = draws(RANDOM[name], first[None], 5)
  own = alone.shape[1]
  np.testing.assert_array_equal(outputs[:, :own], changed[:, :own])
  np.testing.assert_allclose(outputs[:, :own], alone, atol=LEVELS)
  assert (outputs[:, own:] != changed[:, own:]).any()


@pytest.mark.parametrize('name', RANDOM)
def test_the_same_key_draws_the_same(name):
  views = an_image()[None]
  one, two = (draws(RANDOM[name], views, 5) for _ in range(2))
  np.testing.assert_array_equal(one, two)
  assert (one != draws(RANDOM[name], views, 5, seed=1)).any()


@pytest.mark.parametrize('name', QUICK)
def test_the_gradient_is_that_of_a_linear_map(name, x64):
  image, change = np.random.RandomState(0).uniform(0, 255, (2, 1, 11, 8, 3))

  @jax.jit
  def both(views, change):
    draw = core.Draw(jax.random.key(4), jnp.array(0), {})
    output, pullback = jax.vjp(lambda v: RANDOM[name](draw, v), views)
    moved = RANDOM[name](draw, views + change)
    weights = jnp.sin(jnp.arange(output.size)).reshape(output.shape)
    return ((moved - output) * weights).sum(), pullback(weights)[0]

  difference, gradient = both(image, change)
  # Affine in the image, so that the difference quotient is exact.
  np.testing.assert_allclose(difference, (gradient * change).sum(), rtol=1e-9)
  assert (gradient != 0).mean() > 0.2


@pytest.mark.slow
def test_lucids_five_keep_the_middle_of_the_image():
  # As the module's docstring gives them, whole numbers and all.
  chain = [
    transforms.pad(12),
    transforms.jitter(8),
    transforms.scale(0.9, 1.1),
    transforms.rotate(10),
    transforms.jitter(4),
  ]

  def apply(draw, views):
    for link in chain:
      views = link(draw, views)
    return views

  views = np.full((2, 20, 16, 3), 200, np.float32)
  [views] = draws(apply, views, 1)
  assert views.shape == (2, 32, 28, 3)
  np.testing.assert_allclose(
    views[:, 16, 14], np.full((2, 3), 200), atol=LEVELS
  )


@pytest.mark.parametrize(
  ('make', 'match'),
  [
    (lambda: transforms.jitter(-1), 'jitter: d is -1, expected a'),
    (lambda: transforms.roll(-2), 'roll: d is -2, expected a'),
    (lambda: transforms.pad(-3), 'pad: w is -3, expected a'),
    (lambda: transforms.rotate(-1.0), 'rotate.*-1.0.*expected'),
    (lambda: transforms.rotate(1.0, 3, -1), 'rotate: zeros is -1'),
    (lambda: transforms.rotate(1.0, zeros=5), 'needs count, as rotate'),
    (lambda: transforms.scale(0.0, 1.0), 'expected 0 < low <= high'),
    (lambda: transforms.scale(1.2, 1.1), 'expected 0 < low <= high'),
    (lambda: transforms.crop(0, 3), 'crop: h is 0, expected a'),
    (lambda: transforms.crop(3, -1), 'crop: w is -1'),
    (lambda: transforms.random_crops(0, 3, 3), 'random_crops: n is 0'),
    (lambda: transforms.random_crops(1, 0, 3), 'random_crops: h is 0'),
  ],
)
def test_an_impossible_argument_is_refused(make, match):
  with pytest.raises(UserError, match=match):
    make()


@pytest.mark.parametrize(
  'make',
  [
    lambda: transforms.scale(0.9, 1.1, 0),
    lambda: transforms.scale(0.9, 1.1, -1),
    lambda: transforms.rotate(10.0, 0),
    lambda: transforms.rotate(10.0, -3),
    lambda: transforms.rotate(float('nan')),
  ],
)
def test_a_draw_of_nothing_is_refused_before_it_is_made(make):
  with pytest.raises(UserError, match='expected'):
    make()


@pytest.mark.parametrize(
  'transform',
  [
    transforms.jitter(8),
    transforms.random_crops(1, 12, 3),
    transforms.random_crops(1, 3, 9),
  ],
)
def test_more_pixels_than_there_are_cannot_be_had(transform):
  with pytest.raises(UserError, match='use a larger image or a smaller'):
    draws(transform, an_image()[None], 1)


def nearest(outputs, candidates):
  """Which candidates occur; every output must be one, up to rounding."""
  found = set()
  for output in outputs:
    errors = [np.abs(output - c).max() for c in candidates]
    found.add(int(np.argmin(errors)))
    assert min(errors) < LEVELS
  return found
