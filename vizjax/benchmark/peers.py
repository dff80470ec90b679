"""The same work by PyTorch, in the same run.

PyTorch is no dependency: `pip install torch`. Two comparisons: the same
mathematics, a step of gradient ascent on pixels; and a loop over units as
lucent's render_vis makes it, one image at a time through the whole network.
"""

from collections.abc import Callable, Iterator
import math
import os
import shutil
import types
from typing import Any

import jax
import numpy as np

from vizjax import core
from vizjax import models
from vizjax import parameterizations
from vizjax.benchmark import measure
from vizjax.benchmark import workloads
from vizjax.errors import UserError
from vizjax.models.interpreter import tables as tables_
from vizjax.models.networks import published

CASES = (
  ('alexnet_features', 'conv3'),
  ('alexnet_features', 'conv5'),
  ('vgg16_features', 'conv4_3'),
  ('bvlc_googlenet', 'inception_4c/output'),
)
BATCH = 16
UNITS, NETWORK, LAYER = 64, 'torchvision_alexnet', 'conv5'  # of the loop

_KINDS = (
  'conv', 'fc', 'batch_norm', 'lrn', 'max_pool', 'average_pool',
  'adaptive_average_pool', 'relu', 'softmax', 'concat', 'identity',
)  # fmt: skip

# Options of layers that are not there in PyTorch.
_FOREIGN = {'same', 'end', 'within', 'inside', 'slope', 'ceiling', 'axis'}

# lucent, at commit 6123386: optvis/render.py, transform.py, param/spatial.py.
_IMAGE, _SEEN = 128, 224  # pixels of the image, and that the network sees
_BORDER, _SHIFTS = 12, (8, 4)
_SCALES = tuple(1 + (i - 5) / 50 for i in range(11))
_ANGLES = (*range(-10, 11), *5 * [0])


