"""The images of a layer, with their numbers, and how they are shown."""

import base64
from collections.abc import Iterator, Mapping
import dataclasses
import html
import io
import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from vizjax import errors
from vizjax import files
from vizjax.build import runs
from vizjax.errors import UserError
from vizjax.export import selecting
from vizjax.photographs import images as images_
from vizjax.workdir import store

# Images of a sheet that a notebook shows by itself, and pixels of a tile there.
_SHEET, _TILE = 64, 160


class Array:
  """An array of a workdir: read as far as it is indexed.

  Attributes:
    shape: of the whole.
    dtype: of its numbers.
  """

  def __init__(self, layer_store: store.Store, name: str):
    self._store, self._name = layer_store, name
    array = layer_store.arrays[name]
    self.shape = tuple(array.shape)
    self.dtype = array.dtype.numpy_dtype

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, index: Any) -> np.ndarray:
    """Returns what NumPy would; only the rows that are asked for are read.

    Raises:
      IndexError: there is no such row.
    """
    if isinstance(index, tuple) and not index:
      return self[:]
    first, *rest = index if isinstance(index, tuple) else (index,)
    # Of several lists of indices NumPy makes pairs.
    paired = np.ndim(first) and any(map(np.ndim, rest))
    if first is Ellipsis or first is None or paired:
      return self[:][index]
    # TensorStore counts neither from the end nor up to it.
    rows = np.arange(len(self))[first]
    if isinstance(first, slice) and first.step in (None, 1):
      start, stop, _ = first.indices(len(self))
      rows = slice(start, max(start, stop))
    found = store.read(self._store, self._name, rows)
    whole = [slice(None)] * (isinstance(rows, slice) or np.ndim(rows))
    return found[(*whole, *rest)] if rest else found

  def __iter__(self) -> Iterator[np.ndarray]:
    return (self[i] for i in range(len(self)))

  def __array__(self, dtype: Any = None, copy: bool | None = None):
    return np.asarray(self[:], dtype)

  def __repr__(self) -> str:
    return f'Array({self._name!r}, shape={self.shape}, dtype={self.dtype})'


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Images:
  """The images of a layer: `images.image` is [n, h, w, c], of 0-255.

  Every array has a row for each image. An image that is not made yet is NaN,
  and False in `made`.

  Attributes:
    layer: its name.
    arrays: by name, as the README lists them: 'image', 'trace/score' ...
    labels: names of the layer's units or photographs; () where they have none.
    subject: what the images are of: 'unit', 'direction', 'mask', 'photograph'
      or 'layer'.
  """

  layer: str
  arrays: Mapping[str, Any]
  labels: tuple[str, ...] = ()
  subject: str = 'unit'

  def __len__(self) -> int:
    return len(self.arrays['unit'])

  def __getitem__(self, name: str) -> Any:
    """Returns an array [n, ...] by its name.

    Raises:
      UserError: there is none of that name.
    """
    if not isinstance(name, str) or name not in self.arrays:
      known = sorted(self.arrays)
      raise UserError(
        f'layer {self.layer!r} has no array {name!r}, expected one of: '
        f'{", ".join(known)}.{errors.hint(str(name), known)}'
      )
    return self.arrays[name]

  @property
  def image(self) -> Any:
    """[n, h, w, c], of 0-255 and not clipped."""
    return self['image']

  @property
  def activation(self) -> Any:
    """[n], of the image without transforms."""
    return self['activation']

  @property
  def score(self) -> Any:
    """[n], of the image under transforms, at `step`."""
    return self['score']

  @property
  def step(self) -> Any:
    """[n], the step at which the image was reached."""
    return self['step']

  @property
  def unit(self) -> Any:
    """[n, 3]: channel, row, column in the map of the layer."""
    return self['unit']

  @property
  def made(self) -> np.ndarray:
    """[n]: whether the image is there."""
    return np.asarray(self[store.DONE]) > 0

  @property
  def rgb(self) -> list[np.ndarray]:
    """The pictures: n of uint8 [h, w', 3], as matplotlib shows them.

    Other channels than three are grey images side by side; what is not made is
    black.
    """
    return [self.picture(i) for i in range(len(self))]

  def picture(self, place: int | np.integer) -> np.ndarray:
    """Returns the picture of an image: uint8 [h, w', 3]."""
    h, w = np.asarray(self['size'])[place]
    image = np.asarray(self.image[place], np.float32)[:h, :w]
    return images_.to_uint8(images_.rgb(image))

  @property
  def captions(self) -> list[str]:
    """What each image is of: '9', '7 goldfish', 'direction 3 #1'."""
    units, signs, replicates = (
      np.asarray(self[name]).tolist() for name in ('unit', 'sign', 'replicate')
    )
    several = max(replicates, default=0) > 0
    places = {(channel, y, x) for channel, y, x in units}
    placed = len({channel for channel, *_ in units}) < len(places)
    found = []
    for (channel, y, x), sign, n in zip(units, signs, replicates, strict=True):
      if self.subject == 'unit':
        label = ''.join(self.labels[channel : channel + 1]).split(',')[0]
        what = f'{channel} {label}'.strip()
      else:
        what = runs.called(self.layer, channel, self.subject, self.labels)
      what += f' ({y}, {x})' * placed + f' #{n}' * several
      found.append(what + ' min' * (sign < 0))
    return found

  def sheet(
    self, columns: int | None = None, tile: int | None = None
  ) -> np.ndarray:
    """Returns a contact sheet of what is made: uint8 [H, W, 3].

    Each image stands over what it is of and its activation.

    Args:
      columns: images in a row; about as many as rows unless given.
      tile: pixels of an image's longer side; as they are unless given.

    Raises:
      UserError: no image is made yet.
    """
    return self._sheet(np.flatnonzero(self.made), columns, tile)

  def _sheet(self, places: np.ndarray, columns: int | None, tile: int | None):
    if not len(places):
      raise UserError(
        f'layer {self.layer!r} has no image yet: make one first, by '
        'vizjax.visualize or vizjax.sweep'
      )
    selecting.check_sizes(columns, tile)
    captions, numbers = self.captions, np.asarray(self.activation)
    tiles = [selecting.shrunk(self.picture(i), tile) for i in places]
    texts = [
      selecting.fitting(captions[i], f'{numbers[i]:.4g}', one.shape[1])
      for i, one in zip(places, tiles, strict=True)
    ]
    return images_.contact_sheet(tiles, texts, columns=columns)

  def show(self, columns: int | None = None, tile: int | None = None) -> Any:
    """Draws the contact sheet in a matplotlib figure, and returns the figure.

    Args:
      columns: images in a row.
      tile: pixels of an image's longer side.

    Raises:
      UserError: matplotlib is not installed, or no image is made yet.
    """
    pyplot = files.library(
      'matplotlib.pyplot', 'export', 'images are shown in a figure by'
    )
    sheet = self.sheet(columns, tile)
    h, w, _ = sheet.shape
    figure, axes = pyplot.subplots(figsize=(w / 100, h / 100))
    axes.imshow(sheet)
    axes.set_axis_off()
    axes.set_position((0, 0, 1, 1))
    return figure

  def save(
    self,
    path: str | pathlib.Path,
    columns: int | None = None,
    tile: int | None = None,
  ) -> None:
    """Writes the contact sheet to a file, as 'sheet.png' or 'sheet.jpg'.

    Args:
      path: of the file.
      columns: images in a row.
      tile: pixels of an image's longer side.

    Raises:
      UserError: the ending is of no picture, or no image is made yet.
      OSError: it cannot be written.
    """
    if not isinstance(path, str | pathlib.Path):
      raise UserError(
        f"the file is {path!r:.60}, expected a path: type save('sheet.png')"
      )
    path = pathlib.Path(os.path.expanduser(path))
    endings = ('.png', '.jpg', '.jpeg', '.webp')
    if path.suffix.lower() not in endings:
      raise UserError(
        f'the file is {path.name!r}, expected an ending of a picture, '
        f"{', '.join(endings)}: type save('sheet.png')"
      )
    images_.write(path, self.sheet(columns, tile))

  def table(self) -> Any:
    """Returns a pandas DataFrame: a row an image, a column a number.

    Raises:
      UserError: pandas is not installed.
    """
    pandas = files.library('pandas', 'notebook', 'a table is made by')
    columns: dict[str, Any] = {
      'layer': [self.layer] * len(self),
      'caption': self.captions,
    }
    columns |= dict(
      zip(('channel', 'y', 'x'), np.asarray(self.unit).T, strict=True)
    )
    for name, array in self.arrays.items():
      if len(array.shape) == 1:
        columns[name] = np.asarray(array)
    return pandas.DataFrame(columns)

  def __repr__(self) -> str:
    made = int(self.made.sum())
    shape = tuple(self.image.shape)
    return (
      f'Images({self.layer!r}, {made} of {len(self)} made, image {shape}, '
      f'arrays: {", ".join(sorted(self.arrays))})'
    )

  def _repr_html_(self) -> str:
    """The contact sheet, as a notebook shows it."""
    places = np.flatnonzero(self.made)
    said = html.escape(f'{self.layer}: {len(places)} of {len(self)} images')
    if not len(places):
      return f'<p>{said}</p>'
    if len(places) > _SHEET:
      said += f', the first {_SHEET} of them'
    sheet, buffer = self._sheet(places[:_SHEET], 8, _TILE), io.BytesIO()
    Image.fromarray(sheet).save(buffer, format='PNG')
    content = base64.b64encode(buffer.getvalue()).decode()
    return (
      f'<p>{said}</p><img alt="{said}" src="data:image/png;base64,{content}">'
    )
