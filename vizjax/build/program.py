"""A request becomes runs and programs: what is compiled for a layer.

  read = program.read(request, 'conv5')
  table = program.runs(request, read)
  made = program.of(request, read, boxed=True)

`read` asks the terms of a layer what they read. From that follow the units of
the layer, the part of the image that a unit is made on, and how much of the
network is run.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vizjax import core
from vizjax import errors
from vizjax import models
from vizjax.build import geometry as geometry_
from vizjax.build import reach as reach_
from vizjax.build import requests
from vizjax.build import runs as runs_
from vizjax.errors import UserError
from vizjax.models import receptive_fields

Shapes = Mapping[str, jax.ShapeDtypeStruct]  # by layer


class Frame(NamedTuple):
  """A layer's method on an image of one size.

  Attributes:
    model: the network for the view; its `input_shape` is the canvas.
    acts: the shapes of its activations.
    geometry: the sizes.
    method: how images are made, on this network.
    make: (runs, rows, names not wanted) -> {name: [rows, ...]}, the arrays
      that differ between runs.
  """

  model: core.Model
  acts: Shapes
  geometry: geometry_.Geometry
  method: requests.Method
  make: Callable


class Read(NamedTuple):
  """The inputs that the terms of a layer read.

  Attributes:
    layer: its name.
    frame: on the whole image.
    objective: what the objective reads: it decides about units and signs.
    terms: what all terms read: they decide about boxes and replicates. `place`
      is also of the start and the transforms of an image.
    each: what each term reads, by its name, as 'metrics: rank'.
  """

  layer: str
  frame: Frame
  objective: reach_.Reach
  terms: reach_.Reach
  each: dict[str, reach_.Reach]


class Program(NamedTuple):
  """What one compilation is made of.

  Attributes:
    recipe: how an image is made.
    clean: the same without transforms, scoring the activation.
    robust: the same under the transforms of a test; None without them.
    result: 'best', 'last', 'next', or a snapshot of the procedure.
    keep: further snapshots.
    group: images of a unit that are compared with each other; None for none.
    geometry: the sizes of the image and of what the network sees.
    acts: the shapes of the network's activations, for a view.
    layers: those that terms read.
    target: (runs, rows, names not wanted) -> Target, stacked over rows.
  """

  recipe: core.Recipe
  clean: core.Recipe
  robust: core.Recipe | None
  result: str
  keep: tuple[str, ...]
  group: int | None
  geometry: geometry_.Geometry
  acts: Shapes
  layers: frozenset[str]
  target: Callable


def read(request: requests.Request, layer: str) -> Read:
  """Returns what the terms of a layer read, asked on the whole image.

  Raises:
    UserError: the objective does not suit the request: it reads no layer, has
      no least though the sign is 'min', or compares images that are not there.
  """
  size = request.shape or request.model.input_shape[:2]
  frame = _frame(request, request.model, layer, size, request.fitting)
  if layer not in frame.acts:
    # Raises what the layer cannot be computed for.
    alone = models.cut(request.model, (layer,))
    geometry_.activation_shapes(alone, frame.geometry.view)
    raise UserError(
      f'the objective reads layer {layer!r}, expected one of: '
      f'{", ".join(frame.acts)}.{errors.hint(layer, frame.acts)}'
    )
  act = frame.acts[layer].shape
  if 0 in act:
    h, w = frame.geometry.view
    raise UserError(
      f'layer {layer!r} has no unit where the network sees {h} x {w} pixels: '
      f'its shape is {act}; type a larger --config.shape=HxW'
    )
  acts, target = _example(request, frame, layer)
  each = {
    name: reach_.of(
      f'config.{name}',
      term,
      acts,
      target,
      request.replicates,
      scores=name in ('objective', 'activation'),
    )
    for name, term in _terms(frame.method)
  }
  terms = reach_.joined(each.values())
  # In a box, a unit's own row and column are not those that a maker expects.
  placed = any(reach_.of_target(m, target).place for m in _makers(frame))
  terms = terms._replace(place=terms.place or placed)
  read = Read(layer, frame, each['objective'], terms, each)
  _check(request, read)
  return read


def runs(
  request: requests.Request, read: Read, photographs: int = 0
) -> runs_.Runs:
  """Returns the table of what is to be made of a layer.

  Args:
    request: what is wanted.
    read: of the layer.
    photographs: to start from; several are a run each.
  """
  layer, frame, net = read.layer, read.frame, request.model
  act = frame.acts[layer].shape
  count = _count(request, read, photographs)
  labels = unit_labels(request, read)
  try:
    h, w = act[:-1] or (1, 1)
    units = runs_.units(request.units, layer, count, h, w, labels)
  except UserError as error:
    parts = (request.units or '').split(',')
    if labels or not net.labels or not any(map(runs_.named, parts)):
      raise
    raise UserError(
      f'{error}; layer {layer!r} has {count} units, so the '
      f'{len(net.labels)} names of classes are not theirs'
    ) from None
  boxable = request.box and request.shape is None and net.mean.ndim == 1
  return runs_.of_units(
    layer,
    units,
    request.replicates,
    receptive_field(read.terms, layer, net) if boxable else None,
    frame.geometry.view,
    signs=requests.SIGNS[request.sign],
    seed=request.seed,
  )


def unit_labels(request: requests.Request, read: Read) -> tuple[str, ...]:
  """Returns the names of a layer's units; () where they have none."""
  labels = request.model.labels
  count = read.frame.acts[read.layer].shape[-1]
  return labels if read.objective.channel and len(labels) == count else ()


