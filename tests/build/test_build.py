"""What a configuration becomes, and everything that it can get wrong."""

import conftest
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import odd_networks
import pytest

import toyplans

from vizjax.build import program as program_
from vizjax import core
from vizjax.build import assemble
from vizjax.errors import UserError

pytestmark = pytest.mark.usefixtures('quickly')


def config(**changes):
  c = assemble.config()
  c.model = 'toynets.net()'
  c.layer = 'conv2'
  c.rate = 2.0
  c.strength = 0.1
  for name, value in changes.items():
    c[name] = value
  return c


def planned(c, layer=None):
  """The network, the table of runs, and a program for each geometry."""
  net = assemble.model(c)
  layer = layer or assemble.layers(c, net)[0]
  table = toyplans.runs(c, net, layer)
  programs = {
    bool(boxed): toyplans.program(c, net, layer, boxed=bool(boxed))
    for boxed in np.unique(table.boxed)
  }
  return net, table, programs


def one_run(program, table, row=0):
  stacked = program.target(table, np.array([row]))
  return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), stacked)


def score(recipe, target, seed=0):
  """The first score of a run."""
  state = core.init(recipe, target, jax.random.key(seed))
  draw = core.Draw(jax.random.key(seed), jnp.array(0), target)
  return float(jax.jit(core.score)(recipe, state.params, draw)[0])


def refused(message, c):
  """Building a whole plan fails with an error that says this."""
  with pytest.raises(UserError, match=message):
    net, table, programs = planned(c)
    for program in programs.values():
      target = one_run(program, table)
      score(program.recipe, target)


# What a program is made of.


def test_a_recipe_is_what_the_formulas_say():
  c = config(
    objective='neuron(layer) - strength * l2()',
    optimizer='scale_by_adam() | scale(rate)',
    projections='l2_decay(strength) | clip_pixels(model)',
    transforms='roll(1) | jitter(2)',
    trace='norm = l2_norm(), half = 0.5 * l2_norm()',
    views='sum',
    units='3@2x3',
    box=False,
  )
  net, table, programs = planned(c)
  recipe = programs[False].recipe
  target = one_run(programs[False], table)
  params = jnp.full((14, 14, 3), 2.0)
  draw = core.Draw(jax.random.key(0), jnp.array(0), target)
  value, records = jax.jit(core.score)(recipe, params, draw)
  view = recipe.parameterization.render(params)[:12, :12]
  plain = jax.jit(lambda image: net(image))(view)['conv2'][2, 3, 3]
  np.testing.assert_allclose(value, plain - 0.1 * 4 * 12 * 12 * 3, rtol=1e-5)
  np.testing.assert_allclose(records['norm'], 2 * np.sqrt(432), rtol=1e-5)
  np.testing.assert_allclose(records['half'], np.sqrt(432), rtol=1e-5)
  assert len(recipe.transforms) == 2 and len(recipe.projections) == 2
  ones = jnp.ones((14, 14, 3))
  updates, _ = recipe.optimizer.update(
    ones, recipe.optimizer.init(params), params
  )
  np.testing.assert_allclose(updates, 2 * ones, rtol=1e-5)
  kept = recipe.projections[0](params, ones, jnp.array(0))
  np.testing.assert_allclose(kept, 1.8 * ones, rtol=1e-6)
  low = recipe.projections[1](params - 1000, ones, jnp.array(0))
  np.testing.assert_allclose(low[0, 0], -np.array([120, 115, 100]), rtol=1e-6)
  assert recipe.views(jnp.array([1.0, 2.0])) == 3


def test_a_network_whose_outputs_have_no_names_is_refused():
  c = assemble.config()
  c.model = 'odd_networks.unnamed()'
  with pytest.raises(UserError, match='^config.model: .*returns a tuple.*type'):
    assemble.model(c)


def test_the_activation_is_measured_clean_and_by_its_own_term():
  c = config(
    objective='neuron(layer) - strength * l2()',
    activation='neuron(layer)',
    transforms='jitter(2) | random_crops(3, 12, 12)',
    units='3@3x3',
    box=False,
  )
  net, table, programs = planned(c)
  clean = programs[False].clean
  target = one_run(programs[False], table)
  params = jax.random.normal(jax.random.key(1), (14, 14, 3)) * 20
  draw = core.Draw(jax.random.key(0), jnp.array(0), target)
  value, records = core.score(clean, params, draw)
  middle = clean.parameterization.render(params)[1:13, 1:13]
  expected = net(middle)['conv2'][3, 3, 3]
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  assert records == {}


