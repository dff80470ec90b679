"""How frameworks lay out the weights of a layer, told by what they call them.

caffe       '0', '1': conv [out, in, h, w], fc [out, in]
torch       'weight', 'bias', 'running_mean' ...: as Caffe
tensorflow  'weights', 'biases': conv [h, w, in, out], fc [in, out], a map
            flattened as [h, w, c] (caffe-tensorflow)
keras       '.../kernel', '..._W_1' ...: as tensorflow
matconvnet  'filters', 'biases': conv and fc [h, w, in, out]
vizjax      'kernel', 'bias' ...: conv [h, w, in, out], fc [in, out], a map
            flattened as [c, h, w]; the first kernel reads RGB less the mean
"""

from collections.abc import Iterable, Mapping
import re
from typing import Any

import numpy as np

from vizjax.models import caffe
from vizjax.models import layers
from vizjax.models import tables

Groups = dict[str, dict[str, np.ndarray]]  # {layer: {weight: array}}

_TORCH = {
  'weight': 'kernel',
  'bias': 'bias',
  'running_mean': 'mean',
  'running_var': 'variance',
}


def nested(content: Mapping[str, Any]) -> Groups:
  """{layer: {weight: array}} of what the reader of any format returns."""
  groups = {}
  for key, value in content.items():
    if isinstance(value, list):  # Caffe numbers its blobs
      groups[key] = {str(i): blob for i, blob in enumerate(value)}
    elif isinstance(value, Mapping):  # ':0' of Keras is TensorFlow's
      groups[key] = {n.removesuffix(':0'): array for n, array in value.items()}
    else:  # PyTorch's keys are layer.weight
      layer, _, name = key.rpartition('.')
      groups.setdefault(layer, {})[name] = value
  return groups


def kind(group: Mapping[str, Any]) -> str:
  """Which framework names the weights of a layer so; '' for none known."""
  names = set(group)
  if names <= {str(i) for i in range(8)}:
    return 'caffe'
  if 'weight' in names or 'running_mean' in names:
    return 'torch'
  if 'filters' in names:
    return 'matconvnet'
  if 'weights' in names:
    return 'tensorflow'
  if names & {'kernel', 'slope', 'scale', 'mean'}:
    return 'vizjax'
  if any(re.search(r'/kernel$|_W(_\d+)?$', name) for name in names):
    return 'keras'
  return ''


def matched(
  table: tables.Table,
  content: Mapping[str, Any],
  sources: Mapping[str, str],
) -> Groups:
  """The weights of a file, by the layer of a table that they belong to.

  By name, where `/` is as good as `_`; or else, if the table is a chain of as
  many layers with weights as the file has, by their order.

  Args:
    table: whose layers need weights.
    content: what the reader of any format returned.
    sources: names of layers in the file, where they are others.

  Raises:
    ValueError: layers are missing: all of them.
  """
  groups = {
    name: group for name, group in nested(content).items() if kind(group)
  }
  needed = [row for row in table if row.kind in _WEIGHTED]
  by_name = {_plain(name): group for name, group in groups.items()}
  found = {}
  for row in needed:
    for name in (row.name, sources.get(row.name, row.name)):
      if _plain(name) in by_name:
        found[row.name] = by_name[_plain(name)]
  missing = [row.name for row in needed if row.name not in found]
  chain = all(len(row.inputs) == 1 for row in table)
  if not found and chain and len(groups) == len(needed):
    names = (row.name for row in needed)
    return dict(zip(names, groups.values(), strict=True))
  if missing:
    raise ValueError(
      f'it has no weights for {_listed(missing, len(missing))}; it has '
      f'{_listed(groups, 12)}'
    )
  return found


def params(
  table: tables.Table, groups: Groups, input_shape: tuple[int, int, int]
) -> Groups:
  """Weights in the names and the layout of `layers.Network`.

  Args:
    table: the layers.
    groups: from `matched`.
    input_shape: (h, w, c).

  Raises:
    ValueError: weights of a layer that cannot be laid out so.
  """
  acts, _ = layers.shapes(table, input_shape)
  maps = {tables.DATA: input_shape, **{k: a.shape for k, a in acts.items()}}
  found = {}
  for row in table:
    if row.name in groups:
      group, below = groups[row.name], maps[row.inputs[0]]
      found[row.name] = _laid_out(row, kind(group), group, below)
  return found


def _laid_out(
  row: tables.Layer,
  framework: str,
  group: Mapping[str, np.ndarray],
  below: tuple[int, ...],
) -> dict[str, np.ndarray]:
  """The weights of a layer that reads a map or vector of shape `below`."""
  if framework == 'caffe':
    blobs = [group[name] for name in sorted(group)]
    found = caffe.params(row, blobs)
    if row.kind == 'deconv' and len(blobs) == 1:
      found['bias'] = np.zeros(row.features, np.float32)
    return found
  if framework == 'vizjax':
    return dict(group)
  if framework == 'torch':
    names = dict(_TORCH)
    if row.kind == 'batch_norm':
      names['weight'] = 'scale'
    found = {names[name]: a for name, a in group.items() if name in names}
  else:
    found = {}
    for name, array in group.items():
      is_bias = re.search(r'bias(es)?$|_b(_\d+)?$', name)
      found['bias' if is_bias else 'kernel'] = array
  if 'bias' in found:
    found['bias'] = found['bias'].reshape(-1)
  if 'kernel' in found:
    kernel, framed = found['kernel'], (row.kind, framework)
    axes = 2 if row.kind == 'fc' and framework != 'matconvnet' else 4
    if kernel.ndim != axes:
      raise ValueError(
        f'the kernel of layer {row.name!r} is {kernel.shape} in the weights, '
        f'expected {axes} axes'
      )
    found['kernel'] = _kernel(*framed, kernel, below)
  return found


def _kernel(
  row_kind: str, framework: str, kernel: np.ndarray, below: tuple[int, ...]
) -> np.ndarray:
  if row_kind == 'conv':
    return kernel.transpose(2, 3, 1, 0) if framework == 'torch' else kernel
  if framework == 'torch':
    return kernel.T
  # [h, w, c] flattened in that order, to [c, h, w]: where it is a map.
  out = kernel.shape[-1]
  channels = below[-1]
  if kernel.size % (channels * out):
    return kernel.reshape(-1, out)  # does not fit, as will be said
  kernel = kernel.reshape(-1, channels, out)
  return kernel.swapaxes(0, 1).reshape(-1, out)


_WEIGHTED = ('conv', 'deconv', 'fc', 'batch_norm', 'prelu', 'scale', 'bias')


def _plain(name: str) -> str:
  return re.sub(r'\W', '_', name)


def _listed(names: Iterable[str], count: int) -> str:
  names = list(names)
  more = f' and {len(names) - count} more' if len(names) > count else ''
  return (', '.join(names[:count]) or 'none') + more
