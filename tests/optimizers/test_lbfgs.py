"""L-BFGS-B against SciPy's, evaluation by evaluation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from vizjax import core
from vizjax import models
from vizjax import objectives
from vizjax import parameterizations
from vizjax.errors import UserError
from vizjax.optimizers import lbfgs

pytestmark = pytest.mark.usefixtures('quickly')

# Fifteen evaluations of float64; sums are taken in another order.
SEQUENCE = 1e-6
# Where both have converged by SciPy's tolerances.
END = 1e-5
# The same numbers, compiled differently.
RECOMPILED = 1e-9

LONG = 200  # evaluations, enough for every problem to converge


def rosenbrock(x):
  return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def quadratic(n, seed=0, condition=1e2):
  draw = np.random.RandomState(seed)
  q, _ = np.linalg.qr(draw.normal(size=(n, n)))
  hessian = q * np.geomspace(1, condition, n) @ q.T
  slope = 10 * draw.normal(size=n)
  return lambda x: x @ (jnp.asarray(hessian) @ x) / 2 - jnp.asarray(slope) @ x


def wavy(x):
  """Curved upwards and downwards, so that pairs are left out."""
  return jnp.sum(jnp.cos(3 * x) * (1 + x)) - jnp.sum(x) ** 2 / 50


def separable(x):
  """Its Cauchy paths have as many breakpoints as variables, some equal."""
  k = jnp.arange(x.size) % 700
  return jnp.sum((1 + k / 70) * (x - k / 350 + 1) ** 2) / 2 + jnp.sum(x**4)


ALTERNATING = np.where(np.arange(25) % 3, 0.4, 0)
APART = np.linspace(-1.3, 0.7, 25)

TIGHT = {'maxls': 2, 'ftol': 1e-13, 'gtol': 1e-8}

# function, start, lower, upper, options; starts are within the bounds.
PROBLEMS = {
  'rosenbrock_2': (rosenbrock, [-1.2, 0.5], -2, 0.8, {}),
  'rosenbrock_25': (rosenbrock, APART, -1.5, 0.9, {}),
  'rosenbrock_from_lower': (rosenbrock, np.full(25, -1.5), -1.5, 1.5, {}),
  'rosenbrock_from_corner': (rosenbrock, APART, APART, 1.5, {}),
  'rosenbrock_below_only': (rosenbrock, 1 + APART, -0.5, None, {}),
  'rosenbrock_above_only': (rosenbrock, APART, None, 0.7, {}),
  'rosenbrock_unbounded': (rosenbrock, APART, None, None, {}),
  'rosenbrock_short_searches': (rosenbrock, APART, -2, 2, TIGHT),
  'quadratic_25': (quadratic(25), np.zeros(25), -1, 1, {}),
  'quadratic_200': (quadratic(200), np.zeros(200), -0.3, 0.6, {}),
  'quadratic_200_hard': (
    quadratic(200, 1, 1e4),
    np.full(200, -0.05),
    -0.05,
    0.05,
    {},
  ),
  'quadratic_partly_fixed': (
    quadratic(25),
    np.zeros(25),
    -ALTERNATING,
    ALTERNATING,
    {},
  ),
  'wavy': (wavy, APART, -2, 2, {}),
  'separable': (separable, np.full(2500, 0.3), -0.5, 0.5, {}),
}


@functools.cache
def updater(**options):
  """One compilation for each size: the bounds are in the state."""
  return jax.jit(lbfgs.lbfgsb(None, None, **options).update)


def follow(gradient, state, params, update, evaluations):
  """Values, points, and the last params and state; ends when it is done."""
  values, points = [], []
  while len(values) < evaluations and not state.done:
    value, grad = gradient(params)
    values.append(float(value))
    points.append(params)
    updates, state = update(grad, state, params, value=value)
    params = params + updates
  return np.array(values), np.array(points), params, state


# What every run of the tests solves; each problem takes seconds to compile.
QUICK = ('rosenbrock_from_lower',)


@functools.cache
def both(name):
  """What `follow` gives, and SciPy's values and result."""
  function, start, lower, upper, options = PROBLEMS[name]
  start = jnp.asarray(start)
  state = lbfgs.lbfgsb(lower, upper, **options).init(start)
  gradient = jax.jit(jax.value_and_grad(function))
  run = follow(gradient, state, start, updater(**options), LONG)
  return *run, *scipy(gradient, start, lower, upper, **options)


