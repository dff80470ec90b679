"""The same work by PyTorch, in the same run.

PyTorch is no dependency: `pip install torch`. Two comparisons: the same
mathematics, a step of gradient ascent on pixels; and a loop over units in the
manner of lucent's render_vis, one image at a time through the whole network.
"""

from collections.abc import Callable, Iterator
import math
import os
import shutil
import types
from typing import Any

import jax
import numpy as np
import optax

from vizjax import benchmark
from vizjax import core
from vizjax import models
from vizjax import objectives
from vizjax import parallel
from vizjax import parameterizations
from vizjax import transforms

CASES = (
  ('alexnet_features', 'conv3'),
  ('alexnet_features', 'conv5'),
  ('vgg16_features', 'conv4_3'),
)
BATCH = 16
UNITS, LAYER = 64, 'conv5'  # of the loop over units

_PEER = 224  # pixels of an image of that loop


def tables() -> Iterator[benchmark.Table]:
  """The comparisons, as they are made.

  Raises:
    ValueError: PyTorch is not installed.
  """
  torch = library()
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  yield benchmark.ceilings({'float32': benchmark.matmul_rate('float32')})
  yield same_work(torch, CASES, BATCH)
  yield over_units(torch, UNITS)


def library() -> types.ModuleType:
  """PyTorch.

  Raises:
    ValueError: it is not installed.
  """
  try:
    import torch
  except ImportError:
    raise ValueError(
      'the suite of peers is measured beside PyTorch: type pip install torch'
    ) from None
  return torch


def same_work(
  torch: Any, cases: tuple[tuple[str, str], ...], batch: int
) -> benchmark.Table:
  """A step on pixels: vizjax on the image and by box, PyTorch in its ways."""
  compiles = shutil.which('g++') is not None
  rows = []
  for name, layer in cases:
    whole = benchmark.measured(benchmark.Case(name, layer, batch))
    boxed = benchmark.measured(benchmark.Case(name, layer, batch, boxed=True))
    net = benchmark.network(benchmark.Case(name, layer, batch))
    peers = []
    for last, compiled in ((False, False), (True, False), (True, True)):
      if compiled and not compiles:
        peers.append(None)
        continue
      step = pixel_step(torch, net, layer, batch, last, compiled)
      peers.append(benchmark.seconds(step))
    best = min(filter(None, peers))
    rows.append(
      (
        name,
        layer,
        *(_short(s) for s in (whole.step, boxed.step, *peers)),
        _short(best / whole.step),
        _short(best / boxed.step),
      )
    )
  columns = (
    'network', 'layer', 'vizjax, s', 'by box, s', 'PyTorch, s',
    'channels_last, s', 'and compiled, s', 'best PyTorch / vizjax',
    'best PyTorch / by box',
  )  # fmt: skip
  return benchmark.Table(f'A step of {batch} images', columns, rows)


def pixel_step(
  torch: Any,
  net: core.Model,
  layer: str,
  batch: int,
  channels_last: bool,
  compiled: bool = False,
) -> Callable[[], Any]:
  """Gradient ascent on pixels by PyTorch; a call is a step.

  Args:
    torch: the library.
    net: of convolutions, rectifiers and maxima.
    layer: its last; unit i of it is that of image i.
    batch: images.
    channels_last: the order of numbers in memory.
    compiled: by torch.compile.
  """
  forward = network(torch, net, channels_last)
  forward = torch.compile(forward) if compiled else forward
  h, w, c = net.input_shape
  image = _ordered(torch, torch.zeros(batch, c, h, w), channels_last)
  image.requires_grad_(True)

  def step():
    act = forward(image)[layer]
    y, x = act.shape[2] // 2, act.shape[3] // 2
    units = torch.arange(batch) % act.shape[1]
    score = act[torch.arange(batch), units, y, x].sum()
    (slope,) = torch.autograd.grad(score, image)
    with torch.no_grad():
      image.add_(slope)
    return score.item()

  return step


