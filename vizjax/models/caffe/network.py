"""Caffe networks: a prototxt becomes a layer table, a caffemodel its weights.

  model = caffe.load('deploy.prototxt', 'net.caffemodel')
  model(image)['fc8']                      # image [h, w, 3], RGB, 0-255

All three generations of https://github.com/BVLC/caffe are read: layers in
`layer` (V2), in `layers` (V1), and in `layers { layer { ... } }` (V0). Some
fields of forks are read, too (formats/caffe_schema.py names them). Any other
field, and any blob that the definition does not take, is an error.
"""

from collections.abc import Mapping
import dataclasses
import itertools

from google.protobuf import text_format
import numpy as np

from vizjax import core
from vizjax import files
from vizjax.errors import UserError
from vizjax.models import means
from vizjax.models.caffe import fields as fields_
from vizjax.models.caffe import layers as layers_
from vizjax.models.caffe import transform
from vizjax.models.formats import caffe_schema
from vizjax.models.formats import caffemodel
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables
from vizjax.models.labels import lists as lists_
from vizjax.photographs import preprocessing

Mean = core.Number | tuple[core.Number, ...] | np.ndarray | str | None
Scale = core.Number | tuple[core.Number, ...] | np.ndarray | None

# RGB; the channel means of ilsvrc_2012_mean.npy.
IMAGENET_MEAN = (122.67891434, 116.66876762, 104.00698793)

# The row that turns the image round where no kernel can be.
BGR = 'bgr'


def load(
  prototxt: str,
  weights: str,
  mean: Mean = None,
  labels: str | None = None,
  scale: Scale = None,
  range: tuple[core.Number, core.Number] = core.GREY_LEVELS,
) -> core.Model:
  """A Caffe network as a `Model` keyed by Caffe's layer names.

  The network gets (image - mean) * scale, as Caffe's transform_param has it.
  Where an Input or Data layer of the prototxt has a transform_param with scale
  or mean_value, that is used.

  Args:
    prototxt: a deploy definition.
    weights: a .caffemodel.
    mean: of the images, RGB, one number for each channel; or the path of a
      mean image (.npy [3, h, w], BGR). Unless given, the prototxt's; if it has
      none, ImageNet's.
    labels: names of its classes: 'imagenet', or a file with one in each line.
    scale: a number, or one for each channel, RGB. Unless given, the
      prototxt's; if it has none, 1.
    range: (low, high) of the images.

  Raises:
    OSError: a file cannot be read.
    UserError: a file is damaged, a layer is of an unknown type or has an
      unknown field, weights are missing, do not fit or are too many, mean or
      scale are not those of the prototxt, or no layer has as many units as
      there are names.
  """
  net, rows = _layers(_text(prototxt))
  table, shape = _table(net, rows)
  mean, scale = transform.read(rows, shape, mean, scale)
  made = model(table, shape, caffemodel.read(weights), mean, scale, range)
  made = dataclasses.replace(made, preprocessing=preprocessing.CAFFE)
  if labels is None:
    return made
  names = lists_.read(labels)
  if all(info.channels != len(names) for info in made.layers):
    last = made.layers[-1]
    raise UserError(
      f'{labels!r} has {len(names)} names of classes, but no layer of '
      f'{prototxt!r} has as many units: expected {last.channels}, for layer '
      f'{last.name!r}'
    )
  return dataclasses.replace(made, labels=names)


def model(
  table: tables.Table,
  shape: tuple[int, int, int],
  blobs: Mapping[str, list[np.ndarray]],
  mean: Mean = None,
  scale: Scale = None,
  range: tuple[core.Number, core.Number] = core.GREY_LEVELS,
) -> core.Model:
  """A `Model` of a table and Caffe's blobs.

  Args:
    table: from `parse`.
    shape: (h, w, c) of the input.
    blobs: from `caffemodel.read`; layers that are not in the table are ignored.
    mean: as for `load`; zero for an input that is no colour image.
    scale: as for `load`.
    range: (low, high) of the images.
  """
  if mean is None:
    mean = IMAGENET_MEAN if shape[2] == 3 else 0.0
  elif isinstance(mean, str):
    mean = means.mean(mean, shape)
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
  return layers.model(
    table,
    found,
    mean=mean,
    scale=1.0 if scale is None else scale,
    input_shape=shape,
    range=range,
    names=blobs,
  )


