"""The knobs that hold formulas: read, checked, explained.

A formula is a string that names other knobs. Which functions it may call, and
what must come out, depends on its own knob.
"""

import collections
from collections.abc import Callable, Mapping
import inspect
import itertools
from typing import Any, NamedTuple

from jax.tree_util import Partial
from ml_collections import config_dict
import optax
from optax import schedules

from vizjax import core
from vizjax import errors
from vizjax import features
from vizjax import formula
from vizjax import metrics
from vizjax import models
from vizjax import objectives
from vizjax import optimizers
from vizjax import parameterizations
from vizjax import projections
from vizjax import scales
from vizjax import targets
from vizjax import transforms
from vizjax.errors import UserError
from vizjax.generators import codes
from vizjax.generators import networks as networks_
from vizjax.models import adapters
from vizjax.models import caffe
from vizjax.models import networks as families
from vizjax.optimizers import lbfgs
from vizjax.photographs import files
from vizjax.programs import cnn_vis
from vizjax.programs import cnn_vis_images
from vizjax.programs import cnnpref
from vizjax.programs import deepdream
from vizjax.programs import neural_style
from vizjax.programs import synthesizing
from vizjax.programs import toolbox
from vizjax.workdir import folders
from vizjax.workdir import store


class _Function(NamedTuple):
  """A kind of function: what it is called, and what it is called with."""

  name: str
  arguments: tuple[str, ...]


_TERM = _Function('a term', ('acts', 'target'))
_TRANSFORM = _Function('a transform', ('draw', 'views'))
_PROJECTION = _Function('a projection', ('params', 'grads', 'step'))
_MAKER = _Function('a maker of arrays', ('shape', 'seed'))

_TERMS = (objectives, metrics, deepdream, features)

# Where the names in call position are looked up, and what each link must be.
_FORMULAS = {
  'model': ((models, families), core.Model),
  'prior': ((models, networks_), core.Model),
  'encoder': ((models,), core.Model),
  'parameterization': ((parameterizations,), core.Parameterization),
  'transforms': ((transforms,), _TRANSFORM),
  'robust': ((transforms,), _TRANSFORM),
  'objective': (_TERMS, _TERM),
  'activation': (_TERMS, _TERM),
  'trace': (_TERMS, _TERM),
  'metrics': (_TERMS, _TERM),
  'optimizer': (
    (optimizers, lbfgs, codes, optax),
    optax.GradientTransformation,
  ),
  'projections': ((projections, codes, schedules), _PROJECTION),
  'procedure': (
    (toolbox, cnnpref, synthesizing, cnn_vis, neural_style, schedules),
    core.Procedure,
  ),
  'scales': (
    (scales, cnn_vis_images, deepdream, neural_style),
    scales.Scales,
  ),
  'data': ((targets, codes, deepdream, features), _MAKER),
  'start': ((targets, cnn_vis_images, neural_style), _MAKER),
  'direction': ((targets,), _MAKER),
  'mask': ((targets,), _MAKER),
}


# Knobs whose formulas have names, as 'norm = l2_norm()'.
_NAMED = ('trace', 'metrics', 'data')

# Modules of functions for formulas, which a formula out of a file may call.
_TRUSTED = {module for found, _ in _FORMULAS.values() for module in found}
_TRUSTED |= {caffe}


# What is written beside the terms of config.metrics.
MEASURED = ('dead', 'retries', 'robust_mean', 'robust_std')

# Further networks: names in formulas, and knobs that say which they are, with
# examples for messages.
_NETWORKS = {
  'prior': "load('deepsim_fc6')",
  'encoder': "load('bvlc_caffenet')",
}


class Networks(Mapping):
  """The further networks of a configuration, by the knobs that name them.

  A network is loaded when a formula first reads its name, and once. Iteration
  gives the networks that are loaded.
  """

  def __init__(self, config: config_dict.ConfigDict):
    self.config = config
    self.loaded: dict[str, core.Model] = {}

  def __getitem__(self, name: str) -> core.Model:
    if name not in _NETWORKS:
      raise KeyError(name)
    if name not in self.loaded:
      if not self.config[name].strip():
        raise UserError(
          f'config.{name} is {self.config[name]!r}, but a formula names it: '
          f'expected a network, as --config.{name}="{_NETWORKS[name]}"'
        )
      self.loaded[name] = network(self.config, name)
    return self.loaded[name]

  def __contains__(self, name: object) -> bool:
    return name in _NETWORKS  # without loading the network

  def __iter__(self):
    return iter(self.loaded)

  def __len__(self):
    return len(self.loaded)


