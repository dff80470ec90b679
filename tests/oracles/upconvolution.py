"""A generator, its discriminator and their losses in float64 NumPy.

By definition, a window or a pixel at a time: Dosovitskiy and Brox 2016,
https://arxiv.org/abs/1602.02644. Maps are [h, w, c], weights as in Flax.
"""

import numpy as np

SLOPE = 0.3


def leaky(x):
  return np.where(x > 0, x, SLOPE * x)


def softplus(x):
  return np.log1p(np.exp(x))


def conv(x, kernel, bias, stride=1, before=0, after=0):
  """Cross-correlation; so many zeros above and left, below and right."""
  x = np.pad(x, [(before, after), (before, after), (0, 0)])
  rows, columns = kernel.shape[:2]
  height = (x.shape[0] - rows) // stride + 1
  width = (x.shape[1] - columns) // stride + 1
  out = np.zeros((height, width, kernel.shape[3]))
  for i, j in np.ndindex(height, width):
    y, z = i * stride, j * stride
    window = x[y : y + rows, z : z + columns]
    out[i, j] = np.tensordot(window, kernel, 3) + bias
  return out


def deconv(x, kernel, bias):
  """4 x 4, stride 2: each pixel is spread out, and a border of 1 cut off.

  The kernel is stored turned by 180 degrees.
  """
  h, w, _ = x.shape
  out = np.zeros((2 * h + 2, 2 * w + 2, kernel.shape[3]))
  for i, j in np.ndindex(h, w):
    spread = np.tensordot(x[i, j], kernel[::-1, ::-1], (0, 2))
    out[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += spread
  return out[1:-1, 1:-1] + bias


def picture(params, code, *, scale, levels, pad):
  """conv, deconv1, deconv0 with leaky rectifiers between."""
  weights = {n: (p['kernel'], p['bias']) for n, p in params.items()}
  x = leaky(conv(scale * code, *weights['conv'], 1, pad, pad))
  x = leaky(deconv(x, *weights['deconv1']))
  return levels * deconv(x, *weights['deconv0'])


def logit(params, picture, code):
  """The discriminator, of a picture and a code of variance 1."""
  weights = {n: (p['kernel'], p['bias']) for n, p in params.items()}
  x = picture
  for layer, stride in enumerate((4, 2, 2)):
    # Flax's 'SAME': as many zeros as a map of n / stride, rounded up, needs.
    need = max(stride * (-(-len(x) // stride) - 1) + 5 - len(x), 0)
    before = need // 2
    kernel, bias = weights[f'Conv_{layer}']
    x = leaky(conv(x, kernel, bias, stride, before, need - before))

  def dense(number, x):
    kernel, bias = weights[f'Dense_{number}']
    return x @ kernel + bias

  told = leaky(dense(0, code.mean((0, 1))))
  joined = leaky(dense(1, np.concatenate([x.mean((0, 1)), told])))
  return dense(2, joined)[0]


def losses(encode, mean, params, critic, image, scales, **options):
  """Those of one photograph; encode gives code and features of image - mean.

  Args:
    encode: [h, w, 3] -> (code, feature).
    mean: [3].
    params: of the generator.
    critic: of the discriminator.
    image: [h, w, 3].
    scales: (of the image, of the feature).
    options: of `picture`.
  """
  centered = image - mean
  code, feature = encode(centered)
  whole = picture(params, code, **options)
  h, w, _ = image.shape
  top, left = (whole.shape[0] - h) // 2, (whole.shape[1] - w) // 2
  made = whole[top : top + h, left : left + w]
  told = options['scale'] * code
  real = logit(critic, centered / options['levels'], told)
  fake = logit(critic, made / options['levels'], told)
  return {
    'image': np.mean((made - centered) ** 2) / scales[0],
    'feature': np.mean((encode(made)[1] - feature) ** 2) / scales[1],
    'adversarial': -np.log(1 / (1 + np.exp(-fake))),
    'discriminator': -np.log(1 / (1 + np.exp(-real)))
    - np.log(1 - 1 / (1 + np.exp(-fake))),
  }
