"""The networks that have a name, with their pretrained weights."""

from collections.abc import Mapping
import importlib
from typing import Any

from vizjax import core
from vizjax import errors
from vizjax.errors import UserError
from vizjax.models.networks import googlenet
from vizjax.models.networks import published

# Modules whose `load` finds weights in an installed package.
_PACKAGED = ('alexnet_features', 'efficientnet_lite0', 'vgg16_features')

# Modules whose `network` describes what the zoo has weights of.
_FAMILIES = {
  'alexnet': (
    'bvlc_alexnet',
    'bvlc_caffenet',
    'caffenet_yos',
    'places205_alexnet',
    'torchvision_alexnet',
  ),
  'googlenet': (
    'bvlc_googlenet',
    'places205_googlenet',
    'torchvision_googlenet',
  ),
  'vgg': ('vgg16', 'vgg19', 'torchvision_vgg16', 'torchvision_vgg19'),
  'deepsim': ('deepsim_fc6', 'deepsim_fc7', 'deepsim_pool5'),
}

NAMES = (*_PACKAGED, *(n for names in _FAMILIES.values() for n in names))


def load(
  name: str,
  weights: str | Mapping[str, Any] | None = None,
  *,
  transform_input: bool | None = None,
) -> core.Model:
  """A network with its pretrained weights.

  Args:
    name: one of `NAMES`.
    weights: a file to read instead of the one that is installed or, by
      `vizjax weights fetch`, downloaded; or {name: array}, such as a function
      of your own reads from a file of another format.
    transform_input: of the network that a file for 'torchvision_googlenet' was
      trained as; known for the published file, needed for any other.

  Raises:
    UserError: an unknown name, or a file that is not the expected one or not
      here: what to type.
    OSError: a file that cannot be read.
  """
  if name not in NAMES:
    # Of several that begin so, one that needs no download.
    begun = [known for known in NAMES if known.startswith(f'{name}_')]
    hint = f' Did you mean {begun[0]!r}?' if begun else ''
    hint = hint or errors.hint(str(name), NAMES)
    raise UserError(
      f'{name!r} is not a network of vizjax. Networks: {", ".join(NAMES)}.'
      + hint
    )
  if not isinstance(weights, str | None):
    return _of_arrays(name, weights, transform_input)
  if name == googlenet.TORCHVISION:
    path = published.find(name, weights)
    transforms = googlenet.transforms(path, transform_input)
    return published.read(name, googlenet.network(name, transforms), path)
  if transform_input is not None:
    raise UserError(
      f'load({name!r}) was given transform_input={transform_input!r}, which is '
      f'an argument of {googlenet.TORCHVISION!r} alone: leave it out'
    )
  if name in _PACKAGED:
    return importlib.import_module(f'vizjax.models.networks.{name}').load(
      weights
    )
  return published.load(name, described(name), weights)


def _of_arrays(
  name: str, weights: Mapping[str, Any], transform_input: bool | None
) -> core.Model:
  """Returns a published network with arrays of the user's."""
  if not isinstance(weights, Mapping) or name in _PACKAGED:
    raise UserError(
      f'load({name!r}) was given weights of the type {type(weights).__name__}, '
      'expected a file'
      + ('' if name in _PACKAGED else ', or a dictionary {name: array}')
    )
  network = described(name)
  if name == googlenet.TORCHVISION:
    if not isinstance(transform_input, bool):
      raise UserError(
        f'load({name!r}, weights) needs to know how the network was trained: '
        f'type load({name!r}, weights, transform_input=True), or False'
      )
    network = googlenet.network(name, transform_input)
  return published.of_arrays(name, network, weights)


def described(name: str) -> published.Network:
  """Returns the definition of a published network, without weights.

  Args:
    name: one of `NAMES` whose weights are a file, not a package.

  Raises:
    UserError: an unknown name, or a network that comes with its weights.
  """
  families = {n: family for family, names in _FAMILIES.items() for n in names}
  if name not in families:
    raise UserError(
      f'{name!r} has no definition without weights, expected one of '
      f'{", ".join(families)}.{errors.hint(str(name), families)}'
    )
  family = families[name]
  return importlib.import_module(f'vizjax.models.networks.{family}').network(
    name
  )