def test_recipe_is_on_the_whole_image():
  c = config(units='0:2')
  net = assemble.model(c)
  recipe = assemble.recipe(c, net)
  target = {'unit': core.Unit(*(jnp.array(n) for n in (1, 3, 3)))}
  state = core.init(recipe, target, jax.random.key(0))
  assert state.params.shape == (12, 12, 3)
  other = assemble.recipe(c, net, 'conv1')
  assert score(recipe, target) != score(other, target)


def test_every_run_has_its_own_target():
  c = config(units='1,4@2x5', replicates=2, box=False)
  _, table, programs = planned(c)
  target = programs[False].target(table, np.array([3, 0]))
  unit = target['unit']
  assert [int(n) for n in unit.channel] == [4, 1]
  assert [int(n) for n in unit.y] == [2, 3]
  assert [int(n) for n in unit.x] == [5, 3]
  assert list(table.replicate) == [0, 1, 0, 1]


# Sizes.


@pytest.mark.parametrize(
  'transforms, canvas, view',
  [
    ('', 12, 12),
    ('pad(2) | jitter(4)', 16, 12),
    ('jitter(2) | crop(12, 12)', 14, 12),
    *conftest.slow(
      ('jitter(3)', 15, 12),
      ('jitter(3) | jitter(1)', 16, 12),
      ('pad(2)', 12, 12),
      ('roll(3) | scale(.9, 1.1) | rotate(5.)', 12, 12),
    ),
  ],
)
def test_jitter_grows_the_canvas_and_pad_is_cut_off_again(
  transforms, canvas, view
):
  _, table, programs = planned(config(transforms=transforms, box=False))
  frame = programs[False].geometry
  assert (frame.canvas, frame.view) == ((canvas, canvas), (view, view))
  recipe = programs[False].recipe
  views = jnp.zeros((1, canvas, canvas, 3))
  draw = core.Draw(jax.random.key(0), jnp.array(0), {})
  for transform in recipe.transforms:
    views = transform(draw, views)
  assert views.shape == (1, view, view, 3)
  state = core.init(recipe, one_run(programs[False], table), jax.random.key(0))
  assert state.params.shape == (canvas, canvas, 3)


def test_a_single_unit_is_made_on_its_field():
  # conv2 sees 3 + 1 + 2 * 2 = 8 pixels; row 2 starts at 2 * 2 - 3 = 1.
  _, table, programs = planned(config(units='0@2x3', transforms='jitter(2)'))
  assert list(programs) == [True]
  assert table.box.tolist() == [[1, 3, 8, 8]]
  frame = programs[True].geometry
  assert (frame.canvas, frame.view) == ((10, 10), (8, 8))
  unit = programs[True].target(table, np.array([0]))['unit']
  assert (unit.y[0], unit.x[0]) == (0, 0)


def test_a_unit_at_the_edge_is_made_on_the_whole_image():
  _, table, programs = planned(config(units='0@2x3,0@1x3,0@5x5'))
  assert table.boxed.tolist() == [True, False, False]
  assert table.box.tolist() == [[1, 3, 8, 8], [0, 0, 12, 12], [0, 0, 12, 12]]
  assert programs[False].geometry.canvas == (12, 12)
  unit = programs[False].target(table, np.array([1]))['unit']
  assert (unit.y[0], unit.x[0]) == (1, 3)


@pytest.mark.parametrize(
  'changes',
  [
    {'box': False},
    {'shape': '12x12', 'layer': 'conv2'},
    {'objective': 'channel(layer)'},
    {'objective': "neuron(layer) + neuron('conv1')"},
    {'activation': 'channel(layer)'},
    {'layer': 'fc3'},
    {'model': 'odd_networks.untabled()'},
    *conftest.slow(
      {'objective': 'layer(layer)'},
      {'objective': "neuron(layer, read='relu1')"},
      {'trace': 'all = layer(layer)'},
      {'objective': 'dream(layer)'},
      {'model': 'odd_networks.pictured()'},
    ),
  ],
)
def test_what_is_not_one_unit_is_made_on_the_whole_image(changes):
  _, table, programs = planned(config(**changes))
  assert not table.boxed.any()
  assert programs[False].geometry.view == (12, 12)


