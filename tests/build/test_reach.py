"""What terms read is found out from them, whoever wrote them."""

import conftest
import copied_terms
import jax
import jax.numpy as jnp
from jax.tree_util import Partial
import numpy as np
import optax
import pytest
import toyplans

from vizjax import build
from vizjax import core
from vizjax import features
from vizjax import metrics
from vizjax import objectives
from vizjax import parameterizations
from vizjax.build import reach
from vizjax.errors import UserError
from vizjax.programs import deepdream
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')


def like(*shape, dtype=jnp.float32):
  return jax.ShapeDtypeStruct(shape, dtype)


ACTS = {
  'below': like(13, 13, 5),
  'conv': like(13, 11, 7),
  'relu': like(13, 11, 7),
  'dense': like(9),
  'view': like(60, 60, 3),
  'centered': like(60, 60, 3),
  'image': like(64, 64, 3),
  'params': like(64, 64, 3),
}
NUMBER = like(dtype=jnp.int32)
TARGET = {
  'unit': core.Unit(NUMBER, NUMBER, NUMBER),
  'sign': like(),
  'direction': like(7),
  'mask': like(13, 11, 7),
  'content': {name: ACTS[name] for name in ('below', 'conv')},
  'style': {'conv': like(1, 7, 7)},
  'blend': like(1),
  'guide': like(40, 7),
}


def of(term):
  """What differs from a term that reads nothing."""
  found, nothing = reach.of('it', term, ACTS, TARGET), reach.Reach()
  found = found._replace(named=frozenset())
  return {
    name: set(value) if isinstance(value, frozenset) else value
    for name, value in found._asdict().items()
    if value != getattr(nothing, name)
  }


UNIT = {'positions': {'conv'}, 'channel': True, 'sign': True}
WHOLE = {'maps': {'conv'}}
TERMS = [
  (objectives.neuron('conv'), UNIT),
  (
    objectives.neuron('conv', read='relu'),
    UNIT | {'positions': {'conv', 'relu'}},
  ),
  (objectives.neuron('dense'), {'maps': {'dense'}, 'channel': True, 'sign': 1}),
  (objectives.channel('conv'), WHOLE | {'channel': True, 'sign': True}),
  (objectives.amplify_neuron('conv'), WHOLE | {'channel': True, 'sign': True}),
  (objectives.layer('conv'), WHOLE | {'sign': True}),
  (objectives.dream('conv'), WHOLE),
  (objectives.amplify_layer('conv', 1, 1, 5), WHOLE),
  (objectives.mask('conv'), WHOLE | {'sign': True, 'target': {'mask'}}),
  (
    objectives.direction('conv', 1),
    WHOLE | {'sign': True, 'target': {'direction'}},
  ),
  (
    objectives.direction_neuron('conv', 1),
    {'positions': {'conv'}, 'sign': True, 'target': {'direction'}},
  ),
  (objectives.total_variation(), {'images': {'centered'}}),
  (objectives.l2('params'), {'images': {'params'}}),
  (objectives.argmax('conv'), WHOLE),
  (objectives.is_max('conv'), WHOLE | {'channel': True, 'place': True}),
  (metrics.rank('conv'), {'positions': {'conv'}, 'channel': True}),
  (metrics.spectrum_slope(), {'images': {'view'}}),
  (metrics.diversity('conv'), WHOLE | {'replicates': True}),
  (metrics.distance('conv'), {'seen': {'conv'}, 'replicates': True}),
  (
    features.feature_error('conv'),
    WHOLE | {'target': {'content', 'mask'}, 'compared': {'conv'}},
  ),
  (
    features.content_loss('below,conv'),
    {
      'maps': {'below', 'conv'},
      'target': {'content'},
      'compared': {'below', 'conv'},
    },
  ),
  (
    features.style_loss('conv'),
    WHOLE | {'target': {'style', 'blend'}, 'compared': {'conv'}},
  ),
  (deepdream.guided('conv'), WHOLE | {'target': {'guide'}}),
  # As users write them.
  (copied_terms.indexed('conv'), UNIT),
  (copied_terms.indexed_twice('conv'), UNIT),
  (copied_terms.unpacked('conv'), UNIT),
  (copied_terms.taken('conv'), UNIT),
  (
    copied_terms.swapped('conv'),
    WHOLE | {'channel': True, 'place': True, 'sign': True},
  ),
  (
    copied_terms.neighbor('conv'),
    WHOLE | {'channel': True, 'place': True, 'sign': True},
  ),
  (
    copied_terms.branched('conv'),
    WHOLE | {'channel': True, 'place': True, 'sign': True},
  ),
  (copied_terms.sized('conv'), WHOLE | {'channel': True, 'sign': True}),
  (copied_terms.alone('conv'), WHOLE | {'channel': True, 'sign': True}),
  (
    copied_terms.grouped('conv'),
    WHOLE | {'channel': True, 'place': True, 'sign': True},
  ),
  (
    copied_terms.own_derivative('conv'),
    WHOLE | {'channel': True, 'place': True, 'sign': True},
  ),
  (
    copied_terms.wrapped('conv'),
    WHOLE | {'channel': True, 'place': True, 'sign': True},
  ),
  (copied_terms.picky('conv'), WHOLE | {'channel': True, 'sign': True}),
  (
    copied_terms.mirrored('conv'),
    WHOLE | {'channel': True, 'place': True, 'sign': True},
  ),
  (
    copied_terms.row_as_channel('conv'),
    {'positions': {'conv'}, 'place': True, 'sign': True},
  ),
  (copied_terms.symmetry('conv'), WHOLE),
]