def subject(request: requests.Request, read: Read) -> str:
  """Returns what the images of a layer are of.

  'unit'; or, of an objective that reads no channel of a unit, 'photograph',
  'direction' or 'mask' by the arrays that it reads; or 'layer'.
  """
  if read.objective.channel:
    return 'unit'
  if request.each:
    return 'photograph'
  arrays = ('direction', 'mask')
  return next((n for n in arrays if n in read.objective.target), 'layer')


def receptive_field(
  reach: reach_.Reach, layer: str, model: core.Model
) -> receptive_fields.Field | None:
  """Returns what a unit sees, of terms that read its position alone.

  None where they read more: what they see is then the whole image.

  Args:
    reach: of the terms.
    layer: of the unit.
    model: whose layers have the receptive fields.
  """
  field_of = {info.name: info.receptive_field for info in model.layers}
  field = field_of.get(layer)
  if field is None or reach.maps or reach.place or not reach.positions:
    return None
  # A unit of a layer with another receptive field stands elsewhere.
  if any(field_of.get(name) != field for name in reach.positions):
    return None
  if reach.seen:
    boxed = models.boxed(model, layer)
    if not reach.seen <= {info.name for info in boxed.layers}:
      return None
  return field


def seen(
  read: Read, table: runs_.Runs, programs: Mapping[bool, Program]
) -> np.ndarray:
  """Returns [n, 4]: the part of its image that each unit sees.

  As top, left, height, width.

  Args:
    read: of the layer.
    table: the runs of the layer.
    programs: of the last size, by whether runs are boxed.
  """
  boxes = []
  field = receptive_field(read.objective, read.layer, read.frame.model)
  for y, x, boxed in zip(table.y, table.x, table.boxed, strict=True):
    geometry = programs[bool(boxed)].geometry
    box = receptive_fields.Box(0, 0, *geometry.canvas)
    if not geometry_.tiled(geometry):
      # Transforms such as jitter move the view over a larger canvas.
      view = receptive_fields.Box(0, 0, *geometry.view)
      box = geometry_.on_canvas(view, geometry)
    if field is not None:
      box = receptive_fields.box(field, int(y), int(x))
      box = box._replace(top=0, left=0) if boxed else box
      box = geometry_.on_canvas(box, geometry)
    boxes.append(box)
  return np.array(boxes, np.int32)


