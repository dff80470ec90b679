"""Imported Caffe networks, against OpenCV on the same files."""

import conftest
import math
import pathlib
import re

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from oracles import caffemodel
import pytest

from vizjax import models
from vizjax.errors import UserError
from vizjax.models import caffe
from vizjax.models import receptive_fields
from vizjax.models.formats import caffe_schema

pytestmark = pytest.mark.usefixtures('quickly')

FIXTURES = pathlib.Path(__file__).parents[3] / 'shared' / 'fixtures'
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
    factor = 1 if model.scale is None else np.asarray(model.scale)
    blob = ((image - np.asarray(model.mean)) * factor)[:, :, ::-1]
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
@pytest.mark.parametrize('height, width', conftest.slow((227, 227), (211, 199)))
def test_squeezenet_with_its_weights_is_opencvs(height, width):
  files = [
    FIXTURES / 'squeezenet' / name
    for name in ('squeezenet_deploy.prototxt', 'squeezenet.caffemodel')
  ]
  model = caffe.load(*map(str, files))
  worst = difference(model, *files, (height, width))
  assert len(worst) > 60
  assert max(worst.values()) < 1e-4, worst


@pytest.mark.parametrize(
  'generation, double, legacy',
  [
    (0, False, False),
    (1, True, True),
    (2, False, True),
    *conftest.slow(
      *((n, True, False) for n in range(3)),
      *((0, False, True), (0, True, True), (1, False, False)),
      *((1, False, True), (2, False, False), (2, True, True)),
    ),
  ],
)
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
  apply = jax.jit(lambda model, image: model(image))
  acts = apply(model, image)
  for layer in ('out', 'top'):
    box_model = models.boxed(model, layer)
    field = {info.name: info.receptive_field for info in model.layers}[layer]
    for y, x in ((10, 10), (8, 12)):
      box = receptive_fields.box(field, y, x)
      assert receptive_fields.inside(box, 40, 40)
      rows = slice(box.top, box.top + box.height)
      part = image[rows, box.left : box.left + box.width]
      found = apply(box_model, part)[layer]
      assert found.shape[:2] == (1, 1)
      scale = np.abs(acts[layer]).max()
      np.testing.assert_allclose(
        found[0, 0] / scale, acts[layer][y, x] / scale, atol=1e-5
      )


def net(layers, size=12, channels=3):
  return (
    f'input: "data" input_dim: 1 input_dim: {channels} input_dim: {size} '
    f'input_dim: {size} {layers}'
  )


def layer(name, kind, bottom, rest=''):
  return (
    f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}" '
    f'{rest} }} '
  )


def pooled(x, kernel, stride, pads, ceil, method):
  """A pooling, window by window, as pooling_layer.cpp has it."""
  top, left, bottom, right = pads
  (h, w, _), up = x.shape, math.ceil if ceil else math.floor
  rows = up((h + top + bottom - kernel) / stride) + 1
  columns = up((w + left + right - kernel) / stride) + 1
  rows -= (rows - 1) * stride >= h + top
  columns -= (columns - 1) * stride >= w + left
  y = np.zeros((rows, columns, x.shape[2]))
  for i, j in np.ndindex(rows, columns):
    above, before = i * stride - top, j * stride - left
    below, after = above + kernel, before + kernel
    area = (min(below, h + bottom) - above) * (min(after, w + right) - before)
    window = x[max(above, 0) : below, max(before, 0) : after]
    y[i, j] = (
      window.max((0, 1)) if method == 'MAX' else window.sum((0, 1)) / area
    )
  return y


POOLINGS = (
  ('', (0, 0, 0, 0), True),
  ('ceil_mode: true', (0, 0, 0, 0), True),
  ('ceil_mode: false', (0, 0, 0, 0), False),
  ('ceil_mode: false pad: 1', (1, 1, 1, 1), False),
  ('round_mode: FLOOR', (0, 0, 0, 0), False),
  ('pad_h: 1 pad_w: 0', (1, 0, 1, 0), True),
  ('pad_l: 0 pad_r: 1 pad_t: 0 pad_b: 1', (0, 0, 1, 1), True),
  ('pad_l: 2 pad_t: 1 ceil_mode: false', (1, 2, 0, 0), False),
)


