"""DeepDream against its twin, and what its batches promise."""

import math

import jax
import numpy as np
import pytest

from oracles import deepdream as twin
from oracles import network
from test_cnn_vis import made
from test_configs import load
import toyplans

from vizjax import build
from vizjax.build import assemble
from vizjax.build import runs
from vizjax.errors import UserError
from vizjax.photographs import images
from vizjax.programs import deepdream
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

MEAN = np.array([123.0, 117.0, 104.0])  # of test_programs.net, RGB
NUMBER, ITERATIONS = 2, 4

# Grey levels, after eight steps in float64; found 1e-11.
TOLERANCE = 1e-8

# A film is held as it is stored, in float32: half a unit of the last digit.
STORED = 2**-24


@pytest.fixture
def photographs(tmp_path):
  draw = np.random.RandomState(4)
  paths = []
  for i in range(4):
    pixels = draw.uniform(0, 255, (5, 6, 3))
    path = tmp_path / f'{"abcd"[i]}.png'
    images.write(path, images.resize(pixels, (40, 47)))
    paths.append(str(path))
  return paths


def config(form='own', **knobs):
  c = load('deepdream', form)
  c.model, c.layer, c.mean = 'test_programs.net()', 'conv2', None
  c.octave_n, c.steps, c.jitter, c.every = NUMBER, ITERATIONS, 0, None
  c.update(knobs)
  return c


def pair(layer='conv2'):
  """The network of the twin at any size: forward, and backward at its image."""
  seen = {}

  def net(x):
    numbers = network.AlexNet()
    rows, columns = (
      math.ceil(((n - 5) // 2 + 1 - 3) / 2) + 1 for n in x.shape[1:]
    )
    fc3 = np.zeros((7, 6 * rows * columns)), np.zeros(7)
    numbers.weights['fc3'] = fc3
    return numbers

  def forward(image):
    x = seen['x'] = np.moveaxis(image, -1, 0)[::-1]
    return np.moveaxis(net(x).forward(x)[layer], 0, -1)

  def backward(cotangent):
    x, top = seen['x'], np.moveaxis(cotangent, -1, 0)
    return np.moveaxis(net(x).backward(x, layer, top)[::-1], 0, -1)

  return forward, backward


def shifts(c):
  """Right and down, of every step: what the keys of the run give."""
  net, d = assemble.model(c), c.jitter
  table = toyplans.runs(c, net, 'conv2')
  (run,) = runs.keys(table, np.array([0]))
  found = []
  for octave in range(NUMBER):
    key = jax.random.fold_in(run, octave) if octave else run
    steps = []
    for step in range(ITERATIONS):
      drawn = jax.random.fold_in(jax.random.split(key)[1], step)
      for _ in ('the first transform', 'the first view'):
        drawn = jax.random.fold_in(drawn, 0)
      y, x = jax.random.randint(drawn, (2,), -d, d + 1)
      steps.append((int(x), int(y)))
    found.append(steps)
  return found


def pixels(path):
  return images.read(path).astype(float)


@pytest.mark.slow
def test_a_dream_is_the_twins(photographs, tmp_path, x64):
  c = config(photograph=photographs[0], jitter=7)
  found = made(c, tmp_path)
  start = pixels(photographs[0]) - MEAN
  expected, _ = twin.dream(start, shifts(c), *pair(), MEAN)
  np.testing.assert_allclose(
    found['image'], expected + MEAN, rtol=0, atol=TOLERANCE
  )


@pytest.mark.slow
def test_a_guided_dream_is_the_twins(photographs, tmp_path, x64):
  c = config(
    'guided', photograph=photographs[0], guide=photographs[1], step_size=2.0
  )
  found = made(c, tmp_path)
  forward, backward = pair()
  guide = forward(pixels(photographs[1]) - MEAN)
  start = pixels(photographs[0]) - MEAN
  expected, _ = twin.dream(
    start, shifts(c), forward, backward, MEAN, step_size=2.0, guide_act=guide
  )
  np.testing.assert_allclose(
    found['image'], expected + MEAN, rtol=0, atol=TOLERANCE
  )


@pytest.mark.slow
def test_a_film_is_the_twins(photographs, tmp_path, x64):
  knobs = {'octave_n': 2, 'steps': 2, 'frames': 3, 'image_dtype': 'float32'}
  c = config('zoom', photograph=photographs[0], **knobs)
  c.layer = 'conv2'
  found = made(c, tmp_path)
  frame = pixels(photographs[0])
  for film in found['frames']:
    dreamed, _ = twin.dream(frame - MEAN, [[(0, 0)] * 2] * 2, *pair(), MEAN)
    np.testing.assert_allclose(
      film, dreamed + MEAN, rtol=STORED, atol=TOLERANCE
    )
    frame = twin.zoomed(dreamed + MEAN, 0.05)
  assert len(found['frames']) == 3


def execute(workdir, **knobs):
  c = config(model='toynets.net()', jitter=7, **knobs)
  sweep.execute(sweep.plan(build.request(c)), str(workdir))
  kept = store.open_(workdir / 'conv2')
  return {name: store.read(kept, name) for name in kept.arrays}


def test_photographs_of_other_sizes_are_brought_to_that_of_the_first(tmp_path):
  draw = np.random.RandomState(0)
  for name, size in (('a', (24, 30)), ('b', (12, 15)), ('c', (50, 40))):
    images.write(tmp_path / f'{name}.png', draw.uniform(0, 255, (*size, 3)))
  scales = deepdream.octaves(2, 1.5, str(tmp_path / '?.png'))
  assert scales.sizes == ((16, 20), (24, 30))
  for photograph in scales.photographs:
    assert photograph.image.shape == (24, 30, 3)
    entry = scales.enter(0, photograph.image, None)
    assert entry.start.shape == (16, 20, 3)


@pytest.mark.parametrize(
  'arguments, match',
  (
    ((0, 1.4), 'number is 0'),
    ((4, 1.0), 'scale is 1.0, expected more than 1'),
    ((4, 1.4, None, 0), 'frames is 0'),
    ((4, 1.4, None, 1, 1.0), 'zoom is 1.0'),
  ),
)
def test_octaves_that_cannot_be_are_refused(arguments, match, photographs):
  first, second, *others = arguments
  with pytest.raises(UserError, match=match):
    deepdream.octaves(first, second, photographs[0], *others)


@pytest.mark.slow
def test_four_photographs_in_a_batch_are_each_alone(photographs, tmp_path):
  together = execute(tmp_path / 'w', photograph=str(tmp_path / '?.png'))
  assert len(together['image']) == 4
  for i, path in enumerate(photographs):
    alone = execute(tmp_path / str(i), photograph=path)
    for name in ('image', 'score', 'activation', 'trace/score'):
      np.testing.assert_array_equal(alone[name][0], together[name][i])
  first, *others = together['image']
  assert min(np.abs(other - first).max() for other in others) > 20
