"""Digests of what images are made from: a resume compares them.

config.json (format 2) keeps under 'digests':

  request    of the knobs, without those that may change or grow
  weights    of the parameters of all networks
  data       of photographs and of the files that formulas name
  constants  {layer: {place: ...}}, of the arrays that terms, transforms,
             projections and networks close over
  program    {layer: {place: ...}}, of the lowered text of the layer's programs

A place is whether runs are boxed, the platform, and the versions that decide
the text (`store.PINNED`): the digests of another place say nothing, so that a
layer gets new ones there. The rules of the first three are part of the format:
other rules need another format.
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
}


class LayerDigests(NamedTuple):
  """The digests of the programs of a layer's runs that share a geometry."""

  constants: str
  program: str


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


def of_layer(
  request: build.Request,
  kinds: Mapping[bool, stages_.Stages],
  runs: runs_.Runs,
) -> dict[str, LayerDigests]:
  """Returns {place: digests} of the programs of a layer; computes no image.

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
  found = {}
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
      for leaf in _leaves(program):
        _add(constants, leaf)
      for traced in _traced(program, target, request.robust_draws):
        for constant in reach.constants(traced.jaxpr):
          _add(constants, constant)
        text.update(traced.lower().as_text().encode())
    found[_place(boxed)] = LayerDigests(constants.hexdigest(), text.hexdigest())
  return found


def known(workdir: str, layer: str) -> bool:
  """Returns whether config.json holds digests of the programs of a layer."""
  there = store.read_config(workdir).get('digests', {})
  return layer in there.get('program', {})


def compare(
  workdir: str, layer: str, found: Mapping[str, LayerDigests]
) -> None:
  """Refuses to go on with a layer that other programs made.

  Args:
    workdir: where.
    layer: its name.
    found: from `of_layer`.

  Raises:
    UserError: it names the digest that differs.
  """
  there = store.read_config(workdir).get('digests', {})
  for place, digests in found.items():
    for name, digest in digests._asdict().items():
      if there.get(name, {}).get(layer, {}).get(place, digest) != digest:
        made_by, why = _CAUSES[name]
        raise UserError(
          f'layer {layer!r} of workdir {workdir!r} was made by {made_by} '
          f'(digest {name!r}): {why}; type --workdir=ANOTHER, a new folder'
        )


def keep(workdir: str, layer: str, found: Mapping[str, LayerDigests]) -> None:
  """Writes the digests of a layer into config.json, where it lacks them.

  Raises:
    UserError: config.json holds others.
  """

  def edit(content):
    there = json.loads(content)
    for place, digests in found.items():
      for name, digest in digests._asdict().items():
        of_layer = there['digests'][name].setdefault(layer, {})
        of_layer.setdefault(place, digest)
    return (json.dumps(there, indent=2) + '\n').encode()

  there = store.read_config(workdir)
  if store.format_of(there) == 1:
    return
  if not found.keys() <= there['digests']['program'].get(layer, {}).keys():
    folders.change(folders.File(workdir, store.CONFIG), edit)
  # Another process may have been quicker.
  compare(workdir, layer, found)


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

  def finish(recipes, state, target):
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
