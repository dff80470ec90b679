"""Two programs that optimize a code, and a generator, in NumPy.

Written from a description of synthesizing (Nguyen et al. 2016) and of cnnpref;
float64, no automatic differentiation, nothing from the library. Images are BGR
[c, h, w] less their mean; a network is as in `network`.
"""

import math

import numpy as np
from oracles import network

SLOPE = 0.3


def leaky(x):
  return np.where(x > 0, x, SLOPE * x)


def transpose_convolve(x, weight, bias, stride, pad):
  """The adjoint of a convolution; weight is [in, out, k, k]."""
  k = weight.shape[-1]
  size = [stride * (n - 1) + k - 2 * pad for n in x.shape[1:]]
  like = np.zeros((weight.shape[1], *size))
  out = network.convolve_back(like, weight, stride, pad, 1, x)
  return out + bias[:, None, None]


class Generator:
  """A code [12] or [3, 2, 2] becomes a picture [3, 24, 24].

  defc5 of the vector, or Rconv6 of the map; then deconv2, conv2_1, deconv1 and
  deconv0, each but the last behind a leaky rectifier.
  """

  # Name, channels in and out, kernel, stride, pad: all transposed.
  DECONVOLUTIONS = (
    ('deconv2', 6, 5, 4, 2, 1),
    ('conv2_1', 5, 4, 3, 1, 1),
    ('deconv1', 4, 4, 4, 2, 1),
    ('deconv0', 4, 3, 4, 2, 1),
  )

  def __init__(self, of_map=False, seed=3):
    draw = np.random.RandomState(seed)
    self.of_map = of_map
    self.shape = (3, 2, 2) if of_map else (12,)
    self.weights = {}
    if of_map:
      self.weights['Rconv6'] = (
        draw.normal(0, 0.5, (6, 3, 2, 2)),
        draw.normal(0, 1, 6),
      )
    else:
      self.weights['defc5'] = (
        draw.normal(0, 0.4, (54, 12)),
        draw.normal(0, 1, 54),
      )
    for name, fan_in, features, k, _, _ in self.DECONVOLUTIONS:
      std = 1.5 / math.sqrt(fan_in * k)
      weight = draw.normal(0, std, (fan_in, features, k, k))
      self.weights[name] = weight, draw.normal(0, 1, features)
    weight, bias = self.weights['deconv0']
    self.weights['deconv0'] = 12 * weight, 12 * bias

  def forward(self, code):
    """The inputs of every layer, in order, and the picture."""
    x = code.reshape(self.shape)
    below = [x]
    if self.of_map:
      x = network.convolve(x, *self.weights['Rconv6'], 1, 1, 1)
    else:
      weight, bias = self.weights['defc5']
      x = (weight @ x + bias).reshape(6, 3, 3)
    for name, _, _, _, stride, pad in self.DECONVOLUTIONS:
      below.append(x)
      x = transpose_convolve(leaky(x), *self.weights[name], stride, pad)
    return below, x

  def picture(self, code):
    return self.forward(code)[1]

  def backward(self, code, top):
    """The gradient at the code [n] of sum(top * picture)."""
    below, _ = self.forward(code)
    for i in reversed(range(len(self.DECONVOLUTIONS))):
      name, fan_in, _, _, stride, pad = self.DECONVOLUTIONS[i]
      weight, _ = self.weights[name]
      x = below[i + 1]
      top = network.convolve(top, weight, np.zeros(fan_in), stride, pad, 1)
      top = top * np.where(x > 0, 1, SLOPE)
    if self.of_map:
      weight, _ = self.weights['Rconv6']
      return network.convolve_back(below[0], weight, 1, 1, 1, top).ravel()
    return self.weights['defc5'][0].T @ top.ravel()


def one_hot(acts, index, value=1.0):
  cotangent = np.zeros(acts.shape)
  cotangent[index] = value
  return cotangent


