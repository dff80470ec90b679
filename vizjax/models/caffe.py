"""Caffe networks: a prototxt becomes a layer table, a caffemodel its weights.

  model = caffe.load('deploy.prototxt', 'net.caffemodel')
  model(image)['fc8']                      # image [h, w, 3], RGB, 0-255

All three generations of https://github.com/BVLC/caffe are read: layers in
`layer` (V2), in `layers` (V1), and in `layers { layer { ... } }` (V0).
"""

from collections.abc import Iterator, Mapping
import dataclasses
import math
import pathlib

from google.protobuf import message
from google.protobuf import text_format
import numpy as np

from vizjax import core
from vizjax import targets
from vizjax.models import caffe_layers
from vizjax.models import caffe_schema
from vizjax.models import labels as labels_
from vizjax.models import layers
from vizjax.models import signatures
from vizjax.models import tables

# RGB; the channel means of ilsvrc_2012_mean.npy.
IMAGENET_MEAN = (122.67891434, 116.66876762, 104.00698793)

# The row that turns the image round where no kernel can be.
BGR = 'bgr'

_DATA_LAYERS = ('Input', 'Data', 'DummyData', 'ImageData', 'MemoryData')


def load(
  prototxt: str,
  weights: str,
  mean: tuple[core.Number, ...] | str | None = None,
  labels: str | None = None,
) -> core.Model:
  """A Caffe network as a `Model` keyed by Caffe's layer names.

  Args:
    prototxt: a deploy definition.
    weights: a .caffemodel.
    mean: of the images, RGB, one number for each channel; or the path of a
      mean image (.npy [3, h, w], BGR); ImageNet's unless given.
    labels: names of its classes: 'imagenet', or a file with one in each line.

  Raises:
    OSError: a file cannot be read.
    ValueError: a file is damaged, a layer is of an unknown type, or weights
      are missing or do not fit.
  """
  table, shape = parse(_text(prototxt))
  made = model(table, shape, read_weights(weights), mean)
  names = () if labels is None else labels_.read(labels)
  return dataclasses.replace(made, labels=names)


def model(
  table: tables.Table,
  shape: tuple[int, int, int],
  blobs: Mapping[str, list[np.ndarray]],
  mean: tuple[core.Number, ...] | str | None = None,
) -> core.Model:
  """A `Model` of a table and Caffe's blobs.

  Args:
    table: from `parse`.
    shape: (h, w, c) of the input.
    blobs: from `read_weights`; layers that are not in the table are ignored.
    mean: as for `load`; zero for an input that is no colour image.
  """
  if mean is None:
    mean = IMAGENET_MEAN if shape[2] == 3 else (0.0,) * shape[2]
  elif isinstance(mean, str):
    mean = targets.mean(mean, shape)
  found = {
    row.name: params(row, blobs[row.name]) for row in table if row.name in blobs
  }
  # Caffe's images are BGR. One convolution that reads them is made to read
  # RGB; otherwise they are turned round.
  readers = [row for row in table if tables.DATA in row.inputs]
  if shape[2] == 3 and len(readers) == 1 and _plain(readers[0], found):
    first = found[readers[0].name]
    first['kernel'] = first['kernel'][:, :, ::-1]
  elif shape[2] == 3:
    turned = tables.Layer(BGR, 'reverse', (tables.DATA,))
    table = (turned, *(_reading(row, tables.DATA, BGR) for row in table))
  return layers.model(table, found, mean=mean, input_shape=shape, names=blobs)


def parse(text: str) -> tuple[tables.Table, tuple[int, int, int]]:
  """The layer table of a prototxt, and (h, w, c) of its input.

  Raises:
    ValueError: it is no prototxt, has no input or several, or a layer is of
      a type that is not known: the layer and the type.
  """
  net = caffe_schema.message('NetParameter')
  try:
    text_format.Parse(text, net, allow_unknown_field=True)
  except (text_format.ParseError, RecursionError, UnicodeError) as error:
    raise ValueError(f'the prototxt cannot be read: {error}') from None
  rows = [caffe_layers.Reader(layer) for layer in (*net.layers, *net.layer)]
  rows = [row for row in rows if row.used]
  shape, sources = _input(net, rows)
  tops = {source: tables.DATA for source in sources}
  table = []
  for row in rows:
    if row.type in _DATA_LAYERS or row.type == 'Silence':
      continue
    try:
      inputs = tuple(tops[bottom] for bottom in row.bottoms)
    except KeyError as error:
      raise ValueError(
        f'layer {row.name!r} reads {error.args[0]!r}, which no layer before '
        'it makes'
      ) from None
    made = row.read(inputs)
    table += made
    names = [m.name for m in made] * len(row.tops)
    tops.update(zip(row.tops, names, strict=False))
  if len({row.name for row in table}) < len(table):
    raise ValueError('the prototxt has two layers of one name')
  return tuple(table), shape


