"""The blocks of docs/python.md, on small networks and in a few steps."""

import pathlib
import re

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import odd_networks
import optax
import pytest
import toynets

import vizjax
from vizjax import features
from vizjax import models
from vizjax import objectives
from vizjax import parameterizations
from vizjax import scales
from vizjax import targets
from vizjax.errors import UserError
from vizjax.generators import codes
from vizjax.photographs import files
from vizjax.photographs import images as images_
from vizjax.programs import deepdream
from vizjax.programs import neural_style

pytestmark = pytest.mark.usefixtures('quickly')

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGE = (ROOT / 'docs' / 'python.md').read_text()
STEPS = 4
SIGMA = 10.0  # Mahendran and Vedaldi's diverges on a small network
FIRST = PAGE[PAGE.index('```python\n') :]
FIRST = FIRST.split('```')[1].removeprefix('python\n')


def methods():
  """Returns the code of every method, by its heading."""
  found = {}
  for part in re.split(r'^### ', PAGE, flags=re.MULTILINE)[1:]:
    blocks = re.findall(r'```python\n(.*?)```', part, re.DOTALL)
    (found[part.split('\n', 1)[0]],) = [b for b in blocks if 'visualize(' in b]
  return found


METHODS = methods()

# The recipe with the method's name, and other values of its knobs here.
RECIPES = {
  'Olah et al. 2017': ('olah2017', {}),
  'Yosinski et al. 2015': ('yosinski2015:3', {}),
  'cnnpref by gradient descent': ('cnnpref:gd_lower', {}),
  'cnnpref by L-BFGS': ('cnnpref:lbfgs_lower', {}),
  'Nguyen et al. 2016': (
    'nguyen2016:own',
    {'prior': 'toynets.prior()', 'bounds': 'BOUNDS'},
  ),
  'Simonyan et al. 2013': ('simonyan2013', {}),
  'CS231n': ('cs231n', {}),
  'cnn-vis': (
    'cnn_vis:own',
    {
      'initial_size': '12x12',
      'final_size': '18x18',
      'num_sizes': 2,
      'tile': 12,
      'units': None,
    },
  ),
  'DeepDream': (
    'deepdream:plain',
    {'photograph': 'A', 'units': None, 'mean': None},
  ),
  'Feature inversion': ('inversion', {'photograph': 'A', 'units': None}),
  'Mahendran and Vedaldi 2015': (
    'mahendran2015:own',
    {'photograph': 'A', 'units': None, 'sigma': SIGMA},
  ),
  'Caricature': ('inversion:caricature', {'photograph': 'A', 'units': None}),
  'Gatys et al. 2016': (
    'gatys2016:own',
    {
      'content': 'A',
      'style': 'B',
      'width': 192,
      'content_layers': 'conv2',
      'style_layers': 'relu1,relu2',
      'units': None,
    },
  ),
}
EXACT = (
  'Olah et al. 2017', 'Yosinski et al. 2015', 'cnnpref by gradient descent',
  'DeepDream',
)  # fmt: skip
QUICK = (
  'Yosinski et al. 2015', 'cnnpref by gradient descent',
  'Mahendran and Vedaldi 2015',
)  # fmt: skip


def photographs():
  """Returns two small photographs."""
  draw = np.random.default_rng(0)
  coarse = draw.uniform(0, 255, (2, 5, 6, 3))
  return [images_.to_uint8(images_.resize(one, (40, 48))) for one in coarse]


def stand_ins():
  """Returns the names that the blocks read."""
  names = {}
  exec(FIRST.split('\nmodel =')[0], names)
  photograph, style = photographs()
  return names | {
    'model': conftest.toy(),
    'layer': 'conv2',
    'units': [1, 2],
    'photograph': photograph,
    'style': style,
    'style_layers': ['relu1', 'relu2'],
    'prior': toynets.prior(),
    'bounds': np.array([3.0, 2.0, 1.0, 2.0, 3.0]),
  }


def executed(name, **others):
  """Returns the images of a block of the page, in a few steps."""
  text = re.sub(
    r'^(steps|sigma) = .*',
    lambda line: f'{line[1]} = {STEPS if line[1] == "steps" else SIGMA}',
    METHODS[name],
    flags=re.MULTILINE,
  )
  assert text.startswith(f'steps = {STEPS}\n'), name
  text = text.replace('vizjax.visualize(', 'visualize(')
  names = stand_ins() | {'visualize': quiet} | others
  if 'codes.' in text:
    exec('from vizjax.generators import codes', names)
  exec(text, names)
  return names['images']


def quiet(*args, **kwargs):
  return vizjax.visualize(*args, quiet=True, **kwargs)


