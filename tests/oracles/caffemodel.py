"""Writes a real .caffemodel for a prototxt, with random weights."""

from google.protobuf import text_format
import numpy as np

from vizjax.models import caffe
from vizjax.models.formats import caffe_schema
from vizjax.models.caffe import upgrade
from vizjax.models.interpreter import layers


def blobs(text, seed=0):
  """Caffe's blobs of every layer with weights, of sizes that keep scale."""
  table, shape = caffe.parse(text)
  acts, shapes = layers.shapes(table, shape)
  draw = np.random.RandomState(seed)
  found = {}
  for row in table:
    group = {k: v.shape for k, v in shapes.get(row.name, {}).items()}
    if row.kind == 'batch_norm' and row.option('whole', False):
      # Caffe keeps the statistics that it does not take.
      group = {'mean': acts[row.name].shape[-1:]}
    if group:
      found[row.name] = _of_layer(row, group, draw)
  return found


def sliding(text, size=(243, 229)):
  """The prototxt down to what slides over any image, for an odd size.

  None where the network starts from a code and not from an image.
  """
  table, shape = caffe.parse(text)
  if shape[2] != 3:
    return None
  rigid = set()
  for row in table:
    if row.kind == 'fc' or rigid & set(row.inputs):
      rigid.add(row.name)
  net = caffe_schema.message('NetParameter')
  text_format.Parse(text, net, allow_unknown_field=True)
  for rows in (net.layer, net.layers):
    kept = [row for row in rows if upgrade.upgrade(row).name not in rigid]
    del rows[:]
    rows.extend(kept)
  shape = [1, 3, *size]
  for holder in (*net.input_shape, *_inputs(net)):
    holder.dim[:] = shape
  if net.input_dim:
    net.input_dim[:] = shape
  return text_format.MessageToString(net)


def _inputs(net):
  return [
    shape
    for row in net.layer
    if row.type == 'Input'
    for shape in row.input_param.shape
  ]


def _of_layer(row, shapes, draw):
  def small(shape):
    return draw.normal(0, 0.1, shape)

  if row.kind == 'batch_norm':
    c = shapes['mean']
    if 'scale' in shapes:
      # NVIDIA/caffe, which does not read the third.
      statistics = [small(c), draw.uniform(0.5, 2, c), np.ones(1)]
      return [*statistics, draw.uniform(0.5, 1.5, c), small(c)]
    # Sums over 2.5 batches, as Caffe keeps them.
    return [small(c) * 2.5, draw.uniform(0.5, 2, c) * 2.5, np.array([2.5])]
  found = []
  if 'kernel' in shapes:
    kernel = shapes['kernel']
    if row.kind == 'fc':
      shape = kernel[::-1]
    elif row.kind == 'deconv':
      h, w, i, o = kernel
      shape = (i * row.groups, o // row.groups, h, w)
    else:
      h, w, i, o = kernel
      shape = (o, i, h, w)
    fan_in = np.prod(kernel[:-1])
    found.append(draw.normal(0, np.sqrt(2 / fan_in), shape))
  for name in ('slope', 'scale'):
    if name in shapes:
      found.append(draw.uniform(0.5, 1.5, shapes[name]))
  if 'bias' in shapes:
    found.append(small(shapes['bias']))
  return found


def write_mean(path, image, legacy=False):
  """Writes a mean image [c, h, w] as a .binaryproto of compute_image_mean."""
  blob = caffe_schema.message('BlobProto')
  if legacy:
    blob.num, (blob.channels, blob.height, blob.width) = 1, image.shape
  else:
    blob.shape.dim.extend((1, *image.shape))
  blob.data.append(image.astype('<f4').tobytes())
  path.write_bytes(blob.SerializeToString())


def write(path, found, generation=2, double=False, legacy=False):
  """Writes blobs as a file of a generation of the format.

  Args:
    path: of the file.
    found: {layer: [blob]}.
    generation: 0, 1 or 2.
    double: numbers of eight bytes.
    legacy: shapes as num, channels, height, width.
  """
  net = caffe_schema.message('NetParameter')
  for name, arrays in found.items():
    layer = net.layer.add() if generation == 2 else net.layers.add()
    layer = layer.layer if generation == 0 else layer
    layer.name = name
    for array in arrays:
      blob = layer.blobs.add()
      if legacy:
        four = (1,) * (4 - array.ndim) + array.shape
        blob.num, blob.channels, blob.height, blob.width = four
      else:
        blob.shape.dim.extend(array.shape)
      if double:
        blob.double_data.append(array.astype('<f8').tobytes())
      else:
        blob.data.append(array.astype('<f4').tobytes())
  path.write_bytes(net.SerializeToString())
