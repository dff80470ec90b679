"""A workdir as people read it: layers by name, and what is made of them."""

from collections.abc import Iterator
import pathlib
from typing import Any

import numpy as np

from vizjax import errors
from vizjax import files
from vizjax.errors import UserError
from vizjax.front import images
from vizjax.workdir import store


def open(workdir: str | pathlib.Path) -> 'Results':
  """Opens the results of a sweep, finished or under way.

    results = vizjax.open('DIR')
    results['conv5'].image[7]                   # read when it is indexed

  Args:
    workdir: a folder, or gs://BUCKET/PATH.

  Raises:
    UserError: it holds no results, or those of a newer vizjax.
    OSError: it cannot be read.
  """
  return Results(str(workdir))


def read(workdir: str, layer: str) -> images.Images:
  """Reads all arrays of a layer into memory; only the rows that are made."""
  kept = Results(workdir)[layer]
  rows = np.flatnonzero(kept.made)
  arrays = {name: array[rows] for name, array in kept.arrays.items()}
  return images.Images(layer, arrays, kept.labels, kept.subject)


class Results:
  """The results of a sweep: results['conv5'] is an `Images`.

  Attributes:
    workdir: where they are.
    config: the knobs that they were made with; None for what was no text.
    versions: of the packages that made them.
  """

  def __init__(self, workdir: str):
    about = store.read_config(workdir)
    self.workdir = workdir
    self.config: dict[str, Any] = about['config']
    self.versions: dict[str, str] = about.get('versions', {})

  def __getitem__(self, layer: str) -> images.Images:
    """Returns the images of a layer, whose arrays are read when indexed.

    Raises:
      UserError: the workdir has no such layer.
    """
    paths = store.layers(self.workdir)
    if layer not in paths:
      known = self._names(paths)
      raise UserError(
        f'layer {layer!r} is not in {self.workdir!r}: it holds '
        f'{", ".join(known) or "none yet"}.{errors.hint(str(layer), known)}'
      )
    about = store.read_config(self.workdir)
    layer_store = store.open_(paths[layer])
    arrays = {
      name: images.Array(layer_store, name) for name in layer_store.arrays
    }
    labels = tuple(about.get('labels', {}).get(layer, ()))
    subject = about.get('subjects', {}).get(layer, 'unit')
    return images.Images(layer, arrays, labels, subject)

  def __iter__(self) -> Iterator[str]:
    return iter(self._names(store.layers(self.workdir)))

  def __len__(self) -> int:
    return len(store.layers(self.workdir))

  def __contains__(self, layer: object) -> bool:
    return layer in store.layers(self.workdir)

  def keys(self) -> list[str]:
    """Returns the names of the layers, in the order of the network."""
    return [*self]

  def values(self) -> list[images.Images]:
    """Returns the images of every layer."""
    return [self[name] for name in self]

  def items(self) -> list[tuple[str, images.Images]]:
    """Returns the name and the images of every layer."""
    return [(name, self[name]) for name in self]

  def table(self) -> Any:
    """Returns a pandas DataFrame of all layers: a row an image.

    Raises:
      UserError: pandas is not installed.
    """
    pandas = files.library('pandas', 'notebook', 'a table is made by')
    tables = [self[name].table() for name in self]
    return pandas.concat(tables, ignore_index=True) if tables else tables

  def __repr__(self) -> str:
    counts = []
    for name in self:
      made = self[name].made
      counts.append(f'{name}: {made.sum()} of {len(made)}')
    return f'Results({self.workdir!r}, {", ".join(counts) or "no layer yet"})'

  def _names(self, paths: Any) -> list[str]:
    ordered = store.read_config(self.workdir).get('layers', [])
    return sorted(
      paths,
      key=lambda n: ordered.index(n) if n in ordered else len(ordered),
    )