@pytest.mark.parametrize(
  'fields, pads, ceil, method',
  [
    *((*pooling, 'MAX') for pooling in POOLINGS[1:]),
    (*POOLINGS[-1], 'AVE'),
    *conftest.slow(
      (*POOLINGS[0], 'MAX'),
      *((*pooling, 'AVE') for pooling in POOLINGS[:-1]),
    ),
  ],
)
def test_a_pooling_rounds_and_pads_as_its_file_says(fields, pads, ceil, method):
  parameters = f'pool: {method} kernel_size: 3 stride: 2 {fields}'
  for size in (8, 9):
    rest = f'pooling_param {{ {parameters} }}'
    text = net(layer('p', 'Pooling', 'data', rest), size)
    model = caffe.model(*caffe.parse(text), {}, mean=(0.0, 0.0, 0.0))
    draw = np.random.RandomState(size)
    image = draw.uniform(0, 255, (size, size, 3)).astype(np.float32)
    expected = pooled(image, 3, 2, pads, ceil, method)[..., ::-1]
    np.testing.assert_allclose(
      model(jnp.asarray(image))['p'], expected, rtol=1e-5
    )


def test_a_convolution_is_padded_on_each_side_as_its_file_says():
  rest = 'num_output: 5 kernel_size: 3 stride: 2'
  sides = 'pad_t: 0 pad_l: 2 pad_b: 1 pad_r: 0'
  for kind in ('Convolution', 'Deconvolution'):
    bare, padded = (
      layer('c', kind, 'data', f'convolution_param {{ {rest} {pads} }}')
      for pads in ('', sides)
    )
    draw = np.random.RandomState(0)
    image = draw.uniform(0, 255, (11, 11, 3)).astype(np.float32)
    frame = ((0, 1), (2, 0), (0, 0))
    framed = np.pad(image, frame) if kind == 'Convolution' else image
    weights = caffemodel.blobs(net(bare, 11))
    zero = (0.0, 0.0, 0.0)
    model = caffe.model(*caffe.parse(net(padded, 11)), weights, mean=zero)
    found = model(jnp.asarray(image))['c']
    model = caffe.model(*caffe.parse(net(bare, 11)), weights, mean=zero)
    expected = np.asarray(model(jnp.asarray(framed))['c'])
    if kind == 'Deconvolution':
      expected = expected[:-1, 2:]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_a_padding_that_is_not_the_same_on_all_sides_has_exact_boxes():
  text = net(
    layer('a', 'Convolution', 'data', 'convolution_param { num_output: 4 '
      'kernel_size: 3 stride: 2 pad_l: 0 pad_r: 1 pad_t: 0 pad_b: 1 }')
    + layer('b', 'Convolution', 'a', 'convolution_param { num_output: 2 '
      'kernel_size: 3 pad: 1 }'), 30
  )  # fmt: skip
  model = caffe.model(*caffe.parse(text), caffemodel.blobs(text))
  draw = np.random.RandomState(0)
  image = jnp.asarray(draw.uniform(0, 255, (30, 30, 3)), jnp.float32)
  field = {info.name: info.receptive_field for info in model.layers}['b']
  box = receptive_fields.box(field, 5, 7)
  part = image[box.top : box.top + box.height, box.left : box.left + box.width]
  found = models.boxed(model, 'b')(part)['b']
  np.testing.assert_allclose(
    found[0, 0], model(jnp.asarray(image))['b'][5, 7], rtol=1e-4
  )


