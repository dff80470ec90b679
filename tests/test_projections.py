"""Projections against SciPy and the numbers of the published programs."""

import conftest
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from oracles import projections as twin
from vizjax import core
from vizjax import projections
from vizjax.errors import UserError

# Float64 sums of some dozen products, relative to the largest pixel.
FLOAT64 = 1e-12
# The same in float32.
FLOAT32 = 1e-5
# The published numbers have nine to twelve digits.
PRINTED = 1e-8

STEP = jnp.array(0)

DROPS = {
  'small_values': (projections.drop_small_values, twin.small_values),
  'small_norms': (projections.drop_small_norms, twin.small_norms),
  'small_contributions': (
    projections.drop_small_contributions,
    twin.small_contributions,
  ),
  'small_benefits': (projections.drop_small_benefits, twin.small_benefits),
  'small_abs_benefits': (
    projections.drop_small_abs_benefits,
    twin.small_abs_benefits,
  ),
}


def an_image(h=9, w=7, seed=0):
  return np.random.RandomState(seed).normal(0, 10, (h, w, 3))


def a_model(mean):
  return core.Model({}, jnp.asarray(mean), lambda params, image: {}, (9, 7, 3))


def once(projection, image, grads=None, step=0):
  """A projection of an image, compiled, as NumPy."""
  image = jnp.asarray(image)
  grads = jnp.zeros_like(image) if grads is None else jnp.asarray(grads)
  return np.asarray(
    jax.jit(lambda *arguments: projection(*arguments))(
      image, grads, jnp.array(step)
    )
  )


def over_steps(projection, image, steps):
  """A projection of the same image at steps 0 to steps - 1."""
  image = jnp.asarray(image)
  project = jax.vmap(lambda step: projection(image, image, step))
  return np.asarray(jax.jit(project)(jnp.arange(steps)))


@pytest.mark.parametrize(
  'sigma', [0.0, 0.5, 4.0, *conftest.slow(0.3, 1.0, 1.7, 20.0)]
)
def test_blur_is_that_of_scipy(x64, sigma):
  # At 20 the kernel reaches 80 pixels, over a border of 9 and one of 7.
  image = an_image()
  np.testing.assert_allclose(
    once(projections.gaussian_blur(sigma), image),
    twin.blur(image, sigma),
    atol=FLOAT64 * 40,
  )


def test_a_blur_that_hardly_blurs_is_warned_of(x64):
  with pytest.warns(UserWarning, match='below 0.3 pixels'):
    blur = projections.gaussian_blur(0.1)
  image = an_image()
  np.testing.assert_allclose(
    once(blur, image), twin.blur(image, 0.1), atol=FLOAT64 * 40
  )


@pytest.mark.parametrize(
  'projection',
  [
    projections.gaussian_blur(0),
    projections.every(0, projections.l2_decay(0.5)),
    projections.drop_small_values(0),
    projections.drop_small_norms(0.0),
  ],
)
def test_a_knob_of_zero_does_nothing(x64, projection):
  image = an_image()
  np.testing.assert_array_equal(once(projection, image), image)


@pytest.mark.parametrize('size', [(1, 1), (1, 6), (30, 2)])
def test_blur_reflects_at_any_border(x64, size):
  image = an_image(*size)
  np.testing.assert_allclose(
    once(projections.gaussian_blur(1.3), image),
    twin.blur(image, 1.3),
    atol=FLOAT64 * 40,
  )


def test_blur_in_float32_is_that_of_scipy():
  image = an_image().astype(np.float32)
  blurred = once(projections.gaussian_blur(1.0), image)
  assert blurred.dtype == np.float32
  np.testing.assert_allclose(
    blurred, twin.blur(image.astype(float), 1.0), atol=FLOAT32 * 40
  )


def test_a_scheduled_blur_reaches_as_far_as_scipys(x64):
  steps = 41
  image = an_image(15, 12)
  schedule = optax.linear_schedule(2.0, 0.0, steps - 1)
  blurred = over_steps(projections.gaussian_blur(schedule), image, steps)
  for step in range(steps):
    # SciPy's own kernel at each sigma, cut at int(4 sigma + 0.5).
    expected = twin.blur(image, 2.0 - 2.0 * step / (steps - 1))
    np.testing.assert_allclose(blurred[step], expected, atol=FLOAT64 * 40)
  np.testing.assert_array_equal(blurred[-1], image)


