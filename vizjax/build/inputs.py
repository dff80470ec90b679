"""The arrays that differ between runs, from the knobs that describe them.

config.start, config.direction and config.mask are each a .npy file, with one
array or one for each run, or a formula; config.data names further arrays. With
config.each the formulas are evaluated for each run, with knobs of its own.

Under config.transforms or config.robust an image is compared with a photograph
that goes through the same draws: instead of the photograph's activations,
target['photographs'] holds the photograph.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
import functools
from typing import Any

import jax
from jax.typing import ArrayLike
from ml_collections import config_dict
import numpy as np

from vizjax import features
from vizjax import formula
from vizjax.build import runs as runs_
from vizjax.build import vocabulary
from vizjax.errors import UserError
from vizjax.models import means
from vizjax.photographs import files


# Knobs that give an array of a shape known beforehand.
_KNOBS = ('start', 'direction', 'mask')


def arrays(
  config: config_dict.ConfigDict,
  knobs: formula.Noted,
  canvas: tuple[int, int, int],
  act: tuple[int, ...],
  dtype: Any,
) -> Callable:
  """Returns `make(runs, rows, given)`, which stacks the arrays of these rows.

  `make` returns {name: [rows, ...]}. Names in `given` are left out: the caller
  supplies their arrays.

  Args:
    config: the configuration.
    knobs: of the formulas.
    canvas: (h, w, c) of the image.
    act: shape of the layer.
    dtype: of all arrays but the whole numbers of config.data, which are int32.

  Raises:
    UserError: a file or a formula gives another shape.
    OSError: a file cannot be read.
  """
  combinations = vocabulary.each(config)
  # A file that is missing is refused before any array is made.
  paths = dict.fromkeys(path for own in combinations for path in own.values())
  for path in paths:
    files.check(path)
  knobs.strings.update(paths)

  def makers(own):
    return _makers(config, canvas, act, knobs.replaced(own))

  first = makers(combinations[0] if combinations else {})
  # With config.each a run's channel is the number of its combination.
  return _make(
    lambda channel: makers(combinations[channel]) if combinations else first,
    dtype,
  )


def of_data(
  data: Mapping[str, Any],
  draws: bool,
  canvas: tuple[int, int, int],
  act: tuple[int, ...],
  dtype: Any,
) -> Callable:
  """Returns `make`, as `arrays` does, of values that were made in Python.

  Args:
    data: {name: array, pytree of arrays, or `targets.Maker`}, or a list of
      makers, one for each run. Of 'start', 'direction' and 'mask' an array may
      have an axis in front: one for each run.
    draws: whether an image goes through transforms.
    canvas: (h, w, c) of the image.
    act: shape of the layer.
    dtype: of all arrays but whole numbers.

  Raises:
    UserError: an array has another shape.
  """

  def makers(channel):
    of_run = {n: v[channel] if several(v) else v for n, v in data.items()}
    return _makers_of(of_run, draws, canvas, act)

  first = makers(0)
  differ = any(map(several, data.values()))
  return _make(makers if differ else lambda channel: first, dtype)


def stacked(data: Mapping[str, Any], act: tuple[int, ...]) -> list[int]:
  """Returns the numbers of runs that the data of `of_data` are for.

  Args:
    data: as of `of_data`.
    act: shape of the layer.
  """
  counts = [len(value) for value in data.values() if several(value)]
  for name, ndim in (('direction', 1), ('mask', len(act))):
    value = data.get(name)
    if value is None or callable(value) or several(value):
      continue
    if np.ndim(value) == ndim + 1:
      counts.append(len(value))
  return counts


def several(value: Any) -> bool:
  """Whether a value of a method's data is a list of makers, one a run.

  Of pytrees of arrays a list is one value.
  """
  return isinstance(value, list) and bool(value) and all(map(callable, value))


def _makers_of(
  data: Mapping[str, Any],
  draws: bool,
  canvas: tuple[int, int, int],
  act: tuple[int, ...],
) -> dict[str, Callable]:
  """Returns {name: maker} of the data of one run; see `of_data`."""
  shapes = dict(zip(_KNOBS, (canvas, act[-1:], act), strict=True))
  values = {n: v for n, v in data.items() if callable(v) and n not in shapes}
  makers = _by_name(values, draws, canvas)
  for name, value in data.items():
    if name in values:
      continue
    if name not in shapes:
      value = jax.tree.map(np.asarray, value)
      makers[name] = lambda row, seed, value=value: value
    elif callable(value):
      shape = shapes[name]
      makers[name] = lambda row, seed, value=value, shape=shape: np.asarray(
        value(shape, seed)
      )
    else:
      array = np.asarray(value)
      makers[name] = _of_row(f'data={{{name!r}: ...}}', array, shapes[name])
  return makers


def _make(
  makers: Callable[[int], Mapping[str, Callable]], dtype: Any
) -> Callable:
  """Returns `make` of `arrays`.

  Args:
    makers: the channel of a run -> {name: (row, seed) -> array}.
    dtype: of the arrays.
  """

  # A plan asks for the shapes of the first run's arrays more than once.
  @functools.lru_cache(maxsize=2)
  def arrays_of_run(channel, seed, given):
    return {
      name: maker(channel, seed)
      for name, maker in makers(channel).items()
      if name not in given
    }

  def make(
    runs: runs_.Runs, rows: np.ndarray, given: Collection[str] = ()
  ) -> dict[str, Any]:
    seeds = (runs.seed + runs.replicate)[rows].tolist()
    of_rows = list(zip(runs.channel[rows], seeds, strict=True))
    # The last run fills a batch up: its arrays are made once.
    made = {
      run: arrays_of_run(*run, frozenset(given))
      for run in dict.fromkeys(of_rows)
    }
    return {
      name: jax.tree.map(
        lambda *of_runs, name=name: _stacked(name, of_runs, dtype),
        *(made[run][name] for run in of_rows),
      )
      for name in made[of_rows[0]]
    }

  return make


def stacks(config: config_dict.ConfigDict, act: tuple[int, ...]) -> list[int]:
  """Returns the numbers of runs that config.each and files are for.

  A file of several directions or masks is for a run with each of them.
  """
  combinations = vocabulary.each(config)
  counts = [len(combinations)] if combinations else []
  for name, ndim in (('direction', 1), ('mask', len(act))):
    if config[name].endswith('.npy'):
      array = means.load_npy(config[name])
      counts += [len(array)] if array.ndim == ndim + 1 else []
  return counts


def _makers(
  config: config_dict.ConfigDict,
  canvas: tuple[int, int, int],
  act: tuple[int, ...],
  knobs: formula.Noted,
) -> dict[str, Callable]:
  """Returns {name: maker} of all arrays; a maker is (row, seed) -> array."""
  shapes = dict(zip(_KNOBS, (canvas, act[-1:], act), strict=True))
  makers = {
    name: _maker(config, name, knobs, shape)
    for name, shape in shapes.items()
    if config[name]
  }
  draws = bool(config.transforms.strip() or config.robust.strip())
  return makers | _by_name(vocabulary.data(config, knobs), draws, canvas)


def _by_name(
  data: Mapping[str, Callable], draws: bool, canvas: tuple[int, int, int]
) -> dict[str, Callable]:
  """Returns {name: (row, seed) -> array} of further makers."""
  makers, photographs = {}, {}
  for name, maker in data.items():
    if draws and isinstance(maker, features.PhotographLayers):
      photographs[name] = maker
    else:
      makers[name] = lambda row, seed, maker=maker: maker(canvas, seed)
  if photographs:
    makers['photographs'] = lambda row, seed: {
      name: layers.checked(canvas) for name, layers in photographs.items()
    }
  return makers


def _maker(
  config: config_dict.ConfigDict,
  name: str,
  knobs: formula.Noted,
  shape: tuple[int, ...],
) -> Callable:
  """Returns the maker, (row, seed) -> array, of config.start or the like."""
  text = config[name]
  if not text.endswith('.npy'):
    maker = vocabulary.link(config, name, knobs)
    return lambda row, seed: maker(shape, seed)
  knobs.strings.add(text)
  return _of_row(f'config.{name}: {text!r}', means.load_npy(text), shape)


def _of_row(
  name: str, array: np.ndarray, shape: tuple[int, ...]
) -> Callable[[int, int], np.ndarray]:
  """Returns the maker of an array for all runs, or of one for each.

  Raises:
    UserError: the array has another shape.
  """
  several = array.ndim == len(shape) + 1
  if array.shape[several:] != shape:
    raise UserError(
      f'{name} holds {array.shape}, expected {shape}, or one for each run: '
      f'(n, {", ".join(map(str, shape))})'
    )
  return lambda row, seed: array[row] if several else array


def _stacked(name: str, arrays: Sequence[ArrayLike], dtype: Any) -> np.ndarray:
  """Returns the arrays of one name of the runs of a batch as one array.

  Raises:
    UserError: the arrays differ in shape.
  """
  shapes = {np.shape(array) for array in arrays}
  if len(shapes) > 1:
    raise UserError(
      f'{name!r} is {" and ".join(map(str, sorted(shapes)))} for the runs of '
      'a batch, expected one shape (as many styles blended in each): type '
      '--config.batch=1'
    )
  whole = np.asarray(arrays[0]).dtype.kind in 'iu' and name not in _KNOBS
  return np.stack(arrays).astype(np.int32 if whole else dtype)
