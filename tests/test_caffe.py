"""Imported Caffe networks, against OpenCV on the same files."""

import pathlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from oracles import caffemodel
import pytest

from vizjax import models
from vizjax import receptive_fields
from vizjax.models import caffe

pytestmark = pytest.mark.usefixtures('quickly')

FIXTURES = pathlib.Path(__file__).parent.parent.parent / 'shared' / 'fixtures'
PROTOTXT = FIXTURES / 'prototxt'

needs_fixtures = pytest.mark.skipif(
  not PROTOTXT.exists(), reason='prototxts of the field are not there'
)

# A net of every type that OpenCV knows and that a short one can hold.
EVERYTHING = """
name: "everything"
input: "data" input_dim: 1 input_dim: 3 input_dim: 23 input_dim: 19
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 stride: 1 } }
layer { name: "r1" type: "ReLU" bottom: "c1" top: "c1"
  relu_param { negative_slope: 0.1 } }
layer { name: "n1" type: "LRN" bottom: "c1" top: "n1"
  lrn_param { local_size: 5 alpha: 0.01 beta: 0.75 } }
layer { name: "p1" type: "Pooling" bottom: "n1" top: "p1"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "p2" type: "Pooling" bottom: "n1" top: "p2"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "c2" type: "Convolution" bottom: "p1" top: "c2"
  convolution_param { num_output: 6 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0
    group: 2 bias_term: false } }
layer { name: "c3" type: "Convolution" bottom: "p1" top: "c3"
  convolution_param { num_output: 6 kernel_size: 3 pad: 2 dilation: 2 } }
layer { name: "e1" type: "Eltwise" bottom: "c2" bottom: "c3" top: "e1"
  eltwise_param { operation: SUM coeff: 0.5 coeff: -2 } }
layer { name: "e2" type: "Eltwise" bottom: "c2" bottom: "c3" top: "e2"
  eltwise_param { operation: MAX } }
layer { name: "e3" type: "Eltwise" bottom: "c2" bottom: "c3" top: "e3"
  eltwise_param { operation: PROD } }
layer { name: "bn" type: "BatchNorm" bottom: "e1" top: "bn"
  batch_norm_param { eps: 0.001 } }
layer { name: "sc" type: "Scale" bottom: "bn" top: "bn"
  scale_param { bias_term: true } }
layer { name: "pr" type: "PReLU" bottom: "bn" top: "pr" }
layer { name: "el" type: "ELU" bottom: "e2" top: "el" }
layer { name: "sg" type: "Sigmoid" bottom: "e2" top: "sg" }
layer { name: "th" type: "TanH" bottom: "e3" top: "th" }
layer { name: "ab" type: "AbsVal" bottom: "e3" top: "ab" }
layer { name: "pw" type: "Power" bottom: "ab" top: "pw"
  power_param { power: 2 scale: 0.5 shift: 1 } }
layer { name: "cc" type: "Concat" bottom: "pr" bottom: "el" bottom: "sg"
  top: "cc" }
layer { name: "sl" type: "Slice" bottom: "cc" top: "s1" top: "s2"
  slice_param { axis: 1 slice_point: 7 } }
layer { name: "dc" type: "Deconvolution" bottom: "s1" top: "dc"
  convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 } }
layer { name: "gp" type: "Pooling" bottom: "s2" top: "gp"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "f1" type: "InnerProduct" bottom: "pw" top: "f1"
  inner_product_param { num_output: 10 } }
layer { name: "f2" type: "InnerProduct" bottom: "f1" top: "f2"
  inner_product_param { num_output: 5 bias_term: false } }
layer { name: "dr" type: "Dropout" bottom: "f2" top: "f2" }
layer { name: "sm" type: "Softmax" bottom: "f2" top: "sm" }
"""


