"""The loop, against a plain twin and against what it promises."""

import dataclasses
import functools
import types

import conftest
import jax
from jax.tree_util import Partial
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from oracles import ascent
from vizjax import core
from vizjax import formula
from vizjax import models
from vizjax import objectives
from vizjax import optimizers
from vizjax import parameterizations
from vizjax import projections
from vizjax import transforms
from vizjax.errors import UserError

pytestmark = pytest.mark.usefixtures('quickly')

# Float64 twins differ in the order of sums alone; forty steps of a rate that
# does not diverge keep that below this, relative to the largest value.
TWIN = 1e-10

# The same float32 formula compiled alone and inside the loop: a few units in
# the last place of a sum over a view.
RECOMPILED = 1e-5

KEY = jax.random.key(7)


def target(channel=1, y=3, x=3):
  return {'unit': core.Unit(*(jnp.array(n) for n in (channel, y, x)))}


def ascend(model, **changes):
  """A recipe with something of everything: random, projected, recorded."""
  recipe = core.Recipe(
    model=model,
    parameterization=parameterizations.pixels(model),
    objective=objectives.neuron('conv2'),
    optimizer=optax.adam(2.0),
    transforms=(transforms.roll(2),),
    projections=(projections.l2_decay(0.01),),
    trace=(('norm', objectives.l2_norm()),),
  )
  return dataclasses.replace(recipe, **changes)


def start(recipe, run=None, key=KEY):
  return core.init(recipe, run or target(), key)


def perceptron(mean=(120.0, 115.0, 100.0), seed=0):
  """Two layers without a table, as a user would bring them; float64."""
  draw = np.random.RandomState(seed)
  params = {
    'first': jnp.asarray(draw.normal(0, 0.1, (7, 4 * 5 * 3))),
    'second': jnp.asarray(draw.normal(0, 1, (3, 7))),
  }

  def apply(params, image):
    hidden = params['first'] @ image.reshape(-1)
    return {'hidden': hidden, 'out': params['second'] @ jax.nn.relu(hidden)}

  return core.Model(params, jnp.asarray(mean), apply, (4, 5, 3))


def bowl(peak):
  """A model whose only activation is minus the distance to a peak, squared."""

  def apply(params, image):
    return {'height': -jnp.sum((image - params) ** 2)[None]}

  return core.Model(peak, jnp.zeros(3, peak.dtype), apply, peak.shape)


optimize = functools.partial(jax.jit, static_argnames='steps')(core.optimize)


@pytest.mark.parametrize(
  'unit, momentum', [(0, 0.8), *conftest.slow((0, 0.0), (2, 0.0), (2, 0.8))]
)
def test_the_loop_is_gradient_ascent(x64, unit, momentum):
  model = perceptron()
  weight, rate, decay, steps = 1e-4, 60.0, 0.05, 40
  neuron, square = objectives.neuron('out'), objectives.l2()
  recipe = core.Recipe(
    model=model,
    parameterization=parameterizations.pixels(model, std=80.0),
    objective=lambda acts, run: neuron(acts, run) - weight * square(acts, run),
    optimizer=optax.sgd(rate, momentum=momentum),
    projections=(projections.l2_decay(decay), projections.clip_pixels(model)),
    trace=(('square', square),),
  )
  state = start(recipe, target(unit, 0, 0))
  seen, following = ascent.ascend(
    *(np.asarray(model.params[name]) for name in ('first', 'second')),
    np.asarray(model.mean),
    np.asarray(state.params),
    unit,
    weight=weight,
    rate=rate,
    momentum=momentum,
    decay=decay,
    steps=steps,
  )
  state, trace = optimize(recipe, state, target(unit, 0, 0), KEY, steps=steps)
  xs, scores, norms, squares = zip(*seen, strict=True)
  close = functools.partial(np.testing.assert_allclose, rtol=TWIN, atol=TWIN)
  close(trace['score'], scores)
  close(trace['gradient_norm'], norms)
  close(trace['square'], squares)
  close(state.params, following, atol=TWIN * 255)
  close(state.last.params, xs[-1], atol=TWIN * 255)
  best = int(np.argmax(scores))
  assert int(state.best.step) == best
  close(state.best.params, xs[best], atol=TWIN * 255)
  # The twin reached the clip and moved, so neither is compared in vain.
  assert np.any(following == -np.asarray(model.mean))
  assert best > 0