def by_name(name, folder):
  """Returns the images of the recipe that has a method's name."""
  recipe, knobs = RECIPES[name]
  files = {'BOUNDS': folder / 'bounds.txt'}
  np.savetxt(files['BOUNDS'], stand_ins()['bounds'])
  for letter, image in zip('AB', photographs(), strict=True):
    files[letter] = folder / f'{letter}.png'
    images_.write(files[letter], image)
  knobs = {n: str(files[v]) if v in (*files,) else v for n, v in knobs.items()}
  knobs = {'units': [1, 2]} | knobs
  count = 'iterations' if recipe.startswith('gatys') else 'steps'
  knobs[count] = STEPS - (count == 'iterations')
  return quiet(conftest.toy(), 'conv2', recipe=recipe, **knobs)


def check_bits(name, folder):
  """Checks that a block and its recipe give the same arrays, bit for bit."""
  written, named = executed(name), by_name(name, folder)
  assert {*written.arrays} == {*named.arrays} and written.made.all()
  for array in named.arrays:
    np.testing.assert_array_equal(written[array], named[array], array)


def marked(names):
  """Returns parameters, which are slow but for a few representatives."""
  return [*filter(QUICK.__contains__, names)] + conftest.slow(
    *(name for name in names if name not in QUICK)
  )


@pytest.mark.parametrize('name', marked(EXACT))
def test_a_block_has_the_bits_of_its_recipe(name, tmp_path):
  check_bits(name, tmp_path)


@pytest.mark.parametrize('name', marked([n for n in RECIPES if n not in EXACT]))
def test_a_block_has_the_images_of_its_recipe(name, tmp_path):
  """The recipes record more of some methods."""
  written, named = executed(name), by_name(name, tmp_path)
  assert written.made.all() and np.isfinite(written.image).all()
  assert len(written) == len(named)
  # That of Gatys et al. records its three losses: XLA sums them in another
  # order, to the last digit of float32.
  near = 1e-6 if name.startswith('Gatys') else 0
  for array in ('image', 'activation', 'score', 'step'):
    np.testing.assert_allclose(written[array], named[array], near, 0)


def test_every_method_of_the_page_is_tested():
  assert {*METHODS} == {*RECIPES, 'Several photographs'}


def test_several_photographs_are_those_of_one_each():
  """A photograph is worked on as if it were the only one."""
  together = executed('Several photographs')
  assert together.labels == ('sky', 'night')
  assert together.subject == 'photograph' and len(together) == 2
  for row, photograph in enumerate(photographs()):
    alone = executed('Feature inversion', photograph=photograph)
    for name in ('image', 'trace/score', 'activation'):
      np.testing.assert_array_equal(together[name][row], alone[name][0], name)
  assert not np.array_equal(*together.image)


def dream(model, layer):
  return vizjax.Recipe(
    model=model,
    parameterization=parameterizations.pixels(model),
    objective=objectives.dream(layer),
    optimizer=optax.sgd(1.0),
  )


def test_octaves_of_several_arrays_are_a_run_each():
  def dreams(given):
    sizes = deepdream.octaves(2, 1.4, given, size=(20, 24))
    ask = {'recipe': dream, 'scales': sizes, 'steps': 1, 'result': 'next'}
    return quiet(conftest.toy(), 'conv2', **ask)

  together = dreams(photographs())
  assert together.labels == ('photograph 0', 'photograph 1')
  alone = dreams(photographs()[1])
  np.testing.assert_array_equal(together.image[1], alone.image[0])


def test_scales_may_be_a_function_of_the_network():
  photograph, _ = photographs()

  def sizes(model):
    return scales.grown(model, (16, 20), 0.5, 2, photograph=photograph)

  model = conftest.toy()
  ask = {'recipe': dream, 'steps': 2, 'box': False}
  made = quiet(model, 'conv2', scales=sizes, **ask)
  same = quiet(model, 'conv2', scales=sizes(model), **ask)
  assert made.image.shape == (1, 20, 24, 3)
  np.testing.assert_array_equal(made.image, same.image)


@pytest.mark.parametrize('channels', [1, *conftest.slow(5)])
def test_photographs_are_for_networks_of_other_channels(channels):
  """Grey of a photograph; of other numbers, arrays of as many channels."""
  model = odd_networks.grey(channels)
  photograph, _ = photographs()
  if channels == 5:
    photograph = np.concatenate([photograph, photograph[..., :2]], -1)
  sizes = deepdream.octaves(2, 1.4, photograph, size=(20, 24))
  dreams = quiet(
    model, 'conv2', recipe=dream, scales=sizes, steps=1, result='next'
  )
  assert dreams.image.shape == (1, 20, 24, channels)
  content = features.activations(model, 'conv2', photograph)
  assert content((12, 12, channels), 0)['conv2'].shape == (6, 6, 6)
  if channels == 1:
    luma = images_.channels(photograph, 1)
    same = features.activations(model, 'conv2', luma)
    for found in (same, features.activations(model, 'conv2', luma[..., 0])):
      np.testing.assert_array_equal(
        found((12, 12, 1), 0)['conv2'], content((12, 12, 1), 0)['conv2']
      )


