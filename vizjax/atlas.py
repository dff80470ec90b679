"""A store becomes pages: an index, a page and a contact sheet per layer.

  OUT/index.html  <layer>.html  <layer>.png  <layer>/<unit>.png

Static files with relative links, to be opened from disk, moved or served.
Only the store is read, so an atlas can be made again at any time, also of a
sweep that is still under way.
"""

from collections.abc import Iterator
import pathlib
import shutil
from typing import Any

import jinja2
import numpy as np

from vizjax import images
from vizjax import places
from vizjax import store

WIDEST = 4096  # pixels of a contact sheet


def write(
  workdir: str, *, contrast: float | int = 0.5, out: str | None = None
) -> pathlib.Path:
  """Writes the atlas of a workdir; it replaces the old one when complete.

  Args:
    workdir: of `sweep.execute`.
    contrast: percent of an image's values at either end that are shown as
      black and white; 0 shows the stored values.
    out: the folder; WORKDIR/atlas unless given.

  Returns:
    The path of the index.

  Raises:
    ValueError: the directory holds no results.
    OSError: it cannot be written.
  """
  provenance = store.read_config(workdir)
  if out is None:
    out = places.local(workdir, 'type --out=DIR') / 'atlas'
  out = pathlib.Path(out)
  partial = out.with_name(f'.{out.name}.partial')
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  facts = {
    'title': pathlib.Path(workdir).resolve().name,
    'config': {k: v for k, v in provenance['config'].items() if v is not None},
    'versions': provenance['versions'],
  }
  labels = provenance.get('labels', {})
  layers = [
    _layer(name, store.open_(path), partial, contrast, labels.get(name, []))
    for name, path in store.layers(workdir).items()
  ]
  if not any(layer['done'] for layer in layers):
    raise ValueError(
      f'{workdir!r} holds no finished images yet: run the same command of '
      'experiments.run to its end, or for longer'
    )
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader('vizjax'), autoescape=True
  )
  for layer in layers:
    page = environment.get_template('layer.html').render(layer=layer, **facts)
    (partial / layer['page']).write_text(page)
  index = environment.get_template('index.html').render(layers=layers, **facts)
  (partial / 'index.html').write_text(index)
  _replace(out, partial)
  return out / 'index.html'


def _replace(out: pathlib.Path, partial: pathlib.Path) -> None:
  """Puts a new atlas in place of the old one, and of nothing else.

  Raises:
    ValueError: the folder holds something else.
  """
  if out.exists() and any(out.iterdir()) and not (out / 'index.html').exists():
    shutil.rmtree(partial)
    raise ValueError(
      f'{str(out)!r} holds other files: expected a new or empty folder, or '
      'that of an atlas'
    )
  shutil.rmtree(out, ignore_errors=True)
  partial.rename(out)


def _layer(
  name: str,
  kept: store.Store,
  root: pathlib.Path,
  contrast: float | int,
  labels: list[str],
) -> dict:
  """Writes the images of a layer; what its page is made of."""
  folder = kept.name
  (root / folder).mkdir()
  cards, thumbnails = [], []
  done = np.flatnonzero(store.read(kept, store.DONE))
  columns = max(1, int(np.ceil(np.sqrt(len(done)))))
  for image, card in _cards(kept, done, labels):
    image = images.rgb(images.stretch(image, contrast))
    card['image'] = f'{folder}/{card["id"]}.png'
    card['height'], card['width'] = image.shape[:2]
    images.write(root / card['image'], image)
    cards.append(card)
    shrink = min(1, WIDEST / columns / image.shape[1])
    size = tuple(max(1, int(n * shrink)) for n in image.shape[:2])
    thumbnails.append(images.resize(image, size) if shrink < 1 else image)
  sheet = f'{folder}.png'
  if cards:
    texts = [f'{card["name"]}  {card["activation"]}' for card in cards]
    sheet_image = images.contact_sheet(thumbnails, texts, columns=columns)
    images.write(root / sheet, sheet_image)
  return {
    'name': name,
    'page': f'{folder}.html',
    'sheet': sheet,
    'cards': cards,
    'done': len(cards),
    'count': kept.count,
    'nonfinite': sum(not card['finite'] for card in cards),
  }


def _cards(
  kept: store.Store, rows: np.ndarray, labels: list[str]
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
  """The part of each image that its unit sees, and what is known of it."""
  channels = store.read(kept, 'unit')[:, 0]
  several = len(np.unique(channels)) < kept.count
  names = ('image', 'unit', 'replicate', 'seen', 'score', 'activation', 'step')
  for start in range(0, kept.count, kept.chunk):
    chunk = slice(start, min(start + kept.chunk, kept.count))
    if chunk.start not in rows:
      continue
    columns = [store.read(kept, name, chunk) for name in names]
    traces = store.read(kept, 'trace/score', chunk)
    for row, trace in zip(zip(*columns, strict=True), traces, strict=True):
      image, (c, y, x), replicate, seen, score, activation, step = row
      top, left, h, w = seen
      card = {
        'id': f'{c}_{y}x{x}_{replicate}',
        'name': ' '.join(
          [str(c)]
          + [label.split(',')[0] for label in labels[c : c + 1]]
          + [f'({y}, {x}) #{replicate}'] * several
        ),
        'score': _short(score),
        'activation': _short(activation),
        'step': int(step),
        'finite': bool(np.isfinite([score, activation]).all()),
      }
      part = image[top : top + h, left : left + w].astype(np.float32)
      yield part, card | _curve(trace)


def _curve(trace: np.ndarray) -> dict[str, str]:
  """The points of a score curve in a box of 100 x 30."""
  steps = np.flatnonzero(np.isfinite(trace))
  if not len(steps):
    return {'points': '', 'low': '-', 'high': '-'}
  steps = steps[np.unique(np.linspace(0, len(steps) - 1, 200).astype(int))]
  values = trace[steps]
  low, high = values.min(), values.max()
  x = 100 * steps / max(len(trace) - 1, 1)
  y = 29 - 28 * (values - low) / max(high - low, 1e-12)
  points = ' '.join(f'{a:.1f},{b:.1f}' for a, b in zip(x, y, strict=True))
  return {'points': points, 'low': _short(low), 'high': _short(high)}


def _short(number) -> str:
  return f'{number:.4g}' if np.isfinite(number) else 'not a number'
