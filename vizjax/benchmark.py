"""How fast a step is, beside what the device can do and what others take.

  ceiling = matmul_rate('float32')                  # multiply-adds count twice
  row = measured(Case('alexnet_features', 'conv5', batch=16))

Everything is measured in one process, one after the other, for only ratios of
one run mean something. Weights do not matter and may be random ones.
"""

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
from vizjax import parallel
from vizjax import parameterizations
from vizjax.models import layers
from vizjax.models import tables

# Seconds that a measurement takes at least, and times that it is repeated.
_LONG_ENOUGH = 0.5
_TIMES = 5

# The kinds of layers that do the arithmetic.
_COUNTED = ('conv', 'fc')


class Case(NamedTuple):
  """What is measured.

  Attributes:
    network: a name of vizjax.models.NAMES.
    layer: whose channels are excited.
    batch: images at a time.
    boxed: on the receptive field of a unit, or on the whole image.
    compute: type of the network's numbers; image and optimizer are float32.
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
    compile: seconds until the first step was made.
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


def _suite(compute: tuple[str, ...], batches: tuple[int, ...]):
  """The layers that every suite measures."""
  layers_of = {
    'alexnet_features': ('conv3', 'conv5'),
    'vgg16_features': ('conv3_3', 'conv5_3'),
    'bvlc_googlenet': (
      'inception_3b/output',
      'inception_4c/output',
      'loss3/classifier',
    ),
  }
  return tuple(
    Case(net, layer, batch, boxed, dtype)
    for net, names in layers_of.items()
    for layer in names
    for boxed in (False, True)
    for batch in batches
    for dtype in compute
    if not (boxed and layer == 'loss3/classifier')  # sees the whole image
  )


SUITES = {
  'cpu': _suite(('float32',), (1, 16)),
  'gpu': _suite(('float32', 'bfloat16'), (1, 16, 64)),
  'toy': (
    Case('alexnet_features', 'conv1', 2, boxed=True),
    Case('alexnet_features', 'conv2', 2, size=63, compute='bfloat16'),
  ),
}


def ceilings(rates: dict[str, float]) -> Table:
  """What the device can do."""
  rows = [(dtype, round(rate, 1)) for dtype, rate in rates.items()]
  return Table('Product of two matrices', ('numbers', 'GFLOP/s'), rows)


def steps(cases: tuple[Case, ...], rates: dict[str, float]) -> Table:
  """Every case, with its part of what the device can do."""
  columns = (
    'network', 'layer', 'image', 'batch', 'numbers', 'images x steps/s',
    'GFLOP/s', '% of product', 'network alone, s', 'step, s', 'compile, s',
    'MB',
  )  # fmt: skip
  rows = []
  for case in cases:
    row = measured(case)
    rows.append(
      (
        case.network,
        case.layer,
        '{}x{}'.format(*row.size) + ' box' * case.boxed,
        case.batch,
        case.compute,
        float(f'{row.image_steps:.3g}'),
        round(row.gflops, 1),
        round(100 * row.gflops / rates[case.compute]),
        float(f'{row.network:.3g}'),
        float(f'{row.step:.3g}'),
        round(row.compile, 1),
        None if row.memory is None else round(row.memory / 1e6),
      )
    )
  return Table('Steps', columns, rows)


def markdown(table: Table) -> str:
  """A table in Markdown."""
  lines = [f'**{table.title}**', '']
  shown = [['' if x is None else str(x) for x in row] for row in table.rows]
  for row in (table.columns, ['---'] * len(table.columns), *shown):
    lines.append(f'| {" | ".join(row)} |')
  return '\n'.join(lines)


def network(case: Case) -> core.Model:
  """The network of a case, with its own weights or, if need be, random ones."""
  packaged = case.network in ('alexnet_features', 'vgg16_features')
  net = models.load(case.network) if packaged else random(case.network)
  net = models.cut(net, (case.layer,))
  if case.boxed:
    net = models.boxed(net, case.layer)
  elif case.size is not None:
    shape = (case.size, case.size, net.input_shape[2])
    net = dataclasses.replace(net, input_shape=shape)
  return models.computed_in(net, case.compute)


def random(name: str, seed: int = 0) -> core.Model:
  """A published network with random weights, scaled as by He et al. 2015."""
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


def gflop(net: core.Model, layer: str) -> float:
  """10^9 products and sums of a forward pass to a layer, and as many back."""
  table = net.apply.network.table
  needed = {row.name for row in tables.cut(table, (layer,))}
  image = jax.ShapeDtypeStruct(net.input_shape, jnp.float32)
  acts = jax.eval_shape(lambda net, image: net(image), net, image)
  total = 0
  for row in table:
    if row.kind in _COUNTED and row.name in needed:
      kernel = net.params[row.name]['kernel']
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
    ValueError: the layer has no box, or is not in the network.
  """
  net = network(case)
  recipe = core.Recipe(
    net,
    parameterizations.pixels(net),
    objectives.neuron(case.layer),
    optax.sgd(1.0),
  )
  mesh = parallel.local_mesh()
  runner = parallel.runner(recipe, recipe, 'best', mesh)
  targets = {'unit': _units(net, case)}
  keys = jax.vmap(jax.random.key)(np.arange(case.batch, dtype=np.uint32))
  state = runner.start(targets, keys)
  jax.block_until_ready(state)
  began = time.perf_counter()
  state, _ = runner.advance(state, targets, keys, steps=1)
  jax.block_until_ready(state)
  compile_ = time.perf_counter() - began
  box = [state]  # a state that is passed in is used up

  def step():
    box[0], trace = runner.advance(box[0], targets, keys, steps=1)
    return trace

  step_seconds = seconds(step)
  h, w, _ = net.input_shape
  return Row(
    case,
    (h, w),
    step_seconds,
    _network_seconds(net, case, targets),
    gflop(net, case.layer),
    compile_,
    _memory(recipe, targets),
  )


