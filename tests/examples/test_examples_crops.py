"""Boxes against those of single units; crops against slices."""

import numpy as np
import pytest
import test_examples_passes

from vizjax.examples import crops as crops_
from vizjax.examples import passes
from vizjax.models import receptive_fields
from vizjax.workdir import store


def obvious(field, y, x, size):
  """The pixels of an image that a unit sees, one by one."""
  top, left, h, w = receptive_fields.box(field, int(y), int(x))
  rows = [row for row in range(top, top + h) if 0 <= row < size[0]]
  tables = [c for c in range(left, left + w) if 0 <= c < size[1]]
  return rows[0], tables[0], len(rows), len(tables)


def test_boxes_are_what_units_see_of_the_image():
  field = receptive_fields.Field(
    receptive_fields.Span(7, 2, -3), receptive_fields.Span(5, 3, -1)
  )
  positions = np.array([(y, x) for y in range(6) for x in range(4)], np.int32)
  found = crops_.boxes(field, positions.reshape(6, 4, 2), (12, 10))
  assert found.dtype == np.int32 and found.shape == (6, 4, 4)
  for (y, x), box in zip(positions, found.reshape(-1, 4), strict=True):
    assert tuple(box) == obvious(field, y, x, (12, 10))


def test_without_a_field_the_box_is_the_image():
  positions = np.zeros((5, 3, 2), np.int32)
  boxes = crops_.boxes(None, positions, (12, 10))
  assert (boxes == [0, 0, 12, 10]).all() and boxes.shape == (5, 3, 4)


def test_a_field_larger_than_the_image_is_cut_on_all_sides():
  span = receptive_fields.Span(99, 4, -40)
  field = receptive_fields.Field(span, span)
  boxes = crops_.boxes(field, np.array([[2, 3]], np.int32), (12, 10))
  assert boxes.tolist() == [[0, 0, 12, 10]]


@pytest.mark.parametrize('room', [1, 1300, 2**30])
def test_crops_do_not_depend_on_how_many_are_cut_at_a_time(
  room, tmp_path, monkeypatch
):
  monkeypatch.setattr(crops_, 'ROOM', room)
  monkeypatch.setattr(crops_, 'FILE', 600)  # bytes: a few rows
  scan = test_examples_passes.scan(k=3)
  *_, tally = passes.walk(scan, passes.begin(scan), 4)
  fields = {info.name: info.receptive_field for info in scan.model.layers}
  tables = crops_.layer_tables(scan, fields, tally)
  kept = crops_.opened(str(tmp_path), scan, fields, tables)
  steps = []
  crops_.cut(scan, kept, tables, lambda *n: steps.append(n))
  decoded, count = steps[-1]
  assert decoded == count and steps == [(i, count) for i in range(count + 1)]
  chosen = {i for table in tables.values() for i in table['index'].flat}
  assert (count == len(chosen)) == (room == 2**30)  # each once
  for layer, table in tables.items():
    crops = store.read(kept[layer], 'image')
    for place in np.ndindex(*table['index'].shape):
      top, left, h, w = table['box'][place]
      photograph = passes.prepared(scan, int(table['index'][place]))
      expected = np.zeros(crops.shape[2:], np.uint8)
      expected[:h, :w] = photograph[top : top + h, left : left + w]
      np.testing.assert_array_equal(crops[place], expected)
