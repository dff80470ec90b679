"""Resizing and cutting, against the filters written out."""

import dataclasses
import math

import conftest
import jax
import numpy as np
from oracles import caffemodel
import pytest

from vizjax import build
from vizjax import models
from vizjax.errors import UserError
from vizjax.models.networks import googlenet
from vizjax.models.networks import packaged
from vizjax.models.networks import published
from vizjax.photographs import datasets
from vizjax.photographs import preprocessing
from vizjax.workdir import store

HOW = preprocessing.Preprocessing


def draw(h, w):
  shape = (h, w, 3)
  return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def triangle(x):
  return max(0.0, 1 - abs(x))


def cubic(x):
  """Keys 1981, with a = -1/2."""
  x = abs(x)
  if x < 1:
    return 1.5 * x**3 - 2.5 * x**2 + 1
  return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def weights(old, new, kernel):
  """[new, old]: the kernel, stretched where the image shrinks."""
  step = old / new
  table = [
    [kernel(((j + 0.5) - (i + 0.5) * step) / max(step, 1)) for j in range(old)]
    for i in range(new)
  ]
  table = np.array(table)
  return table / table.sum(1, keepdims=True)


def whole(image):
  """Rounded as Pillow does, a half up."""
  return np.clip(np.floor(image + 0.5 + 1e-9), 0, 255)


def resized(image, h, w, kernel):
  """In whole numbers in between, too: rows or columns first, as Pillow may."""
  across = weights(image.shape[1], w, kernel)
  down = weights(image.shape[0], h, kernel)
  image = image.astype(float)
  rows_first = whole(np.einsum('ij,hjc->hic', across, image))
  columns_first = whole(np.einsum('ij,jwc->iwc', down, image))
  return (
    whole(np.einsum('ij,jwc->iwc', down, rows_first)),
    whole(np.einsum('ij,hjc->hic', across, columns_first)),
  )


@pytest.mark.parametrize(
  'name, kernel', [('bilinear', triangle), ('bicubic', cubic)]
)
@pytest.mark.parametrize('warp', [True, False])
@pytest.mark.parametrize('shape', [(61, 40), (37, 83), (12, 17)])
def test_it_is_the_filter_written_out_and_the_centre(name, kernel, warp, shape):
  size, (h, w) = 24, (15, 20)
  image = draw(*shape)
  sizes = (size, size)
  if not warp:
    sizes = [math.floor(size * side / min(shape)) for side in shape]
  top, left = math.floor((sizes[0] - h) / 2), math.floor((sizes[1] - w) / 2)
  found = preprocessing.apply(HOW(size, warp, name), image, (h, w))
  assert found.dtype == np.float32 and found.shape == (h, w, 3)
  gaps = [
    np.abs(found - expected[top : top + h, left : left + w])
    for expected in resized(image, *sizes, kernel)
  ]
  gap = min(gaps, key=np.mean)
  # Pillow's weights are whole numbers of 22 bits: a half may fall either way.
  assert gap.max() <= 1 and np.mean(gap > 0) < 0.005


def test_an_image_of_the_right_size_is_only_cut():
  image = draw(10, 13)
  found = preprocessing.apply(HOW(10, False, 'bilinear'), image, (7, 10))
  np.testing.assert_array_equal(found, image[1:8, 1:11])


def test_the_input_may_not_be_larger_than_what_it_is_cut_from():
  with pytest.raises(UserError, match='short:9:bicubic leaves 9.*at least 11'):
    preprocessing.apply(HOW(9, False, 'bicubic'), draw(30, 30), (9, 11))


SHORT, CUBIC = HOW(256, False, 'bilinear'), HOW(256, False, 'bicubic')
CAFFE = HOW(256, True, 'bilinear')
OF_CAFFE = (
  'bvlc_alexnet', 'bvlc_caffenet', 'bvlc_googlenet', 'caffenet_yos',
  'places205_alexnet', 'places205_googlenet',
)  # fmt: skip


OTHER = HOW(259, False, 'bilinear')  # 227 * 8 / 7


@pytest.fixture
def without_files(monkeypatch, tmp_path):
  """Networks are loaded without their weights: each is the toy network."""

  def read(name, network, path):
    toy = conftest.toy()
    return dataclasses.replace(toy, preprocessing=network.preprocessing)

  monkeypatch.setattr(published, 'find', lambda name, weights: 'weights')
  monkeypatch.setattr(published, 'read', read)
  monkeypatch.setattr(googlenet, 'transforms', lambda path, given: True)
  monkeypatch.setattr(packaged, 'find', lambda *_: 'weights')
  monkeypatch.setattr(packaged, 'read', lambda *_: b'')
  monkeypatch.chdir(tmp_path)
  text = (
    'input: "data" input_dim: 1 input_dim: 3 input_dim: 12 input_dim: 12 '
    'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" '
    'convolution_param { num_output: 2 kernel_size: 3 } }'
  )
  (tmp_path / 'a').write_text(text)
  caffemodel.write(tmp_path / 'b', caffemodel.blobs(text))


def loaded(formula):
  config = build.config()
  config.model = formula
  with config.unlocked():
    config.network = 'vgg19'
  return build.model(config)