def network(
  torch: Any, net: core.Model, channels_last: bool = False
) -> Callable:
  """The network in PyTorch: images [n, c, h, w] -> {layer: activation}.

  Raises:
    ValueError: it has a layer of another kind.
  """
  functional = torch.nn.functional
  weights = {
    name: (
      _ordered(
        torch,
        torch.tensor(np.asarray(group['kernel']).transpose(3, 2, 0, 1).copy()),
        channels_last,
      ),
      torch.tensor(np.asarray(group['bias'])),
    )
    for name, group in net.params.items()
  }
  table = net.apply.network.table
  for row in table:
    if row.kind not in ('conv', 'relu', 'max_pool'):
      raise ValueError(f'layer {row.name!r} is of kind {row.kind!r}')

  def forward(x):
    acts = {'data': x}
    for row in table:
      below = acts[row.inputs[0]]
      match row.kind:
        case 'conv':
          act = functional.conv2d(
            below,
            *weights[row.name],
            row.stride,
            row.pad,
            row.dilation,
            row.groups,
          )
        case 'relu':
          act = functional.relu(below)
        case 'max_pool':
          ceil = row.option('ceil', False)
          act = functional.max_pool2d(
            below, row.kernel, row.stride, row.pad, ceil_mode=ceil
          )
      acts[row.name] = act
    return acts

  return forward


def over_units(torch: Any, count: int, steps: int = 8) -> benchmark.Table:
  """Units in an hour, of images of 512 steps: vizjax by box, and the loop."""
  ours = _batch_seconds(count, LAYER)
  theirs = _loop_seconds(torch, LAYER, steps)
  rows = [
    ('vizjax, by box', _short(ours / count), round(3600 * count / ours / 512)),
    ('a loop over units', _short(theirs), round(3600 / theirs / 512)),
    ('ratio', _short(theirs * count / ours), ''),
  ]
  columns = ('way', 's of an image step', 'units an hour at 512 steps')
  title = f'{count} units of {LAYER} of AlexNet'
  return benchmark.Table(title, columns, rows)


def _batch_seconds(count: int, layer: str) -> float:
  """A step of all units together: configs/demo.py."""
  net = models.boxed(models.load('alexnet_features'), layer)
  h, w, _ = net.input_shape
  recipe = core.Recipe(
    net,
    parameterizations.fourier(net, shape=(h + 8, w + 8)),
    objectives.neuron(layer),
    optax.adam(0.05),
    (transforms.jitter(8),),
  )
  clean = core.Recipe(
    net, recipe.parameterization, recipe.objective, recipe.optimizer
  )
  runner = parallel.runner(recipe, clean, 'best', parallel.local_mesh())
  zeros = np.zeros(count, np.int32)
  targets = {'unit': core.Unit(np.arange(count, dtype=np.int32), zeros, zeros)}
  keys = jax.vmap(jax.random.key)(np.arange(count, dtype=np.uint32))
  box = [runner.start(targets, keys)]

  def step():
    box[0], trace = runner.advance(box[0], targets, keys, steps=1)
    return trace

  return benchmark.seconds(step)


def _loop_seconds(torch: Any, layer: str, steps: int) -> float:
  """A step of one unit, as lucent goes: the whole network, image by image."""
  net = models.load('alexnet_features')
  forward = network(torch, net)
  mean = torch.tensor(np.asarray(net.mean))[:, None, None]
  size = _PEER + 8
  rows = torch.fft.fftfreq(size)[:, None]
  columns = torch.fft.rfftfreq(size)[None]
  scale = math.sqrt(size * size) / torch.sqrt(rows**2 + columns**2).clamp(
    min=1 / size
  )
  spectrum = 0.01 * torch.randn(3, *scale.shape, 2)
  spectrum.requires_grad_(True)
  optimizer = torch.optim.Adam([spectrum], lr=0.05)

  def one():
    optimizer.zero_grad()
    plane = torch.view_as_complex(spectrum) * scale / 4
    image = 255 * torch.sigmoid(torch.fft.irfft2(plane, s=(size, size)))
    top, left = torch.randint(0, 9, (2,)).tolist()
    view = image[:, top : top + _PEER, left : left + _PEER] - mean
    act = forward(view[None])[layer]
    score = -act[0, 0, act.shape[2] // 2, act.shape[3] // 2]
    score.backward()
    optimizer.step()
    return score.item()

  return benchmark.seconds(lambda: [one() for _ in range(steps)]) / steps


def _ordered(torch: Any, tensor: Any, channels_last: bool) -> Any:
  order = torch.channels_last if channels_last else torch.contiguous_format
  return tensor.contiguous(memory_format=order)


def _short(number: float | None) -> float | None:
  return None if number is None else float(f'{number:.3g}')