def difference(model, prototxt, weights, size=None, turned=None):
  """max|a - b| / max|b| of every layer that OpenCV can tell of.

  `turned` is a layer that is RGB here and BGR there.
  """
  net = cv2.dnn.readNetFromCaffe(str(prototxt), str(weights))
  net.enableFusion(False)
  h, w, c = model.input_shape
  h, w = size or (h, w)
  draw = np.random.RandomState(1)
  image = draw.uniform(0, 255, (h, w, c)).astype(np.float32)
  if c == 3:
    blob = (image - np.asarray(model.mean))[:, :, ::-1]
  else:
    image = draw.normal(0, 1, (h, w, c)).astype(np.float32)
    blob = image
  net.setInput(np.ascontiguousarray(blob.transpose(2, 0, 1)[None]))
  acts = jax.jit(lambda model, image: model(image))(model, jnp.asarray(image))
  worst = {}
  for name in net.getLayerNames():
    if name not in acts:
      continue
    theirs, ours = net.forward(name)[0], np.asarray(acts[name])
    ours = ours[..., ::-1] if name == turned else ours
    ours = ours.transpose(2, 0, 1) if ours.ndim == 3 else ours
    assert ours.size == theirs.size, (name, ours.shape, theirs.shape)
    gap = np.abs(ours.reshape(-1) - theirs.reshape(-1)).max()
    worst[name] = gap / max(np.abs(theirs).max(), 1e-12)
  return worst


def imported(tmp_path, text, **form):
  prototxt, weights = tmp_path / 'net.prototxt', tmp_path / 'net.caffemodel'
  prototxt.write_text(text)
  caffemodel.write(weights, caffemodel.blobs(text), **form)
  return caffe.load(str(prototxt), str(weights)), prototxt, weights


def test_every_type_of_layer_is_opencvs(tmp_path):
  model, *files = imported(tmp_path, EVERYTHING)
  worst = difference(model, *files)
  assert len(worst) > 20
  del worst['th']  # OpenCV's own tanh is off by 5e-4
  acts = model(jnp.full(model.input_shape, 90.0))
  np.testing.assert_allclose(acts['th'], np.tanh(acts['e3']), atol=1e-6)
  assert max(worst.values()) < 1e-4, worst


@needs_fixtures
@pytest.mark.slow
@pytest.mark.parametrize(
  'path',
  # One of them declares a batch of 160, which OpenCV cannot reshape.
  sorted(p for p in PROTOTXT.rglob('*.prototxt') if '160' not in p.name),
  ids=lambda path: '/'.join(path.parts[-3:]),
)
def test_every_layer_of_the_fields_networks_is_opencvs(path, tmp_path):
  text = path.read_text()
  model, *files = imported(tmp_path, text)
  worst = difference(model, *files)
  assert len(worst) >= 20
  # The bound of the project: float32 sums in another order.
  assert max(worst.values()) < 1e-4, worst
  # Where nothing is fully connected, at an odd size too: there Caffe's way
  # to round the size of a pooling shows.
  slides = caffemodel.sliding(text)
  if slides is not None:
    model, *files = imported(tmp_path, slides)
    worst = difference(model, *files)
    assert max(worst.values()) < 1e-4, worst


@needs_fixtures
@pytest.mark.parametrize('size', [(227, 227), (211, 199)])
def test_squeezenet_with_its_weights_is_opencvs(size):
  files = [
    FIXTURES / 'squeezenet' / name
    for name in ('squeezenet_deploy.prototxt', 'squeezenet.caffemodel')
  ]
  model = caffe.load(*map(str, files))
  worst = difference(model, *files, size)
  assert len(worst) > 60
  assert max(worst.values()) < 1e-4, worst


