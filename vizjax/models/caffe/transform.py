"""Reads transform_param of a prototxt: the mean and scale of its images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vizjax.errors import UserError
from vizjax.models import means
from vizjax.models.caffe import layers


def read(
  rows: Sequence[layers.Reader],
  shape: tuple[int, int, int],
  mean: Any = None,
  scale: Any = None,
) -> tuple[Any, Any]:
  """The mean and the scale of a network's images.

  Args:
    rows: the layers of the prototxt.
    shape: (h, w, c) of the image.
    mean: as for `caffe.load`, or None for the prototxt's.
    scale: likewise.

  Returns:
    (mean, scale), in the order RGB; None where neither says anything.

  Raises:
    UserError: the prototxt says another than is given, or names a file.
  """
  found = [_of_layer(row, shape) for row in rows if row.is_data]
  found = [pair for pair in found if pair is not None]
  if not found:
    return mean, scale
  if len(set(found)) > 1:
    raise UserError(
      f'the data layers of the prototxt have {len(set(found))} different '
      'transform_param, expected one'
    )
  layer, values, file, factor = found[0]
  _compare(layer, 'scale', factor, scale, shape)
  _compare(layer, 'mean_value', values, mean, shape)
  if file is not None and mean is None:
    raise UserError(
      f'layer {layer!r} takes its mean from the file {file!r}, which is not '
      'read: type mean=, a number for each channel (RGB), or a .npy file'
    )
  if mean is None and (values, factor) != (None, None):
    # Caffe subtracts nothing where a transform_param has no mean.
    mean = 0.0 if values is None else values
  return mean, factor if scale is None else scale


def _of_layer(row: layers.Reader, shape: tuple[int, int, int]):
  """(layer, mean, its file, scale), each None if not given; None for none."""
  if not row.layer.HasField('transform_param'):
    return None
  field, channels = 'transform_param', shape[2]
  for name, wanted in (('force_gray', 1), ('force_color', 3)):
    if row.get(field, name, False) and channels != wanted:
      raise UserError(
        f'layer {row.name!r} has {name}: true and an input of {channels} '
        f'channels, expected {wanted}'
      )
  values = row.get(field, 'mean_value', None)
  if values is not None and len(values) not in (1, channels):
    raise UserError(
      f'layer {row.name!r} has {len(values)} mean_value, expected one or '
      f'{channels}'
    )
  if values is not None:
    # Caffe's order is BGR.
    digits = [_digits(value) for value in values[::-1]]
    values = tuple(digits) if len(digits) > 1 else digits[0]
  scale = row.get(field, 'scale', None)
  scale = None if scale is None else _digits(scale)
  return row.name, values, row.get(field, 'mean_file', None), scale


def _digits(value: float) -> float:
  """The number with the digits of the file, 0.017, not of its float32."""
  return float(str(np.float32(value)))


def _compare(layer: str, name: str, said: Any, given: Any, shape: tuple):
  """Refuses an argument that is not what the prototxt says."""
  if said is None or given is None:
    return
  argument = 'mean' if name == 'mean_value' else name
  array = given
  if isinstance(given, str):
    array = means.mean(given, shape)
  array = np.asarray(array, np.float64)
  if array.shape not in ((), shape[2:], shape):
    return  # `core.normalization` says what is expected.
  if not np.allclose(array, np.asarray(said), rtol=1e-4, atol=1e-6):
    shown = repr(given) if array.ndim < 2 else f'an array of {array.shape}'
    said = f'{said} (RGB)' if isinstance(said, tuple) else said
    raise UserError(
      f'layer {layer!r} has {name} {said} in the prototxt, and '
      f'{argument}= is {shown}, expected one of them: leave out {argument}=, '
      f'or take {name} out of the prototxt'
    )