def test_nvidias_batch_norm_has_its_scale_and_bias():
  draw = np.random.RandomState(0)
  mean, variance, scale, bias = draw.uniform(0.5, 2, (4, 3)).astype('f')
  image = draw.uniform(0, 255, (12, 12, 3)).astype(np.float32)
  # Blobs of one layer are BGR, as the image that it reads.
  expected = (image[..., ::-1] - mean) / np.sqrt(variance + 1e-5) * scale + bias
  one = np.full(1, 7, np.float32)  # is not read
  for fields in (
    'scale_bias: true eps: 1e-9 use_global_stats: false',
    'scale_filler { type: "constant" value: 1 }',
  ):
    text = net(
      layer('b', 'BatchNorm', 'data', f'batch_norm_param {{ {fields} }}')
    )
    for blobs in (
      [mean, variance, one, scale, bias],
      [scale, bias, mean, variance, one],
    ):
      model = caffe.model(*caffe.parse(text), {'b': blobs}, mean=(0.0,) * 3)
      np.testing.assert_allclose(
        model(jnp.asarray(image))['b'], expected, rtol=1e-5
      )


def test_statistics_of_the_image_itself(tmp_path):
  def text(eps):
    return net(
      layer('c', 'Convolution', 'data', 'convolution_param { num_output: 4 '
        'kernel_size: 3 }')
      + layer('b', 'BatchNorm', 'c', 'batch_norm_param { '
        f'use_global_stats: false eps: {eps} }}')
    )  # fmt: skip

  # OpenCV has such an eps twice: it divides by sqrt(1 + eps) once more.
  model, *files = imported(tmp_path, text(1e-5))
  assert max(difference(model, *files).values()) < 1e-4
  model = caffe.model(*caffe.parse(text(500)), caffemodel.blobs(text(500)))
  image = jnp.asarray(
    np.random.RandomState(0).uniform(0, 255, (12, 12, 3)), jnp.float32
  )

  def one(image):
    acts = model(image)
    return acts['b'][3, 4, 1], acts

  slope, acts = jax.jit(jax.grad(one, has_aux=True))(image)
  below = np.asarray(acts['c'])
  expected = (below - below.mean((0, 1))) / np.sqrt(below.var((0, 1)) + 500)
  np.testing.assert_allclose(acts['b'], expected, rtol=1e-4, atol=1e-5)
  # They follow the image: what is the same everywhere changes nothing.
  assert np.abs(slope).max() > 1e-4
  assert np.abs(slope.sum((0, 1))).max() < 1e-4 * np.abs(slope).sum()
  fields = {info.name: info.receptive_field for info in model.layers}
  assert fields['c'] is not None and fields['b'] is None
  # In Caffe's words, a layer of the phase TRAIN says the same.
  said = text(500).replace('use_global_stats: false', '')
  said = said.replace('batch_norm_param', 'phase: TRAIN batch_norm_param')
  assert caffe.parse(said) == caffe.parse(text(500))


def test_dropout_and_relu_of_forks():
  text = net(
    layer('d', 'Dropout', 'data', 'dropout_param { dropout_ratio: 0.25 '
      'scale_train: false }')
    + layer('p', 'Power', 'd', 'power_param { shift: -100 scale: 1 }')
    + layer('r', 'ReLU', 'p', 'relu_param { relu6: true negative_slope: 0.5 }')
  )  # fmt: skip
  model = caffe.model(*caffe.parse(text), {}, mean=(0.0, 0.0, 0.0))
  image = np.linspace(0, 255, 432).reshape(12, 12, 3).astype(np.float32)
  acts = model(jnp.asarray(image))
  power = image[..., ::-1] * 0.75 - 100
  np.testing.assert_allclose(acts['p'], power, rtol=1e-5, atol=1e-4)
  rectified = np.minimum(np.maximum(power, power / 2), 6)
  np.testing.assert_allclose(acts['r'], rectified, rtol=1e-5, atol=1e-4)


