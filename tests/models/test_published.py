"""Published networks: tables, conventions, and weights of every framework."""

import conftest
import jax
import jax.numpy as jnp
import numpy as np
from oracles import caffemodel
from oracles import prototxt
import pytest
import test_caffe

from vizjax import models
from vizjax.errors import UserError
from vizjax.models import caffe
from vizjax.models import named
from vizjax.models.download import catalogue
from vizjax.models.formats import arrays
from vizjax.models.formats import layouts
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables
from vizjax.models.networks import googlenet
from vizjax.models.networks import published
from vizjax.photographs import preprocessing

pytestmark = pytest.mark.usefixtures('quickly')

NAMES = [name for name in models.NAMES if name not in named._PACKAGED]
CAFFE = [name for name in NAMES if not name.startswith('torchvision')]
# Their table is that of torchvision_googlenet, which is counted quickly.
GOOGLENETS = ('bvlc_googlenet', 'places205_googlenet')

# Weights of each, as its authors or torchvision count them.
PARAMETERS = {
  'bvlc_alexnet': 60_965_224,
  'bvlc_caffenet': 60_965_224,
  'caffenet_yos': 60_965_224,
  'places205_alexnet': 57_708_109,
  'torchvision_alexnet': 61_100_840,
  'bvlc_googlenet': 6_998_552,
  'places205_googlenet': 6_183_677,
  'torchvision_googlenet': 6_624_904,
  'vgg16': 138_357_544,
  'vgg19': 143_667_240,
  'torchvision_vgg16': 138_357_544,
  'torchvision_vgg19': 143_667_240,
  'deepsim_fc6': 56_097_891,
  'deepsim_fc7': 56_097_891,
  'deepsim_pool5': 12_702_307,
}

# The prototxt that each was published with, among the fixtures.
PROTOTXTS = {
  'bvlc_alexnet': 'bvlc/bvlc_alexnet',
  'bvlc_caffenet': 'bvlc/bvlc_reference_caffenet',
  'caffenet_yos': 'toolbox/caffenet-yos-deploy',
  'bvlc_googlenet': 'bvlc/bvlc_googlenet',
  'vgg19': 'cnnpref/VGG_ILSVRC_19_layers/VGG_ILSVRC_19_layers',
  'places205_alexnet': 'synthesizing/placesCNN/places205CNN_deploy_updated',
  'deepsim_fc6': 'synthesizing/upconv/fc6/generator',
  'deepsim_fc7': 'synthesizing/upconv/fc7/generator',
  'deepsim_pool5': 'synthesizing/upconv/pool5/generator',
}

# What an importer writes down though it changes nothing.
NEUTRAL = {
  'bias': True,
  'slope': 0,
  'whole': False,
  'within': False,
  'transpose': False,
  'axis': 1,
  'k': 1,
}


def meant(row):
  """A row with only the options that say something, as Caffe's floats."""
  options = {
    name: np.float32(value) if isinstance(value, float) else value
    for name, value in row.options
    if NEUTRAL.get(name, '') != value
  }
  return row._replace(options=tuple(sorted(options.items())))


def test_a_network_that_comes_with_its_weights_has_no_definition():
  with pytest.raises(UserError, match="'alexnet_features' has .* bvlc_"):
    models.described('alexnet_features')


def test_every_network_has_a_row_in_the_zoo():
  assert {catalogue.get(name).name for name in NAMES} == set(NAMES)
  assert set(PARAMETERS) == set(NAMES)


@pytest.mark.parametrize(
  'name',
  conftest.slow(*(n for n in NAMES if n in GOOGLENETS))
  + [n for n in NAMES if n not in GOOGLENETS],
)
def test_weights_are_as_many_as_published(name):
  network = models.described(name)
  acts, weights = layers.shapes(network.table, network.input_shape)
  count = sum(
    np.prod(array.shape)
    for group in weights.values()
    for weight, array in group.items()
    if weight not in ('mean', 'variance')  # statistics, which are not trained
  )
  assert count == PARAMETERS[name]
  last = acts[network.table[-1].name].shape
  if name.startswith('deepsim'):
    assert last == (256, 256, 3)
  else:
    assert last == (len(network.labels),)


