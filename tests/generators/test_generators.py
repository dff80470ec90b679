"""The generator: its shapes, its weights, its file."""

import conftest
import json

import jax
import jax.numpy as jnp
import numpy as np
from oracles import upconvolution
import pytest

from vizjax.errors import UserError
from vizjax.generators import networks
from vizjax.models.formats import arrays
from vizjax.models.interpreter import layers

pytestmark = pytest.mark.usefixtures('quickly')

# Code, input of the encoder, the maps on the way.
SHAPES = {
  'conv5 of AlexNet': (
    (13, 13, 256),
    (224, 224),
    '14x14x64 28x28x32 56x56x16 112x112x8 224x224x3',
  ),
  'pool5 of CaffeNet': (
    (6, 6, 256),
    (227, 227),
    '8x8x64 16x16x64 32x32x32 64x64x16 128x128x8 256x256x3',
  ),
  'rectangular': ((7, 9, 5), (52, 72), '7x9x32 14x18x16 28x36x8 56x72x3'),
  'one side shrinks': ((6, 4, 5), (40, 40), '5x5x32 10x10x16 20x20x8 40x40x3'),
  'as large as the image': ((12, 12, 4), (12, 12), '12x12x8 12x12x3'),
  'half as large': ((6, 6, 4), (12, 12), '6x6x8 12x12x3'),
  'vector': (
    (1, 1, 10),
    (52, 72),
    '1280 1280 4x5x64 8x10x32 16x20x16 32x40x8 64x80x3',
  ),
}
WIDTHS = (64, 32, 16, 8)
# Code and input, small enough to be computed.
SMALL = {
  'rectangular': ((7, 9, 5), (14, 17)),
  'as large as the image': ((6, 5, 4), (6, 5)),
  'vector': ((1, 1, 10), (7, 9)),
}

# float32 sums of up to a thousand products, six layers deep, in another order.
EXACT = 1e-4

picture = jax.jit(networks.picture, static_argnums=0)


def made(name, deviation=2.0):
  """A small generator: its table, weights, and a code."""
  code, size = SMALL[name]
  table = networks.table(code, size, (12, 8), deviation)
  params = networks.init(jax.random.key(1), table, code)
  params = jax.tree.map(lambda p: p + 0.01, params)  # biases, too
  draw = np.random.RandomState(0)
  return table, params, jnp.float32(draw.normal(0, 2, code))


@pytest.mark.parametrize('name', SHAPES)
def test_a_code_grows_to_the_size_of_the_image(name):
  code, size, expected = SHAPES[name]
  table = networks.table(code, size, WIDTHS)
  acts, _ = layers.shapes(table, code)
  kinds = ('conv', 'deconv', 'fc', 'reshape')
  maps = [acts[row.name].shape for row in table if row.kind in kinds]
  assert ' '.join('x'.join(map(str, shape)) for shape in maps) == expected
  assert table[-1].name == 'picture' and acts['picture'].shape == maps[-1]


BAD = {
  'no halving': ((40, 40, 3), (224, 224), (8,), '40, 40, 3.*28 x 28.*another'),
  'no widths': ((6, 6, 3), (12, 12), (), r'widths are \(\), expected'),
  'a width of zero': ((6, 6, 3), (12, 12), (8, 0), r'\(8, 0\), expected whole'),
  'half a width': ((6, 6, 3), (12, 12), (1.5,), r'\(1.5,\), expected whole'),
}


@pytest.mark.parametrize('name', BAD)
def test_what_cannot_be_a_generator_is_refused(name):
  *arguments, words = BAD[name]
  with pytest.raises(UserError, match=words):
    networks.table(*arguments)


@pytest.mark.parametrize(
  'name', ['rectangular', *conftest.slow('as large as the image', 'vector')]
)
def test_the_picture_is_the_networks_last_layer(name):
  table, params, code = made(name)
  apply = layers.Apply(layers.Network(table))
  expected = jax.jit(apply)(params, code)['picture']
  found = picture(table, params, code)
  assert found.shape[2] == 3 and np.std(found) > 1
  error = EXACT * np.abs(expected).max()
  np.testing.assert_allclose(found, expected, atol=error)


def test_the_picture_is_that_of_its_definition():
  code = np.random.RandomState(0).normal(0, 1, (3, 3, 2))
  table = networks.table((3, 3, 2), (14, 14), (4, 3), deviation=4)
  params = networks.init(jax.random.key(0), table, (3, 3, 2))
  params = jax.tree.map(lambda p: p + 0.1, params)
  found = picture(table, params, jnp.float32(code))
  expected = upconvolution.picture(
    jax.device_get(params), code, scale=1 / 4, levels=60, pad=2
  )
  assert found.shape == (16, 16, 3)
  error = EXACT * np.abs(expected).max()
  np.testing.assert_allclose(found, expected, atol=error)


def test_the_encoder_sees_the_middle():
  whole = np.arange(9 * 8 * 3.0).reshape(9, 8, 3)
  found = networks.centre(jnp.float32(whole), (6, 8))
  np.testing.assert_array_equal(found, whole[1:7])


