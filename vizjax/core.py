"""The data types and the loop. Read this file first.

A preferred image is made by five verbs, each a plain function:

  render     parameters -> image              `Parameterization.render`
  transform  views -> views                   `Transform`
  score      activations -> number            `Term`
  update     gradient -> parameters           an optax optimizer
  project    parameters -> parameters         `Projection`

A `Recipe` is the five bound to a `Model`; `optimize` repeats `step`. Every
function here is written for one image; `vizjax.sweeps.parallel` maps it over
units.
"""

from collections.abc import Callable, Mapping
import dataclasses
import inspect
import operator
from typing import Any, NamedTuple, TypeVar

import jax
import jax.core
from jax.tree_util import Partial
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key, PyTree
import numpy as np
import optax

from vizjax import errors
from vizjax.errors import UserError

Acts = Mapping[str, Array]  # 'h w c' or 'c' by layer, and the reserved names
RESERVED = ('view', 'centered', 'image', 'params')
SHADOWED = '\0'  # before the name of a layer that is called as one of these
SEEN = '\1'  # before the name of a layer, as `reading.seen` reads it
Target = Mapping[str, PyTree]  # what differs between runs: always data
# Of these numbers one is maximized, and others are recorded. Where a `Term` is
# expected a plain function serves.
TermLike = Callable[[Acts, Target], ArrayLike]
Params = PyTree
AnyArray = TypeVar('AnyArray', np.ndarray, Array)  # of NumPy stays of NumPy
Number = int | float  # of a configuration: 2 is as good as 2.
GREY_LEVELS = (0.0, 255.0)  # the range of images unless a model has another
Scheduled = Number | Callable  # or a function of the step
Projection = Callable[[Params, Params, Int[Array, '']], Params]


@jax.tree_util.register_pytree_with_keys_class
class Activations(dict):
  """What a term reads: a dictionary whose missing layers are explained."""

  def __missing__(self, name: str) -> Array:
    """Raises the error that says which layers there are.

    Raises:
      UserError: there is no layer of that name.
    """
    known = [n for n in self if n not in RESERVED and n[:1] != SEEN]
    known = [n.removeprefix(SHADOWED) for n in known]
    near = errors.hint(str(name), known)
    raise UserError(
      f'the objective reads layer {name!r}, expected one of: '
      f'{", ".join(known)}{near and "." + near}'
    )

  def tree_flatten_with_keys(self):
    keys = sorted(self)
    children = [(jax.tree_util.DictKey(key), self[key]) for key in keys]
    return children, tuple(keys)

  @classmethod
  def tree_unflatten(cls, keys, children):
    return cls(zip(keys, children, strict=True))


LARGEST_SEED = 2**32 - 1
LARGEST_STEP = 2**31 - 1  # steps are counted in int32


def at(number: Scheduled, step: Array | int) -> Array | Number:
  """The value of a number that may be a schedule."""
  return number(step) if callable(number) else number


def static(**kwargs) -> Any:
  """A dataclass field that is part of the program, not of the data."""
  return dataclasses.field(metadata={'static': True}, **kwargs)


@dataclasses.dataclass(frozen=True)
class Term:
  """A number that is read off the activations; terms add up.

    neuron('conv5') - 0.1 * total_variation()

  Each side of `+ - * /` is a term, a plain function of the same arguments, or a
  number, and one of them is a term; the result is a term. Two terms are equal
  where their functions are the same one.

  Attributes:
    function: (acts, target) -> the number.
  """

  function: TermLike

  # Without this a NumPy number on the left would take a term for an array.
  __array_ufunc__ = None

  def __call__(self, acts: Acts, target: Target) -> Any:
    return self.function(acts, target)

  def __neg__(self) -> 'Term':
    return combined(operator.mul, -1, self)

  def __add__(self, other: Any) -> 'Term':
    return combined(operator.add, self, other)

  def __radd__(self, other: Any) -> 'Term':
    return combined(operator.add, other, self)

  def __sub__(self, other: Any) -> 'Term':
    return combined(operator.sub, self, other)

  def __rsub__(self, other: Any) -> 'Term':
    return combined(operator.sub, other, self)

  def __mul__(self, other: Any) -> 'Term':
    return combined(operator.mul, self, other)

  def __rmul__(self, other: Any) -> 'Term':
    return combined(operator.mul, other, self)

  def __truediv__(self, other: Any) -> 'Term':
    return combined(operator.truediv, self, other)

  def __rtruediv__(self, other: Any) -> 'Term':
    return combined(operator.truediv, other, self)