@test_caffe.needs_fixtures
@pytest.mark.parametrize('name', PROTOTXTS)
def test_a_table_is_that_of_the_published_prototxt(name):
  text = (test_caffe.PROTOTXT / f'{PROTOTXTS[name]}.prototxt').read_text()
  table, shape = caffe.parse(text)
  network = models.described(name)
  assert shape == network.input_shape
  assert list(map(meant, table)) == list(map(meant, network.table))


@test_caffe.needs_fixtures
def test_labels_are_those_of_the_places_archive():
  file = test_caffe.FIXTURES / 'synthesizing/misc/categoryIndex_places205.txt'
  names = [line.split()[0] for line in file.read_text().splitlines()]
  labels = models.described('places205_alexnet').labels
  assert [label.replace(' ', '_') for label in labels] == names


def test_fields_are_those_of_the_papers():
  sizes = {
    ('bvlc_alexnet', 'conv5'): 163,
    ('bvlc_alexnet', 'pool5'): 195,
    ('vgg16', 'conv5_3'): 196,
    ('vgg16', 'pool5'): 212,
    ('vgg19', 'conv5_4'): 252,
  }
  for (name, layer), size in sizes.items():
    field = tables.receptive_fields_of(models.described(name).table)[layer]
    assert (field.y.size, field.x.size) == (size, size)


def against_opencv(name, folder):
  """Differences of every layer at the network's own size, and at an odd one.

  Through `load`, with random weights in a real caffemodel. None for the odd
  size where a network starts from a code.
  """
  network = models.described(name)
  text = prototxt.written(network.table, network.input_shape)
  files = folder / 'net.prototxt', folder / 'net.caffemodel'
  files[0].write_text(text)
  caffemodel.write(files[1], caffemodel.blobs(text))
  model = models.load(name, str(files[1]))
  turned = 'deconv0' if name.startswith('deepsim') else None
  own = test_caffe.difference(model, *files, turned=turned)
  assert len(own) == len(network.table)
  sliding = caffemodel.sliding(text)
  if sliding is None:
    return own, None
  files[0].write_text(sliding)
  kept = {row.name for row in caffe.parse(sliding)[0]}
  small = models.cut(model, tuple(kept))
  odd = test_caffe.difference(small, *files, size=(243, 229))
  assert set(odd) == kept
  return own, odd


@pytest.mark.slow
@pytest.mark.parametrize('name', CAFFE)
def test_every_layer_is_opencvs(name, tmp_path):
  for worst in against_opencv(name, tmp_path):
    assert worst is None or max(worst.values()) < 1e-4, worst


# A network of every kind of layer that the frameworks lay out differently.
CHAIN = tables.sequence(
  tables.conv('conv1', 5, 3),
  tables.relu('relu1'),
  tables.max_pool('pool1', 2, 2, ceil=True),
  tables.conv('part/conv_2', 6, 2, groups=1),
  tables.fc('fc6', 7),
  tables.relu('relu6'),
  tables.fc('fc7', 7),
)
TOY = published.Network(
  CHAIN,
  (9, 11, 3),
  (120.0, 110.0, 100.0),
  deviation=(2.0, 4.0, 5.0),
  labels=tuple('abcdefg'),
  preprocessing=preprocessing.CAFFE,
)
WEIGHTED = ('conv1', 'part/conv_2', 'fc6', 'fc7')


def plain():
  """The weights in vizjax's layout; the first kernel reads pixels."""
  _, shapes = layers.shapes(CHAIN, TOY.input_shape)
  draw = np.random.RandomState(3)
  return {
    layer: {
      name: draw.normal(0, 1, like.shape).astype(np.float32)
      for name, like in shapes[layer].items()
    }
    for layer in WEIGHTED
  }


