"""A configuration becomes a request: its knobs are checked, its formulas read.

  config = get_config()
  request = build.request(config)
  plan = sweep.plan(request)

What a configuration can get wrong is found here, or in `program`, before an
image is computed. Errors are UserError, or OSError for files.
"""

from collections.abc import Mapping
import dataclasses
import functools
import math
from typing import Any

import jax.numpy as jnp
from ml_collections import config_dict
import optax

from vizjax import core
from vizjax import errors
from vizjax import formula
from vizjax import listing
from vizjax import scales as scales_
from vizjax.build import geometry
from vizjax.build import inputs
from vizjax.build import program
from vizjax.build import requests
from vizjax.build import runs as runs_
from vizjax.build import vocabulary
from vizjax.errors import UserError
from vizjax.models import means
from vizjax.photographs import files

_VIEWS = {'mean': jnp.mean, 'sum': jnp.sum}
_CHOICES = {
  'sign': tuple(requests.SIGNS),
  'views': tuple(_VIEWS),
  'image_dtype': requests.IMAGE_DTYPES,
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
  """Returns every knob that `vizjax run` reads, with a neutral default."""
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


def restored(values: Mapping[str, Any]) -> config_dict.ConfigDict:
  """Returns the configuration that a workdir was made with.

    net = build.model(build.restored(store.read_config('DIR')['config']))

  Args:
    values: the knobs of config.json. A knob that is missing gets its default,
      because an older version may have written the file.
  """
  return config_dict.ConfigDict({**config().to_dict(), **values})


def _neutral() -> config_dict.ConfigDict:
  """Returns `config()`, also where a configuration is called config."""
  return config()


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
  ranges: dict[str, tuple[int, int]] = dict.fromkeys(
    _COUNTS, (1, core.LARGEST_STEP)
  )
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
  return with_mean(config, vocabulary.network(config, 'model'))


def with_mean(config: config_dict.ConfigDict, net: core.Model) -> core.Model:
  """Returns a network with the mean of a configuration, if that has one.

  Args:
    config: the configuration.
    net: a network on images of 0-255.

  Raises:
    UserError: the mean is of another shape.
    OSError: it is a file that cannot be read.
  """
  if config.mean is None:
    return net
  shape = vocabulary.shape(config) or net.input_shape[:2]
  mean = means.mean(config.mean, (*shape, net.input_shape[2]))
  return dataclasses.replace(net, mean=jnp.asarray(mean, net.mean.dtype))


def layers(config: config_dict.ConfigDict, net: core.Model) -> tuple[str, ...]:
  """The layers that config.layer names, in the network's order."""
  return named(config.layer, net)


def named(text: str, net: core.Model) -> tuple[str, ...]:
  """Returns the layers of a list such as 'conv3,conv5' or 'conv*'.

  They are in the network's order.

  Raises:
    UserError: one is not in the network.
  """
  known = [info.name for info in net.layers] or list(
    geometry.activation_shapes(net)
  )
  weighted = [info.name for info in net.layers if info.weighted] or known
  chosen, unknown = listing.matching(text, known, weighted)
  if unknown is not None:
    hint = errors.hint(unknown, known)
    raise UserError(
      f'layer {unknown!r} is not in the network. '
      f'Layers: {", ".join(known)}.{hint}'
    )
  return tuple(name for name in known if name in chosen)


def request(
  config: config_dict.ConfigDict, net: core.Model | None = None
) -> requests.Request:
  """Returns what a configuration asks for.

  Args:
    config: the configuration.
    net: its network, from `model`, which is loaded unless given.

  Raises:
    UserError: a value of the configuration is wrong, or does not suit another.
    OSError: a file of the configuration cannot be read.
  """
  check(config)
  _check_procedure(config)
  # The request stays what it is if the configuration is changed afterwards.
  config = config.copy_and_resolve_references()
  net = model(config) if net is None else net
  networks = vocabulary.Networks(config)
  noted = vocabulary.noted(config, networks)
  known = {field.name for field in dataclasses.fields(requests.Request)}
  own = {'model', 'method', 'layers', 'shape', 'scales', 'each', 'keep'}
  same = {n: v for n, v in config.items() if n in known - own}
  return requests.Request(
    model=net,
    method=_Method(config, noted),
    layers=layers(config, net),
    shape=vocabulary.shape(config),
    scales=_scales(config, noted, net),
    each=_names(config),
    keep=vocabulary.names(config.keep),
    values=config.to_dict(),
    networks=networks,
    noted=noted,
    **same,
  )


def recipe(
  config: config_dict.ConfigDict, net: core.Model, layer: str | None = None
) -> core.Recipe:
  """The recipe on the whole image: for use from Python, without a command."""
  wanted = request(config, net)
  read = program.read(wanted, layer or config.layer)
  return program.of(wanted, read, boxed=False).recipe


@dataclasses.dataclass(frozen=True, eq=False)
class _Method:
  """(model, layer) -> Method, by the formulas of a configuration."""

  config: config_dict.ConfigDict
  noted: formula.Noted

  def __call__(self, model: core.Model, layer: str) -> requests.Method:
    config = self.config
    knobs = vocabulary.at(self.noted, model, layer)
    procedure = _procedure(config, knobs)
    recipe = core.Recipe(
      model=model,
      parameterization=vocabulary.link(config, 'parameterization', knobs),
      objective=vocabulary.link(config, 'objective', knobs),
      optimizer=_optimizer(config, knobs),
      transforms=vocabulary.links(config, 'transforms', knobs),
      projections=vocabulary.links(config, 'projections', knobs),
      trace=vocabulary.trace(config, knobs, procedure.trace),
      views=_VIEWS[config.views],
      procedure=procedure,
    )
    activation = None
    if config.activation.strip():
      activation = vocabulary.link(config, 'activation', knobs)
    return requests.Method(
      recipe,
      activation,
      dict(vocabulary.measured(config, knobs)),
      vocabulary.links(config, 'robust', knobs),
      arrays=functools.partial(inputs.arrays, config, knobs),
      stacks=functools.partial(inputs.stacks, config),
    )


def _optimizer(
  config: config_dict.ConfigDict, knobs: formula.Noted
) -> optax.GradientTransformation:
  links = vocabulary.links(config, 'optimizer', knobs)
  if not links:
    raise UserError("config.optimizer is '', expected one, as 'adam(0.05)'")
  return links[0] if len(links) == 1 else optax.chain(*links)


def _procedure(
  config: config_dict.ConfigDict, knobs: formula.Noted
) -> core.Procedure:
  links = vocabulary.links(config, 'procedure', knobs)
  if len(links) > 1:
    raise UserError(
      f'config.procedure is {config.procedure!r}: expected one, not a chain'
    )
  return links[0] if links else core.ASCENT


def _check_procedure(config: config_dict.ConfigDict) -> None:
  """Refuses a published program that only maximizes under another sign."""
  if config.sign != 'max' and config.procedure.strip():
    raise UserError(
      f'config.sign is {config.sign!r}, but config.procedure, '
      f'{config.procedure!r}, is a published program that only maximizes: '
      'leave one of them out'
    )


def _scales(
  config: config_dict.ConfigDict, noted: formula.Noted, net: core.Model
) -> scales_.Scales | None:
  """The sizes that images are made at, if config.scales names some.

  Raises:
    UserError: config.shape is given besides, or a size is none.
    OSError: a photograph cannot be read.
  """
  if not config.scales.strip():
    return None
  if config.shape is not None:
    raise UserError(
      f'config.shape is {config.shape!r} and config.scales {config.scales!r}: '
      'expected one of them; the sizes are those of config.scales'
    )
  found = vocabulary.link(config, 'scales', vocabulary.at(noted, net))
  return scales_.with_channels(found, net.input_shape[2])


def _names(config: config_dict.ConfigDict) -> tuple[str, ...]:
  """The names of runs of which each has files of its own; () for units."""
  each = vocabulary.each(config)
  return tuple(' + '.join(map(files.stem, one.values())) for one in each)
