"""A configuration becomes a model, runs and programs.

  config = get_config()
  net = build.model(config)
  for layer in build.layers(config, net):
    table = build.runs(config, net, layer)
    program = build.program(config, net, layer, boxed=True)

Everything that a configuration can get wrong is found here, before an image
is computed. Errors are UserError, or OSError for files.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from ml_collections import config_dict
import numpy as np
import optax

from vizjax import core
from vizjax import errors
from vizjax import listing
from vizjax import models
from vizjax import transforms
from vizjax.build import geometry as geometry_
from vizjax.build import inputs
from vizjax.build import reach
from vizjax.build import runs as runs_
from vizjax.build import vocabulary
from vizjax.errors import UserError
from vizjax.models import means
from vizjax.models import receptive_fields

# Examples of further networks, for messages.
_NETWORKS = {
  'prior': "load('deepsim_fc6')",
  'encoder': "load('bvlc_caffenet')",
}

_SIGNS = {'max': (1,), 'min': (-1,), 'both': (1, -1)}
_VIEWS = {'mean': jnp.mean, 'sum': jnp.sum}
_CHOICES = {
  'sign': tuple(_SIGNS),
  'views': tuple(_VIEWS),
  'image_dtype': ('float32', 'float16', 'uint8'),
}
_KINDS = {
  str: "a text, such as a formula in quotes: '...'",
  int: 'a whole number',
  float: 'a number',
  bool: 'True or False',
}
_COUNTS = (
  'steps', 'batch', 'replicates', 'save_every', 'every', 'tile_batch',
  'robust_draws',
)  # fmt: skip


def config() -> config_dict.ConfigDict:
  """Returns every knob that the launcher reads, with a neutral default."""
  placeholder = config_dict.placeholder
  c = config_dict.ConfigDict()

  # Which network and which units.
  c.model = "load('alexnet_features')"
  c.prior = ''  # a generator of images: load('deepsim_fc6')
  c.encoder = ''  # a network that gives a photograph its code
  c.layer = 'conv5'  # or 'conv3,conv5', a glob of weighted layers, '"a,b",c'
  c.units = placeholder(str)  # '0:64', '3,7', '3@6x6' (row, column), '*': all
  c.sign = 'max'  # or 'min', images that the unit likes least, or 'both'
  c.replicates = 1  # images of each unit, from different random starts
  c.seed = 0
  c.retries = 0  # attempts with another seed where a run failed
  c.shape = placeholder(str)  # 'HxW' of the canvas; None: what the view needs
  c.mean = placeholder(str)  # 'r,g,b' of 0-255, or a .npy image; None: its own

  # What differs between units besides their number.
  c.start = ''  # an image: photograph('a.jpg'); '': the parameterization's own
  c.direction = ''  # a .npy file [c] or [n, c], or a formula: 'one_hot(3)'
  c.mask = ''  # a .npy file [h, w, c] or [n, h, w, c], or a formula
  c.data = ''  # what is read besides: 'content = activations(model, layer, a)'
  c.each = ''  # knobs of several files, each a run: 'photograph'

  # The method.
  c.parameterization = 'pixels(model)'
  c.transforms = ''
  c.objective = 'neuron(layer)'
  c.optimizer = 'sgd(1.)'
  c.projections = ''
  c.procedure = ''  # a published program that is not of the usual form
  c.scales = ''  # several sizes: grown(model, '224x224', '896x896', 5)
  c.steps = 100  # evaluations, at each size

  # What is kept.
  c.activation = ''  # measured without transforms; '': the objective
  c.trace = ''  # further records: 'norm = l2_norm(), std = std()'
  c.metrics = ''  # of the image without transforms: 'rank = rank(layer)'
  c.robust = ''  # transforms under which the final image is measured again
  c.robust_draws = 16  # and how many times
  c.result = 'best'  # or 'last', or 'next': after the last update
  c.keep = ''  # further ones, as 'last': image, score and step of each
  c.image_dtype = 'float32'  # or 'float16', 'uint8'
  c.save_every = placeholder(int)  # keep a frame every so many steps

  # How to run it.
  c.box = True  # a single unit on its receptive field, where that is exact
  c.views = 'mean'  # or 'sum': how the scores of several views are joined
  c.tile_batch = placeholder(int)  # views at a time; None: as many as fit
  c.memory = 2.0  # GB for the activations of views; inf for any
  c.batch = placeholder(int)  # images at a time; None: what suits the device
  c.every = placeholder(int)  # show how far it is every so many steps
  c.show = 'print+save'  # and how: print, save, show, plot_pix
  return c


def _neutral() -> config_dict.ConfigDict:
  """Returns `config()`, also where a configuration is called config."""
  return config()


class Program(NamedTuple):
  """What one compilation is made of.

  Attributes:
    recipe: how an image is made.
    clean: the same without transforms, scoring config.activation.
    robust: the same under the transforms of config.robust; None without them.
    result: 'best', 'last', 'next', or a snapshot of the procedure.
    keep: further snapshots.
    group: images of a unit that are compared with each other; None for none.
    geometry: the sizes of the image and of what the network sees.
    target: (runs, rows, names not wanted) -> Target, stacked over rows.
  """

  recipe: core.Recipe
  clean: core.Recipe
  robust: core.Recipe | None
  result: str
  keep: tuple[str, ...]
  group: int | None
  geometry: geometry_.Geometry
  target: Callable


def check(config: config_dict.ConfigDict) -> None:
  """Refuses values that no network is needed to refuse.

  Raises:
    UserError: with the knob, its value, and what was expected.
  """
  _check_kinds(config)
  _check_counts(config)
  for name, value in config.items():
    if (
      isinstance(value, float) and name != 'memory' and not math.isfinite(value)
    ):
      raise UserError(f'config.{name} is {value}, expected a finite number')
  if not config.memory > 0:
    raise UserError(
      f'config.memory is {config.memory:g}, expected gigabytes, more than 0'
    )
  for name, known in _CHOICES.items():
    if config[name] not in known:
      raise UserError(
        f'config.{name} is {config[name]!r}, expected one of {known}'
      )
  if config.units is not None and not config.units.strip():
    raise UserError(
      "config.units is empty: no units. Type --config.units='*' for the "
      'whole layer, or 0:64, or 3,7, or 3@6x6'
    )


def _check_kinds(config: config_dict.ConfigDict) -> None:
  """Refuses knobs whose values are of another type, as files may set them."""
  defaults = _neutral()
  for name in {*defaults} & {*config}:
    kind, value = defaults.get_type(name), config[name]
    optional = defaults[name] is None
    number = kind is float and type(value) is int
    if type(value) is kind or number or (optional and value is None):
      continue
    raise UserError(f'config.{name} is {value!r:.60}, expected {_KINDS[kind]}')


def _check_counts(config: config_dict.ConfigDict) -> None:
  """Refuses counts that are too small or too large, and seeds that run out."""
  ranges = dict.fromkeys(_COUNTS, (1, core.LARGEST_STEP))
  ranges['replicates'] = 1, runs_.APART
  for name, (least, most) in ranges.items():
    if config[name] is not None and not least <= config[name] <= most:
      raise UserError(
        f'config.{name} is {config[name]!r}, expected a whole number from '
        f'{least} to {most}'
      )
  if config.retries < 0:
    raise UserError(
      f'config.retries is {config.retries}, expected a whole number >= 0'
    )
  # Replicates and retries draw from the seeds that follow this one.
  following = config.retries * runs_.APART + config.replicates - 1
  if not 0 <= config.seed <= core.LARGEST_SEED - following:
    raise UserError(
      f'config.seed is {config.seed}, expected a whole number from 0 to '
      f'{core.LARGEST_SEED - following}'
    )


def model(config: config_dict.ConfigDict) -> core.Model:
  """The network of a configuration, with its mean, on images of 0-255."""
  check(config)
  net = vocabulary.network(config, 'model')
  if config.mean is None:
    return net
  shape = vocabulary.shape(config) or net.input_shape[:2]
  mean = means.mean(config.mean, (*shape, net.input_shape[2]))
  return dataclasses.replace(net, mean=jnp.asarray(mean, net.mean.dtype))


def networks(config: config_dict.ConfigDict) -> dict[str, core.Model]:
  """The further networks that the formulas name, each loaded once."""
  found = {}
  for name in sorted(vocabulary.networks(config)):
    if not config[name].strip():
      raise UserError(
        f'config.{name} is {config[name]!r}, but a formula names it: expected '
        f'a network, as --config.{name}="{_NETWORKS[name]}"'
      )
    found[name] = vocabulary.network(config, name)
  return found


def layers(config: config_dict.ConfigDict, net: core.Model) -> tuple[str, ...]:
  """The layers that config.layer names, in the network's order."""
  known = [info.name for info in net.layers] or list(
    geometry_.activation_shapes(net)
  )
  weighted = [info.name for info in net.layers if info.weighted] or known
  chosen, unknown = listing.matching(config.layer, known, weighted)
  if unknown is not None:
    hint = errors.hint(unknown, known)
    raise UserError(
      f'layer {unknown!r} is not in the network. '
      f'Layers: {", ".join(known)}.{hint}'
    )
  reach.check_layers(config, chosen, known)
  return tuple(name for name in known if name in chosen)