def test_a_model_cast_to_float64_keeps_the_whole_loop_there(model, x64):
  model = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model)
  recipe = ascend(model)
  state, trace = optimize(recipe, start(recipe), target(), KEY, steps=3)
  for leaf in jax.tree.leaves((state.params, state.best.score, trace)):
    assert leaf.dtype == jnp.float64


@pytest.mark.parametrize('which', ['best', 'last'])
def test_a_snapshots_score_is_the_score_of_its_parameters(model, which):
  recipe = ascend(model)
  state, trace = optimize(recipe, start(recipe), target(), KEY, steps=30)
  snapshot = getattr(state, which)
  key = jax.random.fold_in(KEY, snapshot.step)
  draw = core.Draw(key, snapshot.step, target())
  score = jax.jit(core.score)
  value, _ = score(recipe, snapshot.params, draw)
  np.testing.assert_allclose(snapshot.score, value, rtol=RECOMPILED)
  assert snapshot.score == trace['score'][snapshot.step]
  # The parameters moved, so those of a neighbouring step would not do.
  moved, _ = score(recipe, state.params, draw)
  assert abs(moved - value) > 100 * RECOMPILED * abs(value)


def test_the_best_snapshot_is_the_first_maximum_of_the_trace(model):
  recipe = ascend(model, optimizer=optax.sgd(200.0))
  state, trace = optimize(recipe, start(recipe), target(), KEY, steps=30)
  scores = np.asarray(trace['score'])
  assert int(state.best.step) == int(np.argmax(scores))
  assert state.best.score == scores.max()
  assert int(state.last.step) == 29 and state.last.score == scores[29]
  assert scores.argmax() < 29  # else best and last could not be told apart


def test_of_equal_scores_the_first_is_kept(model):
  recipe = ascend(model, objective=lambda acts, run: jnp.sum(acts['view']) * 0)
  state, _ = optimize(recipe, start(recipe), target(), KEY, steps=3)
  assert int(state.best.step) == 0


@pytest.mark.parametrize('calls, steps', [(40, 1), *conftest.slow((4, 10))])
def test_resuming_gives_the_same_bits_as_going_on(model, calls, steps):
  recipe = ascend(
    model,
    transforms=(transforms.scale(0.9, 1.1), transforms.roll(2)),
    projections=(projections.gaussian_blur(0.3),),
  )

  def run(calls, steps):
    state, traces = start(recipe), []
    for _ in range(calls):
      state, trace = optimize(recipe, state, target(), KEY, steps=steps)
      traces.append(trace)
    return state, jax.tree.map(lambda *parts: np.concatenate(parts), *traces)

  jax.tree.map(np.testing.assert_array_equal, run(1, 40), run(calls, steps))


def test_step_and_transform_alone_decide_what_is_drawn(model):
  drawn = Partial(
    lambda draw, views: views + jax.random.normal(draw.key, views.shape)
  )
  recipe = ascend(
    model,
    transforms=(drawn, drawn),
    projections=(),
    optimizer=optax.sgd(0.0),
    trace=(('view', lambda acts, run: acts['view'] - acts['image']),),
  )
  _, trace = optimize(recipe, start(recipe), target(), KEY, steps=3)
  shape = (1, *model.input_shape)
  expected = [
    sum(
      jax.random.normal(
        jax.random.fold_in(jax.random.fold_in(KEY, s), i), shape
      )
      for i in range(2)
    )[0]
    for s in range(3)
  ]
  # A grey level is kept to 255 * 2^-24 when noise is added to an image.
  np.testing.assert_allclose(trace['view'], expected, atol=1e-4)