def combined(operation: Callable, left: Any, right: Any) -> Any:
  """Returns a sum, a product or the like of terms, functions and numbers.

  Args:
    operation: of two numbers, such as `operator.add`.
    left: a number, or a term or another function; all functions take the same
      arguments.
    right: likewise.

  Returns:
    A term if one side is a term, else a function if one side is a function, of
    the same arguments; of two numbers, a number.

  Raises:
    UserError: a side is neither a number nor a function.
  """
  sides = (left, right)
  for side in sides:
    number = isinstance(side, (int, float, np.integer, np.floating))
    function = isinstance(side, Term) or inspect.isfunction(side)
    if isinstance(side, bool) or not (number or function):
      raise UserError(
        'only numbers and functions such as terms are added and multiplied, '
        f'not {_shown(side)}: type a number, or call a function that gives a '
        "term, as neuron('conv5')"
      )
  if not any(map(callable, sides)):
    return operation(left, right)

  def value(*args):
    return operation(*(s(*args) if callable(s) else s for s in sides))

  return Term(value) if any(isinstance(s, Term) for s in sides) else value


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Centre:
  """The row or the column in the middle of a map: its size // 2."""

  def __repr__(self) -> str:
    # Of the error where a term takes it for a number.
    return 'the centre of the map: type vizjax.Unit(channel, y, x)'


CENTRE = Centre()


class Unit(NamedTuple):
  """Which unit: traced integers, so that one compilation serves a layer.

  Without a row and a column it is the unit at the centre of the map.
  """

  channel: Int[ArrayLike, '']
  y: Int[ArrayLike, ''] | Centre = CENTRE  # row; 0 for a fully connected layer
  x: Int[ArrayLike, ''] | Centre = CENTRE  # column


class LayerInfo(NamedTuple):
  """What is known of a layer before it is run."""

  name: str
  kind: str
  channels: int
  # receptive_fields.Field, or None where it is the whole image.
  receptive_field: Any
  weighted: bool  # has weights: what a glob in config.layer matches


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Model:
  """A frozen network: `model(image)` is every activation, by layer name.

  The network gets (image - mean) * scale.

  Attributes:
    params: weights; leaves are traced, never closed over.
    mean: [c] or [h, w, c] in the image's order and range; it reads as zero.
    apply: (params, (image - mean) * scale) -> {layer: activation}.
    input_shape: (h, w, c) of the image that the network was made for.
    layers: what is known of each layer, in order; () if nothing is.
    labels: names of the classes, for layers with a unit for each.
    scale: [c], in the image's order; None for 1.
    range: (low, high) of the image: black and white.
    preprocessing: how photographs were resized and cropped in training, a
      `photographs.preprocessing.Preprocessing` for inputs of 224 to 256
      pixels; None if that is not known.
  """

  params: Any
  mean: Any
  apply: Callable = static()
  input_shape: tuple[int, int, int] = static()
  layers: tuple[LayerInfo, ...] = static(default=())
  labels: tuple[str, ...] = static(default=())
  scale: Any = None
  range: tuple[float, float] = static(default=GREY_LEVELS)
  preprocessing: Any = static(default=None)

  def __call__(self, image: Float[Array, 'h w c']) -> dict[str, Array]:
    """Activations of an image [h, w, c] in the network's order and range."""
    return apply_centered(self, center(self, image))

  def __repr__(self) -> str:
    names = [info.name for info in self.layers]
    named = ', '.join(
      names if len(names) < 9 else [*names[:6], '...', names[-1]]
    )
    count = sum(map(np.size, jax.tree.leaves(self.params)))
    return (
      f'Model(input_shape={self.input_shape}, range={self.range}, '
      f'{count} parameters, {len(self.labels)} labels, '
      f'{len(names)} layers: {named or "not listed"})'
    )


class Parameterization(NamedTuple):
  """What is optimized, and how it becomes an image."""

  init: Callable  # (key, target) -> params
  render: Callable  # params -> [h, w, c] in the order and range of the model


def as_data(function: Any) -> Any:
  """Returns a plain function as a Partial, which may be data under `jax.jit`.

  Anything else is returned as it is.
  """
  return Partial(function) if inspect.isfunction(function) else function