def runs(
  config: config_dict.ConfigDict,
  net: core.Model,
  layer: str,
  photographs: int = 0,
) -> runs_.Runs:
  """The table of what is to be made of a layer.

  Args:
    config: the configuration.
    net: from `model`.
    layer: one of `layers`.
    photographs: to start from; several are a run each.
  """
  cut, geometry = reach.cut(config, net, layer, boxed=False)
  act = geometry_.activation_shapes(cut, geometry.view)[layer].shape
  if 0 in act:
    h, w = geometry.view
    raise UserError(
      f'layer {layer!r} has no unit where the network sees {h} x {w} pixels: '
      f'its shape is {act}; type a larger --config.shape=HxW'
    )
  count = reach.count(config, act, photographs)
  labels = net.labels if len(net.labels) == count else ()
  size = act[:-1] or (1, 1)
  try:
    units = runs_.units(config.units, layer, count, *size, labels)
  except UserError as error:
    parts = (config.units or '').split(',')
    if labels or not net.labels or not any(map(runs_.named, parts)):
      raise
    raise UserError(
      f'{error}; layer {layer!r} has {count} units, so the '
      f'{len(net.labels)} names of classes are not theirs'
    ) from None
  boxable = (
    config.box and vocabulary.shape(config) is None and net.mean.ndim == 1
  )
  receptive_field = (
    reach.receptive_field(config, net, layer) if boxable else None
  )
  return runs_.of_units(
    layer,
    units,
    config.replicates,
    receptive_field,
    geometry.view,
    signs=_SIGNS[config.sign],
    seed=config.seed,
  )