def laid_out(framework, bgr):
  """The same weights as a framework would store them, index by index."""
  groups = {}
  for layer, group in plain().items():
    kernel, bias = group['kernel'].copy(), group['bias']
    if layer == 'conv1' and framework != 'vizjax':
      for c in range(3):
        kernel[:, :, c] *= TOY.deviation[c]
      if bgr and framework != 'matconvnet':
        kernel = np.stack([kernel[:, :, c] for c in (2, 1, 0)], 2)
    below = {'fc6': (3, 4, 6), 'fc7': (1, 1, 7)}.get(layer)
    if framework in ('caffe', 'torch'):
      axes = (1, 0) if below else (3, 2, 0, 1)
      kernel = kernel.transpose(axes)
    elif below and framework != 'vizjax':
      h, w, c = below
      moved = np.empty((h, w, c, 7), np.float32)
      for y in range(h):
        for x in range(w):
          for i in range(c):
            moved[y, x, i] = kernel[(i * h + y) * w + x]
      kernel = moved if framework == 'matconvnet' else moved.reshape(-1, 7)
    names = {
      'caffe': ('0', '1'),
      'torch': ('weight', 'bias'),
      'tensorflow': ('weights', 'biases'),
      'keras': (f'{layer}_W_1', f'{layer}_b_1'),
      'matconvnet': ('filters', 'biases'),
      'vizjax': ('kernel', 'bias'),
    }[framework]
    if framework == 'matconvnet':
      bias = bias[None]
    groups[layer] = dict(zip(names, (kernel, bias), strict=True))
  return groups


FRAMEWORKS = ('caffe', 'torch', 'tensorflow', 'keras', 'matconvnet', 'vizjax')


@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_arrays_in_memory_are_the_same_network(framework):
  """So a reader of another format is one function."""
  groups = laid_out(framework, bgr=False)
  found = published.of_arrays('toy', TOY, groups)
  flat = {
    f'{layer}.{n}': a for layer, g in groups.items() for n, a in g.items()
  }
  for model in (found, published.of_arrays('toy', TOY, flat)):
    for layer, group in plain().items():
      for name, array in group.items():
        np.testing.assert_allclose(
          model.params[layer][name], array, rtol=1e-5, err_msg=layer
        )
  del groups['fc7']
  with pytest.raises(
    UserError, match="dictionary of weights is not 'toy'.*fc7"
  ):
    published.of_arrays('toy', TOY, groups)


@pytest.mark.parametrize('framework', FRAMEWORKS)
@pytest.mark.parametrize('bgr', [True, False])
@pytest.mark.parametrize('named', ['by name', 'by order'])
def test_weights_of_every_framework_are_the_same_network(
  framework, bgr, named, tmp_path
):
  groups = laid_out(framework, bgr)
  if named == 'by order':
    groups = {f'{i}': group for i, group in enumerate(groups.values())}
  else:
    groups = {name.replace('/', '_'): group for name, group in groups.items()}
    groups['training/only'] = {'kernel': np.zeros(3)}
  file = tmp_path / 'toy.npz'
  arrays.write(file, groups)
  model = published.load('toy', TOY._replace(bgr=bgr), str(file))
  assert model.labels == TOY.labels
  assert model.preprocessing == TOY.preprocessing
  for layer, group in plain().items():
    for name, array in group.items():
      found = model.params[layer][name]
      np.testing.assert_allclose(found, array, rtol=1e-6, err_msg=layer)


def test_a_model_is_saved_and_loaded_whole(tmp_path):
  arrays.write(tmp_path / 'a.npz', laid_out('torch', True))
  first = published.load('toy', TOY._replace(bgr=True), str(tmp_path / 'a.npz'))
  arrays.write(tmp_path / 'b.npz', first.params)
  again = published.load('toy', TOY._replace(bgr=True), str(tmp_path / 'b.npz'))
  image = jnp.asarray(np.random.RandomState(0).uniform(0, 255, (9, 11, 3)))
  for name, act in first(image).items():
    np.testing.assert_array_equal(act, again(image)[name])


