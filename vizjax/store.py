"""The results of a run on disk: one zarr array a field, safe against crashes.

  WORKDIR/config.json                  written first, whole or not at all
  WORKDIR/<layer>/image/ score/ ...    zarr3 arrays [n, ...]; '/' is '--'
  WORKDIR/<layer>/done/                [n]: 1 once all else is written
  WORKDIR/<layer>/.batch<chunk>.npz    a batch that was interrupted

The chunk along the first axis is the unit of work and of commit. A crash at
any moment leaves a chunk done or not done; the same command does the rest.
"""

from collections.abc import Iterable, Mapping
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any, NamedTuple

from jax.typing import ArrayLike
import numpy as np
import tensorstore

DONE = 'done'
CONFIG = 'config.json'

_KEYS = ('config', 'fingerprint')

# What may change between the runs of one workdir.
FREE = ('batch', 'tile_batch', 'memory', 'every', 'show')


class Store(NamedTuple):
  """The arrays of one layer, open."""

  path: pathlib.Path
  arrays: dict[str, tensorstore.TensorStore]
  count: int  # n
  chunk: int  # rows of a chunk


def claim(
  workdir: str,
  provenance: Mapping[str, Any],
  defaults: Mapping[str, Any] | None = None,
) -> bool:
  """Makes a directory this run's own, or finds that it is.

  Args:
    workdir: new, empty, or made by an earlier run of the same configuration.
    provenance: what config.json holds; 'config' and 'fingerprint' must not
      change, the rest is what it was at first.
    defaults: what a field was before there was one of that name.

  Returns:
    Whether it was there before.

  Raises:
    ValueError: it belongs to something else; the fields that differ.
    OSError: it cannot be made.
  """
  path = pathlib.Path(workdir)
  provenance = json.loads(json.dumps(provenance))  # tuples become lists
  if (path / CONFIG).exists():
    _compare(workdir, read_config(workdir), provenance, defaults or {})
    return True
  path.mkdir(parents=True, exist_ok=True)
  others = [entry for entry in os.listdir(path) if not entry.startswith('.')]
  if others:
    raise ValueError(
      f'workdir {workdir!r} holds other files ({others[0]}, ...): '
      'expected a new or empty directory, or one of this program'
    )
  partial = path / f'.{CONFIG}.partial'
  partial.write_text(json.dumps(provenance, indent=2) + '\n')
  partial.replace(path / CONFIG)
  return False


def fingerprint(arrays: Iterable[ArrayLike], strings: Iterable[str]) -> str:
  """A hash of the numbers that results depend on, and of files.

  Args:
    arrays: the numbers.
    strings: paths of files, among other strings.
  """
  digest = hashlib.sha256()
  for array in arrays:
    digest.update(np.ascontiguousarray(array).tobytes())
  for path in map(pathlib.Path, strings):
    if path.expanduser().is_file():
      digest.update(path.expanduser().read_bytes())
  return digest.hexdigest()


def read_config(workdir: str) -> dict[str, Any]:
  """What config.json holds.

  Raises:
    ValueError: there is none, or it is damaged.
  """
  path = pathlib.Path(workdir) / CONFIG
  try:
    provenance = json.loads(path.read_text())
  except FileNotFoundError:
    raise ValueError(
      f'{workdir!r} is not a workdir: it has no {CONFIG}; make one with '
      'python -m experiments.run --config=configs/demo.py --workdir=DIR'
    ) from None
  except ValueError as error:
    raise ValueError(f'{str(path)!r} is damaged: {error}') from None
  if not isinstance(provenance, dict) or not provenance.keys() >= set(_KEYS):
    raise ValueError(f'{str(path)!r} is damaged: it lacks some of {_KEYS}')
  return provenance


def directory(workdir: str, layer: str) -> pathlib.Path:
  """Where a layer's arrays are."""
  return pathlib.Path(workdir) / layer.replace('/', '--')


def layers(workdir: str) -> dict[str, pathlib.Path]:
  """Where the arrays of each layer are, in the order in which they were made.

  The counterpart of `directory`.
  """
  marks = pathlib.Path(workdir).glob(f'*/{DONE}/zarr.json')
  paths = [mark.parent.parent for mark in marks]
  # Not ctime, which copies do not keep.
  paths.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
  return {
    path.name.replace('--', '/'): path
    for path in paths
    if not path.name.startswith('.')
  }