def test_a_scheduled_blur_in_float32_starts_at_its_largest():
  image = an_image().astype(np.float32)
  for schedule in (
    optax.linear_schedule(2.3, 0.7, 7),
    optax.cosine_decay_schedule(2.3, 7),
    optax.exponential_decay(2.3, 7, 0.5),
    optax.constant_schedule(0.7),
  ):
    blurred = over_steps(projections.gaussian_blur(schedule), image, 8)
    assert np.isfinite(blurred).all()


def test_a_blur_that_grows_is_that_of_scipy(x64):
  schedule = optax.linear_schedule(0.0, 2.0, 4)
  image = an_image()
  blurred = over_steps(projections.gaussian_blur(schedule), image, 6)
  for step, sigma in enumerate((0.0, 0.5, 1.0, 1.5, 2.0, 2.0)):
    np.testing.assert_allclose(
      blurred[step], twin.blur(image, sigma), atol=FLOAT64 * 40
    )


def test_a_blur_that_grows_beyond_both_its_ends_is_nan():
  pieces = [optax.constant_schedule(value) for value in (1.0, 2.0, 1.0)]
  schedule = optax.join_schedules(pieces, [1, 2])
  blurred = over_steps(projections.gaussian_blur(schedule), an_image(), 3)
  assert np.isfinite(blurred[[0, 2]]).all()
  assert np.isnan(blurred[1]).all()


@pytest.mark.parametrize(
  'q', [33.0, *conftest.slow(0.0, 5.0, 50.0, 99.0, 100.0)]
)
@pytest.mark.parametrize('name', DROPS)
def test_what_is_small_is_dropped(x64, name, q):
  factory, expected = DROPS[name]
  image, grads = an_image(), an_image(seed=1)
  made = once(factory(q), image, grads)
  np.testing.assert_array_equal(made, expected(image, grads, q))


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('name', DROPS)
def test_what_equals_the_percentile_is_kept(x64, name, dtype):
  # All pixels are alike, and none is less than any percentile of them.
  image = np.broadcast_to(np.array([0.3, -0.7, 1.1], dtype), (9, 7, 3))
  image = np.abs(image) * 0 + dtype(0.7) if name == 'small_values' else image
  project = DROPS[name][0](optax.linear_schedule(0.0, 100.0, 60))
  made = over_steps(project, image, 61)
  np.testing.assert_array_equal(made, np.stack([image] * 61))


@pytest.mark.parametrize('name', DROPS)
def test_nothing_more_is_dropped_where_the_percentile_is_zero(x64, name):
  factory, expected = DROPS[name]
  image, grads = an_image(), an_image(seed=1)
  image[:6] = 0  # two thirds: the median is zero, and none is below it
  made = once(factory(50.0), image, grads)
  np.testing.assert_array_equal(made, expected(image, grads, 50.0))


def test_percentiles_may_follow_a_schedule(x64):
  image, grads = an_image(), an_image(seed=1)
  schedule = optax.linear_schedule(0.0, 80.0, 4)
  for name, (factory, expected) in DROPS.items():
    project = factory(schedule)
    for step in (1, 3):
      made = once(project, image, grads, step)
      np.testing.assert_array_equal(
        made, expected(image, grads, 20.0 * step), err_msg=name
      )


@pytest.mark.parametrize('q', [0.0, 1.0, 10.0, 100.0])
def test_percentiles_clip_both_ends(x64, q):
  image = an_image()
  np.testing.assert_allclose(
    once(projections.clip_percentile(q), image),
    twin.clip_percentile(image, q),
    rtol=FLOAT64,
  )


def test_clip_percentile_follows_a_schedule(x64):
  image = an_image()
  project = projections.clip_percentile(optax.linear_schedule(10.0, 50.0, 4))
  made = over_steps(project, image, 5)
  for step in range(5):
    np.testing.assert_allclose(
      made[step], twin.clip_percentile(image, 10 + 10 * step), rtol=FLOAT64
    )