@pytest.mark.parametrize('term, expected', TERMS)
def test_a_term_reads_what_its_jaxpr_says(term, expected):
  assert of(term) == expected


@pytest.mark.parametrize(
  'name', ('neuron', 'channel', 'rank', 'distance', 'direction_neuron')
)
def test_a_copy_reads_what_the_term_reads(name):
  module = metrics if name in ('rank', 'distance') else objectives
  own, copy = getattr(module, name), getattr(copied_terms, name)
  assert of(copy('conv')) == of(own('conv'))


def test_a_layer_that_is_looked_up_for_nothing_is_there(tmp_path):
  for name in ('idle', 'idle_by_get'):
    found = reach.of(
      'it', getattr(copied_terms, name)('conv', 'below'), ACTS, TARGET
    )
    assert found.maps == {'conv'} and found.named == {'conv', 'below'}
    c = config(objective=f"copied_terms.{name}(layer, 'relu2')", units=None)
    (layer,) = sweep.plan(build.request(c)).layers
    for stages in layer.stages.values():
      assert 'relu2' in {i.name for i in stages.programs[0].recipe.model.layers}
  _, arrays = made(c, tmp_path / 'w')
  assert np.isfinite(arrays['score']).all()


def test_terms_read_together_what_each_reads():
  parts = [
    reach.of('it', term, ACTS, TARGET)
    for term in (
      objectives.neuron('conv'), objectives.layer('below'), metrics.rank('relu')
    )
  ]  # fmt: skip
  together = reach.joined(parts)
  assert together.maps == {'below'}
  assert together.positions == {'conv', 'relu'}
  assert together.channel and together.sign and not together.replicates
  whole = [*parts, reach.of('it', objectives.layer('conv'), ACTS, TARGET)]
  assert reach.joined(whole).positions == {'relu'}


def test_a_term_that_holds_a_network_is_told_how_to_pass_it():
  with pytest.raises(UserError, match='holds 1.44 MB.*from_function'):
    of(copied_terms.holding('conv'))


def test_a_missing_layer_is_answered_with_the_nearest():
  with pytest.raises(UserError, match="'conf'.*Did you mean 'conv'"):
    of(copied_terms.indexed('conf'))


# Plans.


def config(**changes):
  c = build.config()
  c.model, c.layer, c.units = 'toynets.net()', 'conv2', '1@2x3,3'
  c.parameterization, c.optimizer, c.steps = 'pixels(model)', 'sgd(50.)', 2
  c.transforms = 'jitter(1)'
  c.update(changes)
  return c