def functions(knob: str) -> dict[str, Callable[..., Any]]:
  """Returns the functions of vizjax that a knob's formula may call, by name.

  Args:
    knob: one that holds a formula, such as 'objective'.
  """
  modules, _ = _FORMULAS[knob]
  return {
    name: getattr(module, name)
    for module in modules
    for name in sorted(formula.functions(module))
    if module.__name__.startswith('vizjax.')
  }


def noted(
  config: config_dict.ConfigDict, networks: Mapping[str, core.Model]
) -> formula.Noted:
  """What names in argument position stand for, whatever the layer.

  It notes what formulas read.
  """
  # typeshed expects a MutableMapping, but a ChainMap writes to its first alone,
  # and nothing is written to this one.
  return formula.Noted(
    collections.ChainMap(
      networks,  # pyright: ignore[reportArgumentType]
      dict(config),
    )
  )


def at(
  noted: formula.Noted, model: core.Model, layer: str | None = None
) -> formula.Noted:
  """The same, with the names of a layer.

  Args:
    noted: from `noted`.
    model: what `model` is.
    layer: what `layer` is, and whose rectifier `rectifier` is; None for
      formulas that know no layer.
  """
  if layer is None:
    return noted.replaced({'model': model})
  rectifier = models.rectifier(model, layer)
  return noted.replaced(
    {'model': model, 'layer': layer, 'rectifier': rectifier}
  )


def links(
  config: config_dict.ConfigDict, knob: str, knobs: Mapping[str, Any]
) -> tuple[Any, ...]:
  """The values of a knob's `a | b | c`.

  Raises:
    UserError: with the knob, its formula, and what was expected.
  """
  modules, kind = _FORMULAS[knob]
  values = _explained(knob, formula.chain, config[knob], modules, knobs)
  return tuple(_checked(knob, config[knob], v, kind) for v in values)


def link(
  config: config_dict.ConfigDict, knob: str, knobs: Mapping[str, Any]
) -> Any:
  """The value of a knob that has exactly one link."""
  values = links(config, knob, knobs)
  if len(values) != 1:
    raise UserError(
      f'config.{knob} is {config[knob]!r}: it has {len(values)} links, '
      'expected 1'
    )
  return values[0]


def network(config: config_dict.ConfigDict, knob: str) -> core.Model:
  """The network of a knob, on images of 0-255 whatever its own range.

  Args:
    config: the configuration.
    knob: 'model', 'encoder', or 'prior', whose input is a code.
  """
  if not config[knob].strip():
    raise UserError(
      f'config.{knob} is empty, expected a network: type one, as '
      '"load(\'alexnet_features\')"'
    )
  net = link(config, knob, dict(config))
  try:
    adapters.check(net)
  except UserError as error:
    raise UserError(f'config.{knob}: {error}') from error
  return net if knob == 'prior' else core.in_grey_levels(net)


def trace(
  config: config_dict.ConfigDict,
  knobs: Mapping[str, Any],
  given: tuple[tuple[str, core.TermLike], ...] = (),
) -> tuple[tuple[str, core.TermLike], ...]:
  """The terms that a procedure records, and the named ones of config.trace."""
  terms = _named(config, 'trace', knobs)
  for name in terms:
    if name in ('score', 'gradient_norm', *dict(given)):
      raise UserError(f'config.trace: {name!r} is recorded in any case')
  return (*given, *terms.items())


def measured(
  config: config_dict.ConfigDict, knobs: Mapping[str, Any]
) -> tuple[tuple[str, core.Term], ...]:
  """The named terms of config.metrics."""
  terms = _named(config, 'metrics', knobs)
  for name in terms:
    if name in MEASURED:
      raise UserError(f'config.metrics: {name!r} is measured by itself')
  return tuple(terms.items())


def data(
  config: config_dict.ConfigDict, knobs: Mapping[str, Any]
) -> dict[str, Callable]:
  """The named makers of config.data."""
  return _named(config, 'data', knobs)


def _named(
  config: config_dict.ConfigDict, knob: str, knobs: Mapping[str, Any]
) -> dict[str, Any]:
  modules, kind = _FORMULAS[knob]
  values = _explained(knob, formula.records, config[knob], modules, knobs)
  return {
    name: _checked(knob, config[knob], value, kind)
    for name, value in values.items()
  }


