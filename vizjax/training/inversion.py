"""Training a generator to invert a layer: losses, adversary, one step.

  state = inversion.init(method, model, key)
  state, found = inversion.step(method, model, state, variances, images)

Dosovitskiy and Brox 2016, https://arxiv.org/abs/1602.02644: the generator
makes pictures that are near the photographs in pixels and in a layer of the
network, and that an adversary takes for photographs. The network is frozen; it
and all numbers are arguments, never constants of the program.

Losses are means over entries, divided by what the best constant answer has,
so that 1 is no better than a constant. The paper's are sums over entries: a
weight of w there is one of w * entries * variance here, but for the
adversarial loss, which is the same.
"""

from collections.abc import Mapping
import functools
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree
import optax

from vizjax import core
from vizjax.generators import networks
from vizjax.models.interpreter import tables
from vizjax.models.networks import deepsim

# The adversary waits while its loss is below this part of the generator's
# adversarial loss. So does that of the authors' program, until the part is
# five times as large.
WAITS_BELOW = 0.1


class LossWeights(NamedTuple):
  """Of the losses; one of 0 is not computed."""

  image: core.Number
  feature: core.Number
  adversarial: core.Number


class Method(NamedTuple):
  """What is part of the program: hashable, a static argument.

  Attributes:
    table: of the generator.
    layer: of the network, whose activation is the code.
    comparator: of the network, in which pictures are compared.
    weights: of the losses.
    optimizer: of the generator, and of the discriminator.
  """

  table: tables.Table
  layer: str
  comparator: str
  weights: LossWeights
  optimizer: optax.GradientTransformation


class Variances(NamedTuple):
  """What a loss is divided by: the variance around the best constant."""

  image: Array  # squared grey levels
  feature: Array  # squared activations


class State(NamedTuple):
  """All that changes while training."""

  step: Array  # steps made
  params: PyTree  # of the generator
  optimizer: PyTree
  critic: PyTree  # variables of the discriminator; {} without it
  critic_optimizer: PyTree


class Discriminator(nn.Module):
  """Whether a picture is a photograph of a code: a logit, positive for yes.

  What three strided convolutions find in the mean is joined with what the
  code is in the mean. Nothing is normalized over a batch.

  Attributes:
    widths: channels of the convolutions.
  """

  widths: tuple[int, ...] = (32, 64, 128)

  @nn.compact
  def __call__(
    self, picture: Float[Array, 'h w 3'], code: Float[Array, 'k l c']
  ) -> Float[Array, '']:
    """The logit; of a picture and a code of variance 1 or so."""
    for i, width in enumerate(self.widths):
      picture = _leaky(nn.Conv(width, (5, 5), 2 if i else 4)(picture))
    seen = picture.mean((0, 1))
    told = _leaky(nn.Dense(self.widths[-1])(code.mean((0, 1))))
    joined = jnp.concatenate([seen, told])
    joined = _leaky(nn.Dense(self.widths[-1])(joined))
    return nn.Dense(1)(joined)[0]


def code_shape(model: core.Model, layer: str) -> tuple[int, int, int]:
  """(h, w, c) of a layer's code."""
  image = jax.ShapeDtypeStruct(model.input_shape, jnp.float32)
  h, w, c = jax.eval_shape(
    lambda model, image: code(model(image), layer), model, image
  ).shape
  return h, w, c


def code(acts: Mapping[str, Array], layer: str) -> Float[Array, 'h w c']:
  """A layer's activation as a code; a vector is a map of 1 x 1."""
  act = acts[layer]
  return act if act.ndim == 3 else act[None, None]


@functools.partial(jax.jit, static_argnames=('layer', 'comparator'))
def moments(
  model: core.Model,
  images: Float[Array, 'b h w 3'],
  *,
  layer: str,
  comparator: str,
) -> dict[str, Array]:
  """Means over a batch, of which `Variances` are made.

  Returns:
    'image' [h, w, 3] and 'feature' of the comparator's shape; 'image_square',
    'feature_square' and 'code_square', over all entries.
  """
  acts = jax.vmap(lambda image: model(image))(images)
  feature = acts[comparator]
  return {
    'image': images.mean(0),
    'image_square': jnp.mean(images**2),
    'feature': feature.mean(0),
    'feature_square': jnp.mean(feature**2),
    'code_square': jnp.mean(acts[layer] ** 2),
  }


@functools.partial(jax.jit, static_argnums=0)
def init(method: Method, model: core.Model, key: Key[Array, '']) -> State:
  """The state before the first step."""
  of_generator, of_critic = jax.random.split(key)
  f = code_shape(model, method.layer)
  params = networks.init(of_generator, method.table, f)
  critic = {}
  if method.weights.adversarial:
    critic = _critic(of_critic, model.input_shape, f)
  optimizer = method.optimizer.init
  return State(
    jnp.array(0), params, optimizer(params), critic, optimizer(critic)
  )