@pytest.mark.parametrize(
  'changes',
  [
    {'objective': "neuron(layer, read='relu2')"},
    {'trace': 'norm = l2_norm(), std = std()'},
    *conftest.slow(
      {'objective': 'neuron(layer) - 1. * total_variation() - l2()'},
      {'objective': "neuron('conv2') + neuron('relu2')"},
      {'layer': 'relu2'},
    ),
  ],
)
def test_what_is_one_unit_of_a_layer_is_boxed(changes):
  _, table, programs = planned(config(**changes))
  assert table.boxed.all()
  assert programs[True].geometry.view == (8, 8)


def test_a_shape_of_the_users_is_the_canvas():
  c = config(shape='20x17', transforms='jitter(1)')
  _, table, programs = planned(c)
  frame = programs[False].geometry
  assert (frame.canvas, frame.view) == ((20, 17), (19, 16))
  # Centre of a map of 9 x 8.
  assert (table.y[0], table.x[0]) == (4, 4)
  assert not table.boxed.any()


@pytest.mark.parametrize('shape', (None, *conftest.slow('20x17')))
def test_a_trimmed_view_is_of_the_size_of_the_image(shape):
  links = 'pad(12) | jitter(8) | trim(model)'
  c = config(shape=shape, transforms=links, objective='channel(layer)')
  _, _, programs = planned(c)
  frame = programs[False].geometry
  if shape is None:  # jitter eats, and the network wants 12 x 12
    assert (frame.canvas, frame.view) == ((20, 20), (12, 12))
  else:
    assert (frame.canvas, frame.view) == ((20, 17), (20, 17))


def test_the_part_that_a_unit_sees_is_on_its_canvas():
  c = config(units='0@2x3,0@0x5', transforms='jitter(2)')
  net, table, programs = planned(c)
  _, read = toyplans.read(c, net, 'conv2')
  seen = program_.seen(read, table, programs)
  # Boxed: the middle 8 of 10. Whole: rows -3 to 4 and columns 7 to 14 of the
  # view, which begins one pixel into the canvas of 14.
  assert seen.tolist() == [[1, 1, 8, 8], [0, 8, 6, 6]]


# Cuts.


def test_only_the_layers_that_are_needed_are_kept():
  c = config(layer='conv1', box=False)
  net = assemble.model(c)
  recipe = toyplans.program(c, net, 'conv1', boxed=False).recipe
  assert set(recipe.model.params) == {'conv1'}
  # and the rectifier, under whose name Caffe's programs may read it
  assert set(odd_networks.maps(recipe.model)) == {'conv1', 'relu1'}


def test_layers_that_any_formula_mentions_are_kept():
  c = config(
    layer='conv1',
    box=False,
    trace="deep = layer('relu2')",
    objective='dream(layer)',
  )
  net = assemble.model(c)
  model = toyplans.program(c, net, 'conv1', boxed=False).recipe.model
  names = {'conv1', 'relu1', 'pool1', 'conv2', 'relu2'}
  assert set(odd_networks.maps(model)) == names


def test_a_knob_can_name_a_layer_that_is_kept():
  c = config(layer='conv1', box=False, objective='layer(deep)')
  c.deep = 'conv2'
  net = assemble.model(c)
  model = toyplans.program(c, net, 'conv1', boxed=False).recipe.model
  assert 'conv2' in set(odd_networks.maps(model))


def test_below_a_fully_connected_layer_any_shape_will_do():
  c = config(shape='25x18')
  net, table, programs = planned(c)
  recipe = programs[False].recipe
  target = one_run(programs[False], table)
  image = core.init(recipe, target, jax.random.key(0)).params
  assert image.shape == (25, 18, 3)
  assert set(recipe.model.params) == {'conv1', 'conv2'}
  assert np.isfinite(score(recipe, target))


def test_a_fully_connected_layer_at_another_shape_is_an_error():
  refused('fc3', config(layer='fc3', shape='25x18'))


