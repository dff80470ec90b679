"""The results of a run on disk: zarr arrays, safe against crashes.

  WORKDIR/config.json                  written first, whole or not at all
  WORKDIR/<layer>/zarr.json            a group, once all its arrays are there
  WORKDIR/<layer>/image/ score/ ...    zarr3 arrays [n, ...]
  WORKDIR/<layer>/done/                [n]: 1 once all else is written
  WORKDIR/<layer>/.batch<row>.npz      a batch that was interrupted
  WORKDIR/<layer>/.rows<n>.npz         rows that were added: `growth`
  WORKDIR/<layer>/.chunk               rows of a file, as its maker chose

config.json is of format 2: its 'digests' say what the images are made from, and
its list 'makers' which versions and devices made them; the array `maker` is the
number of a row's entry in that list. A config.json without 'format' is of
format 1: it has one 'fingerprint' instead, and goes on without these.

The folder of a layer is its name, with '--' for '/'; `folders.spelled` tells
what other names become. Rows are written together with those of their batch. A
crash at any moment leaves a row done or not done; the same command does the
rest. The chunk along the first axis is what a file holds, and what one process
works on.

WORKDIR is a directory, or what TensorStore opens: gs://bucket/path,
s3://bucket/path. Several processes may work in one, each on its own chunks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import hashlib
import json
import os
import pathlib
import shlex
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
import numpy as np
import tensorstore

from vizjax.errors import UserError
from vizjax.workdir import folders

DONE = 'done'
CONFIG = 'config.json'
FORMAT = 2  # of config.json, as it is written
MAKER = 'maker'
WHOLE = 'network:'  # before the hash of all weights; older ones are of layers

# Digests of a whole workdir; those of a layer are in `sweeps/digests.py`.
DIGESTS = ('request', 'weights', 'data')
SKETCH = 4  # numbers of an array besides its shape

# Packages whose version decides which image is made: optax makes the updates.
PINNED = ('vizjax', 'jax', 'jaxlib', 'optax')

_GROUP = 'zarr.json'
_CHUNK = '.chunk'
_KEYS = {
  1: ('config', 'fingerprint'),
  2: ('config', 'digests', 'makers'),
}

# What differs where a digest does, for messages.
_CAUSES = {
  'request': 'the knobs that config.json holds were changed by hand',
  'weights': 'the parameters, mean or scale of a network have changed',
  'data': (
    'the bytes of a file that the config names, or a photograph that images '
    'start from, have changed'
  ),
}


def _lists(kind: type | tuple[type, ...]) -> Callable[[Any], bool]:
  """Returns the check of a list whose items are of a type."""
  return lambda value: (
    isinstance(value, list) and all(isinstance(item, kind) for item in value)
  )


def _digests(value: Any) -> bool:
  """Whether a value is what config.json holds under 'digests'."""
  numbers = _lists((int, float))
  kinds = {
    'constants': lambda digest: isinstance(digest, str),
    'program': lambda digest: isinstance(digest, str),
    'arrays': lambda sketch: numbers(sketch) and len(sketch) >= SKETCH,
  }
  return (
    isinstance(value, dict)
    and all(isinstance(value.get(name), str) for name in DIGESTS)
    and all(isinstance(value.get(name, {}), dict) for name in kinds)
    and all(
      isinstance(places, dict) and all(map(right, places.values()))
      for name, right in kinds.items()
      for places in value.get(name, {}).values()
    )
  )


# Checks of the entries that config.json may have.
_RIGHT = {
  'config': lambda value: isinstance(value, dict),
  'fingerprint': lambda value: isinstance(value, str),
  'digests': _digests,
  'makers': lambda value: _lists(dict)(value) and bool(value),
  'versions': lambda value: isinstance(value, dict),
  'layers': _lists(str),
  'asked': _lists(dict),
  'network': lambda value: (
    _lists(list)(value) and all(len(row) == 4 for row in value)
  ),
  'labels': lambda value: (
    isinstance(value, dict) and all(map(_lists(str), value.values()))
  ),
  'subjects': lambda value: (
    isinstance(value, dict) and _lists(str)([*value.values()])
  ),
}

# What may change between the runs of one workdir.
FREE = ('batch', 'tile_batch', 'memory', 'every', 'show', 'retries')


class Store(NamedTuple):
  """The arrays of one layer, open."""

  path: str
  name: str  # of its folder
  arrays: dict[str, tensorstore.TensorStore]
  count: int  # n
  chunk: int  # rows of a chunk


class Rules(NamedTuple):
  """How a workdir is compared with a command that is to go on with it.

  Attributes:
    defaults: the values of knobs that a workdir of an older version lacks.
    grows: knobs that may change, with None; others with the reason why they
      may not.
    earlier: gives the fingerprint of the command by the rule that the given
      fingerprint of a workdir of format 1 was made by.
    allow_versions: whether the workdir may be of other versions of `PINNED`.
  """

  defaults: Mapping[str, Any] = {}
  grows: Mapping[str, str | None] = {}
  earlier: Callable[[str], str] | None = None
  allow_versions: bool = False


STRICT = Rules()


def claim(
  workdir: str, provenance: Mapping[str, Any], rules: Rules = STRICT
) -> bool:
  """Makes a directory this run's own, or finds that it is.

  Args:
    workdir: new, empty, or made by an earlier run of the same configuration.
    provenance: the content of config.json. 'config' and 'digests', or the
      'fingerprint' of format 1, must not change; the rest is what it was at
      first.
    rules: how a workdir that is there is compared.

  Returns:
    Whether it was there before.

  Raises:
    UserError: it belongs to another config; the knobs that differ.
    OSError: it cannot be made.
  """
  config = folders.File(workdir, CONFIG)
  if folders.read(config) is None:
    if not folders.remote(workdir):
      path = pathlib.Path(workdir).expanduser()
      path.mkdir(parents=True, exist_ok=True)
      _check_alone(path)
    text = _text(provenance) + '\n'
    if folders.write(config, text.encode(), once=True):
      return False
  check(workdir, provenance, rules)
  return True


def check(
  workdir: str, provenance: Mapping[str, Any], rules: Rules = STRICT
) -> None:
  """Refuses a directory that `claim` refuses, and writes nothing.

  Args:
    workdir: a directory, there or not.
    provenance: as of `claim`.
    rules: as of `claim`.

  Raises:
    UserError: it belongs to another config; the knobs that differ.
    OSError: it cannot be read.
  """
  if folders.read(folders.File(workdir, CONFIG)) is None:
    path = pathlib.Path(workdir).expanduser()
    if not folders.remote(workdir) and path.exists():
      _check_alone(path)
    return
  provenance = json.loads(_text(provenance))  # tuples become lists
  old = read_config(workdir)
  if format_of(old) > 1:
    _compare(workdir, old, provenance, rules)
    if not rules.allow_versions:
      _compare_versions(workdir, old['makers'], provenance)
    _compare_digests(workdir, old, provenance)
    return
  if rules.earlier is not None:
    provenance |= {'fingerprint': rules.earlier(old['fingerprint'])}
    if not old['fingerprint'].startswith(WHOLE):
      why = 'the workdir is of an older version'
      rules = rules._replace(grows=dict.fromkeys(rules.grows, why))
  _compare(workdir, old, provenance, rules)


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
    UserError: there is none, or it is damaged.
  """
  file = folders.File(workdir, CONFIG)
  content = folders.read(file)
  if content is None:
    raise UserError(
      f'{workdir!r} is not a workdir: it has no {CONFIG}; make one with '
      'vizjax run --config=demo --workdir=DIR'
    )
  try:
    provenance = json.loads(content)
  except ValueError as error:
    raise _damaged(file, str(error)) from None
  if not isinstance(provenance, dict):
    raise _damaged(file, f'it holds {provenance!r:.60}')
  _check_format(file, provenance)
  for name, is_right in _RIGHT.items():
    if name in provenance and not is_right(provenance[name]):
      raise _damaged(file, f'its {name!r} is {provenance[name]!r:.60}')
  return provenance


