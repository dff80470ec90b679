"""What runs is a value: made of a configuration, or in Python."""

import ast
import dataclasses

import conftest
import numpy as np
import optax
import pytest
import toynets

from vizjax import build
from vizjax import core
from vizjax import formula
from vizjax import objectives
from vizjax import parameterizations
from vizjax import transforms
from vizjax.errors import UserError
from vizjax.sweeps import description
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')
COMPARES_PROGRAMS = True


def config(**changes):
  c = build.config()
  c.model, c.layer, c.units, c.steps = 'toynets.net()', 'conv2', '0:3', 3
  c.transforms, c.optimizer = 'jitter(2)', 'sgd(50.)'
  c.objective = 'neuron(layer) - 0.001 * l2()'
  c.update(changes)
  return c


def recipe(model, layer):
  """The same in Python; the last transform is a plain function."""
  return core.Recipe(
    model=model,
    parameterization=parameterizations.pixels(model),
    objective=objectives.neuron(layer) - 0.001 * objectives.l2(),
    optimizer=optax.sgd(50.0),
    transforms=(transforms.jitter(2), lambda draw, views: views),
  )


def request(**changes):
  wanted = build.Request(
    toynets.net(), recipe, ('conv2',), units='0:3', steps=3
  )
  return dataclasses.replace(wanted, **changes)


def arrays(workdir):
  kept = store.open_(workdir / 'conv2')
  return {name: store.read(kept, name) for name in kept.arrays}


def test_a_recipe_made_in_python_is_swept_as_the_formulas_are(tmp_path):
  sweep.execute(sweep.plan(build.request(config())), str(tmp_path / 'a'))
  sweep.execute(sweep.plan(request()), str(tmp_path / 'b'))
  first, second = arrays(tmp_path / 'a'), arrays(tmp_path / 'b')
  assert first.keys() == second.keys()
  for name, array in first.items():
    np.testing.assert_array_equal(array, second[name], err_msg=name)


@pytest.mark.slow
def test_it_is_resumed_grows_and_is_told(tmp_path):
  sweep.execute(sweep.plan(request()), str(tmp_path))
  before = arrays(tmp_path)
  plan = sweep.plan(request(units='0:5'))
  sweep.execute(plan, str(tmp_path))
  after = arrays(tmp_path)
  np.testing.assert_array_equal(after['image'][:3], before['image'])
  assert after['unit'][:, 0].tolist() == [0, 1, 2, 3, 4]
  assert '5 images' in description.plan(plan)
  with pytest.raises(UserError, match='steps: 3 there, 4 here'):
    sweep.execute(sweep.plan(request(steps=4)), str(tmp_path))


def test_another_recipe_of_the_same_request_is_another_program(tmp_path):
  sweep.execute(sweep.plan(request()), str(tmp_path))

  def other(model, layer):
    made = recipe(model, layer)
    return dataclasses.replace(made, objective=objectives.neuron(layer))

  with pytest.raises(UserError, match='another program'):
    sweep.execute(sweep.plan(request(method=other, units='0:4')), str(tmp_path))


def test_a_method_has_what_a_recipe_has_not(tmp_path):
  def method(model, layer):
    return build.Method(
      recipe(model, layer),
      activation=objectives.channel(layer),
      metrics={'mean': objectives.channel(layer)},
      robust=(transforms.roll(1),),
    )

  wanted = request(method=method, robust_draws=2, sign='both')
  sweep.execute(sweep.plan(wanted), str(tmp_path))
  found = arrays(tmp_path)
  np.testing.assert_array_equal(found['metric/mean'], found['activation'])
  assert np.isfinite(found['metric/robust_std']).all()
  assert found['sign'].tolist() == [1, -1] * 3


def test_a_configuration_that_is_made_a_request_keeps_its_knobs():
  c = config(replicates=2, seed=7, box=False, keep='last', shape='20x24')
  wanted = build.request(c)
  assert wanted.values == c.to_dict()
  assert (wanted.replicates, wanted.seed, wanted.box) == (2, 7, False)
  assert (wanted.keep, wanted.shape) == (('last',), (20, 24))
  c.seed = 8
  assert wanted.seed == 7


def test_each_formula_is_parsed_once_for_all_layers(monkeypatch):
  formula._parse.cache_clear()
  parsed, parse = [], ast.parse

  def counted(text, *args, **kwargs):
    parsed.append(text)
    return parse(text, *args, **kwargs)

  monkeypatch.setattr(ast, 'parse', counted)
  c = config(layer='conv1,relu1,conv2,relu2', metrics='a = channel(layer)')
  c.trace, c.robust = 'b = std()', 'roll(1)'
  sweep.plan(build.request(c))
  assert len(parsed) == len(set(parsed))
  assert {'jitter(2)', 'roll(1)', 'record(a = channel(layer))'} <= {*parsed}


def test_a_network_is_traced_once_for_a_size(monkeypatch):
  net = conftest.toy()
  apply, traced = type(net.apply), []

  def counted(name):
    original = getattr(apply, name)

    def call(self, params, image):
      traced.append(image.shape)
      return original(self, params, image)

    monkeypatch.setattr(apply, name, call)

  counted('__call__')
  counted('fitting')
  c = config(layer='conv1,relu1,conv2,relu2', transforms='', box=False)
  sweep.plan(build.request(c, net))
  assert traced == [net.input_shape]
  del traced[:]
  c.shape = '20x17'
  sweep.plan(build.request(c, net))
  # The second is for the description of the network.
  assert traced == [(20, 17, 3), net.input_shape]