def test_first_weights_keep_the_variance():
  code, size = (13, 13, 64), (52, 52)
  table = networks.table(code, size, (64, 32))
  params = networks.init(jax.random.key(0), table, code)
  again = networks.init(jax.random.key(0), table, code)
  # Of a leaky rectifier's input half is kept and half is 0.3 of it; of
  # 4 x 4 taps a quarter meets each pixel of a doubled map; the last is linear.
  for name, fan_in, gain in (
    ('conv', 9 * 64, 2 / 1.09),
    ('deconv1', 4 * 64, 2 / 1.09),
    ('deconv0', 4 * 32, 1),
  ):
    kernel = params[name]['kernel']
    # The standard error of 1,536 numbers is 2 per cent.
    np.testing.assert_allclose(kernel.std() ** 2 * fan_in, gain, rtol=0.15)
    np.testing.assert_array_equal(kernel, again[name]['kernel'])
    assert not params[name]['bias'].any()
  draw = jnp.float32(np.random.RandomState(0).normal(0, 1, code))
  # Away from the border, a factor of 2 after three layers.
  inner = picture(table, params, draw)[8:-8, 8:-8]
  assert 0.5 < (inner**2).mean() / networks.LEVELS**2 < 2


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  """A generator's directory, its table, weights and code."""
  folder = tmp_path_factory.mktemp('generator')
  table, params, code = made('rectangular')
  mean = np.float32([1, 2, 3])
  about = {'model': "load('x')", 'step': 3}
  networks.write(
    folder / 'generator.npz', table, params, code.shape, mean, about
  )
  return folder, table, params, code


def test_what_is_written_is_read_again(written):
  folder, table, params, code = written
  model = networks.trained(str(folder))
  assert model.input_shape == code.shape and not model.mean.any()
  assert model.apply.network.table == table
  assert model.layers[-1].name == 'picture'
  for one, other in zip(
    jax.tree.leaves(model.params), jax.tree.leaves(params), strict=True
  ):
    np.testing.assert_array_equal(one, other)
  found = model(code)['picture']
  expected = picture(table, params, code)
  error = EXACT * np.abs(expected).max()
  np.testing.assert_allclose(found, expected, atol=error)
  _, about = networks.read(str(folder / 'generator.npz'))
  np.testing.assert_array_equal(about.pop('mean'), [1, 2, 3])
  assert about == {'model': "load('x')", 'step': 3, 'code': code.shape}


def test_a_vector_has_a_file_too(tmp_path):
  table, params, code = made('vector')
  networks.write(tmp_path / 'generator.npz', table, params, code.shape, 0.0, {})
  found = networks.trained(str(tmp_path))(code)['picture']
  assert found.shape == (8, 10, 3)


def test_a_file_is_there_whole_or_not_at_all(written, tmp_path):
  _, table, params, code = written
  path = tmp_path / 'generator.npz'
  path.write_text('from before')
  with pytest.raises(UserError, match='colon'):
    networks.write(path, table, {'a': {'b:c': 1}}, code.shape, 0.0, {})
  assert path.read_text() == 'from before'
  assert [p.name for p in tmp_path.iterdir()] == ['generator.npz']


def changed(told, **fields):
  return {**told, **fields}


def row(told, number, **fields):
  rows = [dict(r) for r in told['table']]
  rows[number] |= fields
  return {**told, 'table': rows}


# What becomes of the description, and what the one line must say.
DAMAGED = {
  'another version': (lambda t: changed(t, format=2), 'another version'),
  'no table': (lambda t: {'format': 1, 'code': t['code']}, "'table'"),
  'no code': (lambda t: changed(t, code=7), 'code|int'),
  'another kind': (lambda t: row(t, 1, kind='convolve'), "kind 'convolve'"),
  'a private kind': (lambda t: row(t, 1, kind='_pool'), "kind '_pool'"),
  'unknown field': (lambda t: row(t, 1, size=3), "'size'"),
  'another width': (lambda t: row(t, 1, features=13), "of layer 'conv'"),
  'another name': (lambda t: row(t, 1, name='c'), "KeyError 'conv'"),
  'no picture': (
    lambda t: changed(t, table=t['table'][:-3]),
    r'last layer is \(.*\), expected a picture',
  ),
  'an unknown input': (lambda t: row(t, 2, inputs=['x']), "'x'"),
}


@pytest.mark.parametrize('name', DAMAGED)
def test_a_damaged_description_is_told_in_one_line(name, written, tmp_path):
  folder, *_ = written
  content = arrays.read(folder / 'generator.npz')
  change, words = DAMAGED[name]
  told = change(json.loads(content['generator']['description'].tobytes()))
  text = np.frombuffer(json.dumps(told).encode(), np.uint8)
  content['generator']['description'] = text
  arrays.write(tmp_path / 'generator.npz', content)
  with pytest.raises(UserError, match=words) as caught:
    networks.trained(str(tmp_path))
  assert '\n' not in str(caught.value)
  assert 'generator.npz' in str(caught.value)


def test_what_is_no_generator_is_told_in_one_line(written, tmp_path):
  folder, *_ = written
  path = tmp_path / 'generator.npz'
  with pytest.raises(UserError, match='is not there.*vizjax train_gen'):
    networks.trained(str(tmp_path))
  arrays.write(path, {'conv': {'kernel': np.zeros(3)}})
  with pytest.raises(UserError, match='holds no generator.*vizjax train'):
    networks.trained(str(path))
  whole = (folder / 'generator.npz').read_bytes()
  for content in (b'', b'PK', whole[: len(whole) // 2], whole[:-30]):
    path.write_bytes(content)
    with pytest.raises(UserError, match='generator.npz') as caught:
      networks.trained(str(tmp_path))
    assert '\n' not in str(caught.value)
