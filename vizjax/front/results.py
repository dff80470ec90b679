"""A workdir as people read it: layers by name, and what is made of them."""

from collections.abc import Iterable, Iterator
import os
import pathlib
from typing import Any

import numpy as np

from vizjax import core
from vizjax import errors
from vizjax import files
from vizjax import models
from vizjax import progress
from vizjax.atlas import site
from vizjax.errors import UserError
from vizjax.examples import search
from vizjax.export import formats
from vizjax.export import selecting
from vizjax.front import asking
from vizjax.front import images
from vizjax.front import patience
from vizjax.photographs import datasets
from vizjax.workdir import folders
from vizjax.workdir import store


@asking.in_python()
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
  if not isinstance(workdir, str | os.PathLike):
    raise UserError(
      f"workdir= is {workdir!r:.60}, expected a folder: type open('DIR')"
    )
  return Results(os.fspath(workdir))


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

  @asking.in_python()
  def export(
    self,
    format: str | formats.Format = 'png',
    layers: str | Iterable[str] | None = None,
    units: Any = None,
    *,
    out: str | pathlib.Path | None = None,
    model: core.Model | None = None,
    **options: Any,
  ) -> list[pathlib.Path]:
    """Writes files of the images, and returns their paths.

      vizjax.open('DIR').export('montage', columns=8)

    Args:
      format: a name such as 'png', 'montage', 'gif', 'plots'; or a function of
        your own, or its import path: see `vizjax.export.formats`.
      layers: 'conv3,conv5' or 'conv*'; all unless given.
      units: as of `vizjax.visualize`; all unless given.
      out: a folder; WORKDIR/export/FORMAT unless given.
      model: of the sweep, for formats that need its mean; unless given, the
        one that the workdir names.
      options: of the format.

    Raises:
      UserError: the format, a layer or an option is not known, or nothing is
        made yet.
      OSError: a file cannot be written.
    """
    write = formats.find(format)
    formats.check(write, options)
    name = format if isinstance(format, str) else formats.name_of(write)
    layers = None if layers is None else asking.layers_text(layers)
    selection = selecting.select(
      self.workdir, layers, asking.listed(units), model
    )
    out = None if out is None else str(out)
    folder = folders.output(out, self.workdir, f'export/{name}', 'type out=DIR')
    return [*formats.written(write, selection, folder, options)]

  @asking.in_python()
  def atlas(
    self,
    out: str | pathlib.Path | None = None,
    *,
    contrast: float | int = 0.5,
  ) -> pathlib.Path:
    """Writes the site, and returns the path of its first page.

    Args:
      out: a folder; WORKDIR/atlas unless given.
      contrast: as of `vizjax.atlas.site.write`.

    Raises:
      UserError: the folder holds other files.
      OSError: it cannot be written.
    """
    number = isinstance(contrast, (int, float)) and not isinstance(
      contrast, bool
    )
    if not number or not 0 <= contrast <= 49:
      raise UserError(
        f'contrast= is {contrast!r:.60}, expected percent from 0 to 49: type '
        'contrast=0.5'
      )
    out = None if out is None else str(out)
    return site.write(self.workdir, contrast=contrast, out=out)

  @asking.in_python()
  def examples(
    self,
    photographs: Any,
    model: core.Model | str | None = None,
    *,
    k: int = 9,
    layers: str | Iterable[str] | None = None,
    limit: int | None = None,
    preprocess: str | None = None,
    batch: int = 32,
    trust: bool = False,
    quiet: bool = False,
  ) -> dict[str, search.Found]:
    """Finds the photographs that excite each unit of the sweep most.

    Args:
      photographs: a folder, 'tfds:NAME[:SPLIT]', or images [h, w, 3] of 0-255:
        an array [n, h, w, 3] or a list.
      model: of the sweep; unless given, the one that the workdir names.
      k: photographs of each unit.
      layers: 'conv3,conv5' or 'conv*'; all unless given.
      limit: only so many photographs, the first.
      preprocess: how they are made to fit; as the network wants unless given.
      batch: photographs computed at a time.
      trust: whether formulas of the workdir may call any function.
      quiet: whether no progress is shown.

    Returns:
      What was found of each layer, by its name.

    Raises:
      KeyboardInterrupt: it was stopped; the same call goes on from there.
      UserError: an argument does not suit, or the workdir names no network.
      OSError: a file cannot be read or written.
    """
    if limit is not None:
      errors.whole('limit=', limit, 1, advice=': type limit=1000')
    errors.whole('batch=', batch, 1, advice=': type batch=32')
    layers = None if layers is None else asking.layers_text(layers)
    if isinstance(photographs, os.PathLike):
      photographs = os.fspath(photographs)
    if not isinstance(photographs, str):
      if not isinstance(photographs, Iterable):
        raise UserError(
          f'photographs= is {photographs!r:.60}, expected a folder, or images '
          "[h, w, 3]: type 'DIR' or [image]"
        )
      photographs = datasets.of_arrays(photographs)
    if isinstance(model, str):
      model = models.load(model)
    plan = search.plan(
      self.workdir,
      photographs,
      k=k,
      layer=layers,
      preprocess=preprocess,
      limit=limit,
      trust=trust,
      model=model,
    )
    with (
      patience.patient() as stopped,
      progress.Bars(quiet=quiet, unit=' photographs') as bars,
    ):

      def report(now):
        bar = bars.of(now.what, total=now.count, initial=now.done)
        bar.update(now.done - bar.n)
        if stopped():
          raise KeyboardInterrupt

      search.search(plan, batch=batch, report=report)
    found = {name: search.read(self.workdir, name) for name in plan.scan.layers}
    return {name: one for name, one in found.items() if one is not None}

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
