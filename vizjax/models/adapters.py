"""Your own network as a `core.Model`: Flax Linen, Flax NNX, any function.

Whatever the network returns by name can be a target, if it is an array [c] or
[h, w, c] of floating point numbers; the rest (a loss, None, a cache) is left
out of `model.layers`. A single array is called 'output'; nested dictionaries
are joined by '/'. Any number of input channels and any size will do, as long
as the image is [h, w, c].

The network gets (image - mean) * scale. Without `range` an image is 0-255; a
network on [0, 1] is told so by range=(0, 1), and mean and scale are then in
that range, as ImageNet's (0.485, 0.456, 0.406) and 1 / (0.229, 0.224, 0.225).
"""

from collections.abc import Callable, Mapping
import dataclasses
import inspect
from typing import Any

import flax.errors
from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import PyTree
import numpy as np

from vizjax import core
from vizjax import errors
from vizjax.errors import UserError
from vizjax.models import finite
from vizjax.models.interpreter import layers


# Arguments of __call__ that switch training on, and their values at inference.
_INFERENCE = {
  'train': False,
  'training': False,
  'is_training': False,
  'deterministic': True,
  'use_running_average': True,
}


def from_function(
  function: Callable,
  params: PyTree,
  *,
  input_shape: tuple[int, int, int],
  mean: Any = 0.0,
  scale: Any = 1.0,
  range: Any = core.GREY_LEVELS,
) -> core.Model:
  """A model of a function (params, (image - mean) * scale) -> activations.

  Args:
    function: takes one image [h, w, c] and gives an array, or arrays [h, w,
      c] or [c] by name.
    params: its weights, any pytree of arrays.
    input_shape: (h, w, c) of the image it is made for.
    mean: a number, [c] or [h, w, c], in the image's order and range.
    scale: a number or [c], in the image's order.
    range: (low, high) of the image.

  Raises:
    UserError: the function fails on such an image: the error and where it is
      raised; or it gives no array [c] or [h, w, c].
  """
  normalization = core.normalization(input_shape, mean, scale, range)
  params = jax.tree.map(jnp.asarray, params)
  params, keys = _without_keys(params)
  apply = _Named(function, keys)
  image = jax.ShapeDtypeStruct(input_shape, jnp.float32)
  order = []  # as the function names them; a traced dictionary is sorted

  def named(params, image):
    acts = apply.everything(params, image)
    order.extend(acts)
    return acts

  try:
    acts = jax.eval_shape(named, params, image)
  except Exception as error:  # whatever the user's own code raises
    raise _explained(error, input_shape) from error
  if not any(map(_is_target, acts.values())):
    given = ', '.join(f'{n!r}: {a.dtype}{a.shape}' for n, a in acts.items())
    raise UserError(
      f'the network gives no target for one image ({given or "nothing"}): '
      'expected arrays [c] or [h, w, c] of floating point numbers; leave out '
      'the batch, or axes of size 1'
    )
  finite.warn(params)
  infos = tuple(
    core.LayerInfo(name, 'function', acts[name].shape[-1], None, True)
    for name in order
    if _is_target(acts[name])
  )
  return core.Model(
    params,
    apply=apply,
    input_shape=input_shape,
    layers=infos,
    **normalization,
  )


def from_linen(
  module: nn.Module,
  variables: Mapping[str, PyTree],
  *,
  input_shape: tuple[int, int, int],
  mean: Any = 0.0,
  scale: Any = 1.0,
  range: Any = core.GREY_LEVELS,
  batch: bool = True,
  intermediates: bool = False,
  **arguments: Any,
) -> core.Model:
  """A model of a Flax Linen module.

  Args:
    module: its __call__ takes images.
    variables: as `module.init` gives them: {'params': ..., ...}.
    input_shape: (h, w, c).
    mean: as for `from_function`.
    scale: likewise.
    range: likewise.
    batch: whether it expects a leading axis [1, h, w, c].
    intermediates: also the output of every submodule, by its path.
    **arguments: further keywords of its __call__, such as train=False.

  Raises:
    UserError: as `from_function`; or the module is in training mode.
  """
  _check_arguments(module, arguments)

  def function(variables, image):
    image = image[None] if batch else image
    try:
      output, kept = module.apply(
        variables,
        image,
        capture_intermediates=intermediates,
        mutable=['intermediates'],
        **arguments,
      )
    except (
      flax.errors.ModifyScopeVariableError,
      flax.errors.InvalidRngError,
    ) as error:
      raise UserError(
        f'the module is in training mode ({_first_line(error)}): type '
        f'from_linen(..., {_inference(module)})'
      ) from error
    inner = kept.get('intermediates', {})
    inner = _flat(inner, '', lambda path: path.removesuffix('/__call__'))
    # What the module itself gives is known by shorter names.
    own = ('__call__', 'output')
    inner = {k: x for k, x in inner.items() if k.split('/')[0] not in own}
    return _single({**inner, **_flat(output, '')}, batch)

  return from_function(
    function,
    variables,
    input_shape=input_shape,
    mean=mean,
    scale=scale,
    range=range,
  )