class Enough(Exception):
  pass


def scipy(gradient, start, lower, upper, evaluations=LONG, **options):
  """Its values in the order in which it asks for them, and its result."""
  values = []

  def evaluate(x):
    if len(values) >= evaluations:
      raise Enough
    x = jnp.asarray(x.reshape(start.shape), start.dtype)
    value, grad = gradient(x)
    values.append(float(value))
    return values[-1], np.asarray(grad, np.float64).ravel()

  n = start.size
  lower = np.broadcast_to(-np.inf if lower is None else lower, start.shape)
  upper = np.broadcast_to(np.inf if upper is None else upper, start.shape)
  bounds = optimize.Bounds(lower.reshape(n), upper.reshape(n))
  try:
    result = optimize.minimize(
      evaluate,
      np.asarray(start, np.float64).ravel(),
      jac=True,
      method='L-BFGS-B',
      bounds=bounds,
      options=options,
    )
  except Enough:
    result = None
  return np.array(values), result


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in PROBLEMS
  ],
)
def test_every_evaluation_is_scipys(x64, name):
  values, _, params, state, theirs, result = both(name)
  first = min(15, len(theirs))
  np.testing.assert_allclose(
    values[:first], theirs[:first], rtol=SEQUENCE, atol=SEQUENCE
  )
  assert state.done
  np.testing.assert_allclose(params, result.x, rtol=END, atol=END)
  # Rounding grows over long runs, and moves their ends.
  assert abs(len(values) - len(theirs)) <= 3 + len(theirs) // 10


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in PROBLEMS
  ],
)
def test_every_point_is_in_the_box(x64, name):
  _, _, lower, upper, _ = PROBLEMS[name]
  _, points, *_ = both(name)
  assert lower is None or (points >= lower).all()
  assert upper is None or (points <= upper).all()


@pytest.mark.parametrize(
  'dtype', [pytest.param(np.float32, marks=pytest.mark.slow), np.float64]
)
def test_a_start_outside_costs_one_evaluation(x64, dtype):
  start = jnp.asarray(np.random.RandomState(3).normal(0, 30, 25), dtype)
  lower, upper = -np.linspace(0.01, 0.3, 25, dtype=dtype), np.float32(0.7)
  gradient = jax.jit(jax.value_and_grad(quadratic(25)))

  def rounded(x):
    return jax.tree.map(lambda a: a.astype(dtype), gradient(x.astype(float)))

  state = lbfgs.lbfgsb(lower, upper).init(start)
  values, points, *_ = follow(rounded, state, start, updater(), 60)
  # Adding the first update rounds, by the size of the start.
  rounding = 100 * np.finfo(dtype).eps
  np.testing.assert_allclose(
    points[1], np.clip(start, lower, upper), atol=rounding
  )
  assert (points[1:] >= lower).all() and (points[1:] <= upper).all()
  if dtype == np.float64:
    theirs, _ = scipy(gradient, start, lower, upper)
    np.testing.assert_allclose(values[1:16], theirs[:15], rtol=SEQUENCE)


