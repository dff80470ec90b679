"""Images of classes by gradient ascent: Simonyan et al. 2013, section 2.

https://arxiv.org/abs/1312.6034, eq. 1: the score of a class before the
softmax, less `penalty` times the sum of squares, from the mean image. The
paper gives neither the penalty nor a rate; these are for EfficientNet-Lite0,
whose gradient is next to nothing at the mean image, so that steps are of one
size. Expected: logits of 57 to 87; parts of objects (the neck of the ostrich,
eyes, feathers) in much fine noise.

  vizjax run --config=simonyan2013 --workdir=DIR
  ... --config.units=flamingo,goldfish --config.penalty=1e-5
  ... --config.model="load('bvlc_alexnet')" --config.layer=fc8
"""

from vizjax import build


def get_config():
  config = build.config()

  # Which network and which units.
  config.model = "load('efficientnet_lite0')"
  config.layer = 'logits'
  config.units = (
    'goose,ostrich,limousine,dumbbell,cup,dalmatian,bell pepper,lemon,husky'
  )
  config.start = 'mean_image(model)'

  # Numbers.
  config.steps = 200
  config.rate = 0.5  # mean grey levels a step
  config.penalty = 1e-6  # score per squared grey level

  # Formulas.
  config.parameterization = 'pixels(model)'
  config.objective = 'neuron(layer) - penalty * l2()'
  config.optimizer = 'normalize_by_mean_abs() | sgd(rate)'
  config.activation = 'neuron(layer)'
  config.result = 'last'
  return config