CONV = layer(
  'c', 'Convolution', 'data',
  'convolution_param { num_output: 4 kernel_size: 3 }',
)  # fmt: skip
UNKNOWN = {
  'typo in the parameters': (
    CONV.replace('kernel_size: 3', 'kernel_size: 3 strid: 2'),
    "layer 'c' has 'strid: 2' in convolution_param.*Did you mean 'stride'",
  ),
  'typo in the layer': (
    CONV.replace('convolution_param', 'convolution_params'),
    "layer 'c' has 'convolution_params'.*Did you mean 'convolution_param'",
  ),
  'typo beside the layers': (CONV + ' layr { name: "x" }', "'layr'.*'layer'"),
  'typo in a rule': (
    CONV.replace('top:', 'include { stages: "a" } top:'),
    "layer 'c' has 'stages: \"a\"' in include.*'stage'",
  ),
  'field of a fork': (
    CONV.replace('top:', 'quantization_param { bw_params: 8 } top:'),
    "layer 'c' has 'quantization_param'",
  ),
  'fused by a fork': (
    CONV.replace('kernel_size', 'relu: true kernel_size'),
    "layer 'c' has 'relu: true' in convolution_param",
  ),
  'of a type without parameters': (
    layer('t', 'TanH', 'data', 'tanh_param { scale: 2 }'),
    "layer 't' has 'scale: 2' in tanh_param",
  ),
  'of the first generation': (
    'layers { layer { name: "c" type: "relu" slope: 1 } bottom: "data" '
    'top: "c" }',
    "layer 'c' has 'slope: 1'",
  ),
  'of the input': (
    'layer { name: "i" type: "Input" top: "i" input_param { shap { } } }',
    "layer 'i' has 'shap' in input_param.*'shape'",
  ),
  'of the transformation': (
    'layer { name: "i" type: "Data" top: "i" transform_param { scal: 2 } }',
    "layer 'i' has 'scal: 2' in transform_param.*'scale'",
  ),
  'two paddings': (
    CONV.replace('kernel_size', 'pad: 1 pad_l: 1 kernel_size'),
    "layer 'c' has padding .* and also pad_l",
  ),
  'padding that no window leaves': (
    layer('p', 'Pooling', 'data', 'pooling_param { kernel_size: 2 pad: 2 }'),
    "layer 'p' has padding .*less padding than kernel",
  ),
  'three dimensions': (
    CONV.replace('kernel_size: 3', 'kernel_size: [3, 3, 3]'),
    "layer 'c' has kernel_size .3, 3, 3., expected one number or two",
  ),
  'no output': (CONV.replace('num_output: 4', ''), "'c' has num_output 0"),
  'another axis': (
    CONV.replace('kernel_size', 'axis: 2 kernel_size'), "'c'.*axis: 2"
  ),
  'many axes': (
    layer('s', 'Scale', 'data', 'scale_param { num_axes: 3 }'),
    "layer 's' of type Scale has num_axes: 3, expected 1",
  ),
  'axis of a vector': (
    layer('s', 'Bias', 'data', 'bias_param { axis: 2 }'), "'s'.* has axis: 2"
  ),
  'coefficients of a product': (
    CONV + 'layer { name: "e" type: "Eltwise" bottom: "c" bottom: "c" top: "e" '
    'eltwise_param { operation: PROD coeff: 1 coeff: 2 } }',
    "layer 'e' has 2 coeff for PROD",
  ),
  'no bottom': (
    CONV.replace('bottom: "data"', ''), "'c' of type Convolution has 0 bottoms"
  ),
  'two bottoms and two tops': (
    CONV.replace('top:', 'bottom: "data" top: "d" top:'), "'c'.* 2 bottoms"
  ),
  'two tops': (CONV.replace('top:', 'top: "d" top:'), "'c'.* has 2 tops"),
}  # fmt: skip


@pytest.mark.parametrize('name', UNKNOWN)
def test_what_is_not_read_is_refused(name):
  layers, words = UNKNOWN[name]
  with pytest.raises(UserError, match=words) as error:
    caffe.parse(net(layers))
  assert '\n' not in str(error.value)


def test_fields_that_change_nothing_are_passed_over():
  filled = (
    V2.replace(
      'kernel_size: 3',
      'kernel_size: 3 engine: CUDNN weight_filler { type: "msra" } '
      'bias_filler < type: "constant" value: -0.5 >; force_nd_im2col: false '
      'cudnn_convolution_algo_seeker: FINDEX, relu: false',
    )
    .replace(
      'bottom: "c" top: "f"',
      "bottom: 'c' top: 'f' param { lr_mult: 1 decay_mult: 0 } param: [{}, {}] "
      'propagate_down: [true] loss_weight: 1 phase: TEST '
      'pooling_param { pool: MAX } forward_type: FLOAT # strid: 1',
    )
    .replace('include {', 'quantization_param { bw: 8 } include {')
  )
  assert filled.count('filler') == 2 and filled.count('propagate_down') == 1
  filled += 'debug_info: true force_backward: false state { phase: TEST }'
  assert caffe.parse(filled) == caffe.parse(V2)


