"""cnn-vis (Johnson 2015) in NumPy, SciPy and Pillow, window by window.

Written from a description of the program; float64, no automatic
differentiation, nothing from the library. Images are RGB [h, w, 3] in network
units, that is less their mean, which is one number; pixels are RGB [h, w, 3],
uint8. A network is as in `network`, and its input is the window.
"""

from typing import NamedTuple

import numpy as np
from oracles import programs
from PIL import Image
from scipy import ndimage, signal

CONTRAST = 1.2  # on the way to 8 bits, and not on the way back
MOST_WINDOWS = 1001  # along an axis

# Difference along x, along y: of valid positions, correlated.
KERNELS = {
  'naive': ([[1, -1], [0, 0]], [[1, 0], [-1, 0]]),
  'sobel': (
    [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
  ),
  'sobel_squish': (
    [[-1, 1, 0], [-2, 2, 0], [-1, 1, 0]],
    [[-1, -2, -1], [1, 2, 1], [0, 0, 0]],
  ),
}


# --- Sizes and windows


def sizes(base, initial=None, final=None, number=1, kind='geometric'):
  """The list of (rows, cols) that the image goes through.

  Args:
    base: (rows, cols) of the network's input for noise, of the file otherwise.
    initial, final: None (the base), 'xF' (a factor) or 'HxW'.
    number: how many; 1 leaves `final` unread.
    kind: 'geometric' or 'linear'.
  """
  first, last = one_size(base, initial), one_size(base, final)
  if number == 1:
    return [first]
  axes = []
  for start, stop in zip(first, last, strict=True):
    if kind == 'geometric':
      lengths = np.logspace(np.log10(start), np.log10(stop), number)
    else:
      lengths = np.linspace(start, stop, number)
    axes.append([int(n) for n in np.round(lengths)])  # half to even
  return list(zip(*axes, strict=True))


def one_size(base, text):
  if text is None:
    return tuple(base)
  before, after = text.split('x')
  if before == '':
    return int(float(after) * base[0]), int(float(after) * base[1])
  return int(before), int(after)


def starts(total, window):
  """Where the windows of a length begin along an axis of `total` pixels."""
  if total < window:
    raise ValueError(f'{total} pixels do not hold a window of {window}.')
  for n in range(1, MOST_WINDOWS + 1):
    exact = np.linspace(0, total - window, n)
    s = [int(np.floor(value + 0.5)) for value in exact]  # half away from zero
    reaches = s[0] == 0 and s[-1] + window == total
    differ = all(s[k] != s[k + 1] for k in range(n - 1))
    touch = all(s[k] + window >= s[k + 1] for k in range(n - 1))
    clear = all(s[k] + window < s[k + 2] for k in range(n - 2))
    if reaches and differ and touch and clear:
      return s
  raise ValueError(f'No windows of {window} pixels cover {total}.')


def windows(height, width, window):
  """Even and odd windows (y0, y1, x0, x1), each in the order of the loops."""
  h, w = window
  even, odd = [], []
  for i, x0 in enumerate(starts(width, w)):
    for j, y0 in enumerate(starts(height, h)):
      same = even if i % 2 == j % 2 else odd
      same.append((y0, y0 + h, x0, x0 + w))
  return even, odd


def counts(height, width, window):
  """How many windows, of both classes, cover each pixel: [height, width]."""
  covered = np.zeros((height, width), int)
  even, odd = windows(height, width, window)
  for y0, y1, x0, x1 in even + odd:
    covered[y0:y1, x0:x1] += 1
  return covered


# --- Pixels and noise


def to_8_bit(image, mean, rescale=False):
  """Pixels of an image; `rescale` stretches its extremes to 0 and 255."""
  v = CONTRAST * image + mean
  low, high = (np.min(v), np.max(v)) if rescale else (0.0, 255.0)
  v = np.clip(v, low, high)
  v = 255 * (v - low) / (high - low)
  return v.astype(np.uint8)  # truncates


def from_8_bit(pixels, mean):
  """Image of pixels."""
  return pixels.astype(float) - mean


def resize(pixels, size, resample):
  """Pixels of another size (rows, cols)."""
  rows, cols = size
  return np.asarray(Image.fromarray(pixels).resize((cols, rows), resample))


def from_file(pixels, size, mean):
  """The image of a file, at a size: the first one, and every reference."""
  return from_8_bit(resize(pixels, size, Image.Resampling.BILINEAR), mean)


def enlarge(image, size, mean):
  """The image that the next size begins with."""
  pixels = resize(to_8_bit(image, mean), size, Image.Resampling.BICUBIC)
  return from_8_bit(pixels, mean)


def noise(seed, size, scale, blur, mean):
  """The image that a run without a file begins with."""
  draw = np.random.RandomState(seed)
  planes = scale * draw.normal(0, 1, (1, 3, *size))  # BGR
  pixels = to_8_bit(programs.rgb(planes[0]), mean)
  # Of bytes, and over the colors, too.
  return from_8_bit(ndimage.gaussian_filter(pixels, sigma=blur), mean)


# --- Objectives and regularizers


def amplify_layer(acts, l1=1.0, l2=1.0, clip=5.0):
  """What descends from a layer: minus |a|, minus a that is clipped."""
  return -l1 * np.abs(acts) - l2 * np.clip(acts, -clip, clip)


def amplify_neuron(acts, channel):
  """-1 at all positions of a channel."""
  cotangent = np.zeros(acts.shape)
  cotangent[channel] = -1
  return cotangent


def p_norm(y, p, scale=1.0):
  """Value and gradient of the sum of |y / scale|^p."""
  z = y / scale
  gradient = p / scale * np.sign(z) * np.abs(z) ** (p - 1)
  return np.sum(np.abs(z) ** p), gradient


def tv(x, beta=2.0, operator='naive', scale=1.0):
  """Value and gradient of the total variation of [h, w, c]."""
  across, down = (np.array(kernel, float) for kernel in KERNELS[operator])
  value, gradient = 0.0, np.zeros(x.shape)
  for c in range(x.shape[2]):
    z = x[:, :, c] / scale
    dx = signal.correlate2d(z, across, 'valid')
    dy = signal.correlate2d(z, down, 'valid')
    q = np.maximum(dx**2 + dy**2, 1e-3)
    value += np.sum(q ** (beta / 2))
    # r is of the clamped q, also where the clamp makes the value constant.
    r = beta / 2 * q ** (beta / 2 - 1)
    gradient[:, :, c] += signal.convolve2d(2 * dx * r, across, 'full')
    gradient[:, :, c] += signal.convolve2d(2 * dy * r, down, 'full')
  return value, gradient / scale


def rmsprop(cache, gradient, decay_rate=0.95, learning_rate=1.0):
  """The next cache (the first is 0), and the step downhill."""
  cache = decay_rate * cache + (1 - decay_rate) * gradient**2
  return cache, -learning_rate * gradient / np.sqrt(cache + 1e-8)


# --- The run


class Result(NamedTuple):
  """What a run gives.

  Attributes:
    image: the last, [h, w, 3].
    output: [h, w, 3], its pixels, as in the file that is written.
    images: the last of every size.
    statistics: dicts, by step, through all sizes.
    histories: {(y, x): [steps, 3]}, values before each step, in RGB.
  """

  image: np.ndarray
  output: np.ndarray
  images: list
  statistics: list
  histories: dict


def run(
  net,
  image,
  reference,
  mean,
  sizes,
  *,
  target_layer,
  image_type='amplify_layer',
  target_neuron=0,
  learning_rate=1.0,
  decay_rate=0.95,
  learning_rate_decay_iter=100,
  learning_rate_decay_fraction=1.0,
  num_steps=1000,
  use_pixel_learning_rates=False,
  amplify_l1_weight=1.0,
  amplify_l2_weight=1.0,
  amplify_grad_clip=5.0,
  alpha=6.0,
  p_scale=1.0,
  p_reg=1e-4,
  alpha_aux=6.0,
  p_scale_aux=1.0,
  p_reg_aux=0.0,
  beta=2.0,
  tv_reg=0.5,
  tv_reg_scale=1.0,
  tv_reg_step=0.0,
  tv_reg_step_iter=50,
  tv_grad_operator='naive',
  rescale_image=False,
  positions=(),
):
  """The images of the program, and what it prints of every step.

  Args:
    net: as in `network`; a window is its input.
    image: [h, w, 3], of the first size: of `noise` or of `from_file`.
    reference: pixels of the file, of any size, or None.
    mean: a number.
    sizes: of `sizes`.
    target_layer, ..., rescale_image: of the program.
    positions: (y, x) of the pixels to follow.
  """
  if image.shape[:2] != tuple(sizes[0]):
    raise ValueError(f'The image is of {image.shape}, not of {sizes[0]}.')
  images, statistics = [], []
  histories = {position: [] for position in positions}

  def gradient_of(patch):
    """At a window: the gradient, and the values of the target layer."""
    x = programs.bgr(patch)
    # Read behind the rectifier, but the gradient enters before it.
    acts = net.forward(x)[net.IN_PLACE.get(target_layer, target_layer)]
    if image_type == 'amplify_layer':
      cotangent = amplify_layer(
        acts, amplify_l1_weight, amplify_l2_weight, amplify_grad_clip
      )
    else:
      cotangent = amplify_neuron(acts, target_neuron)
    return programs.rgb(net.backward(x, target_layer, cotangent)), acts

  for k, (height, width) in enumerate(sizes):
    if k > 0:
      image = enlarge(image, (height, width), mean)
    image = image.copy()  # updated in place below
    target = None
    if reference is not None:
      target = from_file(reference, (height, width), mean)
    tv_now, lr_now, caches = tv_reg, learning_rate, {}
    window = net.size, net.size
    classes = windows(height, width, window)
    pixel_rates = 1 / counts(height, width, window)[:, :, None]

    for t in range(num_steps):
      for y, x in positions:
        histories[y, x].append(image[y, x].copy())

      for regions in classes:
        if not regions:
          continue
        # All from the image as it is before any window of the class moves.
        pairs = [gradient_of(image[a:b, c:d]) for a, b, c, d in regions]
        for region, (of_target, _) in zip(regions, pairs, strict=True):
          y0, y1, x0, x1 = region
          patch = image[y0:y1, x0:x1]  # a view: with the earlier windows
          y = patch if target is None else patch - target[y0:y1, x0:x1]
          p_loss, p_grad = p_norm(y, alpha, p_scale)
          _, p_aux_grad = p_norm(patch, alpha_aux, p_scale_aux)
          tv_loss, tv_grad = tv(patch, beta, tv_grad_operator, tv_reg_scale)
          of_p, of_p_aux = p_reg * p_grad, p_reg_aux * p_aux_grad
          of_tv = tv_now * tv_grad
          g = of_target + of_p + of_p_aux + of_tv

          cache = caches.get(region, np.zeros(g.shape))
          caches[region], step = rmsprop(cache, g, decay_rate, lr_now)
          if use_pixel_learning_rates:
            step = step * pixel_rates[y0:y1, x0:x1]
          patch += step

      # What the text leaves open. All is in network units. Losses are without
      # their weights, and of the pixels before the window's step. of_tv has
      # the weight that the step had, though the program prints after the
      # weight has changed. The step is what was added: with the rates of its
      # pixels. Pixels are those after the step; one of 0 gives inf, or nan.
      # There is one dict by step: the program prints every output_iter.
      with np.errstate(divide='ignore', invalid='ignore'):
        relative = np.abs(step) / np.abs(patch)
      now = {
        'size': k + 1,
        'iteration': t + 1,
        'p_loss': p_loss,
        'tv_loss': tv_loss,
        'p_grad': np.mean(np.abs(of_p)),
        'p_aux_grad': np.mean(np.abs(of_p_aux)),
        'tv_grad': np.mean(np.abs(of_tv)),
        'target_grad': np.mean([np.abs(grad) for grad, _ in pairs]),
        'mean_step': np.mean(np.abs(step)),
        'median_step': np.median(np.abs(step)),
        'image_mean': np.mean(image),
        'image_std': np.std(image),
        'relative_step': np.mean(relative),
      }
      if image_type == 'amplify_neuron':
        # Of the whole class: as of a batch that holds it.
        now['target'] = np.mean([acts[target_neuron] for _, acts in pairs])
      statistics.append(now)

      if (t + 1) % tv_reg_step_iter == 0:
        tv_now += tv_reg_step
      if (t + 1) % learning_rate_decay_iter == 0:
        lr_now *= learning_rate_decay_fraction
    images.append(image)

  output = to_8_bit(image, mean, rescale_image)
  histories = {where: np.array(rows) for where, rows in histories.items()}
  return Result(image, output, images, statistics, histories)
