"""A small AlexNet in float64 NumPy, forward and backward by hand.

Everything is as in Caffe: images and maps are [c, h, w], images are BGR less
their mean, weights are [out, in / groups, h, w] and [out, in]. Two loops for
every window, no automatic differentiation, nothing from the library.
"""

import math

import numpy as np

SIZE, ALPHA, BETA = 5, 1e-4, 0.75  # of the normalization across channels


def convolve(x, weight, bias, stride, pad, groups):
  """Cross-correlation; output group g reads input group g."""
  x = np.pad(x, [(0, 0), (pad, pad), (pad, pad)])
  k = weight.shape[-1]
  height = (x.shape[1] - k) // stride + 1
  width = (x.shape[2] - k) // stride + 1
  out = np.zeros((len(weight), height, width))
  for ins, outs in blocks(len(x), len(weight), groups):
    for row, col in np.ndindex(height, width):
      y, z = row * stride, col * stride
      window = x[ins, y : y + k, z : z + k]
      out[outs, row, col] = np.tensordot(weight[outs], window, 3) + bias[outs]
  return out


def convolve_back(x, weight, stride, pad, groups, top):
  """The gradient at x, of the gradient `top` at the output."""
  back = np.zeros((x.shape[0], x.shape[1] + 2 * pad, x.shape[2] + 2 * pad))
  k = weight.shape[-1]
  for ins, outs in blocks(len(x), len(weight), groups):
    for row, col in np.ndindex(top.shape[1:]):
      y, z = row * stride, col * stride
      window = back[ins, y : y + k, z : z + k]
      window += np.tensordot(top[outs, row, col], weight[outs], 1)
  return back[:, pad : pad + x.shape[1], pad : pad + x.shape[2]]


def blocks(fan_in, features, groups):
  """The channels that each group reads, and those that it makes."""
  reads, makes = fan_in // groups, features // groups
  return [
    (slice(g * reads, (g + 1) * reads), slice(g * makes, (g + 1) * makes))
    for g in range(groups)
  ]


def pool(x, k, stride):
  """Maxima, and where each was: the last windows are cut at the border."""
  channels, height, width = x.shape
  rows = math.ceil((height - k) / stride) + 1
  cols = math.ceil((width - k) / stride) + 1
  out = np.zeros((channels, rows, cols))
  where = {}
  for c, row, col in np.ndindex(out.shape):
    y, z = row * stride, col * stride
    window = x[c, y : y + k, z : z + k]
    down, right = np.unravel_index(np.argmax(window), window.shape)
    out[c, row, col] = window[down, right]  # the first, row by row
    where[c, row, col] = c, y + down, z + right
  return out, where


def near(channels, c):
  """The channels that the normalization of channel c looks at."""
  return slice(max(0, c - SIZE // 2), min(channels, c + SIZE // 2 + 1))


def scales(x):
  return np.stack(
    [
      1 + ALPHA / SIZE * np.sum(x[near(len(x), c)] ** 2, 0)
      for c in range(len(x))
    ]
  )


def normalize(x):
  return x * scales(x) ** -BETA


def normalize_back(x, top):
  scale = scales(x)
  shared = top * x * scale ** (-BETA - 1)
  sums = np.stack([shared[near(len(x), c)].sum(0) for c in range(len(x))])
  return top * scale**-BETA - 2 * BETA * ALPHA / SIZE * x * sums


def softmax(x):
  e = np.exp(x - x.max())
  return e / e.sum()


class AlexNet:
  """conv1 relu1 norm1 pool1 conv2 relu2 fc3 relu3 fc4 prob.

  Attributes:
    weights: {layer: (weight, bias)}.
    size: height and width of the image.
  """

  LAYERS = (
    'conv1', 'relu1', 'norm1', 'pool1', 'conv2', 'relu2', 'fc3', 'relu3',
    'fc4', 'prob',
  )  # fmt: skip
  # A rectifier in place: what the layer's blob holds after a whole forward.
  IN_PLACE = {'conv1': 'relu1', 'conv2': 'relu2', 'fc3': 'relu3'}

  def __init__(self, seed=0, size=20):
    draw = np.random.RandomState(seed)
    self.size = size
    height = (size - 5) // 2 + 1
    height = math.ceil((height - 3) / 2) + 1
    self.weights = {
      'conv1': (draw.normal(0, 0.3, (8, 3, 5, 5)), draw.normal(0, 5, 8)),
      'conv2': (draw.normal(0, 0.05, (6, 4, 3, 3)), draw.normal(0, 1, 6)),
      'fc3': (draw.normal(0, 0.1, (7, 6 * height**2)), draw.normal(0, 1, 7)),
      'fc4': (draw.normal(0, 0.5, (5, 7)), draw.normal(0, 0.1, 5)),
    }

  def forward(self, x):
    """{layer: activation [c, h, w] or [c]} of an image less its mean."""
    acts = {'data': x}
    acts['conv1'] = convolve(x, *self.weights['conv1'], 2, 0, 1)
    acts['relu1'] = np.maximum(acts['conv1'], 0)
    acts['norm1'] = normalize(acts['relu1'])
    acts['pool1'], _ = pool(acts['norm1'], 3, 2)
    acts['conv2'] = convolve(acts['pool1'], *self.weights['conv2'], 1, 1, 2)
    acts['relu2'] = np.maximum(acts['conv2'], 0)
    weight, bias = self.weights['fc3']
    acts['fc3'] = weight @ acts['relu2'].reshape(-1) + bias
    acts['relu3'] = np.maximum(acts['fc3'], 0)
    weight, bias = self.weights['fc4']
    acts['fc4'] = weight @ acts['relu3'] + bias
    acts['prob'] = softmax(acts['fc4'])
    return acts

  def backward(self, x, layer, cotangent):
    """The gradient at the image of sum(cotangent * activation of layer)."""
    acts = self.forward(x)
    top = cotangent
    for name in reversed(self.LAYERS[: self.LAYERS.index(layer) + 1]):
      match name:
        case 'prob':
          top = acts['prob'] * (top - np.sum(top * acts['prob']))
        case 'fc4':
          top = self.weights['fc4'][0].T @ top
        case 'fc3':
          top = (self.weights['fc3'][0].T @ top).reshape(acts['relu2'].shape)
        case 'relu1' | 'relu2' | 'relu3':
          top = top * (acts[name] > 0)
        case 'conv2':
          weight, _ = self.weights['conv2']
          top = convolve_back(acts['pool1'], weight, 1, 1, 2, top)
        case 'pool1':
          _, where = pool(acts['norm1'], 3, 2)
          back = np.zeros(acts['norm1'].shape)
          for out, source in where.items():
            back[source] += top[out]
          top = back
        case 'norm1':
          top = normalize_back(acts['relu1'], top)
        case 'conv1':
          top = convolve_back(x, self.weights['conv1'][0], 2, 0, 1, top)
    return top
