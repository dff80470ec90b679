"""The house: which package may import which, and what each has to have."""

import ast
import fnmatch
import graphlib
import pathlib

import pytest

import vizjax

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / 'vizjax'
MODULES = sorted(str(path.relative_to(ROOT)) for path in PACKAGE.rglob('*.py'))
PACKAGES = sorted(
  str(path.parent.relative_to(ROOT))
  for path in PACKAGE.rglob('__init__.py')
  if path.parent != PACKAGE
)

# From the top down: a package imports packages of lower floors alone.
FLOORS = (
  ('__main__',),
  ('cli',),
  ('front',),
  ('atlas', 'benchmark', 'export', 'training'),
  ('examples',),
  ('sweeps',),
  ('build',),
  ('generators', 'programs'),
  ('features',),
  ('scales', 'targets'),
  ('models',),
  ('photographs', 'workdir'),
  ('optimizers',),
  ('metrics', 'objectives'),
  ('parameterizations', 'projections', 'transforms'),
  ('reading',),
  ('formula',),
  ('core', 'files', 'listing', 'progress', 'recipes'),
  ('errors',),
)
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names}

# Files, clocks and the like are touched here and nowhere else.
WORLD = {'os', 'time', 'logging', 'shutil', 'pathlib', 'subprocess', 'random'}
MAY_TOUCH_IT = {
  'vizjax.__main__',
  'vizjax.atlas',
  'vizjax.benchmark',
  'vizjax.cli',
  'vizjax.errors',
  'vizjax.export',
  'vizjax.files',
  'vizjax.front',
  'vizjax.generators',
  'vizjax.models',
  'vizjax.photographs',
  'vizjax.recipes',
  'vizjax.sweeps',
  'vizjax.targets',
  'vizjax.training',
  'vizjax.workdir',
}

# A ConfigDict is what commands change and what formulas are read from. Other
# modules read the config of a workdir, which is a plain mapping.
MAY_HOLD_A_CONFIG_DICT = (
  'vizjax/benchmark/store.py',
  'vizjax/build/',
  'vizjax/cli/',
  'vizjax/front/',
  'vizjax/recipes.py',
  'vizjax/training/',
)


def tree(name):
  return ast.parse((ROOT / name).read_text())


def imports(name, runs=True):
  """Every module that a file imports when it runs, as a dotted name."""
  found = set()
  whole = tree(name)
  for node in ast.walk(whole) if runs else ():
    if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
      node.body = []
  for node in ast.walk(whole):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
      found |= {f'{node.module}.{alias.name}' for alias in node.names}
  return found


def room(name):
  """The package, or the module of the root, that a file belongs to."""
  return pathlib.Path(name).with_suffix('').parts[1]


@pytest.mark.parametrize('name', MODULES)
def test_imports_run_downward(name):
  if name == 'vizjax/__init__.py':
    return
  used = {i.split('.')[1] for i in imports(name) if i.startswith('vizjax.')}
  upward = {
    other for other in used - {room(name)} if FLOOR[other] <= FLOOR[room(name)]
  }
  assert not upward


def test_imports_form_no_circle():
  """Between files, those within functions too."""
  files = {
    name.removesuffix('.py').removesuffix('/__init__').replace('/', '.'): name
    for name in MODULES
  }
  graph = {}
  for name in MODULES:
    # A name that is no module is one of the package it is imported from.
    used = {i if i in files else i.rpartition('.')[0] for i in imports(name)}
    graph[name] = {files[module] for module in used if module in files}
  assert len([*graphlib.TopologicalSorter(graph).static_order()]) == len(files)


@pytest.mark.parametrize('name', MODULES)
def test_nothing_but_the_named_packages_touches_the_world(name):
  touched = {i.split('.')[0] for i in imports(name)} & WORLD
  assert not touched or f'vizjax.{room(name)}' in MAY_TOUCH_IT
  drawn = {
    ast.unparse(node)
    for node in ast.walk(tree(name))
    if isinstance(node, ast.Attribute)
    and ast.unparse(node).startswith('np.random')
  }
  # Starts as the programs draw them.
  legacy = ('benchmark', 'generators', 'programs', 'targets')
  assert not drawn or room(name) in legacy


@pytest.mark.parametrize('name', MODULES)
def test_a_config_dict_is_held_by_the_named_modules_alone(name):
  held = {i for i in imports(name) if i.split('.')[0] == 'ml_collections'}
  assert not held or name.startswith(MAY_HOLD_A_CONFIG_DICT)


@pytest.mark.parametrize('name', MODULES)
def test_every_public_name_is_documented(name):
  module = tree(name)
  assert ast.get_docstring(module)
  for node in module.body:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
      assert node.name.startswith('_') or ast.get_docstring(node), node.name


@pytest.mark.parametrize('name', PACKAGES)
def test_a_package_has_a_manual_that_names_its_modules(name):
  folder, path = ROOT / name, f'{name}/__init__.py'
  manual = ast.get_docstring(tree(path))
  named = {line.split()[0] for line in manual.splitlines()[1:] if line.strip()}
  rooms = {p.stem for p in folder.glob('[!_]*.py')} | {
    p.parent.name for p in folder.glob('*/__init__.py')
  }
  assert rooms <= named, rooms - named
  assert len(rooms) <= 15
  assert len((ROOT / path).read_text().splitlines()) < 40


def test_the_names_at_the_door_are_the_ones_that_type_checkers_see():
  homes = {
    name.rpartition('.')[2]: name.rpartition('.')[0].removeprefix('vizjax.')
    for name in imports('vizjax/__init__.py', runs=False)
    if name.startswith('vizjax.')
  }
  assert homes | vizjax._HOMES == homes
  assert sorted(homes) == sorted(vizjax.__all__)
  for name in vizjax.__all__:
    assert getattr(vizjax, name) is not None
  assert {*vizjax.__all__} <= {*dir(vizjax)}
  with pytest.raises(AttributeError, match="'vizjax' has no attribute 'lode'"):
    vizjax.lode  # noqa: B018


def test_every_file_of_tests_is_collected(request):
  """pytest passes over folders of some names, such as build."""
  left_out = request.config.getini('norecursedirs')
  folders = {path.parent.name for path in (ROOT / 'tests').rglob('test_*.py')}
  assert not [f for f in folders for p in left_out if fnmatch.fnmatch(f, p)]


def test_the_door_has_few_rooms():
  assert len([*PACKAGE.glob('[!_]*.py')]) <= 16
