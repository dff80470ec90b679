"""What a notebook calls: images in one line, sweeps, results."""

import dataclasses
import re
import signal
import threading

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vizjax
from vizjax import build
from vizjax import core
from vizjax import objectives
from vizjax import parameterizations
from vizjax import transforms
from vizjax.errors import UserError
from vizjax.front import asking
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')


def visualize(*args, **kwargs):
  return vizjax.visualize(*args, **{'quiet': True, 'steps': 3} | kwargs)


def method(model, layer):
  return vizjax.Recipe(
    model=model,
    parameterization=parameterizations.pixels(model),
    objective=objectives.neuron(layer),
    optimizer=optax.sgd(1.0),
  )


def test_images_are_those_of_a_sweep(tmp_path):
  model = conftest.toy()
  images = visualize(model, 'conv1', range(3), method)
  ask = {'workdir': tmp_path / 'w', 'quiet': True, 'steps': 3}
  swept = vizjax.sweep(model, 'conv1', range(3), method, **ask)
  assert swept.keys() == ['conv1'] and 'conv1' in swept and len(swept) == 1
  there = swept['conv1']
  for name in images.arrays:
    np.testing.assert_array_equal(images[name], there[name][:], name)
  assert images.image.dtype == np.float32 and len(images.image) == 3
  assert images.unit[:, 0].tolist() == [0, 1, 2] and images.made.all()
  np.testing.assert_array_equal(there.image[1], images.image[1])
  np.testing.assert_array_equal(np.asarray(there.activation), images.activation)
  whole = images.image
  for index in (
    0, -1, slice(1, None), slice(None, None, -1), slice(-2, 99), [2, 0], ...,
    np.array([True, False, True]), (1, 2), (-1, ..., 0), (slice(1, 3), 2, 1),
    ([0, 2], slice(2), 1), (..., 1), np.int64(2), slice(3, 1),
  ):  # fmt: skip
    np.testing.assert_array_equal(there.image[index], whole[index], str(index))
  for index in (3, -4, [0, 3]):
    with pytest.raises(IndexError):
      there.image[index]
  assert len([*there.image]) == 3
  assert 'image (3, ' in repr(images) and '3 of 3' in repr(swept)


def test_pictures_are_as_matplotlib_shows_them(tmp_path):
  images = visualize(conftest.toy(), 'conv1', units=[1, 2])
  for picture, image in zip(images.rgb, images.image, strict=True):
    assert picture.dtype == np.uint8
    h, w = images['size'][0]
    close = np.abs(picture - np.clip(image[:h, :w], 0, 255)).max()
    assert picture.shape == (h, w, 3) and close <= 0.5
  html = images._repr_html_()
  assert '<img' in html and 'conv1: 2 of 2 images' in html
  images.save(tmp_path / 'a.png', columns=1)
  h, w, _ = images.sheet(columns=1).shape
  assert images.sheet(columns=2).shape[1] > w and (tmp_path / 'a.png').exists()
  figure = images.show()
  assert figure.axes[0].images[0].get_array().shape == images.sheet().shape
  table = images.table()
  assert table['channel'].tolist() == [1, 2]
  assert table['activation'].tolist() == images.activation.tolist()


def test_units_are_typed_as_people_have_them():
  unit = vizjax.Unit
  for units, text in (
    (None, None),
    (9, '9'),
    (np.int64(9), '9'),
    (jnp.array(9), '9'),
    (range(64), '0:64'),
    (range(2, 9, 3), '2:9:3'),
    ([3, 7], '3,7'),
    (np.arange(3), '0,1,2'),
    ((3, unit(4, 2, 5)), '3,4@2x5'),
    (unit(9), '9'),
    (['flamingo', 'a, b'], 'flamingo,"a, b"'),
    ('3@6x6,*', '3@6x6,*'),
  ):
    assert asking.listed(units) == text


@pytest.mark.parametrize(
  'units', [[], -1, [3, -1], True, 1.5, [None], range(0), range(3, 0, -1), {}]
)
def test_other_units_are_refused(units):
  with pytest.raises(UserError, match='units=.*type units=|expected numbers'):
    asking.listed(units)


