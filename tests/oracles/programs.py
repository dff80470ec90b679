"""Two published programs in NumPy and SciPy, step by step.

Images are BGR [c, h, w] less their mean, as there; `rgb` and `bgr` convert at
the border. A network has `forward(x)`, `backward(x, layer, cotangent)` and
`IN_PLACE`, as `network.AlexNet`.
"""

import numpy as np
from scipy import ndimage


def rgb(x):
  """BGR [c, h, w] as RGB [h, w, c]."""
  return np.moveaxis(x[::-1], 0, -1)


def bgr(image):
  """RGB [h, w, c] as BGR [c, h, w]."""
  return np.moveaxis(image, -1, 0)[::-1]


def blur(x, sigma):
  return np.stack([ndimage.gaussian_filter(channel, sigma) for channel in x])


# --- Yosinski et al. 2015, deep-visualization-toolbox: optimize_image


def first_image(start_at, mean, seed):
  draw = np.random.RandomState(seed)
  if start_at == 'mean_plus_rand':
    return draw.normal(0, 10, mean.shape)
  if start_at == 'randu':
    return draw.uniform(0, 255, mean.shape) - mean
  return np.zeros(mean.shape)


def learning_rate(policy, params, obj, grad):
  square = np.sum(grad**2)
  if policy == 'constant':
    return params['lr']
  if policy == 'progress':
    return min(params['max_lr'], params['desired_prog'] / square)
  desired = min(params['early_prog'], params['late_prog_mult'] * (1 - obj))
  return min(params['max_lr'], desired / square)


def zero_pixels(xx, size, percentile):
  """0 in all channels where `size` [h, w] is below its percentile."""
  xx = xx.copy()
  xx[:, size < np.percentile(size, percentile)] = 0
  return xx


def regularize(
  xx,
  grad,
  ii,
  decay,
  blur_radius,
  blur_every,
  small_val_percentile,
  small_norm_percentile,
  px_benefit_percentile,
  px_abs_benefit_percentile,
):
  """What happens to the image after each update."""
  xx = (1 - decay) * xx
  if blur_every != 0 and blur_radius > 0 and ii % blur_every == 0:
    xx = blur(xx, blur_radius)
  if small_val_percentile > 0:
    threshold = np.percentile(np.abs(xx), small_val_percentile)
    xx = np.where(np.abs(xx) < threshold, 0, xx)
  if small_norm_percentile > 0:
    norms = np.sqrt(np.sum(xx**2, 0))
    xx = zero_pixels(xx, norms, small_norm_percentile)
  if px_benefit_percentile > 0:
    benefit = np.sum(grad * -xx, 0)
    xx = zero_pixels(xx, benefit, px_benefit_percentile)
  if px_abs_benefit_percentile > 0:
    benefit = np.abs(np.sum(grad * -xx, 0))
    xx = zero_pixels(xx, benefit, px_abs_benefit_percentile)
  return xx