@pytest.mark.slow
def test_a_batch_is_its_members(x64):
  starts = jnp.asarray(np.random.RandomState(0).uniform(-1.5, 1, (4, 25)))
  gradient = jax.vmap(jax.value_and_grad(rosenbrock))
  update = jax.jit(jax.vmap(lambda g, s, p, v: updater()(g, s, p, value=v)))
  optimizer = lbfgs.lbfgsb(-1.5, 1.2)
  batch = starts, jax.vmap(optimizer.init)(starts)
  alone = [(start, optimizer.init(start)) for start in starts]
  for _ in range(25):
    params, state = batch
    values, grads = gradient(params)
    updates, state = update(grads, state, params, values)
    batch = params + updates, state
    for i, (point, state) in enumerate(alone):
      np.testing.assert_allclose(
        params[i], point, rtol=RECOMPILED, atol=RECOMPILED
      )
      single = updater()(grads[i], state, point, value=values[i])
      alone[i] = point + single[0], single[1]


@pytest.mark.slow
def test_the_state_holds_everything(x64):
  start = jnp.asarray(APART)
  initial = lbfgs.lbfgsb(-1.5, 1.2).init(start)

  def step(carry, _):
    params, state = carry
    value, grad = jax.value_and_grad(rosenbrock)(params)
    updates, state = updater()(grad, state, params, value=value)
    return (params + updates, state), value

  scanned = jax.lax.scan(step, (start, initial), length=20)[1]
  leaves, treedef = jax.tree.flatten(initial)

  def update(grad, leaves, params, value):
    # By way of the host, as a file would have it.
    state = jax.tree.unflatten(treedef, map(np.asarray, leaves))
    return updater()(grad, state, params, value=value)

  params = start
  for expected in scanned:
    value, grad = jax.value_and_grad(rosenbrock)(params)
    np.testing.assert_allclose(value, expected, rtol=RECOMPILED)
    updates, state = update(grad, leaves, params, value)
    params, leaves = params + updates, jax.tree.leaves(state)


def test_it_stays_at_the_best_iterate(x64):
  values, _, params, state, *_ = both('rosenbrock_2')
  np.testing.assert_array_equal(params, state.x)
  np.testing.assert_allclose(state.f, values.min(), rtol=RECOMPILED)
  update = updater()
  for value in (1.0, -1e3, np.nan):  # whatever comes
    grad = np.full(2, value)
    value = np.float64(value)
    updates, state = update(grad, state, params, value=value)
    np.testing.assert_array_equal(updates, np.zeros(2))


def test_it_returns_from_a_search_that_fails(x64):
  # The gradient has the wrong sign: no step along it is ever accepted.
  params = start = jnp.asarray(APART)
  state, update = lbfgs.lbfgsb(-2, 2, **TIGHT).init(params), updater(**TIGHT)
  for i in range(6):
    assert state.done == (i > TIGHT['maxls'])
    value = jnp.sum(params**2)
    updates, state = update(-2 * params, state, params, value=value)
    params = params + updates
  np.testing.assert_array_equal(params, start)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_a_trial_that_is_no_number_is_shortened(x64, bad):
  edge, weights = jnp.asarray([0.5, 2.0]), jnp.asarray([1, 30])

  def function(x):
    inside = (x < edge).all()
    wall = -jnp.log(jnp.where(inside, edge - x, 1)).sum() / 100
    square = jnp.sum((x - edge) ** 2 * weights)
    return jnp.where(inside, square + wall, bad)

  gradient = jax.jit(jax.value_and_grad(function))
  params = jnp.array([-4.0, -3.0])
  state = lbfgs.lbfgsb(-5, 5).init(params)
  values, _, params, state = follow(gradient, state, params, updater(), 60)
  assert not np.isfinite(values).all()
  assert state.done
  # Where 2 weight (edge - x) = 0.01 / (edge - x).
  expected = edge - jnp.sqrt(0.005 / weights)
  np.testing.assert_allclose(params, expected, atol=1e-4)


def test_a_start_that_is_no_number_is_waited_for(x64):
  params = jnp.asarray([0.3, -0.2])
  state = lbfgs.lbfgsb(-1, 1).init(params)
  for value in (np.nan, np.inf):
    value = np.float64(value)
    updates, state = updater()(params, state, params, value=value)
    np.testing.assert_array_equal(updates, np.zeros(2))
    assert not state.done
  updates, _ = updater()(params, state, params, value=np.float64(1))
  np.testing.assert_allclose(updates, -params)  # down the gradient