def format_of(provenance: Mapping[str, Any]) -> int:
  """Returns the format of a config.json."""
  return provenance.get('format', 1)


def _check_format(file: folders.File, provenance: Mapping[str, Any]) -> None:
  """Refuses a config.json of a newer format, or without what its own has."""
  number = provenance.get('format', 1)
  if type(number) is not int or number < 1:
    raise _damaged(file, f"its 'format' is {number!r:.60}")
  if number > FORMAT:
    raise UserError(
      f'{file.path!r} is of format {number}, this version of vizjax reads up '
      f'to {FORMAT}: install a newer vizjax'
    )
  if not provenance.keys() >= {*_KEYS[number]}:
    raise _damaged(file, f'it lacks some of {_KEYS[number]}')


def _text(provenance: Mapping[str, Any]) -> str:
  """Returns the text of a config.json.

  Raises:
    UserError: JSON cannot hold a knob, such as a function.
  """
  try:
    return json.dumps(provenance, indent=2)
  except TypeError as error:
    raise UserError(
      f'a knob of the config cannot be stored ({error}): expected texts, '
      'numbers and lists; write a function as a formula, as '
      '"my_lab.terms.f(layer)"'
    ) from error


def directory(workdir: str, layer: str) -> str:
  """Where a layer's arrays are."""
  return f'{workdir.rstrip("/")}/{folders.spelled(layer)}'