def test_a_unit_without_a_place_is_at_the_centre():
  model = conftest.toy()
  images = visualize(model, 'conv2', vizjax.Unit(2), method)
  h, w, _ = jax.eval_shape(model, jnp.zeros(model.input_shape))['conv2'].shape
  assert images.unit.tolist() == [[2, h // 2, w // 2]]
  recipe, key = method(model, 'conv2'), jax.random.key(0)
  states = [
    vizjax.optimize(
      recipe, vizjax.init(recipe, target, key), target, key, steps=2
    )[0]
    for target in (
      {'unit': vizjax.Unit(2)},
      {'unit': vizjax.Unit(2, h // 2, w // 2)},
    )
  ]
  np.testing.assert_array_equal(*(state.best.params for state in states))


def test_a_term_that_reads_a_place_needs_one():
  def own(acts, target):
    return acts['conv2'][target['unit'].y, target['unit'].x, 0]

  model = conftest.toy()
  recipe = method(model, 'conv2')
  recipe = core.Recipe(model, recipe.parameterization, own, recipe.optimizer)
  with pytest.raises(IndexError, match='type vizjax.Unit.channel, y, x.'):
    vizjax.init(recipe, {'unit': vizjax.Unit(2)}, jax.random.key(0))


def test_a_recipe_has_a_name_a_config_or_a_function(tmp_path):
  """All three give the same bits."""
  c = build.config()
  c.objective, c.optimizer = 'neuron(layer)', 'sgd(1.)'
  (tmp_path / 'mine.py').write_text(
    'from vizjax import build\n\n\ndef get_config():\n'
    '  c = build.config()\n  c.optimizer = "sgd(1.)"\n  return c\n'
  )
  recipes = (str(tmp_path / 'mine.py'), c, method)
  found = [
    visualize(conftest.toy(), 'conv1', [1, 2], recipe) for recipe in recipes
  ]
  for other in found[1:]:
    for name in found[0].arrays:
      np.testing.assert_array_equal(found[0][name], other[name], name)


def test_a_sweep_goes_on_and_grows(tmp_path):
  model, where = conftest.toy(), str(tmp_path / 'w')
  ask = {'workdir': where, 'quiet': True, 'steps': 3}
  first = vizjax.sweep(model, 'conv1', [1], method, **ask)['conv1'].image[:]
  grown = vizjax.sweep(model, ['conv1', 'conv2'], [1, 2], method, **ask)
  assert grown.keys() == ['conv1', 'conv2']
  np.testing.assert_array_equal(grown['conv1'].image[0], first[0])
  assert grown.table()['layer'].tolist() == ['conv1'] * 2 + ['conv2'] * 2
  with pytest.raises(UserError, match="digest 'weights'"):
    vizjax.sweep(conftest.toy(seed=1), 'conv1', [1], method, **ask)


def test_a_network_by_name_is_kept_by_name(tmp_path, monkeypatch):
  from vizjax import models

  monkeypatch.setattr(models, 'load', lambda name: conftest.toy())
  ask = {'workdir': tmp_path / 'w', 'quiet': True, 'recipe': 'simonyan2013'}
  ask['steps'] = 2
  results = vizjax.sweep('alexnet_features', 'conv1', [1], **ask)
  assert results.config['model'] == "load('alexnet_features')"
  ask['workdir'] = tmp_path / 'v'
  results = vizjax.sweep(conftest.toy(), 'conv1', [1], **ask)
  assert results.config['model'] is None


def test_the_mean_of_a_recipe_is_that_of_its_network(tmp_path):
  model, where = conftest.toy(), str(tmp_path / 'w')
  c = build.config()
  c.optimizer, c.mean = 'sgd(1.)', '100,110,90'
  ask = {'workdir': where, 'quiet': True, 'steps': 3}
  swept = vizjax.sweep(model, 'conv1', [1], c, **ask)
  other = dataclasses.replace(model, mean=jnp.array([100.0, 110.0, 90.0]))
  images = visualize(other, 'conv1', [1], method)
  np.testing.assert_array_equal(swept['conv1'].image[:], images.image)
  draws = [np.full((20, 20, 3), 50), np.full((20, 20, 3), 200)]
  assert swept.examples(draws, model, k=1, quiet=True)


def test_data_of_python_reach_the_terms(tmp_path):
  vectors = np.eye(4, dtype=np.float32)[[2, 0, 1]]

  def directions(model, layer):
    recipe = method(model, layer)
    term = objectives.direction_neuron(layer)
    recipe = core.Recipe(model, recipe.parameterization, term, recipe.optimizer)
    return vizjax.Method(recipe, data={'direction': vectors})

  model = conftest.toy()
  channels = model.layers[0].channels
  assert channels == 4, channels
  images = visualize(model, 'conv1', recipe=directions)
  assert images.subject == 'direction' and len(images) == 3
  np.save(tmp_path / 'd.npy', vectors)
  c = build.config()
  c.objective, c.optimizer = 'direction_neuron(layer)', 'sgd(1.)'
  c.direction = str(tmp_path / 'd.npy')
  same = visualize(model, 'conv1', recipe=c)
  np.testing.assert_array_equal(images.image, same.image)

  def wrong(model, layer):
    return directions(model, layer)._replace(data={'direction': vectors[:, 1:]})

  with pytest.raises(UserError, match='direction.*holds .3, 3., expected .4,'):
    visualize(model, 'conv1', recipe=wrong)


def test_an_interruption_keeps_the_images_as_they_are(monkeypatch):
  """The stop button of a notebook is SIGINT, in the main thread."""
  seen = []

  def show(plan, quiet):
    import contextlib

    @contextlib.contextmanager
    def shown():
      def report(now):
        if now.steps and not seen:
          seen.append(now)
          signal.raise_signal(signal.SIGINT)

      yield report

    return shown()

  from vizjax.front import making

  monkeypatch.setattr(making.description, 'progress', show)
  images = vizjax.visualize(conftest.toy(), 'conv1', [1], method, steps=5000)
  steps = np.isfinite(images['trace/score'][0]).sum()
  assert images.made.all() and 0 < steps < 5000
  assert np.isfinite(images.image).all()
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupted_sweep_goes_on_to_the_same_bits(tmp_path, monkeypatch):
  from vizjax.front import making

  ask = {'workdir': tmp_path / 'w', 'steps': 60, 'quiet': True}
  before = making.sweep_.execute

  def execute(plan, workdir, report, **more):
    def stopping(now):
      if now.steps:
        signal.raise_signal(signal.SIGINT)
      report(now)

    return before(plan, workdir, stopping, **more)

  monkeypatch.setattr(making.sweep_, 'execute', execute)
  with pytest.raises(KeyboardInterrupt):
    vizjax.sweep(conftest.toy(), 'conv1', [1], method, **ask)
  assert not vizjax.open(tmp_path / 'w')['conv1'].made.any()
  monkeypatch.setattr(making.sweep_, 'execute', before)
  there = vizjax.sweep(conftest.toy(), 'conv1', [1], method, **ask)['conv1']
  whole = visualize(conftest.toy(), 'conv1', [1], method, steps=60)
  np.testing.assert_array_equal(there.image[:], whole.image)


def test_other_threads_leave_signals_alone():
  found = []

  def work():
    found.append(visualize(conftest.toy(), 'conv1', [1], method))

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert found and found[0].made.all()


WRONG = {
  'a recipe': (lambda r: vizjax.Method(3), 'recipe= is 3'),
  'metrics': (lambda r: vizjax.Method(r, metrics=3), 'metrics= is 3'),
  'a metric': (lambda r: vizjax.Method(r, metrics={'x': 3}), 'metrics= is'),
  'data': (lambda r: vizjax.Method(r, data=3), 'data= is 3, expected arrays'),
  'a unit': (lambda r: vizjax.Method(r, data={'unit': 3}), "but 'unit'"),
  'robust': (lambda r: vizjax.Method(r, robust=(3,)), 'robust= is .3,.'),
  'an activation': (lambda r: vizjax.Method(r, activation=3), 'activation= is'),
  'pixels': (
    lambda r: dataclasses.replace(r, parameterization=3),
    'parameterization= is 3',
  ),
  'transforms': (
    lambda r: dataclasses.replace(r, transforms=(3,)),
    'transforms= is .3,., expected a tuple of functions',
  ),
  'a trace': (lambda r: dataclasses.replace(r, trace=(('x', 3),)), 'trace= is'),
  'a procedure': (lambda r: dataclasses.replace(r, procedure=3), 'procedure='),
}


@pytest.mark.usefixtures('as_installed')
@pytest.mark.parametrize('name', WRONG)
def test_a_wrong_field_of_a_recipe_is_one_sentence(name):
  change, words = WRONG[name]
  wrong = lambda model, layer: change(method(model, layer))
  with pytest.raises(UserError, match=words) as error:
    visualize(conftest.toy(), 'conv1', [1], wrong)
  assert '\n' not in str(error.value)


BAD = {
  'an objective of nothing': (
    {'objective': lambda layer: 3},
    "objective= makes 3 of layer 'conv1', expected a term",
  ),
  'a layer that is not there': (
    {'layer': 'conv9'},
    "layer 'conv9' is not in the network.*Did you mean",
  ),
  'units out of range': ({'units': [99]}, 'unit 99 is not in layer'),
  'two layers': ({'layer': 'conv*'}, 'expected one: type vizjax.sweep'),
  'a list of layers': ({'layer': ['conv1']}, 'the name of one layer'),
  'no model': ({'model': 3}, 'expected a vizjax.Model'),
  'an unknown recipe': ({'recipe': 'olha2017'}, "recipe='olah2017'"),
  'a knob that it has not': (
    {'recipe': 'olah2017', 'stpes': 3},
    "stpes= is no knob of this recipe.*Did you mean 'steps'",
  ),
  'an argument that it has not': (
    {'recipe': method, 'stpes': 3},
    "stpes= is no argument.*Did you mean 'steps'",
  ),
  'a knob of another kind': (
    {'recipe': 'olah2017', 'steps': 'x'},
    "steps.* is 'x', expected",
  ),
  'a function that does not fit': (
    {'recipe': lambda model: None},
    'does not take .model, layer.',
  ),
  'a function that returns nothing': (
    {'recipe': lambda model, layer: None},
    'the recipe function gives None, expected a vizjax.Recipe',
  ),
  'something else as a recipe': (
    {'recipe': 3},
    'recipe= is 3, expected a name',
  ),
  'a formula as an objective': (
    {'objective': 'neuron(layer)'},
    'objective= is .neuron.layer.*expected a term',
  ),
  'another sign': ({'sign': 'x'}, "sign= is 'x'"),
  'no replicate': ({'replicates': 0}, 'replicates= is 0'),
  'a shape in words': ({'shape': '32x32'}, r'shape= is .*type shape=\(224, 22'),
  'half a step': ({'steps': 1.5}, 'steps= is 1.5'),
  'too many replicates': ({'replicates': 10**7}, 'replicates= is 10000000'),
  'a seed that runs out': (
    {'seed': 2**32 - 1, 'retries': 1},
    'seed= is 4294967295, expected a whole number from 0 to',
  ),
  'no memory': ({'memory': 0}, 'memory= is 0, expected gigabytes'),
  'a box in words': ({'box': 'no'}, "box= is 'no', expected True or False"),
  'units in bytes': ({'units': b'1'}, 'units= holds'),
  'another result': ({'result': 'bset'}, "result= is 'bset'"),
}


@pytest.mark.usefixtures('as_installed')
@pytest.mark.parametrize('name', BAD)
def test_a_wrong_argument_is_one_sentence(name):
  changes, words = BAD[name]
  given = {'model': conftest.toy(), 'layer': 'conv1', 'units': [1]} | changes
  with pytest.raises(UserError, match=words) as error:
    visualize(given.pop('model'), given.pop('layer'), **given)
  assert '\n' not in str(error.value) and 'config.' not in str(error.value)


def test_a_folder_that_is_no_workdir_is_refused(tmp_path):
  with pytest.raises(UserError, match='holds no results|no config.json|type'):
    vizjax.open(tmp_path)


def test_a_workdir_half_done_is_opened(tmp_path):
  model, where = conftest.toy(), str(tmp_path / 'w')
  ask = {'workdir': where, 'quiet': True, 'steps': 3}
  vizjax.sweep(model, 'conv1', [1, 2], method, **ask)
  done = store.open_(store.directory(where, 'conv1')).arrays[store.DONE]
  done[1].write(np.uint8(0)).result()
  images = vizjax.open(where)['conv1']
  assert images.made.tolist() == [True, False] and len(images) == 2
  assert '1 of 2' in repr(images) and '1 of 2 images' in images._repr_html_()
  with pytest.raises(UserError, match="'conv3' is not in .*it holds conv1"):
    vizjax.open(where)['conv3']
  with pytest.raises(UserError, match="no array 'imgae'.*Did you mean 'image'"):
    images['imgae']


def test_files_the_site_and_photographs_are_calls(tmp_path):
  model, where = conftest.toy(), str(tmp_path / 'w')
  ask = {'workdir': where, 'quiet': True, 'steps': 3}
  results = vizjax.sweep(model, 'conv1', [1, 2], method, **ask)
  paths = results.export('montage', columns=1, out=tmp_path / 'out')
  assert [path.name for path in paths] == ['conv1.png']

  def sizes(selection, out, *, mark='-'):
    """A format of one's own."""
    out.mkdir(parents=True, exist_ok=True)
    for layer in selection.layers:
      path = out / f'{layer.name}{mark}.txt'
      path.write_text(str(len(layer.rows)))
      yield path

  (path,) = results.export(sizes, units=[1], mark='!')
  assert path.name == 'conv1!.txt' and path.read_text() == '1'
  assert path.parent.name == 'sizes'
  with pytest.raises(UserError, match='stretc= is no option.*stretch'):
    results.export('png', stretc=True)
  with pytest.raises(UserError, match="format 'pgn' is not known.*'png'"):
    results.export('pgn')
  draws = np.random.default_rng(0).uniform(0, 255, (5, 20, 20, 3))
  with pytest.raises(UserError, match='examples.photographs, model=model.'):
    results.examples(draws, quiet=True)
  with pytest.raises(UserError, match='another network.*weights'):
    results.examples(draws, conftest.toy(seed=1), quiet=True)
  found = results.examples(draws, model, k=2, quiet=True)
  assert {*found} == {'conv1'} and len(found['conv1'].ids[1]) == 2
  index = results.atlas()
  text = index.read_text()
  assert 'A call of vizjax.sweep in Python' in text and 'config.py' not in text
  assert not (index.parent / 'config.py').exists()


def test_a_format_that_needs_the_network_is_given_it(tmp_path):
  model, where = conftest.toy(), str(tmp_path / 'w')
  ask = {'workdir': where, 'quiet': True, 'steps': 3}
  results = vizjax.sweep(model, 'conv1', [1], 'yosinski2015:3', **ask)
  with pytest.raises(UserError, match='results.export.format, model=model.'):
    results.export('toolbox')
  with pytest.raises(UserError, match="another network.*'weights'"):
    results.export('toolbox', model=conftest.toy(seed=1))
  paths = results.export('toolbox', model=model, skipbig=True)
  assert {path.suffix for path in paths} == {'.jpg', '.txt', '.pkl'}


CALLS = {
  'one photograph': (
    lambda r: r.examples(np.zeros((16, 16, 3))),
    r'one image, .16, 16, 3., expected several: type .image.',
  ),
  'fractions': (
    lambda r: r.examples(np.full((2, 16, 16, 3), 0.5)),
    'expected 0 to 255: type 255',
  ),
  'no photographs': (lambda r: r.examples(3), 'photographs= is 3'),
  'a limit of none': (lambda r: r.examples('x', limit=0), 'limit= is 0'),
  'no contrast': (lambda r: r.atlas(contrast='a'), "contrast= is 'a'"),
  'no layers': (lambda r: r.export(layers=3), 'layers= is 3'),
  'a format that returns nothing': (
    lambda r: r.export(lambda selection, out: None),
    'returns None, expected a generator',
  ),
  'a format of one argument': (
    lambda r: r.export(lambda selection: iter([])),
    'takes 1 arguments, expected two',
  ),
  'an option that is a flag': (
    lambda r: r.export(lambda selection, out, *, layer=1: iter([])),
    'the option layer of the format .* cannot be a flag',
  ),
  'an option without a default': (
    lambda r: r.export(lambda selection, out, *, need: iter([])),
    'the option need of the format .* cannot be a flag',
  ),
  'a name with dots': (lambda r: r.export('..x'), "format '..x' is not known"),
  'a large tile': (lambda r: r['conv1'].sheet(tile=10**6), 'tile= is 1000000'),
  'no file': (lambda r: r['conv1'].save(3), "type save.'sheet.png'"),
  'a list of arrays': (lambda r: r['conv1'][['image']], 'has no array'),
}


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  where = tmp_path_factory.mktemp('finished') / 'w'
  ask = {'workdir': where, 'quiet': True, 'steps': 2}
  return vizjax.sweep(conftest.toy(), 'conv1', [1, 2], method, **ask)


@pytest.mark.usefixtures('as_installed')
@pytest.mark.parametrize('name', CALLS)
def test_a_wrong_argument_of_results_is_one_sentence(name, finished):
  call, words = CALLS[name]
  with pytest.raises(UserError, match=words) as error:
    call(finished)
  assert '\n' not in str(error.value)


def test_names_of_metrics_are_names(tmp_path):
  def measured(model, layer):
    metrics = {'..': objectives.neuron(layer)}
    return vizjax.Method(method(model, layer), metrics=metrics)

  with pytest.raises(UserError, match="metrics={'..': ...}: expected a name"):
    vizjax.sweep(conftest.toy(), 'conv1', [1], measured, workdir=tmp_path / 'w')
  assert not (tmp_path / 'w').exists()


def test_numbers_of_numpy_are_numbers(finished):
  images = visualize(
    conftest.toy(), 'conv1', [1], steps=np.int64(2), replicates=np.int32(1)
  )
  assert images['trace/score'].shape == (1, 2)
  image = finished['conv1'].image
  whole = image[:]
  for index in (([0, 1], [1, 2]), ([0, 1], slice(None), [0, 1]), ()):
    np.testing.assert_array_equal(image[index], whole[index], str(index))


def test_objects_are_said_in_a_few_lines():
  model = conftest.toy()
  assert len(repr(model)) < 400 and 'conv1' in repr(model)
  assert len(repr(method(model, 'conv1'))) < 1000
  assert re.search('objective: neuron', repr(method(model, 'conv1')))


def test_the_default_recipe_moves_an_image_by_a_twelfth():
  from vizjax.front import defaults

  assert defaults._shift((163, 163)) == 17  # as configs/demo.py says
  for size in range(1, 300):
    canvas = size + defaults._shift((size, size))
    assert 1.08 * size <= canvas <= 1.4 * size + 2
    assert defaults._rough(canvas) == 1


def test_transforms_of_a_sweep_see_the_unit():
  def shaded(draw, views):
    return views * (1 + 0.01 * draw.target['unit'].channel)

  def recipe(model, layer):
    made = method(model, layer)
    return core.Recipe(
      model,
      made.parameterization,
      made.objective,
      made.optimizer,
      transforms=(transforms.jitter(2), shaded),
    )

  images = visualize(conftest.toy(), 'conv1', [1, 2], recipe, steps=1)
  assert images.made.all()