def losses(
  method: Method,
  model: core.Model,
  variances: Variances,
  params: PyTree,
  critic: PyTree,
  image: Float[Array, 'h w 3'],
) -> dict[str, Float[Array, '']]:
  """The losses of one photograph x, whose code is f; 0 for those of weight 0.

  image          mean of (G(f) - x)^2 over pixels, over its scale
  feature        mean of (C(G(f)) - C(x))^2 over units, over its scale
  adversarial    -log D(G(f), f)
  discriminator  -log D(x, f) - log(1 - D(G(f), f)): the critic's own

  The critic gets no gradient from the others, nor the generator from its.
  """
  acts = model(image)
  f = code(acts, method.layer)
  centered = core.center(model, image)
  made = _made(method, params, f, image.shape)
  zero = jnp.zeros(())
  feature = adversarial = discriminator = zero
  if method.weights.feature:
    seen = core.apply_centered(model, made)[method.comparator]
    apart = jnp.mean((seen - acts[method.comparator]) ** 2)
    feature = apart / variances.feature
  if method.weights.adversarial:
    frozen = jax.lax.stop_gradient
    fooled = _logit(method, frozen(critic), made, f)
    shown = jnp.stack([centered, frozen(made)])
    judge = functools.partial(_logit, method, critic, f=f)
    real, fake = jax.vmap(judge)(shown)
    # -log sigmoid(x) is softplus(-x), and -log(1 - sigmoid(x)) softplus(x).
    adversarial = jax.nn.softplus(-fooled)
    discriminator = jax.nn.softplus(-real) + jax.nn.softplus(fake)
  return {
    'image': jnp.mean((made - centered) ** 2) / variances.image,
    'feature': feature,
    'adversarial': adversarial,
    'discriminator': discriminator,
  }


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def step(
  method: Method,
  model: core.Model,
  state: State,
  variances: Variances,
  images: Float[Array, 'b h w 3'],
) -> tuple[State, dict[str, Float[Array, '']]]:
  """One update by the mean gradient of a batch; no image sees another.

  Generator and discriminator learn from the same pictures; the latter waits
  while its loss is below a tenth of the adversarial loss.

  Returns:
    The state, and the losses before the update, with their weighted 'sum'.
  """

  def total(params, critic):
    each = functools.partial(losses, method, model, variances, params, critic)
    found = jax.tree.map(jnp.mean, jax.vmap(each)(images))
    weights = method.weights._asdict()
    found['sum'] = sum(w * found[name] for name, w in weights.items())
    # One gradient for both: those of `losses` do not mix.
    return found['sum'] + found['discriminator'], found

  both = jax.grad(total, (0, 1), has_aux=True)
  (grads, critic_grads), found = both(state.params, state.critic)
  params, optimizer = _updated(method, grads, state.optimizer, state.params)
  learned = _updated(method, critic_grads, state.critic_optimizer, state.critic)
  learns = found['discriminator'] >= WAITS_BELOW * found['adversarial']
  critic, critic_optimizer = core.chosen(
    learns, learned, (state.critic, state.critic_optimizer)
  )
  after = State(state.step + 1, params, optimizer, critic, critic_optimizer)
  return after, found


@functools.partial(jax.jit, static_argnums=0)
def measure(
  method: Method,
  model: core.Model,
  params: PyTree,
  constant: Float[Array, 'h w 3'],
  image: Float[Array, 'h w 3'],
) -> dict[str, Array]:
  """What a generator makes of a photograph, and how far its code is off.

  Args:
    method: its table and layer.
    model: the network.
    params: of the generator.
    constant: a picture to compare with, RGB, 0-255.
    image: RGB, 0-255.

  Returns:
    'picture' [h, w, 3]: RGB, within 0-255; 'feature': |f(picture) - f|^2, of
    the layer; 'constant': the same of the constant; 'square': |f|^2.
  """
  f = code(model(image), method.layer)
  made = _made(method, params, f, image.shape)
  picture = made + jnp.broadcast_to(model.mean, made.shape)
  picture = jnp.clip(picture, 0, 255)
  apart = [
    jnp.sum((code(model(other), method.layer) - f) ** 2)
    for other in (picture, constant)
  ]
  return {
    'picture': picture,
    'feature': apart[0],
    'constant': apart[1],
    'square': jnp.sum(f**2),
  }


def _critic(key: Array, *shapes: tuple[int, ...]) -> dict[str, Any]:
  """First variables of the discriminator of a picture and a code."""
  inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  found = jax.eval_shape(Discriminator().init, key, *inputs)['params']
  last = max(found)  # 'Dense_2', the logit
  return {
    'params': networks.drawn(
      key, {n: (p['kernel'].shape, 1, n != last) for n, p in found.items()}
    )
  }


def _made(method: Method, params: PyTree, f: Array, shape: Any) -> Array:
  """What the network sees of the picture of a code, less its mean."""
  whole = networks.picture(method.table, params, f)
  return networks.centre(whole, shape[:2])


def _logit(method: Method, critic: PyTree, picture: Array, f: Array) -> Array:
  deviation = method.table[0].option('scale', 1.0)  # of the code, inverted
  picture = picture / networks.LEVELS
  return Discriminator().apply(critic, picture, f * deviation)


def _leaky(x: Array) -> Array:
  return nn.leaky_relu(x, deepsim.SLOPE)


def _updated(
  method: Method, grads: PyTree, optimizer: PyTree, params: PyTree
) -> tuple[PyTree, PyTree]:
  updates, optimizer = method.optimizer.update(grads, optimizer, params)
  return optax.apply_updates(params, updates), optimizer
