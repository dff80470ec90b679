"""The operators that OpenCV is not asked about, against plain NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from vizjax.models.interpreter import operators
from vizjax.models.interpreter import tables

CLOSE = 1e-5  # float32


@pytest.fixture
def x():
  """[c, h, w], as Caffe has it."""
  return np.random.RandomState(0).uniform(0.5, 2, (6, 5, 4)).astype(np.float32)


def run(kind, *blobs, weights=None, **options):
  """An operator on Caffe's blobs; its output as Caffe's blob."""
  row = tables.Layer('a', kind, options=tuple(options.items()))
  inputs = [operators.from_caffe(jnp.asarray(blob)) for blob in blobs]
  weights = {k: jnp.asarray(v) for k, v in (weights or {}).items()}
  result = getattr(operators, kind)(row, *inputs, **weights)
  return np.asarray(operators.to_caffe(result))


def test_exp_and_log_have_a_base_a_scale_and_a_shift(x):
  found = run('exp', x, base=2.0, scale=0.5, shift=1.0)
  np.testing.assert_allclose(found, 2 ** (1 + 0.5 * x), rtol=CLOSE)
  np.testing.assert_allclose(run('exp', x), np.exp(x), rtol=CLOSE)
  found = run('log', x, base=10.0, scale=3.0, shift=0.1)
  np.testing.assert_allclose(found, np.log10(0.1 + 3 * x), atol=CLOSE)


@pytest.mark.parametrize(
  'axis, end, shape', [(1, -1, (120,)), (2, -1, (6, 20)), (1, 2, (30, 4))]
)
def test_flatten_is_in_the_order_of_caffe(x, axis, end, shape):
  found = run('flatten', x, axis=axis, end_axis=end)
  np.testing.assert_array_equal(found, x.reshape(shape))


@pytest.mark.parametrize(
  'shape, expected',
  [((0, -1), (6, 20)), ((3, 2, 20), (3, 2, 20)), ((-1,), (120,))],
)
def test_reshape_keeps_the_order_of_caffe(x, shape, expected):
  found = run('reshape', x, shape=shape)
  np.testing.assert_array_equal(found, x.reshape(expected))


def test_permute_counts_axes_as_caffe_does(x):
  found = run('permute', x, order=(0, 2, 3, 1))
  np.testing.assert_array_equal(found, x.transpose(1, 2, 0))


def test_crop_takes_the_size_of_its_second_input(x):
  like = np.zeros((9, 3, 2), np.float32)
  found = run('crop', x, like, axis=2, offsets=(2, 1))
  np.testing.assert_array_equal(found, x[:, 2:5, 1:3])
  found = run('crop', x, like, axis=2, offsets=(1,))
  np.testing.assert_array_equal(found, x[:, 1:4, 1:3])


@pytest.mark.parametrize('across', [True, False])
@pytest.mark.parametrize('shared', [True, False])
def test_normalize_divides_by_the_norm(x, across, shared):
  scale = np.array([3.0]) if shared else np.arange(1.0, 7)
  axes = None if across else 0
  norm = np.sqrt((x.astype(float) ** 2).sum(axes, keepdims=True) + 1e-10)
  expected = x / norm * scale.reshape(-1, 1, 1)
  found = run('normalize', x, weights={'scale': scale}, across_spatial=across)
  np.testing.assert_allclose(found, expected, rtol=CLOSE)


@pytest.mark.parametrize('axis, shape', [(1, (6,)), (2, (5, 4)), (3, (4,))])
def test_scale_and_bias_begin_at_an_axis(x, axis, shape):
  weight = np.random.RandomState(1).normal(size=shape).astype(np.float32)
  after = (1,) * (4 - axis - len(shape))
  spread = weight.reshape(*shape, *after)
  given = {'scale': weight, 'bias': weight}
  found = run('scale', x, weights=given, axis=axis)
  np.testing.assert_allclose(found, x * spread + spread, atol=CLOSE)
  found = run('bias', x, weights={'bias': weight}, axis=axis)
  np.testing.assert_allclose(found, x + spread, atol=CLOSE)


def test_scale_and_bias_take_a_second_input(x):
  factor = np.arange(6, dtype=np.float32)
  spread = factor[:, None, None]
  np.testing.assert_allclose(run('scale', x, factor), x * spread)
  np.testing.assert_allclose(run('bias', x, factor), x + spread)


def test_lrn_across_channels_has_an_offset(x):
  expected = np.empty_like(x)
  for c in range(6):
    near = x[max(0, c - 1) : c + 2]
    total = (near.astype(float) ** 2).sum(0)
    expected[c] = x[c] * (2 + 0.3 / 3 * total) ** -0.5
  found = run('lrn', x, size=3, alpha=0.3, beta=0.5, k=2.0)
  np.testing.assert_allclose(found, expected, rtol=CLOSE)


def test_lrn_within_a_channel_is_over_the_window_with_its_padding(x):
  # Caffe averages the squares by its pooling, which counts the padding.
  padded = np.pad(x.astype(float) ** 2, ((0, 0), (1, 1), (1, 1)))
  expected = np.empty_like(x)
  for i in range(5):
    for j in range(4):
      mean = padded[:, i : i + 3, j : j + 3].sum((1, 2)) / 9
      expected[:, i, j] = x[:, i, j] * (1 + 0.3 * mean) ** -0.75
  found = run('lrn', x, size=3, alpha=0.3, within=True)
  np.testing.assert_allclose(found, expected, rtol=CLOSE)


@pytest.mark.parametrize('slope', [[0.2], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
def test_prelu_has_a_slope_for_all_or_for_each_channel(x, slope):
  x = x - 1.2
  slope = np.array(slope, np.float32)
  expected = np.where(x > 0, x, slope.reshape(-1, 1, 1) * x)
  found = run('prelu', x, weights={'slope': slope})
  np.testing.assert_allclose(found, expected, atol=CLOSE)


def test_a_rectifier_may_have_a_ceiling(x):
  found = run('relu', 10 * (x - 1), ceiling=6.0)
  np.testing.assert_allclose(found, np.clip(10 * (x - 1), 0, 6), atol=CLOSE)


@pytest.mark.parametrize('axis', [1, 2, 3, -1])
def test_concat_slice_and_softmax_count_axes_as_caffe_does(x, axis):
  ours = axis - 1 if axis > 0 else axis
  found = run('concat', x, 2 * x, axis=axis)
  np.testing.assert_array_equal(found, np.concatenate([x, 2 * x], ours))
  found = run('slice', x, axis=axis, start=1, stop=3)
  np.testing.assert_array_equal(found, np.take(x, [1, 2], ours))
  power = np.exp(x.astype(float))
  expected = power / power.sum(ours, keepdims=True)
  np.testing.assert_allclose(run('softmax', x, axis=axis), expected, rtol=CLOSE)


def test_the_channels_can_be_turned_round(x):
  np.testing.assert_array_equal(run('reverse', x), x[::-1])
