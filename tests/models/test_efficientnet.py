"""EfficientNet-Lite0 as it is installed."""

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vizjax
from vizjax.errors import UserError
from vizjax.models.formats import torch
from vizjax.models.interpreter import operators
from vizjax.models.networks import efficientnet_lite0
from vizjax.models.networks import packaged

pytestmark = pytest.mark.usefixtures('quickly')


@pytest.fixture(scope='module')
def model():
  return vizjax.load('efficientnet_lite0')


def test_every_number_of_the_file_is_used(model):
  path = packaged.find(efficientnet_lite0.PACKAGE, efficientnet_lite0.FILE)
  arrays = torch.read(path)
  counters = [name for name in arrays if name.endswith('num_batches_tracked')]
  held = sum(a.size for a in arrays.values()) - len(counters)
  used = sum(leaf.size for leaf in jax.tree.leaves(model.params))
  assert (len(arrays), held + len(counters)) == (296, 4_694_073)
  assert used == held


def test_layers_have_the_sizes_of_the_paper(model):
  acts = jax.eval_shape(model, jax.ShapeDtypeStruct((224, 224, 3), jnp.float32))
  sizes = {0: (112, 16), 2: (56, 24), 4: (28, 40), 7: (14, 80), 10: (14, 112),
           14: (7, 192), 15: (7, 320)}  # fmt: skip
  for block, (size, channels) in sizes.items():
    assert acts[f'block{block}'].shape == (size, size, channels)
  assert acts['head'].shape == (7, 7, 1280)
  assert acts['logits'].shape == (1000,)
  assert len(model.labels) == 1000
  assert model.labels[130] == 'flamingo' and model.labels[340] == 'zebra'


@pytest.mark.parametrize(
  'stride, kernel, size',
  [
    (2, 3, 13),
    *conftest.slow((1, 3, 13), (1, 5, 13), (2, 5, 13)),
    *conftest.slow((1, 3, 14), (2, 3, 14), (1, 5, 14), (2, 5, 14)),
  ],
)
def test_a_depthwise_convolution_is_a_grouped_one(stride, kernel, size):
  draw = np.random.RandomState(0)
  x = jnp.asarray(draw.normal(size=(size, size, 6)), jnp.float32)
  weights = jnp.asarray(draw.normal(size=(kernel, kernel, 1, 6)), jnp.float32)
  row = vizjax.models.interpreter.tables.conv('a', 6, kernel, stride)
  row = row._replace(groups=6, options=(('same', True),))
  expected = jax.lax.conv_general_dilated(
    x[None],
    weights,
    (stride, stride),
    'SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=6,
  )[0]
  found = operators.conv(row, x, weights)
  np.testing.assert_allclose(found, expected, atol=1e-5)  # float32 sums


def test_a_wrong_file_is_refused(tmp_path):
  path = tmp_path / 'weights.pth'
  path.write_bytes(b'nothing')
  with pytest.raises(UserError, match='SHA-256.*expected 5793'):
    vizjax.load('efficientnet_lite0', str(path))