@pytest.mark.parametrize(
  'formula, expected',
  [
    ("load('efficientnet_lite0')", CUBIC),
    ("load('efficientnet_lite0', 'other.pth')", CUBIC),
    ("vizjax.models.load('efficientnet_lite0')", CUBIC),
    *((f'load({name!r})', CAFFE) for name in OF_CAFFE),
    ("caffe.load('a', 'b')", CAFFE),
    ("vizjax.models.caffe.load('a', 'b', mean=(1., 2., 3.))", CAFFE),
    ("load('vgg16')", SHORT),
    ("load('vgg19')", SHORT),
    ("load('torchvision_alexnet')", SHORT),
    ("load('torchvision_googlenet')", SHORT),
    ("load('torchvision_vgg16')", SHORT),
    ("load('torchvision_vgg19')", SHORT),
    ("load('deepsim_fc6')", OTHER),
    ('toynets.net()', OTHER),
    # Of what is made of a network.
    ('load(network)', SHORT),
    ("computed_in(load('vgg16'), 'bfloat16')", SHORT),
    ("pooled(load('vgg19'), 'avg')", SHORT),
    ("unpadded(load('bvlc_googlenet'))", CAFFE),
    ("unpadded(cut(load('efficientnet_lite0'), ('relu2',)))", CUBIC),
    ("boxed(load('bvlc_alexnet'), 'conv2')", CAFFE),
    ("sized(load('bvlc_alexnet'), 20, 24)", CAFFE),
    ('unpadded(toynets.net())', OTHER),
  ],
)
def test_a_network_has_its_own(without_files, formula, expected):
  assert preprocessing.own(loaded(formula), (227, 227)) == expected


def test_networks_of_lpips_have_the_default():
  for name in ('alexnet_features', 'vgg16_features'):
    model = models.load(name)
    assert model.preprocessing is None
    assert preprocessing.own(model, (240, 240)) == HOW(274, False, 'bilinear')


def test_a_network_that_fits_an_image_keeps_it():
  model = dataclasses.replace(conftest.toy(), preprocessing=CAFFE)
  assert models.fitting(model, 7, 8)[0].preprocessing == CAFFE


def test_preprocessing_is_no_leaf_of_a_model():
  model = conftest.toy()
  other = dataclasses.replace(model, preprocessing=CAFFE)
  one, two = map(jax.tree.leaves, (model, other))
  assert store.fingerprint(one, ()) == store.fingerprint(two, ())


@pytest.mark.parametrize(
  'stated, sizes',
  [
    (CAFFE, {28: 32, 32: 36, 64: 72, 224: 256, 227: 256, 256: 256, 300: 338}),
    (SHORT, {112: 128, 224: 256, 299: 342}),
    (CUBIC, {64: 73, 224: 256}),
  ],
)
def test_the_size_is_in_proportion_to_the_input(stated, sizes):
  model = dataclasses.replace(conftest.toy(), preprocessing=stated)
  for side, size in sizes.items():
    how = preprocessing.own(model, (side, side))
    assert how == stated._replace(size=size)
    # The input is at least three quarters of the image that it is cut from.
    assert (side / how.size) ** 2 > 0.74
    preprocessing.check(how, (side, side))


def test_another_type_is_refused():
  text = 'short:256:bilinear'
  model = dataclasses.replace(conftest.toy(), preprocessing=text)
  match = "is 'short:256:bilinear', expected None or a Preprocessing: type "
  with pytest.raises(UserError, match=match):
    preprocessing.own(model, (12, 12))


def test_a_strip_is_refused_by_its_name():
  example = datasets.Example('a/b.png', draw(3, 301), '')
  with pytest.raises(UserError, match="'a/b.png' is 301 x 3 pixels, .* 100 ti"):
    preprocessing.prepared(HOW(14, False, 'bilinear'), example, (12, 12))
  example = example._replace(image=draw(3, 300))
  found = preprocessing.prepared(HOW(14, False, 'bilinear'), example, (12, 12))
  assert found.image.dtype == np.uint8 and found.image.shape == (12, 12, 3)


def test_the_default_has_torchvisions_margin():
  sizes = {224: 256, 299: 342, 12: 14, 64: 73}
  for side, size in sizes.items():
    found = preprocessing.default((side, side - 1))
    assert found == HOW(size, False, 'bilinear')


def test_a_batch_is_no_larger_than_what_there_is_and_what_fits():
  assert preprocessing.together(32, 500, (224, 224)) == 32
  assert preprocessing.together(30000, 500, (224, 224)) == 500
  assert preprocessing.together(32, 0, (224, 224)) == 1
  assert preprocessing.together(1, 9, (30000, 30000)) == 1
  largest = 2**30 // (3 * 224 * 224)
  assert preprocessing.together(largest, 10**6, (224, 224)) == largest
  with pytest.raises(UserError, match=f'--batch=30000: .*--batch={largest} or'):
    preprocessing.together(30000, 10**6, (224, 224))


def test_what_is_printed_can_be_typed():
  for text in ('warp:256:bilinear', 'short:300:bicubic'):
    assert str(preprocessing.parse(text)) == text
  assert preprocessing.parse('warp:256:bilinear') == CAFFE


@pytest.mark.parametrize(
  'text',
  ['', 'warp', 'warp:256', 'crop:256:bilinear', 'warp:-2:bilinear',
   'warp:0:bilinear', 'warp:99999999:bilinear', 'short:256:lanczos',
   'short:a:bicubic', 'a:b:c:d'],
)  # fmt: skip
def test_what_cannot_be_read_is_told(text):
  with pytest.raises(UserError, match='cannot be read.*type short:') as caught:
    preprocessing.parse(text)
  assert repr(text) in str(caught.value)
