"""What the benchmark counts, what it leaves out, and that it runs."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import conftest
from vizjax import core
from vizjax import models
from vizjax import parameterizations
from vizjax.benchmark import measure
from vizjax.benchmark import peers
from vizjax.benchmark import workloads
from vizjax.errors import UserError
from vizjax.models.interpreter import tables
from vizjax.sweeps import capacity

CASE = measure.Case('alexnet_features', 'conv5')

# Every kind of layer that the loop and GoogLeNet have, windows that are cut
# at the edges among them.
KINDS = (
  *tables.sequence(
    tables.conv('conv1', 8, 3, stride=2, pad=1)._replace(
      options=(('bias', False),)
    ),
    tables.Layer(
      'norm1', 'batch_norm', options=(('eps', 1e-3), ('affine', True))
    ),
    tables.relu('relu1'),
    tables.max_pool('pool1', 3, 2, ceil=True),
    tables.lrn('lrn1'),
  ),
  tables.conv('left', 4, 3, pad=1, groups=2)._replace(inputs=('lrn1',)),
  tables.max_pool('right', 3, 1, 1, ceil=True)._replace(inputs=('lrn1',)),
  tables.Layer('both', 'concat', ('left', 'right')),
  tables.Layer(
    'mean', 'average_pool', ('both',), kernel=(4, 4), stride=(2, 2),
    pad=(1, 1), options=(('ceil', True),),
  ),
  tables.Layer('whole', 'average_pool', ('both',), options=(('whole', True),)),
  *tables.sequence(
    tables.adaptive_average_pool('adapted', 3)._replace(inputs=('both',)),
    tables.fc('fc2', 7),
    tables.dropout('drop2'),
    tables.softmax('prob'),
  ),
)  # fmt: skip


def test_the_arithmetic_of_alexnet_is_counted():
  # Sums over its five convolutions, by hand: rows x columns x kernel x in x
  # out; a product and a sum each, forward and back.
  layers = ((55, 11, 3, 64), (27, 5, 64, 192), (13, 3, 192, 384),
            (13, 3, 384, 256), (13, 3, 256, 256))  # fmt: skip
  total = sum(n * n * k * k * i * o for n, k, i, o in layers)
  net = measure.network(measure.Case('alexnet_features', 'conv5'))
  found = measure.gflop(net, 'conv5')
  np.testing.assert_allclose(found, 4 * total / 1e9)


@pytest.mark.slow
def test_a_random_googlenet_has_activations_of_one_size():
  net = models.cut(measure.random('bvlc_googlenet'), ('pool3/3x3_s2',))
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
  apply = jax.jit(lambda net, image: net(image))
  for layer in ('conv2', 'fc3'):
    cut = models.cut(other, (layer,))
    exact, found = apply(net, image)[layer], apply(cut, image)[layer]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, atol=0.05 * np.abs(exact).max())
    assert not np.array_equal(found, exact)
  slope = jax.jit(jax.grad(lambda image: other(image)['conv2'].sum()))(image)
  assert slope.dtype == jnp.float32
  same = models.computed_in(net, 'float32')
  assert apply(same, image).keys() == apply(net, image).keys()


def test_other_numbers_that_are_none_are_refused(model):
  with pytest.raises(UserError, match="is 'int8', expected 'float32'"):
    models.computed_in(model, 'int8')
  bare = core.Model((), jnp.zeros(3), lambda p, x: {'a': x}, (8, 8, 3))
  with pytest.raises(UserError, match='with a layer table'):
    models.computed_in(bare, 'bfloat16')


@pytest.mark.slow
def test_a_case_is_measured_and_told():
  case = measure.Case('alexnet_features', 'conv1', boxed=True)
  suite = workloads.Suite((case,), (2,), doubled=False)
  table = workloads.steps(suite, {'float32': 100.0})
  (row,) = table.rows
  found = dict(zip(table.columns, row, strict=True))
  assert found['image'] == '11x11 box'
  assert found['step, s'] > 0 and found['network alone, s'] > 0
  lines = measure.markdown(table).splitlines()
  assert lines[0] == '**Steps**'
  assert len(lines) == 5
  assert json.loads(json.dumps(table._asdict()))['title'] == 'Steps'


def test_what_does_not_fit_is_not_run(monkeypatch):
  monkeypatch.setattr(capacity, 'available', lambda: 1000)
  case = measure.Case('alexnet_features', 'conv1', 1, boxed=True)
  found = workloads.tried(case)
  assert 'of memory, 1e-06 GB are free' in found.reason


def test_a_box_larger_than_the_image_is_not_run():
  case = measure.Case('bvlc_googlenet', 'inception_4c/output', boxed=True)
  with pytest.raises(UserError, match='sees 299x299 pixels, the image has 22'):
    measure.network(case)
  assert workloads.pixel_ascent(case) is None


def fake(seconds_of):
  """`measured` of a device with these seconds of a step, by batch."""

  def measured(case):
    if case.batch > 100:
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of it\nmore')
    return measure.Row(
      case, (9, 9), seconds_of(case.batch), 0.1, 1.0, 2.0, None
    )

  return measured


@pytest.mark.parametrize(
  'seconds_of, tried, best, reason',
  [
    (lambda n: 0.1 + 0.01 * n, (1, 16, 32, 64, 128), 64, 'RESOURCE_EXHAUSTED'),
    (lambda n: 0.001 * max(n, 20), (1, 16, 32, 64), 32, ''),
    (lambda n: 0.01 * n ** (n > 1), (1, 16, 2), 1, ''),
    (lambda n: 1.5 * max(n, 4), (1, 16, 32), 16, 'a step would take 48 s'),
  ],
)
def test_a_batch_is_doubled_while_that_gains(
  monkeypatch, seconds_of, tried, best, reason
):
  monkeypatch.setattr(measure, 'measured', fake(seconds_of))
  found = workloads.batches(CASE, (1, 16), doubled=True)
  assert tuple(row.case.batch for row in found) == tried
  left = [f.reason for f in found if isinstance(f, workloads.Left)]
  assert len(left) == bool(reason) and all(reason in text for text in left)
  suite = workloads.Suite((CASE,), (1, 16))
  table = workloads.steps(suite, {'float32': 100.0})
  rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
  assert [r['batch'] for r in rows if r[''] == 'best batch'] == [best]


def test_a_network_that_fails_leaves_the_others(monkeypatch):
  def measured(case):
    raise UserError(f'{case.network} is not here')

  monkeypatch.setattr(measure, 'measured', measured)
  suite = workloads.SUITES['gpu']
  table = workloads.steps(suite, {})
  assert len(table.rows) == 2 * len(suite.cases)
  assert all(row[-1].endswith('is not here') for row in table.rows)


def test_times_are_taken_in_turn(monkeypatch):
  order = []
  ways = (lambda: order.append('a'), lambda: order.append('b'))
  monkeypatch.setattr(measure, '_LONG_ENOUGH', 0.0)
  assert len(measure.alternately(*ways)) == 2
  assert ''.join(order) == 'ab' * 6  # once to warm up, and five times
  order.clear()
  monkeypatch.setattr(measure, '_TOO_LONG', 0.0)
  measure.alternately(*ways)
  assert ''.join(order) == 'abab'


@pytest.mark.slow
def test_lucid200_is_told():
  table = workloads.lucid200(('float32',), (32,), 2, 'conv2/3x3')
  (row,) = table.rows
  found = dict(zip(table.columns, row, strict=True))
  assert found['image'] == '32x32' and found['network sees'] == '44x44'
  step = found['step, s']
  np.testing.assert_allclose(found['128 steps, s'], 128 * step, rtol=0.01)
  # Rows x columns x kernel x in x out, as above; of a 44 x 44 image.
  layers = ((22, 7, 3, 64), (11, 1, 64, 64), (11, 3, 64, 192))
  total = sum(n * n * k * k * i * o for n, k, i, o in layers)
  work = 2 * 4 * total / 1e9
  np.testing.assert_allclose(found['GFLOP/s'], work / step, rtol=0.02)


def test_pytorch_is_not_needed_but_named(monkeypatch):
  import sys

  monkeypatch.setitem(sys.modules, 'torch', None)
  with pytest.raises(UserError, match='type pip install torch'):
    peers.library()


def test_a_peer_that_fails_has_a_cell_that_says_so(monkeypatch):
  """Such as torch.compile, of networks that it does not take."""

  def pixel_step(torch, net, layer, batch, channels_last, compiled, dtype):
    return (lambda: [].pop()) if compiled else (lambda: 0.0)

  monkeypatch.setattr(peers, 'pixel_step', pixel_step)
  monkeypatch.setattr(peers.shutil, 'which', lambda name: name)
  monkeypatch.setattr(workloads, 'pixel_ascent', lambda case: lambda: 0.0)
  monkeypatch.setattr(measure, 'network', lambda case: None)
  monkeypatch.setattr(
    measure, 'alternately', lambda *steps: [*map(float, range(2, 6))]
  )
  table = peers.same_work(None, 'net', 'conv1', 2, ('float32',))
  assert table.rows == [
    ('float32', 2.0, 3.0, 4.0, 5.0, 'fails: IndexError', 2.0, 1.33)
  ]


def test_pytorch_does_the_same_work():
  torch = pytest.importorskip('torch')
  net = measure.network(measure.Case('alexnet_features', 'conv3', size=67))
  image = np.random.RandomState(0).uniform(-100, 100, (67, 67, 3))
  found = peers.network(torch, net, channels_last=True)(
    torch.tensor(np.moveaxis(image, -1, 0)[None].astype(np.float32))
  )['conv3']
  expected = net.apply(net.params, jnp.asarray(image, jnp.float32))['conv3']
  np.testing.assert_allclose(
    np.moveaxis(found[0].numpy(), 0, -1), expected, rtol=1e-3, atol=1e-3
  )


def compared(torch, net, size):
  """Every activation by PyTorch, beside ours."""
  image = np.random.RandomState(0).uniform(-100, 100, (size, size, 3))
  found = peers.network(torch, net)(
    torch.tensor(np.moveaxis(image, -1, 0)[None].astype(np.float32))
  )
  expected = jax.jit(net.apply)(net.params, jnp.asarray(image, jnp.float32))
  assert found.keys() - {'data'} == expected.keys()
  for name, act in expected.items():
    ours = np.moveaxis(np.asarray(act), -1, 0)
    atol = 1e-4 * np.abs(ours).max()
    np.testing.assert_allclose(found[name][0], ours, atol=atol, err_msg=name)


def test_pytorch_has_every_kind_of_layer():
  torch = pytest.importorskip('torch')
  with jax.numpy_rank_promotion('allow'):  # windows of the adaptive mean
    net = conftest.toy(KINDS, size=27)
    params = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.1, net.params)
    compared(torch, dataclasses.replace(net, params=params), 27)
  kinds = {row.kind for row in KINDS}
  for name in ('bvlc_googlenet', 'torchvision_googlenet'):
    assert kinds >= {row.kind for row in models.described(name).table}


@pytest.mark.slow
def test_pytorch_has_all_of_googlenet():
  torch = pytest.importorskip('torch')
  compared(torch, measure.random('bvlc_googlenet'), 224)


@pytest.mark.parametrize('dtype, far', [('float32', 1e-5), ('bfloat16', 0.05)])
def test_a_step_by_pytorch_is_ours(dtype, far):
  torch = pytest.importorskip('torch')
  net = models.cut(conftest.toy(), ('conv2',))
  step = peers.pixel_step(
    torch, net, 'conv2', 3, channels_last=True, dtype=dtype
  )

  def score(image, channel):
    return net.apply(net.params, image)['conv2'][3, 3, channel]

  slopes = [jax.grad(score)(jnp.zeros((12, 12, 3)), c) for c in range(3)]
  ours = sum(score(slope, c) for c, slope in enumerate(slopes))
  step()
  np.testing.assert_allclose(step(), ours, rtol=far)


def test_other_layers_are_not_there_in_pytorch():
  torch = pytest.importorskip('torch')
  for row in (tables.deconv('up', 2, 3), tables.relu('leaky', 0.1)):
    table = tables.sequence(tables.conv('conv1', 2, 3), row)
    with pytest.raises(UserError, match=f'{row.name!r} is of kind'):
      peers.network(torch, conftest.toy(table))


def test_pytorch_has_slopes_of_weights_where_asked():
  torch = pytest.importorskip('torch')
  for learned in (True, False):
    forward = peers.network(torch, conftest.toy(), learned=learned)
    assert forward(torch.zeros(1, 3, 12, 12))['conv2'].requires_grad == learned


def test_the_loop_has_the_same_image():
  torch = pytest.importorskip('torch')
  model = dataclasses.replace(conftest.toy(), input_shape=(12, 12, 3))
  spectrum = np.random.RandomState(0).normal(size=(2, 12, 7, 3))
  spectrum = spectrum.astype(np.float32)
  render = parameterizations.fourier(model).render
  coefficients = torch.tensor(spectrum.transpose(3, 1, 2, 0)[None].copy())
  found = peers.fourier_image(torch, 12)(coefficients)
  ours = np.moveaxis(np.asarray(render(jnp.asarray(spectrum))), -1, 0) / 255
  np.testing.assert_allclose(found[0], ours, atol=1e-5)


def test_the_loop_has_lucids_views(monkeypatch):
  torch = pytest.importorskip('torch')
  image = torch.rand(1, 3, 20, 20)
  for _ in range(20):
    size = peers.lucid_view(torch, image).shape[2]
    assert 44 <= size <= 49
  # Shifts of 2 and 3, a size of 1, no turn, shifts of 1 and 0.
  draws = iter((2, 3, 5, 10, 1, 0))
  monkeypatch.setattr(torch, 'randint', lambda count, shape: next(draws))
  expected = np.zeros((3, 44, 44))
  grey = np.pad(image[0], ((0, 0), (12, 12), (12, 12)), constant_values=0.5)
  expected[:, 3:, 3:] = grey[:, :-3, :-3]
  found = peers.lucid_view(torch, image)
  np.testing.assert_allclose(found[0], expected, atol=1e-4)
  turned = peers.warped(torch, image, 90, (0, 0))
  np.testing.assert_allclose(turned[0], image[0].rot90(1, (1, 2)), atol=1e-4)


@pytest.mark.slow
def test_the_loop_is_told():
  torch = pytest.importorskip('torch')
  table = peers.over_units(torch, 2)
  *ours, loop, frozen = table.rows
  assert len(ours) == 2 and loop[3] == frozen[4] == 1
  for _, step, hourly, *ratios in table.rows:
    np.testing.assert_allclose(hourly, 3600 / step / 512, rtol=0.02, atol=1)
    expected = loop[1] / step, frozen[1] / step
    np.testing.assert_allclose(ratios, expected, rtol=0.02)
