"""Receptive fields against every tap, and against gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracles import receptive_fields as twin
from vizjax.models import receptive_fields
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables

# (kernel, stride, pad, dilation) of each layer, down and to the right.
STACKS = {
  'one': ([(3, 1, 1, 1)], [(3, 1, 1, 1)]),
  'alexnet': (
    [(11, 4, 2, 1), (3, 2, 0, 1), (5, 1, 2, 1), (3, 2, 0, 1), (3, 1, 1, 1)],
  )
  * 2,
  'oblong': ([(5, 3, 2, 1), (1, 1, 0, 1)], [(2, 2, 0, 1), (3, 1, 1, 1)]),
  'dilated': ([(3, 2, 1, 3), (3, 1, 2, 2)], [(3, 1, 1, 1), (2, 1, 0, 4)]),
  'skipping': ([(1, 3, 0, 1), (2, 2, 1, 1)],) * 2,
}


def field_of(down, right):
  """Composed layer by layer."""
  field = receptive_fields.PIXEL
  for rows, columns in zip(down, right, strict=True):
    kernel, stride, pad, dilation = zip(rows, columns, strict=True)
    window = tuple(
      (k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)
    )
    field = receptive_fields.compose(field, window, stride, pad)
  return field


@pytest.mark.parametrize('name', STACKS)
def test_the_box_holds_every_tap_and_no_more(name):
  down, right = STACKS[name]
  field = field_of(down, right)
  for y, x in [(0, 0), (3, 1), (6, 6)]:
    box = receptive_fields.box(field, y, x)
    assert (box.top, box.height) == twin.span(y, down)
    assert (box.left, box.width) == twin.span(x, right)


def test_conv5_of_caffenet_sees_163_pixels():
  # Published for unit (6, 6): rows and columns 32 to 194.
  stack = [
    (11, 4, 0, 1),
    (3, 2, 0, 1),
    (5, 1, 2, 1),
    (3, 2, 0, 1),
    *[(3, 1, 1, 1)] * 3,
  ]
  box = receptive_fields.box(field_of(stack, stack), 6, 6)
  assert box == receptive_fields.Box(32, 32, 163, 163)


TABLES = {
  'toy': tables.sequence(
    tables.conv('a', 2, 3, pad=1),
    tables.relu('b'),
    tables.max_pool('c', 2, 2),
    tables.conv('d', 2, 3, pad=1),
  ),
  'strided': tables.sequence(
    tables.conv('a', 2, 5, stride=2, pad=2),
    tables.max_pool('b', 3, 2),
    tables.conv('c', 2, 2),
  ),
  'dilated and oblong': tables.sequence(
    tables.conv('a', 2, 3)._replace(kernel=(3, 2), dilation=(2, 3)),
    tables.conv('b', 2, 3)._replace(stride=(1, 2), pad=(2, 0)),
  ),
  # The shortcut's windows lie half a stride from those beside it.
  'strided shortcut': tables.sequence(
    tables.conv('a', 2, 3, pad=1),
    tables.conv('b', 2, 2, stride=2, pad=1),
    tables.conv('c', 2, 1, stride=2)._replace(inputs=('a',)),
    tables.Layer('d', 'concat', ('b', 'c')),
    tables.conv('e', 2, 2),
  ),
}


@pytest.mark.parametrize('name', TABLES)
def test_the_gradient_reaches_the_whole_box_and_nothing_else(name):
  table, size = TABLES[name], (17, 15)
  network = layers.Network(table)
  draw = np.random.RandomState(0)
  # Many images, so that every pixel is the largest of its pool in one.
  images = draw.uniform(1, 2, (60, *size, 1)).astype(np.float32)
  shapes = jax.eval_shape(network.init, jax.random.key(0), images[0])
  # Positive weights: no rectifier is shut and nothing cancels.
  params = jax.tree.map(
    lambda s: jnp.asarray(draw.uniform(0.5, 1, s.shape), s.dtype), shapes
  )
  field = tables.receptive_fields_of(table)[table[-1].name]

  def score(image, y, x):
    return network.apply(params, image)[table[-1].name][y, x].sum()

  gradients = jax.jit(jax.vmap(jax.grad(score), (0, None, None)))
  h, w, _ = jax.eval_shape(network.apply, params, images[0])[
    table[-1].name
  ].shape
  for y, x in [(0, 0), (h - 1, w - 1), (h // 2, w // 2), (0, w - 1)]:
    reached = np.asarray(gradients(images, y, x) != 0).any((0, 3))
    box = receptive_fields.box(field, y, x)
    expected = clipped(box, *size)
    ends = np.zeros_like(reached)
    rows, columns = np.nonzero(reached)
    ends[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    np.testing.assert_array_equal(ends, expected)


def clipped(box, h, w):
  """The part of a box that lies on the image."""
  rows, columns = np.arange(h)[:, None], np.arange(w)[None, :]
  return (
    (rows >= box.top)
    & (rows < box.top + box.height)
    & (columns >= box.left)
    & (columns < box.left + box.width)
  )


def test_union_holds_what_any_branch_sees():
  # An inception block: 1 x 1, 3 x 3 and 5 x 5 beside each other.
  stem = (4, 2, 1, 1)
  branches = [[stem, (k, 1, k // 2, 1)] for k in (1, 3, 5)]
  lopsided = [stem, (3, 1, 0, 1)]
  stacks = [*branches, lopsided]
  field = receptive_fields.union([field_of(s, s) for s in stacks])
  for index in (0, 4):
    pixels = set().union(*(twin.seen(index, s) for s in stacks))
    box = receptive_fields.box(field, index, index)
    assert (box.top, box.top + box.height - 1) == (min(pixels), max(pixels))
    assert (box.left, box.width) == (box.top, box.height)


def test_union_of_one_is_itself():
  field = field_of(*STACKS['oblong'])
  assert receptive_fields.union([field]) == field


def test_branches_of_different_strides_have_no_union():
  one = field_of([(3, 1, 1, 1)], [(3, 1, 1, 1)])
  for down, right in [(2, 1), (1, 2), (2, 2)]:
    other = field_of([(3, down, 1, 1)], [(3, right, 1, 1)])
    assert receptive_fields.union([one, other]) is None


def test_union_is_along_each_axis():
  high = field_of([(7, 1, 3, 1)], [(1, 1, 0, 1)])
  wide = field_of([(1, 1, 0, 1)], [(7, 1, 3, 1)])
  span = receptive_fields.Span(7, 1, -3)
  assert receptive_fields.union([high, wide]) == (span, span)


def test_the_units_on_a_window_are_those_whose_boxes_are():
  field = receptive_fields.Field(
    receptive_fields.Span(5, 3, -4), receptive_fields.Span(2, 1, 0)
  )
  for origin in [(0, 0), (2, 1), (-4, 0), (-5, -3), (7, 9)]:
    y, x = receptive_fields.first(field, origin)
    moved = receptive_fields.on_window(field, origin)
    for unit in (0, 4):
      box = receptive_fields.box(field, y + unit, x + unit)
      here = receptive_fields.box(moved, unit, unit)
      assert (here.top, here.left) == (
        box.top - origin[0],
        box.left - origin[1],
      )
      assert here[2:] == box[2:]
    before = receptive_fields.box(field, y - 1, x - 1)
    assert before.top < origin[0] and before.left < origin[1]
    assert min(moved.y.offset, moved.x.offset) >= 0


def test_a_box_is_inside_where_all_of_its_pixels_are():
  image = np.zeros((5, 6))
  for top in range(-2, 6):
    for left in range(-2, 7):
      for size in [(1, 1), (3, 2), (5, 6), (6, 1), (1, 7)]:
        box = receptive_fields.Box(top, left, *size)
        whole = clipped(box, *image.shape).sum() == size[0] * size[1]
        assert receptive_fields.inside(box, *image.shape) == whole


def test_padding_sees_off_the_image():
  field = field_of([(3, 1, 1, 1)], [(3, 1, 1, 1)])
  assert receptive_fields.box(field, 0, 0) == (-1, -1, 3, 3)
  assert not receptive_fields.inside(receptive_fields.box(field, 0, 0), 12, 12)
