"""Tiles: an image larger than a network's input, in bounded memory."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import conftest
import toyplans

from vizjax import build
from vizjax import core
from vizjax import models
from vizjax import objectives
from vizjax import optimizers
from vizjax import parameterizations
from vizjax import transforms
from vizjax.errors import UserError
from vizjax.models.interpreter import tables

pytestmark = pytest.mark.usefixtures('quickly')

SIZE, TILE = 29, 12
TILES = {
  'fixed': transforms.tiles(TILE, 10, moving=False),
  'moving': transforms.tiles(TILE, 10),
}


def tiles(name, views, step):
  draw = core.Draw(jax.random.key(0), jnp.array(step), {})
  return TILES[name](draw, views)


@pytest.mark.parametrize('name', TILES)
def test_tiles_cover_every_pixel_and_share_its_gradient(name, x64):
  # Of the sum over all tiles the derivative by every pixel is 1, however many
  # tiles it is in, and 2 views are as good as one.
  views = jnp.asarray(np.random.RandomState(0).normal(0, 1, (2, SIZE, 23, 3)))

  @jax.jit
  def gradient(step):
    return jax.grad(lambda v: tiles(name, v, step).sum())(views)

  for step in range(30):
    np.testing.assert_allclose(gradient(step), np.ones(views.shape), rtol=1e-12)


@pytest.mark.parametrize('name', TILES)
def test_tiles_are_windows_of_the_image(name):
  image = np.arange(SIZE * 23 * 3, dtype=np.float32).reshape(SIZE, 23, 3)
  cut = jax.jit(tiles, static_argnums=0)
  found = np.asarray(cut(name, image[None], 7))
  corners = found[:, 0, 0, 0].astype(int) // 3
  rows, columns = corners // 23, corners % 23
  for tile, y, x in zip(found, rows, columns, strict=True):
    np.testing.assert_array_equal(tile, image[y : y + TILE, x : x + 10])
  if name == 'fixed':
    assert set(rows) == {0, 9, 17}
    assert set(columns) == {0, 7, 13}


def test_moving_tiles_begin_at_every_row_equally_often():
  image = np.broadcast_to(np.arange(60.0)[:, None, None], (60, 12, 3))
  tile = transforms.tiles(12, 12)
  steps = jnp.arange(480)
  cut = jax.jit(
    jax.vmap(lambda s: tile(core.Draw(jax.random.key(0), s, {}), image[None]))
  )(steps)
  begun = np.bincount(np.asarray(cut)[..., 0, 0, 0].astype(int).reshape(-1))
  inner = begun[12:48]  # without those that the border stops
  # 480 steps by 12 offsets are 40 each; drawn, they would be 27 to 53.
  assert inner.min() >= 36
  assert inner.max() <= 44


def recipe(tile_batch, views=jnp.sum):
  """Terms of layers, of the image and of the parameters, and a record."""
  net = models.cut(conftest.toy(), ('conv2',))
  score = objectives.dream('conv2')
  norm = objectives.p_norm(4, 100.0, 'image')
  small = objectives.l2('params')

  def objective(acts, target):
    return score(acts, target) - norm(acts, target) - 1e-4 * small(acts, target)

  return core.Recipe(
    net,
    parameterizations.pixels(net, shape=(SIZE, 25)),
    objective,
    optax.sgd(1.0),
    (transforms.pad(2), transforms.tiles(TILE, TILE)),
    trace=(('mean', objectives.layer('conv2')),),
    views=views,
    tile_batch=tile_batch,
  )


@pytest.mark.parametrize(
  'tile_batch, views',
  (pytest.param(1, jnp.sum, marks=pytest.mark.slow), (4, jnp.mean)),
)
def test_in_parts_it_is_the_same_score_and_gradient(tile_batch, views, x64):
  params = jnp.asarray(np.random.RandomState(1).normal(0, 50, (SIZE, 25, 3)))
  draw = core.Draw(jax.random.key(0), jnp.array(3), {})

  def evaluated(tile_batch):
    one = recipe(tile_batch, views)
    one = dataclasses.replace(
      one, model=jax.tree.map(lambda a: jnp.asarray(a, float), one.model)
    )
    return jax.jit(core.evaluate)(one, params, draw)

  for found, expected in zip(
    jax.tree.leaves(evaluated(tile_batch)),
    jax.tree.leaves(evaluated(None)),
    strict=True,
  ):
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


# The shortcut's windows lie half a stride from those beside it, and what they
# see begins a pixel after what the joined layer sees.
SHORTCUT = tables.sequence(
  tables.conv('conv1', 4, 3, pad=1),
  tables.conv('main', 4, 3, stride=2, pad=1),
  tables.conv('shortcut', 4, 1, stride=2)._replace(inputs=('conv1',)),
  tables.Layer('conv2', 'eltwise', ('main', 'shortcut')),
)


@pytest.mark.parametrize(
  'table, layer, h, w',
  (
    (conftest.TOY, 'conv2', 20, 10),
    (SHORTCUT, 'shortcut', 12, 9),
    *conftest.slow((conftest.TOY, 'conv2', 12, 12), (SHORTCUT, 'conv2', 12, 9)),
  ),
)
def test_seamless_windows_are_the_whole_image(table, layer, h, w, x64):
  # The score and its gradient by every pixel, with the image in a frame of
  # its mean: of one window, of several, at any step.
  net = models.unpadded(models.cut(conftest.toy(table), ('conv2',)))
  net = jax.tree.map(lambda a: jnp.asarray(a, float), net)
  image = jnp.asarray(np.random.RandomState(2).uniform(0, 255, (SIZE, 25, 3)))
  windows = jax.jit(transforms.seamless(net, layer, h, w))

  def by_windows(image, step):
    draw = core.Draw(jax.random.key(0), step, {})
    seen = jax.vmap(lambda view: jnp.sum(net(view)[layer] ** 2))
    return seen(windows(draw, image[None])).sum()

  def at_once(image, y, x):
    # The layer sees at most 8 pixels, every second one begins a unit.
    frame = ((8 + y, 9), (8 + x, 9), (0, 0))
    framed = jnp.pad(core.center(net, image), frame)
    act = net.apply(net.params, framed)[layer]
    beyond = net.apply(net.params, jnp.zeros((9, 9, 3)))[layer][:1, :1]
    outside = act.shape[0] * act.shape[1] * jnp.sum(beyond**2)
    return jnp.sum(act**2) - outside

  possible = [
    jax.jit(jax.grad(at_once), static_argnums=(1, 2))(image, y, x)
    for y in range(2)
    for x in range(2)
  ]
  gradient = jax.jit(jax.grad(by_windows))
  for step in range(4):
    found = gradient(image, jnp.array(step))
    scale = np.abs(found).max()
    errors = [np.abs(found - one).max() / scale for one in possible]
    assert min(errors) < 1e-12
    assert sorted(errors)[1] > 1e-3  # it is one of the four


def test_seamless_windows_are_of_whole_units():
  net = models.unpadded(models.cut(conftest.toy(), ('conv2',)))
  with pytest.raises(UserError, match='needs tiles of at least 8 x 8 pix'):
    transforms.seamless(net, 'conv2', 12, 7)
  with pytest.raises(UserError, match="'fc3' has no receptive field, or use "):
    transforms.seamless(conftest.toy(), 'fc3', 12, 12)
  with pytest.raises(UserError, match="'conv2' is padded: type unpadded"):
    transforms.seamless(conftest.toy(), 'conv2', 12, 12)
  with pytest.raises(UserError, match='reads the layer table'):
    models.unpadded(core.Model((), jnp.zeros(3), lambda p, x: {}, (8, 8, 3)))


def test_memory_is_that_of_a_part():
  # Of the compiled step, at 4 tiles at a time: twice the picture needs no
  # more for activations, only for the picture itself.
  wide = tables.sequence(
    tables.conv('conv1', 48, 3, pad=1),
    tables.relu('relu1'),
    tables.conv('conv2', 48, 3, pad=1),
  )

  def temporary(size, tile_batch):
    net = conftest.toy(wide)
    one = dataclasses.replace(
      recipe(tile_batch),
      model=net,
      parameterization=parameterizations.pixels(net, shape=size),
    )
    state = jax.eval_shape(lambda: core.init(one, {}, jax.random.key(0)))
    step = jax.jit(lambda r, s: core.step(r, s, {}, jax.random.key(0)))
    memory = step.lower(one, state).compile().memory_analysis()
    return memory.temp_size_in_bytes

  small, large = temporary((60, 60), 4), temporary((120, 60), 4)
  whole = temporary((120, 60), None)
  assert large < whole / 4
  picture = 120 * 60 * 3 * 4
  assert large - small < 8 * picture


@pytest.mark.slow
def test_moving_tiles_leave_no_seams():
  # An image without texture, and a network that sees the same everywhere but
  # where its input ends: what structure there is, comes from the tiles.
  kernel = jax.random.normal(jax.random.key(3), (5, 5, 3, 8)) / 9

  def apply(kernel, image):
    y = jax.lax.conv_general_dilated(
      image[None] / 100,
      kernel,
      (1, 1),
      'SAME',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    return {'conv': jnp.tanh(y[0])}

  size, tile = 72, 18
  net = core.Model(kernel, jnp.zeros(3), apply, (tile, tile, 3))

  def variance(moving):
    one = core.Recipe(
      net,
      parameterizations.pixels(net, shape=(size, size)),
      objectives.layer('conv'),
      optax.chain(optimizers.normalize_by_mean_abs(), optax.sgd(0.02)),
      (transforms.tiles(tile, tile, moving=moving),),
      views=jnp.sum,
    )
    target = {'start': jnp.full((size, size, 3), 50.0)}
    key = jax.random.key(0)
    state = core.init(one, target, key)
    run = jax.jit(core.optimize, static_argnames='steps')
    state, _ = run(one, state, target, key, steps=150)
    inner = np.asarray(state.params)[tile:-tile, tile:-tile]
    change = np.abs(np.asarray(state.params) - 50).mean()
    return inner.var((0, 1)).mean() / change**2

  fixed, moving = variance(False), variance(True)
  assert fixed > 0.02  # a grid that is seen
  assert moving < fixed / 1000


def config(**knobs):
  c = build.config()
  c.model, c.layer, c.box = 'toynets.net()', 'conv2', False
  c.objective, c.transforms, c.views = 'dream(layer)', 'tiles(12, 12)', 'sum'
  c.shape, c.batch = '40x40', 1
  c.update(knobs)
  return c


def planned(**knobs):
  c = config(**knobs)
  net = build.model(c)
  found = toyplans.stages(c, net, 'conv2')
  return found.programs[0].recipe.tile_batch


def test_as_many_tiles_as_fit_go_through_at_once():
  few, many = planned(memory=2e-4), planned(memory=4e-4)
  assert 0 < few < many < 3 * few
  assert planned(memory=2e-4, tile_batch=3) == 3
  assert planned(memory=math.inf) is None
  assert planned(transforms='') is None


def test_memory_for_less_than_a_tile_is_refused():
  with pytest.raises(UserError, match='one tile of 12 x 12 takes .* GB.*type'):
    planned(memory=1e-6)
