"""Style transfer against its twin, and what its batches promise."""

import jax
import numpy as np
import pytest

from oracles import neural_style as twin
import test_deepdream
from test_configs import load
from vizjax import build
from vizjax import optimizers
from vizjax.errors import UserError
from vizjax.photographs import images
from vizjax.programs import neural_style
from vizjax.sweeps import sweep
from vizjax.workdir import store

CONTENT, STYLE = 'conv2,relu1', 'relu1,conv2'
ITERATIONS = 20

pytestmark = pytest.mark.usefixtures('x64')  # of the network


@pytest.fixture
def paths(tmp_path):
  return photographs(tmp_path)


def photographs(folder):
  """Writes three photographs, and returns their paths by their names."""
  draw = np.random.RandomState(4)
  sizes = {'a': (31, 43), 'b': (36, 30), 'c': (50, 40)}
  for name, (h, w) in sizes.items():
    pixels = images.resize(draw.uniform(0, 255, (5, 6, 3)), (h, w))
    images.write(str(folder / f'{name}.png'), pixels)
  return {name: str(folder / f'{name}.png') for name in sizes}


def config(paths, **knobs):
  c = load('gatys2016', 'vgg19')
  c.model, c.layer = 'test_programs.net()', 'conv2'
  c.content_layers, c.style_layers = CONTENT, STYLE
  c.content, c.style = paths['a'], f'{paths["b"]}+{paths["c"]}'
  c.width, c.iterations, c.every = 24, ITERATIONS, None
  c.content_weight_blend, c.style_layer_weight_exp = 0.7, 2.0
  c.style_blend_weights, c.style_scales = '3,1', '1,0.8'
  c.style_weight = 1e-4
  with c.unlocked():
    c.update(knobs)
  return c


def made(c, tmp_path, name='w'):
  workdir = str(tmp_path / name)
  sweep.execute(sweep.plan(build.request(c)), workdir)
  kept = store.open_(store.directory(workdir, c.layer))
  return {name: store.read(kept, name) for name in kept.arrays}


def caffe(image):
  return np.moveaxis(np.asarray(image, float), -1, 0)[::-1]


def sides(net):
  of_image, _ = test_deepdream.pair('conv2')
  backs = {layer: test_deepdream.pair(layer) for layer in ('relu1', 'conv2')}

  def forward(x):
    image = np.moveaxis(x[::-1], 0, -1)
    return {
      layer: np.moveaxis(of(image), -1, 0) for layer, (of, _) in backs.items()
    }

  def backward(x, tops):
    total = 0
    for layer, top in tops.items():
      of, back = backs[layer]
      of(np.moveaxis(x[::-1], 0, -1))
      total = total + caffe(back(np.moveaxis(top, 0, -1)))
    return total

  return forward, backward


@pytest.mark.parametrize(
  'checkpoint', (pytest.param(None, marks=pytest.mark.slow), 3)
)
@pytest.mark.slow
def test_the_program_is_the_twins(checkpoint, paths, tmp_path, x64):
  c = config(paths, checkpoint_iterations=checkpoint)
  net = build.model(c)
  mean = np.asarray(net.mean)
  content = images.read(c.content)
  size = twin.content_size(content.shape, c.width)
  content = caffe(twin.resize(content, size) - mean)
  styles = []
  for name, scale in (('b', 1), ('c', 0.8)):
    style = images.read(paths[name])
    smaller = twin.resize(style, twin.style_size(style.shape, scale, c.width))
    styles.append(caffe(smaller - mean))
  noise = np.random.RandomState(0).normal(size=(*size, 3))
  best, lowest, losses = twin.run(
    twin.initial(None, None, None, caffe(noise)),
    *sides(net),
    content,
    styles,
    iterations=ITERATIONS,
    checkpoint_iterations=checkpoint,
    content_layers=CONTENT.split(','),
    style_layers=STYLE.split(','),
    content_weight=c.content_weight,
    content_weight_blend=0.7,
    style_weight=c.style_weight,
    style_layer_weight_exp=2.0,
    style_blend_weights=[3, 1],
  )
  found = made(c, tmp_path)
  for i, name in enumerate(('content', 'style', 'tv')):
    part = [row[i] for row in losses]
    np.testing.assert_allclose(found[f'trace/{name}'][0], part, rtol=1e-9)
  total = [row[3] for row in losses]
  np.testing.assert_allclose(-found['trace/score'][0], total, rtol=1e-9)
  np.testing.assert_allclose(-found['score'][0], lowest, rtol=1e-6)
  image = np.moveaxis((best + caffe(mean[None, None]))[::-1], 0, -1)
  np.testing.assert_allclose(found['image'][0], image, rtol=1e-5, atol=1e-4)
  if checkpoint:
    evaluated = [*range(1, ITERATIONS + 1, 3), ITERATIONS]
    assert found['step'][0] == min(evaluated, key=lambda i: total[i])
  else:
    assert found['step'][0] == ITERATIONS


def test_adam_is_that_of_tensorflow(x64):
  # With an epsilon that is seen, over some steps.
  x, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
  optimizer = optimizers.adam_reordered(0.1, 0.9, 0.99, eps=0.5)
  params = jax.numpy.asarray(x)
  state = optimizer.init(params)
  for t in range(1, 6):
    x, m, v = twin.adam(x, 2 * x, m, v, t, 0.1, 0.9, 0.99, 0.5)
    updates, state = optimizer.update(2 * params, state)
    params = params + updates
  np.testing.assert_allclose(params, x, rtol=1e-12)


