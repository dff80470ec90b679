"""The photographs that excite each unit of a workdir most, and statistics.

  plan = examples.plan('DIR', 'photographs')
  examples.search(plan)
  found = examples.read('DIR', 'conv5')
  found.ids[3][0], found.value[3, 0]       # the best photograph of channel 3

  WORKDIR/examples/examples.json       written last: what was searched
  WORKDIR/examples/<layer>/            arrays [c, ...], as in workdir/store.py
  WORKDIR/examples/.pass.npz           while the photographs are looked at

The value of a channel in a photograph is its maximum over all positions.
Maximum, mean, deviation and percentiles are of these values, one of each
photograph. Crops show what the unit at the maximum sees of the photograph; of
units that see all of it, it is made smaller.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import json
import shlex
from typing import Any, NamedTuple

import jax
import numpy as np

from vizjax import core
from vizjax import errors
from vizjax import listing
from vizjax import models
from vizjax.build import geometry
from vizjax.build import vocabulary
from vizjax.errors import UserError
from vizjax.examples import crops
from vizjax.examples import passes
from vizjax.models import receptive_fields
from vizjax.photographs import classifiers
from vizjax.photographs import datasets
from vizjax.photographs import preprocessing
from vizjax.sweeps import capacity
from vizjax.sweeps import network
from vizjax.sweeps import provenance as provenance_
from vizjax.workdir import folders
from vizjax.workdir import store

# Photographs of a unit: the sheet that the site shows them on is 16 wide, and
# a JPEG holds 409 rows of them at most.
MOST = 1000

_FILE = 'examples.json'
_PASS = '.pass.npz'

# What must not change before all is done, and what it is called.
_FACTS = {
  'dataset': 'dataset',
  'photographs': 'number of photographs',
  'k': 'k',
  'layers': 'layers',
  'preprocessing': 'preprocessing',
  'fingerprint': 'fingerprint of the weights',
}


class Plan(NamedTuple):
  """What is to be searched.

  Attributes:
    workdir: where.
    scan: the network and the photographs.
    receptive_fields: of each layer; None for the whole image.
    facts: what is written of it.
    left_out: layers whose images are of no unit, and what the images are of.
  """

  workdir: str
  scan: passes.Scan
  receptive_fields: dict[str, receptive_fields.Field | None]
  facts: dict[str, Any]
  left_out: dict[str, str]


class Progress(NamedTuple):
  """How far a search is."""

  what: str  # 'photographs', or 'crops': photographs that are cut
  done: int
  count: int


class Found(NamedTuple):
  """What is known of the c channels of a layer; k photographs of each.

  Where there are fewer photographs the id is '' and the value NaN.
  """

  ids: list[list[str]]  # [c][k], the strongest first, as in the data set
  value: np.ndarray  # [c, k] float32, the channel's maximum in the photograph
  position: np.ndarray  # [c, k, 2] int32, of the maximum: y, x in the map
  box: np.ndarray  # [c, k, 4] int32: top, left, h, w in the prepared one
  image: Any  # [c, k, h, w, 3] uint8, top left; read where it is indexed
  maximum: np.ndarray  # [c] float64, as the following, over all photographs
  mean: np.ndarray
  deviation: np.ndarray  # the population's
  p99: np.ndarray  # the 99th percentile
  p99_9: np.ndarray  # the 99.9th
  slope: tuple[float, float] | None = None  # mean, deviation of the spectra's

  def __repr__(self) -> str:
    channels, k = self.value.shape
    return f'Found({k} photographs of {channels} channels; {self._fields})'


def plan(
  workdir: str,
  dataset: str | datasets.Dataset,
  *,
  k: int = 9,
  layer: str | None = None,
  preprocess: str | None = None,
  limit: int | None = None,
  trust: bool = False,
  model: core.Model | None = None,
) -> Plan:
  """What is to be searched, checked before anything is written.

  Args:
    workdir: of `sweep.execute`, finished or not.
    dataset: a folder, with or without 'folder:', 'tfds:NAME[:SPLIT]', or an
      open one.
    k: photographs of each channel.
    layer: 'conv3,conv5', or globs; None for all of the workdir. Layers whose
      images are of no unit are left out.
    preprocess: as `preprocessing.parse` reads it; None for the network's own.
    limit: only so many photographs, the first; None for all.
    trust: whether the formulas of the workdir may call any function; else only
      those of vizjax and optax.
    model: the network that the images are of; None for the one that the workdir
      names.

  Raises:
    UserError: one of these is wrong: what to type.
    OSError: a file cannot be read.
  """
  errors.whole('k', k, 1, MOST, advice=': type --k=9')
  how = None if preprocess is None else preprocessing.parse(preprocess)
  made_by = store.read_config(workdir)
  if model is None and not trust:
    vocabulary.check_trust(workdir, made_by['config'])
  chosen = _chosen(workdir, made_by.get('layers', []), layer)
  names, left_out = _of_units(chosen, made_by, layer)
  data = (
    datasets.open(dataset.removeprefix('folder:'))
    if isinstance(dataset, str)
    else dataset
  )
  model = models.cut(network.of_workdir(workdir, made_by, model), names)
  layers, size = _shapes(model, names)
  how = preprocessing.own(model, size) if how is None else how
  preprocessing.check(how, size)
  count = len(data) if limit is None else min(limit, len(data))
  facts = {
    'dataset': data.name,
    'photographs': count,
    'k': k,
    'layers': list(names),
    'preprocessing': str(how),
    'fingerprint': store.fingerprint(jax.tree.leaves(model), ()),
  }
  fields = {info.name: info.receptive_field for info in model.layers}
  scan = passes.Scan(model, layers, size, data, how, count, k)
  of_layers = {name: fields.get(name) for name in names}
  return Plan(workdir, scan, of_layers, facts, left_out)


def search(
  plan: Plan,
  *,
  batch: int = 32,
  report: Callable[[Progress], Any] = lambda progress: None,
  due: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
  """Looks at the photographs, and writes the strongest of every channel.

  A search that was interrupted goes on from where it was written last. One
  that is done is left alone.

  Args:
    plan: from `plan`.
    batch: photographs computed at a time.
    report: is called after each batch, and each photograph that is cut. If it
      raises KeyboardInterrupt, what is known is written first.
    due: asked after each batch, whether to write what is known.

  Returns:
    What examples.json holds.

  Raises:
    UserError: there are examples of another search, no photograph can be
      read, or a batch is too large or does not fit into the memory.
    OSError: the data is gone, or nothing can be written.
  """
  folder, scan = _folder(plan.workdir), plan.scan
  batch = preprocessing.together(batch, scan.count, scan.size)
  done = _read(folder)
  if done is not None:
    _compare(plan, done)
    return done
  tally = _walked(plan, batch, report, due)
  if not tally.moments.count:
    folders.write(folders.File(folder, _PASS), None)
    raise UserError(
      f'no photograph of {plan.facts["dataset"]!r} can be read: '
      f'{tally.skipped[0][1]}'
    )
  tables = crops.layer_tables(scan, plan.receptive_fields, tally)
  stores = crops.opened(folder, scan, plan.receptive_fields, tables)
  crops.cut(scan, stores, tables, lambda *n: report(Progress('crops', *n)))
  found = {
    **plan.facts,
    'count': tally.moments.count,
    'skipped': tally.skipped,
    'slope': passes.slope(tally),
    'versions': provenance_.versions(),
    'ids': _ids(plan, tables),
  }
  text = json.dumps(found, indent=2) + '\n'
  folders.write(folders.File(folder, _FILE), text.encode())
  folders.write(folders.File(folder, _PASS), None)
  return json.loads(text)


def read(workdir: str, layer: str) -> Found | None:
  """What was found of a layer; None where it was not searched to the end.

  Raises:
    UserError: the files are damaged.
    OSError: they cannot be read.
  """
  folder = _folder(workdir)
  about = _read(folder)
  if about is None or layer not in about['layers']:
    return None
  layer_store = store.open_(store.directory(folder, layer))
  names = set(Found._fields) - {'ids', 'image', 'slope'}
  arrays = {name: store.read(layer_store, name) for name in names}
  ids = [
    ['' if index < 0 else about['ids'][str(index)] for index in row]
    for row in store.read(layer_store, 'index')
  ]
  # A search of an older version knows nothing of slopes.
  slope = about.get('slope', {'mean': None})
  known = None if slope['mean'] is None else tuple(slope.values())
  return Found(
    ids=ids, image=layer_store.arrays['image'], slope=known, **arrays
  )


def _ids(plan: Plan, tables: crops.Tables) -> dict[str, str]:
  """The id of every photograph that is among the strongest, by its number."""
  numbers = {n for each in tables.values() for n in each['index'].flat}
  identity = plan.scan.data.identity
  return {str(n): identity(n) for n in sorted(map(int, numbers - {-1}))}


def _folder(workdir: str) -> str:
  return f'{workdir.rstrip("/")}/examples'


def _read(folder: str) -> dict[str, Any] | None:
  """What examples.json holds; None where there is none."""
  file = folders.File(folder, _FILE)
  content = folders.read(file)
  if content is None:
    return None
  try:
    about = json.loads(content)
    if not about.keys() >= {*_FACTS, 'count', 'skipped', 'ids'}:
      raise UserError('it lacks some of what was searched')
  except (ValueError, AttributeError) as error:
    raise UserError(
      f'{file.path!r} is damaged ({error}): remove {folder!r}, and type the '
      'vizjax examples command again'
    ) from None
  return about


def _compare(plan: Plan, there: dict[str, Any]) -> None:
  """Refuses to go on with another search than what is there."""
  differing = [
    f'{called}: {there.get(name)!r} there, {plan.facts[name]!r} here'
    for name, called in _FACTS.items()
    if there.get(name) != plan.facts[name]
  ]
  if differing:
    folder = _folder(plan.workdir)
    raise UserError(
      f'{folder!r} holds the examples of another search '
      f'({"; ".join(differing)}): type the same as there, or remove that '
      'folder to begin anew'
    )


def _chosen(
  workdir: str, known: Sequence[str], pattern: str | None
) -> tuple[str, ...]:
  """The layers of a workdir that are asked for, in its order."""
  if not known:
    raise UserError(f'{workdir!r} has no layers: its config.json is damaged')
  if pattern is None:
    return tuple(known)
  chosen, unknown = listing.matching(pattern, known)
  if unknown is not None:
    raise UserError(
      f'layer {unknown!r} is not in {workdir!r}. Layers: {", ".join(known)}.'
      + errors.hint(unknown, known)
    )
  return tuple(name for name in known if name in chosen)


def _of_units(
  names: Sequence[str], made_by: Mapping[str, Any], pattern: str | None
) -> tuple[tuple[str, ...], dict[str, str]]:
  """Returns the layers whose images are of units, and the others' subjects.

  Args:
    names: the layers that are asked for.
    made_by: what the config.json of the workdir holds.
    pattern: the text of --layer.

  Raises:
    UserError: no layer is left, or --layer has the name of one of the others.
  """
  subjects = made_by.get('subjects', {})
  others = {name: subjects[name] for name in names if name in subjects}
  units = tuple(name for name in names if name not in others)
  typed = [name for name in others if name in listing.split(pattern or '')]
  if units and not typed:
    return units, others
  (name, *_) = typed or others
  known = [name for name in made_by['layers'] if name not in subjects]
  advice = (
    shlex.quote(f'--layer={listing.typed(known)}')
    if known
    else "the --workdir of a run with --config.objective='neuron(layer)'"
  )
  raise UserError(
    f'the subject of the images of layer {name!r} is a {others[name]}, '
    f'expected units, which photographs excite: type {advice}'
  )


def _shapes(
  model: core.Model, names: tuple[str, ...]
) -> tuple[dict[str, tuple[int, ...]], geometry.Size]:
  """The shape of each layer, and (h, w) of the network's input."""
  classifiers.check_channels(model)
  # A mean image has the size that the workdir's images have.
  h, w = (
    np.shape(model.mean)[:2]
    if np.ndim(model.mean) == 3
    else model.input_shape[:2]
  )
  acts = geometry.activation_shapes(model, (h, w))
  for name in names:
    if name not in acts or acts[name].ndim not in (1, 3):
      shape = acts[name].shape if name in acts else 'not there'
      raise UserError(
        f'layer {name!r} of the network is {shape}, expected a vector [c] or '
        'a map [h, w, c]'
      )
  return {name: acts[name].shape for name in names}, (h, w)