def test_a_projection_is_given_the_gradient_of_the_score(model):
  slope = Partial(lambda params, grads, step: grads)
  recipe = ascend(model, projections=(slope,), transforms=())
  before = start(recipe)
  state, _ = optimize(recipe, before, target(), KEY, steps=1)

  def height(params):
    return model(recipe.parameterization.render(params))['conv2'][3, 3, 1]

  expected = jax.jit(jax.grad(height))(before.params)
  assert jnp.abs(expected).max() > 1e-3
  np.testing.assert_allclose(state.params, expected, atol=1e-6)


def test_a_stopped_run_is_frozen_and_records_nan(model):
  recipe = ascend(model)
  state, _ = optimize(recipe, start(recipe), target(), KEY, steps=3)
  stopped = state._replace(stopped=jnp.array(True))
  after, trace = optimize(recipe, stopped, target(), KEY, steps=3)
  jax.tree.map(np.testing.assert_array_equal, stopped, after)
  assert trace['norm'].shape == (3,)
  for record in trace.values():
    assert np.isnan(record).all()


def test_a_recipe_can_bring_its_own_step(model):
  def until_the_third(recipe, state, target, key):
    new, trace = core.step(recipe, state, target, key)
    extra = state.extra + trace['score']
    return new._replace(extra=extra, stopped=new.step == 3), trace

  recipe = ascend(model, procedure=core.Procedure(until_the_third))
  state = start(recipe)._replace(extra=jnp.array(0.0))
  state, trace = optimize(recipe, state, target(), KEY, steps=5)
  assert int(state.step) == 3 and bool(state.stopped)
  assert np.isfinite(trace['score'][:3]).all()
  assert np.isnan(trace['score'][3:]).all()
  np.testing.assert_allclose(
    state.extra, np.sum(trace['score'][:3]), rtol=RECOMPILED
  )
  plain = ascend(model)
  expected, _ = optimize(plain, start(plain), target(), KEY, steps=3)
  np.testing.assert_array_equal(state.best.params, expected.best.params)


def test_a_score_that_is_never_a_number_leaves_no_best(model):
  broken = jax.tree.map(lambda leaf: leaf * jnp.nan, model.params)
  recipe = ascend(dataclasses.replace(model, params=broken))
  state, trace = optimize(recipe, start(recipe), target(), KEY, steps=3)
  assert int(state.best.step) == -1
  assert state.best.score == -np.inf
  assert np.isfinite(state.best.params).all()
  assert np.isnan(trace['score']).all()
  assert int(state.last.step) == 2


def test_a_number_after_nan_is_the_best(model):
  def late(acts, run):
    return jnp.where(
      acts['params'].mean() > 0.5, acts['params'].mean(), jnp.nan
    )

  climb = Partial(lambda params, grads, step: jnp.ones_like(params) * step)
  recipe = ascend(model, objective=late, projections=(climb,))
  state, trace = optimize(recipe, start(recipe), target(), KEY, steps=4)
  assert np.isnan(trace['score'][:2]).all()
  assert int(state.best.step) == 3  # evaluates what step 2 made: twos
  assert state.best.score == 2


def test_a_dead_unit_stays_finite_where_it_is(model):
  bias = model.params['conv2']['bias'] - 1e6
  conv2 = {**model.params['conv2'], 'bias': bias}
  params = {**model.params, 'conv2': conv2}
  recipe = ascend(
    dataclasses.replace(model, params=params),
    objective=objectives.neuron('relu2'),
    optimizer=optimizers.progress(2.0, 100.0),
    projections=(),
  )
  before = start(recipe)
  state, trace = optimize(recipe, before, target(), KEY, steps=3)
  np.testing.assert_array_equal(state.params, before.params)
  np.testing.assert_array_equal(trace['gradient_norm'], np.zeros(3))
  np.testing.assert_array_equal(trace['score'], np.zeros(3))


