"""The windows of Caffe's convolutions and poolings: kernel, stride, padding."""

import math
from typing import Any

from vizjax.errors import UserError
from vizjax.models.interpreter import tables

Reader = Any  # layers.Reader of this package, which imports this module


def placed(reader: Reader, field: str, row: tables.Layer) -> tables.Layer:
  """The row with the window that its layer has.

  Args:
    reader: the layer.
    field: of its parameters, such as pooling_param.
    row: without a window.

  Raises:
    UserError: the layer has no kernel, or no window can be so.
  """
  pairs = {}
  for ours, both, one, default in (
    ('kernel', 'kernel_size', 'kernel', 0),
    ('stride', 'stride', 'stride', 1),
    ('pad', 'pad', 'pad', 0),
  ):
    value = reader.get(field, both, default)
    value = value if isinstance(value, list) else [value]
    if len(value) > 2:
      raise UserError(
        f'layer {row.name!r} has {both} {value}, expected one number or two'
      )
    value = (value * 2)[:2]
    pairs[ours] = tuple(
      reader.get(field, f'{one}_{axis}', value[i])
      for i, axis in enumerate('hw')
    )
  row = row._replace(**pairs)
  if row.option('whole', False):
    return row
  if min(row.kernel + row.stride) < 1:
    raise UserError(
      f'layer {row.name!r} has kernel {row.kernel} and stride {row.stride}, '
      'expected numbers >= 1'
    )
  return _padded(reader, field, row)


def _padded(reader: Reader, field: str, row: tables.Layer) -> tables.Layer:
  """The row with the padding of each side, where the layer gives that."""
  parameters = getattr(reader.layer, field)
  sides = ('pad_t', 'pad_l', 'pad_b', 'pad_r')
  given = [side for side in sides if parameters.HasField(side)]
  if given and max(row.pad) > 0:
    raise UserError(
      f'layer {row.name!r} has padding {row.pad} and also '
      f'{", ".join(given)}, expected one of them'
    )
  if given:
    top, left, bottom, right = (reader.get(field, side, 0) for side in sides)
    row = row._replace(pad=(top, left))
    if (bottom, right) != (top, left):
      row = row._replace(options=(*row.options, ('end', (bottom, right))))
  # Caffe allows no window of a pooling that lies wholly in the padding.
  pooled = 'pool' in row.kind
  for pads in (row.pad, row.option('end', row.pad)):
    for pad, size in zip(pads, row.kernel, strict=True):
      if not 0 <= pad < (size if pooled else math.inf):
        raise UserError(
          f'layer {row.name!r} has padding {pads} and kernel {row.kernel}, '
          f'expected {"less padding than kernel" if pooled else ">= 0"}'
        )
  return row