def test_rules_are_those_of_a_test_that_is_deployed():
  rules = {
    'include { phase: TEST }': True,
    'include { phase: TRAIN }': False,
    'include { phase: TRAIN } include { phase: TEST }': True,
    'include { stage: "deploy" }': True,
    'include { stage: "deploy" stage: "other" }': False,
    'include { phase: TRAIN stage: "deploy" }': False,
    'include { not_stage: "deploy" }': False,
    'include { min_level: 1 }': False,
    'include { max_level: 1 }': True,
    'exclude { phase: TEST }': False,
    'exclude { stage: "deploy" }': False,
    'exclude { phase: TEST stage: "other" }': True,
  }
  for rule, used in rules.items():
    text = net(CONV + layer('r', 'ReLU', 'c', rule))
    table, _ = caffe.parse(text)
    assert [row.name for row in table] == ['c', 'r'][: 1 + used], rule
  text = net(CONV + layer('r', 'ReLU', 'c', 'include { stage: "other" }'))
  table, _ = caffe.parse(text + 'state { stage: "other" }')
  assert [row.name for row in table] == ['c', 'r']


EXTRA = {
  'conv': (CONV.replace('kernel_size', 'bias_term: false kernel_size'),
    [(4, 3, 3, 3), (4,)], "2 blobs for layer 'c'.*bias_term: true"),
  'relu': (layer('c', 'ReLU', 'data'), [(3,)], "1 blobs for layer 'c'.*none"),
  'scale': (layer('c', 'Scale', 'data'), [(3,), (3,)], 'bias_term: true'),
  'batch norm': (layer('c', 'BatchNorm', 'data'),
    [(3,), (3,), (1,), (3,), (3,)], "5 blobs for layer 'c'.*scale_bias: true"),
}  # fmt: skip


@pytest.mark.parametrize('name', EXTRA)
def test_a_blob_that_the_definition_does_not_take_is_refused(name):
  text, shapes, words = EXTRA[name]
  blobs = [np.ones(shape, np.float32) for shape in shapes]
  with pytest.raises(UserError, match=words):
    caffe.model(*caffe.parse(net(text)), {'c': blobs})


def test_a_scale_of_two_bottoms_has_a_bias_alone():
  text = net(
    CONV
    + layer('g', 'Sigmoid', 'c')
    + layer('s', 'Scale', 'c', 'bottom: "g" scale_param { bias_term: true }')
  )
  blobs = caffemodel.blobs(net(CONV))
  bias = np.arange(4, dtype=np.float32)
  model = caffe.model(*caffe.parse(text), {**blobs, 's': [bias]})
  acts = model(jnp.full((12, 12, 3), 90.0))
  expected = np.asarray(acts['c']) * np.asarray(acts['g']) + bias
  np.testing.assert_allclose(acts['s'], expected, rtol=1e-5, atol=1e-5)


def test_a_scale_from_axis_0_has_a_number_for_each_channel():
  text = net(
    CONV
    + layer(
      'p', 'Pooling', 'c', 'pooling_param { pool: AVE global_pooling: 1 }'
    )
    + layer('g', 'Flatten', 'p')
    + layer('s', 'Scale', 'c', 'bottom: "g" scale_param { axis: 0 }')
  )
  model = caffe.model(*caffe.parse(text), caffemodel.blobs(text))
  acts = model(jnp.full((12, 12, 3), 90.0))
  gate, maps = np.asarray(acts['g']), np.asarray(acts['c'])
  np.testing.assert_allclose(acts['s'], maps * gate, rtol=1e-5)


