"""A unit on its box, and maps without padding, against the padded network.

In float64, by value and by gradient, on networks drawn at random: branches of
several kernels and strides side by side, shortcuts with a stride, TensorFlow's
padding, even and dilated kernels, pools that round up.
"""

import conftest
import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vizjax import models
from vizjax.errors import UserError
from vizjax.models import receptive_fields
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables

pytestmark = pytest.mark.usefixtures('quickly', 'x64')

EXACT = 1e-11  # of the largest number: sums in another order


def beside(name, below, *branches, kind='concat'):
  """Chains of layers that read one layer, and a layer that joins them."""
  rows, tops = [], []
  for i, branch in enumerate(branches):
    top = below
    for row in branch:
      rows.append(row._replace(name=f'{name}_{i}_{row.name}', inputs=(top,)))
      top = rows[-1].name
    tops.append(top)
  return [*rows, tables.Layer(name, kind, tuple(tops))]


def same(name, features, kernel, stride=1):
  row = tables.conv(name, features, kernel, stride)
  return row._replace(options=(('same', True),))


def residual(name, below, features, stride, main=None):
  """A block of torch's ResNets: 3 x 3 beside a strided 1 x 1."""
  branch = main or [
    tables.conv('a', features, 3, stride, pad=1),
    tables.Layer('tanh', 'tanh'),
    tables.conv('b', features, 3, pad=1),
  ]
  shortcut = [tables.conv('s', features, 1, stride)]
  return beside(name, below, branch, shortcut, kind='eltwise')


STEM = tables.conv('stem', 3, 3, pad=1)._replace(inputs=(tables.DATA,))

NAMED = {
  'resnet': (
    STEM._replace(kernel=(7, 7), stride=(2, 2), pad=(3, 3)),
    tables.max_pool('pool', 3, 2, pad=1)._replace(inputs=('stem',)),
    *residual('one', 'pool', 4, 2),
    tables.Layer('relu', 'relu', ('one',)),
    *residual('two', 'relu', 4, 2),
    tables.conv('top', 2, 1)._replace(inputs=('two',)),
  ),
  'tensorflow': (
    same('stem', 3, 3, 2)._replace(inputs=(tables.DATA,)),
    *residual('one', 'stem', 4, 2, [same('a', 4, 4, 2), same('b', 4, 3)]),
    *residual('two', 'one', 4, 2, [same('a', 4, 3, 2), same('b', 4, 2)]),
  ),
  'averaged': (
    STEM,
    *beside(
      'one',
      'stem',
      [tables.conv('a', 3, 1), tables.conv('b', 3, 3, 2, pad=1)],
      [
        tables.Layer('p', 'average_pool', (), 0, (2, 2), (2, 2))._replace(
          options=(('ceil', True), ('inside', True))
        ),
        tables.conv('c', 3, 1),
      ],
      kind='eltwise',
    ),
    tables.conv('top', 2, 3, pad=1)._replace(inputs=('one',)),
  ),
  'inception': (
    STEM._replace(stride=(2, 2)),
    tables.max_pool('pool', 3, 2, ceil=True)._replace(inputs=('stem',)),
    *beside(
      'one',
      'pool',
      [tables.conv('a', 2, 1)],
      [tables.conv('a', 2, 1), tables.conv('b', 2, 5, pad=2)],
      [tables.max_pool('p', 3, 1, pad=1), tables.conv('b', 2, 1)],
    ),
    *beside(
      'two',
      'one',
      [tables.conv('a', 2, 3, 2, pad=1)],
      [tables.conv('a', 2, 5, pad=2), tables.conv('b', 2, 1, 2)],
      [tables.max_pool('p', 3, 2, ceil=False, pad=1)],
    ),
  ),
}


def drawn(seed):
  """A network of two to four layers or blocks, and the size of its image."""
  draw = random.Random(seed)
  while True:
    size = draw.randrange(33, 62), draw.randrange(33, 62)
    table, below, shape = (), tables.DATA, size
    for i in range(draw.randrange(2, 5)):
      stride = draw.choice((1, 2, 2))
      if draw.random() < 0.6:
        rows = _block(draw, f'block{i}', below, shape, stride)
      else:
        rows = [_window(draw, f'layer{i}', stride)._replace(inputs=(below,))]
      table, below = (*table, *rows), rows[-1].name
      shape = _sizes(table, size)[below]
      if min(shape) < 3:
        break
    else:
      if min(map(len, _interior(table, size))) >= 2:
        return table, size


