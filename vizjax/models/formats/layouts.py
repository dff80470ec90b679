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

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
import itertools
import re
from typing import Any

import numpy as np

from vizjax.errors import UserError
from vizjax.models import caffe
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables

Groups = dict[str, dict[str, np.ndarray]]  # {layer: {weight: array}}
Naming = Mapping[str, str]  # {layer of a table: its name in a file}

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
  namings: Sequence[Naming] = (),
  ordered: bool = False,
) -> Groups:
  """The weights of a file, by the layer of a table that they belong to.

  The first of these rules that gives every layer its weights decides:

  1. Names: those of the table or of one naming, where `/` is as good as `_`,
     and a prefix that all names have, such as `module.`, may be left out.
  2. Numbers in the names, as `_numbered` reads them.
  3. The order of the file, if its format keeps the order of the layers.

  Rules 2 and 3 are for a table that is a chain of as many layers with weights
  as the file has, and must agree with the names that are known.

  Args:
    table: whose layers need weights.
    content: what the reader of any format returned.
    namings: what the layers may be called in the file, other than in the table.
    ordered: whether the order of `content` is the order of the layers.

  Raises:
    UserError: the file lacks the weights of some layers, or does not tell
      whose weights are which.
  """
  groups = {
    name: group for name, group in nested(content).items() if kind(group)
  }
  needed = [row for row in table if row.kind in _WEIGHTED]
  found = _named(needed, groups, namings)
  missing = [row.name for row in needed if row.name not in found]
  if not missing:
    return {layer: groups[name] for layer, name in found.items()}
  chain = all(len(row.inputs) == 1 for row in table)
  if not chain or len(groups) != len(needed):
    raise UserError(
      f'it has no weights for {_listed(missing, len(missing))}; it has '
      f'{_listed(groups, 12)}'
    )
  by_order = dict(zip((row.name for row in needed), groups, strict=True))
  for names in (_numbered(needed, groups), by_order if ordered else {}):
    # conv5_0 to conv5_2 are not conv5_1 to conv5_3: two names would agree.
    if names and found.items() <= names.items():
      return {layer: groups[name] for layer, name in names.items()}
  raise UserError(
    f'its names do not tell which weights are those of {_listed(missing, 12)}: '
    f'it has {_listed(groups, 12)}; give its weights the names of the layers, '
    f'such as {f"{missing[0]}.weight"!r}'
  )


def _named(
  needed: Sequence[tables.Layer], groups: Groups, namings: Sequence[Naming]
) -> dict[str, str]:
  """{layer: name in the file}, of the naming that most layers are found by."""
  best = {}
  for naming in ({}, *namings):
    for spelled in _spellings(groups):
      plain = {
        row.name: _plain(naming.get(row.name, row.name)) for row in needed
      }
      found = {row: spelled[p] for row, p in plain.items() if p in spelled}
      best = max(best, found, key=len)  # of equally long ones, the first
  return best


def _spellings(groups: Groups) -> Iterator[dict[str, str]]:
  """{plain name: name in the file}: whole, then without shared prefixes."""
  parts = [re.split(r'[./]', name) for name in groups]
  folders = zip(*(part[:-1] for part in parts), strict=False)
  shared = itertools.takewhile(lambda names: len(set(names)) == 1, folders)
  for count in range(len(list(shared)) + 1):
    plain = [_plain('_'.join(part[count:])) for part in parts]
    count_of = collections.Counter(plain)
    pairs = zip(plain, groups, strict=True)
    yield {p: name for p, name in pairs if count_of[p] == 1}


def _numbered(needed: Sequence[tables.Layer], groups: Groups) -> dict[str, str]:
  """{layer: name in the file} by the numbers in the names; {} if they do not
  tell.

  Names that differ in nothing but their numbers, such as features.0 and
  features.10, are in the order of these. A file may have two such series: the
  fully connected layers, whose kernels have two axes, and the others.
  """
  parts = [(needed, list(groups))]
  if len(set(map(_unnumbered, groups))) > 1:
    axes = {n: max(map(np.ndim, group.values())) for n, group in groups.items()}
    parts = [
      (
        [row for row in needed if (row.kind == 'fc') == dense],
        [name for name in groups if (axes[name] == 2) == dense],
      )
      for dense in (False, True)
    ]
  found = {}
  for rows, names in parts:
    by_number = {tuple(map(int, re.findall(r'\d+', n))): n for n in names}
    alike = len(set(map(_unnumbered, names))) <= 1
    if not alike or not len(rows) == len(names) == len(by_number):
      return {}
    ordered = [by_number[number] for number in sorted(by_number)]
    found |= zip((row.name for row in rows), ordered, strict=True)
  return found


def _unnumbered(name: str) -> str:
  return re.sub(r'\d+', '#', name)


def params(
  table: tables.Table, groups: Groups, input_shape: tuple[int, int, int]
) -> Groups:
  """Weights in the names and the layout of `layers.Network`.

  Args:
    table: the layers.
    groups: from `matched`.
    input_shape: (h, w, c).

  Raises:
    UserError: weights of a layer that cannot be laid out so.
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
      raise UserError(
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
