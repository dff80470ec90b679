"""A layer of the site: its pictures, and all that is said of it, as data.

<layer>/layer.json              what is said, for programs
<layer>/layer.js                the same, as a page reads it from a disk
<layer>/<unit>.png              each picture in full, clipped to 0-255
<layer>/<unit>_shown.png        the same with its contrast stretched
<layer>/sheet0.jpg ...          small ones, 256 a sheet, for the grid
<layer>/strip.png               a few of them, for the index
<layer>/examples/<channel>.jpg  photographs that excite it, side by side

Where the images of a layer are of no unit, <unit> is the number of the
direction, mask or photograph, and no photographs excite it.
"""

from collections.abc import Callable, Iterator, Sequence
import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from vizjax.build import runs as runs_
from vizjax.examples import search
from vizjax.photographs import images
from vizjax.sweeps import growth
from vizjax.workdir import store

TILE = 112  # pixels of a picture's longer side on a sheet: 14 blocks of JPEG
COLUMNS = 16  # tiles in a row of a sheet, and at most so many rows

_STRIP, _STRIP_TILE, _STRIP_GAP = 8, 56, 4  # pictures on the index, pixels
_EXAMPLE = 160  # pixels of a photograph's longer side
_POINTS = 100  # of a curve, at most

# Fields of a run that are no measurements of its image.
_NOT_SHOWN = ('replicate', 'sign', store.DONE, store.MAKER)

# What is known of numbers: title, and what it is.
_TITLES = {
  'activation': ('Activation', 'of the image without transforms'),
  'score': ('Score', 'the objective, as it was optimized'),
  'step': ('Step', 'at which that score was reached'),
  'metric/rectified': ('Rectified', 'the activation after the rectifier'),
  'metric/rank': ('Rank', 'of the unit among its layer on its own image'),
  'metric/slope': (
    'Spectrum slope',
    'of log power over log frequency: -2 to -3 in most photographs',
  ),
  'metric/distance': ('Distance', 'from the other images of the unit, 0 to 1'),
  'metric/robust_mean': ('Robust mean', 'mean activation under transforms'),
  'metric/robust_std': ('Robust spread', 'standard deviation under transforms'),
  'metric/dead': ('Dead', '1: its gradient was zero throughout'),
  'metric/retries': ('Retries', 'starts that failed before this one'),
  'ratio/maximum': ('× maximum', 'activation over the maximum of the data set'),
  'ratio/p99_9': (
    '× 99.9th percentile',
    'activation over that percentile of the data',
  ),
  'ratio/slope': (
    'Slope, standardized',
    'less the mean of the photographs, over their standard deviation',
  ),
  'seed': ('Seed', 'that it was drawn with'),
}


class Source(NamedTuple):
  """What a layer is made of.

  Attributes:
    workdir: of `sweep.execute`.
    config: of its config.json.
    labels: names of the layer's units or photographs; [] where they have none.
    subject: what its images are of: 'unit', 'direction', 'mask', 'photograph'
      or 'layer'.
    contrast: percent of an image's values at either end that are shown as
      black and white; 0 shows the pictures as they are.
    makers: the versions and devices that made images of the workdir.
  """

  workdir: str
  config: dict[str, Any]
  labels: list[str]
  subject: str
  contrast: float | int
  makers: Sequence[dict[str, Any]] = ()