@pytest.mark.parametrize('noiseblend', (None, 0.0, 0.25, 1.0))
@pytest.mark.parametrize('given', (False, True))
def test_the_start_is_the_programs(noiseblend, given, paths):
  net = build.model(config(paths))
  mean = np.asarray(net.mean)
  shape = (20, 28, 3)  # of the proportions of a

  def read(name):
    return twin.resize(images.read(paths[name]), shape[:2]) - mean

  initial = paths['a'] if given else None
  maker = neural_style.initial_image(net, paths['a'], initial, noiseblend)
  noise = np.random.RandomState(7).normal(size=shape)
  expected = twin.initial(
    read('a'), read('a') if given else None, noiseblend, noise
  )
  np.testing.assert_allclose(maker(shape, 7) - mean, expected, atol=1e-3)


@pytest.mark.slow
def test_all_pairs_in_one_run_are_the_single_runs(paths, tmp_path):
  # Of other sizes, with one style or another: bit for bit.
  contents, styles = [paths['a'], paths['b'], paths['c']], 'bc'
  c = config(
    paths,
    content=','.join(contents),
    style=','.join(paths[name] for name in styles),
    style_blend_weights=None,
    style_scales=None,
    width=20,
    iterations=2,
    batch=4,
  )
  together = made(c, tmp_path)
  assert together['image'].shape == (6, 14, 20, 3)
  (plan,) = sweep.plan(build.request(c)).layers
  assert plan.labels == (
    'a + b', 'a + c', 'b + b', 'b + c', 'c + b', 'c + c',
  )  # fmt: skip
  names = ('image', 'score', 'step', 'activation', 'trace/score')
  c.content, c.style = contents[0], paths['c']  # `a` gives the size
  alone = made(c, tmp_path, 'single')
  for name in names:
    np.testing.assert_array_equal(alone[name][0], together[name][1])


def test_a_large_image_grows_from_a_small_one(paths):
  scales = neural_style.style_sizes(paths['a'], 80, 3)
  assert scales.sizes == ((14, 20), (28, 40), (57, 80))
  assert scales.enter(0, None, None).start is None
  image = np.full((14, 20, 3), 7.0, np.float32)
  np.testing.assert_allclose(scales.enter(1, None, image).start, 7)
  assert neural_style.style_sizes(paths['a']).sizes == ((31, 43),)


def test_means_in_the_place_of_maxima(paths):
  c = config(paths, model='pooled(load("vgg16_features"), pooling)')
  c.pooling = 'avg'
  net = build.model(c)
  kinds = {info.kind for info in net.layers}
  assert 'max_pool' not in kinds
  assert 'average_pool' in kinds
  image = jax.numpy.full((32, 32, 3), 200.0)
  acts = jax.jit(lambda net, image: net(image))(net, image)
  mean = acts['relu1_2'].reshape(16, 2, 16, 2, 64).mean((1, 3))
  np.testing.assert_allclose(acts['pool1'], mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  'knobs, match',
  (
    ({'pooling': 'min', 'model': 'pooled(test_programs.net(), pooling)'},
     "pooling is 'min', expected 'max' or 'avg'"),
    ({'content': ''}, 'type --config.content=FILE'),
    ({'style': ''}, "config.style is '': expected photographs"),
    ({'style': 'none.png'}, 'none.png'),
    ({'style_blend_weights': '1,2,3'}, 'which there are 2: 1,1'),
    ({'initial_noiseblend': 1.5}, 'initial_noiseblend is 1.5'),
    ({'width': 0}, 'width is 0'),
    ({'num_sizes': 9}, 'num_sizes is 9, too many'),
    ({'checkpoint_iterations': 0}, 'checkpoint_iterations is 0'),
    ({'iterations': 0}, 'iterations is 0'),
    ({'each': 'content,styl'}, 'config.styl is None.*Did you mean .style.'),
    ({'style_layers': 'fc3'}, 'fully connected'),
    ({'content_layers': 'conv2,relu1,relu2'}, 'one layer or two'),
  ),
)  # fmt: skip
def test_what_cannot_be_is_refused(knobs, match, paths):
  c = config(paths, **knobs)
  with pytest.raises((ValueError, OSError), match=match):
    sweep.plan(build.request(c))


@pytest.mark.slow
def test_the_photographs_are_part_of_the_results(paths, tmp_path):
  # Another picture in the same file is another run.
  c = config(paths, iterations=1)
  made(c, tmp_path)
  images.write(paths['c'], np.zeros((50, 40, 3)))
  with pytest.raises(UserError, match="other data .digest 'data'"):
    made(c, tmp_path)
  assert build.request(c).scales.sizes == ((17, 24),)


@pytest.mark.slow
def test_runs_that_blend_other_numbers_of_styles_go_one_by_one(paths, tmp_path):
  c = config(
    paths,
    style=f'{paths["b"]},{paths["b"]}+{paths["c"]}',
    style_blend_weights=None,
    style_scales=None,
    iterations=1,
    batch=2,
  )
  with pytest.raises(UserError, match='type --config.batch=1'):
    made(c, tmp_path)
  c.batch = 1
  assert np.isfinite(made(c, tmp_path, 'single')['score']).all()