# Layers of equal shapes, which nothing but the names can tell apart.
ALIKE = tables.sequence(
  tables.conv('conv0', 3, 3, pad=1),
  tables.conv('conv1', 3, 3, pad=1),
  tables.conv('conv2', 3, 3, pad=1),
  tables.fc('fc1', 5),
  tables.fc('fc2', 5),
)
ROWS = [row.name for row in ALIKE]
NAMING = dict(zip(ROWS, ('a', 'b', 'c', 'x', 'y'), strict=True))
TOLD_APART = {
  'names of the table': ROWS,
  'names of a framework': list(NAMING.values()),
  'a prefix': [f'module.{name}' for name in ROWS],
  'two prefixes': [f'model.net.{name}' for name in NAMING.values()],
  'one series': [str(i) for i in (0, 2, 10, 12, 14)],
  'two series': [f'features.{i}' for i in (0, 2, 10)]
  + [f'classifier.{i}' for i in (9, 10)],
  'some known names': ['features.0', 'features.2', 'features.10', 'fc1', 'fc2'],
  'two numbers': ['1_1', '1_2', '2_1', '10_1', '10_2'],
}
NOT_TOLD_APART = {
  'no numbers': ['p', 'q', 'r', 's', 't'],
  'three series': ['a.0', 'a.1', 'b.2', 'fc1', 'fc2'],
  'another count': ['conv1', 'conv2', 'conv3', 'fc1', 'fc2'],
  'a missing class': ['a.0', 'a.1', 'a.2', 'a.3', 'x'],
}


def alike(names):
  """{key: array} of a file with the weights of ALIKE under these names."""
  return {
    f'{name}.weight': np.full((5, 5) if i > 2 else (3, 3, 3, 3), i)
    for i, name in enumerate(names)
  }


@pytest.mark.parametrize('case', TOLD_APART)
@pytest.mark.parametrize('ordered', [True, False])
def test_the_order_of_a_file_changes_nothing_where_names_tell(case, ordered):
  content = list(alike(TOLD_APART[case]).items())
  draw = np.random.RandomState(0)
  for _ in range(10):
    shuffled = dict(content[i] for i in draw.permutation(len(content)))
    found = layouts.matched(ALIKE, shuffled, [NAMING], ordered)
    values = [found[row]['weight'].flat[0] for row in ROWS]
    assert values == [0, 1, 2, 3, 4]


@pytest.mark.parametrize('case', NOT_TOLD_APART)
def test_weights_that_nothing_tells_apart_are_refused(case):
  content = alike(NOT_TOLD_APART[case])
  with pytest.raises(UserError, match='names do not tell .* give its weights'):
    layouts.matched(ALIKE, content, [NAMING])


def test_the_order_counts_where_a_format_keeps_it():
  for case in ('no numbers', 'three series'):
    content = alike(NOT_TOLD_APART[case])
    found = layouts.matched(ALIKE, content, [NAMING], ordered=True)
    assert [found[row]['weight'].flat[0] for row in ROWS] == [0, 1, 2, 3, 4]
  with pytest.raises(UserError, match='names do not tell'):
    content = alike(NOT_TOLD_APART['another count'])
    layouts.matched(ALIKE, content, [NAMING], ordered=True)


@pytest.mark.parametrize('ending', ['safetensors', 'npz'])
def test_a_sorted_file_is_the_same_network(ending, tmp_path):
  """safetensors sorts by name, and reads in the order of a hash map."""
  names = ('features.0', 'features.10', 'classifier.9', 'classifier.10')
  groups = dict(zip(names, laid_out('torch', False).values(), strict=True))
  file = tmp_path / f'toy.{ending}'
  arrays.write(file, dict(sorted(groups.items())))
  model = published.load('toy', TOY, str(file))
  for layer, group in plain().items():
    found = model.params[layer]['kernel']
    np.testing.assert_allclose(found, group['kernel'], rtol=1e-6)


def test_namings_are_those_of_torchvision_and_keras():
  (alexnet,) = models.described('torchvision_alexnet').namings
  assert alexnet['conv3'] == 'features.6' and alexnet['fc8'] == 'classifier.6'
  last = {'vgg16': ('conv5_3', '28', '3'), 'vgg19': ('conv5_4', '34', '4')}
  for name, (row, number, i) in last.items():
    for network in (name, f'torchvision_{name}'):
      torchvision, keras, older = models.described(network).namings
      assert [older[f'fc{i}'][-1] for i in (6, 7, 8)] == ['1', '4', '6']
      assert torchvision[row] == f'features.{number}'
      assert torchvision['fc7'] == 'classifier.3'
      assert keras[row] == f'block5_conv{i}'
      assert (keras['fc6'], keras['fc8']) == ('fc1', 'predictions')
  for name in NAMES:
    network = models.described(name)
    _, shapes = layers.shapes(network.table, network.input_shape)
    for naming in network.namings:
      assert set(naming) == set(shapes)