# Layers.


@pytest.mark.parametrize(
  'layer, names',
  [
    ('conv2', ('conv2',)),
    ('relu1', ('relu1',)),
    ('conv*', ('conv1', 'conv2')),
    ('*', ('conv1', 'conv2', 'fc3')),
    ('fc3, conv1', ('conv1', 'fc3')),
    ('conv?,relu2', ('conv1', 'conv2', 'relu2')),
    ('conv1,conv*', ('conv1', 'conv2')),
  ],
)
def test_layers_by_name_comma_and_glob(layer, names):
  c = config(layer=layer)
  assert assemble.layers(c, assemble.model(c)) == names


def test_layers_of_a_network_without_a_table():
  c = config(model='odd_networks.untabled()', layer='relu*')
  assert set(assemble.layers(c, assemble.model(c))) == {'relu1', 'relu2'}


# The mean.


def test_a_mean_of_numbers_takes_the_place_of_the_networks():
  c = config(mean='1,2,3.5')
  np.testing.assert_array_equal(assemble.model(c).mean, [1, 2, 3.5])


def test_a_mean_image_is_cut_to_the_middle(tmp_path):
  image = np.random.RandomState(0).uniform(0, 255, (16, 15, 3))
  np.save(tmp_path / 'mean.npy', image)
  c = config(mean=str(tmp_path / 'mean.npy'))
  expected = image[2:14, 1:13].astype(np.float32)
  np.testing.assert_array_equal(assemble.model(c).mean, expected)
  _, table, programs = planned(c)
  assert not table.boxed.any()  # a box has no place in a mean image


def test_a_mean_image_that_does_not_fit_the_canvas_is_an_error(tmp_path):
  np.save(tmp_path / 'mean.npy', np.zeros((12, 12, 3)))
  c = config(mean=str(tmp_path / 'mean.npy'), transforms='jitter(2)')
  refused(r'mean image is \(12, 12\), but the canvas is \(14, 14\)', c)


@pytest.mark.parametrize(
  'mean, message',
  [
    ('1,2', "config.mean is '1,2', expected 3 numbers"),
    ('grey', 'expected 3 numbers'),
    ('1,2,x', 'expected 3 numbers'),
    ('', 'expected 3 numbers'),
  ],
)
def test_a_mean_that_cannot_be_read_is_an_error(mean, message):
  refused(message, config(mean=mean))


def test_a_mean_image_of_the_wrong_size_is_an_error(tmp_path):
  np.save(tmp_path / 'mean.npy', np.zeros((11, 20, 3)))
  message = r'holds \(11, 20, 3\), expected at least \(12, 12, 3\)'
  refused(message, config(mean=str(tmp_path / 'mean.npy')))
  np.save(tmp_path / 'grey.npy', np.zeros((20, 20)))
  refused('expected at least', config(mean=str(tmp_path / 'grey.npy')))


# Directions, masks and starts.


def test_a_row_of_a_file_of_directions_takes_the_place_of_a_unit(tmp_path):
  rows = np.random.RandomState(0).normal(0, 1, (4, 6))
  np.save(tmp_path / 'd.npy', rows)
  c = config(objective='direction(layer)', direction=str(tmp_path / 'd.npy'))
  _, table, programs = planned(c)
  assert list(table.channel) == [0, 1, 2, 3]
  target = programs[False].target(table, np.array([2, 0]))
  np.testing.assert_array_equal(
    target['direction'], rows[[2, 0]].astype(np.float32)
  )


def test_one_direction_serves_every_run():
  c = config(
    objective='direction_neuron(layer)',
    direction='one_hot(3) - 0.5 * one_hot(5)',
  )
  _, table, programs = planned(c)
  assert list(table.channel) == [0] and table.boxed.all()
  found = one_run(programs[True], table)['direction']
  np.testing.assert_array_equal(found, [0, 0, 0, 1, 0, -0.5])


def test_a_start_is_as_large_as_the_canvas():
  c = config(start='legacy_normal(model, 10.)', transforms='jitter(2)')
  c.replicates = 2
  _, table, programs = planned(c)
  target = programs[True].target(table, np.array([0, 1]))
  assert target['start'].shape == (2, 10, 10, 3)
  assert not np.array_equal(target['start'][0], target['start'][1])


