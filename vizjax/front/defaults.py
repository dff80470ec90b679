"""The recipe of `visualize` where none is given: for any network.

Fourier coefficients (Olah et al. 2017) under jitter, on what the unit sees, as
configs/demo.py has them, with sizes that follow those of the image.
"""

from collections.abc import Callable
import inspect
import math
from typing import Any, cast

import optax

from vizjax import build
from vizjax import core
from vizjax import objectives
from vizjax import parameterizations
from vizjax import transforms
from vizjax.errors import UserError

STEPS = 128
RETRIES = 3

_RATE = 0.02  # Adam's, of Fourier coefficients
_JITTER = 0.08  # of the longer side, at least
_LARGEST_FACTOR = 5  # of the sizes whose Fourier transform is fast


def recipe(
  model: core.Model,
  layer: str,
  objective: Callable[..., Any] | None = None,
  before: str | None = None,
) -> build.Method:
  """Returns how the images of a layer are made.

  Args:
    model: the network, on images of 0-255.
    layer: its name.
    objective: a term, or a function that makes one for a layer. Unless given,
      the unit, before its rectifier if it has one.
    before: the name of the layer before its rectifier.
  """
  unit = objectives.neuron(layer)
  if objective is None:
    term = objectives.neuron(before or layer)
  else:
    unit = None
    term = objective if _is_term(objective) else objective(layer)
    if not callable(term):
      raise UserError(
        f'objective= makes {term!r:.60} of layer {layer!r}, expected a term: a '
        'function (acts, target) -> number, as vizjax.objectives.channel makes'
      )
  made = core.Recipe(
    model=model,
    parameterization=parameterizations.fourier(model),
    objective=cast(core.TermLike, term),
    optimizer=optax.adam(_RATE),
    transforms=(transforms.jitter(_shift(model.input_shape[:2])),),
  )
  return build.Method(made, activation=unit)


def _is_term(function: Callable) -> bool:
  """Whether a function is a term, of (acts, target), or makes one."""
  if isinstance(function, core.Term):
    return True
  try:
    parameters = inspect.signature(function).parameters.values()
  except ValueError:  # A builtin has no signature.
    return False
  needed = [p for p in parameters if p.default is p.empty]
  return len(needed) > 1


def _shift(size: tuple[int, int]) -> int:
  """Returns pixels of jitter that give a fast Fourier transform."""
  longer = max(size)
  canvas = math.ceil(longer * (1 + _JITTER))
  while _rough(canvas) > 1:
    canvas += 1
  return canvas - longer


def _rough(number: int) -> int:
  """Returns what is left of a number without its small factors."""
  for factor in range(2, _LARGEST_FACTOR + 1):
    while number % factor == 0:
      number //= factor
  return number