class Draw(NamedTuple):
  """What a transform may depend on.

  Attributes:
    key: of this step and of this transform of the recipe.
    step: number of the step, from 0.
    target: what the image is of; target['unit'] is a `Unit`.
  """

  key: Key[Array, '']
  step: Int[Array, '']
  target: Target


# Views are in grey levels, 0-255, whatever the range of the model.
Transform = Callable[[Draw, Float[Array, 'v h w c']], Float[Array, 'u k l c']]


class Snapshot(NamedTuple):
  """One evaluated point: `score` is the score *of these* `params`."""

  params: PyTree
  score: Float[Array, '']
  step: Int[Array, '']  # -1: never evaluated


class State(NamedTuple):
  """The loop's carry; resuming is calling `optimize` on it again."""

  params: PyTree  # to be evaluated next
  optimizer: Any
  step: Int[Array, '']
  best: Snapshot
  last: Snapshot  # most recently evaluated
  extra: PyTree  # what a recipe's own step carries
  stopped: Bool[Array, '']  # frozen from here on; the trace is NaN


def center(model: Model, image: Float[Array, 'h w c']) -> Float[Array, 'h w c']:
  """The image with the model's mean taken as zero."""
  return image - jnp.broadcast_to(model.mean, image.shape)


def apply_centered(
  model: Model, centered: Float[Array, 'h w c']
) -> dict[str, Array]:
  """Activations of an image less the model's mean."""
  if model.scale is not None:
    centered = centered * jnp.broadcast_to(model.scale, centered.shape)
  return model.apply(model.params, centered)


def grey_levels(range: tuple[float, float], image: AnyArray) -> AnyArray:
  """Numbers of an image's range as grey levels: 0 for black, 255 for white."""
  low, high = range
  return image if range == GREY_LEVELS else (image - low) * (255 / (high - low))


def from_grey_levels(range: tuple[float, float], image: AnyArray) -> AnyArray:
  """Grey levels, 0-255, as numbers of an image's range."""
  low, high = range
  return image if range == GREY_LEVELS else image * ((high - low) / 255) + low


def bounds(
  range: tuple[float, float], mean: AnyArray
) -> tuple[AnyArray, AnyArray]:
  """The least and the greatest of image - mean, for an image in its range."""
  low, high = range
  black = mean - low if low else mean
  return -black, (high - low) - black


def in_grey_levels(model: Model) -> Model:
  """The same network on images of 0-255: what the commands work with.

  The published programs and the pictures are in grey levels, so a
  configuration gives the same picture whatever the range of the network.
  """
  if model.range == GREY_LEVELS:
    return model
  low, high = model.range
  step = (high - low) / 255
  dtype = jnp.result_type(model.mean)
  mean = (np.asarray(model.mean, np.float64) - low) / step
  scale = 1.0 if model.scale is None else np.asarray(model.scale, np.float64)
  scale = np.broadcast_to(scale * step, model.input_shape[2:])
  return dataclasses.replace(
    model,
    mean=jnp.asarray(mean, dtype),
    scale=jnp.asarray(scale, dtype),
    range=GREY_LEVELS,
  )


def normalization(
  input_shape: Any,
  mean: Any,
  scale: Any,
  range: Any,
) -> dict[str, Any]:
  """The fields mean, scale and range of a `Model`, checked.

  Args:
    input_shape: (h, w, c) of the image.
    mean: a number, [c] or [h, w, c], in the image's range.
    scale: a number or [c]: the network gets (image - mean) * scale.
    range: (low, high) of the image.

  Raises:
    UserError: a value is not of that form.
  """
  sizes = input_shape if isinstance(input_shape, tuple) else ()
  if len(sizes) != 3 or not all(errors.is_whole(n, 1) for n in sizes):
    raise UserError(
      f'input_shape= is {_shown(input_shape)}, expected (height, width, '
      'channels) of the image, three whole numbers >= 1: type '
      'input_shape=(224, 224, 3)'
    )
  c = input_shape[2]
  values = {}
  forms = {'mean': ((), (c,), input_shape), 'scale': ((), (c,))}
  for name, given in (('mean', mean), ('scale', scale)):
    value = values[name] = _numbers(given)
    if value.shape not in forms[name] or not np.isfinite(value).all():
      raise UserError(
        f'{name}= is {_shown(given)}, expected a number or {c} numbers, one '
        f'for each channel: type {name}={[1.0] * c}'
      )
  if not values['scale'].all():
    raise UserError(
      f'scale= is {_shown(scale)}, expected numbers other than 0: the network '
      'gets (image - mean) * scale, so type 1 / 255 or 1 / deviation'
    )
  try:
    low, high = map(float, range)
  except (TypeError, ValueError):
    low, high = 0.0, 0.0
  if not -np.inf < low < high < np.inf:
    raise UserError(
      f'range= is {_shown(range)}, expected (low, high) of the image, as '
      '(0, 255) or (0, 1)'
    )
  mean, scale = values['mean'], values['scale']
  mean = np.broadcast_to(mean, (c,)) if mean.ndim == 0 else mean
  scale = None if np.all(scale == 1) else np.broadcast_to(scale, (c,))
  return {
    'mean': jnp.asarray(mean),
    'scale': None if scale is None else jnp.asarray(scale),
    'range': (low, high),
  }