def check_trust(workdir: str, config: Mapping[str, Any]) -> None:
  """Refuses a stored config whose formulas call functions of other packages.

  Whoever wrote the file could have them do anything. Nothing is imported, and
  nothing is called.

  Args:
    workdir: that the config was read from.
    config: its knobs.

  Raises:
    UserError: the function, and how to allow it; or a formula cannot be read.
  """
  file = folders.File(workdir, store.CONFIG)
  for knob, (modules, kind) in _FORMULAS.items():
    text = config.get(knob)
    if not isinstance(text, str) or not text.strip():
      continue
    text = f'record({text})' if knob in _NAMED else text
    try:
      called = _explained(knob, formula.called, text, modules)
    except UserError:
      if kind is _MAKER and text.endswith('.npy'):
        continue  # a path need not be a formula
      raise
    for name, function in called.items():
      # Names without a dot are looked up in vizjax and optax alone.
      absent = function is None and '.' not in name
      if not absent and not _trusted(function):
        raise UserError(
          f'{file.path!r} calls {name}, which is none of the functions that '
          'vizjax and optax have for formulas: expected a workdir that you '
          'made yourself; if you did, type the same command with --trust (in '
          'Python trust=True)'
        )


def _trusted(function: Any) -> bool:
  """Whether a function can do no more than give a value."""
  if not inspect.isfunction(function):
    return False
  if function.__module__.split('.')[0] == optax.__name__:
    return True
  returns = function.__annotations__.get('return', '') is not None
  return returns and any(
    getattr(module, function.__name__, None) is function for module in _TRUSTED
  )


def names(text: str) -> tuple[str, ...]:
  """The names of 'a, b, c'."""
  return tuple(filter(None, map(str.strip, text.split(','))))


def shape(config: config_dict.ConfigDict) -> tuple[int, int] | None:
  """(h, w) of config.shape, or None for the network's own."""
  if config.shape is None:
    return None
  parts = config.shape.split('x')
  if len(parts) != 2 or not all(p.isdecimal() and int(p) for p in parts):
    raise UserError(
      f'config.shape is {config.shape!r}, expected HxW, as 224x224'
    )
  h, w = map(int, parts)
  return h, w


def each(config: config_dict.ConfigDict) -> tuple[dict[str, str], ...]:
  """The knobs of each run, by config.each; () where it is blank.

  It names knobs that hold several files, as 'a.jpg,b.jpg' or 'DIR/*.jpg'. A
  run has one of each, in all combinations; the first knob changes last.

  Raises:
    UserError: there is no such knob, or it is the name of no file.
  """
  knobs = names(config.each)
  for name in knobs:
    if not isinstance(config.get(name, ''), str) or not config.get(name):
      hint = '' if name in config else errors.hint(name, list(config))
      raise UserError(
        f'config.each is {config.each!r}, but config.{name} is '
        f'{config.get(name)!r}: expected photographs, as --config.{name}='
        f"'DIR/*.jpg'.{hint}"
      )
  values = [files.listed(config[name]) for name in knobs]
  if not knobs:
    return ()
  return tuple(
    dict(zip(knobs, one, strict=True)) for one in itertools.product(*values)
  )


def _explained(knob: str, function: Callable, text: str, *more) -> Any:
  name = text.strip()
  if name in models.NAMES and core.Model in _FORMULAS[knob]:
    raise UserError(
      f'config.{knob} is {text!r}, the name of a network: expected a formula, '
      f'as --config.{knob}="load({name!r})"'
    )
  try:
    return function(text, *more)
  except UserError as error:
    named = str(error).startswith('config.')
    raise UserError(
      str(error) if named else f'config.{knob}: {error}'
    ) from error


def _checked(knob: str, text: str, value: Any, kind: Any) -> Any:
  """Returns the value of a formula, a plain function that scores as a Term.

  Raises:
    UserError: the value is of another kind than the knob's.
  """
  function = isinstance(kind, _Function)
  right = _serves(value, kind) if function else isinstance(value, kind)
  if not right:
    expected = kind.name if function else f'a {kind.__name__}'
    raise UserError(
      f'config.{knob} is {text!r}, which gives {value!r:.60}, '
      f'expected {expected}'
    )
  plain = kind is _TERM and not isinstance(value, core.Term)
  return core.Term(value) if plain else value


def _serves(value: Any, kind: _Function) -> bool:
  """Whether a value can be called as a function of this kind is."""
  if kind in (_TRANSFORM, _PROJECTION):
    right = isinstance(value, Partial) or inspect.isfunction(value)
  else:
    # A Partial and a Model can be called too, but are neither of the others.
    right = callable(value) and not isinstance(value, (Partial, core.Model))
  if not right or (kind is _MAKER and isinstance(value, core.Term)):
    return False
  try:
    inspect.signature(value).bind(*kind.arguments)
  except TypeError:
    return False
  return True
