"""What a suite measures: steps of networks at several batches, and lucid200.

  for table in workloads.tables('cpu'):
    print(measure.markdown(table))

A case that cannot be measured has a row that says why.
"""

from collections.abc import Callable, Iterator
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from vizjax import build
from vizjax import core
from vizjax import listing
from vizjax.benchmark import measure
from vizjax.build import program as program_
from vizjax.errors import UserError
from vizjax.sweeps import capacity

# Lucid's image, transforms and optimizer: configs/olah2017.py.
LUCID = (
  'pad(12) | jitter(8) | scale(0.9, 1.1, count=11)'
  ' | rotate(10, count=21, zeros=5) | jitter(4)'
)
_OPTIMIZER = 'adam(0.05)'

# What doubling a batch has to gain, and seconds of a step that is too long to
# be doubled.
_GAIN = 1.05
_LONGEST_STEP = 10.0

# Steps of lucid200 on a CPU, and in one call elsewhere.
_FEW = 6
_CALL = 32

# Steps that a sweep makes in a call, here.
_TOGETHER = 8


class Suite(NamedTuple):
  """What is measured.

  Attributes:
    cases: steps, each at the batches below, whatever its own.
    batches: that are measured in any case.
    doubled: whether larger ones are tried, up to the fastest.
    lucid: dtypes of the network in which lucid200 is run.
  """

  cases: tuple[measure.Case, ...]
  batches: tuple[int, ...]
  doubled: bool = True
  lucid: tuple[str, ...] = ()


class Left(NamedTuple):
  """A case that was not measured, and why."""

  case: measure.Case
  reason: str


def _suite(*compute: str) -> Suite:
  """The layers that a device is measured by."""
  layers_of = {
    'alexnet_features': ('conv3', 'conv5'),
    'vgg16_features': ('conv3_3', 'conv5_3'),
    'bvlc_googlenet': (
      'inception_3b/output',
      'inception_4c/output',
      'loss3/classifier',
    ),
  }
  cases = tuple(
    measure.Case(net, layer, boxed=boxed, compute=dtype)
    for net, names in layers_of.items()
    for layer in names
    for boxed in (False, True)
    for dtype in compute
    if not (boxed and layer == 'loss3/classifier')  # sees the whole image
  )
  return Suite(cases, (1, 16), lucid=compute)


SUITES = {
  'cpu': _suite('float32'),
  'gpu': _suite('float32', 'bfloat16'),
  'toy': Suite(
    (
      measure.Case('alexnet_features', 'conv1', boxed=True),
      measure.Case('alexnet_features', 'conv2', size=63, compute='bfloat16'),
    ),
    (2,),
    doubled=False,
  ),
}


def tables(name: str) -> Iterator[measure.Table]:
  """The tables of a suite, as they are made: one for each network.

  Args:
    name: of SUITES.
  """
  suite = SUITES[name]
  dtypes = sorted({case.compute for case in suite.cases})
  rates = {dtype: measure.matmul_rate(dtype) for dtype in dtypes}
  yield ceilings(rates)
  for network in dict.fromkeys(case.network for case in suite.cases):
    cases = tuple(case for case in suite.cases if case.network == network)
    yield steps(suite._replace(cases=cases), rates, f'Steps of {network}')
  if suite.lucid:
    yield lucid200(suite.lucid)


def ceilings(rates: dict[str, float]) -> measure.Table:
  """What the device can do."""
  rows = [(dtype, round(rate, 1)) for dtype, rate in rates.items()]
  return measure.Table('Matmul', ('dtype', 'GFLOP/s'), rows)


def steps(
  suite: Suite, rates: dict[str, float], title: str = 'Steps'
) -> measure.Table:
  """Every case at every batch, with its part of what the device can do."""
  columns = (
    'layer', 'image', 'dtype', 'batch', 'images x steps/s', 'GFLOP/s',
    '% of product', 'network alone, s', 'step, s', 'compile, s', 'MB', '',
  )  # fmt: skip
  rows = []
  for case in suite.cases:
    found = batches(case, suite.batches, suite.doubled)
    fastest = max(found, key=_rate)
    for row in found:
      best = suite.doubled and row is fastest
      rows.append(_told(row, rates, 'best batch' if best else ''))
  return measure.Table(title, columns, rows)


def batches(
  case: measure.Case, given: tuple[int, ...], doubled: bool
) -> list[measure.Row | Left]:
  """A case at several batches.

  Args:
    case: what is measured.
    given: batches.
    doubled: whether to go on from the fastest of them, each time to twice as
      many images, as long as that gives 5 % more of them, fits the memory,
      and takes no more than some seconds.
  """
  found = [tried(case._replace(batch=batch)) for batch in given]
  best = max(found, key=_rate)
  while doubled and _rate(best):
    twice = case._replace(batch=2 * best.case.batch)
    if twice in [row.case for row in found]:
      break
    if 2 * best.step > _LONGEST_STEP:
      reason = f'not run: a step would take {2 * best.step:.3g} s'
      found.append(Left(twice, reason))
      break
    found.append(tried(twice))
    if _rate(found[-1]) < _GAIN * _rate(best):
      break
    best = found[-1]
  return found


def tried(case: measure.Case) -> measure.Row | Left:
  """A measurement, or why there is none: the next case may have one."""
  try:
    return measure.measured(case)
  except (UserError, jax.errors.JaxRuntimeError) as error:
    return Left(case, f'not run: {_first_line(error)}')


