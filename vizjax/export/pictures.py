"""Pictures and films of a store: PNG, contact sheets, strips, GIF and MP4."""

from collections.abc import Iterator, Sequence
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from vizjax import files
from vizjax.errors import UserError
from vizjax.export import selecting
from vizjax.photographs import images
from vizjax.sweeps import growth


def png(
  selection: selecting.Selection, out: pathlib.Path, *, stretch: bool = False
) -> Iterator[pathlib.Path]:
  """A PNG for each run: <layer>_<channel>[_r<replicate>][_y<row>x<column>].

  The position is named where the config named one; `runs.stem` says what stands
  in place of the channel where a run is of no unit.

  Args:
    selection: of `select`.
    out: a folder.
    stretch: shows each image from its smallest number to its largest.
  """
  for layer in selection.layers:
    for i, item in selecting.items(layer, 'image', 'size'):
      image = selecting.cropped(item['image'], item['size'])
      path = selecting.made(out) / f'{layer.stems[i]}.png'
      images.write(path, selecting.picture(image, stretch))
      yield path


def montage(
  selection: selecting.Selection,
  out: pathlib.Path,
  *,
  stretch: bool = False,
  columns: int | None = None,
  tile: int | None = None,
) -> Iterator[pathlib.Path]:
  """A contact sheet for each layer, <layer>.png.

  Args:
    selection: of `select`.
    out: a folder.
    stretch: the contrast of each tile.
    columns: tiles in a row; about as many as rows unless given.
    tile: pixels of a tile's longer side; as the images are unless given.
  """
  selecting.check_sizes(columns, tile)
  for layer in selection.layers:
    tiles, captions = [], []
    for i, item in selecting.items(layer, 'image', 'size', 'activation'):
      image = selecting.cropped(item['image'], item['size'])
      tiles.append(selecting.shrunk(selecting.picture(image, stretch), tile))
      captions.append((layer.captions[i], _short(item['activation'])))
    if not tiles:
      continue
    width = max(tile.shape[1] for tile in tiles)
    texts = [selecting.fitting(*caption, width) for caption in captions]
    order = growth.order(layer.store, layer.rows)
    tiles, texts = ([each[i] for i in order] for each in (tiles, texts))
    sheet = images.contact_sheet(tiles, texts, columns=columns)
    path = selecting.made(out) / f'{layer.store.name}.png'
    images.write(path, sheet)
    yield path


def strip(
  selection: selecting.Selection,
  out: pathlib.Path,
  *,
  stretch: bool = False,
  columns: int | None = None,
  tile: int | None = None,
) -> Iterator[pathlib.Path]:
  """The frames of each run side by side, as a PNG; see `mosaic`.

  Args:
    selection: of `select`, of runs with config.save_every.
    out: a folder.
    stretch: the contrast of each frame.
    columns: frames in a row; all of them unless given.
    tile: pixels of a frame's longer side; as the images are unless given.

  Raises:
    UserError: no frames were kept.
  """
  selecting.check_sizes(columns, tile)
  for path, frames in _films(selection, out, stretch, '.png'):
    tiles = [selecting.shrunk(frame, tile) for frame in frames]
    images.write(
      path, mosaic(tiles, len(tiles) if columns is None else columns)
    )
    yield path


def mosaic(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
  """Tiles row by row, with a white pixel about each: uint8 [H, W, 3].

  Columns are as wide as the widest tile, which the others stand in the middle
  of; a row is as high as its highest.

  Args:
    tiles: of uint8 [h, w, 3].
    columns: tiles in a row.
  """
  columns = min(columns, len(tiles))
  width = max(tile.shape[1] for tile in tiles)
  rows = []
  for start in range(0, len(tiles), columns):
    part = tiles[start : start + columns]
    height = max(len(tile) for tile in part)
    shape = (height + 2, columns * (width + 2), 3)
    row = np.full(shape, 255, np.uint8)
    for i, tile in enumerate(part):
      h, w, _ = tile.shape
      left = i * (width + 2) + 1 + (width - w) // 2
      row[1 : 1 + h, left : left + w] = tile
    rows.append(row)
  return np.concatenate(rows)


def gif(
  selection: selecting.Selection,
  out: pathlib.Path,
  *,
  stretch: bool = False,
  fps: float | int = 10,
) -> Iterator[pathlib.Path]:
  """The frames of each run as a GIF: 256 colours a frame, and it repeats.

  Args:
    selection: of `select`, of runs with config.save_every.
    out: a folder.
    stretch: the contrast of each frame.
    fps: frames a second, at most 50; a GIF counts hundredths of a second.

  Raises:
    UserError: no frames were kept, or too many a second.
  """
  _check_rate(fps)
  if fps > 50:
    raise UserError(f'--fps={fps:g}: a GIF shows at most 50 frames a second')
  for path, frames in _films(selection, out, stretch, '.gif'):
    first, *others = (
      Image.fromarray(frame).convert('P', palette=Image.Palette.ADAPTIVE)
      for frame in frames
    )
    with files.replacing(path) as partial:
      first.save(
        partial,
        format='GIF',
        save_all=True,
        append_images=others,
        duration=round(100 / fps) * 10,  # milliseconds
        loop=0,
      )
    yield path


def mp4(
  selection: selecting.Selection,
  out: pathlib.Path,
  *,
  stretch: bool = False,
  fps: float | int = 10,
) -> Iterator[pathlib.Path]:
  """The frames of each run as a film, H.264 in yuv420p.

  That form has even sizes: the last row or column of odd ones is doubled.

  Args:
    selection: of `select`, of runs with config.save_every.
    out: a folder.
    stretch: the contrast of each frame.
    fps: frames a second.

  Raises:
    UserError: no frames were kept, or imageio[ffmpeg] is not installed.
  """
  _check_rate(fps)
  selecting.library('imageio_ffmpeg')
  imageio = selecting.library('imageio.v3')
  for path, frames in _films(selection, out, stretch, '.mp4'):
    _, h, w, _ = frames.shape
    even = np.pad(frames, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), 'edge')
    film = imageio.imwrite(
      '<bytes>',
      even,
      extension='.mp4',
      plugin='FFMPEG',
      fps=fps,
      codec='libx264',
      macro_block_size=2,  # imageio would resize to multiples of 16
      output_params=['-crf', '18'],
      ffmpeg_log_level='error',
    )
    selecting.write(path, film)
    yield path


def _check_rate(fps: float | int) -> None:
  if not 0.1 <= fps <= 1000:
    raise UserError(
      f'fps= is {fps:g}, expected frames a second from 0.1 to 1000: type fps=10'
    )


def _films(
  selection: selecting.Selection, out: pathlib.Path, stretch: bool, ending: str
) -> Iterator[tuple[pathlib.Path, np.ndarray]]:
  """Where the film of each run goes, and its frames, uint8 [k, h, w, 3]."""
  selecting.require(
    selection, ['frames'], 'make the run with --config.save_every=10'
  )
  for layer in selection.layers:
    for i, item in selecting.items(layer, 'frames', 'size'):
      # One by one: a film of floats is four times as large.
      frames = (selecting.cropped(f, item['size']) for f in item['frames'])
      shown = np.stack([selecting.picture(frame, stretch) for frame in frames])
      yield selecting.made(out) / f'{layer.stems[i]}{ending}', shown


def _short(number: Any) -> str:
  return f'{number:.4g}' if np.isfinite(number) else 'not a number'