def layers(workdir: str) -> dict[str, str]:
  """Where the arrays of each layer are, in the order of the network.

  Layers that are not begun yet are left out.
  """
  names = read_config(workdir).get('layers', [])
  found = {name: directory(workdir, name) for name in names}
  return {name: path for name, path in found.items() if begun(path)}


def begun(path: str) -> bool:
  """Whether a layer's arrays are there, by their folder."""
  return folders.read(folders.File(path, _GROUP)) is not None


def disclaim(workdir: str) -> None:
  """Takes back a claim, where nothing came of it."""
  for name in read_config(workdir)['layers']:
    folders.clear(directory(workdir, name))
  folders.write(folders.File(workdir, CONFIG), None)


def create(
  path: folders.Path,
  specs: Mapping[str, tuple[tuple[int, ...], Any]],
  count: int,
  chunk: int,
  preset: Mapping[str, np.ndarray] | None = None,
) -> Store:
  """The arrays of a layer, opened or made; they appear all together.

  Args:
    path: from `directory`.
    specs: {name: (shape of one row, dtype)}; floats are NaN till written, and
      `MAKER` is -1.
    count: rows.
    chunk: rows of a chunk, where the arrays are still to be made.
    preset: {name: [count, ...]}: arrays known before the runs are made.
  """
  path, preset = str(path), preset or {}
  group = folders.File(path, _GROUP)
  if folders.read(group) is None:
    specs = {**specs, DONE: ((), np.uint8)}
    chunk = _agreed(path, chunk)
    with folders.writing(path):
      _create_arrays(
        path,
        {
          **{n: _metadata(c.shape, count, c.dtype) for n, c in preset.items()},
          **{
            name: _metadata((count, *shape), chunk, np.dtype(dtype))
            for name, (shape, dtype) in specs.items()
          },
        },
        preset,
      )
    names = [*preset, *specs]
    content = {
      'zarr_format': 3,
      'node_type': 'group',
      'attributes': {'arrays': names},
    }
    folders.write(group, json.dumps(content).encode(), once=True)
  return open_(path)


def open_(path: folders.Path) -> Store:
  """The arrays of a layer that is there.

  Raises:
    UserError: it is not, or is damaged.
  """
  path = str(path)
  group = folders.File(path, _GROUP)
  content = folders.read(group)
  if content is None:
    raise UserError(f'{path!r} holds no results')
  try:
    names = json.loads(content)['attributes']['arrays']
  except (ValueError, KeyError, TypeError):
    raise UserError(folders.damaged(path)) from None
  arrays = handles(path, names)
  chunk = arrays[DONE].chunk_layout.read_chunk.shape[0]
  # Some are longer while rows are added, and where that was cut.
  count = min(array.shape[0] for array in arrays.values())
  arrays = {
    n: a if a.shape[0] == count else a[:count] for n, a in arrays.items()
  }
  return Store(path, path.split('/')[-1], arrays, count, chunk)


