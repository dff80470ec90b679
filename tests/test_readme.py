"""What the README shows is true."""

import pathlib
import re
import shlex
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_config
import toynets

import vizjax
from vizjax import build
from vizjax import models
from vizjax import recipes
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', README, re.DOTALL)


def block(words):
  (found,) = [text for text in BLOCKS if words in text]
  return found


@pytest.fixture
def my_lab(tmp_path, monkeypatch):
  """The package that the README writes, on the path."""
  folder = tmp_path / 'my_lab'
  folder.mkdir()
  for name in ('terms', 'net', 'formats'):
    (folder / f'{name}.py').write_text(block(f'# my_lab/{name}.py'))
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.chdir(tmp_path)
  yield
  for name in [n for n in sys.modules if n.split('.')[0] == 'my_lab']:
    del sys.modules[name]


def made(config, workdir):
  sweep.execute(sweep.plan(build.request(config)), str(workdir))
  return store.open_(store.directory(str(workdir), config.layer))


def test_the_python_example_raises_the_score():
  names = {}
  with jax.numpy_rank_promotion('allow'):  # as for a user
    exec(block('import jax, optax').replace('steps=100', 'steps=5'), names)
  assert names['image'].shape == (224, 224, 3)
  assert names['trace']['score'][-1] > names['trace']['score'][0]


def test_the_first_examples_show_sweep_and_open(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  text = ''.join(BLOCKS[:2])
  few = "recipe='olah2017', steps=2, shape='14x14', transforms=''"
  for was, now in (
    ("vizjax.load('alexnet_features')", 'toynets.net()'),
    ('conv5', 'conv2'),
    ("'conv*'", "'conv2'"),
    ('range(4)', 'range(2)'),
    ('[3]', '[1]'),
    ("recipe='olah2017', steps=256", few),
    ("'PHOTOGRAPHS'", '[pixels]'),
    ("workdir='DIR'", "workdir='DIR', steps=2"),
    ('units=range(2)', 'units=range(2), steps=2'),
  ):
    assert was in text, was
    text = text.replace(was, now)
  pixels = np.zeros((12, 12, 3), np.uint8)
  names = {'toynets': toynets, 'pixels': pixels}
  exec(text, names)
  assert names['images'].image.shape[0] == 2
  assert {*names['results']} == {'conv2'}
  assert (tmp_path / 'DIR' / 'examples' / 'examples.json').exists()


@pytest.mark.slow
def test_the_example_objective_is_named_by_its_path(my_lab, tmp_path):
  config = toy_config.get_config()
  config.layer, config.units = 'conv2', '0'
  config.objective = 'my_lab.terms.symmetry(layer)'
  scores = store.read(made(config, tmp_path / 'w'), 'trace/score')
  assert np.isfinite(scores).all() and (scores < 0).all()


def test_the_example_network_is_named_by_its_path(my_lab, tmp_path):
  draw = np.random.RandomState(0)
  weights = {
    'hidden': draw.normal(0, 0.01, (32 * 32 * 3, 8)).astype(np.float32),
    'logits': draw.normal(0, 0.1, (8, 4)).astype(np.float32),
  }
  np.savez('weights.npz', **weights)
  config = toy_config.get_config()
  config.model = "my_lab.net.load('weights.npz')"
  config.layer, config.units = 'logits', '2'
  kept = made(config, tmp_path / 'w')
  image = store.read(kept, 'image')[0][1:33, 1:33]  # of 34, jitter eats 2
  centered = jnp.asarray(image) - jnp.array([[[124.0, 117.0, 104.0]]])
  hidden = np.maximum(0, np.asarray(centered).reshape(-1) @ weights['hidden'])
  expected = (hidden @ weights['logits'])[2]
  found = store.read(kept, 'activation')[0]
  np.testing.assert_allclose(found, expected, rtol=1e-4)  # float32 sums


def test_the_example_format_is_named_by_its_path(my_lab, tmp_path):
  config = toy_config.get_config()
  config.layer, config.units = 'conv2', '0,2'
  made(config, tmp_path / 'w')
  results = vizjax.open(tmp_path / 'w')
  paths = results.export('my_lab.formats.npy', crop=True)
  assert [path.suffix for path in paths] == ['.npy'] * 2
  top, left, h, w = results['conv2']['seen'][1]
  image = results['conv2'].image[1, top : top + h, left : left + w]
  np.testing.assert_array_equal(np.load(paths[1]), image)


def knobs():
  """Yields the words of each command of the table 'to have | type'."""
  (table,) = re.findall(r'\| to have \| type \|\n.*?\n\n', README, re.DOTALL)
  for title, cell in re.findall(r'^\| (.*?) \| (.*) \|$', table, re.MULTILINE):
    for command in re.findall('`(--config.*?)`', cell):
      yield title, shlex.split(command)


def typed(words):
  """The config of a command, on the toy network."""
  values = dict(word.split('=', 1) for word in words)
  config = recipes.load(values.pop('--config', 'demo'), build.config)
  config.update({n.removeprefix('--config.'): v for n, v in values.items()})
  config.update({'model': 'toynets.net()', 'layer': 'conv2', 'steps': 2})
  config.shape, config.transforms = '14x14', ''  # what compiles fast
  return config


@pytest.mark.parametrize(
  'title',
  [
    pytest.param('a direction', marks=pytest.mark.slow),
    'many directions',
    pytest.param('a weighted group', marks=pytest.mark.slow),
  ],
)
def test_directions_and_masks_are_made_as_the_table_says(
  title, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  vectors = np.random.RandomState(0).normal(0, 1, (3, 6)).astype(np.float32)
  np.save('vectors.npy', vectors)
  ((_, words),) = [row for row in knobs() if row[0].startswith(title)]
  kept = made(typed(words), tmp_path / 'w')
  assert kept.count == (3 if title == 'many directions' else 1)
  assert np.isfinite(store.read(kept, 'activation')).all()
  if title == 'many directions':
    net = models.cut(toynets.net(), ('conv2',))
    for vector, image, activation in zip(
      vectors,
      store.read(kept, 'image'),
      store.read(kept, 'activation'),
      strict=True,
    ):
      act = np.asarray(net(jnp.asarray(image))['conv2'])
      np.testing.assert_allclose(activation, np.mean(act @ vector), rtol=1e-4)


def test_the_commands_are_there():
  makefile = (ROOT / 'Makefile').read_text()
  for target in re.findall(r'^make (\S+)', README, re.MULTILINE):
    assert re.search(rf'^{target}:', makefile, re.MULTILINE)
  assert 'make test' in (ROOT / '.ci' / 'run').read_text()
  for path in re.findall(r'(?:docs|configs)/\w+\.\w+', README):
    assert (ROOT / path).exists()
