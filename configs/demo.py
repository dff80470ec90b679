"""64 units of AlexNet's last convolution, in a few minutes on a laptop.

Lucid's image (Fourier coefficients of decorrelated colours, Olah et al. 2017,
https://distill.pub/2017/feature-visualization) under jitter alone, on exactly
what a unit sees: 163 x 163 pixels. Expected: activations of 72 to 394, 212 in
the mean; dogs, monkeys, pots, domes and woven cloth can be told; a minute and
a half on two cores of a CPU.

  vizjax run --config=demo --workdir=DIR
"""

from vizjax import build


def get_config():
  config = build.config()

  # Which network and which units.
  config.model = "load('alexnet_features')"
  config.layer = 'conv5'
  config.units = '0:64'

  # Numbers.
  config.steps = 128
  config.rate = 0.02  # Adam's, of Fourier coefficients
  config.shift = 17  # pixels of jitter: of 180 the Fourier transform is fast

  # Formulas.
  config.parameterization = 'fourier(model)'
  config.transforms = 'jitter(shift)'
  config.objective = 'neuron(layer)'
  config.optimizer = 'adam(rate)'
  config.activation = 'neuron(layer)'
  config.result = 'last'
  config.retries = 1

  # What is measured of the final image.
  config.metrics = (
    'rank = rank(layer), rectified = neuron(rectifier),'
    ' slope = spectrum_slope()'
  )
  config.robust = 'jitter(8) | scale(0.9, 1.1) | rotate(10)'
  return config