def test_arrays_are_photographs_wherever_files_are(tmp_path):
  net, prior = conftest.toy(), toynets.prior()
  model = models.cut(net, ('relu2',))
  arrays = photographs()
  paths = [str(tmp_path / name) for name in ('a.png', 'b.png')]
  for path, image in zip(paths, arrays, strict=True):
    images_.write(path, image)
  shape = (12, 12, 3)
  makers = (
    lambda a, b: features.activations(model, 'conv2', a),
    lambda a, b: features.grams(model, ['relu1', 'relu2'], [a, b], (1, 0.5)),
    lambda a, b: features.blend([a, b], [3, 1]),
    lambda a, b: deepdream.features(model, 'conv2', a),
    lambda a, b: targets.photograph(a),
    lambda a, b: neural_style.initial_image(model, a, b, 0.5),
    lambda a, b: codes.encoded(net, 'fc3', a, prior),
  )
  for maker in makers:
    made = [maker(*given)(shape, 0) for given in (arrays, paths)]
    made.append(maker(*map(jnp.asarray, arrays))(shape, 0))
    for other in made[1:]:
      jax.tree.map(np.testing.assert_array_equal, made[0], other)
  sizes = (
    lambda a: scales.grown(model, 0.5, (20, 24), 2, photograph=a),
    lambda a: deepdream.octaves(2, 1.4, a),
    lambda a: neural_style.style_sizes(a, width=20),
  )
  for of in sizes:
    assert of(arrays).sizes == of(','.join(paths)).sizes == of(paths).sizes
  for found in (files.read(arrays), files.read(np.stack(arrays))):
    for one, path in zip(found, files.read(paths), strict=True):
      np.testing.assert_array_equal(one.image, path.image)
  assert [one.name for one in files.read([arrays[0], paths[1]])] == [
    'photograph 0',
    'b',
  ]


def test_bounds_are_an_array_or_a_number():
  prior = toynets.prior()
  bounds = np.arange(5.0)
  np.testing.assert_array_equal(codes.bound(bounds, prior), bounds)
  with pytest.raises(UserError, match='bounds are .4,., but .* has 5 numbers'):
    codes.bound(bounds[1:], prior)


def test_a_sweep_of_another_array_is_refused(tmp_path):
  photograph, other = photographs()
  ask = {'recipe': dream, 'workdir': tmp_path / 'w', 'steps': 1, 'quiet': True}

  def sweep(image):
    sizes = scales.grown(conftest.toy(), 1.0, None, 1, photograph=image)
    return vizjax.sweep(conftest.toy(), 'conv2', scales=sizes, **ask)

  sweep(photograph)
  sweep(photograph)
  with pytest.raises(UserError, match="digest 'data'"):
    sweep(other)


def listing(model, layer):
  made = dream(model, layer)
  maker = features.activations(model, layer, photographs()[0])
  return vizjax.Method(made, data={'content': [maker, maker]})


BAD = {
  'no names': ({'recipe': listing}, r"'content': .*for 2 .*each=\('sky', 'l"),
  'other names': (
    {'recipe': listing, 'each': ['sky']},
    'each= are for 2 and 1 images',
  ),
  'names that are a text': ({'recipe': listing, 'each': 'ab'}, 'tuple of nam'),
  'sizes as a formula': (
    {'recipe': dream, 'scales': 'grown(model)'},
    "scales= is 'grown.*type scales=vizjax.scales.grown",
  ),
  'two sizes': (
    {
      'recipe': dream,
      'shape': (9, 9),
      'scales': lambda model: scales.grown(model, 1.0, None, 1),
    },
    'shape= is .9, 9., and scales= is given: expected one of them',
  ),
}


@pytest.mark.usefixtures('as_installed')
@pytest.mark.parametrize('name', BAD)
def test_a_wrong_argument_is_one_sentence(name):
  knobs, words = BAD[name]
  with pytest.raises(UserError, match=words):
    quiet(conftest.toy(), 'conv2', steps=1, **knobs)


@pytest.mark.parametrize(
  'photograph, words',
  [
    (
      np.zeros((4, 3)) + 300,
      'from 300 to 300, expected 0 to 255: type np.clip',
    ),
    (np.full((4, 4, 3), 0.5), 'from 0.5 to 0.5.*type 255 . photograph'),
    (np.full((4, 4, 3), np.nan), 'from nan to nan, expected 0 to 255'),
    (np.full((4, 4, 3), 'a'), r'a photograph is <U1 \(4, 4, 3\)'),
    (np.zeros(3), r'a photograph is float64 \(3,\), expected .*h, w, c'),
    (np.zeros((4, 4, 4)), r'\(4, 4, 4\), expected .h, w, 3., RGB'),
    (np.zeros((2, 4, 4, 3)), '2 photographs are given, expected one'),
    ([], 'list of photographs is empty'),
    (None, 'expected a photograph: type'),
  ],
)
def test_an_array_that_is_no_photograph_is_refused(photograph, words):
  with pytest.raises(UserError, match=words):
    features.activations(conftest.toy(), 'conv2', photograph)
