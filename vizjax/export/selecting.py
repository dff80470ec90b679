"""The layers and units of a workdir that are to be exported.

  chosen = selecting.select('DIR', layers='conv*', units='0:16')
  for path in pictures.png(chosen, pathlib.Path('pictures')):
    print(path)

The formats are functions of the other modules of this package. Each is a
generator of the paths that it writes; a file is complete or not there. Runs
that are not made yet are left out. Files of the same name are replaced, unless
a format says else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import functools
import pathlib
import types
from typing import Any, NamedTuple

import numpy as np
from PIL import ImageFont

from vizjax import core
from vizjax import errors
from vizjax import files
from vizjax import listing
from vizjax.build import runs
from vizjax.errors import UserError
from vizjax.models import means
from vizjax.photographs import images
from vizjax.sweeps import network
from vizjax.workdir import store


class Layer(NamedTuple):
  """What is taken of a layer.

  Attributes:
    name: as the network has it.
    store: its arrays.
    rows: [k], the runs that were asked for and are made.
    stems: a file name for each, without its ending.
    captions: the same for people.
    missing: how many were asked for and are not made yet.
    labels: names of the layer's units or photographs; [] where they have none.
    subject: what the runs are of: 'unit', 'direction', 'mask', 'photograph' or
      'layer'.
  """

  name: str
  store: store.Store
  rows: np.ndarray
  stems: tuple[str, ...]
  captions: tuple[str, ...]
  missing: int
  labels: list[str]
  subject: str


class Selection(NamedTuple):
  """What is taken of a workdir, and what is known of its making.

  Attributes:
    workdir: where.
    config: the knobs.
    versions: of the packages.
    layers: what is taken.
    network: () -> the network of the images; see `sweeps.network`.
  """

  workdir: str
  config: dict[str, Any]
  versions: dict[str, str]
  layers: tuple[Layer, ...]
  network: Callable[[], core.Model]


def select(
  workdir: str,
  layers: str | None = None,
  units: str | None = None,
  model: core.Model | None = None,
) -> Selection:
  """The finished runs of a workdir, or some of them.

  Args:
    workdir: of `sweep.execute`, finished or not.
    layers: 'conv3,conv5' or globs; all unless given.
    units: as config.units: '0:16', '3,7', '3@2x10', '*', names of classes. A
      number without a position is every position that was made of it. Where
      runs are of no unit, numbers of directions, masks or photographs.
    model: the network of the images, for formats that need it; None for the
      one that the workdir names.

  Raises:
    UserError: no results, none of that name, or nothing is made yet.
  """
  provenance = store.read_config(workdir)
  labels = provenance.get('labels', {})
  stores = _stores(workdir, layers)
  known = {
    name: store.read(layer_store, 'unit')
    for name, layer_store in stores.items()
  }
  wanted = _wanted(known, units, labels)
  found = tuple(
    _layer(name, layer_store, wanted[name], provenance)
    for name, layer_store in stores.items()
    if wanted[name].any()
  )
  if not any(len(layer.rows) for layer in found):
    raise UserError(
      f'{workdir!r} holds no finished images yet of what was asked for: '
      'type the same vizjax run command, and let it run for longer'
    )
  load = functools.partial(network.of_workdir, workdir, provenance, model)
  return Selection(
    workdir, provenance['config'], provenance.get('versions', {}), found, load
  )


def seeds(layer: Layer, config: Mapping[str, Any]) -> list[int]:
  """What NumPy's random numbers of each run begin with."""
  first = store.read_or(layer.store, 'seed', config['seed'])
  found = first + store.read(layer.store, 'replicate')
  return found[layer.rows].tolist()


def require(selection: Selection, names: Sequence[str], advice: str) -> None:
  """Refuses a store without some array.

  Raises:
    UserError: which one it lacks, and what to do.
  """
  for layer in selection.layers:
    for name in names:
      if name not in layer.store.arrays:
        raise UserError(
          f'layer {layer.name!r} of this run holds no array {name!r}, which '
          f'this format is made of: {advice}'
        )


