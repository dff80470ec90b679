"""What is imported and run where a platform lacks what Linux has."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import test_launchers

from vizjax import __main__ as command
from vizjax.models.download import transfer

h5py = pytest.importorskip('h5py')

MODULES = sorted(
  '.'.join(path.relative_to(test_launchers.ROOT).with_suffix('').parts)
  for path in (test_launchers.ROOT / 'vizjax').rglob('*.py')
  if path.stem not in ('__init__', '__main__')
)

# Other packages are imported first: they know the platform that they are on.
LACKING = """
import importlib
import os
import signal
import sys

modules = {modules!r}
for name in modules:
  importlib.import_module(name)
for name in [n for n in sys.modules if n.split('.')[0] == 'vizjax']:
  del sys.modules[name]
for name in ('fcntl', 'resource', 'pwd', 'grp', 'termios', 'posix'):
  sys.modules[name] = None
for name in ('SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'setitimer', 'alarm'):
  delattr(signal, name)
for name in ('link', 'setsid', 'fork', 'sched_getaffinity', 'getuid', 'umask'):
  delattr(os, name)
for name in modules:
  importlib.import_module(name)
from vizjax import __main__
from vizjax.cli import launch
assert [s.name for s in launch._STOPS] == ['SIGINT', 'SIGTERM']
with launch.patient() as stop:
  stop()
sys.argv = ['vizjax', 'weights', 'list']
__main__.main()
"""


def test_everything_is_imported_without_what_windows_and_macos_lack():
  run = test_launchers.start('-c', LACKING.format(modules=MODULES))
  code, out, err = test_launchers.finish(run)
  assert code == 0, err
  assert 'bvlc_googlenet' in out


def test_an_interruption_that_python_drops_is_raised_without_timers():
  program = (
    'import signal, time\n'
    'from vizjax.cli import launch\n'
    'del signal.SIGALRM\n'
    'class Last:\n'
    '  def __del__(self): signal.raise_signal(signal.SIGINT)\n'
    'def main():\n'
    '  Last()\n'
    '  for _ in range(600): time.sleep(0.1)\n'
    'launch.run(main, anew=True)\n'
  )
  code, _, err = test_launchers.finish(test_launchers.start('-c', program))
  assert (code, err) == (130, 'interrupted: the same command starts anew\n')


def test_a_file_is_fetched_where_files_cannot_be_locked(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'fcntl', None)
  with transfer._alone(tmp_path / 'file') as stream:
    stream.write(b'content')
  assert (tmp_path / 'file').read_bytes() == b'content'


def test_hdf5_is_read_where_a_process_has_no_limits(tmp_path):
  with h5py.File(tmp_path / 'a.h5', 'w') as file:
    layer = file.create_group('conv1')
    layer.attrs['weight_names'] = [b'conv1/kernel:0']
    layer.create_dataset('conv1/kernel:0', data=np.arange(3, dtype='f4'))
    file.attrs['layer_names'] = [b'conv1']
  request = {'path': str(tmp_path / 'a.h5'), 'size': 2**20, 'bound': 2**20}
  done = subprocess.run(
    [
      sys.executable,
      '-c',
      "import sys; sys.modules['resource'] = None\n"
      'from vizjax.models.formats import hdf5; hdf5.serve()',
    ],
    input=json.dumps({**request, 'memory': 2**30, 'seconds': 5}).encode(),
    env={**os.environ, 'PYTHONPATH': str(test_launchers.ROOT)},
    capture_output=True,
    check=True,
  )
  array, _, last = done.stdout.rpartition(b'{"error": ')
  assert array.endswith(np.arange(3, dtype='f4').tobytes())
  assert last.startswith(b'""')


OPENED = """
import sys

opened = []
sys.addaudithook(
  lambda event, given: event == 'open' and opened.append((given[0], given[2]))
)
import vizjax
assert not [name for name in sys.modules if name.startswith('jax')]
alone = [*opened]
for name in vizjax.__all__:
  getattr(vizjax, name)
import json
print(json.dumps([
  [[str(path) for path, flags in paths] for paths in (alone, opened)],
  [str(path) for path, flags in opened if (flags or 0) & 3],
]))
"""


def read(paths):
  """The files among paths that are no modules of Python."""
  return [
    path
    for path in map(pathlib.Path, paths)
    if path.suffix not in ('.py', '.pyc', '.so', '.zip', '.pth')
  ]


def test_an_import_reads_modules_and_nothing_else():
  run = test_launchers.start('-B', '-c', OPENED)
  code, out, err = test_launchers.finish(run)
  assert code == 0, err
  (alone, everything), written = json.loads(out)
  assert alone and not read(alone)
  # JAX looks for devices, and for plugins among the installed packages.
  others = [
    path
    for path in read(everything)
    if path.parts[1] not in ('sys', 'proc')
    and not path.parent.name.endswith(('.dist-info', '.egg-info'))
  ]
  assert not others and not written


def test_every_subcommand_is_a_module():
  assert {f'vizjax.cli.{name}' for name in command.COMMANDS} <= {*MODULES}