def test_a_dead_unit_stays(x64):
  params = jnp.asarray(np.full(2, 0.5))
  state = lbfgs.lbfgsb(-1, 1).init(params)
  grad = jnp.zeros(2)
  updates, state = updater()(grad, state, params, value=np.float64(0))
  assert state.done
  np.testing.assert_array_equal(updates, np.zeros(2))


@pytest.mark.slow
def test_gradients_beyond_the_range_of_squares_do_no_harm():
  params, value = jnp.asarray(np.full(25, 0.5, np.float32)), np.float32(0)
  state = lbfgs.lbfgsb(-1, 1).init(params)
  for size in (1e-42, 1e-22, 1e22):
    grad = np.full(25, size, np.float32)
    updates, _ = updater(gtol=0)(grad, state, params, value=value)
    assert np.isfinite(updates).all()
    assert (updates <= 0).all() and (updates >= -1.5).all()


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_trees_and_dtypes_are_kept(x64, dtype):
  optimizer = lbfgs.lbfgsb(-1, np.ones(3))
  params = {'a': jnp.zeros((2, 3), dtype), 'b': [jnp.zeros(3, dtype)]}
  state, value = optimizer.init(params), jnp.asarray(0.0, dtype)

  def update(params, state, value):
    return optimizer.update(params, state, params, value=value)

  after = jax.eval_shape(update, params, state, value)
  assert jax.tree.structure(after) == jax.tree.structure((params, state))
  for old, new in zip(
    jax.tree.leaves((params, state)), jax.tree.leaves(after), strict=True
  ):
    assert (old.shape, old.dtype) == (new.shape, new.dtype)


@pytest.mark.parametrize(
  ('kwargs', 'expected'),
  [
    ({'lower': 1, 'upper': 0}, 'lower <= upper'),
    ({'lower': np.nan, 'upper': 0}, 'lower <= upper'),
    ({'lower': 0, 'upper': 1, 'memory': 0}, '1 or more'),
    ({'lower': 0, 'upper': 1, 'maxls': 0}, '1 or more'),
  ],
)
def test_a_wrong_argument_is_an_error(kwargs, expected):
  with pytest.raises(UserError, match=expected):
    lbfgs.lbfgsb(**kwargs)


def pixels(model):
  model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model)
  return core.Recipe(
    model=model,
    parameterization=parameterizations.pixels(model),
    objective=objectives.neuron('conv2'),
    optimizer=lbfgs.lbfgsb_pixels(model),
  )


def test_the_range_of_pixels_is_that_of_the_image(model):
  draw = np.random.RandomState(0)
  whole = draw.uniform(80, 140, model.input_shape).astype(np.float32)
  for mean in (whole[0, 0], whole):
    recipe = pixels(dataclasses.replace(model, mean=mean))
    state = recipe.optimizer.init(jnp.zeros(model.input_shape))
    mean = np.broadcast_to(mean, model.input_shape).ravel()
    np.testing.assert_array_equal(state.lower, -mean)
    np.testing.assert_array_equal(state.upper, 255 - mean)


@pytest.mark.slow
def test_images_stay_in_their_range(model):
  recipe = pixels(model)
  start = np.random.RandomState(1).uniform(0, 255, model.input_shape)
  unit = core.Unit(*(jnp.array(n) for n in (1, 3, 3)))
  target = {'unit': unit, 'start': jnp.asarray(start, jnp.float32)}
  key = jax.random.key(0)
  state = core.init(recipe, target, key)
  state, trace = core.optimize(recipe, state, target, key, steps=40)
  image = recipe.parameterization.render(state.best.params)
  # Units in the last place of 255; the unit is linear in all that it sees.
  np.testing.assert_allclose(image.min(), 0, atol=1e-4)
  np.testing.assert_allclose(image.max(), 255, atol=1e-4)
  assert trace['score'][-1] > 2 * abs(trace['score'][0])


