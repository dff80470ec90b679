"""Measures how fast steps are, and writes tables of it.

  vizjax benchmark                     # the suite of the device
  vizjax benchmark --suite=peers       # beside PyTorch
  ... --out=docs/performance.json                     # and the numbers

Everything is measured in one run, the product of two matrices first. Close
other programs: only ratios of one run mean something. A table is printed, and
the file written, as soon as it is made.

  cpu, gpu   steps of AlexNet, VGG-16 and GoogLeNet at batches of 1, 16 and the
             fastest; lucid200: 128 steps of 32 images as lucid makes them
  peers      the same steps by PyTorch, and a loop over units as lucent's
  store      100,000 small units through the store, in a temporary directory
  toy        two cases, in seconds
"""

import json
import pathlib
import platform

from absl import flags
import jax

from vizjax import files
from vizjax.benchmark import measure
from vizjax.benchmark import peers
from vizjax.benchmark import store
from vizjax.benchmark import workloads
from vizjax.cli import launch
from vizjax.errors import UserError
from vizjax.sweeps import provenance


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_enum(
    'suite',
    None,
    ['cpu', 'gpu', 'peers', 'store', 'toy'],
    'What is measured; cpu or gpu, as the device is, unless given.',
  )
  flags.DEFINE_string('out', None, 'A .json file for the numbers.')


def main() -> None:
  """Prints the tables, and writes the file."""
  f = flags.FLAGS
  out = f.out and pathlib.Path(f.out)
  if out and out.suffix != '.json':
    raise UserError(f'--out is {str(out)!r}, expected a .json file')
  suite = f.suite
  if suite is None:
    suite = 'cpu' if jax.default_backend() == 'cpu' else 'gpu'
  found = {
    'suite': suite,
    'versions': provenance.versions(),
    'machine': f'{platform.machine()}, {jax.device_count()} x '
    f'{jax.devices()[0].device_kind}',
    'tables': [],
  }
  print(f'{found["machine"]}, JAX {jax.__version__}', flush=True)
  match suite:
    case 'peers':
      tables = peers.tables()
    case 'store':
      tables = store.tables()
    case _:
      tables = workloads.tables(suite)
  for table in tables:
    print(f'\n{measure.markdown(table)}', flush=True)
    found['tables'].append(table._asdict())
    if out:
      with files.replacing(out) as partial:
        partial.write_text(json.dumps(found, indent=2) + '\n')


def start() -> None:
  """Runs the command."""
  launch.run(main, define=define)
