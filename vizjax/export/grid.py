"""Runs of photographs as files: a page of all images, or neural-style's files.

The runs are made with config.each. The page has a row for each photograph of
the first knob of config.each, and columns for the layers and the other knobs.
"""

from collections.abc import Iterator
import pathlib
from typing import Any, NamedTuple

import jinja2
import numpy as np
from PIL import Image

from vizjax import build
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


class _Table(NamedTuple):
  """The rows and columns of the page, in their order.

  Attributes:
    photographs: uint8 [h, w, 3] of each row, by its file.
    headings: of each column.
    cells: the images, by row and column.
  """

  photographs: dict[str, np.ndarray]
  headings: dict[tuple[str, ...], str]
  cells: dict[tuple[str, tuple[str, ...]], _Cell]


def grid(
  selection: selecting.Selection,
  out: pathlib.Path,
  *,
  stretch: bool = False,
  tile: int | None = None,
) -> Iterator[pathlib.Path]:
  """Writes index.html, the page; its pictures; and grid.png, a sheet of them.

  Args:
    selection: of `select`, of runs with config.each.
    out: a folder.
    stretch: shows each image from its smallest number to its largest.
    tile: pixels of a picture's longer side, on the sheet.

  Yields:
    The path of each file, once it is written.

  Raises:
    UserError: the runs are not of photographs.
    OSError: a photograph cannot be read.
  """
  selecting.check_sizes(tile=tile)
  cells = list(_cells(selection, stretch))
  table = _table(cells, selection.config)
  selecting.made(out)
  for i, photograph in enumerate(table.photographs.values()):
    images.write(out / f'photograph_{i}.png', photograph)
    yield out / f'photograph_{i}.png'
  for cell in cells:
    images.write(out / f'{cell.stem}.png', cell.image)
    yield out / f'{cell.stem}.png'
  page = _page(selection, table, title=out.resolve().name)
  selecting.write(out / 'index.html', page.encode())
  yield out / 'index.html'
  images.write(out / 'grid.png', _sheet(table, tile))
  yield out / 'grid.png'


def neural_style(
  selection: selecting.Selection,
  out: pathlib.Path,
  *,
  preserve_colors: bool = False,
  overwrite: bool = False,
) -> Iterator[pathlib.Path]:
  """Writes <content>_<style>.jpg, as neural-style writes its output.

  The image is clipped and cut to 8 bits; the JPEG quality is 95.

  Args:
    selection: of `select`, of runs of configs/gatys2016.py, as floats.
    out: a folder.
    preserve_colors: the colors are those of the content.
    overwrite: whether existing files are replaced.

  Raises:
    UserError: the runs have no content and style, or a file exists already.
    OSError: a photograph cannot be read.
  """
  combinations = _combinations(selection)
  if {'content', 'style'} - {*combinations[0]}:
    raise UserError(
      "this format is of runs with config.each='content,style': make them "
      'with --config=gatys2016'
    )
  selecting.floats(selection)
  paths = _neural_style_paths(selection, combinations, out)
  existing = [path for path in paths.values() if path.exists()]
  if existing and not overwrite:
    raise UserError(
      f'{str(existing[0])!r} is there already: type --overwrite to replace it, '
      'or another --out'
    )
  selecting.made(out)
  for layer in selection.layers:
    for i, item in selecting.items(layer, 'unit', 'image', 'size'):
      image = selecting.cropped(item['image'], item['size'])
      pixels = np.clip(image, 0, 255).astype(np.uint8)
      if preserve_colors:
        knobs = combinations[int(item['unit'][0])]
        (content,) = files_.together(knobs['content'])
        size = pixels.shape[:2]
        pixels = recolored(
          image, files_.fitted(content.image, size, rounded=True)
        )
      path = paths[layer.name, int(layer.rows[i])]
      with files.replacing(path) as partial:
        Image.fromarray(pixels).save(partial, format='JPEG', quality=95)
      yield path


def recolored(image: np.ndarray, content: np.ndarray) -> np.ndarray:
  """Returns the lightness of one image with the colors of another.

  As with neural-style's --preserve-colors, Y is the image's luminance in 8
  bits, Cb and Cr are those of the content, and Pillow joins them.

  Args:
    image: [h, w, 3], RGB.
    content: [h, w, 3], RGB, of the same size.

  Returns:
    pixels: uint8 [h, w, 3], RGB.
  """
  luma = np.clip(image, 0, 255).astype(np.float64) @ np.array(_LUMA)
  # neural-style rounds from float32, in which a grey keeps its level.
  grey = np.clip(luma.astype(np.float32), 0, 255).astype(np.uint8)
  lightness, _, _ = _bands(np.stack([grey] * 3, -1))
  _, blue, red = _bands(np.clip(content, 0, 255).astype(np.uint8))
  merged = Image.merge('YCbCr', (lightness, blue, red))
  return np.asarray(merged.convert('RGB'))


