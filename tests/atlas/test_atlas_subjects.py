"""Sites of directions, masks, photographs and layers, which are no units."""

import json

import numpy as np
import pytest
import toy_config
import toysites

from vizjax import build
from vizjax.atlas import site
from vizjax.sweeps import sweep

pytestmark = pytest.mark.usefixtures('quickly')


def made(path, **changes):
  """The config.json of a workdir of conv2, six channels."""
  config = toy_config.get_config()
  for name, value in (dict(layer='conv2', units=None) | changes).items():
    config[name] = value
  sweep.execute(sweep.plan(build.request(config)), str(path))
  return json.loads((path / 'config.json').read_text())


def written(path, layer='conv2'):
  """What layer.json holds, once the site is made."""
  site.write(str(path))
  folder = path / 'atlas' / layer
  assert not (folder / 'examples').exists()
  return json.loads((folder / 'layer.json').read_text())


def names(data):
  return {number: unit['name'] for number, unit in data['units'].items()}


def test_directions_have_their_own_name_and_nothing_of_a_unit(
  tmp_path, monkeypatch
):
  np.save(tmp_path / 'eye.npy', np.eye(3, 6, dtype=np.float32))
  path = tmp_path / 'w'
  known = made(
    path, objective='direction(layer)', direction=str(tmp_path / 'eye.npy')
  )
  assert known['subjects'] == {'conv2': 'direction'}
  assert 'conv2' not in known['labels']
  # Photographs of the units of that layer, as of an earlier version.
  found = toysites.examples(monkeypatch, path)
  monkeypatch.setattr('vizjax.examples.search.read', lambda *_: found)
  data = written(path)
  assert data['subject'] == 'direction'
  assert data['units'] == {str(i): {'name': f'direction {i}'} for i in range(3)}
  fields = {each['name']: each['about'] for each in data['fields']}
  assert not [name for name in fields if name.startswith('ratio/')]
  assert fields['activation'] == (
    'direction(layer) of the image without transforms'
  )
  assert not any('unit' in about for about in fields.values())
  for image in data['images']:
    assert len(image['values']) == len(fields)
    assert 'position' not in image


def test_the_images_of_a_whole_layer_are_named_by_the_layer(tmp_path):
  known = made(tmp_path / 'w', objective='dream(layer)', replicates=2)
  assert known['subjects'] == {'conv2': 'layer'}
  data = written(tmp_path / 'w')
  assert names(data) == {'0': 'conv2'}
  assert [image['replicate'] for image in data['images']] == [0, 1]


def test_activation_is_said_to_be_the_term_that_was_measured(tmp_path):
  made(tmp_path / 'w', objective='dream(layer)', activation="dream('conv1')")
  fields = written(tmp_path / 'w')['fields']
  assert fields[0]['about'] == "dream('conv1') of the image without transforms"


def test_masks_and_photographs_are_named_where_others_are_units(
  tmp_path, monkeypatch
):
  path = toysites.workdir(
    tmp_path / 'w',
    ['conv1', 'masked', 'pictured'],
    count=2,
    metrics=['metric/distance'],
    labels={'masked': ['cat', 'dog'], 'pictured': ['some photo', ' ']},
    subjects={'masked': 'mask', 'pictured': 'photograph'},
  )
  toysites.examples(monkeypatch, path, count=2)
  assert names(written(path, 'masked')) == {'0': 'mask 0', '1': 'mask 1'}
  data = written(path, 'pictured')
  assert names(data) == {'0': 'some photo', '1': 'photograph 1'}
  abouts = {each['name']: each['about'] for each in data['fields']}
  assert abouts['metric/distance'] == (
    'from the other images of the photograph, 0 to 1'
  )
  text = (path / 'atlas' / 'conv1' / 'layer.json').read_text()
  units = json.loads(text)
  assert 'subject' not in units and units['images'][0]['position'] == [6, 6]
  assert [*units['units']['1']] == ['examples']


def test_positions_are_told_where_the_config_names_them(tmp_path):
  np.save(tmp_path / 'eye.npy', np.eye(3, 6, dtype=np.float32))
  made(
    tmp_path / 'w',
    objective='direction_neuron(layer)',
    direction=str(tmp_path / 'eye.npy'),
    units='1@2x3',
  )
  (image,) = written(tmp_path / 'w')['images']
  assert (image['position'], image['units']) == ([2, 3], '1@2x3')


@pytest.mark.parametrize('subjects', ({}, {'subjects': {}}))
def test_layers_of_units_are_as_in_a_workdir_without_subjects(
  tmp_path, monkeypatch, subjects
):
  labels = [f'thing {i}' for i in range(3)]
  path = toysites.workdir(
    tmp_path / 'w', count=3, labels={'conv1': labels}, **subjects
  )
  toysites.examples(monkeypatch, path, count=3)
  site.write(str(path))
  text = (path / 'atlas' / 'conv1' / 'layer.json').read_text()
  data = json.loads(text)
  assert [*data] == [
    'name', 'folder', 'done', 'count', 'contrast', 'nonfinite', 'dead',
    'fields', 'makers', 'steps', 'images', 'units',
  ]  # fmt: skip
  assert [*data['images'][0]] == [
    'id', 'unit', 'position', 'replicate', 'least', 'finite', 'values',
    'curve', 'size', 'tile', 'units',
  ]  # fmt: skip
  assert [*data['units']['2']] == ['label', 'examples']
