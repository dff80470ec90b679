"""Classes of ImageNet, as EfficientNet-Lite0 scores them.

Lucid's image and transforms (Olah et al. 2017,
https://distill.pub/2017/feature-visualization) at 224 x 224 pixels, before
the softmax: Simonyan et al. 2013, https://arxiv.org/abs/1312.6034, section 2,
say why. The raw contrast is low; the atlas stretches it. Expected of the
twelve below: logits of 31 to 53; ostrich, mask, daisy and pineapple are plain,
beacon and tarantula are not; seven minutes on two cores of a CPU.

  vizjax run --config=classes --workdir=DIR
  ... --config.units=flamingo,zebra,'"black stork, Ciconia nigra"',130
"""

from vizjax import build


def get_config():
  config = build.config()

  # Which network and which units.
  config.model = "load('efficientnet_lite0')"
  config.layer = 'logits'
  config.units = (
    'flamingo,zebra,ostrich,bell pepper,goldfish,tarantula,monarch,pineapple,'
    'beacon,mask,schooner,daisy'
  )

  # Numbers.
  config.steps = 220
  config.rate = 0.05  # Adam's, of Fourier coefficients

  # Formulas.
  config.parameterization = 'fourier(model)'
  config.transforms = (
    'pad(12) | jitter(8) | scale(0.9, 1.1) | rotate(10) | jitter(4)'
  )
  config.objective = 'neuron(layer)'
  config.optimizer = 'adam(rate)'
  config.activation = 'neuron(layer)'
  config.result = 'last'
  return config