def test_a_line_search_of_optax_finds_the_peak():
  peak = jnp.asarray(np.random.RandomState(0).normal(0, 9, (3, 4, 3)))
  peak = peak.astype(jnp.float32)
  model = bowl(peak)
  recipe = core.Recipe(
    model=model,
    parameterization=parameterizations.pixels(model),
    objective=lambda acts, run: acts['height'][0],
    optimizer=optax.lbfgs(),
  )
  state, trace = optimize(recipe, start(recipe), target(), KEY, steps=8)
  # L-BFGS solves a quadratic in as many steps as it has eigenvalues: one.
  np.testing.assert_allclose(state.best.params, peak, atol=1e-3)
  assert trace['score'][0] < -1000 and state.best.score > -1e-4


def test_terms_of_the_trace_are_recorded_at_every_step(model):
  def first_pixel(acts, run):
    return acts['image'][0, 0]

  recipe = ascend(
    model,
    trace=(('pixel', first_pixel), ('layer', objectives.layer('fc3'))),
    transforms=(),
  )
  state, trace = start(recipe), {'pixel': [], 'layer': []}
  layer = jax.jit(lambda image: jnp.mean(model(image)['fc3']))
  for _ in range(3):
    image = recipe.parameterization.render(state.params)
    trace['pixel'].append(image[0, 0])
    trace['layer'].append(layer(image))
    state, _ = optimize(recipe, state, target(), KEY, steps=1)
  _, found = optimize(recipe, start(recipe), target(), KEY, steps=3)
  assert found['pixel'].shape == (3, 3)
  np.testing.assert_allclose(found['pixel'], trace['pixel'], rtol=RECOMPILED)
  np.testing.assert_allclose(found['layer'], trace['layer'], rtol=RECOMPILED)
  assert set(found) == {'score', 'gradient_norm', 'pixel', 'layer'}


def test_views_are_averaged_or_summed_and_records_averaged(model):
  crops = transforms.random_crops(3, 9, 8)
  mean = ascend(
    models.cut(model, ('conv2',)),  # fc3 fits the whole image only
    objective=objectives.layer('conv2'),
    trace=(('grey', lambda acts, run: jnp.mean(acts['view'])),),
    transforms=(crops,),
  )
  total = dataclasses.replace(mean, views=jnp.sum)
  draw = core.Draw(KEY, jnp.array(0), target())
  params = start(mean).params
  image = mean.parameterization.render(params)
  views = crops(draw._replace(key=jax.random.fold_in(KEY, 0)), image[None])
  seen = jax.jit(lambda net, view: jnp.mean(net(view)['conv2']))
  alone = [seen(mean.model, view) for view in views]
  assert len(set(map(float, alone))) == 3
  score = jax.jit(core.score)
  value, records = score(mean, params, draw)
  summed, _ = score(total, params, draw)
  np.testing.assert_allclose(value, np.mean(alone), rtol=RECOMPILED)
  np.testing.assert_allclose(summed, np.sum(alone), rtol=RECOMPILED)
  np.testing.assert_allclose(records['grey'], np.mean(views), rtol=RECOMPILED)


def test_a_term_reads_view_image_and_parameters(model):
  shift = Partial(lambda draw, views: views + 1)
  recipe = ascend(model, transforms=(shift,))
  params = start(recipe).params
  image = recipe.parameterization.render(params)
  acts = core.activations(recipe, image + 1, image, params)
  mean = np.asarray(model.mean)[None, None]
  np.testing.assert_array_equal(acts['params'], params)
  np.testing.assert_array_equal(acts['image'], image)
  np.testing.assert_array_equal(acts['view'], image + 1)
  np.testing.assert_allclose(
    acts['centered'], np.asarray(image) + 1 - mean, atol=1e-4
  )
  np.testing.assert_array_equal(acts['conv1'], model(image + 1)['conv1'])


