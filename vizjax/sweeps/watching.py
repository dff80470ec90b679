"""How far a run is, while it runs: numbers, pictures, a window, a plot.

  watch = watching.watcher(plan, workdir)
  sweep.execute(plan, workdir, watch=watch)

Every config.every steps of a size, by config.show, in the manner of cnn-vis:

  print      the records of each run, a line each
  save       WORKDIR/shown/<run>_<size>_<step>.png, sizes from 1
  show       the image in a window, where there is a display
  plot_pix   WORKDIR/shown/<run>_pixels.png: four pixels over time

<run> is <layer>_<channel>, and more where that is not all: `runs.stem`.
Pictures are as the program shows them: those of cnn-vis have more contrast
than the stored image.
"""

from collections.abc import Callable
import functools
import math
import pathlib
import sys
from typing import Any

import numpy as np
import tqdm

from vizjax import build
from vizjax import files
from vizjax.build import runs
from vizjax.build import stages
from vizjax.errors import UserError
from vizjax.photographs import images
from vizjax.programs import cnn_vis
from vizjax.sweeps import batches
from vizjax.sweeps import sweep
from vizjax.workdir import folders

WAYS = ('print', 'save', 'show', 'plot_pix')
FOLDER = 'shown'

_COLORS = ('red', 'green', 'blue')

# Backends of matplotlib that have no window.
_BLIND = ('agg', 'pdf', 'ps', 'svg', 'cairo', 'template')


def watcher(
  plan: sweep.Plan, workdir: str
) -> Callable[[sweep.LayerPlan, batches.Status], None] | None:
  """What `sweep.execute` calls; None where config.every is None.

  Raises:
    UserError: config.show names no way, or one that cannot be gone.
  """
  request = plan.request
  if request.every is None:
    return None
  ways = [way.strip() for way in request.show.split('+')]
  for way in ways:
    if way not in WAYS:
      raise UserError(
        f'config.show is {request.show!r}, expected some of {WAYS}, as '
        'print+save'
      )
  if {'save', 'plot_pix'} & set(ways):
    folders.local(workdir, 'type --config.show=print')
  if 'plot_pix' in ways:
    _library('matplotlib')
    for p in plan.layers:
      if 'trace/pixels' not in p.array_specs:
        raise UserError(
          "config.show is 'plot_pix', but no pixels are recorded: expected "
          '--config.procedure=cnn_vis(...), which records them'
        )
  shown: dict[str, Callable] = {
    'print': functools.partial(_print, request),
    'save': functools.partial(_save, request, workdir),
    'plot_pix': functools.partial(_plot, request, workdir),
  }
  if 'show' in ways:
    shown['show'] = _window()

  def watch(p, status):
    for way in ways:
      shown[way](p, status)

  return watch


def _print(request: build.Request, p: sweep.LayerPlan, status) -> None:
  each = _stages(p, status)
  h, w = each.programs[status.stage].geometry.canvas
  traces = {n: t for n, t in status.trace().items() if t.ndim == 2}
  names = sorted(traces, key=lambda name: (name != 'score', name))
  for row, stem in enumerate(_stems(request, p, status.rows)):
    records = [f'{name} {traces[name][row, -1]:.6g}' for name in names]
    tqdm.tqdm.write(
      f'{stem}: size {status.stage + 1}/{len(each.programs)}, {h}x{w}, step '
      f'{status.step}/{request.steps}: {", ".join(records)}',
      file=sys.stdout,
    )


def _save(
  request: build.Request, workdir: str, p: sweep.LayerPlan, status
) -> None:
  folder = _folder(workdir)
  stems = _stems(request, p, status.rows)
  for stem, picture in zip(stems, _pictures(p, status), strict=True):
    name = f'{stem}_{status.stage + 1}_{status.step}.png'
    images.write(folder / name, picture)


def _plot(
  request: build.Request, workdir: str, p: sweep.LayerPlan, status
) -> None:
  folder = _folder(workdir)
  histories = status.trace()['pixels']  # [b, steps, 4, c]
  stems = _stems(request, p, status.rows)
  for stem, history in zip(stems, histories, strict=True):
    figure = _library('matplotlib.figure').Figure(layout='constrained')
    _library('matplotlib.backends.backend_agg').FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharex=True).flat
    titles = [f'row {y}, column {x}' for y, x in cnn_vis.PIXELS]
    for axes, title, pixel in zip(
      panels, titles, history.swapaxes(0, 1), strict=True
    ):
      for color, channel in zip(_COLORS, pixel.T, strict=True):
        axes.plot(channel, color=color, linewidth=1)
      axes.set_title(title, fontsize='small')
      axes.set_xlabel('step')
      axes.set_ylabel('grey levels from the mean')
    with files.replacing(folder / f'{stem}_pixels.png') as partial:
      figure.savefig(partial, format='png', metadata={})


def _window() -> Callable[[sweep.LayerPlan, batches.Status], None]:
  """A window with the images of a batch; nothing without a display."""
  pyplot = _library('matplotlib.pyplot')
  backend = pyplot.get_backend().lower()
  if backend in _BLIND:
    print('config.show: there is no display for a window', file=sys.stderr)
    return lambda p, status: None
  figure = pyplot.figure()

  def show(p, status):
    pictures = _pictures(p, status)
    figure.clear()
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    for i, picture in enumerate(pictures, 1):
      axes = figure.add_subplot(rows, columns, i)
      axes.imshow(images.to_uint8(picture))
      axes.axis('off')
    pyplot.pause(0.01)

  return show


def _pictures(p: sweep.LayerPlan, status: batches.Status) -> list[np.ndarray]:
  """The images of a batch as the program shows them."""
  each = _stages(p, status)
  found = [images.rgb(image) for image in status.images()]
  return found if each.scales is None else [*map(each.scales.shown, found)]


def _stages(p: sweep.LayerPlan, status: batches.Status) -> stages.Stages:
  return p.stages[bool(p.runs.boxed[status.rows[0]])]


def _stems(
  request: build.Request, p: sweep.LayerPlan, rows: np.ndarray
) -> list[str]:
  table = p.runs
  named = {'units': request.units, 'replicates': request.replicates}
  return [
    runs.stem(
      table.layer, table.channel[row], table.y[row], table.x[row],
      table.replicate[row], table.sign[row], named, p.subject,
    )
    for row in rows
  ]  # fmt: skip


def _folder(workdir: str) -> pathlib.Path:
  folder = pathlib.Path(workdir).expanduser() / FOLDER
  folder.mkdir(exist_ok=True)
  return folder


def _library(name: str) -> Any:
  return files.library(name, 'export', 'plots and windows are made by')
