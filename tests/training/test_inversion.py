"""One step of training, against its definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from oracles import upconvolution
import optax
import pytest

from vizjax import models
from vizjax.generators import networks
from vizjax.training import inversion

pytestmark = pytest.mark.usefixtures('quickly')


@functools.cache
def twin():
  """A network of two layers, a generator, a discriminator; and NumPy's."""
  draw = np.random.RandomState(0)
  first = draw.normal(0, 2e-3, (14 * 14 * 3, 18))
  second = draw.normal(0, 0.3, (18, 5))

  def layers(np_, weights, x):
    code = np_.maximum(x.reshape(-1) @ weights[0], 0)
    return {
      'code': code.reshape(3, 3, 2),
      'feature': np_.tanh(code @ weights[1]),
    }

  mean = (120.0, 110.0, 100.0)
  net = models.from_function(
    lambda weights, x: layers(jnp, weights, x),
    (first, second),
    input_shape=(14, 14, 3),
    mean=jnp.array(mean),
  )
  table = networks.table((3, 3, 2), (14, 14), (4, 3), deviation=2)
  method = inversion.Method(
    table,
    'code',
    'feature',
    inversion.LossWeights(0.7, 2, 0.3),
    optax.sgd(1e-3),
  )
  state = inversion.init(method, net, jax.random.key(0))
  wide = lambda a: jnp.asarray(a, float) + (0.01 if a.ndim else 0)
  state = state._replace(
    params=jax.tree.map(wide, state.params),
    critic=jax.tree.map(lambda a: 0.6 * wide(a), state.critic),
  )
  state = jax.tree.map(np.array, state)  # a step takes over what it is given
  images = draw.uniform(0, 255, (2, 14, 14, 3))

  def losses(params, critic, image):
    def encode(x):
      acts = layers(np, (first, second), x)
      return acts['code'], acts['feature']

    return upconvolution.losses(
      encode,
      np.array(mean),
      params,
      critic['params'],
      image,
      (3000.0, 0.2),
      scale=1 / 2,
      levels=60,
      pad=2,
    )

  variances = inversion.Variances(jnp.array(3000.0), jnp.array(0.2))
  return method, net, state, variances, images, losses


@pytest.mark.slow
def test_a_step_is_that_of_the_definition(x64):
  method, net, state, variances, images, losses = twin()
  before = state.params, state.critic
  state, found = inversion.step(
    method, net, jax.tree.map(jnp.array, state), variances, jnp.array(images)
  )
  after = jax.device_get((state.params, state.critic))
  each = [losses(*before, image) for image in images]
  means = {name: np.mean([loss[name] for loss in each]) for name in each[0]}
  means['sum'] = (
    0.7 * means['image'] + 2 * means['feature'] + 0.3 * means['adversarial']
  )
  for name, mean in means.items():
    np.testing.assert_allclose(found[name], mean, rtol=1e-9, err_msg=name)

  def total(params, critic, names):
    each = [losses(params, critic, image) for image in images]
    return sum(w * np.mean([e[n] for e in each]) for n, w in names.items())

  weights = method.weights._asdict()
  for path, names in {
    (0, 'conv', 'kernel'): weights,
    (0, 'deconv1', 'kernel'): weights,
    (0, 'deconv0', 'bias'): weights,
    (1, 'params', 'Conv_0', 'kernel'): {'discriminator': 1},
    (1, 'params', 'Dense_0', 'kernel'): {'discriminator': 1},
    (1, 'params', 'Dense_2', 'bias'): {'discriminator': 1},
  }.items():
    old, new = before, after
    for key in path:
      old, new = old[key], new[key]
    where = np.unravel_index(old.size // 2, old.shape)
    kept, values = old[where], []
    for shift in (1e-4, -1e-4):
      old[where] = kept + shift
      values.append(total(*before, names))
    old[where] = kept
    slope = (values[0] - values[1]) / 2e-4
    # A central difference of 1e-4 has eight digits of the loss, four of it.
    moved = (kept - new[where]) / 1e-3
    np.testing.assert_allclose(moved, slope, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
  'photograph, picture, waits', [(255.0, -30.0, True), (0.0, 30.0, False)]
)
def test_the_adversary_waits_while_it_wins(photograph, picture, waits, x64):
  method, net, state, variances, images, _ = twin()
  # A critic that takes what is bright for a photograph.
  before = state._replace(critic=jax.tree.map(np.abs, state.critic))
  state = jax.tree.map(jnp.array, before)
  state.params['deconv0']['bias'] += picture
  images = jnp.array(np.full(images.shape, photograph))
  state, found = inversion.step(method, net, state, variances, images)
  assert (found['discriminator'] < 0.1 * found['adversarial']) == waits
  for part in ('critic', 'params'):
    one, other = (jax.tree.leaves(getattr(s, part)) for s in (before, state))
    same = all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert same == (waits and part == 'critic')


def test_a_loss_without_weight_is_not_computed(x64):
  method, net, state, variances, images, losses = twin()
  bare = method._replace(weights=inversion.LossWeights(1, 0, 0))
  found = inversion.losses(
    bare,
    net,
    variances,
    jax.tree.map(jnp.array, state.params),
    {},
    jnp.array(images[0]),
  )
  expected = losses(state.params, state.critic, images[0])['image']
  np.testing.assert_allclose(found.pop('image'), expected, rtol=1e-9)
  assert not any(found.values())
