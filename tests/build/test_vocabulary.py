"""What formulas may call, how often they are read, and whom they trust."""

import ast
import collections
import sys

import jax
from jax.tree_util import Partial
import numpy as np
import pytest
import test_build
import test_configs

from vizjax import build
from vizjax import core
from vizjax import formula
from vizjax.build import vocabulary
from vizjax.errors import UserError

pytestmark = pytest.mark.usefixtures('quickly')

# A user's verbs: each is a plain function, made by a factory.
VERBS = """\
import jax
from vizjax import core


def noisy(size):
  def transform(draw, views):
    return views + size * jax.random.normal(draw.key, views.shape)

  return transform


def shrunk(rate):
  def project(params, grads, step):
    return (1 - rate) * params + 0 * grads

  return project


def flat(model):
  def init(key, target):
    return jax.random.normal(key, model.input_shape)

  def render(params):
    return params + 120

  return core.Parameterization(init, render)


def middle(layer):
  def term(acts, target):
    return acts[layer][3, 3].sum()

  return term
"""


@pytest.fixture
def my_verbs(tmp_path, monkeypatch):
  (tmp_path / 'my_verbs.py').write_text(VERBS)
  monkeypatch.syspath_prepend(tmp_path)
  yield
  sys.modules.pop('my_verbs', None)


def image(recipe):
  """The image of a run of three steps."""
  target = {'unit': core.Unit(*np.array([1, 3, 3]))}
  key = jax.random.key(0)
  state = jax.jit(core.init)(recipe, target, key)
  run = jax.jit(core.optimize, static_argnames='steps')
  state, trace = run(recipe, state, target, key, steps=3)
  return recipe.parameterization.render(state.params), trace['score']


def test_plain_functions_of_formulas_are_verbs(my_verbs):
  import my_verbs

  by_formula = build.recipe(
    test_build.config(
      parameterization='my_verbs.flat(model)',
      transforms='my_verbs.noisy(rate)',
      robust='my_verbs.noisy(rate)',
      projections='my_verbs.shrunk(.1) | every(2, my_verbs.shrunk(.2))',
      objective='neuron(layer) + my_verbs.middle(layer)',
      trace='middle = my_verbs.middle(layer)',
      activation='my_verbs.middle(layer)',
    ),
    build.model(test_build.config()),
  )
  neuron = by_formula.objective
  assert isinstance(neuron, core.Term)
  by_hand = core.Recipe(
    model=by_formula.model,
    parameterization=core.Parameterization(
      *map(Partial, my_verbs.flat(by_formula.model))
    ),
    objective=by_formula.objective,
    optimizer=by_formula.optimizer,
    transforms=(Partial(my_verbs.noisy(2.0)),),
    projections=(
      Partial(my_verbs.shrunk(0.1)),
      by_formula.projections[1],
    ),
  )
  for found, expected in zip(image(by_formula), image(by_hand), strict=True):
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
  'knob, text, expected',
  [
    ('transforms', 'neuron(layer)', "no function 'neuron'"),
    ('transforms', 'vizjax.objectives.l2()', 'expected a transform'),
    ('transforms', 'my_verbs.shrunk(.1)', 'expected a transform'),
    ('projections', 'my_verbs.noisy(1.)', 'expected a projection'),
    ('projections', 'constant_schedule(1.)', 'expected a projection'),
    ('objective', 'my_verbs.shrunk(.1)', 'expected a term'),
    ('objective', 'vizjax.transforms.roll(8)', 'expected a term'),
    ('start', 'vizjax.objectives.l2()', 'expected a maker of arrays'),
    ('data', 'a = my_verbs.shrunk(.1)', 'expected a maker of arrays'),
  ],
)
def test_a_function_of_another_kind_is_refused(my_verbs, knob, text, expected):
  config = test_build.config(**{knob: text})
  knobs = vocabulary.noted(config, {}).replaced({'layer': 'conv2'})
  read = vocabulary.data if knob == 'data' else vocabulary.links
  arguments = (config, knobs) if knob == 'data' else (config, knob, knobs)
  with pytest.raises(UserError, match=expected):
    read(*arguments)


@pytest.mark.slow
def test_each_formula_is_parsed_once_for_many_layers(monkeypatch):
  counts, parse = collections.Counter(), ast.parse

  def counted(source, *args, **kwargs):
    counts[source] += 1
    return parse(source, *args, **kwargs)

  monkeypatch.setattr(ast, 'parse', counted)
  formula._parse.cache_clear()
  config = test_build.config(
    layer='conv1,relu1',
    objective='neuron(layer) - strength * mean_variation()',
    transforms='roll(2)',
    trace='norm = l2_norm()',
    metrics='rank = rank(layer)',
    optimizer='adam(rate)',
  )
  net = build.model(config)
  for layer in build.layers(config, net):
    test_build.planned(config, layer)
  names = ('model', 'objective', 'transforms', 'optimizer', 'parameterization')
  texts = [config[name] for name in names]
  texts += [f'record({config[name]})' for name in ('trace', 'metrics')]
  assert [counts[text] for text in texts] == [1] * len(texts)