def of(request: requests.Request, read: Read, *, boxed: bool) -> Program:
  """Returns what is compiled for the runs of a layer that share a geometry.

  Args:
    request: what is wanted.
    read: of the layer.
    boxed: on the unit's receptive field, or on the whole image.
  """
  frame, size = read.frame, request.model.input_shape[:2]
  if boxed:
    small = models.boxed(request.model, read.layer)
    size = small.input_shape[:2]
    frame = _frame(
      request, small, read.layer, size, lambda h, w: models.fitting(small, h, w)
    )
  layers = reach_.layers(read.terms) | read.terms.named
  names = {read.layer, models.rectifier(frame.model, read.layer)}
  names = (names | layers) & frame.acts.keys()
  model = models.cut(frame.model, tuple(names))
  made = frame.method.recipe
  model = dataclasses.replace(model, input_shape=(*size, model.input_shape[2]))
  recipe = dataclasses.replace(
    made,
    model=model,
    transforms=frame.geometry.transforms,
    trace=_as_they_are(made.trace),
    tile_batch=request.tile_batch,
  )
  clean, robust = _measured(frame.method, recipe, frame.geometry)
  # A network may give activations that it does not list.
  left = layers | ({info.name for info in model.layers} or {*frame.acts})
  return Program(
    recipe=recipe,
    clean=clean,
    robust=robust,
    result=request.result,
    keep=_keep(request, made.procedure),
    group=request.replicates if read.terms.replicates else None,
    geometry=frame.geometry,
    acts={name: act for name, act in frame.acts.items() if name in left},
    layers=layers,
    target=_targets(request, frame, boxed),
  )


def _frame(
  request: requests.Request,
  model: core.Model,
  layer: str,
  size: geometry_.Size,
  fitting: Callable[[int, int], tuple[core.Model, Shapes]],
) -> Frame:
  """Returns the method of a layer on an image of a size (h, w).

  Args:
    request: what is wanted.
    model: the network.
    layer: its name.
    size: of the canvas where the request gives one, else of the view.
    fitting: as `Request.fitting`, of this network.
  """
  c = model.input_shape[2]
  here = dataclasses.replace(model, input_shape=(*size, c))
  method = requests.method(request, here, layer)
  links = method.recipe.transforms
  if request.shape is None:
    geometry = geometry_.of_view(links, size, c)
  else:
    geometry = geometry_.of_canvas(links, size, c)
  mean = model.mean.shape[:2]
  if model.mean.ndim == 3 and {geometry.canvas, geometry.view} != {mean}:
    raise UserError(
      f'the mean image is {mean}, but the canvas is {geometry.canvas} and the '
      f'view {geometry.view}: give config.mean as r,g,b'
    )
  try:
    model, acts = fitting(*geometry.view)
  except Exception as error:  # A function of the user's may raise anything.
    if request.shape is None and request.scales is None:
      raise
    (h, w), own = geometry.view, request.model.input_shape
    raise UserError(
      f'the network cannot compute images of {h} x {w}, which the transforms '
      f'leave of config.shape, {size[0]} x {size[1]} '
      f'({str(error).splitlines()[0]:.80}): its own size is {own[0]} x '
      f'{own[1]}; leave config.shape out, or type --config.shape=HxW'
    ) from error
  canvas = (*geometry.canvas, c)
  # To a method, the model is the network on an image of the size at hand.
  if (canvas, model.apply) == (here.input_shape, here.apply):
    model = here
  else:
    model = dataclasses.replace(model, input_shape=canvas)
    method = requests.method(request, model, layer)
  if method.recipe.model is not model:
    raise UserError(
      f'the recipe of layer {layer!r} is of another model than the one that '
      'the recipe function is given: expected vizjax.Recipe(model=model, ...)'
    )
  act = acts[layer].shape if layer in acts else ()
  make = method.arrays(canvas, act, model.mean.dtype)
  return Frame(model, acts, geometry, method, make)


def _terms(method: requests.Method) -> list[tuple[str, core.TermLike]]:
  """Returns all terms of a method, by their names in errors."""
  recipe, activation = method.recipe, method.activation
  return [
    ('objective', recipe.objective),
    *([] if activation is None else [('activation', activation)]),
    *((f'trace: {name}', term) for name, term in recipe.trace),
    *((f'metrics: {name}', term) for name, term in method.metrics.items()),
  ]


def _makers(frame: Frame) -> list[Callable[[core.Target], Any]]:
  """Returns the functions besides terms that may read the target of a run."""
  recipe = frame.method.recipe
  views = jnp.zeros((1, *frame.model.input_shape), frame.model.mean.dtype)

  def moved(target):
    moved, draw = views, core.Draw(core.key(0), jnp.array(0), target)
    for link in (*recipe.transforms, *frame.method.robust):
      moved = link(draw, moved)
    return moved

  return [
    lambda target: recipe.parameterization.init(core.key(0), target),
    moved,
  ]