@pytest.mark.parametrize('ordered', [True, False])
def test_the_names_of_older_torchvisions_are_those_of_vgg(ordered):
  network = models.described('vgg16')
  _, shapes = layers.shapes(network.table, network.input_shape)
  convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
  names = [f'features.{i}' for i in convolutions]
  names += [f'classifier.{i}' for i in (1, 4, 6)]
  # The head of another task stands beside them.
  content = {f'{name}.weight': np.full(1, i) for i, name in enumerate(names)}
  content = {'box.weight': np.full(1, 99), **content}
  found = layouts.matched(network.table, content, network.namings, ordered)
  assert [group['weight'][0] for group in found.values()] == [*range(16)]
  assert list(found) == list(shapes)


@pytest.fixture(scope='module')
def googlenet_file(tmp_path_factory):
  """A network of torchvision's names with random weights of few bits."""
  network = models.described(googlenet.TORCHVISION)
  _, shapes = layers.shapes(network.table, network.input_shape)
  draw = np.random.RandomState(0)
  file = tmp_path_factory.mktemp('googlenet') / 'mine.npz'
  params = {
    layer: {n: draw.normal(0, 1, s.shape).astype('f4') for n, s in g.items()}
    for layer, g in shapes.items()
  }
  theirs = {
    layer: {'weight': group['kernel'].transpose(3, 2, 0, 1)}
    for layer, group in params.items()
    if layer == 'conv1/7x7_s2'
  }
  arrays.write(file, params | theirs)
  return file, params['conv1/7x7_s2']['kernel']


@pytest.mark.parametrize('transformed', [True, *conftest.slow(False)])
def test_transform_input_is_what_the_file_was_trained_with(
  transformed, googlenet_file
):
  file, kernel = googlenet_file
  model = models.load(
    googlenet.TORCHVISION, str(file), transform_input=transformed
  )
  image = np.random.RandomState(1).uniform(0, 255, (7, 7, 3))
  x = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
  if transformed:  # as GoogLeNet._transform_input
    x = x * (np.array([0.229, 0.224, 0.225]) / 0.5)
    x = x + (np.array([0.485, 0.456, 0.406]) - 0.5) / 0.5
  expected = np.einsum('hwc,hwco->o', x, kernel)
  centered = image - np.asarray(model.mean)
  kernel = model.params['conv1/7x7_s2']['kernel']
  found = np.einsum('hwc,hwco->o', centered, kernel)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_transform_input_must_be_told_of_a_file_that_is_not_the_published(
  googlenet_file, monkeypatch
):
  file = str(googlenet_file[0])
  with pytest.raises(UserError, match='transform_input=True.* if .*=False if'):
    models.load(googlenet.TORCHVISION, file)
  with pytest.raises(UserError, match="is 'no', expected True or False"):
    googlenet.transforms(file, 'no')
  with pytest.raises(UserError, match='alone: leave it out'):
    models.load('vgg16', file, transform_input=True)
  monkeypatch.setattr(catalogue, 'vouches', lambda name, path: True)
  model = models.load(googlenet.TORCHVISION, file)
  np.testing.assert_array_equal(model.mean, 127.5)
  with pytest.raises(UserError, match='that torchvision published'):
    models.load(googlenet.TORCHVISION, file, transform_input=False)


def wrong(change):
  groups = laid_out('torch', False)
  change(groups)
  return groups


BAD = {
  'missing': (
    lambda g: (g.pop('fc6'), g.pop('conv1')),
    'no weights for conv1, fc6; it has part/conv_2, fc7',
  ),
  'none at all': (
    lambda g: (g.clear(), g.update(x={'weight': np.zeros(3)})),
    'no weights for conv1, part/conv_2, fc6, fc7; it has x',
  ),
  'another shape': (
    lambda g: g['fc7'].update(weight=np.zeros((7, 9))),
    r"kernel of layer 'fc7' is \(9, 7\) in the weights, expected \(7, 7\)",
  ),
  'a vector': (
    lambda g: g['conv1'].update(weight=np.zeros(4)),
    r"kernel of layer 'conv1' is \(4,\) in the weights, expected 4 axes",
  ),
  'without a bias': (lambda g: g['fc6'].pop('bias'), "no bias for layer 'fc6'"),
}