def _block(draw, name, below, shape, stride):
  """Branches that are of one size, whatever their kernels."""
  wanted, found = None, []
  for _ in range(200):
    rows = [_window(draw, 'a', stride)]
    if draw.random() < 0.5:
      rows.insert(draw.choice((0, 1)), _window(draw, 'b', 1))
    start = tables.Layer('start', 'identity', (tables.DATA,))
    branch = (start, *beside('end', 'start', rows))
    got = _sizes(branch, shape)['end']
    if min(got) > 0 and got == (wanted or got):
      wanted = got
      found.append(rows)
    if len(found) == 3:
      break
  return beside(name, below, *found)


def _window(draw, name, stride):
  kernel = draw.randrange(1, 5), draw.randrange(1, 5)
  pad = tuple(draw.randrange(k // 2 + 1) for k in kernel)
  row = tables.Layer(name, 'conv', (), 2, kernel, (stride, stride), pad)
  kind = draw.choice(('conv', 'conv', 'same', 'max_pool', 'average_pool'))
  if kind == 'conv':
    return row._replace(dilation=(draw.choice((1, 2)), draw.choice((1, 2))))
  if kind == 'same':
    return row._replace(pad=(0, 0), options=(('same', True),))
  options = {'ceil': draw.random() < 0.5}
  if kind == 'average_pool':
    options['inside'] = draw.random() < 0.5
  return row._replace(kind=kind, features=0, options=(*options.items(),))


def _sizes(table, size):
  """(h, w) of every map, by the rules of torch, Caffe and TensorFlow."""
  sizes = {tables.DATA: size}
  for row in table:
    below = sizes[row.inputs[0]]
    sizes[row.name] = below
    if row.kind in tables.WINDOWED:
      windows = zip(
        below, row.kernel, row.stride, row.pad, row.dilation, strict=True
      )
      sizes[row.name] = tuple(_count(row, *window) for window in windows)
  return sizes


def _count(row, n, kernel, stride, pad, dilation):
  if row.option('same', False):
    return -(-n // stride)
  room = n + 2 * pad - (kernel - 1) * dilation - 1
  if not row.option('ceil', False):
    return room // stride + 1
  count = -(-room // stride) + 1
  # Caffe's rule: with any padding, of either axis.
  return count - (any(row.pad) and (count - 1) * stride >= n + pad)


def _interior(table, size):
  """Rows and columns of the last layer whose units see no padding."""
  table = layers.with_own_pads(table, (*size, 3))
  field, counts = (
    tables.receptive_fields_of(table)[table[-1].name],
    _sizes(table, size),
  )
  return [
    [
      i
      for i in range(count)
      if 0 <= span.offset + i * span.stride <= n - span.size
    ]
    for span, n, count in zip(field, size, counts[table[-1].name], strict=True)
  ]


def network(table, size):
  """With weights of about one over the root of the inputs, in float64."""
  _, shapes = layers.shapes(table, (*size, 3))
  draw = np.random.RandomState(0)
  params = jax.tree.map(
    lambda s: draw.normal(0, math.prod(s.shape[:-1]) ** -0.5, s.shape), shapes
  )
  net = layers.model(table, params, mean=(0.0,) * 3, input_shape=(*size, 3))
  # layers.model stores float32.
  return jax.tree.map(lambda a: jnp.asarray(a, float), net)


def image_of(size):
  return jnp.asarray(np.random.RandomState(1).normal(0, 1, (*size, 3)))


def unit_and_gradient(net, layer, image, y, x):
  """The vector of a unit, and the gradient of one number made of it."""

  def score(image):
    vector = net(image)[layer][y, x]
    return jnp.sum(jnp.sin(jnp.arange(1.0, len(vector) + 1)) * vector), vector

  slope, vector = jax.grad(score, has_aux=True)(image)
  return vector, slope


def check_boxes(table, size):
  net, image = network(table, size), image_of(size)
  layer = table[-1].name
  small = models.boxed(net, layer)
  field = {info.name: info.receptive_field for info in net.layers}[layer]
  rows, columns = _interior(table, size)
  full = jax.jit(lambda i, y, x: unit_and_gradient(net, layer, i, y, x))
  alone = jax.jit(lambda i: unit_and_gradient(small, layer, i, 0, 0))
  for y, x in (
    (rows[0], columns[-1]),
    (rows[len(rows) // 2], columns[len(columns) // 2]),
    (rows[-1], columns[0]),
  ):
    top, left, h, w = receptive_fields.box(field, y, x)
    here = np.s_[top : top + h, left : left + w]
    shape = jax.eval_shape(small, image[here])[layer].shape
    vector, slope = full(image, y, x)
    assert shape == (1, 1, len(vector))
    found, found_slope = alone(image[here])
    assert np.abs(vector).max() > 1e-3 and np.abs(slope).max() > 1e-6
    close(found, vector)
    close(
      np.zeros_like(slope) + jnp.pad(found_slope, _frame(here, size)), slope
    )


def _frame(here, size):
  rows, columns = here
  h, w = size
  return (
    (rows.start, h - rows.stop),
    (columns.start, w - columns.stop),
    (0, 0),
  )


def close(found, expected):
  scale = np.abs(expected).max()
  np.testing.assert_allclose(
    np.asarray(found) / scale, np.asarray(expected) / scale, atol=EXACT, rtol=0
  )


def check_without_padding(table, size):
  """Every map is the part of the padded one that sees nothing but a window."""
  net, image = network(table, size), image_of(size)
  bare = models.unpadded(net)
  fields = {info.name: info.receptive_field for info in net.layers}
  moved = {info.name: info.receptive_field for info in bare.layers}
  last = fields[table[-1].name]
  # The window begins where the field of a unit of the last layer begins.
  corner = [
    -(span.offset // span.stride) * span.stride + span.offset for span in last
  ]
  top, left = corner
  bottom, right = size[0] - 1, size[1]
  window = image[top:bottom, left:right]
  acts = jax.jit(lambda image: net(image))(image)
  parts = jax.jit(lambda window: bare(window))(window)
  assert set(acts) == set(parts)
  for layer, part in parts.items():
    y, x = receptive_fields.first(fields[layer], (top, left))
    h, w, _ = part.shape
    close(part, acts[layer][y : y + h, x : x + w])
    # All that see nothing else, and what each of them sees.
    for n, span, end in zip((h, w), moved[layer], window.shape, strict=False):
      assert span.offset + (n - 1) * span.stride + span.size <= end
      assert span.offset + n * span.stride + span.size > end
      assert 0 <= span.offset < span.stride


@pytest.mark.parametrize(
  'name', ['resnet', *conftest.slow('inception', 'averaged', 'tensorflow')]
)
def test_a_unit_is_exact_in_its_box(name):
  check_boxes(NAMED[name], (129, 132))


@pytest.mark.parametrize(
  'name', ['resnet', *conftest.slow('inception', 'averaged', 'tensorflow')]
)
def test_maps_without_padding_are_parts_of_the_padded_ones(name):
  check_without_padding(NAMED[name], (129, 132))


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(20))
def test_random_networks(seed):
  table, size = drawn(seed)
  check_boxes(table, size)
  check_without_padding(table, size)


@pytest.mark.parametrize(
  'row',
  (
    tables.deconv('top', 2, 3),
    tables.Layer('top', 'lrn', options=(('within', True),)),
    tables.Layer('top', 'crop', ('stem', tables.DATA)),
  ),
)
def test_what_has_no_form_without_padding_is_refused(row):
  table = (STEM, row if row.inputs else row._replace(inputs=('stem',)))
  bare = models.unpadded(network(table, (12, 12)))
  with pytest.raises(UserError, match="'top'.*cannot be computed without pad"):
    jax.eval_shape(lambda image: bare(image), image_of((12, 12)))
  cut = models.cut(bare, ('stem',))
  assert cut(image_of((12, 12)))['stem'].shape == (10, 10, 3)


def test_weights_for_each_position_have_no_box():
  options = (('shape', (3, 12, 12)),)
  table = (STEM, tables.Layer('top', 'scale', ('stem',), options=options))
  with pytest.raises(UserError, match="'top' has no receptive field"):
    models.boxed(network(table, (12, 12)), 'top')


def test_fields_under_the_padding_of_tensorflow_are_of_the_size_at_hand():
  # A stride of 2 and a kernel of 3: of 12 rows all padding is below the last.
  net = network(
    (same('top', 2, 3, 2)._replace(inputs=(tables.DATA,)),), (12, 13)
  )
  starts = lambda net: [span.offset for span in net.layers[0].receptive_field]
  assert starts(net) == [0, -1]
  assert starts(models.sized(net, 13, 12)) == [-1, 0]
  assert models.sized(net, 13, 12).input_shape == (13, 12, 3)
  table = (STEM,)
  assert (
    models.sized(network(table, (12, 12)), 9, 8).apply.network.table == table
  )
