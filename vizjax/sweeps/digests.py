"""Digests of what images are made from: a resume compares them.

config.json (format 2) keeps under 'digests':

  request    of the knobs, without those that may change or grow
  weights    of the parameters of all networks
  data       of photographs and of the files that formulas name
  constants  {layer: {place: ...}}, of the arrays that terms, transforms,
             projections and networks close over
  program    {layer: {place: ...}}, of the lowered text of the layer's programs
  arrays     {layer: {name: sketch}}, of the data of the layer's first run

A place is whether runs are boxed, the platform, and the versions that decide
the text (`store.PINNED`): the digests of another place say nothing, so that a
layer gets new ones there. The rules of the others are part of the format: other
rules need another format.

Activations of a photograph differ in their last digits between processors. So
arrays that are computed are kept as a few numbers, and compared to one part in
a thousand; the bytes of files are compared exactly.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
import dataclasses
import hashlib
import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import PyTree
import numpy as np

from vizjax import build
from vizjax import core
from vizjax import metrics
from vizjax.build import outputs
from vizjax.build import program as program_
from vizjax.build import reach
from vizjax.build import runs as runs_
from vizjax.build import stages as stages_
from vizjax.errors import UserError
from vizjax.photographs import files
from vizjax.sweeps import provenance
from vizjax.workdir import folders
from vizjax.workdir import store

# Why the digest of a layer may be another one, for messages.
_CAUSES = {
  'constants': (
    'other constants',
    'an array that a term, a transform, a projection or the network closes '
    'over has changed',
  ),
  'program': (
    'another program',
    'the code of a term, a transform, a projection, the optimizer or the '
    'network has changed',
  ),
  'arrays': ('other data', '{0} is another array'),
}


# Angles between neighbouring numbers of the waves that a sketch is made with.
_ANGLES = (1.0, 2.0, 3.0)  # `store.SKETCH` counts these and the length

# How much of its length a sketch may differ by.
_TOLERANCE = 1e-3


class LayerDigests(NamedTuple):
  """What a layer is made from, of its first runs.

  Attributes:
    constants: {place: digest} of arrays that the programs close over.
    program: {place: digest} of their lowered text.
    arrays: {name: sketch} of the data of a run.
  """

  constants: dict[str, str]
  program: dict[str, str]
  arrays: dict[str, list[float]]


def request(config: Mapping[str, Any], free: Collection[str]) -> str:
  """Returns the digest of the knobs that are plain data.

  Args:
    config: {knob: value}. A function counts as None: the digests of the
      layers hold its code.
    free: knobs that may grow, besides `store.FREE`.
  """
  fixed = {n: v for n, v in config.items() if n not in {*store.FREE, *free}}
  text = json.dumps(fixed, sort_keys=True, default=lambda value: None)
  return hashlib.sha256(text.encode()).hexdigest()


def weights(networks: Iterable[core.Model]) -> str:
  """Returns the digest of the parameters, means and scales of networks."""
  digest = hashlib.sha256()
  for network in networks:
    for path, leaf in jax.tree_util.tree_leaves_with_path(network):
      digest.update(jax.tree_util.keystr(path).encode())
      _add(digest, leaf)
  return digest.hexdigest()


def data(strings: Iterable[str], arrays: Iterable[ArrayLike]) -> str:
  """Returns the digest of files and arrays.

  Files are in the order of their names, so that two files that change places
  are other data; the names themselves do not count.

  Args:
    strings: those that functions of formulas are given. Some name files, as
      'a.jpg', 'a.jpg,b.jpg', 'a.jpg+b.jpg' or 'DIR/*.jpg'; others are passed
      over.
    arrays: photographs that images start from.
  """
  digest = hashlib.sha256()
  for array in arrays:
    _add(digest, array)
  for name in sorted({name for string in strings for name in named(string)}):
    path = pathlib.Path(name).expanduser()
    if path.is_file():
      with path.open('rb') as file:
        digest.update(hashlib.file_digest(file, 'sha256').digest())
  return digest.hexdigest()


def named(string: str) -> list[str]:
  """Returns a string, and the names of files that it may stand for."""
  try:
    listed = files.listed(string)
  except UserError:
    return [string]
  return [string, *(part for name in listed for part in files.blended(name))]


def sketch(array: ArrayLike) -> list[float]:
  """Returns a few numbers that tell an array from others.

  Its shape, its length, and its products with three waves: all are equal to
  one part in a thousand of the length where the arrays are.
  """
  flat = np.asarray(array, np.float64).ravel()
  flat = np.where(np.isfinite(flat), flat, 0)  # a hole in a photograph is NaN
  places = np.arange(flat.size)
  waves = (float(flat @ np.cos(angle * places)) for angle in _ANGLES)
  length = float(np.linalg.norm(flat))
  return [*map(float, np.shape(array)), length, *waves]


def of_layer(
  request: build.Request,
  kinds: Mapping[bool, stages_.Stages],
  runs: runs_.Runs,
) -> LayerDigests:
  """Returns the digests of a layer; computes no image.

  The programs are those of one run, so that the digests do not depend on the
  batch, on devices, or on which runs are asked for.

  Args:
    request: what is wanted.
    kinds: the stages, by whether runs are boxed.
    runs: the runs of the layer.
  """
  # Runs may differ in the shapes of their data: the first channel is always
  # there.
  first = runs._replace(channel=np.zeros_like(runs.channel))
  found = LayerDigests({}, {}, {})
  for boxed, stages in kinds.items():
    rows = np.flatnonzero(runs.boxed == boxed)[:1]
    constants, text = hashlib.sha256(), hashlib.sha256()
    seen = set()
    for i, program in enumerate(stages.programs):
      # A program is another one where it starts from the image before.
      if (id(program), i > 0) in seen:
        continue
      seen.add((id(program), i > 0))
      target = stages_.example(request, stages, first, rows, i)
      found.arrays.update(_sketches(boxed, i, target))
      for leaf in _leaves(program):
        _add(constants, leaf)
      for traced in _traced(program, target, request.robust_draws):
        for constant in reach.constants(traced.jaxpr):
          _add(constants, constant)
        text.update(traced.lower().as_text().encode())
    found.constants[_place(boxed)] = constants.hexdigest()
    found.program[_place(boxed)] = text.hexdigest()
  return found


def known(workdir: str, layer: str) -> bool:
  """Returns whether config.json holds digests of the programs of a layer."""
  there = store.read_config(workdir).get('digests', {})
  return layer in there.get('program', {})


def compare(workdir: str, layer: str, found: LayerDigests) -> None:
  """Refuses to go on with a layer that other programs made, or of other data.

  Args:
    workdir: where.
    layer: its name.
    found: from `of_layer`.

  Raises:
    UserError: it names the digest that differs.
  """
  there = store.read_config(workdir).get('digests', {})
  for name, digests in found._asdict().items():
    of_layer = there.get(name, {}).get(layer, {})
    for place, digest in digests.items():
      if place in of_layer and not _same(of_layer[place], digest):
        made_by, why = _CAUSES[name]
        raise UserError(
          f'layer {layer!r} of workdir {workdir!r} was made by {made_by} '
          f'(digest {name!r}): {why.format(place)}; type '
          '--workdir=ANOTHER, a new folder'
        )


def keep(workdir: str, layer: str, found: LayerDigests) -> None:
  """Writes the digests of a layer into config.json, where it lacks them.

  Raises:
    UserError: config.json holds others.
  """

  def edit(content):
    there = json.loads(content)
    for name, digests in found._asdict().items():
      of_layer = there['digests'].setdefault(name, {}).setdefault(layer, {})
      of_layer.update({**digests, **of_layer})
    return (json.dumps(there, indent=2) + '\n').encode()

  there = store.read_config(workdir)
  if store.format_of(there) == 1:
    return
  known = there['digests'].get('program', {}).get(layer, {})
  if not found.program.keys() <= known.keys():
    folders.change(folders.File(workdir, store.CONFIG), edit)
  # Another process may have been quicker.
  compare(workdir, layer, found)


def _same(there: str | list[float], found: str | list[float]) -> bool:
  if isinstance(there, str) or isinstance(found, str):
    return there == found
  if len(there) != len(found):
    return False
  n = len(there) - store.SKETCH
  near = _TOLERANCE * abs(there[n])
  alike = np.allclose(there[n:], found[n:], rtol=0, atol=near)
  return bool(alike) and there[:n] == found[:n]


def _sketches(
  boxed: bool, stage: int, target: core.Target
) -> Iterator[tuple[str, list[float]]]:
  """Yields the name and the sketch of every array of a run's data."""
  data = {n: v for n, v in target.items() if n not in ('unit', 'sign')}
  kind = 'boxed' if boxed else 'whole'
  for path, leaf in jax.tree_util.tree_leaves_with_path(data):
    # What a stage is given by the stage before is no data.
    if not isinstance(leaf, jax.ShapeDtypeStruct):
      name = jax.tree_util.keystr(path, simple=True, separator='/')
      yield f'{name}, {kind}, size {stage}', sketch(leaf)


