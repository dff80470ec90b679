"""Learning-rate policies against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from oracles import optimizers as twin
from vizjax import optimizers

# A sum of a few float32 squares and a quotient.
FLOAT32 = 1e-5

ASCENT = np.random.RandomState(0).normal(0, 2, (4, 5, 3)).astype(np.float32)


def update(optimizer, ascent, score=0.0):
  """What is added to the parameters, given the gradient of the score."""
  descent = jax.tree.map(lambda leaf: -jnp.asarray(leaf), ascent)
  state = optimizer.init(descent)
  made, _ = optimizer.update(descent, state, value=-jnp.asarray(score))
  return jax.tree.map(np.asarray, made)


@pytest.mark.parametrize('max_rate', [1e-3, 100.0])
def test_progress_promises_a_gain(max_rate):
  optimizer = optimizers.progress(2.0, max_rate)
  rate = twin.rate(ASCENT, 2.0, max_rate)
  np.testing.assert_allclose(
    update(optimizer, ASCENT), rate * ASCENT, rtol=FLOAT32
  )


def test_progress_gains_what_it_promises_on_a_linear_score():
  made = update(optimizers.progress(2.0, 1e8), ASCENT)
  np.testing.assert_allclose((made * ASCENT).sum(), 2, rtol=FLOAT32)


@pytest.mark.parametrize('score', [0.0, 0.3, 0.9, 0.999])
def test_progress01_slows_down_near_one(score):
  optimizer = optimizers.progress01(0.2, 0.5, 1e8)
  rate = twin.rate(ASCENT, twin.desired01(score, 0.2, 0.5), 1e8)
  # 1 - 0.999 leaves float32 four digits.
  np.testing.assert_allclose(
    update(optimizer, ASCENT, score), rate * ASCENT, rtol=1e-4
  )


def test_progress01_is_bounded_by_its_rate():
  optimizer = optimizers.progress01(0.2, 0.5, 1e-4)
  np.testing.assert_allclose(
    update(optimizer, ASCENT), 1e-4 * ASCENT, rtol=FLOAT32
  )


@pytest.mark.parametrize(
  'optimizer',
  [
    optimizers.progress(2.0, 100.0),
    optimizers.progress01(0.2, 0.5, 100.0),
    optax.with_extra_args_support(optimizers.normalize_by_mean_abs()),
  ],
)
def test_a_dead_unit_gets_no_update(optimizer):
  for score in (0.0, 1.0, 1.5):  # at and beyond what progress01 expects
    made = update(optimizer, np.zeros((2, 3), np.float32), score)
    np.testing.assert_array_equal(made, np.zeros((2, 3)))


@pytest.mark.parametrize('size', [1e-25, 1e-21, 1e18])
def test_a_gradient_whose_square_is_out_of_range_stays_bounded(size):
  ascent = np.full((2, 3), size, np.float32)
  made = update(optimizers.progress(2.0, 100.0), ascent)
  assert np.isfinite(made).all()
  # Never more than the bound on the rate allows, never the wrong way.
  assert (made >= 0).all()
  assert (made <= 100 * ascent * (1 + FLOAT32)).all()


def test_normalized_gradients_have_a_mean_size_of_one():
  optimizer = optax.with_extra_args_support(optimizers.normalize_by_mean_abs())
  made = update(optimizer, ASCENT)
  np.testing.assert_allclose(
    made, -ASCENT / np.abs(ASCENT).mean(), rtol=FLOAT32
  )
  np.testing.assert_allclose(np.abs(made).mean(), 1, rtol=FLOAT32)


def test_all_leaves_count_as_one_gradient():
  tree = {'a': ASCENT[0], 'b': [ASCENT[1:]]}
  for optimizer in (
    optimizers.progress(2.0, 100.0),
    optax.with_extra_args_support(optimizers.normalize_by_mean_abs()),
  ):
    whole, parts = update(optimizer, ASCENT), update(optimizer, tree)
    np.testing.assert_allclose(parts['a'], whole[0], rtol=FLOAT32)
    np.testing.assert_allclose(parts['b'][0], whole[1:], rtol=FLOAT32)


def test_normalization_chains_with_a_rate():
  # cnnpref: Delta = m Delta + g / mean |g|, x -= lr Delta.
  rates = optax.linear_schedule(2.0, 0.0, 4)
  optimizer = optax.chain(
    optimizers.normalize_by_mean_abs(), optax.sgd(rates, momentum=0.9)
  )
  state = optimizer.init(jnp.zeros_like(ASCENT))
  momentum = 0
  for step in range(3):
    gradient = ASCENT * (step + 1)
    made, state = optimizer.update(jnp.asarray(gradient), state)
    momentum = 0.9 * momentum + gradient / np.abs(gradient).mean()
    expected = -(2.0 - step / 2) * momentum
    np.testing.assert_allclose(made, expected, rtol=FLOAT32, atol=FLOAT32)


def test_policies_chain_with_optax():
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optimizers.progress(2.0, 100.0)
  )
  clipped = ASCENT / np.linalg.norm(ASCENT)
  np.testing.assert_allclose(
    update(optimizer, ASCENT), 2 * clipped, rtol=FLOAT32
  )


def test_the_dtype_is_kept(x64):
  for dtype in (np.float32, np.float64):
    for optimizer in (
      optimizers.progress(2.0, 100.0),
      optax.with_extra_args_support(optimizers.normalize_by_mean_abs()),
    ):
      assert update(optimizer, ASCENT.astype(dtype)).dtype == dtype


def test_heavy_ball_is_its_recursion():
  draw = np.random.RandomState(1)
  gradients = draw.normal(0, 1, (6, 3, 2))
  rate, kept = (lambda t: 2 - 0.3 * t), (lambda t: 0.5 + 0.05 * t)
  optimizer = optimizers.heavy_ball(rate, kept)
  state = optimizer.init(jnp.zeros((3, 2)))
  delta = np.zeros((3, 2))
  for t, gradient in enumerate(gradients):
    made, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state)
    delta = kept(t) * delta + gradient
    np.testing.assert_allclose(made, -rate(t) * delta, rtol=FLOAT32)


def test_heavy_ball_of_numbers_is_optaxs_momentum():
  ours, theirs = optimizers.heavy_ball(0.3, 0.8), optax.sgd(0.3, 0.8)
  params = {'a': jnp.ones(3), 'b': jnp.zeros((2, 2))}
  states = ours.init(params), theirs.init(params)
  draw = np.random.RandomState(2)
  for _ in range(4):
    gradient = jax.tree.map(
      lambda p: jnp.asarray(draw.normal(0, 1, p.shape), jnp.float32), params
    )
    found, mine = ours.update(gradient, states[0])
    expected, yours = theirs.update(gradient, states[1])
    states = mine, yours
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=FLOAT32),
      found,
      expected,
    )