def handles(
  path: str, names: Iterable[str]
) -> dict[str, tensorstore.TensorStore]:
  """The arrays of a layer as they are, opened all at a time."""
  opening = {
    name: tensorstore.open(_spec(f'{path}/{name}'), open=True) for name in names
  }
  with folders.reading(path):
    return {name: future.result() for name, future in opening.items()}


def missing(store: Store) -> dict[int, np.ndarray]:
  """The rows that are not done, by the number of their chunk."""
  return by_chunk(store, np.flatnonzero(read(store, DONE) == 0))


def by_chunk(store: Store, rows: np.ndarray) -> dict[int, np.ndarray]:
  """Rows in ascending order, by the number of their chunk."""
  numbers, starts = np.unique(rows // store.chunk, return_index=True)
  parts = np.split(rows, starts[1:])
  return dict(zip(numbers.tolist(), parts, strict=False))


def write(
  store: Store, rows: np.ndarray, arrays: Mapping[str, np.ndarray]
) -> None:
  """Writes some rows: their arrays, and only then that they are done.

  While rows are written a second time they are not done.

  Args:
    store: of a layer.
    rows: [k], of one chunk.
    arrays: {name: [k, ...]}.

  Raises:
    OSError: it cannot be written, as when a disk is full.
  """
  if len(rows) == rows[-1] - rows[0] + 1:
    rows = slice(rows[0], rows[-1] + 1)
  with folders.writing(store.path):
    if read(store, DONE, rows).any():
      store.arrays[DONE][rows].write(np.uint8(0)).result()
    futures = [
      store.arrays[name][rows].write(
        np.asarray(array),
        can_reference_source_data_indefinitely=True,  # nobody changes it
      )
      for name, array in arrays.items()
    ]
    for future in futures:
      future.result()
    store.arrays[DONE][rows].write(np.uint8(1)).result()


def interrupted(store: Store, row: int, attempt: int = 0) -> folders.File:
  """Where a batch is kept that could not be finished, by its first row."""
  which = f'{row}' + f'.{attempt}' * (attempt > 0)
  return folders.File(store.path, f'.batch{which}.npz')


def read(store: Store, name: str, rows: Any = slice(None)) -> np.ndarray:
  """Reads some rows of an array.

  Raises:
    UserError: a chunk is damaged.
    OSError: it cannot be read.
  """
  with folders.reading(store.path):
    return store.arrays[name][rows].read().result()


def read_or(store: Store, name: str, default: int) -> np.ndarray:
  """Reads an array of integers [n], which an older store may lack."""
  if name in store.arrays:
    return read(store, name)
  return np.full(store.count, default)


def _damaged(file: folders.File, why: str) -> UserError:
  return UserError(
    f'{file.path!r} is damaged ({why}): restore that file from a copy, or type '
    '--workdir=ANOTHER, a new folder'
  )


def _check_alone(path: pathlib.Path) -> None:
  """Refuses a directory of something else."""
  # Files of ours, and the locks beside them while another process claims it.
  if CONFIG in (entries := os.listdir(path)):
    return
  others = [name for name in entries if not name.startswith(('.', CONFIG))]
  if others:
    raise UserError(
      f'workdir {str(path)!r} holds other files ({others[0]}, ...): '
      'expected a new or empty directory, or one of this program: type '
      '--workdir=ANOTHER'
    )


def _compare(workdir: str, old: Mapping, new: Mapping, rules: Rules) -> None:
  """Refuses a command with other knobs, or another fingerprint of format 1."""
  differing, typed = [], []
  grows = rules.grows
  free = {*FREE, *(name for name, why in grows.items() if why is None)}
  for name in sorted({*old['config'], *new['config']} - free):
    default = rules.defaults.get(name, '(absent)')
    was, now = (c['config'].get(name, default) for c in (old, new))
    if was != now:
      why = f', which cannot grow: {grows[name]}' if name in grows else ''
      differing.append(f'{name}: {was!r} there, {now!r} here{why}')
      if isinstance(was, str | int | float) and name in old['config']:
        typed.append(shlex.quote(f'--config.{name}={was}'))
      elif was is None and name in old['config']:
        typed.append(f'--config.{name}=none')
  whole = len(typed) == len(differing)
  if format_of(old) == 1 and old['fingerprint'] != new.get('fingerprint'):
    differing.append('the weights or arrays that the config names')
    whole = False
  if differing:
    advice = f'type {" ".join(typed)}, or' if whole else 'type'
    raise UserError(
      f'workdir {workdir!r} was made with another config ('
      f'{"; ".join(differing)}): {advice} --workdir=ANOTHER, a new folder'
    )


def _compare_versions(
  workdir: str, makers: Sequence[Mapping], new: Mapping
) -> None:
  """Refuses versions that made no image of the workdir yet."""
  (here,) = new['makers']
  differing = [
    [name for name in PINNED if maker.get(name) != here[name]]
    for maker in makers
  ]
  if all(differing):
    told = '; '.join(
      f'{name}: {makers[-1].get(name)!r} there, {here[name]!r} here'
      for name in differing[-1]
    )
    raise UserError(
      f'workdir {workdir!r} was made with other versions ({told}), which may '
      'make other images: install those, type --allow_versions to go on (each '
      'image keeps which versions made it), or type --workdir=ANOTHER, a new '
      'folder'
    )


def _compare_digests(workdir: str, old: Mapping, new: Mapping) -> None:
  """Refuses a command whose images are made from something else."""
  for name in DIGESTS:
    # A version with other knobs than the workdir's has another request.
    if name == 'request' and {*old['config']} != {*new['config']}:
      continue
    if old['digests'][name] != new['digests'][name]:
      raise UserError(
        f'workdir {workdir!r} was made with other {name} (digest {name!r}): '
        f'{_CAUSES[name]}; type --workdir=ANOTHER, a new folder'
      )


def _agreed(path: str, chunk: int) -> int:
  """The chunk of the first of several that make the arrays of a layer."""
  file = folders.File(path, _CHUNK)
  folders.write(file, str(chunk).encode(), once=True)
  return int(folders.read(file))


def _create_arrays(
  path: str, metadata: Mapping[str, Any], preset: Mapping[str, np.ndarray]
) -> None:
  """Makes arrays, all at a time, and writes those that are known."""
  if MAKER in metadata:  # 0 is the first maker
    metadata = {**metadata, MAKER: metadata[MAKER] | {'fill_value': -1}}
  specs = {
    name: _spec(f'{path}/{name}') | {'metadata': each}
    for name, each in metadata.items()
  }
  opening = {
    name: tensorstore.open(spec, open=True, create=True)
    for name, spec in specs.items()
  }
  writes = []
  for name, spec in specs.items():
    try:
      array = opening[name].result()
    except ValueError:
      # Of a creation that was cut, with another chunk.
      again = tensorstore.open(spec, create=True, delete_existing=True)
      array = again.result()
    if name in preset:
      writes.append(array.write(preset[name]))
  for write in writes:
    write.result()


def _metadata(
  shape: tuple[int, ...], chunk: int, dtype: np.dtype
) -> dict[str, Any]:
  return {
    'shape': shape,
    'data_type': dtype.name,
    'fill_value': 'NaN' if jnp.issubdtype(dtype, jnp.floating) else 0,
    'chunk_grid': {
      'name': 'regular',
      'configuration': {'chunk_shape': (chunk, *shape[1:])},
    },
    'codecs': [
      {'name': 'bytes', 'configuration': {'endian': 'little'}},
      {'name': 'zstd', 'configuration': {'level': 3}},
    ],
  }


def _spec(path: str) -> dict[str, Any]:
  return {'driver': 'zarr3', 'kvstore': folders.where(path)}
