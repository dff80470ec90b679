"""`visualize` and `sweep`: one engine, with and without a workdir."""

from collections.abc import Iterable
import os
import pathlib
import tempfile
from typing import Any

from vizjax import core
from vizjax.errors import UserError
from vizjax.front import asking
from vizjax.front import images as images_
from vizjax.front import patience
from vizjax.front import results
from vizjax.sweeps import batches
from vizjax.sweeps import description
from vizjax.sweeps import sweep as sweep_


@asking.in_python()
def visualize(
  model: core.Model | str,
  layer: str,
  units: Any = None,
  recipe: asking.Recipe = None,
  *,
  quiet: bool = False,
  **knobs: Any,
) -> images_.Images:
  """Makes the preferred images of units of a layer, and returns them.

    images = vizjax.visualize(model, 'conv5', units=range(16))
    images.image                                # [16, h, w, 3], of 0-255

  Nothing is kept on disk: `sweep` is for what takes hours. Ctrl-C, or the stop
  button of a notebook, ends it with the images as they are.

  Args:
    model: a network, or the name of one that `vizjax.load` knows.
    layer: its name.
    units: None for all, each at the centre of the map; 9, [3, 7], range(16),
      vizjax.Unit(3, 6, 6), names of classes, or a list of these.
    recipe: how they are made: None for Fourier images under jitter, on what
      each unit sees; the name of a recipe, as 'olah2017' or 'yosinski2015:3'; a
      config; or a function (model, layer) -> vizjax.Recipe or vizjax.Method.
    quiet: whether no progress is shown.
    knobs: of the recipe, as steps=256. Without a recipe, or with a function:
      attributes of `build.Request` such as steps, sign, replicates, seed,
      shape, box, batch; without a recipe also objective=, a term or a function
      that makes one for a layer.

  Raises:
    UserError: an argument is of another kind, or does not suit another.
    KeyboardInterrupt: it was stopped before the first step was made.
    OSError: a file cannot be read.
  """
  if not isinstance(layer, str):
    raise UserError(
      f'layer= is {layer!r:.60}, expected the name of one layer: type '
      "'conv5', or vizjax.sweep(model, layers, workdir='DIR') for several"
    )
  request = asking.request(model, layer, units, recipe, knobs)
  if len(request.layers) != 1:
    raise UserError(
      f'layer= is {layer!r}, which is {len(request.layers)} layers, expected '
      "one: type vizjax.sweep(model, layers, workdir='DIR') for several"
    )
  plan = sweep_.plan(request)
  with tempfile.TemporaryDirectory(prefix='vizjax-') as folder:
    with (
      patience.patient() as stopped,
      description.progress(plan, quiet=quiet) as show,
    ):

      def report(now):
        show(now)
        if stopped():
          raise batches.Enough

      try:
        sweep_.execute(plan, folder, report, goes_on=False)
      except batches.Enough:
        pass
    images = results.read(folder, request.layers[0])
  if stopped() and not images.made.any():
    raise KeyboardInterrupt
  return images


@asking.in_python()
def sweep(
  model: core.Model | str,
  layers: str | Iterable[str],
  units: Any = None,
  recipe: asking.Recipe = None,
  *,
  workdir: str | pathlib.Path,
  quiet: bool = False,
  allow_versions: bool = False,
  **knobs: Any,
) -> results.Results:
  """Makes the images of many units into a workdir, and opens it.

    results = vizjax.sweep(model, 'conv*', recipe='olah2017', workdir='DIR')

  The same call goes on after an interruption, and makes what is missing where
  it asks for more units, layers or replicates.

  Args:
    model: as of `visualize`.
    layers: a name, a list of names, 'conv3,conv5', or 'conv*'.
    units: as of `visualize`, of every layer.
    recipe: as of `visualize`.
    workdir: a new folder, or one of an earlier call; or gs://BUCKET/PATH.
    quiet: whether no progress is shown.
    allow_versions: go on in a workdir that other versions of vizjax, JAX or
      optax made.
    knobs: as of `visualize`.

  Raises:
    KeyboardInterrupt: it was stopped; the same call goes on from there.
    UserError: an argument is of another kind, or the workdir is of other
      images.
    OSError: a file cannot be read or written.
  """
  if not isinstance(workdir, str | os.PathLike):
    raise UserError(
      f"workdir= is {workdir!r:.60}, expected a folder: type workdir='DIR'"
    )
  plan = sweep_.plan(asking.request(model, layers, units, recipe, knobs))
  workdir = os.fspath(workdir)
  with (
    patience.patient() as stopped,
    description.progress(plan, quiet=quiet) as show,
  ):

    def report(now):
      if stopped():
        raise KeyboardInterrupt
      show(now)

    sweep_.execute(plan, workdir, report, allow_versions=allow_versions)
  return results.open(workdir)
