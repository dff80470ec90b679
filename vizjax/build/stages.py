"""The stages of a run: its sizes, a program for each, and what fits in memory.

  scales = stages.scales(config, model)
  found = stages.of(config, model, 'conv4', others, scales)

Without config.scales there is one stage.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import config_dict
import numpy as np

from vizjax import core
from vizjax import errors
from vizjax import scales as scales_
from vizjax.build import assemble
from vizjax.build import geometry as geometry_
from vizjax.build import outputs as outputs_
from vizjax.build import runs as runs_
from vizjax.build import vocabulary
from vizjax.errors import UserError
from vizjax.photographs import images

# What a tile takes in a step, over the bytes of its activations: measured on a
# CPU, 2.5 for conv4 of alexnet_features and 1.6 for conv4_2 of vgg16_features.
_TIMES = 2.5


class Stages(NamedTuple):
  """How runs are made.

  Attributes:
    programs: of each stage; the same one where a size comes again.
    scales: what is between them, or None where there is but one.
  """

  programs: tuple[assemble.Program, ...]
  scales: scales_.Scales | None = None


def scales(
  config: config_dict.ConfigDict, model: core.Model
) -> scales_.Scales | None:
  """The sizes that images are made at, if config.scales names some.

  Raises:
    UserError: config.shape is given besides, or a size is none.
    OSError: a photograph cannot be read.
  """
  if not config.scales.strip():
    return None
  if config.shape is not None:
    raise UserError(
      f'config.shape is {config.shape!r} and config.scales {config.scales!r}: '
      'expected one of them; the sizes are those of config.scales'
    )
  found = vocabulary.link(
    config, 'scales', {**vocabulary.knobs(config), 'model': model}
  )
  c = model.input_shape[2]
  return found._replace(
    photographs=tuple(
      one._replace(image=images.channels(one.image, c))
      for one in found.photographs
    )
  )


def last(
  config: config_dict.ConfigDict, scales: scales_.Scales | None
) -> config_dict.ConfigDict:
  """The configuration of the last stage: what a result is of."""
  return config if scales is None else _sized(config, scales.sizes[-1])


def of(
  config: config_dict.ConfigDict,
  model: core.Model,
  layer: str,
  others: Mapping[str, core.Model],
  scales: scales_.Scales | None,
  *,
  boxed: bool,
  runs: int,
) -> Stages:
  """The programs of some runs of a layer, one for each size.

  Args:
    config: the configuration.
    model: from `build.model`.
    layer: one of `build.layers`.
    others: from `build.networks`.
    scales: from `scales`.
    boxed: on the unit's receptive field, or on the whole image.
    runs: that a device works on at a time.
  """

  def program(config):
    made = assemble.program(config, model, layer, boxed=boxed, others=others)
    return _fitting(config, made, runs)

  if scales is None:
    return Stages((program(config),))
  sizes = dict.fromkeys(scales.sizes)
  programs = {size: program(_sized(config, size)) for size in sizes}
  return Stages(tuple(programs[size] for size in scales.sizes), scales)


def example(stages: Stages) -> dict[str, jax.ShapeDtypeStruct]:
  """What the target of the last stage holds besides that of its program."""
  if stages.scales is None:
    return {}
  program, photographs = stages.programs[-1], stages.scales.photographs
  model = program.recipe.model
  shape = (*program.geometry.canvas, model.input_shape[2])
  like = jax.ShapeDtypeStruct(shape, jnp.result_type(model.mean))
  names = ['start'] if photographs or len(stages.programs) > 1 else []
  names += ['reference'] if photographs else []
  return dict.fromkeys(names, like)


def frame_count(config: config_dict.ConfigDict, stages: Stages) -> int:
  """How many frames are kept of a run."""
  programs = stages.programs
  count = 0
  if config.save_every is not None:
    count += len(programs) * math.ceil(config.steps / config.save_every)
  if stages.scales is not None and stages.scales.film:
    count += sum(program is programs[-1] for program in programs)
  return count


def outputs(
  config: config_dict.ConfigDict,
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
  target = jax.tree.map(lambda a: a[0], program.target(runs, first))
  target |= example(stages)
  try:
    return outputs_.shapes(
      program.recipe,
      program.clean,
      program.result,
      target,
      steps=config.steps * len(stages.programs),
      keep=program.keep,
      robust=program.robust,
    )
  except TypeError as error:
    if errors.place(error):
      raise
    # Such as a size that is no whole number, deep inside JAX.
    why = str(error).splitlines()[0]
    raise UserError(f'the recipe does not run: {why}') from error


def _fitting(
  config: config_dict.ConfigDict, program: assemble.Program, runs: int
) -> assemble.Program:
  """The program with as many views at a time as config.memory allows."""
  unbounded = config.memory == math.inf or not vocabulary.tiled(config)
  if config.tile_batch is not None or unbounded:
    return program
  view = program.geometry.view
  acts = geometry_.activation_shapes(program.recipe.model, view).values()
  bytes_ = sum(act.size * act.dtype.itemsize for act in acts)
  need = _TIMES * runs * bytes_ / 1e9  # GB
  count = int(config.memory / need)
  if count < 1:
    raise UserError(
      f'config.memory is {config.memory:g} GB, but one tile of '
      f'{view[0]} x {view[1]} takes {need:.2g} GB for {runs} images at a time: '
      f'type --config.memory={math.ceil(need * 100) / 100:g}, a smaller '
      '--config.batch, or smaller tiles'
    )
  recipe, clean = (
    dataclasses.replace(one, tile_batch=count)
    for one in (program.recipe, program.clean)
  )
  return program._replace(recipe=recipe, clean=clean)


def _sized(
  config: config_dict.ConfigDict, size: tuple[int, int]
) -> config_dict.ConfigDict:
  copy = config.copy_and_resolve_references()
  with copy.unlocked():
    copy.shape = '{}x{}'.format(*size)
  return copy
