"""What the benchmark counts, and that it runs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import conftest
from vizjax import benchmark
from vizjax import benchmark_peers
from vizjax import core
from vizjax import models


def test_the_arithmetic_of_alexnet_is_counted():
  # Sums over its five convolutions, by hand: rows x columns x kernel x in x
  # out; a product and a sum each, forward and back.
  layers = ((55, 11, 3, 64), (27, 5, 64, 192), (13, 3, 192, 384),
            (13, 3, 384, 256), (13, 3, 256, 256))  # fmt: skip
  total = sum(n * n * k * k * i * o for n, k, i, o in layers)
  net = benchmark.network(benchmark.Case('alexnet_features', 'conv5'))
  found = benchmark.gflop(net, 'conv5')
  np.testing.assert_allclose(found, 4 * total / 1e9)


def test_a_random_googlenet_has_activations_of_one_size():
  net = models.cut(benchmark.random('bvlc_googlenet'), ('pool3/3x3_s2',))
  image = jnp.asarray(np.random.RandomState(0).uniform(0, 255, (64, 64, 3)))
  acts = jax.jit(lambda net, image: net(image))(net, image)
  first, last = acts['conv1/7x7_s2'].std(), acts['pool3/3x3_s2'].std()
  assert 0.05 < last / first < 5


def test_a_network_computes_in_other_numbers():
  net, dtype = conftest.toy(), 'bfloat16'
  other = models.computed_in(net, dtype)
  assert {str(p.dtype) for p in jax.tree.leaves(other.params)} == {dtype}
  image = jnp.asarray(
    np.random.RandomState(0).uniform(0, 255, (12, 12, 3)), jnp.float32
  )
  for layer in ('conv2', 'fc3'):
    exact, found = net(image)[layer], models.cut(other, (layer,))(image)[layer]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, atol=0.05 * np.abs(exact).max())
    assert not np.array_equal(found, exact)
  slope = jax.grad(lambda image: other(image)['conv2'].sum())(image)
  assert slope.dtype == jnp.float32
  assert models.computed_in(net, 'float32')(image).keys() == net(image).keys()


def test_other_numbers_that_are_none_are_refused(model):
  with pytest.raises(ValueError, match="is 'int8', expected 'float32'"):
    models.computed_in(model, 'int8')
  bare = core.Model((), jnp.zeros(3), lambda p, x: {'a': x}, (8, 8, 3))
  with pytest.raises(ValueError, match='with a layer table'):
    models.computed_in(bare, 'bfloat16')


@pytest.mark.slow
def test_a_case_is_measured_and_told():
  case = benchmark.Case('alexnet_features', 'conv1', 2, boxed=True)
  table = benchmark.steps((case,), {'float32': 100.0})
  (row,) = table.rows
  found = dict(zip(table.columns, row, strict=True))
  assert found['image'] == '11x11 box'
  assert found['step, s'] > 0 and found['network alone, s'] > 0
  lines = benchmark.markdown(table).splitlines()
  assert lines[0] == '**Steps**'
  assert len(lines) == 5
  assert json.loads(json.dumps(table._asdict()))['title'] == 'Steps'


def test_pytorch_is_not_needed_but_named(monkeypatch):
  import sys

  monkeypatch.setitem(sys.modules, 'torch', None)
  with pytest.raises(ValueError, match='type pip install torch'):
    benchmark_peers.library()


def test_pytorch_does_the_same_work():
  torch = pytest.importorskip('torch')
  net = benchmark.network(benchmark.Case('alexnet_features', 'conv3', size=67))
  image = np.random.RandomState(0).uniform(-100, 100, (67, 67, 3))
  found = benchmark_peers.network(torch, net, channels_last=True)(
    torch.tensor(np.moveaxis(image, -1, 0)[None].astype(np.float32))
  )['conv3']
  expected = net.apply(net.params, jnp.asarray(image, jnp.float32))['conv3']
  np.testing.assert_allclose(
    np.moveaxis(found[0].numpy(), 0, -1), expected, rtol=1e-3, atol=1e-3
  )
