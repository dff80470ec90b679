"""What is compiled, how often, and what a second start finds."""

import logging

import jax
from jax.experimental.compilation_cache import compilation_cache
import pytest
import test_sweep

from vizjax import build
from vizjax.errors import UserError
from vizjax.sweeps import compilation

pytestmark = pytest.mark.usefixtures('quickly')


@pytest.fixture
def kept(tmp_path, monkeypatch):
  """A folder in which programs are kept; how many were not there."""
  misses = []

  def listen(event, **details):
    if event == '/jax/compilation_cache/cache_misses':
      misses.append(event)

  names = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
    'jax_persistent_cache_min_entry_size_bytes',
  )
  before = {name: getattr(jax.config, name) for name in names}
  jax.monitoring.register_event_listener(listen)
  compilation_cache.reset_cache()
  compilation.keep(str(tmp_path / 'kept'))
  yield misses
  jax.monitoring.unregister_event_listener(listen)
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def test_each_layer_is_compiled_once_and_then_never(kept, tmp_path, caplog):
  c = test_sweep.few(layer='conv1,relu1', units='0:3', batch=2, replicates=2)
  layers = build.layers(c, build.model(c))
  jax.clear_caches()  # what other tests compiled is not kept here
  jax.config.update('jax_log_compiles', True)
  try:
    with caplog.at_level(logging.WARNING, 'jax'):
      first = test_sweep.execute(c, tmp_path / 'first')
  finally:
    jax.config.update('jax_log_compiles', False)
  compiled = [r for r in caplog.messages if 'compilation of jit(mapped)' in r]
  # To begin, for a step, to end.
  assert len(compiled) == 3 * len(layers) > 3
  assert kept
  kept.clear()
  jax.clear_caches()
  second = test_sweep.execute(c, tmp_path / 'second')
  assert not kept
  test_sweep.assert_same(first, second)


def test_where_programs_are_kept(monkeypatch, kept, tmp_path):
  compilation.keep('')
  assert jax.config.jax_compilation_cache_dir is None
  monkeypatch.setenv(compilation.VARIABLE, str(tmp_path / 'told'))
  compilation.keep()
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / 'told')
  compilation.keep('gs://bucket/told')
  assert jax.config.jax_compilation_cache_dir == 'gs://bucket/told'
  with pytest.raises(UserError, match='gs:/told.* type gs://BUCKET/PATH'):
    compilation.keep('gs:/told')
  monkeypatch.delenv(compilation.VARIABLE)
  compilation.keep()
  assert '.cache/vizjax/compiled/' in jax.config.jax_compilation_cache_dir
