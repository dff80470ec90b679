"""Runs of photographs as files: a page of all of them, and neural-style's.

They are made with config.each. The page has a row for each photograph of its
first knob, as it was found, and columns for the layers and the other knobs.
"""

from collections.abc import Iterator
import pathlib
from typing import Any, NamedTuple

import jinja2
from ml_collections import config_dict
import numpy as np
from PIL import Image

from vizjax import files
from vizjax.build import vocabulary
from vizjax.errors import UserError
from vizjax.export import selecting
from vizjax.photographs import files as files_
from vizjax.photographs import images

_LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601


class _Cell(NamedTuple):
  """An image of the page."""

  row: str  # of the first knob: its file
  column: tuple[str, ...]  # layer, and the files of the other knobs
  image: np.ndarray  # uint8 [h, w, 3]
  activation: float
  stem: str


def grid(
  selection: selecting.Selection,
  out: pathlib.Path,
  *,
  stretch: bool = False,
  tile: int | None = None,
) -> Iterator[pathlib.Path]:
  """index.html, the page; its pictures; and grid.png, a sheet of the same.

  Args:
    selection: of `select`, of runs with config.each.
    out: a folder.
    stretch: the contrast of each image.
    tile: pixels of a picture's longer side, on the sheet.

  Raises:
    UserError: the runs are not of photographs.
    OSError: one is not where it was.
  """
  cells = list(_cells(selection, stretch))
  rows = list(dict.fromkeys(cell.row for cell in cells))
  columns = list(dict.fromkeys(cell.column for cell in cells))
  found = {(cell.row, cell.column): cell for cell in cells}
  size = cells[0].image.shape[:2]
  fit = selection.config.get('fit', 'middle')  # as the run saw it
  heads = {
    path: images.to_uint8(files_.fitted(one.image, size, fit))
    for path in rows
    for one in files_.together(path)[:1]
  }
  selecting.made(out)
  for i, path in enumerate(rows):
    images.write(out / f'photograph_{i}.png', heads[path])
    yield out / f'photograph_{i}.png'
  for cell in cells:
    images.write(out / f'{cell.stem}.png', cell.image)
    yield out / f'{cell.stem}.png'
  names = [_column(column, columns) for column in columns]
  config = selection.config
  environment = jinja2.Environment(
    loader=jinja2.ChoiceLoader(
      [
        jinja2.PackageLoader('vizjax.export'),
        jinja2.PackageLoader('vizjax.atlas'),
      ]
    ),
    autoescape=True,
  )
  page = environment.get_template('grid.html').render(
    title=out.resolve().name,
    config={k: v for k, v in config.items() if v is not None},
    versions=selection.versions,
    measured=config['activation'] or config['objective'],
    columns=names,
    rows=[
      {
        'name': files_.stem(row),
        'image': f'photograph_{i}.png',
        'cells': [_entry(found.get((row, column))) for column in columns],
      }
      for i, row in enumerate(rows)
    ],
  )
  selecting.write(out / 'index.html', page.encode())
  yield out / 'index.html'
  tiles, texts = [], []
  for row in rows:
    tiles.append(selecting.shrunk(heads[row], tile))
    texts.append(selecting.fitting(files_.stem(row), '', tiles[0].shape[1]))
    for column, name in zip(columns, names, strict=True):
      cell = found.get((row, column))
      tiles.append(np.full_like(tiles[0], 255))
      texts.append('')
      if cell is not None:
        tiles[-1] = selecting.shrunk(cell.image, tile)
        number = f'{cell.activation:.3g}'
        texts[-1] = selecting.fitting(name, number, tiles[-1].shape[1])
  sheet = images.contact_sheet(tiles, texts, columns=1 + len(columns))
  images.write(out / 'grid.png', sheet)
  yield out / 'grid.png'


