"""A layer before its rectifier: a closed rectifier has no gradient.

A unit behind a rectifier that starts closed stays as it is: nothing says which
way it opens. What goes into the rectifier has a gradient everywhere, and grows
with the unit wherever the unit is open.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from vizjax import core
from vizjax.models.interpreter import layers

_RECTIFIERS = ('relu', 'prelu', 'elu')  # kinds of a row of a table
_CALLS = ('call_jaxpr', 'jaxpr', 'fun_jaxpr')

# Primitives that give each number of the result one of the operand's, or a
# number that is not negative: they may as well stand before the rectifier.
_CHOOSING = (
  'squeeze', 'reshape', 'transpose', 'slice', 'rev', 'copy', 'expand_dims',
  'broadcast_in_dim', 'convert_element_type', 'reduce_max', 'reduce_window_max',
  'min',
)  # fmt: skip


def unrectified(model: core.Model, layer: str) -> tuple[core.Model, str]:
  """Returns a model, and its layer that is the given one before its rectifier.

  Of a function of the user's the rectifier is found in what JAX traces:
  `jax.nn.relu`, `jax.nn.relu6` or the maximum of a number and 0, with maxima
  over windows and changes of shape behind it. Where there is none, both are
  returned as they are.

  Args:
    model: the network.
    layer: its name.
  """
  if isinstance(model.apply, layers.Apply):
    rows = {row.name: row for row in model.apply.network.table}
    row = rows.get(layer)
    if row is None or row.kind not in _RECTIFIERS or row.inputs[0] not in rows:
      return model, layer
    return model, row.inputs[0]
  name = f'{layer} before its rectifier'
  if any(info.name == name for info in model.layers):
    return model, layer
  apply = _Apply(model.apply, layer, name)
  image = jax.ShapeDtypeStruct(model.input_shape, jnp.result_type(model.mean))
  if name not in jax.eval_shape(apply, model.params, image):
    return model, layer
  return dataclasses.replace(model, apply=apply), name


@dataclasses.dataclass(frozen=True)
class _Apply:
  """A network that also gives a layer before its rectifier.

  Attributes:
    apply: as `core.Model.apply`.
    layer: the rectified layer.
    name: what the layer before is called.
  """

  apply: Callable[..., Any]
  layer: str
  name: str

  def __call__(self, params: Any, image: Any) -> dict[str, Any]:
    trace = jax.make_jaxpr(self.apply, return_shape=True)
    closed, acts = trace(params, image)
    closed = _inside(closed)
    names = {name: i for i, name in enumerate(jax.tree.leaves(_named(acts)))}
    if self.layer not in names:
      return self.apply(params, image)
    jaxpr = closed.jaxpr
    found = _before(jaxpr, jaxpr.outvars[names[self.layer]])
    if found is None:
      return self.apply(params, image)
    variable, following = found
    values = _values(closed, jax.tree.leaves((params, image)))
    leaves = [_value(values, out) for out in jaxpr.outvars]
    acts = jax.tree.unflatten(jax.tree.structure(acts), leaves)
    before = values[variable]
    for equation in following:
      _, *others = equation.invars
      given = [before, *(other.val for other in others)]
      (before,) = _results(equation, given)
    return {**acts, self.name: before}


def _inside(closed: jex.ClosedJaxpr) -> jex.ClosedJaxpr:
  """Returns what a function computes that is compiled as a whole."""
  while len(closed.jaxpr.eqns) == 1:
    (equation,), jaxpr = closed.jaxpr.eqns, closed.jaxpr
    inner = equation.params.get('jaxpr')
    if isinstance(inner, jex.Jaxpr) and not inner.constvars:
      inner = jex.ClosedJaxpr(inner, [])  # of jax.checkpoint
    same = [*equation.invars] == [*jaxpr.invars]
    same = same and [*equation.outvars] == [*jaxpr.outvars]
    if not same or not isinstance(inner, jex.ClosedJaxpr):
      return closed
    closed = inner
  return closed


def _values(closed: jex.ClosedJaxpr, operands: list[Any]) -> dict[Any, Any]:
  """Returns the value of every variable of a function."""
  jaxpr = closed.jaxpr
  values = dict(zip(jaxpr.constvars, closed.consts, strict=True))
  values |= dict(zip(jaxpr.invars, operands, strict=True))
  for equation in jaxpr.eqns:
    given = [_value(values, operand) for operand in equation.invars]
    found = _results(equation, given)
    values |= dict(zip(equation.outvars, found, strict=True))
  return values


def _value(values: dict[Any, Any], operand: Any) -> Any:
  return operand.val if isinstance(operand, jex.Literal) else values[operand]


def _results(equation: Any, operands: list[Any]) -> list[Any]:
  primitive = equation.primitive
  params = primitive.get_bind_params(equation.params)
  found = primitive.bind(*operands, **params)
  return [*found] if primitive.multiple_results else [found]


def _named(acts: dict[str, Any]) -> dict[str, str]:
  return {name: name for name in acts}


def _before(jaxpr: Any, variable: Any) -> tuple[Any, list[Any]] | None:
  """Returns what goes into the rectifier that a variable comes out of.

  Args:
    jaxpr: of the network.
    variable: of it.

  Returns:
    A variable, and the equations between the rectifier and the variable that
    was given; None where there is no rectifier.
  """
  made_by = {out: eqn for eqn in jaxpr.eqns for out in eqn.outvars}
  following = []
  while isinstance(variable, jex.Var) and variable in made_by:
    equation = made_by[variable]
    rectified = _rectified(equation, made_by)
    if rectified is not None:
      return rectified, following[::-1]
    if not _chooses(equation):
      return None
    following.append(equation)
    variable = equation.invars[0]
  return None


def _rectified(equation: Any, made_by: dict[Any, Any]) -> Any | None:
  """Returns the operand of a rectifier; None where an equation is none."""
  name, operands = equation.primitive.name, equation.invars
  if name == 'max':
    for one, other in (operands, operands[::-1]):
      if _is_zero(other, made_by) and not isinstance(one, jex.Literal):
        return one
  if name == 'clamp' and _is_zero(operands[0], made_by):
    return operands[1]
  inner = _inner(equation)
  if inner is None or len(operands) != 1 or len(inner.outvars) != 1:
    return None
  found = _before(inner, inner.outvars[0])
  if found is None or found[0] is not inner.invars[0]:
    return None
  # What relu6 does behind the maximum is left out: it keeps the shape.
  alone = all(e.primitive.name == 'min' for e in found[1])
  return operands[0] if alone else None


def _is_zero(operand: Any, made_by: dict[Any, Any]) -> bool:
  while not isinstance(operand, jex.Literal):
    equation = made_by.get(operand)
    if equation is None or not _chooses(equation):
      return False
    operand = equation.invars[0]
  return np.ndim(operand.val) == 0 and bool(operand.val == 0)


def _chooses(equation: Any) -> bool:
  """Whether the numbers of a result are some of the first operand's."""
  _, *others = equation.invars or (None,)
  if not all(isinstance(other, jex.Literal) for other in others):
    return False
  inner = _inner(equation)
  if inner is not None:
    return len(equation.outvars) == 1 and all(map(_chooses, inner.eqns))
  return equation.primitive.name in _CHOOSING and all(
    jnp.issubdtype(out.aval.dtype, jnp.floating) for out in equation.outvars
  )


def _inner(equation: Any) -> Any | None:
  """Returns the jaxpr that an equation calls, if it calls one."""
  for name in _CALLS:
    inner = equation.params.get(name)
    if inner is not None:
      return getattr(inner, 'jaxpr', inner)
  return None