def made(c, workdir):
  plan = sweep.plan(build.request(c))
  sweep.execute(plan, str(workdir))
  kept = store.open_(workdir / 'conv2')
  return plan, {name: store.read(kept, name) for name in kept.arrays}


KINDS = [
  {'objective': '{}neuron(layer)', 'metrics': 'rank = {}rank(layer)'},
  {'objective': '{}channel(layer)', 'sign': 'min'},
  *conftest.slow(
    {'objective': '{}neuron(layer)'},
    {'objective': '{}neuron(layer, read=rectifier)', 'sign': 'both'},
    {
      'objective': '{}neuron(layer)',
      'metrics': 'apart = {}distance(layer)',
      'replicates': 2,
    },
    {
      'objective': '{}direction_neuron(layer, 1)',
      'direction': 'one_hot(1) - one_hot(2)',
      'units': '0@2x3',
    },
  ),
]


@pytest.mark.parametrize('knobs', KINDS)
def test_a_copy_makes_the_plan_and_the_bits_of_the_term(knobs, tmp_path):
  plans, arrays = [], []
  for prefix in ('', 'copied_terms.'):
    own = {
      name: text.format(prefix) if isinstance(text, str) else text
      for name, text in knobs.items()
    }
    plan, found = made(config(**own), tmp_path / f'w{len(plans)}')
    (layer,) = plan.layers
    programs = {boxed: each.programs[0] for boxed, each in layer.stages.items()}
    plans.append(
      (
        layer.runs.box.tolist(),
        layer.runs.channel.tolist(),
        layer.group,
        layer.subject,
        {boxed: p.geometry[:2] for boxed, p in programs.items()},
        {boxed: p.recipe.model.layers for boxed, p in programs.items()},
      )
    )
    arrays.append(found)
  assert plans[0] == plans[1]
  assert arrays[0].keys() == arrays[1].keys()
  for name, array in arrays[0].items():
    np.testing.assert_array_equal(array, arrays[1][name], err_msg=name)


def boxed(objective, **changes):
  c = config(objective=objective, units='0@2x3', **changes)
  return bool(toyplans.runs(c, conftest.toy(), 'conv2').boxed[0])


@pytest.mark.parametrize(
  'name', ('unpacked', 'taken', *conftest.slow('indexed', 'indexed_twice'))
)
def test_a_unit_that_is_read_by_hand_gets_its_box(name):
  assert boxed(f'copied_terms.{name}(layer)')


@pytest.mark.parametrize(
  'name',
  (
    'neighbor',
    'branched',
    'sized',
    'grouped',
    'own_derivative',
    *conftest.slow(
      'swapped', 'row_as_channel', 'picky', 'mirrored', 'alone', 'wrapped'
    ),
  ),
)
def test_what_is_read_elsewhere_gets_the_whole_image(name):
  assert not boxed(f'copied_terms.{name}(layer)')


def test_swapped_indices_read_the_swapped_unit(tmp_path):
  c = config(objective='neuron(layer)', units='1@3x2', steps=1, box=False)
  c.parameterization = 'pixels(model, std=0.)'
  c.transforms = ''
  _, there = made(c, tmp_path / 'b')
  c = config(objective='copied_terms.swapped(layer)', units='1@2x3', steps=1)
  c.parameterization = 'pixels(model, std=0.)'
  c.transforms = ''
  _, here = made(c, tmp_path / 'c')
  np.testing.assert_array_equal(here['score'], there['score'])
  assert np.isfinite(here['score']).all()


def test_a_term_may_be_seen_without_forbidding_the_box():
  metric = 'd = distance(layer)'
  assert boxed('neuron(layer)', metrics=metric, replicates=2)
  assert not boxed(
    'neuron(layer)', metrics='d = diversity(layer)', replicates=2
  )


# The sign.