def write(
  name: str,
  layer_store: store.Store,
  root: pathlib.Path,
  source: Source,
  report: Callable[[int, int], Any] = lambda done, count: None,
) -> dict[str, Any]:
  """Writes the files of a layer, none where it has no images yet.

  Args:
    name: as the network has it.
    layer_store: its arrays.
    root: a folder of the site; the layer's is made in it.
    source: what else there is.
    report: is called with how many images are written, and of how many.

  Returns:
    What layer.json holds.
  """
  rows = np.flatnonzero(store.read(layer_store, store.DONE))
  data = {
    'name': name,
    'folder': layer_store.name,
    'done': len(rows),
    'count': layer_store.count,
    'contrast': source.contrast,
    'nonfinite': 0,
    'dead': 0,
  }
  if source.subject != 'unit':
    data['subject'] = source.subject
  if not len(rows):
    return data
  folder = root / layer_store.name
  folder.mkdir()
  found = _examples(name, layer_store, source)
  names = _shown(layer_store)
  steps = _steps(layer_store)
  runs = []
  for run in _images(layer_store, rows, folder, source, steps, names):
    runs.append(run)
    report(len(runs), len(rows))
  runs = [runs[i] for i in growth.order(layer_store, rows)]
  beside = []
  if found is not None:
    beside = [*_ratios(runs, found, names), *_standardized(runs, found, names)]
  data |= {
    'nonfinite': sum(not row['finite'] for row in runs),
    'dead': _dead(runs, names),
    'fields': _fields([*names, *beside], source),
    'makers': _makers(layer_store, rows, source.makers),
    'steps': steps,
    'images': runs,
    'units': _units(name, runs, source, found, folder),
  }
  text = json.dumps(data, allow_nan=False, separators=(',', ':'))
  (folder / 'layer.json').write_text(text)
  (folder / 'layer.js').write_text(f'atlas.layer({text});\n')
  return data


def number(value: Any) -> int | float | None:
  """A number for JSON, of 7 digits; None where it is not finite."""
  if isinstance(value, (int, np.integer, np.bool_)):
    return int(value)
  return float(f'{value:.7g}') if np.isfinite(value) else None


def _shown(layer_store: store.Store) -> list[str]:
  """The arrays with one number a run, those that matter most first."""
  names = [
    name
    for name, array in layer_store.arrays.items()
    if array.rank == 1 and name not in _NOT_SHOWN
  ]
  known = list(_TITLES)
  first = lambda n: (n != 'activation', not n.startswith('metric/'))
  place = lambda n: known.index(n) if n in known else len(known)
  return sorted(names, key=lambda n: (*first(n), place(n), n))


def _fields(names: Sequence[str], source: Source) -> list[dict[str, str]]:
  titles = dict(_TITLES)
  if source.subject != 'unit':
    term = source.config.get('activation') or source.config['objective']
    titles |= {
      'activation': ('Activation', f'{term} of the image without transforms'),
      'metric/distance': (
        'Distance',
        f'from the other images of the {source.subject}, 0 to 1',
      ),
    }
  found = [(n, *titles.get(n, (n.removeprefix('metric/'), n))) for n in names]
  return [{'name': n, 'title': t, 'about': a} for n, t, a in found]


def _makers(
  layer_store: store.Store, rows: np.ndarray, makers: Sequence[dict[str, Any]]
) -> str:
  """Says how many images each of several versions or devices made.

  Returns:
    The sentence, with what differs between the makers; '' where one made all.
  """
  numbers = store.read_or(layer_store, store.MAKER, -1)[rows]
  counts = {k: int((numbers == k).sum()) for k in range(len(makers))}
  used = {k: count for k, count in counts.items() if count}
  if len(used) < 2:
    return ''
  names = [
    name
    for name in dict.fromkeys(name for k in used for name in makers[k])
    if len({str(makers[k].get(name)) for k in used}) > 1
  ]
  parts = [
    f'{count} with '
    + ', '.join(f'{name} {makers[k].get(name)}' for name in names)
    for k, count in used.items()
  ]
  return f'images made: {"; ".join(parts)}'