@pytest.mark.parametrize('field', ['direction', 'mask'])
def test_stacked_arrays_cannot_stand_beside_neuron(tmp_path, field):
  shape = {'direction': (2, 6), 'mask': (2, 6, 6, 6)}[field]
  np.save(tmp_path / 'a.npy', np.zeros(shape))
  c = config(objective=f'{field}(layer) + neuron(layer)')
  c[field] = str(tmp_path / 'a.npy')
  refused(f'take the place of the units.*objective=.{field}.layer', c)


def test_two_masks_and_three_directions_are_an_error(tmp_path):
  np.save(tmp_path / 'd.npy', np.zeros((3, 6)))
  np.save(tmp_path / 'm.npy', np.zeros((2, 6, 6, 6)))
  c = config(
    objective='direction(layer) + mask(layer)',
    direction=str(tmp_path / 'd.npy'),
    mask=str(tmp_path / 'm.npy'),
  )
  refused('are for 3 and 2 images: expected as many of each', c)
  np.save(tmp_path / 'm.npy', np.zeros((6, 6, 6)))
  _, table, _ = planned(c)
  assert len(table.channel) == 3


def test_arrays_of_the_wrong_shape_are_errors(tmp_path):
  np.save(tmp_path / 'a.npy', np.zeros(5))
  c = config(objective='direction(layer)', direction=str(tmp_path / 'a.npy'))
  refused(r'holds \(5,\), expected \(6,\), or one for each run: \(n, 6\)', c)
  c = config(objective='mask(layer)', mask=str(tmp_path / 'a.npy'))
  refused(r'config.mask: .* holds \(5,\), expected \(6, 6, 6\)', c)


def test_a_direction_that_is_not_given_is_an_error():
  refused('reads a direction', config(objective='direction(layer)'))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
  c = config(
    objective='direction(layer)', direction=str(tmp_path / 'absent.npy')
  )
  with pytest.raises((ValueError, OSError), match='absent.npy'):
    planned(c)


# Errors.


@pytest.mark.parametrize(
  'layer, parts',
  [
    (
      'conv3',
      ["layer 'conv3' is not in", 'conv1, relu1', "Did you mean 'conv"],
    ),
    ('pool*', ["layer 'pool*' is not in"]),
    ('conv1,cnov2', ["layer 'cnov2'", "Did you mean 'conv2'?"]),
    ('', ["layer ''"]),
  ],
)
def test_an_unknown_layer_is_an_error_that_names_the_nearest(layer, parts):
  c = config(layer=layer)
  with pytest.raises(UserError) as error:
    assemble.layers(c, assemble.model(c))
  for part in parts:
    assert part in str(error.value)


@pytest.mark.parametrize(
  'units, message',
  [
    ('6', "unit 6 is not in layer 'conv2', which has 6: expected 0 to 5"),
    ('0:7', 'unit 6 is not in layer'),
    ('0@6x0', "row 6, column 0 is not in the map of layer 'conv2'"),
    ('x', 'cannot be read'),
    ('', 'config.units is empty'),
    ('3:3', 'holds no unit'),
  ],
)
def test_units_that_are_not_there_are_errors(units, message):
  refused(message, config(units=units))


def test_names_of_another_layer_are_told():
  c = config(units='tench')
  net = dataclasses.replace(assemble.model(c), labels=('tench', 'zebra'))
  with pytest.raises(UserError, match="'conv2' has 6 units, so the 2 names"):
    toyplans.runs(c, net, 'conv2')


def test_a_fully_connected_layer_has_one_position():
  _, table, _ = planned(config(layer='fc3', units='1'))
  assert (table.y[0], table.x[0]) == (0, 0)
  refused('row 0, column 1', config(layer='fc3', units='1@0x1'))


