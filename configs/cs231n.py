"""Images of classes as in Stanford's CS231n of 2016.

The class visualisation of its third assignment: jitter, gradient ascent with
an L2 penalty, a clip to the range of pixels, a light blur. The course's rate,
10000, is for its own network on images of 64 pixels; this one is for
EfficientNet-Lite0. Expected: logits of 10 to 36; under noise a flamingo, a
pineapple, daisies and a volcano are plain.

  vizjax run --config=cs231n --workdir=DIR
  ... --config.units=tarantula,hen --config.jitter=16
"""

from vizjax import build


def get_config():
  config = build.config()

  # Which network and which units.
  config.model = "load('efficientnet_lite0')"
  config.layer = 'logits'
  config.units = 'hen,tarantula,flamingo,monarch,pineapple,daisy,pizza,volcano'

  # Numbers.
  config.std = 1.0  # grey levels of the start
  config.steps = 101  # 100 updates; the image after the last one is kept
  config.rate = 1000.0  # grey levels per unit of score and gradient
  config.penalty = 1e-6  # score per squared grey level
  config.jitter = 4  # pixels, both ways
  config.period = 1  # steps from blur to blur

  # Formulas.
  config.parameterization = 'pixels(model, std)'
  config.transforms = 'roll(jitter)'
  config.objective = 'neuron(layer) - penalty * l2()'
  config.optimizer = 'sgd(rate)'
  config.projections = 'clip_pixels(model) | every(period, weighted_blur())'
  config.activation = 'neuron(layer)'
  config.result = 'last'
  return config
