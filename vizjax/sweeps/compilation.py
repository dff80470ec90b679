"""Compiled programs, kept on disk for the next start; compiling beside work."""

from collections.abc import Callable
import os
import pathlib
import platform
from typing import Any
import zlib

import jax

from vizjax.workdir import folders

VARIABLE = 'JAX_COMPILATION_CACHE_DIR'


def keep(folder: str | None = None) -> None:
  """Keeps what is compiled from here on; a second start compiles nothing.

  Args:
    folder: where; '' for nowhere. None for $JAX_COMPILATION_CACHE_DIR, or
      ~/.cache/vizjax/compiled, in a folder for each kind of CPU.
  """
  if folder is None:
    # A program for a CPU is made of the instructions of that one.
    kind = f'{platform.machine()}-{_instructions():08x}'
    folder = f'~/.cache/vizjax/compiled/{kind}'
    folder = os.environ.get(VARIABLE, folder)
  place = folder or None
  if place and not folders.remote(place):  # JAX itself writes to a bucket
    place = str(folders.local(place, 'type --compiled=DIR').absolute())
  jax.config.update('jax_compilation_cache_dir', place)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)


def with_same_dtypes(function: Callable) -> Callable:
  """A function for another thread, to which JAX's contexts do not reach."""
  config: Any = jax.config  # which is given its options at run time
  x64 = config.jax_enable_x64
  precision = config.jax_default_matmul_precision

  def called(*arguments):
    with jax.enable_x64(x64), jax.default_matmul_precision(precision):
      return function(*arguments)

  return called


def _instructions() -> int:
  """A hash of what this CPU can do; of nothing where that is not told."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    lines = []
  flags = [line for line in lines if line.startswith(('flags', 'Features'))]
  return zlib.crc32(''.join(flags[:1]).encode())