# Each would run code of another package, or do more than give a value.
EVIL = [
  ('model', 'my_evil.f()', 'my_evil.f'),
  ('model', 'my_evil.f()  # .npy', 'my_evil.f'),
  ('model', 'pooled(load(my_evil.f()))', 'my_evil.f'),
  ('prior', "my_evil.f('a')", 'my_evil.f'),
  ('encoder', 'my_evil.deeper.f()', 'my_evil.deeper.f'),
  ('parameterization', 'pixels(model, std=my_evil.f())', 'my_evil.f'),
  ('transforms', 'jitter(8) | my_evil.f()', 'my_evil.f'),
  ('robust', 'jitter(1 + my_evil.f())', 'my_evil.f'),
  ('objective', 'neuron(layer) + 0.1 * my_evil.f(layer)', 'my_evil.f'),
  ('activation', '-my_evil.f(layer)', 'my_evil.f'),
  ('trace', 'a = l2(), b = my_evil.f()', 'my_evil.f'),
  ('metrics', 'a = p_norm((1, my_evil.f()))', 'my_evil.f'),
  ('optimizer', 'sgd(my_evil.f())', 'my_evil.f'),
  ('projections', 'every(2, my_evil.f())', 'my_evil.f'),
  ('procedure', 'my_evil.f()', 'my_evil.f'),
  ('scales', 'my_evil.f()', 'my_evil.f'),
  ('data', 'a = my_evil.f()', 'my_evil.f'),
  ('start', 'my_evil.f()#.npy', 'my_evil.f'),
  ('direction', 'my_evil.f()', 'my_evil.f'),
  ('mask', 'my_evil.f()', 'my_evil.f'),
  ('model', 'os.system("ls")', 'os.system'),
  ('model', 'numpy.load("a")', 'numpy.load'),
  ('model', 'means.np.f2py.compile("a")', 'means.np.f2py.compile'),
  ('model', "vizjax.formula.evaluate('my_evil.f()', (), ())", 'vizjax.formula'),
  ('model', "vizjax.files.library('my_evil', 'a', 'b')", 'vizjax.files'),
  ('model', 'vizjax.benchmark.random("a")', 'vizjax.benchmark'),
  ('prior', "write('a.npz', (), knob, (1, 1, 1), 0)", 'write'),
  ('model', "formats.arrays.write('a.npz', knob)", 'formats.arrays.write'),
  ('model', "download.catalogue.fetch('a')", 'download.catalogue.fetch'),
]


@pytest.mark.parametrize('knob, text, name', EVIL)
def test_a_stored_formula_calls_no_function_of_elsewhere(
  tmp_path, monkeypatch, knob, text, name
):
  (tmp_path / 'my_evil.py').write_text("raise SystemExit('imported')")
  monkeypatch.syspath_prepend(tmp_path)
  config = {**build.config().to_dict(), knob: text}
  with pytest.raises(UserError) as error:
    vocabulary.check_trust('DIR', config)
  assert str(error.value).startswith(f"'DIR/config.json' calls {name}")
  assert '--trust' in str(error.value) and '\n' not in str(error.value)
  assert 'my_evil' not in sys.modules


def test_a_stored_formula_that_cannot_be_read_is_refused():
  """What is too long for a formula is not passed over."""
  for text in ('sgd(my_evil.f())' + ' ' * 2000 + '#.npy', 'sgd(', 'a)(b'):
    config = build.config().to_dict() | {'optimizer': text}
    with pytest.raises(UserError, match='config.optimizer'):
      vocabulary.check_trust('DIR', config)


@pytest.mark.parametrize(
  'name, argument', [each.values for each in test_configs.FILES]
)
def test_every_recipe_is_trusted(name, argument):
  config = test_configs.load(name, argument).to_dict()
  vocabulary.check_trust('DIR', config)


@pytest.mark.parametrize(
  'knobs',
  [
    {'model': "caffe.load('net.prototxt', 'net.caffemodel', mean=(1, 2, 3))"},
    {'model': "vizjax.models.load('alexnet_features')"},
    {'model': "vizjax.models.caffe.load('a.prototxt', 'b.caffemodel')"},
    {'model': "unpadded(computed_in(load('a'), 'bfloat16'))"},
    {'prior': "trained('GENERATOR')"},
    {'objective': 'vizjax.metrics.diversity(layer) - 0.1 * l2()'},
    {'optimizer': 'optax.sgd(schedules.linear_schedule(1., .1, steps))'},
    {'optimizer': 'chain(clip(1.), optax.adam(rate))'},
    {'direction': 'my (1).npy', 'mask': '/a/masks(1).npy'},
    {'optimizer': None, 'model': 3},
    {'transforms': 'no_such_function(8)'},
  ],
)
def test_formulas_of_vizjax_and_optax_are_trusted(knobs):
  vocabulary.check_trust('DIR', build.config().to_dict() | knobs)