def seen(
  config: config_dict.ConfigDict,
  net: core.Model,
  table: runs_.Runs,
  geometries: dict[bool, geometry_.Geometry],
) -> np.ndarray:
  """[n, 4]: the part of its image that each unit sees: top, left, h, w."""
  receptive_field_of = {
    boxed: reach.receptive_field(
      config, net if boxed else models.sized(net, *geometry.view), table.layer
    )
    for boxed, geometry in geometries.items()
  }
  boxes = []
  for y, x, boxed in zip(table.y, table.x, table.boxed, strict=True):
    geometry, receptive_field = (
      geometries[bool(boxed)],
      receptive_field_of[bool(boxed)],
    )
    box = receptive_fields.Box(0, 0, *geometry.canvas)
    if receptive_field is not None:
      box = receptive_fields.box(receptive_field, int(y), int(x))
      box = box._replace(top=0, left=0) if boxed else box
      box = geometry_.on_canvas(box, geometry)
    boxes.append(box)
  return np.array(boxes, np.int32)


def recipe(
  config: config_dict.ConfigDict, net: core.Model, layer: str | None = None
) -> core.Recipe:
  """The recipe on the whole image: for use from Python, without a launcher."""
  return program(config, net, layer or config.layer, boxed=False).recipe


def program(
  config: config_dict.ConfigDict,
  net: core.Model,
  layer: str,
  *,
  boxed: bool,
  others: Mapping[str, core.Model] | None = None,
) -> Program:
  """What is compiled for the runs of a layer that share a geometry.

  Args:
    config: the configuration.
    net: from `model`.
    layer: one of `layers`.
    boxed: on the unit's receptive field, or on the whole image.
    others: from `networks`, to be loaded once for many programs.
  """
  reach.check(config)
  cut, geometry = reach.cut(config, net, layer, boxed)
  canvas = (*geometry.canvas, cut.input_shape[2])
  # To a formula, `model` is the network on an image of the size at hand.
  model_here = dataclasses.replace(cut, input_shape=canvas)
  others = networks(config) if others is None else others
  knobs = vocabulary.knobs(config, model_here, layer, others)
  procedure = _procedure(config, knobs)
  recipe = core.Recipe(
    model=cut,
    parameterization=vocabulary.link(config, 'parameterization', knobs),
    objective=vocabulary.link(config, 'objective', knobs),
    optimizer=_optimizer(config, knobs),
    transforms=geometry.transforms,
    projections=vocabulary.links(config, 'projections', knobs),
    trace=_as_they_are(vocabulary.trace(config, knobs, procedure.trace)),
    views=_VIEWS[config.views],
    tile_batch=config.tile_batch,
    procedure=procedure,
  )
  clean, robust = _measured(config, recipe, geometry, knobs)
  act = geometry_.activation_shapes(cut, geometry.view)[layer].shape
  arrays = inputs.arrays(config, knobs, canvas, act, cut.mean.dtype)
  return Program(
    recipe=recipe,
    clean=clean,
    robust=robust,
    result=config.result,
    keep=_keep(config, procedure),
    group=reach.group(config),
    geometry=geometry,
    target=_targets(config, arrays, boxed, cut.mean.dtype),
  )