def optimize_image(
  network,
  mean,
  push_layer,
  push_unit,
  *,
  start_at='mean_plus_rand',
  rand_seed=0,
  push_dir=1.0,
  decay=0.0,
  blur_radius=0.0,
  blur_every=0,
  small_val_percentile=0.0,
  small_norm_percentile=0.0,
  px_benefit_percentile=0.0,
  px_abs_benefit_percentile=0.0,
  lr_policy='constant',
  lr_params=None,
  max_iter=20,
):
  """The record of one run: lists by step, and the images that are kept.

  Args:
    network: see above.
    mean: [c, h, w] or [c], BGR.
    push_layer: the gradient enters at the layer, the value is read from its
      blob, that is behind its rectifier if it has one.
    push_unit: (channel, row, col); (channel, 0, 0) of a vector.
    start_at, rand_seed, ..., max_iter: as in the program; any sign of
      push_dir goes.

  Returns:
    {'obj', 'idxmax', 'ismax', 'norm', 'dist', 'std', 'xx': lists, 'x0',
    'best': (ii, obj, xx), 'last', 'majority': the same or None,
    'meta_result'}.
  """
  lr_params = {'lr': 1.0} if lr_params is None else lr_params
  if mean.ndim == 1:
    shape = (len(mean), network.size, network.size)
    mean = np.broadcast_to(mean[:, None, None], shape)
  x0 = first_image(start_at, mean, rand_seed)
  xx = x0.copy()
  lists = ('obj', 'idxmax', 'ismax', 'norm', 'dist', 'std', 'xx')
  result = {name: [] for name in lists}
  result |= {'x0': x0, 'best': None, 'majority': None, 'meta_result': None}
  for ii in range(max_iter):
    xx = np.minimum(255, np.maximum(0, xx + mean)) - mean

    blobs = network.forward(xx)
    acts = blobs[network.IN_PLACE.get(push_layer, push_layer)]
    acts = acts.reshape(len(acts), *(acts.shape[1:] or (1, 1)))
    where = np.unravel_index(np.argmax(acts), acts.shape)
    idxmax = tuple(int(i) for i in where)
    obj = acts[push_unit]

    result['obj'].append(obj)
    result['idxmax'].append(idxmax)
    result['ismax'].append(idxmax == push_unit)
    result['norm'].append(np.sqrt(np.sum(xx**2)))
    result['dist'].append(np.sqrt(np.sum((xx - x0) ** 2)))
    result['std'].append(np.sqrt(np.mean((xx - np.mean(xx)) ** 2)))
    result['xx'].append(xx)
    now = ii, obj, xx
    result['last'] = now
    if idxmax == push_unit and result['majority'] is None:
      result['majority'] = now
    if result['best'] is None or obj > result['best'][1]:
      result['best'] = now

    one_hot = np.zeros(acts.shape)
    one_hot[push_unit] = push_dir
    one_hot = one_hot.reshape(blobs[push_layer].shape)
    grad = network.backward(xx, push_layer, one_hot)
    if np.sum(grad**2) == 0:
      result['meta_result'] = 'Metaresult: grad 0 failure'
      break
    lr = learning_rate(lr_policy, lr_params, obj, grad)
    if ii < max_iter - 1:
      xx = regularize(
        xx + lr * grad,
        grad,
        ii,
        decay,
        blur_radius,
        blur_every,
        small_val_percentile,
        small_norm_percentile,
        px_benefit_percentile,
        px_abs_benefit_percentile,
      )
  if result['meta_result'] is None:
    ever = 'success' if any(result['ismax']) else 'failure'
    result['meta_result'] = f'Metaresult: majority {ever}'
  return result


# --- cnnpref: prefer_img_gd


def p_norm(x, p):
  """Value and gradient of the sum of |x|^p."""
  return np.sum(np.abs(x) ** p), p * np.abs(x) ** (p - 1) * np.sign(x)