@pytest.mark.parametrize('sign', ('both', *conftest.slow('min')))
def test_a_term_that_does_not_read_the_sign_has_no_least(sign):
  c = config(objective='copied_terms.symmetry(layer)', sign=sign, units=None)
  with pytest.raises(UserError, match=r"target\['sign'\]"):
    sweep.plan(build.request(c))
  c.objective = 'neuron(layer) + 0.1 * copied_terms.symmetry(layer)'
  assert sweep.plan(build.request(c))
  c.objective = '0.1 * dream(layer)'
  with pytest.raises(UserError, match='does not read'):
    sweep.plan(build.request(c))


# What has no unit.


@pytest.mark.parametrize(
  'knobs, count, subject',
  [
    ({'objective': 'copied_terms.symmetry(layer)'}, 1, 'layer'),
    ({'objective': 'direction(layer)', 'direction': 'FILE'}, 4, 'direction'),
    ({'objective': 'mask(layer)', 'mask': 'one_hot(1)'}, 1, 'mask'),
    ({'objective': 'copied_terms.indexed(layer)'}, 6, 'unit'),
    *conftest.slow(
      ({'objective': 'dream(layer)'}, 1, 'layer'),
      ({'objective': 'layer(layer)'}, 1, 'layer'),
      ({'objective': 'direction(layer)', 'direction': 'one_hot(2)'}, 1,
       'direction'),
      ({'objective': 'neuron(layer)'}, 6, 'unit'),
    ),
  ],
)  # fmt: skip
def test_an_objective_without_a_unit_has_rows_of_its_own(
  knobs, count, subject, tmp_path
):
  np.save(tmp_path / 'four.npy', np.eye(6)[:4])
  knobs = {
    name: str(tmp_path / 'four.npy') if text == 'FILE' else text
    for name, text in knobs.items()
  }
  c = config(**knobs)
  c.units = None
  (plan,) = sweep.plan(build.request(c)).layers
  assert len(plan.runs.channel) == count
  assert plan.subject == subject


def test_terms_of_a_unit_are_refused_beside_an_objective_without_one():
  c = config(objective='dream(layer)', units=None, metrics='r = rank(layer)')
  with pytest.raises(UserError, match="metrics: r.*type --config.metrics=''"):
    sweep.plan(build.request(c))


# Bad terms.


def test_a_term_that_reads_no_layer_is_refused():
  c = config(objective='-total_variation()', units=None)
  with pytest.raises(UserError, match='reads no layer of the network'):
    sweep.plan(build.request(c))


def test_an_error_in_a_term_is_its_own():
  with pytest.raises(ZeroDivisionError, match='of the term'):
    sweep.plan(build.request(config(objective='copied_terms.failing(layer)')))


def test_a_map_is_no_score():
  c = config(objective='test_reach.maps(layer)', units=None)
  with pytest.raises(UserError, match='expected one number'):
    sweep.plan(build.request(c))


def maps(layer):
  return lambda acts, target: acts[layer]


def test_a_start_and_a_transform_that_read_the_unit_are_made_on_the_image():
  """In a box a unit's row and column are 0."""

  model = conftest.toy()

  def placed(model):
    pixels = parameterizations.pixels(model)
    row = lambda target: target['unit'].y.astype(jnp.float32)
    init = lambda key, target: pixels.init(key, target) + row(target)
    return core.Parameterization(Partial(init), pixels.render)

  def shaded(draw, views):
    return views * (1 + 0.1 * draw.target['unit'].x)

  def sized(draw, views):
    return views * (1 + 0.1 * draw.target['unit'].channel)

  def boxed(make=parameterizations.pixels, transforms=()):
    recipe = lambda model, layer: core.Recipe(
      model=model,
      parameterization=make(model),
      objective=objectives.neuron(layer),
      optimizer=optax.sgd(1.0),
      transforms=transforms,
    )
    request = build.Request(model, recipe, ('conv1',), units='1@3x4')
    return sweep.plan(request).layers[0].runs.boxed.all()

  assert boxed() and boxed(transforms=(sized,))
  assert not boxed(placed)
  assert not boxed(transforms=(shaded,))