@pytest.mark.parametrize(
  'field, value, near',
  [
    ('parameterization', 'pixls(model)', 'pixels'),
    ('transforms', 'jiter(2)', 'jitter'),
    ('objective', 'neurn(layer)', 'neuron'),
    ('activation', 'neurn(layer)', 'neuron'),
    ('trace', 'a = l2_nrm()', 'l2_norm'),
    ('optimizer', 'sdg(1.)', 'sgd'),
    ('projections', 'l2_decy(0.1)', 'l2_decay'),
    ('start', "photogaph('a.jpg')", 'photograph'),
    ('direction', 'one_ht(3)', 'one_hot'),
    ('mask', 'one_ht(3)', 'one_hot'),
    ('model', "laod('alexnet_features')", 'load'),
  ],
)
def test_a_misspelt_function_is_an_error_of_its_field(field, value, near):
  refused(
    rf"config\.{field}: .*did you mean '{near}'", config(**{field: value})
  )


@pytest.mark.parametrize(
  'field, value',
  [
    ('parameterization', 'pixels(model, std=strenth)'),
    ('transforms', 'jitter(strenth)'),
    ('objective', 'strenth * neuron(layer)'),
    ('activation', 'strenth * neuron(layer)'),
    ('trace', 'a = strenth * l2_norm()'),
    ('optimizer', 'sgd(strenth)'),
    ('projections', 'l2_decay(strenth)'),
    ('start', 'legacy_normal(model, strenth)'),
    ('direction', 'strenth * one_hot(3)'),
    ('mask', 'strenth * one_hot(3)'),
    ('model', 'load(strenth)'),
  ],
)
def test_a_misspelt_knob_is_an_error_of_its_field(field, value):
  message = rf"config\.{field}: .*no knob 'strenth'; did you mean 'strength'"
  refused(message, config(**{field: value}))


@pytest.mark.parametrize(
  'field, value, expected',
  [
    ('model', 'odd_networks.number()', 'Model'),
    ('model', '3', 'Model'),
    ('parameterization', '3', 'Parameterization'),
    ('parameterization', 'model', 'Parameterization'),
    ('transforms', '3', 'a transform'),
    ('transforms', 'rate', 'a transform'),
    ('objective', '3', 'a term'),
    ('objective', 'model', 'a term'),
    ('activation', '3', 'a term'),
    ('trace', 'a = 3', 'a term'),
    ('optimizer', '3', 'GradientTransformation'),
    ('optimizer', 'constant_schedule(1.)', 'GradientTransformation'),
    ('projections', '3', 'a projection'),
    ('projections', 'constant_schedule(1.)', 'a projection'),
    ('start', '3', 'a maker of arrays'),
  ],
)
def test_a_value_of_the_wrong_kind_is_an_error_of_its_field(
  field, value, expected
):
  refused(
    rf'config\.{field} is .*, expected (a )?{expected}',
    config(**{field: value}),
  )


@pytest.mark.parametrize(
  'field, value',
  [
    ('objective', ''),
    ('parameterization', ''),
    ('objective', 'neuron(layer) | l2()'),
    ('activation', 'neuron(layer) | l2()'),
    ('start', 'legacy_normal(model, 1.) | legacy_normal(model, 1.)'),
  ],
)
def test_a_field_of_one_link_has_one(field, value):
  refused(rf'config\.{field} is .* links, expected 1', config(**{field: value}))


def test_a_network_that_is_missing_is_an_error():
  refused('config.model is empty, expected a network: type', config(model=' '))


def test_an_optimizer_that_is_missing_is_an_error():
  refused('config.optimizer', config(optimizer=''))


def test_a_record_cannot_take_the_name_of_another():
  refused("'score' is recorded in any case", config(trace='score = l2()'))


@pytest.mark.parametrize(
  'field', ['steps', 'batch', 'replicates', 'save_every']
)
@pytest.mark.parametrize('value', [0, -1, 2**31, 99999999999999])
def test_a_count_is_at_least_one_and_fits_int32(field, value):
  refused(f'config.{field} is {value}, expected', config(**{field: value}))


@pytest.mark.parametrize(
  'field, value, known',
  [
    ('result', 'first', "'best', 'last'"),
    ('views', 'max', "'mean', 'sum'"),
    ('image_dtype', 'int8', "'float32', 'float16', 'uint8'"),
  ],
)
def test_a_choice_is_one_of_those_there_are(field, value, known):
  refused(
    f"config.{field} is '{value}', expected one of .{known}",
    config(**{field: value}),
  )