def tv_norm(x, beta):
  """Value and gradient of the total variation of [c, h, w]."""
  down, right = np.zeros(x.shape), np.zeros(x.shape)
  down[:, :-1] = x[:, 1:] - x[:, :-1]
  right[:, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
  v = (down**2 + right**2) ** (beta / 2)
  value = np.sum(v)
  w = np.maximum(v, 1e-5) ** (2 * (beta / 2 - 1) / beta)
  grad = -w * down - w * right
  grad[:, 1:] += (w * down)[:, :-1]
  grad[:, :, 1:] += (w * right)[:, :, :-1]
  return value, beta * grad


def by_mean_abs(grad):
  size = np.mean(np.abs(grad))
  return grad / size if size > 0 else grad


def roll(x, right, down):
  return np.roll(np.roll(x, right, 2), down, 1)


def prefer_img_gd(
  network,
  mean,
  layer,
  feature_mask,
  *,
  seed=0,
  feature_weight=1.0,
  initial_image=None,
  iter_n=200,
  lr_start=2.0,
  lr_end=1e-10,
  momentum_start=0.9,
  momentum_end=0.9,
  decay_start=0.1,
  decay_end=0.1,
  grad_normalize=True,
  image_jitter=True,
  jitter_size=32,
  jitter_shifts=None,
  image_blur=True,
  sigma_start=2.0,
  sigma_end=0.5,
  use_p_norm_reg=False,
  p=3,
  lamda_start=0.5,
  lamda_end=0.5,
  use_TV_norm_reg=False,
  TVbeta=2,
  TVlamda_start=0.5,
  TVlamda_end=0.5,
  clip_extreme=False,
  clip_extreme_every=4,
  e_pct_start=1,
  e_pct_end=1,
  clip_small_norm=False,
  clip_small_norm_every=4,
  n_pct_start=5,
  n_pct_end=5,
  clip_small_contribution=False,
  clip_small_contribution_every=4,
  c_pct_start=5,
  c_pct_end=5,
):
  """The image of prefer_img_gd, and what went through it.

  Args:
    network: see above.
    mean: [c], BGR.
    layer: its units are read, and the gradient enters, before a rectifier.
    feature_mask: of the layer's shape, 1 at the units.
    seed: of the noise image, the start and the shifts, drawn in this order.
    initial_image: RGB [h, w, c] from 0 to 255; None draws it.
    jitter_shifts: (right, down) of each step; None draws them.
    feature_weight, iter_n, ..., c_pct_end: as in the program.

  Returns:
    {'image': the last, 'n0', 'shifts', and by step 'feature': the mean of
    the masked units, 'xx': the image that entered the step, 'p_norm', 'tv':
    over n0 squared}.
  """
  size = network.size
  draw = np.random.RandomState(seed)
  noise = draw.randint(0, 256, (size, size, 3))
  n0 = np.sqrt(np.sum(noise.astype(float) ** 2)) / 2
  if initial_image is None:
    initial_image = draw.randint(0, 256, (size, size, 3))
  x = bgr(initial_image) - mean[:, None, None]
  velocity = np.zeros(x.shape)
  result = {'n0': n0}
  result |= {name: [] for name in ('shifts', 'feature', 'xx', 'p_norm', 'tv')}

  for t in range(iter_n):

    def now(start, end, t=t):
      return start + t * (end - start) / iter_n

    result['xx'].append(x)
    if image_jitter:
      if jitter_shifts is None:
        ox, oy = draw.randint(-jitter_size, jitter_size + 1, 2)
      else:
        ox, oy = jitter_shifts[t]
      result['shifts'].append((int(ox), int(oy)))
      x, velocity = roll(x, ox, oy), roll(velocity, ox, oy)

    acts = network.forward(x)[layer]
    result['feature'].append(np.mean(acts[feature_mask == 1]))
    cotangent = np.where(feature_mask == 1, -feature_weight, 0.0)
    grad = network.backward(x, layer, cotangent)
    if grad_normalize:
      grad = by_mean_abs(grad)
    velocity = now(momentum_start, momentum_end) * velocity + grad

    if use_p_norm_reg:
      value, slope = p_norm(x, p)
      value, slope = value / n0**2, slope / n0**2
      slope = by_mean_abs(slope) if grad_normalize else slope
      velocity = velocity + now(lamda_start, lamda_end) * slope
      result['p_norm'].append(value)
    if use_TV_norm_reg:
      value, slope = tv_norm(x, TVbeta)
      value, slope = value / n0**2, slope / n0**2
      slope = by_mean_abs(slope) if grad_normalize else slope
      velocity = velocity + now(TVlamda_start, TVlamda_end) * slope
      result['tv'].append(value)

    x = x - now(lr_start, lr_end) * velocity

    if clip_extreme and (t + 1) % clip_extreme_every == 0:
      e = now(e_pct_start, e_pct_end)
      low, high = np.percentile(x, [e / 2, 100 - e / 2])
      x = np.minimum(np.maximum(x, low), high)
    if clip_small_norm and (t + 1) % clip_small_norm_every == 0:
      norms = np.sqrt(np.sum(x**2, 0))
      x = zero_pixels(x, norms, now(n_pct_start, n_pct_end))
    if clip_small_contribution and (t + 1) % clip_small_contribution_every == 0:
      norms = np.sqrt(np.sum((x * grad) ** 2, 0))
      x = zero_pixels(x, norms, now(c_pct_start, c_pct_end))

    if image_jitter:
      x = roll(x, -ox, -oy)
      velocity = roll(velocity - grad, -ox, -oy) + grad
    x = (1 - now(decay_start, decay_end)) * x
    sigma = now(sigma_start, sigma_end)
    if image_blur and sigma > 0:
      x = blur(x, sigma)
  result['image'] = rgb(x + mean[:, None, None])
  return result
