"""A sweep of seconds: ten units of the toy network, two at a time."""

# Imported before JAX starts, for it asks for two devices.
import toynets

from vizjax import build


def get_config():
  config = build.config()
  config.model = f'{toynets.__name__}.net()'
  config.layer = 'conv2,fc3'
  config.units = '0:5'
  config.steps = 6
  config.rate = 0.05
  config.parameterization = 'fourier(model)'
  config.transforms = 'jitter(2)'
  config.optimizer = 'adam(rate)'
  config.trace = 'norm = l2_norm()'
  config.save_every = 3
  config.batch = 2
  return config