def _cores() -> int:
  """Returns how many cores this process may use; macOS tells of all alone."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def tables() -> Iterator[measure.Table]:
  """The comparisons, as they are made.

  Raises:
    UserError: PyTorch is not installed, or sees no GPU where JAX does.
  """
  torch = library()
  torch.set_num_threads(_cores())
  dtypes = ('float32',)
  if device(torch) == 'cuda':
    dtypes = ('float32', 'bfloat16')
    # As XLA has them: 19 bits in products of float32, and tried kernels.
    torch.set_float32_matmul_precision('high')
    torch.backends.cudnn.benchmark = True
  rates = {dtype: measure.matmul_rate(dtype) for dtype in dtypes}
  yield workloads.ceilings(rates)
  for name, layer in CASES:
    yield same_work(torch, name, layer, BATCH, dtypes)
  yield over_units(torch, UNITS)


def library() -> types.ModuleType:
  """PyTorch.

  Raises:
    UserError: it is not installed.
  """
  try:
    import torch
  except ImportError:
    raise UserError(
      'the suite of peers is measured beside PyTorch: type pip install torch'
    ) from None
  return torch


def device(torch: Any) -> str:
  """What PyTorch calls the device that JAX uses.

  Raises:
    UserError: PyTorch does not see it.
  """
  backend = jax.default_backend()
  if backend == 'cpu':
    return 'cpu'
  if backend == 'gpu' and torch.cuda.is_available():
    return 'cuda'
  raise UserError(
    f'JAX runs on {backend!r}, which PyTorch does not see: install PyTorch '
    'for it, or type JAX_PLATFORMS=cpu before the command'
  )


def same_work(
  torch: Any, name: str, layer: str, batch: int, dtypes: tuple[str, ...]
) -> measure.Table:
  """A step on pixels: vizjax on the image and by box, PyTorch in its ways."""
  compiler = shutil.which('g++') is not None
  ours = workloads.pixel_ascent
  rows = []
  for dtype in dtypes:
    case = measure.Case(name, layer, batch, compute=dtype)
    net = measure.network(case._replace(compute='float32'))
    steps = [ours(case), ours(case._replace(boxed=True))]
    for last, compiled in ((False, False), (True, False), (True, True)):
      peer = pixel_step(torch, net, layer, batch, last, compiled, dtype)
      steps.append(peer if compiler or not compiled else None)
    failed = {i: _failure(s) for i, s in enumerate(steps) if s and i > 1}
    steps = [None if failed.get(i) else step for i, step in enumerate(steps)]
    found = iter(measure.alternately(*filter(None, steps)))
    whole, boxed, *peers = (step and next(found) for step in steps)
    best = min(filter(None, peers), default=None)
    ratios = (s and best and best / s for s in (whole, boxed))
    shown = [*map(measure.short, (whole, boxed, *peers, *ratios))]
    for i, why in failed.items():
      shown[i] = f'fails: {why}' if why else shown[i]
    rows.append((dtype, *shown))
  columns = (
    'dtype', 'vizjax, s', 'by box, s', 'PyTorch, s', 'channels_last, s',
    'and compiled, s', 'best PyTorch / vizjax', 'best PyTorch / by box',
  )  # fmt: skip
  title = f'A step of {batch} images: {layer} of {name}'
  return measure.Table(title, columns, rows)


def _failure(step: Callable[[], Any]) -> str:
  """Why a first step fails, as that of torch.compile may; '' if it does not."""
  try:
    step()
  except Exception as error:  # of another library: it may raise anything
    return type(error).__name__
  return ''


def pixel_step(
  torch: Any,
  net: core.Model,
  layer: str,
  batch: int,
  channels_last: bool,
  compiled: bool = False,
  dtype: str = 'float32',
) -> Callable[[], Any]:
  """Gradient ascent on pixels by PyTorch; a call is a step.

  Args:
    torch: the library.
    net: with float32 weights.
    layer: a map; unit i of its middle is that of image i.
    batch: images.
    channels_last: whether the memory layout is channels_last.
    compiled: by torch.compile.
    dtype: of the network; the image is float32.
  """
  forward = network(torch, net, channels_last, dtype)
  forward = torch.compile(forward) if compiled else forward
  h, w, c = net.input_shape
  image = torch.zeros(batch, c, h, w, device=device(torch))
  image = _ordered(torch, image, channels_last).requires_grad_(True)
  images = torch.arange(batch, device=device(torch))

  def step():
    act = forward(image)[layer]
    y, x = act.shape[2] // 2, act.shape[3] // 2
    score = act[images, images % act.shape[1], y, x].float().sum()
    (slope,) = torch.autograd.grad(score, image)
    with torch.no_grad():
      image.add_(slope)
    return score.item()  # waits for the device

  return step


def network(
  torch: Any,
  net: core.Model,
  channels_last: bool = False,
  dtype: str = 'float32',
  learned: bool = False,
) -> Callable:
  """The network in PyTorch: images [n, c, h, w] -> {layer: activation}.

  Args:
    torch: the library.
    net: with float32 weights.
    channels_last: whether the memory layout is channels_last.
    dtype: of the network, and of the activations.
    learned: whether a backward pass has slopes of the weights, too.

  Raises:
    UserError: it has a layer of another kind, or with another option.
  """
  inside, table = getattr(torch, dtype), net.apply.network.table
  for row in table:
    if row.kind not in _KINDS or _FOREIGN & dict(row.options).keys():
      raise UserError(
        f'layer {row.name!r} is of kind {row.kind!r} with {row.options}, '
        f'expected one of {_KINDS} and none of {sorted(_FOREIGN)}'
      )

  def tensor(weight):
    # [h, w, in, out] -> [out, in, h, w], [in, out] -> [out, in]
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[weight.ndim]
    found = torch.tensor(np.ascontiguousarray(weight.transpose(axes)))
    found = found.to(device(torch), inside)
    found = _ordered(torch, found, channels_last and found.ndim == 4)
    return found.requires_grad_(learned)

  weights = {
    layer: {name: tensor(np.asarray(leaf)) for name, leaf in group.items()}
    for layer, group in net.params.items()
  }

  def forward(x):
    acts = {tables_.DATA: x.to(inside)}
    for row in table:
      below = [acts[name] for name in row.inputs]
      acts[row.name] = _layer(torch, row, below, weights.get(row.name, {}))
    return acts

  return forward


def _layer(torch: Any, row: tables_.Layer, below: list, weights: dict) -> Any:
  """Computes a layer as the operators of vizjax do."""
  functional, x = torch.nn.functional, below[0]
  kernel, bias = weights.get('kernel'), weights.get('bias')
  windows = row.kernel, row.stride, row.pad
  ceil = {'ceil_mode': row.option('ceil', False)}
  match row.kind:
    case 'conv':
      rest = row.stride, row.pad, row.dilation, row.groups
      return functional.conv2d(x, kernel, bias, *rest)
    case 'fc':
      return functional.linear(x.flatten(1), kernel, bias)
    case 'batch_norm':
      mean, variance = weights['mean'], weights['variance']
      eps, scale = row.option('eps', 1e-5), weights.get('scale')
      return functional.batch_norm(x, mean, variance, scale, bias, eps=eps)
    case 'lrn':
      numbers = (('size', 5), ('alpha', 1.0), ('beta', 0.75), ('k', 1.0))
      values = (row.option(name, default) for name, default in numbers)
      return functional.local_response_norm(x, *values)
    case 'max_pool':
      return functional.max_pool2d(x, *windows, **ceil)
    case 'average_pool' if not row.option('whole', False):
      return functional.avg_pool2d(x, *windows, **ceil)
    case 'average_pool' | 'adaptive_average_pool':
      return functional.adaptive_avg_pool2d(x, row.option('size', 1))
    case 'relu':
      return functional.relu(x)
    case 'softmax':
      return functional.softmax(x, 1)
    case 'concat':
      return torch.cat(below, 1)
    case 'identity':
      return x


def over_units(torch: Any, count: int) -> measure.Table:
  """Units in an hour, of images of 512 steps: vizjax by box, and the loop.

  Each way is measured in turn. The weights are random.
  """
  net = models.cut(measure.random(NETWORK), ('fc8',))
  ways = workloads.side_by_side(net, LAYER, count)
  loop = 'a loop over units, as render_vis'
  loops = {loop: True, 'the same, weights frozen': False}
  for name, learned in loops.items():
    one = unit_step(torch, net, LAYER, learned)
    all_ = lambda one=one: [one() for _ in range(count)][-1].item()
    ways[name] = all_, count
  functions, counts = zip(*ways.values(), strict=True)
  times = measure.alternately(*functions)
  each = [s / n for s, n in zip(times, counts, strict=True)]
  rows = []
  for name, s in zip(ways, each, strict=True):
    ratios = (measure.short(other / s) for other in each[-len(loops) :])
    rows.append((name, measure.short(s), round(3600 / s / 512), *ratios))
  columns = (
    'way', 's of an image step', 'units an hour at 512 steps',
    'times the loop', 'times it, weights frozen',
  )  # fmt: skip
  title = f'{count} units of {LAYER} of AlexNet'
  return measure.Table(title, columns, rows)


def unit_step(
  torch: Any, net: core.Model, layer: str, learned: bool
) -> Callable[[], Any]:
  """A step of one unit as lucent's render_vis makes it with no options.

  Included: an image of 128 x 128 pixels of Fourier coefficients and
  decorrelated colours; its five transforms (a border of 12 pixels, shifts by
  up to 7, one of 11 sizes, one of 26 angles, shifts by up to 3; shifts and
  turns are bilinear warps, as kornia has them); the normalization; 224 x 224
  pixels by interpolation; the whole network, with all activations kept; the
  backward pass from the unit; Adam, 0.05. A model whose weights are not
  frozen, as in lucent's README, has their slopes computed as well, up to the
  layer.

  Left out: what is done once for an image (loading, conversion, display), the
  bar, and the modules and hooks around the functions of PyTorch. ReLU makes a
  new map, where torchvision's overwrites.

  Source: https://github.com/greentfrapp/lucent; written anew.

  Args:
    torch: the library.
    net: a network for 224 x 224 pixels; its weights are used as they are.
    layer: a map; the unit is the first channel's in the middle.
    learned: whether slopes of the weights are computed.
  """
  forward = network(torch, net, learned=learned)
  numbers = published.TORCHVISION_MEAN, published.TORCHVISION_DEVIATION
  numbers = torch.tensor(numbers, device=device(torch)) / 255
  mean, deviation = numbers[..., None, None]
  shape = (1, 3, _IMAGE, _IMAGE // 2 + 1, 2)
  spectrum = (0.01 * torch.randn(shape)).to(device(torch)).requires_grad_(True)
  render = fourier_image(torch, _IMAGE)
  optimizer = torch.optim.Adam([spectrum], lr=0.05)

  def step():
    optimizer.zero_grad()
    view = (lucid_view(torch, render(spectrum)) - mean) / deviation
    act = forward(_resized(torch, view, _SEEN))[layer]
    score = -act[:, 0, act.shape[2] // 2, act.shape[3] // 2].mean()
    score.backward()
    optimizer.step()
    return score

  return step


def fourier_image(torch: Any, size: int) -> Callable:
  """Coefficients [1, 3, h, w // 2 + 1, 2] -> image [1, 3, h, w] in 0-1."""
  like = core.Model((), np.zeros(3, np.float32), dict, (size, size, 3))
  scale, colors = (
    torch.tensor(np.asarray(numbers), device=device(torch))
    for numbers in parameterizations.fourier(like).render.args
  )
  scale = scale.permute(2, 0, 1)[None, ..., None]

  def render(spectrum):
    plane = torch.view_as_complex(scale * spectrum)
    plane = torch.fft.irfftn(plane, s=(size, size), dim=(2, 3))
    mixed = plane.permute(0, 2, 3, 1) @ colors
    return torch.sigmoid(mixed.permute(0, 3, 1, 2))

  return render


def lucid_view(torch: Any, image: Any) -> Any:
  """An image [1, c, h, h] after the five transforms, each with its draw."""

  def draw(count):
    return int(torch.randint(count, ()))

  pad = torch.nn.functional.pad
  before, after = _SHIFTS
  view = pad(image, [_BORDER] * 4, value=0.5)
  size = view.shape[2]
  view = warped(torch, view, 0, (draw(before), draw(before)))
  scaled = math.ceil(size * _SCALES[draw(len(_SCALES))])
  view = _resized(torch, view, scaled)
  view = pad(view, [max(0, math.ceil((size - scaled) / 2))] * 4)
  view = warped(torch, view, _ANGLES[draw(len(_ANGLES))], (0, 0))
  return warped(torch, view, 0, (draw(after), draw(after)))


def warped(
  torch: Any, image: Any, degrees: core.Number, shift: tuple[int, int]
) -> Any:
  """A square image turned about its middle and then shifted, zeros outside.

  Args:
    torch: the library.
    image: [1, c, h, h].
    degrees: counterclockwise.
    shift: pixels (down, right).
  """
  reach = (image.shape[2] - 1) / 2
  cosine, sine = (f(math.radians(degrees)) for f in (math.cos, math.sin))
  y, x = (-pixels / reach for pixels in shift)
  # From where in the image a pixel of the result is, in [-1, 1].
  rows = [
    [cosine, -sine, cosine * x - sine * y],
    [sine, cosine, sine * x + cosine * y],
  ]
  matrix = torch.tensor([rows], device=image.device)
  nn = torch.nn.functional
  grid = nn.affine_grid(matrix, image.shape, align_corners=True)
  return nn.grid_sample(image, grid, align_corners=True)


def _resized(torch: Any, image: Any, size: int) -> Any:
  return torch.nn.functional.interpolate(
    image, size=(size, size), mode='bilinear', align_corners=True
  )


def _ordered(torch: Any, tensor: Any, channels_last: bool) -> Any:
  order = torch.channels_last if channels_last else torch.contiguous_format
  return tensor.contiguous(memory_format=order)