def _dead(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> int:
  if 'metric/dead' not in names:
    return 0  # of an older version, which did not look
  at = names.index('metric/dead')
  return sum(row['values'][at] == 1 for row in rows)


def _ratios(
  rows: Sequence[dict[str, Any]], found: search.Found, names: Sequence[str]
) -> list[str]:
  """Puts activations over those of photographs; what the numbers are called.

  Of an activation that was minimized no maximum is a measure.
  """
  bounds = {'ratio/maximum': found.maximum, 'ratio/p99_9': found.p99_9}
  for row in rows:
    activation = row['values'][names.index('activation')]
    for bound in (float(each[row['unit']]) for each in bounds.values()):
      good = activation is not None and bound > 0 and not row['least']
      row['values'].append(number(activation / bound) if good else None)
  return list(bounds)


def _standardized(
  rows: Sequence[dict[str, Any]], found: search.Found, names: Sequence[str]
) -> list[str]:
  """Puts slopes of spectra among those of photographs, where both are known."""
  if found.slope is None or 'metric/slope' not in names:
    return []
  mean, deviation = found.slope
  for row in rows:
    slope = row['values'][names.index('metric/slope')]
    good = slope is not None and deviation > 0
    row['values'].append(number((slope - mean) / deviation) if good else None)
  return ['ratio/slope']


def _steps(layer_store: store.Store) -> list[int]:
  """The steps that curves are drawn through."""
  if 'trace/score' not in layer_store.arrays:
    return []
  count = layer_store.arrays['trace/score'].shape[1]
  return np.unique(np.linspace(0, count - 1, _POINTS).astype(int)).tolist()


def _images(
  layer_store: store.Store,
  rows: np.ndarray,
  folder: pathlib.Path,
  source: Source,
  steps: list[int],
  names: Sequence[str],
) -> Iterator[dict[str, Any]]:
  """Writes every picture and the sheets of them; what is known of each."""
  tiles, strip = [], []
  pictures = _pictures(layer_store, rows, source.contrast, steps, names)
  for count, (row, true, picture) in enumerate(pictures):
    images.write(folder / f'{row["id"]}.png', true)
    if source.contrast:
      images.write(folder / f'{row["id"]}_shown.png', picture)
    sheet, place = divmod(count, COLUMNS**2)
    if place == 0 and tiles:
      _sheet(folder / f'sheet{sheet - 1}.jpg', tiles)
      tiles = []
    tiles.append(_tile(picture, TILE))
    h, w, _ = tiles[-1].shape
    y, x = divmod(place, COLUMNS)
    row['size'] = list(picture.shape[:2])
    row['tile'] = [sheet, x * TILE, y * TILE, w, h]
    row['units'] = _typed(row, source.config)
    if source.subject != 'unit' and '@' not in row['units']:
      del row['position']  # the centre, which only few such objectives read
    if count < _STRIP:
      strip.append(_tile(picture, _STRIP_TILE))
    yield row
  _sheet(folder / f'sheet{(len(rows) - 1) // COLUMNS**2}.jpg', tiles)
  _strip(folder / 'strip.png', strip)


def _pictures(
  layer_store: store.Store,
  rows: np.ndarray,
  contrast: float | int,
  steps: list[int],
  names: Sequence[str],
) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
  """Yields the record of each run, and the part of its image the unit sees.

  That part comes twice, as uint8 [h, w, 3]: its true pixels, clipped to 0-255,
  and the pixels that the site shows.
  """
  further = ('image', 'unit', 'replicate', 'seen')
  optional = [n for n in ('sign', 'trace/score') if n in layer_store.arrays]
  for start in range(0, layer_store.count, layer_store.chunk):
    part = rows[(rows >= start) & (rows < start + layer_store.chunk)]
    if not len(part):
      continue
    columns = {
      name: store.read(layer_store, name, part)
      for name in (*names, *further, *optional)
    }
    for i in range(len(part)):
      run = {name: column[i] for name, column in columns.items()}
      top, left, h, w = run['seen']
      image = run['image'][top : top + h, left : left + w].astype(np.float32)
      true, shown = (
        images.to_uint8(images.rgb(each))
        for each in (image, images.stretch(image, contrast))
      )
      yield _said(run, steps, names), true, shown


def _said(
  run: dict[str, Any], steps: list[int], names: Sequence[str]
) -> dict[str, Any]:
  c, y, x = map(int, run['unit'])
  least = bool(run.get('sign', 1) < 0)
  trace = run.get('trace/score', ())
  curve = [float(f'{v:.4g}') if np.isfinite(v) else None for v in trace]
  return {
    'id': f'{c}_{y}x{x}_{run["replicate"]}' + '_min' * least,
    'unit': c,
    'position': [y, x],
    'replicate': int(run['replicate']),
    'least': least,  # whether it was minimized
    'finite': bool(np.isfinite([run['score'], run['activation']]).all()),
    'values': [number(run[name]) for name in names],
    'curve': [curve[step] for step in steps],
  }


def _typed(row: dict[str, Any], config: dict[str, Any]) -> str:
  """What config.units is for the unit alone."""
  y, x = row['position']
  placed = '@' in (config.get('units') or '')
  return f'{row["unit"]}@{y}x{x}' if placed else str(row['unit'])


def _tile(picture: np.ndarray, longest: int) -> np.ndarray:
  """A small picture: smoothed where it shrinks, whole pixels if it grows."""
  h, w, _ = picture.shape
  scale = longest / max(h, w)
  if scale < 1:
    size = tuple(max(1, round(n * scale)) for n in (h, w))
    return images.to_uint8(images.resize(picture, size))
  return picture.repeat(int(scale), 0).repeat(int(scale), 1)


def _sheet(
  path: pathlib.Path, tiles: Sequence[np.ndarray], size: int = TILE
) -> None:
  """Writes tiles row by row, each at the top left of its square."""
  rows = -(-len(tiles) // COLUMNS)
  shape = (rows * size, min(len(tiles), COLUMNS) * size, 3)
  sheet = np.full(shape, 128, np.uint8)
  for i, tile in enumerate(tiles):
    y, x = divmod(i, COLUMNS)
    h, w, _ = tile.shape
    sheet[y * size : y * size + h, x * size : x * size + w] = tile
  # Colors of single pixels stay: no subsampling.
  images.write(path, sheet, quality=88, subsampling=0)


def _strip(path: pathlib.Path, tiles: Sequence[np.ndarray]) -> None:
  """Writes tiles side by side, nothing between them."""
  width = _STRIP_TILE + _STRIP_GAP
  strip = np.zeros((_STRIP_TILE, len(tiles) * width, 4), np.uint8)
  for i, tile in enumerate(tiles):
    h, w, _ = tile.shape
    strip[:h, i * width : i * width + w, :3] = tile
    strip[:h, i * width : i * width + w, 3] = 255
  images.write(path, strip)


def _examples(
  layer: str, layer_store: store.Store, source: Source
) -> search.Found | None:
  """Returns what a search of photographs found for the units of a layer.

  None without a search, and where the images are of no unit. A workdir of an
  older version does not say so: there, a number is larger than any channel's.
  """
  if source.subject != 'unit':
    return None
  found = search.read(source.workdir, layer)
  last = int(store.read(layer_store, 'unit')[:, 0].max())
  return found if found is not None and last < len(found.maximum) else None


def _units(
  layer: str,
  rows: Sequence[dict[str, Any]],
  source: Source,
  found: search.Found | None,
  folder: pathlib.Path,
) -> dict[int, dict[str, Any]]:
  """Returns what is known of each unit beside its images.

  Of a direction, mask, photograph or layer, that is what it is called.
  """
  units, labels = {}, source.labels
  for c in dict.fromkeys(row['unit'] for row in rows):
    units[c] = {}
    if source.subject != 'unit':
      units[c]['name'] = runs_.called(layer, c, source.subject, labels)
    elif c < len(labels):
      units[c]['label'] = labels[c]
    if found is not None:
      units[c]['examples'] = _photographs(found, c, folder)
  return units


def _photographs(
  found: search.Found, c: int, folder: pathlib.Path
) -> dict[str, Any]:
  """Writes the photographs that excite a unit; what is known of them."""
  (ks,) = np.nonzero(np.isfinite(found.value[c]))
  crops = np.asarray(found.image[c])  # read from a disk here, maybe
  tiles, items = [], []
  for k in ks.tolist():
    h, w = map(int, found.box[c, k, 2:])
    y, x = divmod(len(tiles), COLUMNS)
    tiles.append(_tile(crops[k, :h, :w], _EXAMPLE))
    items.append(
      {
        'id': found.ids[c][k],
        'value': number(found.value[c, k]),
        'position': found.position[c, k].tolist(),
        'box': found.box[c, k].tolist(),
        'tile': [x * _EXAMPLE, y * _EXAMPLE, *tiles[-1].shape[1::-1]],
      }
    )
  statistics = ('maximum', 'mean', 'deviation', 'p99', 'p99_9')
  said = {name: number(getattr(found, name)[c]) for name in statistics}
  if tiles:
    (folder / 'examples').mkdir(exist_ok=True)
    _sheet(folder / 'examples' / f'{c}.jpg', tiles, _EXAMPLE)
  return said | {'items': items}