def neural_style(
  selection: selecting.Selection,
  out: pathlib.Path,
  *,
  preserve_colors: bool = False,
  overwrite: bool = False,
) -> Iterator[pathlib.Path]:
  """<content>_<style>.jpg, as neural-style writes its output.

  Clipped, cut to 8 bits, of quality 95.

  Args:
    selection: of `select`, of runs of configs/gatys2016.py, as floats.
    out: a folder.
    preserve_colors: the colors are those of the content.
    overwrite: whether files that are there are replaced.

  Raises:
    UserError: the runs are others, or a file is there.
    OSError: a photograph is not where it was.
  """
  each = _knobs(selection)
  if {'content', 'style'} - {*each[0]}:
    raise UserError(
      "this format is of runs with config.each='content,style': make them "
      'with --config=configs/gatys2016.py'
    )
  selecting.floats(selection)
  paths = {}
  for layer in selection.layers:
    for row, channel in zip(layer.rows, _channels(layer), strict=True):
      stems = map(files_.stem, each[channel].values())
      path = out / f'{"_".join(stems)}.jpg'
      if path in paths.values():  # of two folders
        path = path.with_stem(f'{path.stem}_{row}')
      paths[layer.name, row] = path
  there = [path for path in paths.values() if path.exists()]
  if there and not overwrite:
    raise UserError(
      f'{str(there[0])!r} is there already: type --overwrite to replace it, '
      'or another --out'
    )
  selecting.made(out)
  for layer in selection.layers:
    channels = _channels(layer)
    for i, item in selecting.items(layer, 'image', 'size'):
      image = selecting.cropped(item['image'], item['size'])
      pixels = np.clip(image, 0, 255).astype(np.uint8)
      if preserve_colors:
        (content,) = files_.together(each[channels[i]]['content'])
        size = pixels.shape[:2]
        pixels = recolored(
          image, files_.fitted(content.image, size, rounded=True)
        )
      path = paths[layer.name, layer.rows[i]]
      with files.replacing(path) as partial:
        Image.fromarray(pixels).save(partial, format='JPEG', quality=95)
      yield path


def recolored(image: np.ndarray, content: np.ndarray) -> np.ndarray:
  """The lightness of one image with the colors of another: uint8 [h, w, 3].

  As neural-style's --preserve-colors: Y of the image's luminance in 8 bits, Cb
  and Cr of the content, by Pillow.

  Args:
    image: [h, w, 3], RGB.
    content: of the same size.
  """
  luma = np.clip(image, 0, 255).astype(np.float64) @ np.array(_LUMA)
  # As there in float32, in which a grey keeps its level.
  grey = np.clip(luma.astype(np.float32), 0, 255).astype(np.uint8)
  lightness, _, _ = _bands(np.stack([grey] * 3, -1))
  _, blue, red = _bands(np.clip(content, 0, 255).astype(np.uint8))
  merged = Image.merge('YCbCr', (lightness, blue, red))
  return np.asarray(merged.convert('RGB'))


def _bands(pixels: np.ndarray) -> tuple[Image.Image, ...]:
  return Image.fromarray(pixels).convert('YCbCr').split()


def _knobs(selection: selecting.Selection) -> tuple[dict[str, str], ...]:
  config = config_dict.ConfigDict(selection.config)
  each = vocabulary.each(config)
  if not each:
    raise UserError(
      'this format is of runs of photographs, but config.each is blank: make '
      "them with --config.each=photograph --config.photograph='DIR/*.jpg'"
    )
  return each


def _channels(layer: selecting.Layer) -> list[int]:
  """Of each row, the number of its photographs."""
  return [int(item['unit'][0]) for _, item in selecting.items(layer, 'unit')]


def _cells(selection: selecting.Selection, stretch: bool) -> Iterator[_Cell]:
  each = _knobs(selection)
  names = ('image', 'size', 'unit', 'replicate', 'activation')
  for layer in selection.layers:
    for i, item in selecting.items(layer, *names):
      first, *others = each[int(item['unit'][0])].values()
      replicate = [f'#{item["replicate"]}'] * (
        selection.config['replicates'] > 1
      )
      image = selecting.cropped(item['image'], item['size'])
      yield _Cell(
        first,
        (layer.name, *others, *replicate),
        selecting.picture(image, stretch),
        float(item['activation']),
        layer.stems[i],
      )


def _column(column: tuple[str, ...], columns: list[tuple[str, ...]]) -> str:
  """What tells a column from the others."""
  layer, *others = column
  parts = list(map(files_.stem, others))
  if len({other[0] for other in columns}) > 1 or not parts:
    parts.insert(0, layer)
  return ' '.join(parts)


def _entry(cell: _Cell | None) -> dict[str, Any] | None:
  if cell is None:
    return None
  h, w, _ = cell.image.shape
  return {
    'image': f'{cell.stem}.png',
    'activation': f'{cell.activation:.4g}',
    'height': h,
    'width': w,
  }