def test_one_compilation_serves_a_layer(model):
  traced = []

  def apply(params, image):
    traced.append(image.shape)
    return model.apply(params, image)

  recipe = ascend(dataclasses.replace(model, apply=apply))

  @jax.jit
  def run(recipe, targets, keys):
    def one(target, key):
      state = core.init(recipe, target, key)
      return core.optimize(recipe, state, target, key, steps=3)[0].best.score

    return jax.vmap(one)(targets, keys)

  scores = []
  for first in (0, 2, 4):
    channels = jnp.arange(first, first + 2)
    ones = jnp.ones_like(channels)
    unit = core.Unit(channels, ones * (first % 3), ones * 2)
    scores.append(run(recipe, {'unit': unit}, jax.random.split(KEY, 2)))
  assert len(np.unique(scores)) == 6
  assert len(traced) == 1


def test_layers_that_are_not_read_cost_nothing(model):
  def convolutions(layer):
    recipe = ascend(
      model, objective=objectives.neuron(layer), trace=(), transforms=()
    )

    def loss(params, recipe):
      draw = core.Draw(KEY, jnp.array(0), target())
      return core.score(recipe, params, draw)[0]

    params = start(recipe).params
    gradient = jax.jit(jax.value_and_grad(loss))
    text = gradient.lower(params, recipe).compile().as_text()
    return text.count(' convolution(')

  first, second = convolutions('conv1'), convolutions('conv2')
  # Forward and backward: two for each layer that is read.
  assert (first, second) == (2, 4)


@pytest.mark.parametrize(
  'channel, y, x',
  [(6, 1, 1), (2, 1, -1), *conftest.slow((-1, 1, 1), (2, 6, 1))],
)
def test_a_unit_that_is_not_there_is_an_error_or_a_score_of_nan(
  model, channel, y, x
):
  one, unit = ascend(model), (channel, y, x)
  with pytest.raises(UserError, match="the unit has .* but layer 'conv2' is"):
    start(one, {'unit': core.Unit(*unit)})

  @jax.jit
  def first_score(unit):
    target = {'unit': unit}
    state = core.init(one, target, KEY)
    return core.optimize(one, state, target, KEY, steps=1)[1]['score'][0]

  assert np.isnan(first_score(core.Unit(*unit)))
  assert np.isfinite(first_score(core.Unit(2, 1, 1)))


def middle(acts, target):
  """A term as a user writes it: a plain function."""
  del target
  return jnp.mean(acts['conv1']) / 2


NEURON, FLAT = objectives.neuron('conv2'), objectives.total_variation()


@pytest.mark.parametrize(
  'term, text',
  [
    (middle - 2 * NEURON, 'middle() - 2 * neuron(layer)'),
    *conftest.slow(
      (-(NEURON + FLAT) / 3, '-(neuron(layer) + total_variation()) / 3'),
      (NEURON - 0.1 * FLAT, 'neuron(layer) - 0.1 * total_variation()'),
      (2 / (1 + FLAT) - 3, '2 / (1 + total_variation()) - 3'),
      (
        np.float32(0.5) * NEURON * FLAT,
        '.5 * neuron(layer) * total_variation()',
      ),
      (NEURON + middle, 'neuron(layer) + middle()'),
      (core.Term(middle) * 3, 'middle() * 3'),
    ),
  ],
)
def test_terms_combine_as_in_formulas(model, monkeypatch, term, text):
  factory = lambda: middle
  monkeypatch.setattr(factory, '__module__', 'vizjax.objectives')
  monkeypatch.setattr(objectives, 'middle', factory, raising=False)
  by_formula = formula.evaluate(text, (objectives,), {'layer': 'conv2'})
  assert isinstance(term, core.Term)
  params = start(ascend(model)).params

  def score(objective):
    recipe = ascend(model, objective=objective)
    draw = core.Draw(KEY, jnp.array(0), target())
    value = lambda params: core.score(recipe, params, draw)[0]
    return jax.jit(jax.value_and_grad(value))(params)

  for found, expected in zip(score(term), score(by_formula), strict=True):
    np.testing.assert_array_equal(found, expected)
    assert np.asarray(expected).any()


