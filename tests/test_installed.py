"""The source distribution, the wheel made of it, and its commands."""

import configparser
import importlib.util
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = ('configs', 'docs', 'experiments', 'tests', 'vizjax')

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(
    importlib.util.find_spec('setuptools') is None,
    reason='NO TEST OF THE WHEEL: type pip install "setuptools>=77"',
  ),
]


def python(*arguments, folder, **environment):
  """Runs Python, and returns what it prints."""
  done = subprocess.run(
    [sys.executable, *map(str, arguments)],
    cwd=folder,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu', **environment},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def files(folder):
  """The paths of the files in a folder, but for those that Python makes."""
  return {
    str(path.relative_to(folder))
    for path in folder.rglob('*')
    if path.is_file() and path.suffix != '.pyc'
  }


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  """The source distribution, unpacked; made of a copy of the repository."""
  folder = tmp_path_factory.mktemp('source')
  for name in FOLDERS:
    ignored = shutil.ignore_patterns('__pycache__')
    shutil.copytree(ROOT / name, folder / 'copy' / name, ignore=ignored)
  shutil.copytree(ROOT / '.ci', folder / 'copy' / '.ci')
  for path in (*ROOT.glob('*.*'), ROOT / 'LICENSE', ROOT / 'Makefile'):
    if path.is_file():
      shutil.copy(path, folder / 'copy')
  command = ('setup.py', '-q', 'sdist', '--dist-dir', folder / 'dist')
  python(*command, folder=folder / 'copy')
  (archive,) = (folder / 'dist').iterdir()
  with tarfile.open(archive) as tar:
    tar.extractall(folder, filter='data')
  (unpacked,) = folder.glob('vizjax-*')
  return unpacked


@pytest.fixture(scope='module')
def installed(source, tmp_path_factory):
  """A folder with the content of a wheel, made of the source distribution.

  An older setuptools than 70 makes no wheel without the package `wheel`; the
  same files are then copied by its command `build`.
  """
  folder = tmp_path_factory.mktemp('installed')
  wheels = ('setuptools.command.bdist_wheel', 'wheel')
  if any(map(importlib.util.find_spec, wheels)):
    code = 'import sys; from setuptools import build_meta; '
    code += 'build_meta.build_wheel(sys.argv[1])'
    python('-c', code, folder / 'dist', folder=source)
    (wheel,) = (folder / 'dist').glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
      archive.extractall(folder / 'lib')
  else:
    out = ('--build-base', folder / 'base', '--build-lib', folder / 'lib')
    python('setup.py', '-q', 'build', *out, folder=source)
    about = ('egg_info', '--egg-base', folder / 'lib')
    python('setup.py', '-q', *about, folder=source)
  return folder / 'lib'


def test_the_source_distribution_holds_what_its_tests_read(source):
  for name in FOLDERS:
    assert files(ROOT / name) == files(source / name)
  for name in ('Makefile', 'requirements.txt', 'README.md', '.ci/run'):
    assert (source / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_wheel_holds_the_package_the_recipes_and_nothing_else(installed):
  made = files(installed / 'vizjax')
  recipes = {f'configs/{name}' for name in files(ROOT / 'configs')}
  assert made == files(ROOT / 'vizjax') | recipes
  assert {'cli/run.py', 'models/labels/imagenet.txt'} <= made
  packages = {path.name for path in installed.iterdir()} - {'vizjax'}
  assert all(name.startswith('vizjax') and '-info' in name for name in packages)
  (about,) = installed.glob('*-info/entry_points.txt')
  parser = configparser.ConfigParser()
  parser.read(about)
  assert dict(parser['console_scripts']) == {'vizjax': 'vizjax.__main__:main'}


def test_an_installed_user_sweeps_looks_and_exports(installed, tmp_path):
  def vizjax(*arguments):
    path = {'PYTHONPATH': str(installed)}
    return python('-m', 'vizjax', *arguments, folder=tmp_path, **path)

  knobs = ('--config.units=0:4', '--config.steps=2')
  said = vizjax('run', '--config=demo', *knobs, '--workdir=out')
  assert said.splitlines()[:2] == [
    'results: out (4 images)',
    'next: vizjax atlas --workdir=out',
  ]
  said = vizjax('atlas', '--workdir=out').splitlines()[-1]
  assert said == 'out/atlas/index.html' and (tmp_path / said).is_file()
  said = vizjax('export', '--workdir=out', '--format=png')
  assert said == 'out/export/png: 4 files of 4 images\n'
  assert len([*(tmp_path / 'out/export/png').glob('*.png')]) == 4
  # The command that the site shows makes an image again.
  site = json.loads((tmp_path / 'out/atlas/data.json').read_text())
  (layer,) = site['layers']
  command, *typed = shlex.split(layer['command'] + '0')
  assert command == 'vizjax'
  assert '1 images of 180x180' in vizjax(*typed, '--dry_run')
