"""What a generator is trained by: a configuration, checked, and its steps.

  plan = plans.plan(config)
  for state, found in plans.steps(config, plan, method, variances, state):
    ...

`runs` does that in a workdir.
"""

from collections.abc import Iterator
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import config_dict
import numpy as np
import optax

from vizjax import core
from vizjax import errors
from vizjax import files
from vizjax import models
from vizjax.build import vocabulary
from vizjax.errors import UserError
from vizjax.generators import networks
from vizjax.models.interpreter import layers
from vizjax.photographs import classifiers
from vizjax.photographs import datasets
from vizjax.photographs import preprocessing
from vizjax.training import crops
from vizjax.training import inversion

# Crops that the constants are means of: about so many, or all photographs.
_CROPS = 1000


class Plan(NamedTuple):
  """What a configuration asks for.

  Attributes:
    model: the network, cut to what is read.
    layer: whose activation is the code.
    comparator: in which pictures are compared.
    code: (h, w, c) of the code.
    how: photographs are resized.
    data: the photographs.
    kept: numbers of those to train on.
    held: those to measure with.
    optimizer: of generator and discriminator.
  """

  model: core.Model
  layer: str
  comparator: str
  code: tuple[int, int, int]
  how: preprocessing.Preprocessing
  data: datasets.Dataset
  kept: tuple[int, ...]
  held: crops.Held
  optimizer: optax.GradientTransformation


class Constants(NamedTuple):
  """Means over crops of the photographs to train on.

  Attributes:
    image: [h, w, 3], RGB, 0-255: the mean crop.
    image_variance: around it, of a pixel.
    feature_variance: of a unit of the comparator, around its own mean.
    code_square: mean square of a unit of the code.
  """

  image: np.ndarray
  image_variance: np.ndarray
  feature_variance: np.ndarray
  code_square: np.ndarray


def config() -> config_dict.ConfigDict:
  """Returns every knob that the command reads, with a neutral default."""
  c = config_dict.ConfigDict()

  # Which layer, and by which photographs.
  c.model = "load('alexnet_features')"
  c.layer = 'relu5'
  c.data = ''  # a folder of images, or tfds:NAME[:SPLIT]
  c.preprocessing = ''  # 'short:256:bilinear'; '': the network's own
  c.held_out = 50  # photographs that are not trained on; kept in memory

  # The knobs.
  c.steps = 1000
  c.batch_size = 16  # photographs of a step
  c.rate = 1e-3
  c.widths = (256, 128, 64, 32)  # channels; the last at half the image's size
  c.image_weight = 1.0
  c.feature_weight = 0.0
  c.adversarial_weight = 0.0
  c.comparator = ''  # the layer of the feature loss; '': the code's
  c.seed = 0

  # The method.
  c.optimizer = 'adam(rate)'

  # How to run it.
  c.every = 100  # steps between checkpoints
  c.shown = 8  # held-out photographs of a grid
  c.readers = 1  # threads that decode
  return c


def plan(config: config_dict.ConfigDict) -> Plan:
  """What a configuration asks for, checked down to the shapes.

  Raises:
    UserError: it asks for what cannot be, or a photograph cannot be decoded.
    OSError: a photograph cannot be read.
  """
  _check(config)
  for library in ('grain', 'orbax.checkpoint'):
    files.library(library, 'train', 'a generator is trained by')
  data = datasets.open(config.data)
  kept, held = crops.split(len(data), config.held_out)
  model = vocabulary.network(config, 'model')
  if model.input_shape[2] != 3:
    raise UserError(
      f'config.model takes images of {model.input_shape}, expected 3 channels'
    )
  layer, comparator = config.layer, config.comparator or config.layer
  for name in (layer, comparator):
    classifiers.shapes(model, name)  # or an error with the nearest
  model = models.cut(model, (layer, comparator))
  size = model.input_shape[:2]
  code = inversion.code_shape(model, layer)
  table = networks.table(code, size, config.widths)
  how = _preprocessing(config, model)
  return Plan(
    model,
    layer,
    comparator,
    code,
    how,
    data,
    kept,
    crops.centres(data, held, how, size),
    _optimizer(config, table, code),
  )


def describe(config: config_dict.ConfigDict, plan: Plan) -> str:
  """The plan in words: code, generator, photographs, steps."""
  size = plan.model.input_shape[:2]
  table = networks.table(plan.code, size, config.widths)
  acts, weights = layers.shapes(table, plan.code)
  count = sum(math.prod(w.shape) for w in jax.tree.leaves(weights))
  maps = ', '.join(
    'x'.join(map(str, acts[row.name].shape))
    for row in table
    if row.name in weights
  )
  h, w, c = plan.code
  return (
    f'{config.model}: layer {plan.layer!r}, {h}x{w}x{c}, by a generator of '
    f'{count} weights, {maps}; {len(plan.kept)} photographs of '
    f'{config.data}, {plan.how}, and {len(plan.held.ids)} held out; '
    f'{config.steps} steps of {config.batch_size}'
  )