@pytest.mark.parametrize('generation', [0, 1, 2])
@pytest.mark.parametrize('double', [False, True])
@pytest.mark.parametrize('legacy', [False, True])
def test_every_form_of_a_caffemodel_holds_the_same(
  generation, double, legacy, tmp_path
):
  found = caffemodel.blobs(EVERYTHING)
  path = tmp_path / 'net.caffemodel'
  caffemodel.write(path, found, generation, double, legacy)
  read = caffe.read_weights(str(path))
  assert read.keys() == found.keys()
  for name, arrays in found.items():
    for array, other in zip(arrays, read[name], strict=True):
      np.testing.assert_allclose(other.reshape(array.shape), array, rtol=1e-6)
  model = caffe.model(*caffe.parse(EVERYTHING), read)
  image = jnp.full(model.input_shape, 100.0)
  assert np.isfinite(model(image)['sm']).all()


V2 = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 12 dim: 12 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "train" type: "Convolution" bottom: "c" top: "c"
  include { phase: TRAIN } convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "f" type: "InnerProduct" bottom: "c" top: "f"
  inner_product_param { num_output: 2 } }
"""
V1 = """
input: "data" input_shape { dim: 1 dim: 3 dim: 12 dim: 12 }
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layers { name: "r" type: RELU bottom: "c" top: "c" }
layers { name: "f" type: INNER_PRODUCT bottom: "c" top: "f"
  inner_product_param { num_output: 2 } }
"""
V0 = """
input: "data" input_dim: 1 input_dim: 3 input_dim: 12 input_dim: 12
layers { layer { name: "c" type: "conv" num_output: 4 kernelsize: 3 pad: 1 }
  bottom: "data" top: "c" }
layers { layer { name: "r" type: "relu" } bottom: "c" top: "c" }
layers { layer { name: "f" type: "innerproduct" num_output: 2 }
  bottom: "c" top: "f" }
