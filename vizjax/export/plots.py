"""Plots of what happened on the way: score and norms against the step."""

from collections.abc import Iterator
import pathlib
from typing import Any

import numpy as np

from vizjax import files
from vizjax.errors import UserError
from vizjax.export import selecting

FORMATS = ('png', 'svg', 'pdf')

# Curves that a legend can tell apart.
_NAMED = 10

# The labels are true of every parameterization; the parameters of pixels are
# grey levels. The norm has no unit here: its term may be of the image, of its
# parameters or of a layer.
_LABELS = {
  'trace/score': 'score\n(units of the activation)',
  'trace/norm': 'norm',
  'trace/gradient_norm': 'gradient norm\n(score per unit of params)',
}


def plots(
  selection: selecting.Selection,
  out: pathlib.Path,
  *,
  plots_format: str = 'png',
) -> Iterator[pathlib.Path]:
  """A plot for each run, and <layer>_scores of all scores of a layer.

  A run's plot has its score, its norm if the run recorded one as `norm`, and
  the norm of its gradient, which is logarithmic where it spans two decades.

  Args:
    selection: of `select`.
    out: a folder.
    plots_format: png, svg or pdf.

  Raises:
    UserError: another format, or matplotlib is not installed.
  """
  if plots_format not in FORMATS:
    raise UserError(
      f'plots_format= is {plots_format!r}, expected one of '
      f'{", ".join(FORMATS)}: type plots_format=png'
    )
  selecting.library('matplotlib')
  for layer in selection.layers:
    names = [
      f'trace/{name}'
      for name in ('score', 'norm', 'gradient_norm')
      if f'trace/{name}' in layer.store.arrays
    ]
    scores = []
    for i, item in selecting.items(layer, 'step', *names):
      traces = {name: item[name] for name in names}
      figure = _run(
        traces, int(item['step']), _title(layer, i), selection.config
      )
      yield _written(figure, out, layer.stems[i], plots_format)
      scores.append(item['trace/score'])
    if scores:
      figure = _overview(scores, layer)
      stem = f'{layer.store.name}_scores'
      yield _written(figure, out, stem, plots_format)


def _run(
  traces: dict[str, np.ndarray],
  step: int,
  title: str,
  config: dict[str, Any],
):
  figure, panels = _figure(len(traces), 1 + 2 * len(traces))
  for axes, (name, trace) in zip(panels, traces.items(), strict=True):
    axes.plot(trace, marker=None if len(trace) > 30 else '.', linewidth=1)
    axes.set_ylabel(_LABELS[name])
    spread = trace[np.isfinite(trace) & (trace > 0)]
    if name == 'trace/gradient_norm' and len(spread):
      wide = spread.max() > 100 * spread.min()
      axes.set_yscale('log' if wide else 'linear')
  if 0 <= step < len(traces['trace/score']):
    score = traces['trace/score'][step]
    what = config['result']
    panels[0].plot(step, score, 'o', label=f'{what}: {score:.4g}, step {step}')
    panels[0].legend()
  panels[0].set_title(title)
  panels[-1].set_xlabel('step')
  return figure


def _overview(scores: list[np.ndarray], layer: selecting.Layer):
  figure, (axes,) = _figure(1, 5)
  few = len(scores) <= _NAMED
  for score, caption in zip(scores, layer.captions, strict=True):
    axes.plot(score, linewidth=1 if few else 0.5, label=caption)
  axes.set_title(f'{layer.name}, {len(scores)} images')
  axes.set_xlabel('step')
  axes.set_ylabel(_LABELS['trace/score'])
  if few:
    axes.legend(title=layer.subject)
  return figure


def _title(layer: selecting.Layer, place: int) -> str:
  caption = layer.captions[place]
  if layer.subject == 'layer':
    return caption
  return f'{layer.name}, {"unit " * (layer.subject == "unit")}{caption}'


def _figure(panels: int, height: int):
  """A figure that no window and no global state knows of, and its axes."""
  figures = selecting.library('matplotlib.figure')
  agg = selecting.library('matplotlib.backends.backend_agg')
  figure = figures.Figure(figsize=(6.4, height), layout='constrained')
  agg.FigureCanvasAgg(figure)
  axes = figure.subplots(panels, sharex=True, squeeze=False)[:, 0]
  for panel in axes:
    panel.grid(alpha=0.3)
    panel.margins(x=0.02)
  return figure, axes


def _written(
  figure, out: pathlib.Path, stem: str, plots_format: str
) -> pathlib.Path:
  path = selecting.made(out) / f'{stem}.{plots_format}'
  # Equal plots are equal files: no date, and in an SVG no random names.
  date = {'png': {}, 'svg': {'Date': None}, 'pdf': {'CreationDate': None}}
  names = {'svg.hashsalt': stem}
  matplotlib = selecting.library('matplotlib')
  with files.replacing(path) as partial, matplotlib.rc_context(names):
    figure.savefig(
      partial, format=plots_format, dpi=120, metadata=date[plots_format]
    )
  return path
