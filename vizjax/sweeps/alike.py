"""The same bits in every batch: sums whose order no batch changes.

On the CPU, XLA chooses how it sums by the size of the whole batch (JAX 0.10.2):
a matmul of fewer than 51 rows is computed by other code than a longer one, and
a large reduction by another library than a small one. The order of the terms
differs, hence the last digits, and Adam makes grey levels of last digits.

  program = jax.jit(jax.vmap(alike(function)), compiler_options=options())

`alike` fills the matmuls and convolutions of a small batch up with zeros, and
computes Fourier transforms one by one; `options` leaves reductions to one
library. XLA also turns x / y into x * (1 / y) for a broadcast y in the program
of one device, and leaves it in that of two: `alike` always multiplies. Other
elementwise functions and maxima were the same in every program.
tests/sweeps/test_alike.py looks at each operator of the networks,
tests/widths.py at whole recipes.
"""

from collections.abc import Callable, Sequence
import functools
import math
from typing import Any

import jax
from jax.extend import core
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

# Rows of a matmul from which the order of its sums is always the same.
ROWS = 64

# YNNPACK takes reductions of more than some thousand terms, XLA the others.
_OPTIONS = {
  'xla_cpu_experimental_ynn_fusion_type': (
    'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,'
    'LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION'
  )
}


def options() -> dict[str, str]:
  """Options of `jax.jit` for programs whose sums have one order.

  Empty on an accelerator, and with a JAX that does not know the option.
  """
  return _known() if jax.default_backend() == 'cpu' else {}


@functools.cache
def _known() -> dict[str, str]:
  try:
    jax.jit(lambda: 0, compiler_options=_OPTIONS).lower().compile()
  except jax.errors.JaxRuntimeError:
    return {}
  return _OPTIONS


def alike(function: Callable) -> Callable:
  """The function, with the same bits in every batch that `jax.vmap` makes.

  Args:
    function: of pytrees of arrays, for one run. It is traced once more, and
      cannot be differentiated from outside.
  """

  def rewritten(*args):
    closed, like = jax.make_jaxpr(function, return_shape=True)(*args)
    found = _run(closed, jax.tree.leaves(args))
    return jax.tree.unflatten(jax.tree.structure(like), found)

  return rewritten


def _run(
  program: core.ClosedJaxpr | core.Jaxpr, args: Sequence[Any]
) -> list[Any]:
  """Evaluates a program equation by equation, with the sums replaced."""
  jaxpr = getattr(program, 'jaxpr', program)
  consts = getattr(program, 'consts', ())
  values = dict(zip(jaxpr.constvars, consts, strict=True))
  values |= dict(zip(jaxpr.invars, args, strict=True))

  def value(atom):
    return atom.val if isinstance(atom, core.Literal) else values[atom]

  broadcast = {}  # variable: (array before, parameters of the broadcast)
  for equation in jaxpr.eqns:
    args = [value(atom) for atom in equation.invars]
    if equation.primitive.name == 'broadcast_in_dim':
      broadcast[equation.outvars[0]] = args[0], equation.params
    if equation.primitive.name == 'div':
      _, y = equation.invars
      literal = isinstance(y, core.Literal)  # which cannot be hashed
      found = [_quotient(*args, None if literal else broadcast.get(y))]
    else:
      found = _equation(equation, args)
    values |= dict(zip(equation.outvars, found, strict=True))
  return [value(atom) for atom in jaxpr.outvars]


def _equation(equation: core.JaxprEqn, args: list[Any]) -> Sequence[Any]:
  primitive, params = equation.primitive, equation.params
  if primitive.name in _CALLS:
    return _run(params[_CALLS[primitive.name]], args)
  if primitive.name in _REWRITTEN:
    return [_REWRITTEN[primitive.name](params, *args)]
  params = {name: _inside(value) for name, value in params.items()}
  found = primitive.bind(*args, **primitive.get_bind_params(params))
  return found if primitive.multiple_results else [found]


def _inside(param: Any) -> Any:
  """A parameter of an equation, with the programs in it rewritten."""
  if type(param) is tuple:  # branches
    return tuple(map(_inside, param))
  if not isinstance(param, (core.Jaxpr, core.ClosedJaxpr)):
    return param
  jaxpr: Any = getattr(param, 'jaxpr', param)
  types = [
    jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type)
    for a in (v.aval for v in jaxpr.invars)
  ]
  closed = jax.make_jaxpr(lambda *args: _run(param, args))(*types)
  # JAX 0.12 has one class for both.
  return closed if isinstance(param, core.ClosedJaxpr) else closed.jaxpr


