"""How far the formulas of a configuration reach: layers, units, replicates.

A formula that scores reads one channel, one position of it, a whole map, or
nothing but the image. From that follow how much of the network is run, the
part of the image that a unit is made on, and how many units a layer has.
"""

from collections.abc import Collection
import dataclasses

from ml_collections import config_dict

from vizjax import core
from vizjax import models
from vizjax.build import geometry as geometry_
from vizjax.build import inputs
from vizjax.build import vocabulary
from vizjax.errors import UserError
from vizjax.models import receptive_fields

# Terms that read one channel, one position, or nothing but the image.
_OF_A_CHANNEL = {'neuron', 'channel', 'amplify_neuron'}
_OF_A_POSITION = {'neuron', 'direction_neuron', 'rank'}
_OF_THE_IMAGE = {
  'total_variation', 'p_norm', 'l1', 'l2', 'l2_norm', 'std', 'spectrum_slope',
  'distance',
}  # fmt: skip

# Terms that turn with the sign of a run, and those that compare replicates.
_TURNING = {
  'neuron', 'channel', 'amplify_neuron', 'layer', 'mask', 'direction',
  'direction_neuron',
}  # fmt: skip
_OF_REPLICATES = {'diversity', 'distance'}


def check(config: config_dict.ConfigDict) -> None:
  """Refuses objectives that have no least, or that need replicates.

  Raises:
    UserError: with the knob, its value, and what was expected.
  """
  called = {name for name, _ in vocabulary.calls(config, ('objective',))}
  own = any('.' in name for name in called)  # may read target['sign']
  if config.sign != 'max' and config.procedure.strip():
    raise UserError(
      f'config.sign is {config.sign!r}, but config.procedure, '
      f'{config.procedure!r}, is a published program that only maximizes: '
      'leave one of them out'
    )
  if config.sign != 'max' and not (own or called & _TURNING):
    raise UserError(
      f'config.sign is {config.sign!r}, but config.objective is '
      f'{config.objective!r}, of which there is no least: expected one of '
      f'{", ".join(sorted(_TURNING))} in it'
    )
  if 'diversity' in called and (
    config.replicates < 2 or config.result == 'best'
  ):
    raise UserError(
      f'config.objective compares the images of a unit, config.replicates is '
      f'{config.replicates} and config.result {config.result!r}: expected at '
      'least 2, of the same step: type --config.replicates=4 '
      '--config.result=last'
    )


def check_layers(
  config: config_dict.ConfigDict,
  layers: Collection[str],
  known: Collection[str],
) -> None:
  """Refuses to score layers by terms that cannot see them.

  A term of the user's reads the image as acts['image'], and so it cannot read
  a layer of that name.

  Args:
    config: the configuration.
    layers: those that are asked for.
    known: all layers of the network.

  Raises:
    UserError: with the layer and the term, and what to type.
  """
  hidden = {*known} & {*core.RESERVED}
  for name, given in vocabulary.calls(config):
    read = hidden & {*layers, *(s for s in given if isinstance(s, str))}
    if '.' in name and read:
      layer = min(read)
      raise UserError(
        f'{name}() cannot read layer {layer!r}: to a term of your own '
        f'acts[{layer!r}] is what the docs of vizjax.objectives say, expected '
        "a layer of another name: type --config.objective='neuron(layer)', or "
        'rename the layer'
      )


def of_a_position(config: config_dict.ConfigDict) -> bool:
  """Whether the score is of one place of a layer's map."""
  return any(name in _OF_A_POSITION for name, _ in vocabulary.calls(config))


def group(config: config_dict.ConfigDict) -> int | None:
  """How many images of a unit are compared with each other; None for none."""
  compared = any(name in _OF_REPLICATES for name, _ in vocabulary.calls(config))
  return config.replicates if compared else None


def cut(
  config: config_dict.ConfigDict, model: core.Model, layer: str, boxed: bool
) -> tuple[core.Model, geometry_.Geometry]:
  """The model down to the layers that the formulas mention, and its sizes."""
  called = vocabulary.calls(config)
  if boxed:
    model = models.boxed(model, layer)
  elif not any('.' in name for name, _ in called):
    # A function from elsewhere may read any layer.
    rectifier = models.rectifier(model, layer)
    texts = {s for _, found in called for s in found if isinstance(s, str)}
    mentioned = {layer, rectifier, *texts}
    mentioned = mentioned.union(*(vocabulary.names(s) for s in texts))
    known = {info.name for info in model.layers}
    model = models.cut(model, tuple(mentioned & known))
  shape = vocabulary.shape(config)
  h, w, channels = model.input_shape
  size = (h, w) if shape is None else shape
  here = dataclasses.replace(model, input_shape=(*size, channels))
  links = vocabulary.links(
    config, 'transforms', vocabulary.knobs(config, here, layer)
  )
  if shape is None:
    geometry = geometry_.of_view(links, (h, w), channels)
  else:
    geometry = geometry_.of_canvas(links, shape, channels)
  mean = model.mean.shape[:2]
  if model.mean.ndim == 3 and {geometry.canvas, geometry.view} != {mean}:
    raise UserError(
      f'the mean image is {mean}, but the canvas is {geometry.canvas} and the '
      f'view {geometry.view}: give config.mean as r,g,b'
    )
  return model, geometry


def receptive_field(
  config: config_dict.ConfigDict, model: core.Model, layer: str
) -> receptive_fields.Field | None:
  """What the scored unit sees; None where it is not one unit of the layer."""
  receptive_field_of = {
    info.name: info.receptive_field for info in model.layers
  }
  receptive_field_of['layer'] = receptive_field_of.get(layer)
  called = vocabulary.calls(config)
  for name, strings in called:
    if name not in _OF_A_POSITION | _OF_THE_IMAGE:
      return None
    if name in _OF_A_POSITION and any(
      receptive_field_of.get(other) != receptive_field_of['layer']
      for other in strings
      if isinstance(other, str)
    ):
      return None  # a unit of another layer stands elsewhere
  return receptive_field_of['layer'] if of_a_position(config) else None


def count(
  config: config_dict.ConfigDict, act: tuple[int, ...], photographs: int
) -> int:
  """How many units a layer has for this objective."""
  called = {name for name, _ in vocabulary.calls(config)}
  stacks = inputs.stacks(config, act)
  if photographs > 1:
    stacks = [*stacks, photographs]
  if stacks and called & _OF_A_CHANNEL:
    raise UserError(
      'several directions, masks or photographs take the place of the units, '
      f'so {", ".join(sorted(called & _OF_A_CHANNEL))}() cannot be used '
      f'beside them: {_instead(config)}'
    )
  if stacks:
    return min(stacks)
  elsewhere = any('.' in name for name in called)
  return act[-1] if elsewhere or called & _OF_A_CHANNEL else 1


def _instead(config: config_dict.ConfigDict) -> str:
  """Says what to type where a formula of units meets runs over arrays."""
  arrays = [n for n in ('direction', 'mask') if config[n].endswith('.npy')]
  if not arrays:
    return 'type the objective of configs/inversion.py, or of another recipe'
  typed = []
  for knob in ('objective', 'activation', 'trace', 'metrics'):
    called = {name for name, _ in vocabulary.calls(config, (knob,))}
    if called & _OF_A_CHANNEL:
      value = f"'{arrays[0]}(layer)'" if knob == 'objective' else ''
      typed.append(f'--config.{knob}={value}')
  return f'type {" ".join(typed)}'