def _numbers(given: Any) -> np.ndarray:
  """A number or numbers in float32; NaN for anything else."""
  try:
    if np.asarray(given).dtype.kind in 'OUSc':
      return np.array(np.nan)
    return np.asarray(given, np.float32)
  except (TypeError, ValueError):  # sequences of unequal lengths
    return np.array(np.nan)


def _shown(value: Any) -> str:
  if getattr(value, 'size', 0) > 4:
    return f'an array of {value.shape}'
  text = ' '.join(repr(value).split())
  return text if len(text) <= 60 else f'{text[:60]} ...'


def key(seed: int) -> Key[Array, '']:
  """The PRNG key of a seed: the same whatever jax_default_prng_impl is.

  What JAX's `rbg` draws for one run of a batch depends on the other runs, so
  the implementation is always threefry2x32.

  Args:
    seed: 0 to 4294967295; each gives another key.

  Raises:
    UserError: another seed. JAX reads 32 bits, so the key of 2**32 would be
      that of 0.
  """
  if not 0 <= seed <= LARGEST_SEED:
    raise UserError(
      f'seed is {seed}, expected a whole number from 0 to {LARGEST_SEED}'
    )
  return jax.random.key(seed, impl='threefry2x32')


def init(recipe: 'Recipe', target: Target, key: Key[Array, '']) -> State:
  """The state before the first evaluation.

  Raises:
    UserError: the objective reads a unit that is not in its layer. A unit
      whose numbers are traced is not checked: its score is NaN.
  """
  params = recipe.parameterization.init(key, target)
  if not any(isinstance(n, jax.core.Tracer) for n in jax.tree.leaves(target)):
    for part, number in _numbers_of_unit(target).items():
      if jnp.ndim(number):
        raise UserError(
          f'the unit has {part} of shape {jnp.shape(number)}, expected one '
          'number: type jax.vmap(vizjax.init, (None, 0, 0)) for several units, '
          'or vizjax.visualize(model, layer, units=...)'
        )
    # Computes nothing: the terms check the unit while its numbers are known.
    draw = Draw(key, jnp.array(0), target)
    try:
      jax.eval_shape(lambda params: score(recipe, params, draw), params)
    except KeyError as error:
      if error.args != ('unit',) or 'unit' in target:
        raise
      raise UserError(
        'the objective reads a unit, but the target has none: type '
        "target = {'unit': vizjax.Unit(9)}"
      ) from None
  none = unevaluated(params)
  with jax.default_prng_impl('threefry2x32'):  # of optax.add_noise, see `key`
    optimizer = recipe.optimizer.init(params)
  return State(
    params,
    optimizer,
    jnp.array(0),
    none,
    none,
    recipe.procedure.extra(recipe, params, target),
    jnp.array(False),
  )


def _numbers_of_unit(target: Target) -> dict[str, Any]:
  unit = target.get('unit')
  parts = unit._asdict() if isinstance(unit, Unit) else {}
  return {n: part for n, part in parts.items() if not isinstance(part, Centre)}


def unevaluated(params: Params) -> Snapshot:
  """A snapshot that any evaluation is better than."""
  dtype = jnp.result_type(*jax.tree.leaves(params))
  return Snapshot(params, jnp.array(-jnp.inf, dtype), jnp.array(-1))