def test_a_combination_is_that_of_the_numbers():
  one, two = core.Term(lambda acts, _: acts['a']), lambda acts, _: acts['b']
  acts = {'a': jnp.array(7.0), 'b': jnp.array(4.0)}
  for term, expected in (
    (-one, -7),
    (one + two, 11),
    (two + one, 11),
    (one - two, 3),
    (two - one, -3),
    (one * two, 28),
    (two * one, 28),
    (one / two, 1.75),
    (two / one, np.float32(4) / np.float32(7)),
    (1 - 2 * one / 4 + 3, 0.5),
  ):
    assert term(acts, {}) == expected


def test_a_term_is_hashed_by_its_function(model):
  assert core.Term(middle) == core.Term(middle)
  assert hash(core.Term(middle)) == hash(core.Term(middle))
  assert objectives.neuron('conv2') != objectives.neuron('conv2')


@pytest.mark.parametrize(
  'other',
  ['conv2', None, True, (1, 2), jnp.ones(3), np.ones(3), Partial(middle)],
)
def test_a_term_is_combined_with_numbers_and_functions_alone(other):
  for combine in (
    lambda: NEURON + other,
    lambda: other * NEURON,
    lambda: NEURON / other,
    lambda: other - NEURON,
  ):
    with pytest.raises(UserError, match='only numbers and functions') as error:
      combine()
    assert '\n' not in str(error.value)


def noisy(draw, views):
  return views + jax.random.normal(draw.key, views.shape)


def shrunk(params, grads, step):
  del grads, step
  return 0.9 * params


def test_plain_functions_are_verbs(model):
  mean = jnp.asarray(model.mean)
  pixels = core.Parameterization(
    lambda key, target: jax.random.normal(key, (12, 12, 3)),
    lambda params: params + jnp.broadcast_to(mean, params.shape),
  )
  plain = ascend(
    model,
    parameterization=pixels,
    transforms=(noisy, transforms.roll(2)),
    projections=(shrunk, projections.every(2, shrunk)),
    objective=middle,
    trace=(('middle', middle),),
  )
  wrapped = ascend(
    model,
    parameterization=core.Parameterization(*map(Partial, pixels)),
    transforms=(Partial(noisy), transforms.roll(2)),
    projections=(Partial(shrunk), projections.every(2, Partial(shrunk))),
    objective=core.Term(middle),
    trace=(('middle', core.Term(middle)),),
  )
  ends = [
    optimize(recipe, start(recipe), target(), KEY, steps=3)
    for recipe in (plain, wrapped)
  ]
  jax.tree.map(np.testing.assert_array_equal, *ends)
  assert np.asarray(ends[0][0].params).any()


def test_a_recipe_passes_through_transformations_of_jax(model):
  recipe = ascend(model, transforms=(noisy,), projections=(shrunk,))
  leaves, tree = jax.tree.flatten(recipe)
  assert jax.tree.structure(tree.unflatten(leaves)) == tree
  for other in (None, object(), 0):
    tree.unflatten([other] * len(leaves))
  jax.tree.map(lambda leaf: None, recipe)
  run = lambda recipe: start(recipe).params
  many = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), recipe)
  assert jax.vmap(run)(many).shape == (2, 12, 12, 3)


@pytest.mark.parametrize(
  'changes, match',
  [
    ({'transforms': transforms.roll(8)}, r'type transforms=\(function,\)'),
    ({'transforms': noisy}, 'transforms= is one function, expected a tuple'),
    ({'projections': shrunk}, r'type projections=\(function,\)'),
    ({'objective': objectives.neuron}, r"call it, as neuron\('conv5'\)"),
    ({'objective': objectives.l2}, 'l2, which makes a term'),
  ],
)
def test_what_is_no_verb_is_refused(model, changes, match):
  # The type checker of the tests would refuse most of these before.
  fields = {**vars(ascend(model)), **changes}
  with pytest.raises(UserError, match=match) as error:
    core.Recipe.__post_init__(types.SimpleNamespace(**fields))
  assert '\n' not in str(error.value)