def _optimizer(
  config: config_dict.ConfigDict, knobs: dict[str, Any]
) -> optax.GradientTransformation:
  links = vocabulary.links(config, 'optimizer', knobs)
  if not links:
    raise UserError("config.optimizer is '', expected one, as 'adam(0.05)'")
  return links[0] if len(links) == 1 else optax.chain(*links)


def _procedure(
  config: config_dict.ConfigDict, knobs: dict[str, Any]
) -> core.Procedure:
  links = vocabulary.links(config, 'procedure', knobs)
  if len(links) > 1:
    raise UserError(
      f'config.procedure is {config.procedure!r}: expected one, not a chain'
    )
  return links[0] if links else core.ASCENT


def _keep(
  config: config_dict.ConfigDict, procedure: core.Procedure
) -> tuple[str, ...]:
  """The snapshots of config.keep.

  Raises:
    UserError: config.keep or config.result names one that is not made.
  """
  made = ('best', 'last', *procedure.snapshots)
  keep = vocabulary.names(config.keep)
  for knob, named, known in (
    ('result', {config.result}, (*made, 'next')),
    ('keep', {*keep}, made),
  ):
    if not named <= {*known}:
      raise UserError(
        f'config.{knob} is {config[knob]!r}, expected one of {known}'
      )
  return keep


def _targets(
  config: config_dict.ConfigDict,
  arrays: Callable[..., dict[str, Any]],
  boxed: bool,
  dtype: np.dtype,
) -> Callable[..., core.Target]:
  """Returns Program.target: the unit, the sign and the data of each row."""

  def target(
    table: runs_.Runs, rows: np.ndarray, given: Collection[str] = ()
  ) -> core.Target:
    y, x = table.y[rows], table.x[rows]
    if boxed:  # the layer is cut down to the unit's own position
      y, x = np.zeros_like(y), np.zeros_like(x)
    unit = core.Unit(table.channel[rows], y, x)
    stacked = {'unit': unit, **arrays(table, rows, given)}
    if config.sign != 'max':
      stacked['sign'] = table.sign[rows].astype(dtype)
    return stacked

  return target


def _measured(
  config: config_dict.ConfigDict,
  recipe: core.Recipe,
  geometry: geometry_.Geometry,
  knobs: dict[str, Any],
) -> tuple[core.Recipe, core.Recipe | None]:
  """The recipes of a final image: without transforms, and under others."""
  whole = transforms.crop(*geometry.view)
  if vocabulary.tiled(config):
    whole = transforms.tiles(*geometry.view, moving=False)
  measured = 'activation' if config.activation.strip() else 'objective'
  clean = dataclasses.replace(
    recipe,
    transforms=(whole,),
    objective=_as_it_is(vocabulary.link(config, measured, knobs)),
    trace=_as_they_are(vocabulary.measured(config, knobs)),
    procedure=core.ASCENT,
  )
  links = vocabulary.links(config, 'robust', knobs)
  if not links:
    return clean, None
  return clean, dataclasses.replace(clean, transforms=(*links, whole), trace=())


def _as_it_is(term: core.Term) -> core.Term:
  """The term that tells its value itself of an image that minimizes it."""

  @core.Term
  def without_sign(acts, target):
    return term(acts, {n: v for n, v in target.items() if n != 'sign'})

  return without_sign


def _as_they_are(
  terms: Iterable[tuple[str, core.Term]],
) -> tuple[tuple[str, core.Term], ...]:
  return tuple((name, _as_it_is(term)) for name, term in terms)