@pytest.mark.parametrize('n', [1, 2, 4])
@pytest.mark.parametrize('phase', [0, 1, 3])
def test_every_counts_from_its_phase(n, phase):
  image = an_image().astype(np.float32)
  halve = projections.l2_decay(0.5)
  made = over_steps(projections.every(n, halve, phase), image, 9)
  for step in range(9):
    # Phase 0: i % n == 0 (toolbox); phase 1: (t + 1) % n == 0 (cnnpref).
    due = (step + phase) % n == 0
    np.testing.assert_array_equal(made[step], image / 2 if due else image)


def test_every_keeps_nan_of_the_steps_between_out():
  schedule = optax.linear_schedule(1.0, 2.0, 4)
  project = projections.every(4, projections.gaussian_blur(schedule))
  made = over_steps(project, an_image(), 4)
  assert np.isfinite(made).all()


def test_decay_keeps_the_rest():
  image = an_image().astype(np.float32)
  for rate in (0.0, 1e-4, 0.3, 1.0, 1):
    made = once(projections.l2_decay(rate), image)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, twin.decay(image, rate), rtol=FLOAT32)


def test_decay_follows_a_schedule(x64):
  # cnnpref: start + t (end - start) / n, the end is not reached.
  image = an_image()
  project = projections.l2_decay(optax.linear_schedule(0.1, 0.3, 4))
  made = over_steps(project, image, 4)
  for step, rate in enumerate([0.1, 0.15, 0.2, 0.25]):
    np.testing.assert_allclose(
      made[step], twin.decay(image, rate), rtol=FLOAT64
    )


def test_decay_works_on_any_parameters():
  params = {'a': jnp.ones(3), 'b': (jnp.full((2, 2), 4.0),)}
  made = projections.l2_decay(0.25)(params, params, STEP)
  assert jax.tree.structure(made) == jax.tree.structure(params)
  np.testing.assert_allclose(made['a'], np.full(3, 0.75), rtol=FLOAT32)
  np.testing.assert_allclose(made['b'][0], np.full((2, 2), 3), rtol=FLOAT32)


@pytest.mark.parametrize('full', [False, True])
def test_clip_pixels_keeps_the_image_displayable(full):
  mean = np.array([120, 115, 100], np.float32)
  if full:
    mean = mean + an_image().astype(np.float32)
  image = an_image().astype(np.float32) * 20
  made = once(projections.clip_pixels(a_model(mean)), image)
  expected = np.minimum(255, np.maximum(0, image + mean)) - mean
  assert (made != image).any() and (made == image).any()
  # Adding the mean and taking it off again costs a digit of 255.
  np.testing.assert_allclose(made, expected, atol=FLOAT32 * 10)


def test_clip_pixels_keeps_the_image_within_the_range_of_the_model():
  model = a_model(np.array([0.2, 0.0, -0.4], np.float32))
  model = dataclasses.replace(model, range=(-1.0, 1.0))
  image = an_image().astype(np.float32)
  made = once(projections.clip_pixels(model), image)
  seen = made + np.asarray(model.mean)
  np.testing.assert_allclose([seen.min(), seen.max()], [-1, 1], atol=1e-6)
  expected = np.clip(image + np.asarray(model.mean), -1, 1)
  np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_clip_box_takes_numbers_and_arrays():
  image = an_image().astype(np.float32)
  upper = np.abs(an_image(seed=1)).astype(np.float32)
  np.testing.assert_array_equal(
    once(projections.clip_box(-3.0, 5.0), image), np.clip(image, -3, 5)
  )
  np.testing.assert_array_equal(
    once(projections.clip_box(jnp.asarray(-upper), jnp.asarray(upper)), image),
    np.clip(image, -upper, upper),
  )


@pytest.mark.parametrize('lower, upper', [(None, 5.0), (-3.0, None)])
def test_clip_box_of_one_bound_leaves_the_other_side(lower, upper):
  image = an_image()
  found = once(projections.clip_box(lower, upper), image)
  np.testing.assert_allclose(found, np.clip(image, lower, upper))


