"""Results of a batch: which failed, which are made again, what is stored.

A run fails if its gradient was zero at every step or its score is not finite.
It is made again with another seed, config.retries times; the last attempt is
stored, and marked.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from vizjax.build import runs as runs_
from vizjax.photographs import images
from vizjax.workdir import store

DEAD, RETRIES = 'metric/dead', 'metric/retries'

# Fields of every run besides what its program gives: shape and dtype.
ARRAYS = {
  DEAD: ((), np.uint8),
  RETRIES: ((), np.int32),
  'seed': ((), np.int64),
  store.MAKER: ((), np.int32),
}


def judged(
  found: Mapping[str, np.ndarray], seeds: np.ndarray, attempt: int
) -> dict[str, np.ndarray]:
  """The arrays of some runs [b, ...], and those of ARRAYS.

  Args:
    found: of `batches.run`.
    seeds: [b] that they were made with.
    attempt: how many came before.
  """
  count = len(found['score'])
  dead = np.zeros(count, np.uint8)
  norms = found.get('trace/gradient_norm')
  if norms is not None:
    # Beyond the end of a run that stopped there are no numbers.
    flat = norms.reshape(count, -1)
    dead = ((flat == 0).any(1) & ((flat == 0) | np.isnan(flat)).all(1)) * 1
  retries = np.full(count, attempt)
  return {**found, DEAD: dead, RETRIES: retries, 'seed': seeds}


def failed(found: Mapping[str, np.ndarray]) -> np.ndarray:
  """[b]: whether a run is dead, or its score is not finite."""
  return (found[DEAD] > 0) | ~finite(found)


def finite(found: Mapping[str, np.ndarray]) -> np.ndarray:
  """[b]: whether the score and the activation of a run are finite."""
  return np.isfinite(found['score']) & np.isfinite(found['activation'])


def due(
  layer_store: store.Store, retries: int, group: int | None
) -> np.ndarray:
  """[n]: how often each run was tried that is to be tried again; -1: none.

  Args:
    layer_store: of a layer.
    retries: how often at most after the first time.
    group: runs in a row that are made together.
  """
  done = store.read(layer_store, store.DONE) > 0
  again = np.where(done, -1, 0)
  if RETRIES in layer_store.arrays and done.any():
    found = {
      n: store.read(layer_store, n) for n in ('score', 'activation', DEAD)
    }
    tried = store.read(layer_store, RETRIES)
    bad = done & together(failed(found), group) & (tried < retries)
    again[bad] = tried[bad] + 1
  return again


def together(chosen: np.ndarray, group: int | None) -> np.ndarray:
  """Whole groups [n] of which one is chosen [n]."""
  size = group or 1
  return chosen.reshape(-1, size).any(1).repeat(size)


def again(runs: runs_.Runs, attempt: int) -> runs_.Runs:
  """The runs with another seed, which is that of no other replicate's start."""
  return runs._replace(seed=runs.seed + attempt * runs_.APART)


def rows(
  specs: Mapping[str, tuple[tuple[int, ...], Any]],
  found: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """The arrays of some rows, filled up where an array has room for more.

  Args:
    specs: {name: (shape of a row, dtype)} of the store.
    found: {name: [b, ...]}.
  """
  assert found.keys() <= specs.keys()
  count, arrays = len(found['score']), {}
  for name, (shape, dtype) in specs.items():
    values = found.get(name)
    # A film that is as it is stored is not copied.
    if values is None or (values.shape[1:], values.dtype) != (shape, dtype):
      arrays[name] = _blank((count, *shape), dtype)
      if values is not None:
        _put(arrays[name], values)
    else:
      arrays[name] = values
  return arrays


def _put(array: np.ndarray, values: np.ndarray) -> None:
  """Writes rows; an image smaller than its place goes to the top left."""
  if array.dtype == np.uint8:
    values = images.to_uint8(values)
  array[tuple(slice(size) for size in values.shape)] = values


def _blank(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
  array = np.zeros(shape, dtype)
  if jnp.issubdtype(array.dtype, jnp.floating):
    array.fill(np.nan)
  return array
