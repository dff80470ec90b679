"""Networks that a formula can name: config.model = 'toynets.net()'."""

import conftest
import jax.numpy as jnp

from vizjax import core


def net() -> core.Model:
  """The toy network of conftest."""
  return conftest.toy()


def broken() -> core.Model:
  """The same with NaN in the bias of one channel of conv2."""
  model = conftest.toy()
  bias = model.params['conv2']['bias'].at[1].set(jnp.nan)
  model.params['conv2']['bias'] = bias
  return model