def floats(selection: Selection) -> None:
  """Refuses images that other programs do not have: rounded, or not colours.

  Raises:
    UserError: how to make others, or what to read instead.
  """
  dtype = selection.config['image_dtype']
  if dtype == 'uint8':
    raise UserError(
      f'the images of this run are {dtype}, expected numbers that are not '
      'clipped: make the run with --config.image_dtype=float32'
    )
  for layer in selection.layers:
    channels = layer.store.arrays['image'].shape[-1]
    if channels not in (1, 3):
      raise UserError(
        f'the images of this run have {channels} channels, expected 1 or 3: '
        'read the zarr arrays of the workdir themselves, or type --format=png'
      )


def items(layer: Layer, *names: str) -> Iterator[tuple[int, dict[str, Any]]]:
  """(its place among layer.rows, {name: array of that run}), run by run."""
  layer_store, rows = layer.store, layer.rows
  for chunk in np.unique(rows // layer_store.chunk):
    (places,) = np.nonzero(rows // layer_store.chunk == chunk)
    columns = {
      name: store.read(layer_store, name, rows[places]) for name in names
    }
    for i, place in enumerate(places):
      values = {name: column[i] for name, column in columns.items()}
      yield int(place), values


def mean(selection: Selection, shape: tuple[int, int, int]) -> np.ndarray:
  """The network's mean for an image [h, w, c], float32.

  The network is loaded where the config does not tell it.
  """
  text = selection.config.get('mean')
  if text is None:
    found = np.asarray(selection.network().mean)
  else:
    found = means.mean(text, shape)
  return np.broadcast_to(found, shape).astype(np.float32)


def library(name: str) -> types.ModuleType:
  """A module that only some formats need.

  Raises:
    UserError: it is not installed.
  """
  return files.library(name, 'export', 'this format is written by')


def check_sizes(columns: int | None = None, tile: int | None = None) -> None:
  """Refuses a sheet that nobody could look at.

  Args:
    columns: tiles in a row; None for any.
    tile: pixels of a tile's longer side; None for any.

  Raises:
    UserError: a number is too small or too large.
  """
  if columns is not None:
    errors.whole('columns=', columns, 1, 1000, advice=': type columns=8')
  if tile is not None:
    errors.whole('tile=', tile, 1, 4096, advice=': type tile=96')


def cropped(image: np.ndarray, size: np.ndarray) -> np.ndarray:
  """What an image [..., H, W, c] holds of a run, float32 [..., h, w, c]."""
  h, w = size
  return image[..., :h, :w, :].astype(np.float32)


def picture(image: np.ndarray, stretch: bool = False) -> np.ndarray:
  """uint8 [h, w', 3] for display: clipped, or all that is in it shown.

  Args:
    image: [h, w, c]; what `images.rgb` makes of other channels than three.
    stretch: the smallest of all numbers becomes 0 and the largest 255.
  """
  if stretch and np.isfinite(image).all():
    low, high = image.min(), image.max()
    image = (image - low) * (255 / max(high - low, 1e-6))
  return images.rgb(images.to_uint8(image))


def shrunk(shown: np.ndarray, tile: int | None) -> np.ndarray:
  """The picture with a longer side of so many pixels, or as it is."""
  if tile is None:
    return shown
  h, w, _ = shown.shape
  size = tuple(max(1, round(n * tile / max(h, w))) for n in (h, w))
  return images.to_uint8(images.resize(shown, size))


def fitting(caption: str, number: str, width: int) -> str:
  """As much of a caption and a number as stands under a tile so wide."""
  font = ImageFont.load_default()
  first = caption.split()[0]
  texts = [f'{caption}  {number}', caption, f'{first}  {number}']
  texts += [first[:n] for n in range(len(first), -1, -1)]
  return next(text for text in texts if font.getlength(text) <= width)


def write(path: pathlib.Path, content: bytes) -> None:
  """Writes a file, which appears whole or not at all."""
  with files.replacing(path) as partial:
    partial.write_bytes(content)


def made(out: pathlib.Path) -> pathlib.Path:
  """A folder, which is there from now on."""
  out.mkdir(parents=True, exist_ok=True)
  return out


def _stores(workdir: str, layers: str | None) -> dict[str, store.Store]:
  """The stores of the layers that are there, by name."""
  known = dict(sorted(store.layers(workdir).items()))
  chosen = set(known)
  if layers is not None:
    chosen, unknown = listing.matching(layers, list(known))
    if unknown is not None:
      raise UserError(
        f'layer {unknown!r} is not in {workdir!r}: it holds '
        f'{", ".join(known) or "none yet"}'
      )
  return {name: store.open_(known[name]) for name in known if name in chosen}


def _wanted(
  known: dict[str, np.ndarray],
  units: str | None,
  labels: dict[str, list[str]],
) -> dict[str, np.ndarray]:
  """Of each layer's units [n, 3], which are asked for: bool [n]."""
  if not known:
    raise UserError(
      'the workdir holds no images yet: type the vizjax run command again'
    )
  wanted = {name: np.zeros(len(unit), bool) for name, unit in known.items()}
  for text in listing.split('*' if units is None else units):
    refusals, there = [], False
    # Layers whose units have names first, for their errors say more.
    for name in sorted(known, key=lambda name: name not in labels):
      try:
        rows = _asked(text, known[name], tuple(labels.get(name, ())))
      except UserError as error:
        refusals.append(error)  # a class is no unit of a layer without names
        continue
      wanted[name] |= rows
      there = there or rows.any()
    if len(refusals) == len(known):
      raise refusals[0]
    if not there:
      raise UserError(f'units {text!r} are not in this run. {_held(known)}')
  return wanted


def _asked(text: str, unit: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
  """Tells which units [n, 3] a part of a list means: bool [n]."""
  (part,) = runs.unit_specs(listing.typed([text]), labels)
  found = np.ones(len(unit), bool)
  if part.channels is not None:
    found &= np.array([c in part.channels for c in unit[:, 0].tolist()], bool)
  if part.position is not None:
    found &= (unit[:, 1:] == part.position).all(1)
  return found


def _held(known: dict[str, np.ndarray]) -> str:
  """The end of a message: the channels that each layer has."""
  held = '; '.join(
    f'{name}: {unit[:, 0].min()} to {unit[:, 0].max()}'
    for name, unit in known.items()
    if len(unit)
  )
  return f'It has {held or "none"}'


def _layer(
  name: str,
  layer_store: store.Store,
  wanted: np.ndarray,
  provenance: dict[str, Any],
) -> Layer:
  done = store.read(layer_store, store.DONE) > 0
  (rows,) = np.nonzero(wanted & done)
  units, replicates = (
    store.read(layer_store, 'unit'),
    store.read(layer_store, 'replicate'),
  )
  signs = store.read_or(layer_store, 'sign', 1)
  config = provenance['config']
  labels = provenance.get('labels', {}).get(name, [])
  subject = provenance.get('subjects', {}).get(name, 'unit')
  placed = '@' in (config['units'] or '')
  several = config['replicates'] > 1
  stems, captions = [], []
  for row in rows:
    (channel, y, x), replicate, sign = units[row], replicates[row], signs[row]
    stems.append(
      runs.stem(name, channel, y, x, replicate, sign, config, subject)
    )
    what = _called(name, int(channel), subject, labels)
    place = f' ({y}, {x})' * placed + f' #{replicate}' * several
    captions.append(f'{what}{place}' + ' min' * bool(sign < 0))
  missing = int((wanted & ~done).sum())
  return Layer(
    name,
    layer_store,
    rows,
    tuple(stems),
    tuple(captions),
    missing,
    labels,
    subject,
  )


def _called(layer: str, number: int, subject: str, labels: list[str]) -> str:
  if subject != 'unit':
    return runs.called(layer, number, subject, labels)
  label = ''.join(f' {label.split(",")[0]}' for label in labels[number:][:1])
  return f'{number}{label}'
