"""A workdir gets more: rows of further units and replicates, and layers.

  WORKDIR/<layer>/.rows<n>.npz     the rows that follow the first n

This file is written before anything else, never twice and never again: a
growth that was cut is finished by the next command that works on the layer,
and of two commands that add rows at once, the second adds what the first did
not. Rows keep their number and their contents; new ones come after them, so
only the columns `unit`, `sign` and `replicate` say which image a row is.
"""

from collections.abc import Mapping
import json
from typing import Any

from jax.typing import ArrayLike
import numpy as np
import tensorstore

from vizjax import build
from vizjax import errors
from vizjax import listing
from vizjax.errors import UserError
from vizjax.models.formats import arrays
from vizjax.workdir import folders
from vizjax.workdir import store

# Fields of a config that say how much there is, not what it is like.
KNOBS = ('layer', 'units', 'replicates')

_KEY = ('unit', 'sign', 'replicate')


def fixed(request: build.Request, compared: bool) -> str | None:
  """Why the number of replicates cannot change; None where it can.

  Args:
    request: what is wanted.
    compared: whether a term compares the images of a unit.
  """
  if compared:
    return 'the images of a unit are compared with each other'
  return 'a formula reads it' if 'replicates' in request.noted.names else None


def at(
  layer_store: store.Store, preset: Mapping[str, np.ndarray]
) -> np.ndarray:
  """Returns [n]: the row of each of n runs in a layer's arrays; -1 for none.

  Args:
    layer_store: the arrays.
    preset: {name: [n, ...]} of the runs, with `unit`, `sign`, `replicate`.
  """
  there = _keys({name: store.read_or(layer_store, name, 1) for name in _KEY})
  # Where a run is there twice, as in old workdirs, the first one counts.
  rows = dict(zip(reversed(there), reversed(range(len(there))), strict=True))
  return np.array([rows.get(key, -1) for key in _keys(preset)], int)


def order(layer_store: store.Store, rows: np.ndarray) -> np.ndarray:
  """Returns [k]: the places of some rows [k], with those of a unit together.

  Units stand as they were first asked for; of a unit the images that maximize
  come first, then the replicates.
  """
  units, replicates = (
    store.read(layer_store, n) for n in ('unit', 'replicate')
  )
  signs = store.read_or(layer_store, 'sign', 1)
  first = {}
  for row, unit in enumerate(map(tuple, units.tolist())):
    first.setdefault(unit, row)
  began = np.array([first[tuple(unit)] for unit in units[rows].tolist()], int)
  return np.lexsort([replicates[rows], -signs[rows], began])


def rows(
  path: folders.Path,
  preset: Mapping[str, np.ndarray],
  specs: Mapping[str, tuple[tuple[int, ...], Any]],
) -> store.Store:
  """Opens the arrays of a layer, with a row for each of these runs.

  Args:
    path: from `store.directory`; the arrays are there.
    preset: {name: [n, ...]} of the runs.
    specs: {name: (shape of a row, dtype)} of the runs.
  """
  while True:
    layer_store = _finished(path)
    new = at(layer_store, preset) < 0
    if not new.any():
      return layer_store
    part = {
      'column': {
        n: c[new] for n, c in preset.items() if n in layer_store.arrays
      },
      'shape': {
        name: np.array(shape, int)
        for name, (shape, _) in specs.items()
        if name in layer_store.arrays
      },
    }
    folders.write(_file(layer_store), arrays.packed(part), once=True)


def lacks(workdir: str, layer: str, preset: Mapping[str, np.ndarray]) -> bool:
  """Whether a workdir has no row yet for one of these runs of a layer."""
  path = store.directory(workdir, layer)
  if not store.begun(path):
    return True
  return bool((at(store.open_(path), preset) < 0).any())