def act_max(
  net,
  generator,
  act_layer,
  unit,
  *,
  n_iters=20,
  L2=1.0,
  start_lr=2.0,
  end_lr=-1.0,
  seed=0,
  xy=0,
  init=None,
  clip=0,
  bound=None,
):
  """synthesizing: every code, crop and activation, by iteration.

  Args:
    net: with its layers before their rectifiers.
    generator: of codes.
    act_layer: a map or a vector.
    unit: channel, or index.
    n_iters, ..., clip: of the program.
    init: a code, of a photograph; None: a random one.
    bound: [n] upper bounds.
  """
  end_lr = start_lr if end_lr < 0 else end_lr
  size = net.size
  z = init
  if z is None:
    z = np.random.RandomState(seed).normal(0, 1, generator.shape).ravel()
  codes, crops, activations = [], [], []
  for i in range(n_iters):
    lr = start_lr + (end_lr - start_lr) * i / n_iters
    x0 = generator.picture(z)
    o = (x0.shape[1] - size) // 2
    c = x0[:, o : o + size, o : o + size]
    acts = net.forward(c)[act_layer]
    index = (unit,) if acts.ndim == 1 else (unit, xy, xy)
    codes.append(z)
    crops.append(c)
    activations.append(acts[index])
    g_img = net.backward(c, act_layer, one_hot(acts, index))
    x = c
    norm = np.linalg.norm(g_img)
    if norm > 0:
      x = c + lr / np.mean(np.abs(g_img)) * g_img
    x0_hat = x0.copy()
    x0_hat[:, o : o + size, o : o + size] = x
    g_z = generator.backward(z, x0_hat - x0)
    code_norm = np.linalg.norm(g_z)
    if code_norm > 0:
      z = z + lr / np.mean(np.abs(g_z)) * g_z
    if clip:
      z = np.clip(z, -1, 1)
    elif bound is not None:
      z = np.minimum(np.maximum(z, 0), bound)
    if 0 < L2 < 1:
      z = L2 * z
    if code_norm == 0 or norm == 0:
      break
  return codes, crops, activations


def first_code(generator, seed):
  """cnnpref's random code."""
  z = np.random.RandomState(seed).normal(0, 1, generator.shape).ravel()
  z = np.float32(z)
  z[z < 0] = 0
  return (10 * z).astype(float)  # the product is of float32, too


def prefer_img_dgn_gd(
  net,
  generator,
  layer,
  index,
  *,
  feature_weight=1.0,
  initial_gen_feat=None,
  feat_upper_bound=100.0,
  feat_lower_bound=0.0,
  iter_n=20,
  lr=(2.0, 1e-10),
  momentum=(0.9, 0.9),
  decay=(0.01, 0.01),
  seed=0,
):
  """cnnpref: every code and crop, by iteration."""
  z = initial_gen_feat
  if z is None:
    z = first_code(generator, seed)
  delta = np.zeros(z.shape)
  codes, crops = [], []
  for t in range(iter_n):
    now = [a + t * (b - a) / iter_n for a, b in (lr, momentum, decay)]
    picture = generator.picture(z)
    o = (picture.shape[1] - net.size) // 2
    part = slice(o, o + net.size)
    crop = picture[:, part, part]
    codes.append(z)
    crops.append(crop)
    acts = net.forward(crop)[layer]
    top = np.zeros(picture.shape)
    cotangent = one_hot(acts, index, -feature_weight)
    top[:, part, part] = net.backward(crop, layer, cotangent)
    gradient = generator.backward(z, top)
    mean = np.mean(np.abs(gradient))
    if mean > 0:
      gradient = gradient / mean
    delta = now[1] * delta + gradient
    z = z - now[0] * delta
    z = (1 - now[2]) * z
    if feat_lower_bound is not None:
      z = np.maximum(z, feat_lower_bound)
    if feat_upper_bound is not None:
      z = np.minimum(z, feat_upper_bound)
  return codes, crops