def from_nnx(
  module: Any,
  *,
  input_shape: tuple[int, int, int],
  mean: Any = 0.0,
  scale: Any = 1.0,
  range: Any = core.GREY_LEVELS,
  batch: bool = True,
  **arguments: Any,
) -> core.Model:
  """A model of a Flax NNX module in evaluation mode, frozen as it is.

  Args:
    module: its __call__ takes images and gives an array, or arrays by name.
    input_shape: (h, w, c).
    mean: as for `from_function`.
    scale: likewise.
    range: likewise.
    batch: whether it expects a leading axis [1, h, w, c].
    **arguments: further keywords of its __call__.

  Raises:
    UserError: as `from_function`; or a submodule is in training mode.
  """
  from flax import nnx  # costs a second; only those who use it pay

  for path, part in nnx.iter_graph(module):
    for name in ('deterministic', 'use_running_average'):
      if isinstance(part, nnx.Module) and getattr(part, name, None) is False:
        where = '.'.join(map(str, path)) or 'the module itself'
        raise UserError(
          f'the module is in training mode: {where} ({type(part).__name__}) '
          f'has {name}=False: type model.eval() before from_nnx(model, ...)'
        )
  definition, state = nnx.split(module)

  def function(state, image):
    # A copy, so that a module that counts or draws starts afresh.
    net = nnx.merge(definition, state, copy=True)
    output = net(image[None] if batch else image, **arguments)
    return _single(_flat(output, ''), batch)

  return from_function(
    function,
    state,
    input_shape=input_shape,
    mean=mean,
    scale=scale,
    range=range,
  )


def check(model: core.Model) -> None:
  """Refuses a `core.Model` that was made by hand and cannot be run.

  Raises:
    UserError: input_shape, mean, scale or range is of another form; the
      network fails on an image, or does not return arrays by name.
  """
  if isinstance(model.apply, (layers.Apply, _Named)):
    return  # `layers.model` and `from_function` have checked it
  scale = 1.0 if model.scale is None else model.scale
  core.normalization(model.input_shape, model.mean, scale, model.range)
  if np.ndim(model.mean) == 0:
    c = model.input_shape[2]
    raise UserError(
      f'mean= is {model.mean!r}, expected an array of {c} numbers, one for '
      f'each channel: type mean=jnp.full({c}, {float(model.mean)})'
    )
  image = jax.ShapeDtypeStruct(model.input_shape, jnp.result_type(model.mean))
  try:
    acts = jax.eval_shape(model.apply, model.params, image)
  except Exception as error:  # whatever the user's own code raises
    raise _explained(error, model.input_shape) from error
  if not isinstance(acts, Mapping):
    wrong = f'a {type(acts).__name__}'
    wrong = 'an array' if hasattr(acts, 'shape') else wrong
    wrong = 'None' if acts is None else wrong
  else:
    wrong = ', '.join(
      f'{name!r}: {type(act).__name__}'
      for name, act in acts.items()
      if not isinstance(name, str) or not hasattr(act, 'shape')
    )
    wrong = f'a dictionary with {wrong}' if wrong else ''
    wrong = wrong if acts else 'an empty dictionary'
  if wrong:
    raise UserError(
      f'the apply of the network returns {wrong}, expected arrays by the names '
      "of their layers, as {'conv1': array}: return a dictionary, or type "
      'models.from_function(apply, params, input_shape=...), which gives names'
    )