def parse(text: str) -> tuple[tables.Table, tuple[int, int, int]]:
  """The layer table of a prototxt, and (h, w, c) of its input.

  Raises:
    UserError: it is no prototxt, has no input or several, a layer is of a
      type that is not known, or a field is not read: the layer and the field.
  """
  return _table(*_layers(text))


def _layers(text: str) -> tuple[caffe_schema.Message, list[layers_.Reader]]:
  """The net of a prototxt, and its layers that are used in a test."""
  net = caffe_schema.message('NetParameter')
  try:
    text_format.Parse(text, net, allow_unknown_field=True)
    given = fields_.tree(text)
  except (text_format.ParseError, RecursionError, UnicodeError) as error:
    raise UserError(f'the prototxt cannot be read: {error}') from None
  fields_.check_net(given)
  fields = [
    value for kind in ('layers', 'layer') for name, value in given
    if name == kind
  ]  # fmt: skip
  messages = (*net.layers, *net.layer)
  rows = map(layers_.Reader, messages, fields, itertools.count(1))
  return net, [row for row in rows if row.used(net.state)]


def _table(
  net: caffe_schema.Message, rows: list[layers_.Reader]
) -> tuple[tables.Table, tuple[int, int, int]]:
  for row in rows:
    if row.is_data:
      row.check()
  shape, sources = _input(net, rows)
  tops = {source: tables.DATA for source in sources}
  table, makers = [], []
  for row in rows:
    if row.is_data or row.type == 'Silence':
      continue
    try:
      inputs = tuple(tops[bottom] for bottom in row.bottoms)
    except KeyError as error:
      raise UserError(
        f'layer {row.name!r} reads {error.args[0]!r}, which no layer before '
        'it makes'
      ) from None
    made = row.read(inputs)
    table += made
    makers += [row] * len(made)
    names = [m.name for m in made] * len(row.tops)
    tops.update(zip(row.tops, names, strict=False))
  _check_names(table, makers)
  return tuple(table), shape


def _check_names(
  table: list[tables.Layer], makers: list[layers_.Reader]
) -> None:
  """Refuses a table with two layers of one name.

  Args:
    table: the layers.
    makers: the layer of the prototxt that each layer of the table is from.
  """
  seen = {}
  for row, maker in zip(table, makers, strict=True):
    if row.name not in seen:
      seen[row.name] = maker
      continue
    both = ' and '.join(
      f'layer {one.number} (type {one.type!r}, name {one.name!r}, top '
      f'{", ".join(map(repr, one.tops)) or "none"})'
      for one in (seen[row.name], maker)
    )
    if not row.name:
      raise UserError(
        f'the prototxt has two layers without a name: {both}, expected a name '
        'for each layer: type name: "relu1", or the like, in each'
      )
    raise UserError(
      f'the prototxt has two layers of one name, {row.name!r}: {both}, '
      'expected a name for each layer: change the name of the one that has no '
      'weights'
    )


def _input(net: caffe_schema.Message, rows: list[layers_.Reader]):
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
          raise UserError(f'input {row.name!r} has no shape')
        found[top] = list(shapes[min(i, len(shapes) - 1)].dim)
  # Labels of training, for one, are read by no layer that is left.
  layers = [row for row in rows if not row.is_data and row.type != 'Silence']
  read = {bottom for row in layers for bottom in row.bottoms}
  if len(found) > 1 and len(read & found.keys()) == 1:
    found = {name: dims for name, dims in found.items() if name in read}
  if len(found) != 1:
    raise UserError(
      f'the prototxt has {len(found)} inputs ({", ".join(found)}), expected '
      'one: a deploy definition'
    )
  ((name, dims),) = found.items()
  c, h, w = (*dims[1:4], 1, 1)[:3]
  if not 2 <= len(dims) <= 4 or min(c, h, w) < 1:
    raise UserError(f'input {name!r} has shape {dims}, expected [1, c, h, w]')
  return (h, w, c), [name]