def create(
  path: pathlib.Path,
  fields: Mapping[str, tuple[tuple[int, ...], Any]],
  count: int,
  chunk: int,
) -> Store:
  """The arrays of a layer, opened or made; they appear all together.

  Args:
    path: from `directory`.
    fields: {name: (shape of one row, dtype)}; floats are NaN till written.
    count: rows.
    chunk: rows of a chunk, where the arrays are still to be made.
  """
  if not path.exists():
    partial = path.with_name(f'.{path.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    for name, (shape, dtype) in {**fields, DONE: ((), np.uint8)}.items():
      _create_array(partial / name, (count, *shape), chunk, np.dtype(dtype))
    partial.rename(path)
  return open_(path)


def open_(path: pathlib.Path) -> Store:
  """The arrays of a layer that is there.

  Raises:
    ValueError: it is not, or is damaged.
  """
  names = sorted(
    entry.parent.relative_to(path).as_posix()
    for entry in path.rglob('zarr.json')
  )
  if DONE not in names:
    raise ValueError(f'{str(path)!r} holds no results')
  arrays = {name: _open_array(path / name) for name in names}
  done = arrays[DONE]
  return Store(
    path, arrays, done.shape[0], done.chunk_layout.read_chunk.shape[0]
  )


def missing(store: Store) -> list[int]:
  """The numbers of the chunks that are not done."""
  done = store.arrays[DONE].read().result()
  starts = range(0, store.count, store.chunk)
  return [i for i, start in enumerate(starts) if not done[start]]


def rows(store: Store, number: int) -> range:
  """The rows of a chunk."""
  start = number * store.chunk
  return range(start, min(start + store.chunk, store.count))


def write(store: Store, number: int, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes a chunk: its arrays, and only then that it is done."""
  where = rows(store, number)
  part = slice(where.start, where.stop)
  futures = [
    store.arrays[name][part].write(np.asarray(array))
    for name, array in arrays.items()
  ]
  for future in futures:
    future.result()
  store.arrays[DONE][part].write(np.ones(len(where), np.uint8)).result()


def interrupted(store: Store, number: int) -> pathlib.Path:
  """Where a batch of a chunk is kept that could not be finished."""
  return store.path / f'.batch{number}.npz'


def read(store: Store, name: str, rows: Any = slice(None)) -> np.ndarray:
  """Some rows of a field."""
  return store.arrays[name][rows].read().result()


def _compare(
  workdir: str, old: Mapping, new: Mapping, defaults: Mapping
) -> None:
  differing = []
  for name in sorted({*old['config'], *new['config']} - set(FREE)):
    default = defaults.get(name, '(absent)')
    was, now = (c['config'].get(name, default) for c in (old, new))
    if was != now:
      differing.append(f'{name}: {was!r} there, {now!r} here')
  if old['fingerprint'] != new['fingerprint']:
    differing.append('the weights or arrays that the config names')
  if differing:
    raise ValueError(
      f'workdir {workdir!r} was made with another config ('
      f'{"; ".join(differing)}): use that config, or another --workdir'
    )


def _create_array(
  path: pathlib.Path, shape: tuple[int, ...], chunk: int, dtype: np.dtype
) -> None:
  spec = _spec(path) | {
    'metadata': {
      'shape': shape,
      'data_type': dtype.name,
      'fill_value': 'NaN' if dtype.kind == 'f' else 0,
      'chunk_grid': {
        'name': 'regular',
        'configuration': {'chunk_shape': (chunk, *shape[1:])},
      },
      'codecs': [
        {'name': 'bytes', 'configuration': {'endian': 'little'}},
        {'name': 'zstd', 'configuration': {'level': 3}},
      ],
    }
  }
  tensorstore.open(spec, create=True).result()


def _open_array(path: pathlib.Path) -> tensorstore.TensorStore:
  try:
    return tensorstore.open(_spec(path), open=True).result()
  except ValueError as error:
    raise ValueError(f'{str(path)!r} is damaged: {error}') from error


def _spec(path: pathlib.Path) -> dict[str, Any]:
  where = {'driver': 'file', 'path': str(path.absolute()) + '/'}
  return {'driver': 'zarr3', 'kvstore': where}
