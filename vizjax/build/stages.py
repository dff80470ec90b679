"""The stages of a run: its sizes, a program for each, and what fits in memory.

  reads = stages.read(request, 'conv4')
  made = stages.of(request, reads, boxed=False, runs=8)

A request without scales has one stage.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vizjax import errors
from vizjax import scales as scales_
from vizjax.build import geometry as geometry_
from vizjax.build import outputs as outputs_
from vizjax.build import program as program_
from vizjax.build import requests
from vizjax.build import runs as runs_
from vizjax.errors import UserError

# What a tile takes in a step, over the bytes of its activations: measured on a
# CPU, 2.5 for conv4 of alexnet_features and 1.6 for conv4_2 of vgg16_features.
_TIMES = 2.5


class Stages(NamedTuple):
  """How runs are made.

  Attributes:
    programs: of each stage; the same one where a size comes again.
    scales: what is between them, or None where there is but one.
  """

  programs: tuple[program_.Program, ...]
  scales: scales_.Scales | None = None


def sized(request: requests.Request) -> list[requests.Request]:
  """Returns the request of each stage: the same, at its size."""
  if request.scales is None:
    return [request]
  return [
    dataclasses.replace(request, shape=size) for size in request.scales.sizes
  ]


def of(
  request: requests.Request,
  reads: Mapping[geometry_.Size | None, program_.Read],
  *,
  boxed: bool,
  runs: int,
) -> Stages:
  """The programs of some runs of a layer, one for each size.

  Args:
    request: what is wanted.
    reads: of the layer, by the shapes of `sized`.
    boxed: on the unit's receptive field, or on the whole image.
    runs: that a device works on at a time.
  """
  stages = sized(request)
  # The same program where a size comes again.
  programs = {
    shape: _fitting(stage, program_.of(stage, reads[shape], boxed=boxed), runs)
    for shape, stage in {stage.shape: stage for stage in stages}.items()
  }
  return Stages(
    tuple(programs[stage.shape] for stage in stages), request.scales
  )


def read(
  request: requests.Request, layer: str
) -> dict[geometry_.Size | None, program_.Read]:
  """Returns what the terms of a layer read, by the shape of each stage.

  The last is that of the result.
  """
  # Backwards, so that of sizes that come again the last occurrence counts.
  stages = {stage.shape: stage for stage in reversed(sized(request))}
  return {
    shape: program_.read(stage, layer)
    for shape, stage in reversed(stages.items())
  }


def frame_count(request: requests.Request, stages: Stages) -> int:
  """How many frames are kept of a run."""
  programs = stages.programs
  count = 0
  if request.save_every is not None:
    count += len(programs) * math.ceil(request.steps / request.save_every)
  if stages.scales is not None and stages.scales.film:
    count += sum(program is programs[-1] for program in programs)
  return count


def example(
  request: requests.Request,
  stages: Stages,
  runs: runs_.Runs,
  row: np.ndarray,
  stage: int,
) -> dict[str, Any]:
  """Returns the target of one run at a stage: arrays, or their shapes.

  Args:
    request: what is wanted.
    stages: how runs are made.
    runs: of the layer.
    row: [1] of the runs.
    stage: its number.
  """
  program = stages.programs[stage]
  names = program_.given(request, stage)
  target = jax.tree.map(lambda a: a[0], program.target(runs, row, names))
  model = program.recipe.model
  shape = (*program.geometry.canvas, model.input_shape[2])
  like = jax.ShapeDtypeStruct(shape, jnp.result_type(model.mean))
  return target | dict.fromkeys(names, like)


def outputs(
  request: requests.Request,
  stages: Stages,
  runs: runs_.Runs,
  boxed: bool,
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the arrays that a run gives, by name.

  Raises:
    UserError: the recipe does not run.
  """
  program = stages.programs[-1]
  first = np.flatnonzero(runs.boxed == boxed)[:1]
  target = example(request, stages, runs, first, len(stages.programs) - 1)
  steps = request.steps * len(stages.programs)
  try:
    return outputs_.shapes(program, target, steps=steps)
  except TypeError as error:
    if errors.place(error):
      raise
    # Such as a size that is no whole number, deep inside JAX.
    why = str(error).splitlines()[0]
    raise UserError(f'the recipe does not run: {why}') from error


def _fitting(
  request: requests.Request, program: program_.Program, runs: int
) -> program_.Program:
  """The program with as many views at a time as `memory` allows."""
  tiled = geometry_.tiled(program.geometry)
  if request.tile_batch is not None or request.memory == math.inf or not tiled:
    return program
  view = program.geometry.view
  bytes_ = sum(act.size * act.dtype.itemsize for act in program.acts.values())
  need = _TIMES * runs * bytes_ / 1e9  # GB
  count = int(request.memory / need)
  if count < 1:
    raise UserError(
      f'config.memory is {request.memory:g} GB, but one tile of '
      f'{view[0]} x {view[1]} takes {need:.2g} GB for {runs} images at a time: '
      f'type --config.memory={math.ceil(need * 100) / 100:g}, a smaller '
      '--config.batch, or smaller tiles'
    )
  recipe, clean = (
    dataclasses.replace(one, tile_batch=count)
    for one in (program.recipe, program.clean)
  )
  return program._replace(recipe=recipe, clean=clean)