def params(row: tables.Layer, blobs: list[np.ndarray]) -> dict[str, np.ndarray]:
  """The weights of a layer, in our names and order, of its blobs."""
  names = _blob_names(row)
  if len(blobs) > len(names):
    raise UserError(
      f'the weights have {len(blobs)} blobs for layer {row.name!r}, of shapes '
      f'{", ".join(str(blob.shape) for blob in blobs)}, and its definition '
      f'takes {len(names)} ({", ".join(names) or "none"}): expected the '
      f'definition that was trained{_lacking(row)}'
    )
  if row.kind == 'batch_norm':
    return _statistics(row, blobs)
  found = dict(zip(names, blobs, strict=False))
  # Vectors of the oldest files are [1, 1, 1, n].
  for name in found.keys() - {'kernel'}:
    found[name] = found[name].reshape(-1)
  kernel = found.get('kernel')
  if row.kind == 'fc' and kernel is not None:
    kernel = kernel.reshape(kernel.shape[-2:])
    found['kernel'] = kernel if row.option('transpose', False) else kernel.T
  elif kernel is not None and kernel.ndim != 4:
    raise UserError(
      f'the kernel of layer {row.name!r} is {kernel.shape} in the weights, '
      'expected four axes'
    )
  elif row.kind == 'conv' and kernel is not None:
    found['kernel'] = kernel.transpose(2, 3, 1, 0)
  elif row.kind == 'deconv' and kernel is not None:
    found['kernel'] = _turned(kernel, row.groups)
  return found


def _blob_names(row: tables.Layer) -> tuple[str, ...]:
  """The names of the blobs of a layer, in Caffe's order."""
  both = ('kernel', 'bias') if row.option('bias', True) else ('kernel',)
  if row.kind == 'scale':
    # A second bottom takes the place of the first blob.
    own = ('scale',) if len(row.inputs) == 1 else ()
    return (*own, 'bias') if row.option('bias', False) else own
  if row.kind == 'batch_norm':
    names = ('mean', 'variance', 'factor')
    return (*names, 'scale', 'bias') if row.option('affine', False) else names
  return {
    'conv': both,
    'deconv': both,
    'fc': both,
    'prelu': ('slope',),
    'normalize': ('scale',),
    'bias': ('bias',) if len(row.inputs) == 1 else (),
  }.get(row.kind, ())


def _statistics(
  row: tables.Layer, blobs: list[np.ndarray]
) -> dict[str, np.ndarray]:
  """The blobs of a BatchNorm as mean and variance, and scale and bias."""
  if row.option('whole', False):
    return {}
  blobs = [blob.reshape(-1) for blob in blobs]
  # NVIDIA/caffe, net.cpp: of five blobs the single number is not read. Older
  # files, of DIGITS, have it last.
  if len(blobs) == 5 and blobs[4].size == 1:
    scale, bias, mean, variance, _ = blobs
    blobs = [mean, variance, scale, bias]
  elif len(blobs) == 5:
    del blobs[2]
  elif len(blobs) == 3:
    # Sums over so many batches; Caffe takes 0 / 0 for 0.
    factor = blobs.pop()[0]
    blobs = [blob / (factor if factor else 1) for blob in blobs]
  return dict(zip(('mean', 'variance', 'scale', 'bias'), blobs, strict=False))


def _lacking(row: tables.Layer) -> str:
  """Names the field that may be missing where the weights have more blobs."""
  if row.kind == 'batch_norm':
    return (
      ', such as batch_norm_param { scale_bias: true } for the five blobs of '
      "NVIDIA's Caffe"
    )
  kinds = ('conv', 'deconv', 'fc', 'scale')
  return ', such as bias_term: true' if row.kind in kinds else ''


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


def _text(path: str) -> str:
  """The text of a prototxt.

  Caffe passes over comments byte by byte, so they are in any encoding.
  """
  with files.opened(path) as file:
    content = file.read()
  if b'\0' in content:
    raise UserError(f'{path!r} is not text: expected a prototxt')
  try:
    return content.decode('utf-8-sig')
  except UnicodeDecodeError:
    return content.decode('latin-1')
