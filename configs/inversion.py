"""Feature inversion by other ways: an image with the features of a photograph.

  fourier      Fourier coefficients of decorrelated colours, Adam
  pixels       pixels, Adam, a weight on the variation
  lbfgs        pixels within 0-255, L-BFGS-B
  caricature   what the layer sees, more so: Olah et al. 2018, of its rectifier
               and under transforms, as lucid's
  blog         the bare form: pixels, gradient descent, an L2 penalty
  cs231n       of Stanford's course of 2016: the same, clipped and blurred

  vizjax run --config=inversion \\
    --config.photograph='DIR/*.jpg' --config.layer='conv*' --workdir=DIR
  vizjax export --format=grid --workdir=DIR

Under --config.transforms, such as 'roll(8) | rotate(10)', the photograph goes
through the same draws as the image that is compared with it.

`activation` in the store is the error, |a - a0|^2 / |a0|^2, but of caricatures
their score.
"""

from vizjax import build
from vizjax.errors import UserError

_DESCENT = {
  'std': 1.0,  # grey levels of the start
  'rate': 0.1,
  'parameterization': 'pixels(model, std)',
  'objective': '-feature_distance(layer) - penalty * l2()',
  'optimizer': 'sgd(rate)',
  'result': 'last',
}
FORMS = {
  'fourier': {},
  'pixels': {
    'parameterization': 'pixels(model)',
    'projections': 'clip_pixels(model)',
    'rate': 2.0,
    'tv_weight': 1e-9,
  },
  'lbfgs': {
    'parameterization': 'pixels(model)',
    'optimizer': 'lbfgsb_pixels(model, ftol=0, gtol=0)',
    'tv_weight': 1e-9,
    'steps': 200,
  },
  'caricature': {
    'data': 'content = activations(model, rectifier, photograph, fit)',
    'transforms': (
      'pad(12) | jitter(8) | scale(0.9, 1.1, count=11)'
      ' | rotate(10, count=21, zeros=5) | jitter(4) | trim(model)'
    ),
    'objective': 'caricature(rectifier, power)',
    'activation': 'caricature(rectifier, power)',
    'steps': 512,
  },
  'blog': {**_DESCENT, 'penalty': 1e-4},
  'cs231n': {
    **_DESCENT,
    'penalty': 1e-7,
    'period': 10,
    'steps': 501,  # 500 updates
    'projections': 'clip_pixels(model) | every(period, weighted_blur())',
  },
}


def get_config(form='fourier'):
  if form not in FORMS:
    raise UserError(
      f'inversion:{form} is not one of its forms: type inversion:'
      f'{", :".join(FORMS)}'
    )
  config = build.config()

  # Which network, layers and photographs.
  config.model = "load('alexnet_features')"
  config.layer = 'conv3'
  config.photograph = ''  # or several: 'DIR/*.jpg'
  config.each = 'photograph'
  config.fit = 'middle'  # what is too wide is cut; or 'whole': squeezed

  # Numbers.
  config.steps = 512
  config.rate = 0.05  # of the optimizer
  config.tv_weight = 0.0  # error per squared difference of grey levels
  config.penalty = 0.0  # score per squared grey level
  config.power = 1.0  # of the cosine, of a caricature
  config.std = 0.01  # of the start
  config.period = 1  # steps from blur to blur

  # Formulas.
  config.parameterization = 'fourier(model, std)'
  config.data = 'content = activations(model, layer, photograph, fit)'
  config.objective = '-feature_error(layer) - tv_weight * total_variation()'
  config.optimizer = 'adam(rate)'
  config.activation = 'feature_error(layer)'

  # How to run it.
  config.box = False
  config.update(FORMS[form])
  return config