def score(
  recipe: 'Recipe', params: Params, draw: Draw
) -> tuple[Float[Array, ''], dict[str, Array]]:
  """The objective of the transformed image, and the terms to record.

  Both are taken per view and then brought together: the objective by
  `recipe.views`, the records by their mean. The images of
  target['photographs'] go through the same draws, so that a term compares a
  view with the same view of a photograph: target[name] is its activations.
  """
  image = recipe.parameterization.render(params)
  views = _views(recipe, draw, image)
  photographs = draw.target.get('photographs', {})
  beside = {n: _views(recipe, draw, p) for n, p in photographs.items()}

  def score_view(view, beside, image, params):
    acts = activations(recipe, view, image, params)
    beside = {n: recipe.model(p) for n, p in beside.items()}
    target = signed({**draw.target, **beside}, view.dtype)
    records = {name: term(acts, target) for name, term in recipe.trace}
    value = recipe.objective(acts, target)
    if jnp.ndim(value):
      raise UserError(
        f'the objective gives an array of {jnp.shape(value)}, expected one '
        'number: type jnp.mean(...) or jnp.sum(...) in the term'
      )
    return value, records

  if recipe.tile_batch is None or recipe.tile_batch >= len(views):
    over_views = jax.vmap(score_view, (0, 0, None, None))
    values, records = over_views(views, beside, image, params)
    value = recipe.views(values)
  else:
    value, records = _by_view_batches(
      recipe, score_view, views, beside, image, params
    )
  return value, jax.tree.map(lambda r: r.mean(0), records)


def signed(target: Target, dtype: Any) -> Target:
  """The target with a sign: 1, unless the run has one, such as -1."""
  return {'sign': jnp.ones((), dtype), **target}


def _views(
  recipe: 'Recipe', draw: Draw, image: Float[Array, 'h w c']
) -> Float[Array, 'v k l c']:
  """An image after the transforms."""
  views = grey_levels(recipe.model.range, image[None])
  for i, transform in enumerate(recipe.transforms):
    key = jax.random.fold_in(draw.key, i)
    views = transform(draw._replace(key=key), views)
  return from_grey_levels(recipe.model.range, views)


def _by_view_batches(
  recipe: 'Recipe',
  score_view: Callable,
  views: Float[Array, 'v h w c'],
  beside: PyTree,
  *shared: PyTree,
) -> tuple[Float[Array, ''], dict[str, Array]]:
  """The score of many views, a part of them at a time.

  Reverse mode would keep the activations of every part till the end. So the
  gradient of a part is taken beside its score, and what is returned is linear
  in views and image: it has the value and the first derivative of the score.
  """
  count = len(views)
  rows = view_batches(count, recipe.tile_batch)
  here, shared_here = jax.lax.stop_gradient((views, shared))
  # What fills up the last part weighs nothing.
  weights = jax.grad(recipe.views)(jnp.zeros(count, views.dtype))
  weights = jnp.pad(weights, (0, rows.size - count)).reshape(rows.shape)

  def part(sums, rows_and_weights):
    rows, weights = rows_and_weights
    rows_of = lambda a: a[rows]

    def total(views, shared):
      over_views = jax.vmap(lambda *some: score_view(*some, *shared))
      values, records = over_views(views, jax.tree.map(rows_of, beside))
      return weights @ values, (values, records)

    both = jax.grad(total, (0, 1), has_aux=True)
    slopes, found = both(here[rows], shared_here)
    return jax.tree.map(jnp.add, sums, slopes[1]), (slopes[0], *found)

  zeros = jax.tree.map(jnp.zeros_like, shared_here)
  sums, found = jax.lax.scan(part, zeros, (rows, weights))
  flat = lambda a: a.reshape(-1, *a.shape[2:])[:count]
  slopes, values, records = jax.tree.map(flat, found)
  linear = lambda slope, there, here: jnp.sum(slope * (there - here))
  rest = jax.tree.map(linear, sums, shared, shared_here)
  value: Array = recipe.views(values) + linear(slopes, views, here)
  return sum(jax.tree.leaves(rest), value), records