def constants(config: config_dict.ConfigDict, plan: Plan) -> Constants:
  """What the losses are measured against, and the code divided by.

  Raises:
    UserError: a photograph cannot be decoded, or nothing differs.
  """
  count = min(len(plan.kept), _CROPS)
  size = min(config.batch_size, count)
  batches = _batches(config, plan, size)
  found = [
    inversion.moments(
      plan.model,
      next(batches),
      layer=plan.layer,
      comparator=plan.comparator,
    )
    for _ in range(-(-count // size))
  ]
  found = jax.device_get(found)
  mean = {
    name: np.mean([f[name] for f in found], 0, np.float64) for name in found[0]
  }
  variances = [
    mean[f'{name}_square'] - np.mean(mean[name] ** 2)
    for name in ('image', 'feature')
  ]
  values = [mean['image'], *variances, mean['code_square']]
  if not all(np.all(np.isfinite(v)) for v in values) or min(values[1:]) <= 0:
    raise UserError(
      f'the photographs of {config.data!r} are all the same to layer '
      f'{plan.layer!r}, or their activations are not finite: take other ones'
    )
  return Constants(*(np.asarray(value, np.float32) for value in values))


def method(
  config: config_dict.ConfigDict, plan: Plan, constants: Constants
) -> inversion.Method:
  """The program of a plan."""
  deviation = math.sqrt(constants.code_square)
  size = plan.model.input_shape[:2]
  return inversion.Method(
    networks.table(plan.code, size, config.widths, deviation),
    plan.layer,
    plan.comparator,
    inversion.LossWeights(
      config.image_weight, config.feature_weight, config.adversarial_weight
    ),
    plan.optimizer,
  )


def steps(
  config: config_dict.ConfigDict,
  plan: Plan,
  method: inversion.Method,
  constants: Constants,
  state: inversion.State,
) -> Iterator[tuple[inversion.State, dict[str, Array]]]:
  """The state after each step that is left, and the losses before it.

  A state is no longer to be used once the next one is asked for.

  Raises:
    UserError: a photograph cannot be decoded: which.
  """
  variances = inversion.Variances(
    *map(jnp.asarray, (constants.image_variance, constants.feature_variance))
  )
  start = int(state.step)
  batches = _batches(config, plan, config.batch_size, start)
  for _ in range(start, config.steps):
    state, found = inversion.step(
      method, plan.model, state, variances, next(batches)
    )
    yield state, found


def _batches(
  config: config_dict.ConfigDict, plan: Plan, size: int, start: int = 0
) -> Iterator[Float[Array, 'b h w 3']]:
  batches = crops.batches(
    plan.data,
    plan.kept,
    plan.how,
    plan.model.input_shape[:2],
    seed=config.seed,
    size=size,
    start=start,
    readers=config.readers,
  )
  return (jnp.asarray(batch, jnp.float32) for batch in batches)


def _check(config: config_dict.ConfigDict) -> None:
  """Refuses values that no network is needed to refuse."""
  names = ('steps', 'batch_size', 'held_out', 'every', 'shown', 'readers')
  for name in names:
    errors.whole(f'config.{name}', config[name], 1, core.LARGEST_STEP)
  errors.whole('config.seed', config.seed, 0, core.LARGEST_SEED)
  weights = [n for n in config if n.endswith('_weight')]
  wrong = [n for n in weights if not 0 <= config[n] < math.inf]
  if wrong or not any(config[name] for name in weights):
    values = ', '.join(f'{name} {config[name]!r}' for name in weights)
    raise UserError(
      f'config has {values}: expected numbers >= 0, one of them more'
    )
  if not config.data:
    raise UserError(
      "config.data is '', expected photographs: type --config.data=DIR, a "
      'folder of images, or tfds:NAME[:SPLIT]'
    )


def _preprocessing(
  config: config_dict.ConfigDict, model: core.Model
) -> preprocessing.Preprocessing:
  size = model.input_shape[:2]
  try:
    if config.preprocessing:
      how = preprocessing.parse(config.preprocessing)
    else:
      how = preprocessing.own(model, size)
    preprocessing.check(how, size)
  except UserError as error:
    words = str(error).replace('--prep', '--config.prep')
    raise UserError(words) from error
  return how


def _optimizer(
  config: config_dict.ConfigDict, table, code: tuple[int, int, int]
) -> optax.GradientTransformation:
  """The optimizer, which must do with a gradient and parameters."""
  optimizer = vocabulary.link(config, 'optimizer', dict(config))

  def update(key):
    params = networks.init(key, table, code)
    return optimizer.update(params, optimizer.init(params), params)

  try:
    jax.eval_shape(update, core.key(0))
  except TypeError as error:
    why = str(error).splitlines()[0]
    raise UserError(
      f'config.optimizer is {config.optimizer!r}, which needs more than a '
      f"gradient: expected one as 'adam(rate)' ({why})"
    ) from error
  return optimizer
