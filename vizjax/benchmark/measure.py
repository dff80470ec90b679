"""How fast a step is, beside what the device can do.

  ceiling = matmul_rate('float32')                  # multiply-adds count twice
  row = measured(Case('alexnet_features', 'conv5', batch=16))

Everything is measured in one process, one after the other and on one device,
for only ratios of one run mean something. Weights do not matter and may be
random ones.
"""

from collections.abc import Callable
import dataclasses
import math
import statistics
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vizjax import core
from vizjax import models
from vizjax import objectives
from vizjax import parameterizations
from vizjax.build import geometry
from vizjax.errors import UserError
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables
from vizjax.sweeps import capacity
from vizjax.sweeps import parallel

# Seconds that a measurement takes at least, times that it is repeated, and
# seconds after which it is not.
_LONG_ENOUGH = 0.5
_TIMES = 5
_TOO_LONG = 10.0

# The kinds of layers that do the arithmetic.
_COUNTED = ('conv', 'fc')


class Case(NamedTuple):
  """What is measured.

  Attributes:
    network: a name of vizjax.models.NAMES.
    layer: whose channels are excited.
    batch: images at a time.
    boxed: on the receptive field of a unit, or on the whole image.
    compute: dtype of the network; image and optimizer are float32.
    size: height and width of the image; None for the network's own.
  """

  network: str
  layer: str
  batch: int = 16
  boxed: bool = False
  compute: str = 'float32'
  size: int | None = None


class Table(NamedTuple):
  """Numbers with names, for people and programs."""

  title: str
  columns: tuple[str, ...]
  rows: list[tuple[Any, ...]]


class Row(NamedTuple):
  """What was measured.

  Attributes:
    case: of what.
    size: height and width of the image.
    step: seconds of a step of the batch.
    network: seconds of the network alone, forward and gradient.
    gflop: of a step of one image: the network's products and sums.
    compile: seconds of the first step beyond those of another.
    memory: bytes of the compiled step besides its arguments, if known.
  """

  case: Case
  size: tuple[int, int]
  step: float
  network: float
  gflop: float
  compile: float
  memory: int | None

  @property
  def image_steps(self) -> float:
    """Images times steps in a second."""
    return self.case.batch / self.step

  @property
  def gflops(self) -> float:
    """10^9 products and sums in a second, of the whole step."""
    return self.gflop * self.image_steps


def markdown(table: Table) -> str:
  """A table in Markdown."""
  lines = [f'**{table.title}**', '']
  shown = [['' if x is None else str(x) for x in row] for row in table.rows]
  for row in (table.columns, ['---'] * len(table.columns), *shown):
    lines.append(f'| {" | ".join(row)} |')
  return '\n'.join(lines)


def short(number: float | None) -> float | None:
  """Three digits of a number."""
  return None if number is None else float(f'{number:.3g}')


def network(case: Case) -> core.Model:
  """The network of a case, with its own weights or, if need be, random ones.

  Raises:
    UserError: the layer has no box, or one larger than the image, which is
      then not used.
  """
  packaged = case.network in ('alexnet_features', 'vgg16_features')
  model = models.load(case.network) if packaged else random(case.network)
  model = models.cut(model, (case.layer,))
  if case.boxed:
    whole, model = model, models.boxed(model, case.layer)
    (h, w, _), (height, width, _) = model.input_shape, whole.input_shape
    if h > height or w > width:
      raise UserError(
        f'a unit sees {h}x{w} pixels, the image has {height}x{width}'
      )
  elif case.size is not None:
    shape = (case.size, case.size, model.input_shape[2])
    model = dataclasses.replace(model, input_shape=shape)
  return models.computed_in(model, case.compute)


def random(name: str, seed: int = 0) -> core.Model:
  """Returns a published network with random weights, as He et al. 2015 scale.

  Raises:
    UserError: the network is not one that `models.described` knows.
  """
  described = models.described(name)
  _, shapes = layers.shapes(described.table, described.input_shape)
  draw = np.random.default_rng(seed)

  def weight(like):
    fan_in = math.prod(like.shape[:-1]) if len(like.shape) > 1 else 1
    scale = math.sqrt(2 / fan_in) if len(like.shape) > 1 else 0
    return scale * draw.standard_normal(like.shape, np.float32)

  return layers.model(
    described.table,
    jax.tree.map(weight, shapes),
    mean=described.mean,
    input_shape=described.input_shape,
  )


def gflop(model: core.Model, layer: str) -> float:
  """10^9 products and sums of a forward pass to a layer, and as many back."""
  table = model.apply.network.table
  needed = {row.name for row in tables.cut(table, (layer,))}
  acts = geometry.activation_shapes(model)
  total = 0
  for row in table:
    if row.kind in _COUNTED and row.name in needed:
      kernel = model.params[row.name]['kernel']
      out = acts[row.name].shape
      positions = math.prod(out[:-1])
      total += 2 * positions * kernel.size
  return 2 * total / 1e9


