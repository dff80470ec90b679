"""Which module may import what, and what every module must have."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / 'vizjax'
MODULES = sorted(
  str(path.relative_to(PACKAGE.parent)) for path in PACKAGE.rglob('*.py')
)

VERBS = (
  'objectives',
  'parameterizations',
  'transforms',
  'projections',
  'optimizers',
)

# Files, clocks and the like are touched here and nowhere else.
WORLD = {'os', 'time', 'logging', 'shutil', 'pathlib', 'subprocess', 'random'}
MAY_TOUCH_IT = {
  'vizjax/models/adapters.py',
  'vizjax/models/packaged.py',
  'vizjax/models/files.py',
  'vizjax/models/caffe.py',
  'vizjax/atlas.py',
  'vizjax/atlas_layers.py',
  'vizjax/batches.py',
  'vizjax/benchmark.py',
  'vizjax/benchmark_peers.py',
  'vizjax/benchmark_store.py',
  'vizjax/codes.py',
  'vizjax/compilation.py',
  'vizjax/export.py',
  'vizjax/export_cnnpref.py',
  'vizjax/export_photographs.py',
  'vizjax/export_pictures.py',
  'vizjax/export_plots.py',
  'vizjax/export_synthesizing.py',
  'vizjax/export_toolbox.py',
  'vizjax/datasets.py',
  'vizjax/decoding.py',
  'vizjax/generators.py',
  'vizjax/hosts.py',
  'vizjax/images.py',
  'vizjax/models/archives.py',
  'vizjax/models/confined.py',
  'vizjax/models/download.py',
  'vizjax/models/hdf5.py',
  'vizjax/models/labels.py',
  'vizjax/models/lpips.py',
  'vizjax/models/published.py',
  'vizjax/models/zoo.py',
  'vizjax/photographs.py',
  'vizjax/places.py',
  'vizjax/planner.py',
  'vizjax/store.py',
  'vizjax/targets.py',
  'vizjax/training/runs.py',
  'vizjax/watching.py',
}


def tree(name):
  return ast.parse((PACKAGE.parent / name).read_text())


def imports(name):
  """Every module that a file imports, as a dotted name."""
  found = set()
  for node in ast.walk(tree(name)):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
      found |= {f'{node.module}.{alias.name}' for alias in node.names}
  return found


def siblings(name):
  return {i for i in imports(name) if i.split('.')[0] == 'vizjax'}


def test_core_imports_no_sibling():
  assert not siblings('vizjax/core.py')


@pytest.mark.parametrize('verb', VERBS)
def test_a_verb_imports_only_core(verb):
  assert siblings(f'vizjax/{verb}.py') <= {'vizjax.core', 'vizjax.reading'}
  assert siblings('vizjax/reading.py') == {'vizjax.core'}


@pytest.mark.parametrize('name', MODULES)
def test_nothing_but_the_named_modules_touches_the_world(name):
  touched = {i.split('.')[0] for i in imports(name)} & WORLD
  assert not touched or name in MAY_TOUCH_IT
  drawn = {
    ast.unparse(node)
    for node in ast.walk(tree(name))
    if isinstance(node, ast.Attribute)
    and ast.unparse(node).startswith('np.random')
  }
  # Starts as the programs draw them.
  legacy = (
    'benchmark', 'benchmark_store', 'codes', 'cnn_vis_images', 'neural_style',
    'targets',
  )  # fmt: skip
  assert not drawn or pathlib.Path(name).stem in legacy


@pytest.mark.parametrize('name', MODULES)
def test_every_public_name_is_documented(name):
  module = tree(name)
  assert ast.get_docstring(module)
  for node in module.body:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
      assert node.name.startswith('_') or ast.get_docstring(node), node.name