def _matmul(params, x, y):
  """The product with the batch in its rows, be it of x or of y."""
  (x_used, y_used), (x_shared, y_shared) = params['dimension_numbers']
  rows = [
    math.prod(n for i, n in enumerate(arg.shape) if i not in (*used, *shared))
    for arg, used, shared in ((x, x_used, x_shared), (y, y_used, y_shared))
  ]
  product = functools.partial(jax.lax.dot_general_p.bind, **params)
  numbers = (y_used, x_used), (y_shared, x_shared)
  shared, by_x = len(x_shared), x.ndim - len(x_used)

  def turned(x, y):
    found = jax.lax.dot_general_p.bind(
      y, x, **{**params, 'dimension_numbers': numbers}
    )
    by_y = found.ndim - by_x + shared
    order = (*range(shared), *range(by_y, found.ndim), *range(shared, by_y))
    return found.transpose(order)

  return _batched((product, turned), rows, x, y)


def _convolution(params, x, kernel):
  """With the batch in its positions; kernels of each run stay as they are."""
  function = functools.partial(jax.lax.conv_general_dilated_p.bind, **params)
  like = jax.eval_shape(function, x, kernel)
  channels = like.shape[params['dimension_numbers'].out_spec[1]]
  count = like.size // max(1, channels)
  return _batched((function, function), (count, None), x, kernel)


def _quotient(
  x: ArrayLike, y: ArrayLike, broadcast: tuple[ArrayLike, dict] | None = None
) -> ArrayLike:
  """x / y, computed as x * (1 / y) where y has fewer numbers than x.

  Args:
    x: of one run.
    y: of one run, or shared by all.
    broadcast: y before it was broadcast, and the parameters of the broadcast.
  """
  if not jnp.issubdtype(jnp.result_type(y), jnp.inexact):
    return jax.lax.div(x, y)
  if broadcast is not None:
    y, params = broadcast
    return x * jax.lax.broadcast_in_dim_p.bind(_inverse(y), **params)
  if jnp.ndim(y) < jnp.ndim(x):
    return x * _inverse(y)

  @jax.custom_batching.custom_vmap
  def alone(x, y):
    return jax.lax.div(x, y)

  @alone.def_vmap
  def mapped(size, is_mapped, x, y):
    del size
    if not is_mapped[1]:
      return jax.vmap(jax.lax.mul, (0, None))(x, _inverse(y)), True
    axes = [0 if each else None for each in is_mapped]
    return jax.vmap(jax.lax.div, axes)(x, y), True

  return alone(x, y)


def _inverse(y):
  return jax.lax.full_like(y, 1) / y


def _transform(params, x):
  """One after the other: in a batch JAX 0.12 gives other last digits.

  On a CPU that takes two thirds of the time, too.
  """

  @jax.custom_batching.custom_vmap
  def alone(x):
    return jax.lax.fft_p.bind(x, **params)

  @alone.def_vmap
  def mapped(size, is_mapped, x):
    del size, is_mapped
    return jax.lax.map(alone, x), True

  return alone(x)


def _batched(
  functions: tuple[Callable, Callable],
  rows: Sequence[int | None],
  x: ArrayLike,
  y: ArrayLike,
) -> Array:
  """A function of two arrays that sees the batch of each.

  Args:
    functions: for a batch of x, and of y; linear in both.
    rows: those of a matmul that one x gives, and one y; None where zeros are
      of no use.
    x: of one run, or shared by all.
    y: likewise.
  """

  @jax.custom_batching.custom_vmap
  def alone(x, y):
    return functions[0](x, y)

  @alone.def_vmap
  def mapped(size, is_mapped, x, y):
    # With an x and a y for each run there are as many matmuls: two or more,
    # for XLA computes a single one otherwise.
    which, least = 0, 2
    if not all(is_mapped):
      which = is_mapped.index(True)
      least = rows[which] and -(-ROWS // rows[which])
    filled = _filled(functions[which], tuple(is_mapped), least or 1)
    return filled(x, y), True

  return alone(x, y)


def _filled(function: Callable, own: tuple[bool, ...], least: int) -> Callable:
  """The function over a batch of `least` at least, of those with their own."""
  several = jax.vmap(function, [0 if each else None for each in own])

  @jax.custom_batching.custom_vmap
  def batch(*args):
    count = len(args[own.index(True)])
    padded = [
      jnp.pad(arg, ((0, max(0, least - count)), *[(0, 0)] * (arg.ndim - 1)))
      if each
      else arg
      for arg, each in zip(args, own, strict=True)
    ]
    return several(*padded)[:count]

  @batch.def_vmap
  def mapped(size, is_mapped, *args):
    if tuple(is_mapped) != own:
      axes = [0 if each else None for each in is_mapped]
      return jax.vmap(several, axes)(*args), True
    merged = [
      arg.reshape(-1, *arg.shape[2:]) if each else arg
      for arg, each in zip(args, own, strict=True)
    ]
    found = batch(*merged)
    return found.reshape(size, -1, *found.shape[1:]), True

  return batch


_REWRITTEN = {
  'dot_general': _matmul,
  'conv_general_dilated': _convolution,
  'fft': _transform,
}

# Calls, by the parameter that is the program called.
_CALLS = {
  'jit': 'jaxpr',
  'closed_call': 'call_jaxpr',
  'custom_jvp_call': 'call_jaxpr',
  'custom_vjp_call': 'call_jaxpr',
}
