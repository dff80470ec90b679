"""Strict numerics, two simulated devices, and a toy network."""

import gc
import os
import pathlib
import shutil
import signal
import tempfile

import jax
import jaxtyping
import numpy as np
import pytest

from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables
from vizjax.sweeps import digests
from vizjax.sweeps import sweep

jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 2)
jax.config.update('jax_numpy_rank_promotion', 'raise')


def _avx512() -> bool:
  """Whether the processor has AVX-512, as far as Linux tells."""
  try:
    return 'avx512f' in pathlib.Path('/proc/cpuinfo').read_text().split()
  except OSError:
    return True


# Measured with JAX 0.10.2: where a processor has AVX2 alone, XLA rounds a few
# values of a convolution's gradient by where they lie in the whole batch.
needs_avx512 = pytest.mark.skipif(
  not _avx512(), reason='with AVX2 alone last digits depend on the batch'
)

SLOW = pytest.mark.slow

TOY = tables.sequence(
  tables.conv('conv1', 4, 3, pad=1),
  tables.relu('relu1'),
  tables.max_pool('pool1', 2, 2),
  tables.conv('conv2', 6, 3, pad=1),
  tables.relu('relu2'),
  tables.fc('fc3', 5),
)


def pytest_configure(config):
  """Saves time: a process compiles a program once, and seldom collects garbage.

  JAX makes many small objects while it traces: collections took a ninth of the
  time.

  In the background of a script SIGINT is ignored, under nohup SIGHUP, and
  children inherit that: the launchers that tests stop would not notice.
  """
  gc.set_threshold(100_000, 50, 1000)
  for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
  ):
    if signal.getsignal(number) == signal.SIG_IGN:
      signal.signal(number, handler)
  config.compiled = tempfile.mkdtemp(prefix='vizjax-tests-')
  os.environ['JAX_COMPILATION_CACHE_DIR'] = config.compiled  # of launchers
  jax.config.update('jax_compilation_cache_dir', config.compiled)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)


def pytest_unconfigure(config):
  shutil.rmtree(config.compiled, ignore_errors=True)


def toy(table=TOY, mean=(120.0, 115.0, 100.0), size=12, seed=0):
  """Two convolutions and a fully connected layer with random weights."""
  network = layers.Network(table)
  image = np.zeros((size, size, 3), np.float32)
  shapes = jax.eval_shape(network.init, jax.random.key(0), image)['params']
  draw = np.random.RandomState(seed)
  params = jax.tree.map(lambda s: draw.normal(0, 0.1, s.shape), shapes)
  return layers.model(table, params, mean=mean, input_shape=(size, size, 3))


def slow(*cases):
  """Returns parameters of a test, which `make test` leaves out."""
  return [
    pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=SLOW)
    for case in cases
  ]


@pytest.fixture
def model():
  return toy()


@pytest.fixture(scope='module')
def quickly(request):
  """Compiles in less time what is run in no time: where bits do not count.

  Nor are programs compared with those that made a workdir, but in a module
  that says COMPARES_PROGRAMS.
  """
  jax.config.update('jax_disable_most_optimizations', True)
  compares = getattr(request.module, 'COMPARES_PROGRAMS', False)
  nothing = digests.LayerDigests({}, {}, {})
  with pytest.MonkeyPatch.context() as patch:
    if not compares:
      patch.setattr(sweep, '_programs', lambda request, p: nothing)
    yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.fixture
def as_installed():
  """Without the checks of annotations, which users do not have."""
  jaxtyping.config.update('jaxtyping_disable', True)
  yield
  jaxtyping.config.update('jaxtyping_disable', False)


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield
