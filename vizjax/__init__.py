"""Preferred images of the neurons of convolutional networks, in JAX.

import jax, optax, vizjax

model = vizjax.load('alexnet_features')
recipe = vizjax.Recipe(
  model=model,
  parameterization=vizjax.parameterizations.fourier(model),
  objective=vizjax.objectives.neuron('conv5'),
  optimizer=optax.adam(0.05),
  transforms=(vizjax.transforms.roll(8),),
)
target = {'unit': vizjax.Unit(channel=3, y=6, x=6)}
key = jax.random.key(0)
state = vizjax.init(recipe, target, key)
state, trace = vizjax.optimize(recipe, state, target, key, steps=100)
image = recipe.parameterization.render(state.best.params)  # [h, w, 3]

Importing the package reads nothing else: a name is imported when it is used
first, so that `vizjax --help` need not wait for JAX.
"""

import importlib
import importlib.util
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
  from vizjax import models
  from vizjax import objectives
  from vizjax import optimizers
  from vizjax import parameterizations
  from vizjax import projections
  from vizjax import transforms
  from vizjax.build import Method
  from vizjax.core import init
  from vizjax.core import Model
  from vizjax.core import optimize
  from vizjax.core import Parameterization
  from vizjax.core import Recipe
  from vizjax.core import score
  from vizjax.core import State
  from vizjax.core import step
  from vizjax.core import Term
  from vizjax.core import Unit
  from vizjax.errors import UserError
  from vizjax.front import Images
  from vizjax.front import open
  from vizjax.front import Results
  from vizjax.front import sweep
  from vizjax.front import visualize
  from vizjax.models import load

# Each change that alters a program, and so the images, raises the version: a
# workdir of another version goes on only with --allow_versions.
__version__ = '0.2.0'

__all__ = [
  'Images',
  'Method',
  'Model',
  'Parameterization',
  'Recipe',
  'Results',
  'State',
  'Term',
  'Unit',
  'UserError',
  'init',
  'load',
  'models',
  'objectives',
  'open',
  'optimize',
  'optimizers',
  'parameterizations',
  'projections',
  'score',
  'step',
  'sweep',
  'transforms',
  'visualize',
]

# The modules of the names that are no modules themselves.
_HOMES = {
  'Images': 'front',
  'Method': 'build',
  'Model': 'core',
  'Parameterization': 'core',
  'Recipe': 'core',
  'Results': 'front',
  'State': 'core',
  'Term': 'core',
  'Unit': 'core',
  'UserError': 'errors',
  'init': 'core',
  'load': 'models',
  'open': 'front',
  'optimize': 'core',
  'score': 'core',
  'step': 'core',
  'sweep': 'front',
  'visualize': 'front',
}


def __getattr__(name: str) -> Any:
  """Imports a name of the package, or one of its modules."""
  if name in _HOMES:
    value = getattr(importlib.import_module(f'vizjax.{_HOMES[name]}'), name)
    globals()[name] = value
    return value
  is_module = not name.startswith('_') and importlib.util.find_spec(
    f'vizjax.{name}'
  )
  if not is_module:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return importlib.import_module(f'vizjax.{name}')


def __dir__() -> list[str]:
  """Lists the names that people type."""
  return sorted({*globals(), *__all__})