@pytest.mark.parametrize('name', BAD)
def test_weights_that_do_not_fit_are_told_of(name, tmp_path):
  change, told = BAD[name]
  file = tmp_path / 'toy.npz'
  arrays.write(file, wrong(change))
  with pytest.raises(UserError, match=told) as raised:
    published.load('toy', TOY, str(file))
  assert str(file) in str(raised.value)
  assert "not 'toy'" in str(raised.value)


def test_the_file_of_another_network_is_refused(tmp_path):
  file = tmp_path / 'vgg16-397923af.pth'
  file.touch()
  told = r"is the file of 'torchvision_vgg16', not of 'vgg16': type load\("
  with pytest.raises(UserError, match=told):
    models.load('vgg16', str(file))


def test_weights_that_are_not_here_tell_what_to_type(tmp_path, monkeypatch):
  monkeypatch.setenv(catalogue.VARIABLE, str(tmp_path))
  for name in NAMES:
    with pytest.raises(UserError) as raised:
      models.load(name)
    for part in (
      f'weights fetch {name}',
      catalogue.get(name).address,
      'by hand',
    ):
      assert part in str(raised.value)


def against_pytorch(name, folder):
  """As `against_opencv`, of the same network of torchvision."""
  torch = pytest.importorskip('torch')
  torchvision = pytest.importorskip('torchvision')
  torch.manual_seed(0)
  googlenet = 'googlenet' in name
  make = getattr(torchvision.models, name.removeprefix('torchvision_'))
  net = make(weights=None, **({'init_weights': True} if googlenet else {}))
  net.eval()
  if googlenet:
    net.transform_input = True
    for module in net.modules():
      if isinstance(module, torch.nn.BatchNorm2d):
        module.running_mean.normal_(0, 0.1)
        module.running_var.uniform_(0.5, 2)
        module.weight.data.uniform_(0.5, 2)
        module.bias.data.normal_(0, 0.1)
  torch.save(net.state_dict(), folder / 'net.pth')
  options = {'transform_input': True} if googlenet else {}
  model = models.load(name, str(folder / 'net.pth'), **options)
  kinds = (torch.nn.Conv2d, torch.nn.Linear, torch.nn.BatchNorm2d)
  modules = [
    (key, module)
    for key, module in net.named_modules()
    if isinstance(module, kinds) and not key.startswith('aux')
  ]
  weighted = ('conv', 'fc', 'batch_norm')
  rows = [info.name for info in model.layers if info.kind in weighted]
  (naming, *_) = models.described(name).namings
  layers_ = {v: k for k, v in naming.items()}
  theirs = {}

  def keep(row):
    def hook(module, inputs, output):
      theirs[row] = output.detach().clone()[0].numpy()  # ReLU works in place

    return hook

  for (key, module), row in zip(modules, rows, strict=True):
    assert layers_[key] == row
    module.register_forward_hook(keep(row))
  found = []
  for size in ((224, 224), (243, 229)):
    image = np.random.RandomState(1).uniform(0, 255, (*size, 3))
    image = image.astype(np.float32)
    normal = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    normal = normal.astype(np.float32).transpose(2, 0, 1)[None].copy()
    with torch.no_grad():
      net(torch.from_numpy(normal))
    acts = jax.jit(lambda model, image: model(image))(model, image)
    worst = {}
    for row, act in theirs.items():
      act = act.transpose(1, 2, 0) if act.ndim == 3 else act
      worst[row] = np.abs(np.asarray(acts[row]) - act).max() / np.abs(act).max()
    found.append(worst)
  return found


@pytest.mark.parametrize(
  'name', [name for name in NAMES if name.startswith('torchvision')]
)
def test_torchvision_is_pytorchs(name, tmp_path):
  """Where PyTorch and torchvision are installed."""
  for worst in against_pytorch(name, tmp_path):
    assert max(worst.values()) < 1e-4, worst


@pytest.mark.usefixtures('as_installed')
@pytest.mark.parametrize('weights', [{'conv1': [1]}, [1], np.zeros(3)])
def test_arrays_of_no_network_are_refused(weights):
  for name in ('alexnet_features', 'torchvision_googlenet', 'bvlc_alexnet'):
    with pytest.raises(
      UserError, match='expected a file|transform_input|is not'
    ):
      models.load(name, weights)