def lucid200(
  compute: tuple[str, ...],
  sizes: tuple[int, ...] = (224, 128),
  batch: int = 32,
  layer: str = 'inception_4c/output',
) -> measure.Table:
  """128 steps of a batch of GoogLeNet's channels, as lucid makes them.

  configs/olah2017.py on another network. On a CPU few steps are made, and the
  seconds of 128 are 128 times their mean.

  Args:
    compute: dtypes of the network.
    sizes: height and width of the image; the network sees it padded, and cut
      by jitter, 12 pixels larger.
    batch: images at a time.
    layer: of bvlc_googlenet, with random weights.
  """
  columns = (
    'image', 'network sees', 'dtype', 'steps run', 'step, s', '128 steps, s',
    'images x steps/s', 'GFLOP/s', 'compile, s',
  )  # fmt: skip
  rows = []
  for size in sizes:
    for dtype in compute:
      case = measure.Case('bvlc_googlenet', layer, batch, compute=dtype)
      try:
        row = _lucid_row(case, size)
      except jax.errors.JaxRuntimeError as error:
        nothing = [None] * (len(columns) - 4)
        row = ('', dtype, _first_line(error), *nothing)
      rows.append((f'{size}x{size}', *row))
  title = f'lucid200: 128 steps of {batch} images, GoogLeNet {layer}'
  if jax.default_backend() == 'cpu':
    title += f' (128 times the mean of {_FEW})'
  return measure.Table(title, columns, rows)


def program(
  net: core.Model,
  layer: str,
  transforms: str,
  objective: str,
  shape: str | None = None,
) -> program_.Program:
  """Lucid's image and optimizer, as `vizjax run` would have them.

  Args:
    net: the network.
    layer: whose units are excited.
    transforms: a formula, as config.transforms.
    objective: a formula, as config.objective.
    shape: 'HxW' of the image; None for what a unit sees.
  """
  request = _request(net, layer, transforms, objective, shape)
  read = program_.read(request, layer)
  return program_.of(request, read, boxed=shape is None)


def _request(
  net: core.Model,
  layer: str,
  transforms: str,
  objective: str,
  shape: str | None = None,
) -> build.Request:
  config = build.config()
  config.layer = listing.typed([layer])
  config.shape = shape
  config.parameterization = 'fourier(model)'
  config.transforms = transforms
  config.objective = objective
  config.optimizer = _OPTIMIZER
  return build.request(config, net)


def pixel_ascent(case: measure.Case) -> Callable[[], Any] | None:
  """A step on pixels; None where a box would be larger than the image."""
  try:
    recipe, units = measure.prepared(case)
  except UserError:
    return None
  return measure.ascent(recipe, recipe, units)


def side_by_side(
  net: core.Model, layer: str, count: int
) -> dict[str, tuple[Callable, int]]:
  """Units in batches, each on what it sees, as a sweep makes them.

  Args:
    net: the network.
    layer: of the units.
    count: of them; as many at a time as suit the device.

  Returns:
    {what it is: (a function, of how many steps of single images)}.
  """
  formulas = {
    'vizjax by box, jitter alone: configs/demo.py': 'jitter(17)',
    "vizjax by box, lucid's five transforms": LUCID,
  }
  batch = capacity.most(_request(net, layer, '', 'neuron(layer)'), count)
  steps = {}
  for name, formula in formulas.items():
    made = program(net, layer, formula, 'neuron(layer)')
    step = measure.ascent(made.recipe, made.clean, _units(batch))
    times = -(-count // batch)
    several = functools.partial(_repeated, step, times)
    steps[name] = several, times * batch * _TOGETHER
  return steps


def _repeated(step: Callable, times: int) -> Any:
  return [step(_TOGETHER) for _ in range(times)][-1]


def _units(count: int) -> core.Unit:
  """The first channels of a layer, at its first position."""
  zeros = np.zeros(count, np.int32)
  return core.Unit(np.arange(count, dtype=np.int32), zeros, zeros)


def _lucid_row(case: measure.Case, size: int) -> tuple[Any, ...]:
  net = measure.network(case)
  made = program(net, case.layer, LUCID, 'channel(layer)', f'{size}x{size}')
  few = jax.default_backend() == 'cpu'
  count, call = (_FEW, 1) if few else (128, _CALL)
  step = measure.ascent(made.recipe, made.clean, _units(case.batch))
  first = measure.once(lambda: step(call))
  calls = range(count // call)
  mean = measure.once(lambda: [step(call) for _ in calls]) / count
  view = (*made.geometry.view, net.input_shape[2])
  work = measure.gflop(dataclasses.replace(net, input_shape=view), case.layer)
  return (
    '{}x{}'.format(*made.geometry.view),
    case.compute,
    count,
    measure.short(mean),
    measure.short(128 * mean),
    measure.short(case.batch / mean),
    round(work * case.batch / mean, 1),
    round(max(0.0, first - call * mean), 1),
  )


def _first_line(error: Exception) -> str:
  return str(error).partition('\n')[0][:100]


def _rate(row: measure.Row | Left) -> float:
  return 0.0 if isinstance(row, Left) else row.image_steps


def _told(
  row: measure.Row | Left, rates: dict[str, float], note: str
) -> tuple[Any, ...]:
  case = row.case
  if isinstance(row, Left):
    image = 'box' if case.boxed else ''
    nothing = [None] * 7
    return (
      case.layer, image, case.compute, case.batch, *nothing, row.reason
    )  # fmt: skip
  return (
    case.layer,
    '{}x{}'.format(*row.size) + ' box' * case.boxed,
    case.compute,
    case.batch,
    measure.short(row.image_steps),
    round(row.gflops, 1),
    round(100 * row.gflops / rates[case.compute]),
    measure.short(row.network),
    measure.short(row.step),
    round(row.compile, 1),
    None if row.memory is None else round(row.memory / 1e6),
    note,
  )