def _place(boxed: bool) -> str:
  """Returns what the text of a program depends on besides what is run."""
  versions = provenance.versions()
  pinned = [f'{name} {versions[name]}' for name in store.PINNED]
  kind = 'boxed' if boxed else 'whole'
  return ', '.join([kind, jax.default_backend(), *pinned])


def _traced(
  program: program_.Program, target: core.Target, draws: int
) -> Iterator[jax.stages.Traced]:
  """Yields the start, a step and the end of one run, and the network.

  The network is left out of the first three, and given by itself without its
  derivative: of GoogLeNet that of every convolution takes half a second.
  """
  recipes = tuple(
    recipe and dataclasses.replace(recipe, tile_batch=None)
    for recipe in outputs.hollow(program)
  )

  def start(recipes, target, key):
    return core.init(recipes[0], target, key)

  def step(recipes, state, target, key):
    return core.advance(recipes[0], state, target, key)

  def finish(recipes: outputs.Recipes, state, target):
    further = (draws, program.result, program.keep)
    return outputs.finish(*recipes, *further, state, target)

  def alone(function, *run):
    # A run alone has the axis on which terms compare the images of a unit.
    axes = (None, *[0] * len(run))
    mapped = jax.vmap(function, axes, axis_name=metrics.REPLICATE)
    return jax.jit(mapped).trace(recipes, *run)

  target, key = jax.tree.map(_one, (target, core.key(0)))
  yield (begun := alone(start, target, key))
  state = jax.tree.map(_like, begun.out_info)
  yield alone(step, state, target, key)
  yield alone(finish, state, target)
  model = program.recipe.model
  shape = (*program.geometry.view, model.input_shape[2])
  image = jax.ShapeDtypeStruct(shape, jnp.result_type(model.mean))
  yield jax.jit(model.apply).trace(model.params, image)


def _one(leaf: Any) -> jax.ShapeDtypeStruct:
  """Returns the shape of an array of one run, as a batch of one."""
  return jax.ShapeDtypeStruct((1, *np.shape(leaf)), jnp.result_type(leaf))


def _like(leaf: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _leaves(program: program_.Program) -> list[Any]:
  """Returns the arrays that recipes carry besides those of the network."""
  carried = [
    (recipe.parameterization, recipe.transforms, recipe.projections)
    for recipe in (program.recipe, program.clean, program.robust)
    if recipe is not None
  ]
  # The recipes of a program share most of them.
  return [*{id(leaf): leaf for leaf in jax.tree.leaves(carried)}.values()]


def _add(digest: Any, array: PyTree) -> None:
  """Adds an array to a digest: dtype, shape and bytes."""
  if jnp.issubdtype(jnp.result_type(array), jax.dtypes.prng_key):
    array = jax.random.key_data(array)
  array = np.asarray(array)
  digest.update(f'{array.dtype.name} {array.shape}'.encode())
  digest.update(np.ascontiguousarray(array))