@dataclasses.dataclass(frozen=True)
class _Named:
  """A function whose output is given names.

  Attributes:
    function: (params, image) -> an array, or arrays by name.
    keys: of the leaves of params that are data of PRNG keys: (number of the
      leaf, implementation).
  """

  function: Callable
  keys: tuple[tuple[int, Any], ...] = ()

  def __call__(self, params, image):
    acts = self.everything(params, image)
    return {name: act for name, act in acts.items() if _is_target(act)}

  def everything(self, params, image):
    """All the arrays of the network, targets or not."""
    leaves, structure = jax.tree.flatten(params)
    for i, kind in self.keys:
      leaves[i] = jax.random.wrap_key_data(leaves[i], impl=kind)
    return _flat(self.function(structure.unflatten(leaves), image), '')


def _without_keys(
  params: PyTree,
) -> tuple[PyTree, tuple[tuple[int, Any], ...]]:
  """The params with typed PRNG keys as plain numbers, and which they are.

  Fingerprints and checkpoints are of plain numbers.
  """
  leaves, structure = jax.tree.flatten(params)
  keys = []
  for i, leaf in enumerate(leaves):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      keys.append((i, jax.random.key_impl(leaf)))
      leaves[i] = jax.random.key_data(leaf)
  return structure.unflatten(leaves), tuple(keys)


def _is_target(act: Any) -> bool:
  """Whether an activation is [c] or [h, w, c] and has a derivative."""
  return act.ndim in (1, 3) and jnp.issubdtype(act.dtype, jnp.floating)


def _single(acts: dict[str, jax.Array], batch: bool) -> dict[str, jax.Array]:
  """The activations of the one image of a batch; numbers stay as they are."""
  return {n: x[0] if batch and x.ndim else x for n, x in acts.items()}


def _inference(module: nn.Module) -> str:
  """The keyword with which a module's __call__ does not train."""
  known = _parameters(module)
  found = [f'{n}={_INFERENCE[n]}' for n in known if n in _INFERENCE]
  return ', '.join(found) or (
    "with its __call__'s keyword for inference, as train=False"
  )


def _check_arguments(module: nn.Module, arguments: Mapping[str, Any]) -> None:
  """Refuses a call without the keyword that the module asks for."""
  for name, parameter in _parameters(module).items():
    needed = parameter.default is parameter.empty and name in _INFERENCE
    if needed and name not in arguments:
      raise UserError(
        f'{type(module).__name__}.__call__ needs {name}=: type '
        f'from_linen(..., {name}={_INFERENCE[name]})'
      )


def _parameters(module: nn.Module) -> Mapping[str, inspect.Parameter]:
  return inspect.signature(type(module).__call__).parameters


def _explained(error: Exception, input_shape: tuple[int, ...]) -> UserError:
  """Returns the error for a network whose operations do not take an image.

  Raises:
    Exception: the given one, if the user's own code raised it (with a note), or
      if it is a bug of vizjax.
  """
  if isinstance(error, UserError):
    return UserError(*error.args)  # without the notes of JAX
  if errors.is_bug(error):
    raise error
  shape = tuple(input_shape)
  if errors.place(error):
    error.add_note(f'The network was given an image of {shape}.')
    raise error
  text = f'{type(error).__name__}: {_first_line(error)}'
  return UserError(f'the network does not take an image of {shape}: {text}')


def _first_line(error: Exception) -> str:
  """The first line of a message, without the address that Flax adds."""
  return (str(error).splitlines() or [''])[0].split(' (https://')[0]


def _flat(
  output: Any, path: str, rename: Callable = lambda path: path
) -> dict[str, Any]:
  """Arrays by their path in nested dictionaries; one alone is 'output'.

  None and Python's numbers, which can be no targets, are left out.
  """
  if output is None or isinstance(output, (bool, int, float, complex)):
    return {}
  if isinstance(output, Mapping):
    acts = {}
    for name, value in output.items():
      acts |= _flat(value, f'{path}/{name}' if path else str(name), rename)
    return acts
  if isinstance(output, (tuple, list)) and len(output) == 1:
    return _flat(output[0], path, rename)  # Linen keeps one for each call
  if isinstance(output, (tuple, list)):
    acts = {}
    for i, value in enumerate(output):
      acts |= _flat(value, f'{path}/{i}' if path else str(i), rename)
    return acts
  if not isinstance(output, (jax.Array, np.ndarray)):
    raise UserError(
      f'the network gives {type(output).__name__} for {path or "its output"}, '
      'expected an array, or arrays by name'
    )
  return {rename(path) or 'output': output}