UNFIT = {
  'a window larger than its map': (
    layer(
      'p', 'Pooling', 'data', 'pooling_param { pool: AVE kernel_size: 14 }'
    ),
    "layer 'p', whose input is 12 x 12 and whose window is 14 x 14",
  ),
  'a kernel larger than its map': (
    CONV.replace('kernel_size: 3', 'kernel_size: 13'),
    "layer 'c', whose input is 12 x 12 and whose window is 13 x 13",
  ),
  'groups': (
    CONV.replace('num_output: 4', 'num_output: 4 group: 2'),
    "layer 'c' .conv. does not fit its input of shape .12, 12, 3.",
  ),
  'sizes that differ': (
    CONV + layer('e', 'Eltwise', 'c', 'bottom: "data"'),
    "layer 'e' .eltwise. .*.10, 10, 4. and .12, 12, 3.",
  ),
  'a sum with a vector': (
    CONV
    + layer(
      'p', 'Pooling', 'c', 'pooling_param { pool: AVE global_pooling: 1 }'
    )
    + layer('e', 'Eltwise', 'c', 'bottom: "p"'),
    "layer 'e' .*.10, 10, 4. and .1, 1, 4.",
  ),
  'images one after another': (
    layer('e', 'Concat', 'data', 'bottom: "data" concat_param { axis: 0 }'),
    "layer 'e' .concat. .*axis 0 is none of one image, expected 1 to 3",
  ),
  'images in one': (
    layer('f', 'Flatten', 'data', 'flatten_param { axis: 0 }'),
    "layer 'f' .flatten. .*axis 0 is none of one image",
  ),
  'an axis that is not there': (
    layer('f', 'Flatten', 'data')
    + layer('s', 'Softmax', 'f', 'softmax_param { axis: 2 }'),
    "layer 's' .softmax. .*axis 2 is none of one image, expected 1 to 1",
  ),
  'maps side by side': (
    CONV + layer('e', 'Concat', 'c', 'bottom: "data"'),
    "layer 'e' .concat. .*.10, 10, 4. and .12, 12, 3.",
  ),
}


@pytest.mark.parametrize('name', UNFIT)
def test_shapes_that_do_not_fit_name_the_layer(name):
  layers, words = UNFIT[name]
  with pytest.raises(UserError, match=words) as error:
    caffe.model(*caffe.parse(net(layers)), {})
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('head', (
  b'\xef\xbb\xbf', '# caf\xe9\n'.encode('latin-1'),
  '# \u7b2c\u4e00\u5c42\n'.encode('gbk'), '# caf\xe9\n'.encode(),
))  # fmt: skip
def test_comments_are_in_any_encoding(head, tmp_path):
  _, prototxt, weights = imported(tmp_path, V2)
  prototxt.write_bytes(head + V2.encode())
  model = caffe.load(str(prototxt), str(weights))
  assert [info.name for info in model.layers] == ['c', 'r', 'f']


def test_what_is_no_text_is_said(tmp_path):
  _, prototxt, weights = imported(tmp_path, V2)
  for content in (weights.read_bytes(), V2.encode('utf-16')):
    prototxt.write_bytes(content)
    with pytest.raises(UserError, match='is not text'):
      caffe.load(str(prototxt), str(weights))