def _example(
  request: requests.Request, frame: Frame, layer: str
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns the shapes of what the terms of a layer can read: acts, target."""
  dtype, view = frame.model.mean.dtype, frame.geometry.view
  first = runs_.of_units(layer, [(0, 0, 0)], 1, None, view, seed=request.seed)
  names = given(request, -1)
  arrays = frame.make(first, np.array([0]), names)
  target = jax.tree.map(lambda a: _like(a[0]), arrays)
  number: Any = jax.ShapeDtypeStruct((), jnp.int32)
  target |= {
    'unit': core.Unit(number, number, number),
    'sign': jax.ShapeDtypeStruct((), dtype),
  }
  canvas = jax.ShapeDtypeStruct(frame.model.input_shape, dtype)
  target |= dict.fromkeys(names, canvas)
  params = jax.eval_shape(
    frame.method.recipe.parameterization.init, core.key(0), target
  )
  image = jax.eval_shape(frame.method.recipe.parameterization.render, params)
  if image.shape != canvas.shape:
    raise UserError(
      f'the parameterization gives an image of {image.shape}, expected '
      f'{canvas.shape}, as model.input_shape says'
    )
  # `core.score` gives terms the activations of photographs.
  for name in target.get('photographs', {}):
    target[name] = frame.acts
  seen = jax.ShapeDtypeStruct((*view, frame.model.input_shape[2]), dtype)
  reserved = dict(zip(core.RESERVED, (seen, seen, canvas, params), strict=True))
  shadowed = {
    core.SHADOWED + n: frame.acts[n] for n in reserved if n in frame.acts
  }
  return {**frame.acts, **shadowed, **reserved}, target


def given(request: requests.Request, stage: int) -> list[str]:
  """Returns the names that a stage adds to the target of its program.

  Args:
    request: what is wanted.
    stage: its number; -1 for the last.
  """
  if request.scales is None:
    return []
  photographs, sizes = request.scales.photographs, request.scales.sizes
  names = ['start'] if photographs or stage % len(sizes) else []
  return names + ['reference'] * bool(photographs)


def _like(array: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(jnp.shape(array), jnp.result_type(array))


def _check(request: requests.Request, read: Read) -> None:
  """Refuses an objective that does not suit the request."""
  objective, layer = read.objective, read.layer
  text = request.values.get('objective', '')
  what = f'config.objective is {text!r}' if text else 'the objective is one'
  layers = reach_.layers(objective)
  hidden = (objective.images & read.frame.acts.keys()) - layers
  if layer in hidden or (hidden and not layers):
    name = layer if layer in hidden else min(hidden)
    raise UserError(
      f'config.objective cannot read layer {name!r}: to a term of your own '
      f'acts[{name!r}] is what the docs of vizjax.objectives say, expected '
      "a layer of another name: type --config.objective='neuron(layer)', or "
      'rename the layer'
    )
  if not layers:
    raise UserError(
      f'{what}, which reads no layer of the network: expected a term of a '
      "layer in it, such as --config.objective='neuron(layer)'"
    )
  if request.sign != 'max' and not objective.sign:
    raise UserError(
      f'config.sign is {request.sign!r}, but {what}, which does not read '
      "target['sign'] and so has no least: multiply the value of your term by "
      "target['sign'], or add one of vizjax that reads it, such as "
      'neuron(layer), channel(layer) or direction(layer)'
    )
  if objective.replicates and (
    request.replicates < 2 or request.result == 'best'
  ):
    raise UserError(
      f'config.objective compares the images of a unit, config.replicates is '
      f'{request.replicates} and config.result {request.result!r}: expected '
      'at least 2, of the same step: type --config.replicates=4 '
      '--config.result=last'
    )


def _count(request: requests.Request, read: Read, photographs: int) -> int:
  """Returns how many units a layer has for an objective.

  Raises:
    UserError: terms read a unit, and the runs are of no unit.
  """
  act = read.frame.acts[read.layer].shape
  stacks = read.frame.method.stacks(act)
  if photographs > 1:
    stacks = [*stacks, photographs]
  if request.each:
    stacks = [*stacks, len(request.each)]
  channel = {name for name, reach in read.each.items() if reach.channel}
  if 0 in stacks:
    raise UserError(
      'a file of config.direction or config.mask holds no array: expected one '
      'or more'
    )
  if stacks and 'objective' in channel:
    raise UserError(
      'several directions, masks or photographs take the place of the units, '
      'so config.objective cannot read the channel of a unit: '
      f'{_instead(request, channel)}'
    )
  if channel and 'objective' not in channel:
    named = ', '.join(sorted(channel))
    raise UserError(
      f'config.objective reads no channel of a unit, so its images are of no '
      f'unit, but other terms read one ({named}): {_instead(request, channel)}'
    )
  if len({*stacks}) > 1:
    raise UserError(
      f'config.direction, config.mask and config.each are for '
      f'{" and ".join(map(str, stacks))} images: expected as many of each, or '
      'one array of a kind for all'
    )
  if stacks:
    return stacks[0]
  return act[-1] if channel else 1


def _instead(request: requests.Request, terms: Collection[str]) -> str:
  """Says what to type where terms of a unit meet runs of no unit."""
  arrays = [
    name
    for name in ('direction', 'mask')
    if str(request.values.get(name, '')).endswith('.npy')
  ]
  if 'objective' in terms and not arrays:
    return 'type the objective of the recipe inversion, or of another one'
  knobs = dict.fromkeys(name.partition(':')[0] for name in terms)
  typed = [
    f"--config.{knob}='{arrays[0]}(layer)'"
    if knob == 'objective'
    else f"--config.{knob}=''"
    for knob in sorted(knobs, key='objective'.__ne__)
  ]
  return f'type {" ".join(typed)}'


def _keep(
  request: requests.Request, procedure: core.Procedure
) -> tuple[str, ...]:
  """Returns the further snapshots.

  Raises:
    UserError: config.keep or config.result names one that is not made.
  """
  made = ('best', 'last', *procedure.snapshots)
  for knob, named, known in (
    ('result', {request.result}, (*made, 'next')),
    ('keep', {*request.keep}, made),
  ):
    if not named <= {*known}:
      value = request.values.get(knob, getattr(request, knob))
      raise UserError(f'config.{knob} is {value!r}, expected one of {known}')
  return request.keep


def _targets(
  request: requests.Request, frame: Frame, boxed: bool
) -> Callable[..., core.Target]:
  """Returns Program.target: the unit, the sign and the data of each row."""
  dtype = frame.model.mean.dtype

  def target(
    table: runs_.Runs, rows: np.ndarray, given: Collection[str] = ()
  ) -> core.Target:
    y, x = table.y[rows], table.x[rows]
    if boxed:  # the layer is cut down to the unit's own position
      y, x = np.zeros_like(y), np.zeros_like(x)
    unit = core.Unit(table.channel[rows], y, x)
    stacked = {'unit': unit, **frame.make(table, rows, given)}
    if request.sign != 'max':
      stacked['sign'] = table.sign[rows].astype(dtype)
    return stacked

  return target


def _measured(
  method: requests.Method,
  recipe: core.Recipe,
  geometry: geometry_.Geometry,
) -> tuple[core.Recipe, core.Recipe | None]:
  """Returns the recipes of a final image: clean, and under other transforms."""
  measured = method.activation
  measured = recipe.objective if measured is None else measured
  clean = dataclasses.replace(
    recipe,
    transforms=(geometry.clean,),
    objective=_as_it_is(measured),
    trace=_as_they_are(method.metrics.items()),
    procedure=core.ASCENT,
  )
  if not method.robust:
    return clean, None
  under = (*method.robust, geometry.clean)
  return clean, dataclasses.replace(clean, transforms=under, trace=())


def _as_it_is(term: core.TermLike) -> core.Term:
  """Returns the term without the sign of a run.

  It gives the activation also of an image that minimizes it.
  """

  @core.Term
  def without_sign(acts, target):
    unsigned = {n: v for n, v in target.items() if n != 'sign'}
    return term(acts, core.signed(unsigned, acts['view'].dtype))

  return without_sign


def _as_they_are(
  terms: Iterable[tuple[str, core.TermLike]],
) -> tuple[tuple[str, core.TermLike], ...]:
  return tuple((name, _as_it_is(term)) for name, term in terms)