@pytest.mark.parametrize(
  'projection',
  [
    projections.gaussian_blur(1.0),
    projections.drop_small_norms(5.0),
    projections.drop_small_values(5.0),
    projections.clip_pixels(a_model(np.full(3, 100, np.float32))),
  ],
)
@pytest.mark.parametrize(
  'params', [jnp.ones((2, 4, 3, 3)), {'code': jnp.ones((4, 4, 3))}]
)
def test_what_needs_pixels_says_so(projection, params):
  with pytest.raises(UserError, match=r"'pixels\(model\)', or take the"):
    projection(params, params, STEP)


@pytest.mark.parametrize(
  ('make', 'match'),
  [
    (lambda: projections.l2_decay(1.5), r'l2_decay\(1.5\): expected'),
    (lambda: projections.l2_decay(-0.1), 'expected a number from 0 to 1'),
    (lambda: projections.gaussian_blur(-1.0), r'gaussian_blur\(-1.0\)'),
    (lambda: projections.gaussian_blur(float('inf')), 'gaussian_blur'),
    (lambda: projections.gaussian_blur(float('nan')), r'blur\(nan\)'),
    (lambda: projections.clip_percentile(101.0), 'from 0 to 100'),
    (lambda: projections.drop_small_values(-1.0), r'drop_small_values\(-1'),
    (lambda: projections.drop_small_norms(100.5), 'from 0 to 100'),
    (
      lambda: projections.every(-1, projections.l2_decay(0.1)),
      'every: n is -1',
    ),
    (
      lambda: projections.gaussian_blur(optax.constant_schedule(-1.0)),
      r'gaussian_blur\(-1.0\)',
    ),
  ],
)
def test_an_impossible_argument_is_refused(make, match):
  with pytest.raises(UserError, match=match):
    make()


@pytest.fixture
def start(x64):
  """x0 of the toolbox's example, [h, w, c]."""
  noise = np.random.RandomState(0).normal(0, 10, (3, 227, 227))
  return noise.transpose(1, 2, 0)


def test_first_step_of_yosinskis_set_3_has_the_printed_numbers(start):
  model = a_model(np.array([122.679, 116.669, 104.007]))
  clip = projections.clip_pixels(model)
  x0 = once(clip, start)
  found = [x0[0, 0, 0], x0[0, 1, 0], np.linalg.norm(x0), np.std(x0)]
  printed = [17.6405234597, 4.00157208367, 3921.52364497, 9.97384688005]
  np.testing.assert_allclose(found, printed, rtol=PRINTED)

  x1 = start
  for project in (
    clip,
    projections.l2_decay(0.0001),
    projections.every(4, projections.gaussian_blur(1.0)),
  ):
    x1 = once(project, x1)
  found = [np.linalg.norm(x1), np.std(x1), np.linalg.norm(x1 - x0)]
  # Given with nine digits, of which the last is rounded.
  printed = [1118.40795, 2.8440958, 3413.04436]
  np.testing.assert_allclose(found, printed, rtol=2e-8)
  np.testing.assert_allclose(x1, twin.blur(0.9999 * start, 1.0), atol=1e-12)


def test_percentiles_of_yosinskis_start_are_the_printed_ones(start):
  # An odd count has its median among its values, which is kept.
  half = once(projections.drop_small_norms(50.0), start)
  norms = np.linalg.norm(half, axis=-1)
  assert (norms == 0).sum() == 25764
  np.testing.assert_allclose(norms[norms > 0].min(), 15.33040028, rtol=PRINTED)

  most = once(projections.drop_small_norms(20.0), start)
  dropped = np.linalg.norm(start - most, axis=-1)
  assert (
    dropped.max()
    < 9.94586834
    < np.linalg.norm(most[dropped == 0], axis=-1).min()
  )

  values = np.abs(once(projections.drop_small_values(50.0), start))
  np.testing.assert_allclose(values[values > 0].min(), 6.71676104, rtol=PRINTED)