def _walked(
  plan: Plan,
  batch: int,
  report: Callable[[Progress], Any],
  due: Callable[[], bool],
) -> passes.Tally:
  """What is known once all photographs are looked at, and written."""
  scan = plan.scan
  file = folders.File(_folder(plan.workdir), _PASS)

  def write(tally):
    folders.write(file, passes.content(scan, tally, plan.facts))

  tally = _resumed(plan, file)
  if tally is None:
    tally = passes.begin(scan)
    write(tally)  # what cannot be written is told at once
    for name in scan.layers:  # of a search whose state was removed
      folders.clear(store.directory(file.folder, name))
  if tally.number == scan.count:
    return tally
  report(Progress('photographs', tally.number, scan.count))
  try:
    with _fitting(batch):
      for known in passes.walk(scan, tally, batch):
        tally = known
        report(Progress('photographs', tally.number, scan.count))
        if due():
          write(tally)
  finally:
    write(tally)
  return tally


@contextlib.contextmanager
def _fitting(batch: int) -> Iterator[None]:
  """Says what to type where a batch does not fit into the memory."""
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if not capacity.exhausted(error):
      raise
    raise UserError(
      f'{batch} photographs at a time do not fit into the memory: type '
      f'--batch={max(1, batch // 2)}; the search goes on from here'
    ) from None


def _resumed(plan: Plan, file: folders.File) -> passes.Tally | None:
  """What an earlier search knew; None if there is none.

  Raises:
    UserError: it was another search, or the data is another now.
  """
  content = folders.read(file)
  if content is None:
    return None
  try:
    tally, facts = passes.restored(content)
  except UserError as error:
    raise UserError(
      f'{file.path!r} cannot be gone on from: {error}; remove it'
    ) from None
  _compare(plan, facts)
  name = plan.scan.data.identity(tally.number - 1) if tally.number else ''
  if name != tally.last:
    raise UserError(
      f'photograph {tally.number - 1} of {plan.facts["dataset"]!r} was '
      f'{tally.last!r}, and is {name!r} now: restore the data, or remove '
      f'{file.folder!r} to begin anew'
    )
  return tally
