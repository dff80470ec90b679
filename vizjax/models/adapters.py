"""Your own network as a `core.Model`: Flax Linen, Flax NNX, any function.

Whatever the network returns by name can be a target. A single array is
called 'output'; nested dictionaries are joined by '/'. Any number of input
channels and any size will do, as long as the image is [h, w, c].
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import PyTree
import numpy as np

from vizjax import core


def from_function(
  function: Callable,
  params: PyTree,
  *,
  input_shape: tuple[int, int, int],
  mean: Any = 0.0,
) -> core.Model:
  """A model of a function (params, image less mean) -> activations.

  Args:
    function: takes one image [h, w, c] and gives an array, or arrays [h, w,
      c] or [c] by name.
    params: its weights, any pytree of arrays.
    input_shape: (h, w, c) of the image it is made for.
    mean: a number, [c] or [h, w, c], in the image's order and range; the
      function gets the image less this.

  Raises:
    ValueError: the function does not take such an image, or gives what is
      no activation.
  """
  mean = jnp.asarray(mean, jnp.float32)
  mean = jnp.broadcast_to(mean, input_shape[2:]) if mean.ndim == 0 else mean
  params = jax.tree.map(jnp.asarray, params)
  apply = _Named(function)
  image = jax.ShapeDtypeStruct(input_shape, jnp.float32)
  order = []  # as the function names them; a traced dictionary is sorted

  def named(params, image):
    acts = apply(params, image)
    order.extend(acts)
    return acts

  try:
    acts = jax.eval_shape(named, params, image)
  except (TypeError, ValueError) as error:
    raise ValueError(
      f'the network does not take an image of {input_shape}: {error}'
    ) from error
  for name, act in acts.items():
    if act.ndim not in (1, 3):
      raise ValueError(
        f'activation {name!r} is {act.shape} for one image, expected [c] or '
        '[h, w, c]: leave out the batch, or axes of size 1'
      )
  infos = tuple(
    core.LayerInfo(name, 'function', acts[name].shape[-1], None, True)
    for name in order
  )
  return core.Model(params, mean, apply, input_shape, infos)


def from_linen(
  module: nn.Module,
  variables: Mapping[str, PyTree],
  *,
  input_shape: tuple[int, int, int],
  mean: Any = 0.0,
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
    batch: whether it expects a leading axis [1, h, w, c].
    intermediates: also the output of every submodule, by its path.
    **arguments: further keywords of its __call__, such as train=False.
  """

  def function(variables, image):
    image = image[None] if batch else image
    output, kept = module.apply(
      variables,
      image,
      capture_intermediates=intermediates,
      mutable=['intermediates'],
      **arguments,
    )
    inner = kept.get('intermediates', {})
    inner = _flat(inner, '', lambda path: path.removesuffix('/__call__'))
    # What the module itself gives is known by shorter names.
    own = ('__call__', 'output')
    inner = {k: x for k, x in inner.items() if k.split('/')[0] not in own}
    acts = {**inner, **_flat(output, '')}
    return {name: x[0] for name, x in acts.items()} if batch else acts

  return from_function(function, variables, input_shape=input_shape, mean=mean)


def from_nnx(
  module: Any,
  *,
  input_shape: tuple[int, int, int],
  mean: Any = 0.0,
  batch: bool = True,
  **arguments: Any,
) -> core.Model:
  """A model of a Flax NNX module, frozen as it is.

  Args:
    module: its __call__ takes images and gives an array, or arrays by name.
    input_shape: (h, w, c).
    mean: as for `from_function`.
    batch: whether it expects a leading axis [1, h, w, c].
    **arguments: further keywords of its __call__.
  """
  from flax import nnx  # costs a second; only those who use it pay

  definition, state = nnx.split(module)

  def function(state, image):
    # A copy, so that a module that counts or draws starts afresh.
    net = nnx.merge(definition, state)
    acts = _flat(net(image[None] if batch else image, **arguments), '')
    return {name: x[0] for name, x in acts.items()} if batch else acts

  return from_function(function, state, input_shape=input_shape, mean=mean)


@dataclasses.dataclass(frozen=True)
class _Named:
  """A function whose output is given names."""

  function: Callable

  def __call__(self, params, image):
    return _flat(self.function(params, image), '')


def _flat(
  output: Any, path: str, rename: Callable = lambda path: path
) -> dict[str, jax.Array]:
  """Arrays by their path in nested dictionaries; one alone is 'output'."""
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
    raise ValueError(
      f'the network gives {type(output).__name__} for {path or "its output"}, '
      'expected an array, or arrays by name'
    )
  return {rename(path) or 'output': output}
