"""Pictures as the scripts of synthesizing make them (Nguyen et al. 2016).

  <layer>_<unit>_<steps>_<L2>_<rate>__<seed>.jpg    of act_max.py
  captioned/<the same>.jpg            what the unit sees of it, over its name
  example_<layer>.jpg                 these, five in a row
  <the same>_frames.jpg               frames over their scores, ten in a row

Source: act_max.py and its five scripts, script 3 for the frames,
https://github.com/Evolving-AI-Lab/synthesizing. The pictures are the images
less the mean, cut off at +-120 and stretched to 0-255, as SciPy's imsave did,
in Pillow's quality of 75. What differs:

A frame is the image that was scored, and not the same after a step on its
pixels; the last of them, without a score, is the result. The scripts put the
caption on the file of act_max.py and save that JPEG anew; here it is kept,
and what is captioned was no JPEG before. Captions are in another font, and
montages are not trimmed. The names of Places205 have blanks for every _.

L2 is 1 - config.decay. Replicates have the next seeds, as they had when they
were made; names go on with _y<row>x<column> where the config named several
positions, and a / in the name of a layer is --.
"""

from collections.abc import Iterator, Mapping, Sequence
import math
import pathlib
from typing import Any

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from vizjax.build import vocabulary
from vizjax.errors import UserError
from vizjax.export import pictures
from vizjax.export import selecting
from vizjax.models.labels import places205
from vizjax.photographs import images
from vizjax.sweeps import growth

RANGE = 120  # grey levels about the mean that are shown

# Measured on examples/ of the program: 10 white rows, and 30 of 30 points.
_STRIP, _BASELINE, _POINTS = 40, 32, 30

_HIGHEST = 65535  # rows that a JPEG can have

_KNOBS = ('decay', 'rate_start', 'seed', 'steps')  # what names are made of


def synthesizing(
  selection: selecting.Selection, out: pathlib.Path, *, trust: bool = False
) -> Iterator[pathlib.Path]:
  """Two JPEGs for each run of configs/nguyen2016.py, and one for each layer.

  Where frames were kept, a third one of them.

  Args:
    selection: of `select`.
    out: a folder.
    trust: whether the formulas of the workdir may call any function; else only
      those of vizjax and optax.

  Raises:
    UserError: another recipe, or one that is not trusted, or the images are
      whole numbers.
    OSError: what the config names cannot be read, such as the weights.
  """
  if not trust:
    vocabulary.check_trust(selection.workdir, selection.config)
  config = selection.config
  _check(config)
  selecting.floats(selection)
  names = ['image', 'size', 'seen', 'unit']
  if config['save_every'] is not None:
    names += ['frames', 'trace/score']
  mean = None
  for layer in selection.layers:
    labels, tiles = layer.labels, []
    seeds = selecting.seeds(layer, config)
    for i, item in selecting.items(layer, *names):
      image = selecting.cropped(item['image'], item['size'])
      if mean is None or mean.shape != image.shape:
        mean = selecting.mean(selection, image.shape)
      stem = _stem(layer, item, config, seeds[i])
      shown = picture(image - mean)
      yield _written(selecting.made(out) / f'{stem}.jpg', shown)
      top, left, h, w = item['seen']
      part = shown[top : top + h, left : left + w]
      tiles.append(captioned(part, caption(int(item['unit'][0]), labels)))
      folder = selecting.made(out / 'captioned')
      yield _written(folder / f'{stem}.jpg', tiles[-1])
      if config['save_every'] is not None:
        sheet = _frames(item, mean, config['save_every'], shown)
        yield _written(out / f'{stem}_frames.jpg', sheet)
    if tiles:
      path = out / f'example_{layer.store.name}.jpg'
      order = growth.order(layer.store, layer.rows)
      yield _written(path, _sheet([tiles[i] for i in order], 5))


def picture(image: np.ndarray) -> np.ndarray:
  """uint8 [h, w, 3] of an image [h, w, c] less the mean, in grey levels.

  The smallest number becomes 0 and the largest 255, after those beyond
  +-RANGE were cut off; that these are mapped to 0-1 first changes nothing.
  """
  return selecting.picture(np.clip(image, -RANGE, RANGE), stretch=True)


def caption(channel: int, labels: Sequence[str]) -> str:
  """What a unit is called under its picture.

  Of a name as ImageNet's the first two words before a comma, one of Places205
  as it is, and the number of a unit that has none.

  Args:
    channel: of the layer.
    labels: names of its units; () if they have none.
  """
  if not labels:
    return str(channel)
  if tuple(labels) == places205.labels():
    return labels[channel]
  return ' '.join(labels[channel].split(',')[0].split()[:2])


def captioned(image: np.ndarray, text: str) -> np.ndarray:
  """A picture, uint8 [h, w, 3], over a strip of 40 rows with a line of text.

  Both are wider, with white beside the picture, where the text needs it.
  """
  font = ImageFont.load_default(_POINTS)
  h, w, _ = image.shape
  width = max(w, math.ceil(font.getlength(text)))
  tile = Image.new('RGB', (width, h + _STRIP), 'white')
  tile.paste(Image.fromarray(image), ((width - w) // 2, 0))
  place = (width / 2, h + _BASELINE)  # of the middle of the text's line
  ImageDraw.Draw(tile).text(place, text, 'black', font, 'ms')
  return np.asarray(tile)


def _check(config: Mapping[str, Any]) -> None:
  missing = [name for name in _KNOBS if name not in config]
  if missing:
    raise UserError(
      f"this run's config has no {' and no '.join(missing)}, which this format "
      'names files by: make the run with --config=nguyen2016'
    )


def _stem(
  layer: selecting.Layer,
  item: dict[str, Any],
  config: Mapping[str, Any],
  seed: int,
) -> str:
  """The name of a run's file, numbers as Python 2 prints them."""
  channel, y, x = item['unit']
  parts = (config['units'] or '').split(',')
  placed = len({part.partition('@')[2].strip() for part in parts}) > 1
  knobs = 1 - config['decay'], config['rate_start']
  numbers = (float(f'{n:.12g}') for n in knobs)
  return '_'.join(
    [
      layer.store.name,
      f'{channel:04d}',
      f'{config["steps"]:02d}',
      *map(str, numbers),
      '',
      str(seed),
    ]
    + [f'y{y}x{x}'] * placed
  )


def _frames(
  item: dict[str, Any], mean: np.ndarray, every: int, result: np.ndarray
) -> np.ndarray:
  """A sheet of the frames of a run, the k-th of step k * every."""
  frames = selecting.cropped(item['frames'], item['size'])
  scores = item['trace/score'][::every]
  tiles = [
    captioned(picture(frame - mean), f'{score:.2f}')
    for frame, score in zip(frames, scores, strict=True)
  ]
  return _sheet([*tiles, result], 10)


def _sheet(tiles: list[np.ndarray], columns: int) -> np.ndarray:
  """A mosaic, of more columns where it were too high for a JPEG."""
  rows = _HIGHEST // (max(map(len, tiles)) + 2)
  columns = max(columns, math.ceil(len(tiles) / rows))
  return pictures.mosaic(tiles, columns)


def _written(path: pathlib.Path, image: np.ndarray) -> pathlib.Path:
  images.write(path, image, quality=75)
  return path