def view_batches(count: int, size: int | None) -> Int[Array, 'n k']:
  """The numbers 0 to count - 1 in equal batches of at most so many.

  The last part is filled up with numbers from the beginning.

  Args:
    count: how many.
    size: of a part; None for one part.
  """
  number = 1 if size is None else -(-count // size)
  each = -(-count // number)
  return jnp.arange(number * each).reshape(number, each) % count


def activations(
  recipe: 'Recipe',
  view: Float[Array, 'h w c'],
  image: Float[Array, 'k l c'],
  params: Params,
) -> Acts:
  """What a term reads: the layers of a view and the reserved names."""
  centered = center(recipe.model, view)
  layers = apply_centered(recipe.model, centered)
  reserved = dict(zip(RESERVED, (view, centered, image, params), strict=True))
  shadowed = {SHADOWED + n: layers[n] for n in RESERVED if n in layers}
  return Activations({**layers, **shadowed, **reserved})


def step(
  recipe: 'Recipe', state: State, target: Target, key: Key[Array, '']
) -> tuple[State, dict[str, Array]]:
  """Evaluates `state.params`, keeps the record, and moves on.

  The update after an evaluation is not looked at before the next one, so a
  snapshot always pairs parameters with their own score. Nothing depends on
  how many steps a call makes: the randomness of step s is fold_in(key, s).
  """
  draw = Draw(jax.random.fold_in(key, state.step), state.step, target)
  descent, trace = evaluate(recipe, state.params, draw)
  grads = jax.tree.map(jnp.negative, descent)
  state = noted(state, state.params, trace['score'])

  # Line searches need these three; no optimizer is given anything else.
  update = optax.with_extra_args_support(recipe.optimizer).update
  updates, optimizer = update(
    descent,
    state.optimizer,
    state.params,
    value=-trace['score'],
    grad=descent,
    value_fn=lambda params: -score(recipe, params, draw)[0],
  )
  params = optax.apply_updates(state.params, updates)
  for project in recipe.projections:
    params = project(params, grads, state.step)

  state = state._replace(
    params=params, optimizer=optimizer, step=state.step + 1
  )
  return state, trace


def evaluate(
  recipe: 'Recipe', params: Params, draw: Draw
) -> tuple[Params, dict[str, Array]]:
  """The gradient of minus the score, and what a step records."""

  def loss(params):
    value, records = score(recipe, params, draw)
    return -value, records

  (value, records), descent = jax.value_and_grad(loss, has_aux=True)(params)
  # The update is compiled apart from the network. Fused with it, XLA rounded
  # the update otherwise on two devices than on one, by 2e-5 grey levels.
  descent = jax.lax.optimization_barrier(descent)
  norm = optax.tree.norm(descent)
  return descent, {'score': -value, 'gradient_norm': norm, **records}


def noted(state: State, params: Params, score: Float[Array, '']) -> State:
  """The state with this evaluation as its last and, if it is, its best."""
  last = Snapshot(params, score, state.step)
  best = chosen(score > state.best.score, last, state.best)
  return state._replace(best=best, last=last)


def chosen(condition: Bool[Array, ''], yes: PyTree, no: PyTree) -> PyTree:
  """One of two trees of equal shape."""
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


class Procedure(NamedTuple):
  """What one evaluation leads to, for programs that are not of `step`'s form.

  Attributes:
    step: (recipe, state, target, key) -> state, trace.
    extra: (recipe, params, target) -> the first `State.extra`.
    trace: terms that it records in any case, by name.
    snapshots: keys of `State.extra`, a mapping, that are Snapshots.
  """

  step: Callable
  extra: Callable = lambda recipe, params, target: ()
  trace: tuple[tuple[str, TermLike], ...] = ()
  snapshots: tuple[str, ...] = ()


ASCENT = Procedure(step)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Recipe:
  """A way of making an image: the five verbs, bound to a model.

  Each verb may be a plain function.

  Attributes:
    model: the network.
    parameterization: what is optimized.
    objective: the term to maximize.
    optimizer: an optax transformation; it sees the gradient of -score.
    transforms: applied in order to the rendered image before the network, in
      grey levels.
    projections: applied in order to the parameters after the update.
    trace: further terms to record at every step, by name.
    views: brings the scores [v] of the views together; linear in them.
    tile_batch: views that go through the network at a time; None for all.
    procedure: a program that is not of this form brings its own.
  """

  model: Model
  parameterization: Parameterization
  objective: TermLike = static()
  optimizer: optax.GradientTransformation = static()
  transforms: tuple[Transform, ...] = ()
  projections: tuple[Projection, ...] = ()
  trace: tuple[tuple[str, TermLike], ...] = static(default=())
  views: Callable = static(default=jnp.mean)
  tile_batch: int | None = static(default=None)
  procedure: Procedure = static(default=ASCENT)

  def __post_init__(self):
    """Makes plain functions data, and refuses what cannot be a verb.

    JAX makes recipes, too, whose fields are tracers, None or objects of its
    own: they are left as they are.
    """
    returned = getattr(self.objective, '__annotations__', {}).get('return')
    if inspect.isfunction(self.objective) and returned is Term:
      name = self.objective.__name__
      raise UserError(
        f'objective= is the function {name}, which makes a term, expected a '
        f"term: call it, as {name}('conv5')"
      )
    if isinstance(self.model, str):
      raise UserError(
        f'model= is {self.model!r:.60}, expected a vizjax.Model: type '
        f'model=vizjax.load({self.model!r:.60})'
      )
    if not callable(self.objective):
      raise UserError(
        f'objective= is {self.objective!r:.60}, expected a term: type '
        "objective=vizjax.objectives.neuron('conv5'); formulas in quotes are "
        'for configs'
      )
    if inspect.isfunction(self.parameterization):
      name = self.parameterization.__name__
      raise UserError(
        f'parameterization= is the function {name}, expected what it returns: '
        f'call it, as {name}(model)'
      )
    if not hasattr(self.optimizer, 'update'):
      raise UserError(
        f'optimizer= is {self.optimizer!r:.60}, expected one of optax or of '
        'vizjax.optimizers: type optimizer=optax.adam(0.05)'
      )
    for name in ('transforms', 'projections'):
      links = getattr(self, name)
      if isinstance(links, str):
        raise UserError(
          f'{name}= is {links!r:.60}, expected a tuple of functions: type '
          f'{name}=(function,); formulas in quotes are for configs'
        )
      if isinstance(links, (Partial, Term)) or inspect.isfunction(links):
        raise UserError(
          f'{name}= is one function, expected a tuple of functions: type '
          f'{name}=(function,), with the comma'
        )
      if isinstance(links, (tuple, list)):
        object.__setattr__(self, name, tuple(map(as_data, links)))
    verb = self.parameterization
    if isinstance(verb, Parameterization):
      verb = Parameterization(*map(as_data, verb))
      object.__setattr__(self, 'parameterization', verb)

  def __repr__(self) -> str:
    verbs = {
      'parameterization': [getattr(self.parameterization, 'render', None)],
      'transforms': self.transforms,
      'objective': [self.objective],
      'optimizer': [self.optimizer.update],
      'projections': self.projections,
    }
    lines = [
      f'  {verb}: {", ".join(map(_called, functions)) or "none"}'
      for verb, functions in verbs.items()
    ]
    return '\n'.join(['Recipe(', f'  model: {self.model!r}', *lines, ')'])


def _called(function: Any) -> str:
  """Returns the name of a function, or of the function that made it."""
  while isinstance(function, Term):
    function = function.function
  function = getattr(function, 'func', function)  # of a Partial
  name = getattr(function, '__qualname__', type(function).__name__)
  return name.split('.<locals>')[0]


def advance(
  recipe: Recipe, state: State, target: Target, key: Key[Array, '']
) -> tuple[State, dict[str, Array]]:
  """One step of the recipe; once `state.stopped` holds, none, and NaN."""
  new, trace = recipe.procedure.step(recipe, state, target, key)
  blank = lambda record: jnp.where(state.stopped, jnp.nan, record)
  return chosen(state.stopped, state, new), jax.tree.map(blank, trace)


def optimize(
  recipe: Recipe,
  state: State,
  target: Target,
  key: Key[Array, ''],
  *,
  steps: int,
) -> tuple[State, dict[str, Array]]:
  """Makes `steps` evaluations; calling it again goes on where it ended.

  Args:
    recipe: how the image is made.
    state: from `init`, or from an earlier call.
    target: what this run is about, such as {'unit': Unit(...)}.
    key: the run's key, the same in every call.
    steps: number of evaluations.

  Returns:
    The state, and the trace: {'score': [steps], 'gradient_norm': [steps],
    each name of `recipe.trace`: [steps, ...]}.
  """

  body = lambda state, _: advance(recipe, state, target, key)
  return jax.lax.scan(body, state, length=steps)
