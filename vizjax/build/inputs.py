"""The arrays that differ between runs, from the fields that describe them.

config.start, config.direction and config.mask are each a .npy file, with one
array or one for each run, or a formula; config.data names further ones. With
config.each the formulas are evaluated for each run, with knobs of its own.

Under config.transforms or config.robust an image is compared with a photograph
that goes through the same draws: instead of the photograph's activations,
target['photographs'] holds the photograph.
"""

from collections.abc import Callable, Collection
from typing import Any

import jax
from ml_collections import config_dict
import numpy as np

from vizjax import features
from vizjax.build import runs as runs_
from vizjax.build import vocabulary
from vizjax.errors import UserError
from vizjax.models import means
from vizjax.photographs import files


def arrays(
  config: config_dict.ConfigDict,
  knobs: dict[str, Any],
  canvas: tuple[int, int, int],
  act: tuple[int, ...],
  dtype: Any,
) -> Callable:
  """(runs, rows, given) -> {name: [rows, ...]}, but for the names given.

  Args:
    config: the configuration.
    knobs: of the formulas.
    canvas: (h, w, c) of the image.
    act: shape of the layer.
    dtype: of what is not whole numbers.

  Raises:
    UserError: a file or a formula gives another shape.
    OSError: a file cannot be read.
  """
  shapes = {'start': canvas, 'direction': act[-1:], 'mask': act}
  each = vocabulary.each(config)
  moving = bool(config.transforms.strip() or config.robust.strip())

  def made(knobs):
    makers = {
      name: _source(config, name, knobs, shape)
      for name, shape in shapes.items()
      if config[name]
    }
    moved = {}
    for name, maker in vocabulary.data(config, knobs).items():
      if moving and isinstance(maker, features.Seen):
        moved[name] = maker
      else:
        makers[name] = lambda row, seed, maker=maker: maker(canvas, seed)
    if moved:
      makers['photographs'] = lambda row, seed: {
        name: seen.checked(canvas) for name, seen in moved.items()
      }
    return makers

  # What is wrong is found before anything is made.
  for paths in dict.fromkeys(path for one in each for path in one.values()):
    files.check(paths)
  first = made(knobs | each[0] if each else knobs)

  def of(row, seed, given):
    makers = made(knobs | each[row]) if each else first
    return {
      name: maker(row, seed)
      for name, maker in makers.items()
      if name not in given
    }

  def stacked(name, arrays):
    found = {np.shape(array) for array in arrays}
    if len(found) > 1:
      raise UserError(
        f'{name!r} is {" and ".join(map(str, sorted(found)))} for the runs of '
        'a batch, expected one shape (as many styles blended in each): type '
        '--config.batch=1'
      )
    whole = arrays[0].dtype.kind in 'iu' and name not in shapes
    return np.stack(arrays).astype(np.int32 if whole else dtype)

  def make(
    table: runs_.Runs, rows: np.ndarray, given: Collection[str] = ()
  ) -> dict[str, Any]:
    seeds = (table.seed + table.replicate)[rows].tolist()
    pairs = list(zip(table.channel[rows], seeds, strict=True))
    # The last run fills a batch up: it is made once.
    known = {pair: of(*pair, given) for pair in dict.fromkeys(pairs)}
    found = [known[pair] for pair in pairs]
    return {
      name: jax.tree.map(
        lambda *arrays, name=name: stacked(name, arrays),
        *(arrays[name] for arrays in found),
      )
      for name in found[0]
    }

  return make


def stacks(config: config_dict.ConfigDict, act: tuple[int, ...]) -> list[int]:
  """How many runs each file of several directions or masks is for.

  And config.each, where it is given.
  """
  each = vocabulary.each(config)
  found = [len(each)] if each else []
  for name, ndim in (('direction', 1), ('mask', len(act))):
    if config[name].endswith('.npy'):
      array = means.load_npy(config[name])
      found += [len(array)] if array.ndim == ndim + 1 else []
  return found


def _source(
  config: config_dict.ConfigDict,
  name: str,
  knobs: dict[str, Any],
  shape: tuple[int, ...],
) -> Callable:
  """(row, seed) -> the array of a run."""
  text = config[name]
  if not text.endswith('.npy'):
    maker = vocabulary.link(config, name, knobs)
    return lambda row, seed: maker(shape, seed)
  array = means.load_npy(text)
  stacked = array.ndim == len(shape) + 1
  if array.shape[stacked:] != shape:
    raise UserError(
      f'config.{name}: {text!r} holds {array.shape}, expected {shape}, '
      f'or one for each run: (n, {", ".join(map(str, shape))})'
    )
  return lambda row, seed: array[row] if stacked else array