"""


def test_every_spelling_of_a_prototxt_is_the_same_network():
  expected = caffe.parse(V2)
  assert [row.name for row in expected[0]] == ['c', 'r', 'f']
  assert expected[1] == (12, 12, 3)
  assert caffe.parse(V1) == expected
  assert caffe.parse(V0) == expected


def test_layers_in_place_keep_both_sides():
  model = caffe.model(*caffe.parse(V2), caffemodel.blobs(V2))
  acts = model(jnp.full((12, 12, 3), 200.0))
  np.testing.assert_array_equal(acts['r'], np.maximum(0, acts['c']))
  assert (np.asarray(acts['c']) < 0).any()


def test_images_are_rgb_whatever_reads_them():
  # One convolution takes turned weights; two readers take a turned image.
  two = V2.replace('bottom: "c" top: "f"', 'bottom: "d" top: "f"') + (
    'layer { name: "d2" type: "AbsVal" bottom: "data" top: "d2" }'
  )
  two = two.replace(
    'layer { name: "f"',
    'layer { name: "d" type: "Split" bottom: "c" top: "d" } layer { name: "f"',
  )
  found = caffemodel.blobs(V2)
  one = caffe.model(*caffe.parse(V2), found)
  other = caffe.model(*caffe.parse(two), found)
  draw = np.random.RandomState(0)
  image = jnp.asarray(draw.uniform(0, 255, (12, 12, 3)), jnp.float32)
  np.testing.assert_allclose(one(image)['c'], other(image)['c'], atol=1e-3)
  assert caffe.BGR in other(image) and caffe.BGR not in one(image)


def test_units_of_branches_are_exact_in_their_boxes():
  text = """
  input: "data" input_dim: 1 input_dim: 3 input_dim: 40 input_dim: 40
  layer { name: "c1" type: "Convolution" bottom: "data" top: "c1"
    convolution_param { num_output: 4 kernel_size: 5 pad: 2 stride: 2 } }
  layer { name: "a" type: "Convolution" bottom: "c1" top: "a"
    convolution_param { num_output: 3 kernel_size: 1 } }
  layer { name: "b" type: "Convolution" bottom: "c1" top: "b"
    convolution_param { num_output: 3 kernel_size: 5 pad: 2 } }
  layer { name: "p" type: "Pooling" bottom: "c1" top: "p"
    pooling_param { pool: MAX kernel_size: 3 stride: 1 pad: 1 } }
  layer { name: "out" type: "Concat" bottom: "a" bottom: "b" bottom: "p"
    top: "out" }
  layer { name: "top" type: "Convolution" bottom: "out" top: "top"
    convolution_param { num_output: 2 kernel_size: 3 pad: 1 } }
  """
  model = caffe.model(*caffe.parse(text), caffemodel.blobs(text))
  draw = np.random.RandomState(0)
  image = jnp.asarray(draw.uniform(0, 255, (40, 40, 3)), jnp.float32)
  acts = model(image)
  for layer in ('out', 'top'):
    box_model = models.boxed(model, layer)
    field = {info.name: info.field for info in model.layers}[layer]
    for y, x in ((10, 10), (8, 12)):
      box = receptive_fields.box(field, y, x)
      assert receptive_fields.inside(box, 40, 40)
      rows = slice(box.top, box.top + box.height)
      part = image[rows, box.left : box.left + box.width]
      found = box_model(part)[layer]
      assert found.shape[:2] == (1, 1)
      scale = np.abs(acts[layer]).max()
      np.testing.assert_allclose(
        found[0, 0] / scale, acts[layer][y, x] / scale, atol=1e-5
      )


BAD = {
  'no prototxt': ('layer { name: ', 'cannot be read'),
  'unknown type': (
    V2.replace('"ReLU"', '"Rectify"'),
    "layer 'r' is of type 'Rectify'",
  ),
  'unknown bottom': (
    V2.replace('bottom: "c" top: "f"', 'bottom: "q" top: "f"'),
    "layer 'f' reads 'q'",
  ),
  'no input': ('layer { name: "a" type: "ReLU" }', '0 inputs'),
  'two of one name': (V2.replace('"r" type', '"c" type'), 'one name'),
  'no kernel': (V2.replace('kernel_size: 3', ''), 'kernel'),
}


@pytest.mark.parametrize('name', BAD)
def test_a_bad_prototxt_is_named(name):
  text, words = BAD[name]
  with pytest.raises(ValueError, match=words):
    caffe.parse(text)


def test_weights_that_do_not_fit_name_the_layer():
  found = caffemodel.blobs(V2)
  found['f'][0] = found['f'][0][:, :-1]
  with pytest.raises(ValueError, match="layer 'f' is .575, 2.*expected .576"):
    caffe.model(*caffe.parse(V2), found)
  del found['c']
  with pytest.raises(ValueError, match="nothing for 'c'"):
    caffe.model(*caffe.parse(V2), found)


def test_labels_come_from_a_list_or_a_file(tmp_path):
  _, prototxt, weights = imported(tmp_path, V2)
  names = tmp_path / 'names.txt'
  names.write_text('red\ngreen\n')
  model = caffe.load(str(prototxt), str(weights), labels=str(names))
  assert model.labels == ('red', 'green')
  with pytest.raises(
    ValueError, match="1000 names .* expected 2, for layer 'f"
  ):
    caffe.load(str(prototxt), str(weights), labels='imagenet')


def test_damaged_files_are_refused_in_words(tmp_path):
  """Whatever is flipped or cut, there is a network or a ValueError."""
  draw = np.random.RandomState(0)
  path = tmp_path / 'net.caffemodel'
  caffemodel.write(path, caffemodel.blobs(V2))
  content, text = path.read_bytes(), V2.encode()
  refused = 0
  for i in range(4000):
    data = bytearray(content if i % 2 else text)
    for _ in range(draw.randint(1, 4)):
      data[draw.randint(len(data))] = draw.randint(256)
    if i % 5 == 0:
      del data[draw.randint(len(data)) :]
    path.write_bytes(bytes(data))
    try:
      if i % 2:
        caffe.read_weights(str(path))
      else:
        caffe.parse(bytes(data).decode('latin-1'))
    except ValueError:
      refused += 1
  assert refused > 1000
