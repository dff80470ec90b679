"""Channels as lucid draws them by default (Olah et al. 2017).

https://distill.pub/2017/feature-visualization; render_vis of
https://github.com/tensorflow/lucid with no options: 128 x 128 pixels, Fourier
coefficients of decorrelated colours, five transforms, Adam 0.05, and the
image after 513 updates.

Four things differ. Scaling and rotation keep the canvas, interpolate
linearly and fill with grey, where lucid resizes, takes the nearest pixel and
fills with black. The network sees 128 x 128 pixels of the result, as lucid's
crop_or_pad_to has it for networks of one size; without it lucid's network sees
125 to 154 pixels, magnified from their corner. Every image has its own draws;
lucid's batch shares them. Lucid lets a gradient through closed rectifiers
during the first 16 steps; this does not, so a channel that is silent on the
start stays grey.

Expected of units 0 to 15 of conv5: mean activations of the channel from 63 to
201, 125 in the mean; textures of eyes, lattice, pots and globes.

  vizjax run --config=olah2017 --workdir=DIR
  ... --config.layer=conv4 --config.units=0:16
  ... --config.objective='neuron(layer)'
"""

from vizjax import build


def get_config():
  config = build.config()

  # Which network and which units.
  config.model = "load('alexnet_features')"
  config.layer = 'conv5'
  config.shape = '128x128'

  # Numbers.
  config.steps = 514  # the last one is evaluated, not followed by an update
  config.rate = 0.05  # Adam's, of Fourier coefficients

  # Formulas.
  config.parameterization = 'fourier(model, std=0.01)'
  config.transforms = (
    'pad(12) | jitter(8) | scale(0.9, 1.1, count=11)'
    ' | rotate(10, count=21, zeros=5) | jitter(4) | trim(model)'
  )
  config.objective = 'channel(layer)'
  config.optimizer = 'adam(rate)'
  config.activation = 'channel(layer)'
  config.result = 'last'
  return config