def convnet(seed=0, channels=16):
  """A smooth network of random weights on 64 x 64 images; one score each."""
  draw = np.random.RandomState(seed)
  shapes = (7, 7, 3, 8), (5, 5, 8, channels)
  kernels = [jnp.asarray(draw.normal(0, 0.1, s), jnp.float32) for s in shapes]

  def score(image, channel):
    acts = image[None] / 64
    for kernel in kernels:
      numbers = ('NHWC', 'HWIO', 'NHWC')
      acts = jax.lax.conv_general_dilated(
        acts, kernel, (3, 3), 'SAME', dimension_numbers=numbers
      )
      acts = jnp.tanh(acts)
    return -10 * jnp.sum(acts[0], (0, 1))[channel]

  return score


@pytest.mark.slow
def test_a_float32_batch_reaches_what_scipy_reaches():
  gradient = jax.jit(jax.value_and_grad(convnet()))
  channels, evaluations = jnp.arange(16), 30
  draw = np.random.RandomState(1)
  starts = jnp.asarray(draw.uniform(-100, 155, (16, 64, 64, 3)), jnp.float32)
  optimizer = lbfgs.lbfgsb(-100, 155)

  @jax.jit
  @jax.vmap
  def step(params, state, channel):
    value, grad = gradient(params, channel)
    updates, state = optimizer.update(grad, state, params, value=value)
    return params + updates, state, value

  params, state = starts, jax.vmap(optimizer.init)(starts)
  best = jnp.full(16, jnp.inf)
  for _ in range(evaluations):
    assert params.min() >= -100 and params.max() <= 155
    params, state, values = step(params, state, channels)
    best = jnp.minimum(best, values)
  for start, channel, ours in zip(starts, channels, best, strict=True):
    one = functools.partial(gradient, channel=channel)
    theirs, _ = scipy(one, start, -100, 155, evaluations)
    assert ours <= theirs.min() + 0.01 * abs(theirs.min())


@pytest.mark.slow
@pytest.mark.parametrize('layer', ['conv1', 'conv5'])
def test_alexnet_takes_scipys_path(x64, layer):
  model = models.load('alexnet_features')
  model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model)
  mean = np.broadcast_to(model.mean, model.input_shape).astype(float)
  draw = np.random.RandomState(0)
  start = jnp.asarray(draw.uniform(0, 255, model.input_shape) - mean)

  @jax.jit
  @jax.value_and_grad
  def gradient(image):
    acts = model.apply(model.params, image.astype(jnp.float32))[layer]
    return -acts[acts.shape[0] // 2, acts.shape[1] // 2, 32].astype(float)

  state = lbfgs.lbfgsb(-mean, 255 - mean).init(start)
  values, *_ = follow(gradient, state, start, updater(), 25)
  theirs, _ = scipy(gradient, start, -mean, 255 - mean, 25)
  # Gradients are float32 and change by jumps; the paths part in the end.
  np.testing.assert_allclose(
    values, theirs[: len(values)], rtol=1e-2, atol=1e-3 * np.abs(theirs).max()
  )


@pytest.mark.slow
def test_iterations_are_bounded_as_scipys_are(x64):
  function, start, lower, upper, _ = PROBLEMS['rosenbrock_25']
  gradient, start = jax.value_and_grad(function), jnp.asarray(start)
  optimizer = lbfgs.lbfgsb(lower, upper, iterations=5)
  params, state = start, optimizer.init(start)
  update = jax.jit(optimizer.update)
  for _ in range(30):
    value, grad = gradient(params)
    updates, state = update(grad, state, params, value=value)
    params = params + updates
  _, result = scipy(gradient, start, lower, upper, maxiter=5)
  assert state.done and int(state.iteration) == 5 == result.nit
  np.testing.assert_allclose(params, result.x, rtol=1e-6)