def record(
  workdir: str,
  provenance: Mapping[str, Any],
  preset: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
  """Writes into config.json that a workdir holds more.

  Its config becomes one that makes all of it again, where all layers were
  asked for with the same units; 'asked' lists what was asked for each time.

  Args:
    workdir: where.
    provenance: what config.json would hold of the command that adds to it.
    preset: of the runs of each layer that it asks for.
  """
  if not any(lacks(workdir, name, each) for name, each in preset.items()):
    return
  again = all(
    _units(store.open_(path)) <= {*map(tuple, preset[name]['unit'].tolist())}
    for name, path in store.layers(workdir).items()
    if name in preset
  )

  def edit(content):
    there = json.loads(content)
    joined = _joined(there, json.loads(json.dumps(provenance)), again)
    return (json.dumps(joined, indent=2) + '\n').encode()

  folders.change(folders.File(workdir, store.CONFIG), edit)


def asked(config: Mapping[str, Any], versions: Any) -> dict[str, Any]:
  """Returns what a command asked for, as config.json keeps it."""
  return {name: config[name] for name in KNOBS} | {'versions': versions}


def _joined(
  there: Mapping[str, Any], here: Mapping[str, Any], again: bool
) -> dict[str, Any]:
  """Returns the content of config.json after a command has added to it.

  Args:
    there: what it holds.
    here: what it would hold of the command alone.
    again: whether the command asks again for all units of its layers.
  """
  old, new = there['config'], here['config']
  before = there.get('layers', [])
  layers = {*before, *here['layers']}
  known = dict.fromkeys([row[0] for row in here['network']])
  order = [
    name for name in {**known, **dict.fromkeys(layers)} if name in layers
  ]
  whole = layers == {*here['layers']}  # of what is there
  less = layers == {*before}
  history = there.get('asked', [asked(old, there.get('versions'))])
  repeated = history[-1] == here['asked'][-1]  # after a growth that was cut
  return {
    **there,
    'config': {
      **old,
      'layer': new['layer']
      if whole
      else old['layer']
      if less
      else listing.typed(order),
      'units': new['units']
      if whole and again
      else _together(old['units'], new['units']),
      'replicates': max(old['replicates'], new['replicates']),
    },
    'layers': order,
    'labels': {**there.get('labels', {}), **here['labels']},
    'subjects': {**there.get('subjects', {}), **here['subjects']},
    'asked': history if repeated else history + here['asked'],
  }


def _together(one: str | None, other: str | None) -> str | None:
  """A list of units that holds those of two lists."""
  first, second = (listing.split('*' if t is None else t) for t in (one, other))
  parts = list(dict.fromkeys([*first, *second]))
  return one if len(parts) == len(first) else listing.typed(parts)


def _units(layer_store: store.Store) -> set[tuple[int, ...]]:
  return {*map(tuple, store.read(layer_store, 'unit').tolist())}


def _keys(preset: Mapping[str, np.ndarray]) -> list[tuple[int, ...]]:
  """One key per run: the columns that identify it."""
  parts = [np.reshape(preset[n], (len(preset[n]), -1)) for n in _KEY]
  return [*map(tuple, np.concatenate(parts, 1).tolist())]


def _file(layer_store: store.Store) -> folders.File:
  return folders.File(layer_store.path, f'.rows{layer_store.count}.npz')


def _finished(path: folders.Path) -> store.Store:
  """Opens the arrays of a layer, with all rows that were ever to be added."""
  while True:
    layer_store = store.open_(path)
    content = folders.read(_file(layer_store))
    if content is None:
      return layer_store
    try:
      part = arrays.unpacked(content)
      preset, shapes = part['column'], part['shape']
    except Exception as error:  # A parser may raise anything on damaged input.
      if errors.is_bug(error):
        raise
      raise UserError(
        f'{_file(layer_store).path!r} is damaged: remove it, and the same '
        'command adds the rows again'
      ) from None
    _extend(layer_store, preset, shapes)


def _extend(
  layer_store: store.Store,
  preset: Mapping[str, np.ndarray],
  shapes: Mapping[str, ArrayLike],
) -> None:
  """Adds rows after the last one; they appear all together.

  It may be done again, and by several processes, with the same rows.

  Args:
    layer_store: the arrays of a layer.
    preset: {name: [k, ...]}: arrays of the new rows that are known.
    shapes: {name: shape of a row}, where that may be larger than so far.
  """
  count = layer_store.count + len(next(iter(preset.values())))
  whole = store.handles(layer_store.path, layer_store.arrays)
  done = whole.pop(store.DONE)
  with folders.writing(layer_store.path):
    growing = {
      name: _resized(
        array, (count, *np.array(shapes.get(name, ()), int).tolist())
      )
      for name, array in whole.items()
    }
    grown = {name: future.result() for name, future in growing.items()}
    for name, column in preset.items():
      _put(grown[name], layer_store.count, column)
    _resized(done, (count,)).result()


def _resized(
  array: tensorstore.TensorStore, shape: tuple[int, ...]
) -> tensorstore.Future:
  """The array with at least this shape."""
  whole = np.maximum(array.shape, (*shape, *array.shape[len(shape) :]))
  return array.resize(exclusive_max=whole.tolist(), expand_only=True)


def _put(array: tensorstore.TensorStore, row: int, values: np.ndarray) -> None:
  """Writes rows from this one on."""
  array[row : row + len(values)].write(values).result()
