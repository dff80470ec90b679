"""Style transfer of Gatys et al. 2015, as neural-style (Athalye 2015) has it.

Images that are optimized are [c, h, w] less their mean, in float64; pixels are
RGB [h, w, 3] from 0 to 255. A network is two functions that take images of any
size: `forward(x)` gives {layer: activation [c, h, w]}, and `backward(x, tops)`
the gradient at x of the gradients {layer: [c, h, w]} at its activations.
"""

import math

import numpy as np
from PIL import Image

CONTENT_LAYERS = ('relu4_2', 'relu5_2')
STYLE_LAYERS = ('relu1_1', 'relu2_1', 'relu3_1', 'relu4_1', 'relu5_1')
NOISE = 0.256  # the deviation of the first image


def gram(act):
  """[c, h, w] -> [c, c], over the number of entries of the activation."""
  f = act.reshape(len(act), -1)
  return f @ f.T / act.size


def content_loss(act, wanted):
  """The mean square of the difference."""
  return np.sum((act - wanted) ** 2) / wanted.size


def content_back(act, wanted):
  """The gradient of content_loss at act."""
  return 2 * (act - wanted) / wanted.size


def style_loss(acts, wanted, layer_weights, style_weights):
  """The weighted sum over styles and layers.

  Args:
    acts: [c, h, w] of each layer.
    wanted: wanted[style][layer], the Gram matrices.
    layer_weights, style_weights: a number for each.
  """
  loss = 0.0
  for style_weight, grams in zip(style_weights, wanted, strict=True):
    for act, weight, goal in zip(acts, layer_weights, grams, strict=True):
      error = np.sum((gram(act) - goal) ** 2) / goal.size
      loss += style_weight * weight * error
  return loss


def style_back(acts, wanted, layer_weights, style_weights):
  """The gradients of style_loss, one for each of acts."""
  backs = [np.zeros(act.shape) for act in acts]
  for style_weight, grams in zip(style_weights, wanted, strict=True):
    for layer, goal in enumerate(grams):
      act = acts[layer]
      top = 2 * (gram(act) - goal) / goal.size
      # d(f f^T) has two terms, that are the same here: top is symmetric.
      back = 2 * top @ act.reshape(len(act), -1) / act.size
      weight = style_weight * layer_weights[layer]
      backs[layer] += weight * back.reshape(act.shape)
  return backs


def tv_loss(x):
  """The mean square of the differences down, and of those to the right."""
  down = x[:, 1:] - x[:, :-1]
  right = x[:, :, 1:] - x[:, :, :-1]
  return np.sum(down**2) / down.size + np.sum(right**2) / right.size


def tv_back(x):
  """The gradient of tv_loss."""
  down = x[:, 1:] - x[:, :-1]
  right = x[:, :, 1:] - x[:, :, :-1]
  back = np.zeros(x.shape)
  back[:, 1:] += 2 * down / down.size
  back[:, :-1] -= 2 * down / down.size
  back[:, :, 1:] += 2 * right / right.size
  back[:, :, :-1] -= 2 * right / right.size
  return back


def layer_weights(n, exponent):
  """Powers of exponent from 0 to n - 1, as shares of 1."""
  powers = np.array([float(exponent) ** k for k in range(n)])
  return powers / np.sum(powers)


def blend_weights(weights, n):
  """The weights of n styles as shares of 1; None for equal ones."""
  if weights is None:
    return np.full(n, 1 / n)
  return np.array(weights, float) / np.sum(weights)


def content_size(shape, width):
  """(h, w) of the content image, from that of its file and --width."""
  return math.floor(shape[0] / shape[1] * width), width


def style_size(shape, scale, target_cols):
  """(h, w) of a style image, from that of its file, for such a content."""
  factor = scale * target_cols / shape[1]
  return int(shape[0] * factor), int(shape[1] * factor)


def eight_bits(pixels):
  """Clipped to 0 and 255, and then truncated."""
  return np.clip(pixels, 0, 255).astype(np.uint8)


def resize(pixels, size):
  """RGB [h, w, 3] at size (h, w), in 8 bits."""
  h, w = size
  image = Image.fromarray(eight_bits(pixels))
  # Pillow's default for RGB, of version 7.0 and later.
  return np.array(image.resize((w, h), Image.Resampling.BICUBIC))