def seconds(function: Any) -> float:
  """The median time of a call, repeated until it can be told."""
  jax.block_until_ready(function())
  times, began = [], time.perf_counter()
  while len(times) < _TIMES or time.perf_counter() - began < _LONG_ENOUGH:
    start = time.perf_counter()
    jax.block_until_ready(function())
    times.append(time.perf_counter() - start)
  return statistics.median(times)


def _units(net: core.Model, case: Case) -> core.Unit:
  image = jax.ShapeDtypeStruct(net.input_shape, jnp.float32)
  act = jax.eval_shape(lambda net, x: net(x), net, image)[case.layer].shape
  y, x = (act[0] // 2, act[1] // 2) if len(act) == 3 else (0, 0)
  channels = np.arange(case.batch, dtype=np.int32) % act[-1]
  full = np.ones_like(channels)
  return core.Unit(channels, y * full, x * full)


def _network_seconds(net: core.Model, case: Case, targets: Any) -> float:
  term = objectives.neuron(case.layer)

  def score(net, image, unit):
    return term(net(image), {'unit': unit})

  def slopes(net, images, units):
    return jax.vmap(jax.grad(score, 1), (None, 0, 0))(net, images, units)

  images = jnp.zeros((case.batch, *net.input_shape), jnp.float32)
  compiled = jax.jit(slopes)
  return seconds(lambda: compiled(net, images, targets['unit']))


def _memory(recipe: core.Recipe, targets: Any) -> int | None:
  def step(recipe, keys, targets):
    def one(key, target):
      state = core.init(recipe, target, key)
      return core.step(recipe, state, target, key)[0].params

    return jax.vmap(one)(keys, targets)

  keys = jax.vmap(jax.random.key)(np.arange(len(targets['unit'].channel)))
  memory = jax.jit(step).lower(recipe, keys, targets).compile()
  found = memory.memory_analysis()
  return None if found is None else int(found.temp_size_in_bytes)