def transformed(parameters, channels=3):
  return (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { '
    f'dim: 1 dim: {channels} dim: 12 dim: 12 }} }} transform_param {{ '
    f'{parameters} }} }} {CONV}'
  )


def test_the_network_gets_the_image_less_its_mean_times_its_scale(tmp_path):
  mean, scale = (123.68, 116.78, 103.94), 0.017
  bare = net(CONV)
  values = 'mean_value: 103.94 mean_value: 116.78 mean_value: 123.68'
  _, prototxt, weights = imported(tmp_path, bare)
  draw = np.random.RandomState(0)
  image = draw.uniform(0, 255, (12, 12, 3)).astype(np.float32)
  # By hand: an image of zero mean and scale 1.
  plain = caffe.load(str(prototxt), str(weights), (0.0, 0.0, 0.0))
  given = jnp.asarray((image - np.array(mean)) * scale, jnp.float32)
  expected = plain(given)['c']
  for text, arguments in (
    (bare, {'mean': mean, 'scale': scale}),
    (bare, {'mean': mean, 'scale': (scale,) * 3}),
    (transformed(f'scale: 0.017 {values} mirror: false'), {}),
    (transformed(f'scale: 0.017 {values}'), {'mean': mean, 'scale': scale}),
    (transformed('scale: 0.017'), {'mean': mean}),
    (transformed(values), {'scale': scale}),
  ):
    prototxt.write_text(text)
    model = caffe.load(str(prototxt), str(weights), **arguments)
    np.testing.assert_allclose(
      model(jnp.asarray(image))['c'],
      expected,
      rtol=1e-4,
      atol=1e-4,
      err_msg=text,
    )
  # One number is of all channels, and with a scale alone nothing is taken off.
  prototxt.write_text(transformed('scale: 0.5 mean_value: 127.5'))
  model = caffe.load(str(prototxt), str(weights))
  np.testing.assert_array_equal(model.mean, [127.5] * 3)
  prototxt.write_text(transformed('scale: 0.00390625'))
  model = caffe.load(str(prototxt), str(weights), range=(0, 1))
  np.testing.assert_array_equal(model.mean, [0.0] * 3)
  assert model.range == (0, 1)
  prototxt.write_text(transformed('crop_size: 12 mirror: true'))
  model = caffe.load(str(prototxt), str(weights))
  np.testing.assert_allclose(model.mean, caffe.IMAGENET_MEAN)
  assert model.scale is None


def test_a_grey_network_has_its_scale(tmp_path):
  text = transformed('scale: 0.00390625 force_gray: true', channels=1)
  prototxt, weights = tmp_path / 'grey.prototxt', tmp_path / 'grey.caffemodel'
  prototxt.write_text(text)
  caffemodel.write(weights, caffemodel.blobs(text))
  model = caffe.load(str(prototxt), str(weights))
  np.testing.assert_array_equal(model.scale, [1 / 256])
  np.testing.assert_array_equal(model.mean, [0.0])


OTHERWISE = {
  'scale': (
    'scale: 0.017',
    {'scale': 0.5},
    "'data' .* scale 0.017 .*scale= is",
  ),
  'mean': ('mean_value: 104', {'mean': (1.0, 2.0, 3.0)}, 'mean_value 104.0 in'),
  'file': ('mean_file: "m.binaryproto"', {}, "mean from the file 'm.binary"),
  'grey': ('force_gray: true', {}, 'force_gray: true and an input of 3 chan'),
  'values': ('mean_value: 1 mean_value: 2', {}, 'has 2 mean_value, expected'),
}


@pytest.mark.parametrize('name', OTHERWISE)
def test_another_mean_or_scale_than_the_files_is_refused(name, tmp_path):
  parameters, arguments, words = OTHERWISE[name]
  _, prototxt, weights = imported(tmp_path, net(CONV))
  prototxt.write_text(transformed(parameters))
  with pytest.raises(UserError, match=words):
    caffe.load(str(prototxt), str(weights), **arguments)


def test_negative_axes_count_from_the_last():
  rest = 'flatten_param {{ axis: {} end_axis: {} }}'
  for axes in ((1, -1), (-3, -1), (2, -2), (-2, 2), (3, 3)):
    text = net(layer('f', 'Flatten', 'data', rest.format(*axes)))
    model = caffe.model(*caffe.parse(text), {}, mean=0.0)
    image = jnp.arange(432.0).reshape(12, 12, 3)
    blob = np.asarray(image)[..., ::-1].transpose(2, 0, 1)[None]
    first, last = (axis % 4 for axis in axes)
    shape = (*blob.shape[:first], -1, *blob.shape[last + 1 :])
    expected = blob.reshape(shape)[0]
    if expected.ndim == 3:
      expected = expected.transpose(1, 2, 0)
    np.testing.assert_array_equal(model(image)['f'], expected)


BAD = {
  'three dimensions': (
    V2.replace('dim: 12 dim: 12', 'dim: 12 dim: 12 dim: 4'),
    r"input 'data' has shape .1, 3, 12, 12, 4., expected .1, c, h, w",
  ),
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
  'two of one name': (
    V2.replace('"r" type', '"c" type'),
    r"one name, 'c': layer \d \(type 'Convolution', name 'c', top 'c'\) and "
    r"layer \d \(type 'ReLU', name 'c', top .*\), expected .*: change",
  ),
  'a top of one name': (
    V2 + 'layer { name: "s" type: "Slice" bottom: "f" top: "a" top: "r" '
    'slice_param { slice_point: 1 } }',
    r"one name, 'r': .* and layer \d+ \(type 'Slice', name 's', top 'a', 'r'\)",
  ),
  'no names': (
    re.sub('name: "[cr]" type', 'type', V2),
    r"two layers without a name: layer \d \(type 'Conv.* and .*: type name: ",
  ),
  'no kernel': (V2.replace('kernel_size: 3', ''), 'kernel'),
}


@pytest.mark.parametrize('name', BAD)
def test_a_bad_prototxt_is_named(name):
  text, words = BAD[name]
  with pytest.raises(UserError, match=words):
    caffe.parse(text)


def test_weights_of_nvidias_caffe_are_named(tmp_path):
  net = caffe_schema.message('NetParameter')
  blob = net.layer.add(name='c').blobs.add(raw_data=bytes(16))
  blob.shape.dim.append(8)
  (tmp_path / 'half.caffemodel').write_bytes(net.SerializeToString())
  with pytest.raises(UserError, match='NVIDIA.*: type store_blobs_in_old_form'):
    caffe.read_weights(str(tmp_path / 'half.caffemodel'))


def test_weights_that_do_not_fit_name_the_layer():
  found = caffemodel.blobs(V2)
  found['f'][0] = found['f'][0][:, :-1]
  with pytest.raises(UserError, match="layer 'f' is .575, 2.*expected .576"):
    caffe.model(*caffe.parse(V2), found)
  del found['c']
  with pytest.raises(UserError, match="nothing for 'c'"):
    caffe.model(*caffe.parse(V2), found)


def test_labels_come_from_a_list_or_a_file(tmp_path):
  _, prototxt, weights = imported(tmp_path, V2)
  names = tmp_path / 'names.txt'
  names.write_text('red\ngreen\n')
  model = caffe.load(str(prototxt), str(weights), labels=str(names))
  assert model.labels == ('red', 'green')
  with pytest.raises(UserError, match="1000 names .* expected 2, for layer 'f"):
    caffe.load(str(prototxt), str(weights), labels='imagenet')


def test_damaged_files_are_refused_in_words(tmp_path):
  """Whatever is flipped or cut, there is a network or a ValueError."""
  draw = np.random.RandomState(0)
  path = tmp_path / 'net.caffemodel'
  caffemodel.write(path, caffemodel.blobs(V2))
  content, text = path.read_bytes(), V2.encode()
  refused = 0
  for i in range(500):
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
  assert refused > 130


HALVES = """
name: "halves" input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "s" type: "Slice" bottom: "c" top: "a" top: "b" }
layer { name: "e" type: "Eltwise" bottom: "a" bottom: "b" top: "e"
  eltwise_param { operation: MAX } }
"""


def test_slices_without_points_are_equal_parts(tmp_path):
  model, *files = imported(tmp_path, HALVES)
  assert max(difference(model, *files).values()) < 1e-5
  acts = model(jnp.zeros((9, 9, 3)))
  assert acts['a'].shape == acts['b'].shape == (7, 7, 4)
  with pytest.raises(UserError, match='7 channels cannot be cut into 2 equal'):
    imported(tmp_path, HALVES.replace('num_output: 8', 'num_output: 7'))


def test_an_input_that_no_layer_reads_is_none():
  labelled = HALVES.replace(
    'input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9',
    'layer { name: "in" type: "Input" top: "data" top: "label" input_param {'
    ' shape { dim: 1 dim: 3 dim: 9 dim: 9 } shape { dim: 1 } } }',
  )
  assert caffe.parse(labelled) == caffe.parse(HALVES)
  with pytest.raises(
    UserError, match=r'2 inputs \(data, label\), expected one'
  ):
    caffe.parse(labelled.replace('bottom: "b"', 'bottom: "label"'))
