"""Many small units through the store: files, bytes, seconds, memory."""

from collections.abc import Iterator
import os
import pathlib
import tempfile
import time

import jax
from ml_collections import config_dict
import numpy as np
import psutil

from vizjax import build
from vizjax import core
from vizjax.benchmark import measure
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables as tables_
from vizjax.sweeps import sweep

COUNT = 100_000
_PARTS = 5  # rows of the table


def tables() -> Iterator[measure.Table]:
  """The table of COUNT units, in a temporary directory."""
  with tempfile.TemporaryDirectory() as folder:
    yield through(COUNT, folder)


def wide(channels: int) -> core.Model:
  """A network of one convolution of 5 x 5 with so many channels."""
  table = tables_.sequence(tables_.conv('units', channels, 5, pad=2))
  _, shapes = layers.shapes(table, (12, 12, 3))
  draw = np.random.default_rng(0)
  params = jax.tree.map(
    lambda like: draw.standard_normal(like.shape, np.float32), shapes
  )
  return layers.model(
    table, params, mean=(128.0, 128.0, 128.0), input_shape=(12, 12, 3)
  )


def config(count: int) -> config_dict.ConfigDict:
  """Two steps of every unit, on the 5 x 5 pixels that it sees."""
  c = build.config()
  c.model = f'vizjax.benchmark.store.wide({count})'
  c.layer = 'units'
  c.optimizer = 'sgd(1.)'
  c.steps = 2
  c.batch = 64
  return c


def through(count: int, workdir: str) -> measure.Table:
  """A sweep of so many units; a row for each part of it.

  Args:
    count: of units.
    workdir: a new directory, which is left as the sweep leaves it.
  """
  c = config(count)
  process = psutil.Process()
  rows, began = [], time.perf_counter()
  marks = [round(count * (i + 1) / _PARTS) for i in range(_PARTS)]

  def report(progress):
    while marks and progress.runs >= marks[0]:
      took = time.perf_counter() - began
      megabytes = process.memory_info().rss / 1e6
      rows.append((marks.pop(0), round(took, 1), round(megabytes), '', ''))

  sweep.execute(sweep.plan(build.request(c)), workdir, report)
  files = [path for path in pathlib.Path(workdir).rglob('*') if path.is_file()]
  size = sum(os.path.getsize(path) for path in files)
  rows[-1] = (*rows[-1][:3], len(files), round(size / 1e6, 1))
  columns = ('units', 'seconds', 'MB of memory', 'files', 'MB on disk')
  return measure.Table(f'{count} small units through the store', columns, rows)