def initial(content, initial, noiseblend, noise):
  """The first x.

  Args:
    content: [c, h, w] less the mean.
    initial: the same, of the content's size, or None.
    noiseblend: the share of noise, from 0 to 1. None is 0 with an initial
      image, and 1 without.
    noise: [c, h, w], standard normal.
  """
  if noiseblend is None:
    noiseblend = 1.0 if initial is None else 0.0
  if initial is None:
    if noiseblend >= 1:
      return NOISE * noise
    initial = content
  return (1 - noiseblend) * initial + noiseblend * NOISE * noise


def adam(x, grad, m, v, t, learning_rate, beta1, beta2, epsilon):
  """(x, m, v) after step t = 1, 2, ..., with the epsilon of TensorFlow."""
  m = beta1 * m + (1 - beta1) * grad
  v = beta2 * v + (1 - beta2) * grad**2
  rate = learning_rate * np.sqrt(1 - beta2**t) / (1 - beta1**t)
  return x - rate * m / (np.sqrt(v) + epsilon), m, v


def run(
  x,
  forward,
  backward,
  content,
  styles,
  *,
  iterations=1000,
  checkpoint_iterations=None,
  content_layers=CONTENT_LAYERS,
  style_layers=STYLE_LAYERS,
  content_weight=5.0,
  content_weight_blend=1.0,
  style_weight=500.0,
  style_layer_weight_exp=1.0,
  style_blend_weights=None,
  tv_weight=100.0,
  learning_rate=10.0,
  beta1=0.9,
  beta2=0.999,
  epsilon=1e-8,
):
  """The best image among the checkpoints, its loss, and all losses.

  Args:
    x: [c, h, w], of `initial`.
    forward, backward: see above.
    content: [c, h, w] less the mean.
    styles: the same, each of its own size.
    content_layers: two; the first has the share content_weight_blend.
    iterations, ..., epsilon: as in the program.

  Returns:
    (best, its total, losses): a row (content, style, tv, total), weighted, of
    the x before each step and of the last x.
  """
  acts = forward(content)
  goals = {layer: acts[layer] for layer in content_layers}
  shares = (content_weight_blend, 1 - content_weight_blend)
  grams = [
    [gram(acts[layer]) for layer in style_layers]
    for acts in map(forward, styles)
  ]
  weights = (
    layer_weights(len(style_layers), style_layer_weight_exp),
    blend_weights(style_blend_weights, len(styles)),
  )

  def evaluate(x):
    """The row of losses and the gradient of their total."""
    acts = forward(x)
    tops = dict.fromkeys((*content_layers, *style_layers), 0.0)
    content_part = 0.0
    for layer, share in zip(content_layers, shares, strict=True):
      both = acts[layer], goals[layer]
      content_part += content_weight * share * content_loss(*both)
      tops[layer] += content_weight * share * content_back(*both)
    chosen = [acts[layer] for layer in style_layers]
    style_part = style_weight * style_loss(chosen, grams, *weights)
    backs = style_back(chosen, grams, *weights)
    for layer, back in zip(style_layers, backs, strict=True):
      tops[layer] += style_weight * back
    tv_part = tv_weight * tv_loss(x)
    grad = backward(x, tops) + tv_weight * tv_back(x)
    total = content_part + style_part + tv_part
    return (content_part, style_part, tv_part, total), grad

  m, v = np.zeros(x.shape), np.zeros(x.shape)
  row, grad = evaluate(x)
  losses = [row]
  best, lowest = None, math.inf
  for i in range(iterations):
    x, m, v = adam(x, grad, m, v, i + 1, learning_rate, beta1, beta2, epsilon)
    row, grad = evaluate(x)
    losses.append(row)
    checkpoint = checkpoint_iterations and i % checkpoint_iterations == 0
    if (checkpoint or i == iterations - 1) and row[-1] < lowest:
      best, lowest = x, row[-1]
  return best, lowest, losses


def preserve_colors(styled, content):
  """The lightness of one image with the colors of the other, [h, w, 3] uint8.

  Args:
    styled, content: [h, w, 3], RGB.
  """
  luma = np.clip(styled, 0, 255) @ np.array([0.299, 0.587, 0.114])
  # In float32 an even grey keeps its level: 254.99999999999997 becomes 255.
  grey = eight_bits(luma.astype(np.float32))
  # Pillow's y of a grey image is, of some levels, one less.
  y, _, _ = _bands(np.stack([grey] * 3, -1))
  _, cb, cr = _bands(eight_bits(content))
  return np.array(Image.merge('YCbCr', (y, cb, cr)).convert('RGB'))


def _bands(pixels):
  return Image.fromarray(pixels).convert('YCbCr').split()
