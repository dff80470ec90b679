"""All numbers of the site, by the script that shares none of its arithmetic."""

import conftest
import numpy as np
from PIL import Image
import pytest
import recompute
import test_examples
import test_sweep

from vizjax.atlas import site

pytestmark = pytest.mark.usefixtures('quickly')


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
  folder = tmp_path_factory.mktemp('photographs')
  draw = np.random.RandomState(0)
  for i in range(6):
    pixels = draw.randint(0, 256, (15, 15 + i, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f'{i}.png')
  return folder


@pytest.fixture(scope='module')
def workdir(photographs, tmp_path_factory):
  """Of units in their boxes and at the edge, both ways, three images each."""
  path = tmp_path_factory.mktemp('recomputed')
  c = test_sweep.config(
    units='1@2x3,4@0x5',
    replicates=3,
    sign='both',
    result='last',
    objective='neuron(layer)',
    trace='',
    metrics=(
      'rank = rank(layer), rectified = neuron(rectifier),'
      ' slope = spectrum_slope(), distance = distance(layer)'
    ),
    robust='jitter(2) | scale(0.9, 1.1)',
    robust_draws=3,
    retries=1,
  )
  test_sweep.execute(c, path)
  test_examples.searched(str(path), str(photographs), k=3)
  site.write(str(path))
  return path


@pytest.mark.slow
def test_every_number_is_that_of_the_stored_image(workdir, photographs):
  pairs = recompute.recomputed(workdir, 'conv2', conftest.TOY, photographs)
  found = recompute.differences(pairs)
  assert set(found) == {
    'activation', 'score', 'step', 'seed', 'curve', 'photograph',
    'metric/rank', 'metric/rectified', 'metric/slope', 'metric/distance',
    'metric/robust_mean', 'metric/robust_std', 'metric/dead',
    'ratio/maximum', 'ratio/p99_9', 'ratio/slope',
    'photographs/maximum', 'photographs/mean', 'photographs/deviation',
    'photographs/p99', 'photographs/p99_9', 'photographs/slope',
  }  # fmt: skip
  for name, (count, difference) in found.items():
    allowed = recompute.ROUNDED.get(name, recompute.TOLERANCE)
    assert difference < allowed, name
    assert count >= (6 if name.startswith('ratio') else 12), name
