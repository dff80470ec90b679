"""Losses against photographs, and inversion, against their twins."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import conftest
from oracles import inversion as twin
from oracles import neural_style as style_twin
import test_deepdream
from test_configs import load
import toyplans

from vizjax import build
from vizjax import core
from vizjax import features
from vizjax import models
from vizjax import optimizers
from vizjax import parameterizations
from vizjax import transforms
from vizjax.build import assemble
from vizjax.build import runs
from vizjax.errors import UserError
from vizjax.photographs import files
from vizjax.photographs import images
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

STEPS = 20


def caffe(act):
  return np.moveaxis(np.asarray(act, float), -1, 0)


def draws(*shapes):
  draw = np.random.RandomState(5)
  return [draw.normal(0, 1, shape) for shape in shapes]


def value_and_grad(term, acts, target):
  acts, target = jax.tree.map(jnp.asarray, (acts, target))
  return jax.value_and_grad(lambda acts: term(acts, target))(acts)


def close(found, expected):
  np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)


def test_content_is_the_twins(x64):
  a, b, c, d = draws((4, 5, 3), (4, 5, 3), (2, 2, 6), (2, 2, 6))
  target = {'content': {'one': b, 'two': d}}
  term = features.content_loss('one, two', 0.3)
  loss, slopes = value_and_grad(term, {'one': a, 'two': c}, target)
  each = [
    style_twin.content_loss(caffe(x), caffe(y)) for x, y in ((a, b), (c, d))
  ]
  close(loss, 0.3 * each[0] + 0.7 * each[1])
  close(
    caffe(slopes['two']), 0.7 * style_twin.content_back(*map(caffe, (c, d)))
  )
  alone, _ = value_and_grad(features.content_loss('one'), {'one': a}, target)
  close(alone, each[0])


@pytest.mark.parametrize('exponent', (1.0, 0.2, 2.0))
def test_style_is_the_twins(exponent, x64):
  acts = dict(zip('ab', draws((4, 5, 3), (3, 3, 6)), strict=True))
  wanted = {  # symmetric, as Gram matrices are
    name: w + w.swapaxes(1, 2)
    for name, w in zip('ab', draws((2, 3, 3), (2, 6, 6)), strict=True)
  }
  target = {'style': wanted, 'blend': np.array([0.8, 0.2])}
  loss, slopes = value_and_grad(
    features.style_loss('a,b', exponent), acts, target
  )
  arguments = (
    [caffe(acts[name]) for name in 'ab'],
    [[wanted[name][i] for name in 'ab'] for i in range(2)],
    style_twin.layer_weights(2, exponent),
    style_twin.blend_weights([4, 1], 2),
  )
  close(loss, style_twin.style_loss(*arguments))
  backs = style_twin.style_back(*arguments)
  for name, back in zip('ab', backs, strict=True):
    close(caffe(slopes[name]), back)


@pytest.mark.parametrize('power', (0, 1, 2.5))
def test_a_caricature_is_the_twins(power, x64):
  a, b = draws((4, 5, 3), (4, 5, 3))
  for act in (a, b + 0.2 * a):  # of any angle, and of a small one
    term = features.caricature('one', power)
    found, _ = value_and_grad(term, {'one': act}, {'content': {'one': b}})
    close(found, twin.caricature(act, b, power))


def test_a_caricature_of_nothing_has_a_gradient():
  b = np.ones((2, 2, 3), np.float32)
  _, slopes = value_and_grad(
    features.caricature('one'), {'one': 0 * b}, {'content': {'one': b}}
  )
  assert np.isfinite(slopes['one']).all()


def test_weights_of_the_variation_are_the_published():
  names = (
    'conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2 conv3 relu3 conv4 relu4 '
    'conv5 relu5 pool5 fc6 relu6 fc7 relu7 fc8'
  )
  for position, name in enumerate(names.split(), 1):
    assert features.variation_weight(name) == twin.paper_weight(position)
  assert features.variation_weight('mixed', 3) == 3
  with pytest.raises(UserError, match="published for layer 'mixed': type"):
    features.variation_weight('mixed')


@pytest.fixture
def photograph(tmp_path):
  pixels = np.random.RandomState(3).uniform(0, 255, (24, 20, 3))
  images.write(str(tmp_path / 'a.png'), pixels)
  return str(tmp_path / 'a.png')


def test_activations_are_of_the_photograph_at_the_size_of_the_image(photograph):
  model = conftest.toy()
  maker = features.activations(model, 'relu1,conv2', photograph, 'whole')
  found = maker((12, 12, 3), 0)
  image = images.resize(images.read(photograph), (12, 12))
  acts = model(jnp.asarray(image))
  assert set(found) == {'relu1', 'conv2'}
  for name, act in found.items():
    np.testing.assert_allclose(act, acts[name], rtol=1e-4, atol=1e-4)
  middle = features.activations(model, 'conv2', photograph)((12, 12, 3), 0)
  image = images.resize(images.read(photograph)[2:22], (12, 12))
  expected = model(jnp.asarray(image))['conv2']
  np.testing.assert_allclose(middle['conv2'], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  'tile_batch', (pytest.param(None, marks=pytest.mark.slow), 2)
)
def test_a_photograph_goes_through_the_draws_of_the_image(tile_batch, x64):
  # Three windows of an image that was moved, each beside that of the other.
  net = models.cut(conftest.toy(), ('conv2',))
  net = jax.tree.map(lambda a: jnp.asarray(a, float), net)
  links = transforms.roll(5), transforms.random_crops(3, 9, 8)
  term = features.feature_distance('conv2')
  recipe = core.Recipe(
    net, parameterizations.pixels(net), term, optax.sgd(1.0), links,
    trace=(('error', features.feature_error('conv2')),),
    tile_batch=tile_batch,
  )  # fmt: skip
  image, photograph = draws((12, 12, 3), (12, 12, 3))
  key = jax.random.key(7)
  draw = core.Draw(
    key, jnp.array(0), {'photographs': {'content': 30 * photograph}}
  )

  def views(image):
    made = image[None]
    for i, link in enumerate(links):
      made = link(draw._replace(key=jax.random.fold_in(key, i)), made)
    return made

  def slow(params):
    seen = [net(view)['conv2'] for view in views(params + net.mean[None, None])]
    wanted = [net(view)['conv2'] for view in views(30 * photograph)]
    each = [jnp.sum((a - b) ** 2) for a, b in zip(seen, wanted, strict=True)]
    errors = [e / jnp.sum(b**2) for e, b in zip(each, wanted, strict=True)]
    return sum(each) / 3, sum(errors) / 3

  both = jax.jit(jax.value_and_grad(slow, has_aux=True))
  (value, error), slope = both(30 * image)
  found, records = jax.jit(core.evaluate)(recipe, 30 * image, draw)
  close(records['score'], value)
  close(records['error'], error)
  np.testing.assert_allclose(found, -slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
  'links',
  (
    'pad(2) | jitter(3) | scale(0.8, 1.2) | rotate(30)',
    *conftest.slow('roll(3)'),
  ),
)
def test_a_photograph_is_never_far_from_itself(links, photograph):
  config = settled(load('inversion', 'pixels'), photograph, transforms=links)
  config.model, config.tv_weight = 'toynets.net()', 0.0
  net = assemble.model(config)
  program = toyplans.program(config, net, 'conv2', boxed=False)
  table = toyplans.runs(config, net, 'conv2')
  target = program.target(table, np.array([0]))
  target = jax.tree.map(lambda a: jnp.asarray(a[0]), target)
  image = target['photographs']['content']

  def score(recipe, key, image):
    draw = core.Draw(key, jnp.array(0), target)
    return core.score(recipe, image - net.mean[None, None], draw)[0]

  keys = jax.random.split(jax.random.key(0), 8)
  scored = jax.jit(jax.vmap(score, (None, 0, None)))
  for one in (program.recipe, program.clean):
    # A start less the mean, and the mean added again: some 1e-7 of a level.
    np.testing.assert_allclose(scored(one, keys, image), 0, atol=1e-9)
  # Another image is, by other draws at other distances.
  far = scored(program.recipe, keys, image[::-1])
  assert (far < -0.01).all()
  assert len(np.unique(far)) > 4


def test_what_a_photograph_shows_is_computed_once_unless_it_moves(photograph):
  config = settled(load('inversion', 'fourier'), photograph)
  config.model = 'toynets.net()'
  net = assemble.model(config)

  def target(**knobs):
    config.update(knobs)
    program = toyplans.program(config, net, 'conv2', boxed=False)
    return program.target(toyplans.runs(config, net, 'conv2'), np.array([0]))

  assert set(target()) == {'unit', 'content'}
  assert set(target(robust='roll(2)')) == {'unit', 'photographs'}
  with pytest.raises(UserError, match="layer 'conv9' is not in the network"):
    target(data="content = activations(model, 'conv9', photograph)")


def test_styles_keep_their_proportions(photograph, tmp_path):
  second = str(tmp_path / 'b.png')
  images.write(second, np.random.RandomState(4).uniform(0, 255, (30, 50, 3)))
  net = core.Model((), jnp.zeros(3), lambda _, x: {'all': x / 100}, (8, 8, 3))
  both = f'{photograph}+{second}'
  found = features.grams(net, 'all', both, '1,0.5')((13, 11, 3), 0)['all']
  for image, scale, matrix in zip(
    (photograph, second), (1, 0.5), found, strict=True
  ):
    pixels = images.read(image)
    size = style_twin.style_size(pixels.shape, scale, 11)
    small = style_twin.resize(pixels, size)
    expected = style_twin.gram(caffe(small) / 100)
    np.testing.assert_allclose(matrix, expected, rtol=1e-5)


def test_the_weights_of_styles_are_one_in_sum(photograph):
  both = f'{photograph}+{photograph}'
  close(features.blend(both, '3,1')((), 0), [0.75, 0.25])
  close(features.blend(both)((), 0), [0.5, 0.5])
  with pytest.raises(
    UserError, match=r'are blended, of which there are 2: 1,1'
  ):
    features.blend(both, '0.8,0.1,0.1')
  with pytest.raises(UserError, match='expected numbers >= 0'):
    features.blend(both, '-1,1')
  with pytest.raises(UserError, match="style_scales is 'a', expected a number"):
    features.grams(conftest.toy(), 'conv1', photograph, 'a')


def test_what_is_missing_is_named(photograph, tmp_path):
  model, square = conftest.toy(), str(tmp_path / 'square.png')
  images.write(square, np.zeros((5, 5, 3)))
  with pytest.raises(UserError, match='type --config.photograph=FILE'):
    features.activations(model, 'conv1', '')
  with pytest.raises(UserError, match="layer 'conv9' is not in the network"):
    features.activations(model, 'conv9', photograph)((12, 12, 3), 0)
  with pytest.raises(UserError, match='fc3.*without rows and columns'):
    features.grams(model, 'fc3', square)((12, 12, 3), 0)
  with pytest.raises(UserError, match='type --config.data="content = activa'):
    features.feature_error('conv1')({}, {})
  with pytest.raises(UserError, match="reads layer 'conv1', expected one of:"):
    features.feature_error('conv1')(
      {'conv2': jnp.ones(1)}, {'content': {'conv1': jnp.ones(1)}}
    )


@pytest.mark.parametrize('text', ('', '1', '1x0', '1x2,3', 'axb', '1x1.5'))
def test_a_plan_of_rates_that_does_not_parse_is_refused(text):
  with pytest.raises(UserError, match='plan of rates is .*as .1x800,0.1x500'):
    optimizers.staged_momentum(1.0, text)


# The loops, on the network of test_programs.


def settled(config, photograph, **knobs):
  config.model, config.layer = 'test_programs.net()', 'conv2'
  config.photograph, config.steps, config.batch = photograph, STEPS, 2
  config.update(knobs)
  return config


def made(config, tmp_path):
  workdir = str(tmp_path / 'w')
  sweep.execute(sweep.plan(build.request(config)), workdir)
  kept = store.open_(store.directory(workdir, config.layer))
  return {name: store.read(kept, name)[0] for name in kept.arrays}


def sides(config):
  """Of the twin: x at the start, mean, forward, backward, wanted."""
  net = assemble.model(config)
  mean = caffe(np.asarray(net.mean)[None, None])[::-1]
  of_image, of_cotangent = test_deepdream.pair()

  def forward(x):
    return caffe(of_image(np.moveaxis(x[::-1], 0, -1)))

  def backward(x, top):
    forward(x)
    return caffe(of_cotangent(np.moveaxis(top, 0, -1)))[::-1]

  h, w, _ = net.input_shape
  photograph = files.fitted(images.read(config.photograph), (h, w), config.fit)
  wanted = forward(caffe(photograph)[::-1] - mean)
  program = toyplans.program(config, net, 'conv2', boxed=False)
  table = toyplans.runs(config, net, 'conv2')
  target = jax.tree.map(lambda a: a[0], program.target(table, np.array([0])))
  key = jax.random.split(_key(table))[0]
  start = core.init(program.recipe, target, key).params
  return caffe(start)[::-1], mean, forward, backward, wanted


def _key(table):
  (key,) = runs.keys(table, np.array([0]))
  return key


@pytest.mark.parametrize(
  'mask, beta, tv_weight',
  (
    pytest.param('', 2.0, 10.0, marks=pytest.mark.slow),
    pytest.param('central(3)', 1.0, 1.0, marks=pytest.mark.slow),
  ),
)
def test_mahendran_is_the_twins(
  mask, beta, tv_weight, photograph, tmp_path, x64
):
  config = settled(
    load('mahendran2015', 'library'),
    photograph,
    mask=mask,
    beta=beta,
    tv_weight=tv_weight,
    replicates=1,
    sigma=500.0,
    rate=1e-3,
    plan='1x8,0.1x6,0.01x2',
  )
  x, mean, forward, backward, wanted = sides(config)
  noise = np.random.RandomState(0).normal(size=(20, 20, 3))
  close(x, twin.start(caffe(noise)[::-1], 500.0))
  chosen = None
  if mask:
    chosen = np.zeros(wanted.shape)
    middle = (wanted.shape[1] - 3) // 2
    chosen[:, middle : middle + 3, middle : middle + 3] = 1
  x, records = twin.mahendran(
    x,
    forward,
    backward,
    wanted,
    chosen,
    rates=[1e-3] * 8 + [1e-4] * 6 + [1e-5] * 6,
    beta=beta,
    tv_weight=tv_weight,
    sigma=500.0,
  )
  found = made(config, tmp_path)
  errors, energies = zip(*records, strict=True)
  np.testing.assert_allclose(found['trace/error'], errors, rtol=1e-6)
  np.testing.assert_allclose(
    -found['trace/score'] / 500.0**2, energies, rtol=1e-6
  )
  image = np.moveaxis((x + mean)[::-1], 0, -1)
  np.testing.assert_allclose(found['image'], image, rtol=1e-5)  # float32


@pytest.mark.parametrize(
  'form', (pytest.param('blog', marks=pytest.mark.slow), 'cs231n')
)
def test_plain_descent_is_the_twins(form, photograph, tmp_path, x64):
  config = settled(load('inversion', form), photograph, rate=2e-3)
  x, mean, forward, backward, wanted = sides(config)
  steps = STEPS - 1  # the last image is evaluated, and kept
  knobs = {'rate': 2e-3, 'decay': config.penalty, 'steps': steps}
  if form == 'blog':
    x, losses = twin.blog(x, forward, backward, wanted, **knobs)
  else:
    knobs['blur_every'] = config.period
    x, losses = twin.cs231n(x, forward, backward, wanted, mean, **knobs)
  found = made(config, tmp_path)
  np.testing.assert_allclose(-found['trace/score'][:-1], losses, rtol=1e-6)
  image = np.moveaxis((x + mean)[::-1], 0, -1)
  np.testing.assert_allclose(found['image'], image, rtol=1e-5, atol=1e-4)
