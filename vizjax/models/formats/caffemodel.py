"""Arrays of Caffe: the weights of a .caffemodel, the mean of a .binaryproto."""

from collections.abc import Iterator
import math

from google.protobuf import message
import numpy as np

from vizjax import files
from vizjax.errors import UserError
from vizjax.models.formats import caffe_schema
from vizjax.models.formats import signatures


def read(path: files.Path) -> dict[str, list[np.ndarray]]:
  """The blobs of every layer of a .caffemodel, in Caffe's shapes.

  Raises:
    OSError: it cannot be read.
    UserError: it is damaged, or no caffemodel.
  """
  net = caffe_schema.message('NetParameter')
  with files.opened(path) as file:
    content = file.read()
  try:
    form = signatures.form(content[: signatures.LENGTH])
    if form != 'caffe':
      raise UserError(f'it is {signatures.DESCRIPTIONS[form]}')
    net.ParseFromString(content)
    found = {
      layer.name: [_array(blob) for blob in layer.blobs]
      for layer in _with_blobs(net)
    }
  except message.DecodeError:
    raise UserError(
      f'{str(path)!r} is damaged, or no .caffemodel: take it from its source '
      'again'
    ) from None
  except (ValueError, RecursionError) as error:
    raise UserError(
      f'{str(path)!r} cannot be read as a .caffemodel: {error}'
    ) from None
  if not found:
    raise UserError(f'{str(path)!r} holds no weights: expected a .caffemodel')
  return found


def read_mean(path: files.Path) -> np.ndarray:
  """The mean image of a .binaryproto, [c, h, w], BGR.

  Raises:
    OSError: the file cannot be read.
    UserError: it is damaged, or no .binaryproto.
  """
  blob = caffe_schema.message('BlobProto')
  with files.opened(path) as file:
    content = file.read()
  try:
    blob.ParseFromString(content)
    array = _array(blob)
  except message.DecodeError:
    raise UserError(
      f'{str(path)!r} is damaged or no mean image of Caffe: expected a '
      '.binaryproto of compute_image_mean'
    ) from None
  except UserError as error:
    raise UserError(f'{str(path)!r} cannot be read: {error}') from None
  if array.ndim == 4 and len(array) == 1:
    array = array[0]
  if array.ndim != 3 or not array.size or not np.isfinite(array).all():
    raise UserError(
      f'{str(path)!r} holds a blob of shape {array.shape}, expected a mean '
      'image of (1, channels, height, width) finite numbers'
    )
  return array


def _with_blobs(net: caffe_schema.Message) -> Iterator[caffe_schema.Message]:
  for layer in (*net.layers, *net.layer):
    if hasattr(layer, 'layer') and layer.HasField('layer'):
      layer = layer.layer
    if layer.blobs:
      yield layer


def _array(blob: caffe_schema.Message) -> np.ndarray:
  if blob.HasField('shape'):
    shape = tuple(blob.shape.dim)
  else:
    shape = (blob.num, blob.channels, blob.height, blob.width)
  for chunks, dtype in ((blob.data, '<f4'), (blob.double_data, '<f8')):
    if chunks:
      values = np.frombuffer(b''.join(chunks), dtype)
      break
  else:
    # Numbers one by one, as old writers did.
    loose = caffe_schema.message('LooseBlob')
    loose.ParseFromString(blob.SerializeToString())
    values = np.array(loose.data or loose.double_data, np.float64)
  if blob.raw_data and not values.size:
    raise UserError(
      f"a blob of shape {shape} has its numbers in raw_data, as NVIDIA's Caffe "
      'and DIGITS save them since its version 0.16, expected them in data: '
      "type store_blobs_in_old_format: true in NVIDIA's solver.prototxt, and "
      'save the weights again'
    )
  if min(shape, default=0) < 0 or math.prod(shape) != values.size:
    raise UserError(f'a blob of shape {shape} has {values.size} numbers')
  return values.astype(np.float32).reshape(shape)
