"""A request is a value, made of a configuration or in Python.

  request = build.request(config)
  request = build.Request(model, my_recipe, ('conv5',), units='0:64')

A `Request` says which images are wanted and how each is made. It knows no
formula: `assemble` reads the formulas of a configuration.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, NamedTuple

from vizjax import core
from vizjax import errors
from vizjax import formula
from vizjax import models
from vizjax import scales as scales_
from vizjax.build import geometry
from vizjax.build import inputs
from vizjax.build import runs
from vizjax.build import vocabulary
from vizjax.errors import UserError

SIGNS = {'max': (1,), 'min': (-1,), 'both': (1, -1)}
IMAGE_DTYPES = ('float32', 'float16', 'uint8')


class Method(NamedTuple):
  """How the images of a layer are made and measured.

  Attributes:
    recipe: the five verbs, on the network that the method was given.
    activation: measured of the final image without transforms; None: the
      objective.
    metrics: further terms that are measured of it, by name.
    robust: transforms under which the final image is measured again.
    data: what else terms, transforms and the start read of their target, by
      name: arrays, or makers (shape, seed) -> array such as those of
      `vizjax.targets` and `vizjax.features`, or lists of makers, one for each
      run. 'start', 'direction' and 'mask' may hold one array for each run.
    arrays: (canvas, shape of the layer, dtype) -> make(runs, rows, given), the
      arrays that differ between runs; those of `data` unless given.
    stacks: (shape of the layer) -> numbers of runs that arrays are for.
  """

  recipe: core.Recipe
  activation: core.TermLike | None = None
  metrics: Mapping[str, core.TermLike] = {}
  robust: tuple[core.Transform, ...] = ()
  data: Mapping[str, Any] = {}
  arrays: Callable[..., Callable] = inputs.of_data
  stacks: Callable[..., list[int]] = inputs.stacked


_LATER: Any = None  # the default of a field that `__post_init__` fills


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
  """Which images are wanted, of what, and how they are made.

  Attributes:
    model: the network, on images of 0-255.
    method: (model, layer) -> Method, or a core.Recipe. It is called with the
      network at the size of the canvas, and before with the network at its own
      size where the transforms eat pixels.
    layers: names, in the order of the network.
    units: as `runs.units` reads them; None for all, at the centre.
    sign: 'max', 'min' or 'both'.
    replicates: images of each unit and sign.
    seed: of all runs.
    retries: attempts with another seed where a run failed.
    shape: (h, w) of the canvas; None for what the view needs.
    scales: the sizes that an image is made at; None for one.
    each: the name of each run where photographs take the place of units; ()
      for units. Several photographs of `scales` have names of their own.
    box: whether a unit is made on its receptive field where that is exact.
    steps: evaluations at each size.
    result: 'best', 'last', 'next', or a snapshot of the procedure.
    keep: further snapshots.
    image_dtype: of the stored images.
    save_every: steps between two frames that are kept; None for no frames.
    robust_draws: how often the final image is measured under `robust`.
    tile_batch: views at a time; None for as many as fit.
    memory: GB for the activations of views.
    batch: images at a time; None for what suits the device.
    every: steps between two reports; None for none.
    show: how reports are shown.
    networks: further networks that images are made from, by name; those of a
      configuration are loaded when a formula first names them.
    values: plain data that config.json keeps, by the names of knobs.
    noted: what the formulas of a configuration have read so far.
    fitting: (h, w) -> the network without the layers that do not fit images of
      that size, and the shapes of its activations; traced once for each size.
  """

  model: core.Model
  method: Callable[[core.Model, str], Method | core.Recipe]
  layers: tuple[str, ...]
  units: str | None = None
  sign: str = 'max'
  replicates: int = 1
  seed: int = 0
  retries: int = 0
  shape: geometry.Size | None = None
  scales: scales_.Scales | None = None
  each: tuple[str, ...] = ()
  box: bool = True
  steps: int = 100
  result: str = 'best'
  keep: tuple[str, ...] = ()
  image_dtype: str = 'float32'
  save_every: int | None = None
  robust_draws: int = 16
  tile_batch: int | None = None
  memory: float = 2.0
  batch: int | None = None
  every: int | None = None
  show: str = 'print+save'
  networks: Mapping[str, core.Model] = dataclasses.field(default_factory=dict)
  values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  noted: formula.Noted = dataclasses.field(
    default_factory=lambda: formula.Noted({})
  )
  fitting: Callable[[int, int], tuple[core.Model, dict]] = _LATER

  def __post_init__(self):
    """Checks what a caller in Python may get wrong.

    Raises:
      UserError: an attribute is of another kind.
    """
    _check(self)
    photographs = () if self.scales is None else self.scales.photographs
    if len(photographs) > 1 and not self.each:
      names = tuple(photograph.name for photograph in photographs)
      object.__setattr__(self, 'each', names)
    if self.fitting is None:
      fitting = functools.cache(functools.partial(models.fitting, self.model))
      object.__setattr__(self, 'fitting', fitting)


# Counts that an attribute may be, from 1; those that may be None come last.
_COUNTS = ('steps', 'replicates', 'robust_draws')
_OPTIONAL = ('save_every', 'tile_batch', 'batch', 'every')


def _check(request: Request) -> None:
  if not isinstance(request.model, core.Model):
    raise UserError(
      f'model= is {type(request.model).__name__}, expected a vizjax.Model: '
      "type vizjax.load('alexnet_features')"
    )
  given = [name for name in _OPTIONAL if getattr(request, name) is not None]
  for name in (*_COUNTS, *given):
    value = getattr(request, name)
    most = runs.APART if name == 'replicates' else core.LARGEST_STEP
    errors.whole(f'{name}=', value, 1, most)
  errors.whole('retries=', request.retries, 0, core.LARGEST_SEED // runs.APART)
  # Replicates and retries draw from the seeds that follow this one.
  following = request.retries * runs.APART + request.replicates - 1
  errors.whole('seed=', request.seed, 0, core.LARGEST_SEED - following)
  if not isinstance(request.box, bool):
    raise UserError(f'box= is {request.box!r:.60}, expected True or False')
  memory = request.memory
  number = isinstance(memory, (int, float)) and not isinstance(memory, bool)
  if not number or not memory > 0:
    raise UserError(
      f'memory= is {memory!r:.60}, expected gigabytes, more than 0: type '
      'memory=2.0'
    )
  for name, known in (('sign', SIGNS), ('image_dtype', IMAGE_DTYPES)):
    value = getattr(request, name)
    if not isinstance(value, str) or value not in known:
      raise UserError(
        f'{name}= is {value!r:.60}, expected one of {", ".join(known)}: type '
        f'{name}={next(iter(known))!r}'
      )
  shape, layers, units = request.shape, request.layers, request.units
  if shape is not None and not (
    isinstance(shape, tuple)
    and len(shape) == 2
    and all(errors.is_whole(n, 1) for n in shape)
  ):
    raise UserError(
      f'shape= is {shape!r:.60}, expected the height and the width of the '
      'image, or None: type shape=(224, 224)'
    )
  if (
    not isinstance(layers, tuple)
    or not layers
    or not all(isinstance(name, str) for name in layers)
  ):
    raise UserError(
      f'layers= is {layers!r:.60}, expected a tuple of names: type '
      "layers=('conv5',)"
    )
  if not isinstance(units, str | None):
    raise UserError(
      f"units= is {units!r:.60}, expected a text, as '0:64', or None for all: "
      "type units='0:64'"
    )
  if not isinstance(request.scales, scales_.Scales | None):
    raise UserError(
      f'scales= is {request.scales!r:.60}, expected the sizes of an image: '
      'type scales=vizjax.scales.grown(model, (224, 224), (448, 448), 2)'
    )
  if not isinstance(request.each, tuple) or not all(
    isinstance(name, str) for name in request.each
  ):
    raise UserError(
      f'each= is {request.each!r:.60}, expected a tuple of names, one for each '
      "photograph: type each=('sky', 'lake')"
    )
  if not isinstance(request.keep, tuple):
    raise UserError(
      f'keep= is {request.keep!r:.60}, expected a tuple of snapshots: type '
      "keep=('last',)"
    )


def _check_method(made: Method) -> None:
  """Refuses what no program can be made of.

  Raises:
    UserError: a field is of another kind; what to type.
  """

  def expect(right: bool, field: str, value: Any, wanted: str) -> None:
    if not right:
      shown = ' '.join(repr(value).split())
      raise UserError(f'{field}= is {shown:.60}, expected {wanted}')

  recipe = made.recipe
  if not isinstance(recipe, core.Recipe):
    expect(False, 'recipe', recipe, 'a vizjax.Recipe: vizjax.Method(recipe)')
  expect(
    isinstance(recipe.parameterization, core.Parameterization),
    'parameterization',
    recipe.parameterization,
    'one of vizjax.parameterizations: type pixels(model)',
  )
  expect(
    isinstance(recipe.procedure, core.Procedure),
    'procedure',
    recipe.procedure,
    'one of vizjax.programs, or leave it out',
  )
  lists = {
    'transforms': recipe.transforms,
    'projections': recipe.projections,
    'robust': made.robust,
  }
  for name, links in lists.items():
    right = isinstance(links, tuple) and all(map(callable, links))
    expect(right, name, links, f'a tuple of functions: type {name}=(function,)')
  terms = made.metrics.values() if isinstance(made.metrics, Mapping) else [None]
  wanted = (
    "terms by name: type metrics={'mean': vizjax.objectives.channel(...)}"
  )
  expect(all(map(callable, terms)), 'metrics', made.metrics, wanted)
  right = isinstance(recipe.trace, tuple) and all(
    isinstance(one, tuple) and len(one) == 2 and callable(one[1])
    for one in recipe.trace
  )
  wanted = "pairs of a name and a term: type trace=(('norm', l2_norm()),)"
  expect(right, 'trace', recipe.trace, wanted)
  activation = made.activation
  right = activation is None or callable(activation)
  expect(right, 'activation', activation, 'a term, or leave it out')
  right = isinstance(made.data, Mapping) and not {'unit', 'sign'} & {*made.data}
  wanted = "arrays by name, but 'unit' and 'sign': type data={'start': array}"
  expect(right, 'data', made.data, wanted)


def method(request: Request, model: core.Model, layer: str) -> Method:
  """Returns how images of a layer are made by this network.

  Raises:
    UserError: the request's method returns something else.
  """
  made = request.method(model, layer)
  if isinstance(made, core.Recipe):
    made = Method(made)
  if not isinstance(made, Method):
    raise UserError(
      f'the recipe function gives {made!r:.60}, expected a vizjax.Recipe or a '
      'vizjax.Method: does it return its value?'
    )
  _check_method(made)
  made = made._replace(recipe=_recording(made.recipe))
  for name in made.metrics:
    if not str(name).isidentifier() or name in vocabulary.MEASURED:
      raise UserError(
        f'metrics={{{name!r}: ...}}: expected a name of letters, digits and _, '
        f'and none of {", ".join(vocabulary.MEASURED)}'
      )
  draws = bool(made.recipe.transforms or made.robust)
  if made.arrays is inputs.of_data:
    lists = [name for name, value in made.data.items() if inputs.several(value)]
    if lists and not request.each:
      raise UserError(
        f'data={{{lists[0]!r}: [...]}} is for {len(made.data[lists[0]])} '
        "photographs, expected their names besides: type each=('sky', 'lake')"
      )
    made = made._replace(
      arrays=functools.partial(inputs.of_data, made.data, draws),
      stacks=functools.partial(inputs.stacked, made.data),
    )
  return made


def _recording(recipe: core.Recipe) -> core.Recipe:
  """Returns the recipe with the terms that its procedure records."""
  names = dict(recipe.trace)
  missing = [pair for pair in recipe.procedure.trace if pair[0] not in names]
  if not missing:
    return recipe
  return dataclasses.replace(recipe, trace=(*missing, *recipe.trace))