def read_weights(path: str) -> dict[str, list[np.ndarray]]:
  """The blobs of every layer of a .caffemodel, in Caffe's shapes.

  Raises:
    OSError: it cannot be read.
    ValueError: it is damaged, or no caffemodel.
  """
  net = caffe_schema.message('NetParameter')
  content = pathlib.Path(path).expanduser().read_bytes()
  try:
    form = signatures.form(content[: signatures.LENGTH])
    if form != 'caffe':
      raise ValueError(f'it is {signatures.DESCRIPTIONS[form]}')
    net.ParseFromString(content)
    found = {
      layer.name: [_array(blob) for blob in layer.blobs]
      for layer in _with_blobs(net)
    }
  except message.DecodeError:
    raise ValueError(
      f'{path!r} is damaged, or no .caffemodel: take it from its source again'
    ) from None
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f'{path!r} cannot be read as a .caffemodel: {error}'
    ) from None
  if not found:
    raise ValueError(f'{path!r} holds no weights: expected a .caffemodel')
  return found


def _input(net: message.Message, rows: list[caffe_layers.Reader]):
  """(h, w, c) of the input, and the blobs that hold it."""
  found = {}
  dims = list(net.input_dim)
  for i, name in enumerate(net.input):
    if net.input_shape:
      found[name] = list(net.input_shape[min(i, len(net.input_shape) - 1)].dim)
    else:
      found[name] = dims[4 * i : 4 * i + 4]
  for row in rows:
    if row.type == 'Input':
      shapes = row.layer.input_param.shape
      for i, top in enumerate(row.tops):
        if not shapes:
          raise ValueError(f'input {row.name!r} has no shape')
        found[top] = list(shapes[min(i, len(shapes) - 1)].dim)
  if len(found) != 1:
    raise ValueError(
      f'the prototxt has {len(found)} inputs ({", ".join(found)}), expected '
      'one: a deploy definition'
    )
  ((name, dims),) = found.items()
  c, h, w = (*dims[1:4], 1, 1)[:3]
  if len(dims) < 2 or min(c, h, w) < 1:
    raise ValueError(f'input {name!r} has shape {dims}, expected [1, c, h, w]')
  return (h, w, c), [name]


def params(row: tables.Layer, blobs: list[np.ndarray]) -> dict[str, np.ndarray]:
  """The weights of a layer, in our names and order, of its blobs."""
  names = {
    'conv': ('kernel', 'bias'),
    'deconv': ('kernel', 'bias'),
    'fc': ('kernel', 'bias'),
    'prelu': ('slope',),
    'normalize': ('scale',),
    'scale': ('scale', 'bias'),
    'bias': ('bias',),
    'batch_norm': ('mean', 'variance', 'factor'),
  }.get(row.kind, ())
  found = dict(zip(names, blobs, strict=False))
  # Vectors of the oldest files are [1, 1, 1, n].
  for name in found.keys() - {'kernel'}:
    found[name] = found[name].reshape(-1)
  kernel = found.get('kernel')
  if row.kind == 'fc' and kernel is not None:
    kernel = kernel.reshape(kernel.shape[-2:])
    found['kernel'] = kernel if row.option('transpose', False) else kernel.T
  elif kernel is not None and kernel.ndim != 4:
    raise ValueError(
      f'the kernel of layer {row.name!r} is {kernel.shape} in the weights, '
      'expected four axes'
    )
  elif row.kind == 'conv' and kernel is not None:
    found['kernel'] = kernel.transpose(2, 3, 1, 0)
  elif row.kind == 'deconv' and kernel is not None:
    found['kernel'] = _turned(kernel, row.groups)
  factor = found.pop('factor', None)
  if factor is not None:
    # Sums over so many batches; Caffe takes 0 / 0 for 0.
    divisor = factor[0] if factor[0] else 1
    found = {name: value / divisor for name, value in found.items()}
  return found


def _turned(kernel: np.ndarray, groups: int) -> np.ndarray:
  """A deconvolution's [in, out/groups, h, w] as [h, w, in/groups, out]."""
  i, o, h, w = kernel.shape
  kernel = kernel.reshape(groups, i // groups, o, h, w)[..., ::-1, ::-1]
  return kernel.transpose(3, 4, 1, 0, 2).reshape(h, w, i // groups, groups * o)


def _plain(row: tables.Layer, params: Mapping) -> bool:
  """Whether the first kernel can be turned instead of the image."""
  if row.kind != 'conv' or row.groups != 1:
    return False
  kernel = params.get(row.name, {}).get('kernel')
  return kernel is not None and kernel.shape[2] == 3


def _reading(row: tables.Layer, old: str, new: str) -> tables.Layer:
  inputs = tuple(new if name == old else name for name in row.inputs)
  return row._replace(inputs=inputs)


def _with_blobs(net: message.Message) -> Iterator[message.Message]:
  for layer in (*net.layers, *net.layer):
    if hasattr(layer, 'layer') and layer.HasField('layer'):
      layer = layer.layer
    if layer.blobs:
      yield layer


def _array(blob: message.Message) -> np.ndarray:
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
  if min(shape, default=0) < 0 or math.prod(shape) != values.size:
    raise ValueError(f'a blob of shape {shape} has {values.size} numbers')
  return values.astype(np.float32).reshape(shape)


def _text(path: str) -> str:
  try:
    return pathlib.Path(path).expanduser().read_text(encoding='utf-8')
  except UnicodeDecodeError:
    raise ValueError(f'{path!r} is not text: expected a prototxt') from None