def matmul_rate(dtype: str, size: int = 2048) -> float:
  """10^9 products and sums in a second, of two square matrices."""
  a = jnp.ones((size, size), dtype)
  product = jax.jit(lambda a, b: a @ b)
  return 2 * size**3 / seconds(lambda: product(a, a)) / 1e9


def measured(case: Case) -> Row:
  """Time, memory and rate of a case.

  Raises:
    UserError: the layer is not in the network or not to be boxed, or there
      is not enough memory.
  """
  recipe, units = prepared(case)
  model = recipe.model
  memory = _memory(recipe, units)
  free = capacity.available()
  if None not in (memory, free) and memory > free:
    raise UserError(
      f'takes {memory / 1e9:.3g} GB of memory, {free / 1e9:.3g} GB are free'
    )
  step = ascent(recipe, recipe, units)
  first, each = once(step), seconds(step)
  h, w, _ = model.input_shape
  return Row(
    case,
    (h, w),
    each,
    _network_seconds(model, case, units),
    gflop(model, case.layer),
    max(0.0, first - each),
    memory,
  )


def prepared(case: Case) -> tuple[core.Recipe, core.Unit]:
  """Ascent on pixels, and a unit in the middle of the layer for each image.

  Raises:
    UserError: the layer is not in the network, or not to be boxed.
  """
  model = network(case)
  recipe = core.Recipe(
    model,
    parameterizations.pixels(model),
    objectives.neuron(case.layer),
    optax.sgd(1.0),
  )
  return recipe, _units(model, case)


def ascent(
  recipe: core.Recipe, clean: core.Recipe, units: core.Unit
) -> Callable[..., Any]:
  """Runs for units, side by side on one device; step(n) makes n steps of all.

  The first call compiles.
  """
  kind = jax.sharding.AxisType.Auto
  mesh = jax.make_mesh(
    (1,), (parallel.UNIT,), (kind,), devices=jax.local_devices()[:1]
  )
  runner = parallel.runner(recipe, clean, 'best', mesh)
  spread = jax.sharding.PartitionSpec(parallel.UNIT)
  batch = {'unit': units}, _keys(units)
  targets, keys = jax.device_put(
    batch, jax.sharding.NamedSharding(mesh, spread)
  )
  box = [runner.start(targets, keys)]  # a state that is passed in is used up
  jax.block_until_ready(box[0])

  def step(steps=1):
    box[0], trace = runner.advance(box[0], targets, keys, steps=steps)
    return trace

  return step


def once(function: Callable[[], Any]) -> float:
  """Seconds of one call."""
  start = time.perf_counter()
  jax.block_until_ready(function())
  return time.perf_counter() - start


def seconds(function: Callable[[], Any]) -> float:
  """The median time of a call, repeated until it can be told."""
  return alternately(function)[0]


def alternately(*functions: Callable[[], Any]) -> list[float]:
  """The median time of a call of each, in turn: what else runs slows all."""
  for function in functions:
    jax.block_until_ready(function())
  rounds, began = [], time.perf_counter()
  while True:
    rounds.append([once(function) for function in functions])
    spent = (time.perf_counter() - began) / len(functions)
    if spent > _TOO_LONG or spent > _LONG_ENOUGH and len(rounds) >= _TIMES:
      return [statistics.median(times) for times in zip(*rounds, strict=True)]


def _units(model: core.Model, case: Case) -> core.Unit:
  act = geometry.activation_shapes(model)[case.layer].shape
  y, x = (act[0] // 2, act[1] // 2) if len(act) == 3 else (0, 0)
  channels = np.arange(case.batch, dtype=np.int32) % act[-1]
  full = np.ones_like(channels)
  return core.Unit(channels, y * full, x * full)


def _keys(units: core.Unit) -> Any:
  count = len(units.channel)
  return jax.vmap(jax.random.key)(np.arange(count, dtype=np.uint32))


def _network_seconds(model: core.Model, case: Case, units: core.Unit) -> float:
  term = objectives.neuron(case.layer)

  def score(model, image, unit):
    return term(model(image), {'unit': unit})

  def slopes(model, images, units):
    return jax.vmap(jax.grad(score, 1), (None, 0, 0))(model, images, units)

  images = jnp.zeros((case.batch, *model.input_shape), jnp.float32)
  compiled = jax.jit(slopes)
  return seconds(lambda: compiled(model, images, units))


def _memory(recipe: core.Recipe, units: core.Unit) -> int | None:
  """Bytes that a step takes besides its arguments; none is made."""

  def step(recipe, keys, units):
    def one(key, unit):
      target = {'unit': unit}
      state = core.init(recipe, target, key)
      return core.step(recipe, state, target, key)[0].params

    return jax.vmap(one)(keys, units)

  compiled = jax.jit(step).lower(recipe, _keys(units), units).compile()
  found = compiled.memory_analysis()
  return None if found is None else int(found.temp_size_in_bytes)
