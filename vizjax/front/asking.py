"""The arguments of `visualize` and `sweep` become a `build.Request`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
import contextlib
import dataclasses
import inspect
import re
from typing import Any

from ml_collections import config_dict
import numpy as np

from vizjax import build
from vizjax import core
from vizjax import errors
from vizjax import listing
from vizjax import models
from vizjax import recipes
from vizjax import scales as scales_
from vizjax.errors import UserError
from vizjax.front import defaults

# A name in configs/, a configuration, or a function of one's own.
Recipe = str | config_dict.ConfigDict | Callable[[core.Model, str], Any] | None

# What a caller says by other arguments, or what only a configuration has.
_OWN = (
  'model', 'method', 'layers', 'units', 'networks', 'values', 'noted',
  'fitting', 'every', 'show',
)  # fmt: skip
_KNOBS = tuple(
  field.name
  for field in dataclasses.fields(build.Request)
  if field.name not in _OWN
)


# A command within a message.
_COMMAND = r'(vizjax [a-z_]+(?: --\S+)+)'

# How a message says to a caller in Python what it says to one of a command.
_SAID = (
  (r'--config\.shape=HxW', 'shape=(H, W)'),
  (r'--config\.(\w+)=', r'\1='),
  (r'\bconfig\.(?!json\b|py\b)(\w+)', r'\1='),
  (r'--workdir=(\w+)', r"workdir='\1'"),
  (r'--(trust|allow_versions|overwrite|brave)\b', r'\1=True'),
  (r'--out=DIR', "out='DIR'"),
  (r'--(\w+)=', r'\1='),
  (r'--(out|layer|units)\b', r'\1='),
)


@contextlib.contextmanager
def in_python() -> Iterator[None]:
  """Lets a UserError speak of arguments where it speaks of flags."""
  try:
    yield
  except UserError as error:
    parts = re.split(_COMMAND, str(error))
    # Every other part is a command, which stays one.
    for i in range(0, len(parts), 2):
      for pattern, said in _SAID:
        parts[i] = re.sub(pattern, said, parts[i])
    text = ''.join(parts)
    if text == str(error):
      raise
    raise UserError(text) from error


@in_python()
def request(
  model: core.Model | str,
  layers: str | Iterable[str],
  units: Any,
  recipe: Recipe,
  knobs: Mapping[str, Any],
) -> build.Request:
  """Returns what is wanted.

  Args:
    model: a network, or the name of one that `vizjax.load` knows.
    layers: a name, a list of names, or 'conv3,conv5', or 'conv*'.
    units: as of `listed`.
    recipe: NAME or NAME:VARIANT of configs/, a config, a function (model,
      layer) -> Recipe or Method, or None for `defaults.recipe`.
    knobs: of the recipe; of a function, those of `build.Request`.

  Raises:
    UserError: an argument is of another kind; what to type.
    OSError: a file cannot be read.
  """
  named = model if isinstance(model, str) else None
  model = _model(model)
  text = layers_text(layers)
  units = listed(units)
  knobs = {name: _plain(value) for name, value in knobs.items()}
  if recipe is None or (
    callable(recipe) and not isinstance(recipe, config_dict.ConfigDict)
  ):
    return _of_function(model, text, units, recipe, knobs)
  if isinstance(recipe, str):
    recipe = recipes.load(recipe, build.config)
  if not isinstance(recipe, config_dict.ConfigDict):
    raise UserError(
      f"recipe= is {_shown(recipe)}, expected a name, as recipe='olah2017', a "
      'config, or a function (model, layer) -> vizjax.Recipe'
    )
  config = _with(recipe, knobs)
  config.layer, config.units = text, units
  if named is not None:
    config.model = f'load({named!r})'
  build.check(config)
  found = build.request(config, build.with_mean(config, model))
  if named is not None:
    return found
  # The text of another network would be wrong: the weights are its digest.
  return dataclasses.replace(found, values={**found.values, 'model': None})


def layers_text(layers: Any) -> str:
  """Returns layers as a config has them, such as 'conv3,conv5' or 'conv*'.

  Args:
    layers: that text, or a list of names.

  Raises:
    UserError: something else.
  """
  if isinstance(layers, str):
    return layers
  names = [*layers] if isinstance(layers, Iterable) else []
  if not names or not all(isinstance(name, str) for name in names):
    raise UserError(
      f"layers= is {layers!r:.60}, expected names of layers: type 'conv5', "
      "['conv3', 'conv5'] or 'conv*'"
    )
  return listing.typed(names)


def _plain(value: Any) -> Any:
  """Returns a number of NumPy as one of Python."""
  return value.item() if isinstance(value, np.generic) else value


def listed(units: Any) -> str | None:
  """Returns units as `build.runs` reads them, such as '0:64' or '3@6x6'.

  Args:
    units: None for all, at the centre; a number, a name of a class, a range, a
      `core.Unit`, or a list of these; or a text such as '0:64,3@6x6'.

  Raises:
    UserError: something else.
  """
  if units is None or isinstance(units, str):
    return units
  if isinstance(units, bytes):
    raise _refused(units)
  if isinstance(units, range):
    return _of_range(units)
  if isinstance(units, core.Unit) or _is_number(units):
    return _one(units)
  try:
    parts = [_one(unit) for unit in units]
  except TypeError:
    raise _refused(units) from None
  if not parts:
    raise UserError(
      'units= is empty: type units=range(64), units=[3, 7], or leave it out '
      'for the whole layer'
    )
  return ','.join(parts)


def _shown(value: Any) -> str:
  return f'{" ".join(repr(value).split()):.60}'


def _model(model: core.Model | str) -> core.Model:
  if isinstance(model, str):
    model = models.load(model)
  if not isinstance(model, core.Model):
    raise UserError(
      f'model= is {type(model).__name__}, expected a vizjax.Model: type '
      "vizjax.load('alexnet_features'), or vizjax.models.from_linen(...) for a "
      'network of your own'
    )
  return core.in_grey_levels(model)


def _of_function(
  model: core.Model,
  layers: str,
  units: str | None,
  recipe: Callable | None,
  knobs: Mapping[str, Any],
) -> build.Request:
  """Returns the request of a recipe function, or of the default recipe."""
  asked: dict[str, Any] = dict(knobs)
  if recipe is None:
    objective = asked.pop('objective', None)
    if isinstance(objective, str):
      raise UserError(
        f'objective= is {objective!r:.60}, expected a term or a function that '
        'makes one for a layer: type objective=vizjax.objectives.channel; '
        "formulas in quotes are for recipes by name, as recipe='demo'"
      )
    if objective is not None and not callable(objective):
      raise UserError(
        f'objective= is {objective!r:.60}, expected a term or a function that '
        'makes one for a layer: type objective=vizjax.objectives.channel'
      )
    before = {}
    for layer in build.named(layers, model):
      model, before[layer] = models.unrectified(model, layer)
    found = lambda model, layer: defaults.recipe(
      model, layer, objective, before[layer]
    )
    usual = {'retries': defaults.RETRIES, 'steps': defaults.STEPS}
    asked = {'result': 'last', **usual, **asked}
  else:
    _check_signature(recipe)
    found = recipe
  for name in asked:
    if name not in _KNOBS:
      hint = errors.hint(name, _KNOBS)
      what = 'without a recipe' if recipe is None else 'of a recipe function'
      raise UserError(
        f'{name}= is no argument {what}: expected one of {", ".join(_KNOBS)}; '
        'what else an image is made by stands in the recipe, as '
        f"recipe='olah2017' or a function that returns vizjax.Recipe.{hint}"
      )
  if 'scales' in asked:
    asked['scales'] = _scales(model, asked['scales'], asked.get('shape'))
  if isinstance(asked.get('each'), list):
    asked['each'] = tuple(asked['each'])
  return build.Request(
    model=model,
    method=found,
    layers=build.named(layers, model),
    units=units,
    **asked,
  )


def _scales(
  model: core.Model, scales: Any, shape: Any
) -> scales_.Scales | None:
  """Returns the sizes of images, with photographs as the network takes them.

  Args:
    model: the network.
    scales: the sizes, or a function of the network that gives them.
    shape: the argument shape=, which says a size, too.
  """
  if scales is not None and shape is not None:
    raise UserError(
      f'shape= is {shape!r:.60}, and scales= is given: expected one of them; '
      'the sizes are those of scales='
    )
  if callable(scales):
    scales = scales(model)
  if not isinstance(scales, scales_.Scales):
    return scales  # `build.Request` says what is wrong, if anything is
  return scales_.with_channels(scales, model.input_shape[2])


def _check_signature(recipe: Callable) -> None:
  try:
    inspect.signature(recipe).bind(None, None)
  except TypeError as error:
    name = getattr(recipe, '__name__', type(recipe).__name__)
    raise UserError(
      f'recipe= is {name}, which does not take (model, layer) ({error}): type '
      f'def {name}(model, layer), and return vizjax.Recipe(model=model, ...)'
    ) from None
  except ValueError:  # A builtin has no signature.
    pass


def _with(
  recipe: config_dict.ConfigDict, knobs: Mapping[str, Any]
) -> config_dict.ConfigDict:
  """Returns the config with other values of its knobs."""
  config = config_dict.ConfigDict(recipe)
  for name, value in knobs.items():
    if name not in config:
      raise UserError(
        f'{name}= is no knob of this recipe: expected one of '
        f'{", ".join(sorted(config))}.{errors.hint(name, [*config])}'
      )
    try:
      config[name] = value
    except TypeError:
      raise UserError(
        f'{name}= is {value!r:.60}, expected a value like '
        f'{config[name]!r:.60}, as the recipe has it'
      ) from None
  return config


def _of_range(units: range) -> str:
  if not units or units.step < 1 or units.start < 0:
    raise UserError(
      f'units= is {units}, expected numbers from 0 upwards: type '
      'units=range(64), or leave it out for the whole layer'
    )
  step = '' if units.step == 1 else f':{units.step}'
  return f'{units.start}:{units.stop}{step}'


def _one(unit: Any) -> str:
  """Returns a unit as it is typed."""
  if isinstance(unit, core.Unit):
    channel = _one(unit.channel)
    places = [n for n in (unit.y, unit.x) if not isinstance(n, core.Centre)]
    return f'{channel}@{"x".join(map(_one, places))}' if places else channel
  if isinstance(unit, str):
    return listing.typed([unit])
  if not _is_number(unit) or unit < 0:
    raise _refused(unit)
  return str(int(unit))


def _is_number(value: Any) -> bool:
  whole = getattr(value, 'ndim', 0) == 0 and hasattr(value, '__index__')
  return whole and not isinstance(value, (bool, np.bool_))


def _refused(units: Any) -> UserError:
  return UserError(
    f'units= holds {units!r:.60}, expected numbers of channels from 0 upwards, '
    'as units=range(64) or units=[3, 7], or vizjax.Unit(channel, y, x)'
  )