def _bands(pixels: np.ndarray) -> tuple[Image.Image, ...]:
  """Returns Y, Cb and Cr of uint8 pixels [h, w, 3]."""
  return Image.fromarray(pixels).convert('YCbCr').split()


def _combinations(
  selection: selecting.Selection,
) -> tuple[dict[str, str], ...]:
  """Returns {knob: file} of each run, by the channel of the run's unit.

  Raises:
    UserError: config.each is blank.
  """
  combinations = vocabulary.each(build.restored(selection.config))
  if not combinations:
    raise UserError(
      'this format is of runs of photographs, but config.each is blank: make '
      "them with --config.each=photograph --config.photograph='DIR/*.jpg'"
    )
  return combinations


def _neural_style_paths(
  selection: selecting.Selection,
  combinations: tuple[dict[str, str], ...],
  out: pathlib.Path,
) -> dict[tuple[str, int], pathlib.Path]:
  """Returns the file of each image, by the name of its layer and its row."""
  paths = {}
  for layer in selection.layers:
    for i, item in selecting.items(layer, 'unit'):
      row = int(layer.rows[i])
      photographs = combinations[int(item['unit'][0])].values()
      path = out / f'{"_".join(map(files_.stem, photographs))}.jpg'
      # Photographs of one name may lie in two folders.
      if path in paths.values():
        path = path.with_stem(f'{path.stem}_{row}')
      paths[layer.name, row] = path
  return paths


def _cells(selection: selecting.Selection, stretch: bool) -> Iterator[_Cell]:
  combinations = _combinations(selection)
  several = selection.config['replicates'] > 1
  names = ('image', 'size', 'unit', 'replicate', 'activation')
  for layer in selection.layers:
    for i, item in selecting.items(layer, *names):
      first, *others = combinations[int(item['unit'][0])].values()
      replicate = [f'#{item["replicate"]}'] if several else []
      image = selecting.cropped(item['image'], item['size'])
      yield _Cell(
        first,
        (layer.name, *others, *replicate),
        selecting.picture(image, stretch),
        float(item['activation']),
        layer.stems[i],
      )


def _table(cells: list[_Cell], config: dict[str, Any]) -> _Table:
  """Lays the images out, with the photograph of each row at their size.

  Raises:
    OSError: a photograph cannot be read.
  """
  size = cells[0].image.shape[:2]
  fit = config.get('fit', 'middle')  # as the run fitted its photographs
  photographs = {}
  for path in dict.fromkeys(cell.row for cell in cells):
    image = files_.together(path)[0].image
    photographs[path] = images.to_uint8(files_.fitted(image, size, fit))
  columns = list(dict.fromkeys(cell.column for cell in cells))
  return _Table(
    photographs,
    {column: _heading(column, columns) for column in columns},
    {(cell.row, cell.column): cell for cell in cells},
  )


def _heading(column: tuple[str, ...], columns: list[tuple[str, ...]]) -> str:
  """Returns the parts of a column that tell it from the others."""
  layer, *others = column
  parts = list(map(files_.stem, others))
  if len({other[0] for other in columns}) > 1 or not parts:
    parts.insert(0, layer)
  return ' '.join(parts)


def _page(selection: selecting.Selection, table: _Table, title: str) -> str:
  """Returns the HTML of the page."""
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
  return environment.get_template('grid.html').render(
    title=title,
    config={k: v for k, v in config.items() if v is not None},
    versions=selection.versions,
    measured=config['activation'] or config['objective'],
    columns=list(table.headings.values()),
    rows=[
      {
        'name': files_.stem(path),
        'image': f'photograph_{i}.png',
        'cells': [
          _entry(table.cells.get((path, column))) for column in table.headings
        ],
      }
      for i, path in enumerate(table.photographs)
    ],
  )


def _entry(cell: _Cell | None) -> dict[str, Any] | None:
  """Returns what the template reads of a cell; None where it has no image."""
  if cell is None:
    return None
  h, w, _ = cell.image.shape
  return {
    'image': f'{cell.stem}.png',
    'activation': f'{cell.activation:.4g}',
    'height': h,
    'width': w,
  }


def _sheet(table: _Table, tile: int | None) -> np.ndarray:
  """Returns the table as one picture; a cell without an image is white."""
  tiles, captions = [], []
  for path, photograph in table.photographs.items():
    tiles.append(selecting.shrunk(photograph, tile))
    width = tiles[0].shape[1]
    captions.append(selecting.fitting(files_.stem(path), '', width))
    for column, heading in table.headings.items():
      cell = table.cells.get((path, column))
      if cell is None:
        tiles.append(np.full_like(tiles[0], 255))
        captions.append('')
      else:
        tiles.append(selecting.shrunk(cell.image, tile))
        number, width = f'{cell.activation:.3g}', tiles[-1].shape[1]
        captions.append(selecting.fitting(heading, number, width))
  return images.contact_sheet(tiles, captions, columns=1 + len(table.headings))