@pytest.mark.parametrize(
  'shape', ['224', '12x12x3', 'x', '12x', '0x12', '-1x12', '12,12', 'axb', '']
)
def test_a_shape_that_does_not_parse_is_an_error(shape):
  refused('config.shape is .*expected HxW', config(shape=shape))


def test_a_crop_that_leaves_less_than_the_network_needs_is_an_error():
  c = config(transforms='crop(6, 6)', box=False)
  refused('the transforms leave 6 x 6 pixels, the network needs 12 x 12', c)


def test_a_term_that_reads_a_layer_that_is_not_there_is_an_error():
  refused("reads layer 'conv9'", config(objective="layer('conv9')"))


def test_names_with_commas_are_layers():
  net = odd_networks.named('a,b', 'c', 'a', '"')
  for text, layers in (
    ('"a,b"', ('a,b',)),
    ('c , "a,b"', ('a,b', 'c')),
    ('a*', ('a,b', 'a')),
    ('""""', ('"',)),
  ):
    assert {*assemble.layers(config(layer=text), net)} == {*layers}, text
  with pytest.raises(UserError, match="layer 'b' is not in the network"):
    assemble.layers(config(layer='a,b'), net)
  with pytest.raises(UserError, match='double quotes, as'):
    assemble.layers(config(layer='a\nb'), net)


@pytest.mark.parametrize(
  'changes, largest',
  [
    ({'seed': -1}, 2**32 - 1),
    ({'seed': 2**32}, 2**32 - 1),
    ({'seed': 10**22}, 2**32 - 1),
    # A retry starts a million seeds later, and replicates from those after.
    ({'seed': 2**32 - 5, 'replicates': 3, 'retries': 1}, 2**32 - 10**6 - 3),
  ],
)
def test_a_seed_outside_the_range_is_refused(changes, largest):
  refused(
    f'config.seed is {changes["seed"]}, expected a whole number from 0 to '
    f'{largest}$',
    config(**changes),
  )


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'rate': np.nan}, 'config.rate is nan, expected a finite number'),
    ({'rate': -np.inf}, 'config.rate is -inf, expected a finite number'),
    ({'memory': np.nan}, 'config.memory is nan, expected gigabytes'),
    ({'memory': -1.0}, 'config.memory is -1, expected gigabytes'),
    ({'replicates': 10**11}, 'config.replicates is 1.*from 1 to 1000000'),
  ],
)
def test_numbers_that_no_run_can_have_are_refused(changes, words):
  c = config()
  with c.unlocked():
    c.update(changes)
  refused(words, c)


@pytest.mark.parametrize('field', ('model', 'encoder'))
def test_the_name_of_a_network_alone_says_what_to_type(field):
  c = config(
    **{field: 'alexnet_features', 'data': 'a = activations(encoder, layer, 1)'}
  )
  refused(f'expected a formula, as --config.{field}="load.\'alexnet_feat', c)


@pytest.mark.parametrize(
  'knob, value, expected',
  [
    ('steps', 'abc', 'a whole number'),
    ('steps', None, 'a whole number'),
    ('batch', 2.5, 'a whole number'),
    ('memory', 'much', 'a number'),
    ('box', 1, 'True or False'),
    ('objective', None, 'a text, such as a formula'),
    ('model', 3, 'a text, such as a formula'),
  ],
)
def test_a_knob_that_a_file_gave_another_type_is_refused(knob, value, expected):
  config = assemble.config()
  with config.ignore_type():
    config[knob] = value
  match = f'config.{knob} is {value!r}, expected {expected}'
  with pytest.raises(UserError, match=match):
    assemble.check(config)


def test_a_restored_config_is_the_one_that_a_workdir_keeps():
  c = config(units='0:2', batch=None, robust_draws=3)
  kept = json.loads(json.dumps(c.to_dict()))
  restored = assemble.restored(kept)
  assert restored.to_dict() == c.to_dict()
  np.testing.assert_array_equal(
    assemble.model(restored).mean, assemble.model(c).mean
  )
  restored.units = '5'
  assert kept['units'] == '0:2'


def test_a_restored_config_has_defaults_for_missing_knobs():
  kept = config(retries=2).to_dict()
  del kept['retries'], kept['scales']
  restored = assemble.restored(kept)
  assert restored.to_dict() == kept | {'retries': 0, 'scales': ''}
  assemble.check(restored)
