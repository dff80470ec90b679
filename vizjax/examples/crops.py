"""What the units at the maxima see: crops of the strongest photographs.

tables = layer_tables(scan, fields, tally)
stores = opened('DIR/examples', scan, fields, tables)
cut(scan, stores, tables)
"""

import collections
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
import functools
import math
from typing import Any, NamedTuple

from jaxtyping import Int
import numpy as np

from vizjax.examples import passes
from vizjax.examples import top as top_
from vizjax.models import receptive_fields
from vizjax.photographs import images as images_
from vizjax.workdir import store

FILE = 2**23  # bytes of crops in a file
ROOM = 2**30  # bytes of crops that are cut at a time

# Pixels of the longer side of a photograph that is kept whole, for units that
# see all of it: of 4,096 units each with nine those of 224 were 5.5 GB.
WHOLE = 112

Fields = Mapping[str, receptive_fields.Field | None]
Tables = dict[str, dict[str, np.ndarray]]


class _Part(NamedTuple):
  """Some channels of a layer, of one chunk of its arrays."""

  layer: str
  rows: np.ndarray  # [r]


def layer_tables(
  scan: passes.Scan, fields: Fields, tally: passes.Tally
) -> Tables:
  """All that is known of each layer but for the crops.

  Args:
    scan: what was looked at.
    fields: the receptive field of each layer; None for the whole image.
    tally: what is known once all photographs are looked at.

  Returns:
    {layer: {'value', 'index': [c, k], 'position': [c, k, 2], 'box':
    [c, k, 4], 'maximum', 'mean', 'deviation', 'p99', 'p99_9': [c]}}. Without
    a photograph the value is NaN, the index -1, and the rest 0.
  """
  statistics = passes.statistics(scan, tally)
  found = {}
  for layer, part in passes.units(scan).items():
    value, index, position = (each[:, part].T for each in tally.top)
    there = index != top_.NONE
    shape = scan.layers[layer]
    width = shape[1] if len(shape) == 3 else 1
    places = np.stack(np.divmod(position, width), -1).astype(np.int32)
    found[layer] = {
      'value': np.where(there, value, np.float32(np.nan)),
      'index': np.where(there, index, np.int32(-1)),
      'position': places,
      'box': boxes(fields[layer], places, scan.size) * there[..., None],
      **{name: of_all[part] for name, of_all in statistics.items()},
    }
  return found


def boxes(
  field: receptive_fields.Field | None,
  positions: Int[np.ndarray, '*n 2'],
  size: tuple[int, int],
) -> Int[np.ndarray, '*n 4']:
  """What units see of an image: top, left, h, w; what is off it is cut away.

  Args:
    field: of their layer; None for the whole image.
    positions: (y, x) of each unit in the layer's map.
    size: (h, w) of the image.
  """
  if field is None:
    whole = np.array([0, 0, *size], np.int32)
    return np.tile(whole, (*positions.shape[:-1], 1))
  start, stride = (
    np.array([getattr(span, name) for span in field], np.int32)
    for name in ('offset', 'stride')
  )
  corner = start + positions * stride
  far = corner + np.array([span.size for span in field], np.int32)
  corner, far = (np.clip(each, 0, size) for each in (corner, far))
  return np.concatenate([corner, far - corner], -1).astype(np.int32)


def opened(
  folder: str, scan: passes.Scan, fields: Fields, tables: Tables
) -> dict[str, store.Store]:
  """The arrays of each layer, opened or made; all is written but the crops."""
  stores = {}
  for layer, table in tables.items():
    row = _row(scan, fields[layer])
    chunk = max(1, FILE // math.prod(row))
    path, count = store.directory(folder, layer), len(table['index'])
    crops = {'image': (row, np.uint8)}
    stores[layer] = store.create(path, crops, count, min(chunk, count), table)
  return stores


def size(scan: passes.Scan, fields: Fields) -> int:
  """How many bytes the crops take before they are compressed."""
  return sum(
    shape[-1] * math.prod(_row(scan, fields[layer]))
    for layer, shape in scan.layers.items()
  )


def cut(
  scan: passes.Scan,
  stores: Mapping[str, store.Store],
  tables: Tables,
  report: Callable[[int, int], Any] = lambda done, count: None,
) -> None:
  """Writes the crops that are missing.

  Every photograph is decoded once, or once for each `ROOM` bytes of crops.

  Args:
    scan: what was looked at.
    stores: the arrays of each layer, from `opened`.
    tables: from `layer_tables`.
    report: is called with how many photographs are cut, and of how many.
  """
  groups = list(_groups(stores))
  numbers = [_numbers(tables, group) for group in groups]
  done, count = 0, sum(map(len, numbers))
  report(done, count)
  for group, photographs in zip(groups, numbers, strict=True):
    images = [
      np.zeros((len(rows), *stores[layer].arrays['image'].shape[1:]), np.uint8)
      for layer, rows in group
    ]
    for _ in _cutting(scan, tables, group, images, photographs):
      done += 1
      report(done, count)
    for (layer, rows), crops in zip(group, images, strict=True):
      store.write(stores[layer], rows, {'image': crops})


def _row(
  scan: passes.Scan, field: receptive_fields.Field | None
) -> tuple[int, int, int, int]:
  """The shape of the crops of one channel."""
  h, w = scan.size
  if field is not None:
    return scan.k, min(field.y.size, h), min(field.x.size, w), 3
  scale = min(1, WHOLE / max(h, w))
  return scan.k, *(max(1, round(n * scale)) for n in (h, w)), 3


def _groups(stores: Mapping[str, store.Store]) -> Iterator[list[_Part]]:
  """The channels whose crops are missing; those of a group fit into memory."""
  group, size = [], 0
  for layer, each in stores.items():
    row = math.prod(each.arrays['image'].shape[1:])
    for rows in store.missing(each).values():
      if group and size + row * len(rows) > ROOM:
        yield group
        group, size = [], 0
      group.append(_Part(layer, rows))
      size += row * len(rows)
  if group:
    yield group


def _numbers(tables: Tables, group: list[_Part]) -> list[int]:
  """The photographs that a group is cut from."""
  indices = [tables[layer]['index'][rows].ravel() for layer, rows in group]
  numbers = np.unique(np.concatenate(indices))
  return numbers[numbers >= 0].tolist()


def _cutting(
  scan: passes.Scan,
  tables: Tables,
  group: list[_Part],
  images: list[np.ndarray],
  photographs: list[int],
) -> Iterator[None]:
  """Fills the crops of a group, photograph by photograph."""
  wanted = collections.defaultdict(list)  # crops and boxes, by photograph
  for (layer, rows), crops in zip(group, images, strict=True):
    index, box = (tables[layer][name][rows] for name in ('index', 'box'))
    for place in zip(*np.nonzero(index >= 0), strict=True):
      wanted[int(index[place])].append((crops[place], box[place]))

  def cut_from(number):
    image = passes.prepared(scan, number)
    small = functools.cache(
      lambda shape: images_.to_uint8(images_.resize(image, shape))
    )
    for crop, (top, left, h, w) in wanted[number]:
      if (h, w) == image.shape[:2] != crop.shape[:2]:
        crop[...] = small(crop.shape[:2])
      else:
        crop[:h, :w] = image[top : top + h, left : left + w]

  pool = futures.ThreadPoolExecutor()
  try:
    yield from pool.map(cut_from, photographs)
  finally:
    pool.shutdown(wait=False, cancel_futures=True)  # an interruption is prompt
