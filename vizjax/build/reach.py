"""Finds what terms read: a channel, a position, a whole map, the image.

  reach = reach.of(term, acts, target)

A term is traced on shapes, and its jaxpr is followed from the score to what it
was computed from. Nothing is recognized by its name, so a term of the user's
reads what the same term of vizjax reads. From the reach follow how much of the
network is run, the part of the image that a unit is made on, and how many units
a layer has.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from vizjax import core
from vizjax import metrics
from vizjax.errors import UserError

# Bytes of the arrays that a term may hold itself, such as a window or a matrix.
# They are part of the program; a network has to be an argument.
_LARGEST_CONSTANTS = 10**6

# Whole numbers that an index of an array is computed from.
_FEW = 8

# Units that tell a row from a column and from a channel, and each from any
# number. Whether they are on a map does not matter: only indices are computed.
_PROBES = {
  'y': (3, 0, 7, 12, 5, 1, 1021),
  'x': (5, 9, 2, 4, 5, 11, 613),
  'channel': (11, 4, 30, 2, 5, 17, 2053),
}

# Primitives whose functions are no plain calls: their results are taken to
# depend on all that they are given.
_BRANCHING = ('scan', 'while', 'cond')

# Before the names of calls whose derivative is a function of its own, which may
# read more of a map than the call itself.
_CUSTOM = 'custom_'


class Reach(NamedTuple):
  """The inputs that a term reads, or several terms together.

  Attributes:
    maps: layers of which more is read than the unit's position.
    positions: layers of which only the unit's row and column are read.
    seen: layers read by `reading.seen`, whatever part of them there is.
    images: names of `core.RESERVED` that are read.
    channel: whether the channel of target['unit'] is read.
    place: whether the row or the column of target['unit'] is read, other than
      as the indices of a position.
    sign: whether target['sign'] is read.
    replicates: whether the other images of the unit are read.
    target: other entries of the target: 'direction', 'mask', 'content' ...
    compared: layers that such entries hold, read from them.
    named: layers that are looked up, though nothing may come of some.
  """

  maps: frozenset[str] = frozenset()
  positions: frozenset[str] = frozenset()
  seen: frozenset[str] = frozenset()
  images: frozenset[str] = frozenset()
  channel: bool = False
  place: bool = False
  sign: bool = False
  replicates: bool = False
  target: frozenset[str] = frozenset()
  compared: frozenset[str] = frozenset()
  named: frozenset[str] = frozenset()


@jax.tree_util.register_pytree_with_keys_class
class _Noting(core.Activations):
  """Activations that note the names that are looked up.

  A term that is compiled by itself is given all of them.
  """

  def __init__(self, acts: Mapping[str, Any]):
    super().__init__(acts)
    self.named: set[Any] = set()

  def __getitem__(self, name: str) -> Any:
    self.named.add(name)
    return super().__getitem__(name)

  def __contains__(self, name: object) -> bool:
    self.named.add(name)
    return super().__contains__(name)

  def keys(self):
    self.named.update(super().keys())
    return super().keys()

  def items(self):
    self.named.update(super().keys())
    return super().items()

  def values(self):
    self.named.update(super().keys())
    return super().values()

  def get(self, name: str, default: Any = None) -> Any:
    return self[name] if name in self else default

  @classmethod
  def tree_unflatten(cls, keys, children):
    return core.Activations.tree_unflatten(keys, children)


class _Value(NamedTuple):
  """A value in a jaxpr: its sources and, of an index, its numbers.

  Attributes:
    labels: the inputs that it depends on.
    numbers: for each probe its value, where that is a few whole numbers.
    layer: the layer whose map it is, unchanged.
  """

  labels: frozenset[tuple[str, str]]
  numbers: tuple[np.ndarray, ...] | None = None
  layer: str | None = None


def of(
  name: str,
  term: core.TermLike,
  acts: Mapping[str, Any],
  target: core.Target,
  replicates: int = 1,
  *,
  scores: bool = False,
) -> Reach:
  """Returns what a term reads.

  A map counts as read at the unit's position if its only uses are slices of
  one row and one column whose indices are the row and the column of
  target['unit']: the indices are evaluated for a few units and compared.
  Swapped indices, neighbours, branches and loops count as the whole map.

  Args:
    name: of the term, for errors: 'config.objective'.
    term: (acts, target) -> number.
    acts: shapes of all that a term can read: layers and reserved names.
    target: shapes of an example, with a sign, and with a unit of int32.
    replicates: images of a unit.
    scores: whether the term has to give one number.

  Raises:
    UserError: the term holds large arrays, such as a network, or gives
      something else than one number.
  """
  if scores:
    term = _scoring(name, term)
  reach, skeleton = _traced(name, term, acts, target, replicates)
  # A trace takes the longer the more layers it is given.
  acts = {
    n: act
    for n, act in acts.items()
    if n in core.RESERVED or n.removeprefix(core.SHADOWED) in reach.named
  }
  if not reach.maps:
    if reach.positions and _is_sized(name, term, acts, target, skeleton):
      return reach._replace(maps=reach.positions, positions=frozenset())
    return reach
  # A layer that `reading.seen` reads is given once more, under a name of its
  # own, which tells it from one that is read whole.
  seen = {
    core.SEEN + layer: acts.get(core.SHADOWED + layer, acts[layer])
    for layer in reach.maps
  }
  reach, _ = _traced(name, term, {**acts, **seen}, target, replicates)
  return reach


def _scoring(name: str, term: core.TermLike) -> core.TermLike:
  """Returns the term, which raises where it gives no single number."""

  def scored(acts, target):
    score = term(acts, target)
    if not isinstance(score, (jax.Array, np.ndarray, np.generic, float, int)):
      raise UserError(
        f'{name} gives {score!r:.60}, expected one number: does the term '
        'return its value?'
      )
    if jnp.ndim(score):
      raise UserError(
        f'{name} gives an array of {jnp.shape(score)}, expected one number: '
        'type jnp.mean(...) or jnp.sum(...) in the term'
      )
    return score

  return scored


def _is_sized(
  name: str,
  term: core.TermLike,
  acts: Mapping[str, Any],
  target: core.Target,
  skeleton: list[Any],
) -> bool:
  """Whether the size of a map counts, as in act[y, x, c] / act.shape[0].

  In its box a unit is alone on its map.
  """
  for size in (lambda h, w: (h + 2, w + 3), lambda h, w: (1, 1)):
    resized = {
      layer: jax.ShapeDtypeStruct(
        (*size(*act.shape[:2]), act.shape[2]), act.dtype
      )
      for layer, act in acts.items()
      if layer not in core.RESERVED and act.ndim == 3
    }
    try:
      _, other = _traced(name, term, {**acts, **resized}, target, 1)
    except Exception:  # It may raise anything for maps that it does not expect.
      return True
    if other != skeleton:
      return True
  return False


def _skeleton(jaxpr: jex.Jaxpr) -> list[Any]:
  """Returns the operations of a function and the numbers in it.

  Whole numbers and shapes are left out, which say where a value is read.
  """
  found = []
  for equation in jaxpr.eqns:
    found += [equation.primitive.name, equation.params.get('y')]
    found += [
      repr(float(v.val))  # NaN is not equal to itself
      for v in equation.invars
      if isinstance(v, jex.Literal)
      and np.ndim(v.val) == 0
      and jnp.issubdtype(_dtype(v), jnp.floating)
    ]
    for inner in _inner(equation):
      found += _skeleton(_opened(inner))
  return found


def _traced(
  name: str,
  term: core.TermLike,
  acts: Mapping[str, Any],
  target: core.Target,
  replicates: int,
) -> tuple[Reach, list[Any]]:
  """Returns what a term reads of these, and its skeleton; see `of`."""
  looked_up = set()

  def scored(acts, target):
    noting = _Noting(acts)
    score = term(noting, target)
    looked_up.update(noting.named)
    return score

  # Before any vmap: batching rewrites what reads the other images of a unit.
  axes = [(metrics.REPLICATE, max(replicates, 2))]
  inputs = dict(acts), dict(target)
  closed = jax.make_jaxpr(scored, axis_env=axes)(*inputs)
  _check_constants(name, closed)
  leaves, _ = jax.tree_util.tree_flatten_with_path(inputs)
  values = [_input(path, leaf) for path, leaf in leaves]
  labels = _union(_walk(closed.jaxpr, len(closed.consts), values))
  reach = _reach(labels, _compares(closed.jaxpr))
  layers = (n for n in looked_up if n in acts and n not in core.RESERVED)
  layers = (n for n in layers if not n.startswith(core.SEEN))
  named = frozenset(n.removeprefix(core.SHADOWED) for n in layers)
  return reach._replace(named=named), _skeleton(closed.jaxpr)


def of_target(
  function: Callable[[core.Target], Any], target: core.Target
) -> Reach:
  """Returns what a function of the target alone reads of it.

  Args:
    function: such as the start of a parameterization.
    target: as of `of`.
  """
  inputs = {}, dict(target)
  closed = jax.make_jaxpr(lambda _, target: function(target))(*inputs)
  leaves, _ = jax.tree_util.tree_flatten_with_path(inputs)
  values = [_input(path, leaf) for path, leaf in leaves]
  labels = _union(_walk(closed.jaxpr, len(closed.consts), values))
  return _reach(labels, False)


def joined(reaches: Iterable[Reach]) -> Reach:
  """Returns what several terms read together."""
  columns = zip(Reach(), *reaches, strict=True)
  parts: list[Any] = [
    any(column) if isinstance(column[0], bool) else frozenset().union(*column)
    for column in columns
  ]
  together = Reach(*parts)
  return together._replace(positions=together.positions - together.maps)


def layers(reach: Reach) -> frozenset[str]:
  """Returns the layers that the values of terms come from."""
  return reach.maps | reach.positions | reach.seen | reach.compared


def constants(function: jex.ClosedJaxpr | jex.Jaxpr) -> list[Any]:
  """Returns the arrays that a traced function and those in it hold."""
  found = [*getattr(function, 'consts', ())]
  for equation in function.eqns:
    for inner in _inner(equation):
      found += constants(inner)
  return found


def _input(path: tuple, leaf: Any) -> _Value:
  """Returns the value of an input: (acts, target) by path."""
  which, name = path[0].idx, path[1].key
  if which == 0 and name.startswith(core.SEEN):
    return _Value(frozenset({('seen', name.removeprefix(core.SEEN))}))
  if which == 0 and name in core.RESERVED:
    return _Value(frozenset({('image', name)}))
  if which == 0:
    layer = name.removeprefix(core.SHADOWED)
    positioned = leaf.ndim == 3
    return _Value(
      frozenset({('map', layer)}), layer=layer if positioned else None
    )
  if name == 'unit':
    part = path[2].name
    numbers = tuple(np.array(n, np.int32) for n in _PROBES[part])
    return _Value(frozenset({('unit', part)}), numbers)
  labels = {('target', name)}
  if len(path) > 2:  # {layer: activation}
    labels.add(('compared', path[2].key))
  return _Value(frozenset(labels))


def _walk(
  jaxpr: jex.Jaxpr, constants: int, values: Sequence[_Value]
) -> list[_Value]:
  """Returns the outputs of a function, given its inputs."""
  unknown = [_Value(frozenset())] * constants
  known = dict(zip(jaxpr.constvars, unknown, strict=True))
  known |= dict(zip(jaxpr.invars, values, strict=True))

  def value(variable):
    if isinstance(variable, jex.Literal):
      count = len(_PROBES['y'])
      return _Value(frozenset(), (np.asarray(variable.val),) * count)
    return known[variable]

  for equation in jaxpr.eqns:
    arguments = [value(v) for v in equation.invars]
    results = _results(equation, arguments)
    known |= dict(zip(equation.outvars, results, strict=True))
  return [value(v) for v in jaxpr.outvars]


def _results(
  equation: jex.JaxprEqn, arguments: Sequence[_Value]
) -> list[_Value]:
  """Returns the values that an equation gives."""
  function = _called(equation)
  own = equation.primitive.name.startswith(_CUSTOM)
  if own and any(argument.layer for argument in arguments):
    function = None
  if function is not None:
    count = len(getattr(function, 'consts', ()))
    return _walk(_opened(function), count, arguments)
  labels = _sliced(equation, arguments)
  if labels is None:
    labels = _union(arguments)
  numbers = _numbers(equation, arguments)
  return [_Value(labels, numbers)] * len(equation.outvars)


def _sliced(
  equation: jex.JaxprEqn, arguments: Sequence[_Value]
) -> frozenset[tuple[str, str]] | None:
  """Returns the labels of a slice of a map at the unit's position.

  None for anything else.
  """
  name, params = equation.primitive.name, equation.params
  if not arguments or arguments[0].layer is None:
    return None
  position = frozenset({('position', arguments[0].layer)})
  if name == 'dynamic_slice' and params['slice_sizes'][:2] == (1, 1):
    y, x, channel = arguments[1:4]
    if _is('y', y.numbers) and _is('x', x.numbers):
      return position | channel.labels
  if name == 'gather' and params['slice_sizes'][:2] == (1, 1):
    return _gathered(equation, arguments[1], position)
  return None


def _gathered(
  equation: jex.JaxprEqn,
  index: _Value,
  position: frozenset[tuple[str, str]],
) -> frozenset[tuple[str, str]] | None:
  """Returns the labels of a gather from a map, as of `_sliced`."""
  axes = equation.params['dimension_numbers'].start_index_map
  if index.numbers is None or axes not in ((0, 1), (0, 1, 2)):
    return None
  if index.numbers[0].shape != (len(axes),):
    return None  # of several positions
  y, x, *channel = np.stack(index.numbers, -1)
  if not (_is('y', y) and _is('x', x)):
    return None
  if not channel:
    return position
  if _is('channel', channel[0]):
    return position | {('unit', 'channel')}
  if ('unit', 'channel') in index.labels:
    return None  # another channel, which follows from the unit's
  return position if len({*channel[0].tolist()}) == 1 else None


def _is(part: str, numbers: Iterable[Any] | None) -> bool:
  """Whether numbers are the row, column or channel of the unit."""
  return numbers is not None and all(
    np.ndim(number) == 0 and int(number) == probe
    for number, probe in zip(numbers, _PROBES[part], strict=True)
  )


def _numbers(
  equation: jex.JaxprEqn, arguments: Sequence[_Value]
) -> tuple[np.ndarray, ...] | None:
  """Returns what an equation of a few whole numbers gives, for each probe."""
  few = all(_is_few(v.aval) for v in (*equation.invars, *equation.outvars))
  if len(equation.outvars) != 1 or not few:
    return None
  numbers = [a.numbers for a in arguments if a.numbers is not None]
  if len(numbers) < len(arguments) or equation.effects:
    return None
  results = []
  for probe in range(len(_PROBES['y'])):
    given = [
      jnp.asarray(of_probes[probe], _dtype(v))
      for of_probes, v in zip(numbers, equation.invars, strict=True)
    ]
    results.append(equation.primitive.bind(*given, **equation.params))
  return tuple(np.asarray(result) for result in results)


def _is_few(aval: Any) -> bool:
  """Whether a value is a few whole numbers or truth values."""
  dtype = getattr(aval, 'dtype', None)
  if dtype is None or not (
    jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_
  ):
    return False
  return aval.size <= _FEW


def _called(equation: jex.JaxprEqn) -> jex.ClosedJaxpr | jex.Jaxpr | None:
  """Returns the function of an equation that does nothing but call it."""
  functions = _inner(equation)
  if len(functions) != 1 or equation.primitive.name in _BRANCHING:
    return None
  (function,) = functions
  jaxpr = _opened(function)
  fits = len(jaxpr.invars) == len(equation.invars)
  return (
    function if fits and len(jaxpr.outvars) == len(equation.outvars) else None
  )


def _inner(equation: jex.JaxprEqn) -> list[jex.ClosedJaxpr | jex.Jaxpr]:
  """Returns the functions in the parameters of an equation."""
  values = jax.tree.leaves(
    list(equation.params.values()),
    is_leaf=lambda value: not isinstance(value, (list, tuple, dict)),
  )
  return [v for v in values if isinstance(v, (jex.ClosedJaxpr, jex.Jaxpr))]


def _opened(function: jex.ClosedJaxpr | jex.Jaxpr) -> jex.Jaxpr:
  """Returns the function without the arrays that it holds."""
  opened: Any = getattr(function, 'jaxpr', function)
  return opened


def _dtype(variable: Any) -> Any:
  """Returns the dtype of a variable of a jaxpr that is an array."""
  return variable.aval.dtype


def _compares(jaxpr: jex.Jaxpr) -> bool:
  """Whether a function reads the other images of a unit."""
  for equation in jaxpr.eqns:
    for name in ('axes', 'axis_name'):
      axes = equation.params.get(name, ())
      if metrics.REPLICATE in (axes if isinstance(axes, tuple) else (axes,)):
        return True
    if any(_compares(_opened(inner)) for inner in _inner(equation)):
      return True
  return False


def _union(values: Iterable[_Value]) -> frozenset[tuple[str, str]]:
  return frozenset().union(*(value.labels for value in values))


def _reach(labels: frozenset[tuple[str, str]], replicates: bool) -> Reach:
  def named(*kinds):
    return frozenset(name for kind, name in labels if kind in kinds)

  maps, units, target = named('map'), named('unit'), named('target')
  return Reach(
    maps=maps,
    positions=named('position') - maps,
    seen=named('seen'),
    images=named('image'),
    channel='channel' in units,
    place=bool(units & {'y', 'x'}),
    sign='sign' in target,
    replicates=replicates,
    target=target - {'sign'},
    compared=named('compared'),
  )


def _check_constants(name: str, closed: jex.ClosedJaxpr) -> None:
  """Refuses a term that holds large arrays."""
  size = sum(
    np.size(a) * jnp.result_type(a).itemsize for a in constants(closed)
  )
  if size > _LARGEST_CONSTANTS:
    raise UserError(
      f'{name} holds {size / 1e6:.3g} MB of arrays itself, expected at most '
      f'{_LARGEST_CONSTANTS / 1e6:g} MB: give arrays by config.data, which '
      'reach the term in its target; of another network return the layers '
      'beside those of config.model, by vizjax.models.from_function'
    )
