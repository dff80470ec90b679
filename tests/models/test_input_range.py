"""Networks on other images than RGB of 0-255: of another range, or grey."""

import jax
import jax.numpy as jnp
import numpy as np
import odd_networks
import optax
from PIL import Image
import pytest

from vizjax import build
from vizjax import core
from vizjax import objectives
from vizjax import parameterizations
from vizjax import projections
from vizjax import targets
from vizjax import transforms
from vizjax.atlas import site as site_
from vizjax.errors import UserError
from vizjax.examples import search
from vizjax.export import pictures as pictures_
from vizjax.export import selecting
from vizjax.photographs import images
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

LEVELS = 2e-3  # grey levels: float32 has seven digits, some steps cost three


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Three photographs."""
  folder = tmp_path_factory.mktemp('photographs')
  draw = np.random.RandomState(0)
  for name in ('a', 'b', 'c'):
    pixels = draw.randint(0, 256, (16, 20, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f'{name}.png')
  return folder


def config(model, **fields):
  c = build.config()
  c.model = f'odd_networks.{model}'
  c.layer, c.units, c.steps, c.batch = 'conv2', '0:3', 5, 2
  c.parameterization = 'pixels(model, 20.)'
  c.transforms = 'pad(2) | rotate(20.) | jitter(4)'
  c.objective = 'channel(layer) - 1e-4 * l2()'
  c.optimizer = 'sgd(500.)'
  c.projections = 'l2_decay(.01) | clip_pixels(model)'
  with c.unlocked():
    c.update(fields)
  return c


def made(config, workdir):
  """The workdir of a configuration, its images and its activations."""
  sweep.execute(sweep.plan(build.request(config)), str(workdir))
  kept = store.open_(store.directory(str(workdir), 'conv2'))
  return store.read(kept, 'image'), store.read(kept, 'activation')


def pictures(workdir, out):
  """Every PNG of a workdir: exported ones, a montage, and those of the site."""
  site_.write(str(workdir))
  selection = selecting.select(str(workdir))
  exported = [*pictures_.png(selection, out, stretch=False)]
  exported += pictures_.montage(
    selection, out / 'm', stretch=False, columns=None, tile=None
  )
  site = sorted(workdir.rglob('*.png'))
  assert exported and site
  return {
    path.relative_to(root): np.asarray(Image.open(path).convert('RGB'), float)
    for root, paths in ((out, exported), (workdir, site))
    for path in paths
  }


@pytest.mark.slow
@pytest.mark.parametrize('low, high', [(0.0, 1.0), (-1.0, 1.0)])
def test_a_network_of_any_range_gives_the_images_of_its_twin(
  low, high, folder, tmp_path
):
  start = f'photograph({str(folder / "a.png")!r})'
  found = {}
  for name, of in (('twin', ''), ('own', f'{low}, {high}')):
    here = config(f'ranged({of})', start=start)
    workdir = tmp_path / name / 'w'
    image, activation = made(here, workdir)
    plan = search.plan(str(workdir), str(folder), trust=True, k=2)
    search.search(plan, batch=2)
    seen = search.read(str(workdir), 'conv2').value
    shown = pictures(workdir, tmp_path / name / 'out')
    found[name] = image, activation, seen, shown
  twin, own = found['twin'], found['own']
  assert own[0].std() > 30
  np.testing.assert_allclose(own[0], twin[0], atol=LEVELS)
  np.testing.assert_allclose(own[1], twin[1], rtol=1e-4)
  np.testing.assert_allclose(own[2], twin[2], rtol=1e-4)
  assert own[3].keys() == twin[3].keys()
  for path, picture in own[3].items():
    np.testing.assert_allclose(picture, twin[3][path], atol=1, err_msg=path)
    assert picture.max() > 100, path


@pytest.mark.parametrize(
  'form, low, high',
  [
    pytest.param('fourier', 0.0, 1.0, marks=pytest.mark.slow),
    ('pixels', -1.0, 1.0),
  ],
)
def test_from_python_the_image_is_in_the_range_of_the_model(form, low, high):
  def image(model):
    width = (model.range[1] - model.range[0]) / 255
    fourier = form == 'fourier'
    factory = getattr(parameterizations, form)
    recipe = core.Recipe(
      model=model,
      parameterization=factory(model),
      objective=objectives.channel('conv2'),
      # The params of pixels have the unit of the image.
      optimizer=optax.sgd(3.0 if fourier else 500.0 * width**2),
      transforms=tuple(
        getattr(transforms, name)(*numbers)
        for name, *numbers in (('pad', 2), ('rotate', 20.0), ('crop', 12, 12))
      ),
      projections=() if fourier else (projections.clip_pixels(model),),
    )
    target = {'unit': core.Unit(*jnp.array([1, 2, 2]))}
    key = jax.random.key(0)
    state = core.init(recipe, target, key)
    state, trace = core.optimize(recipe, state, target, key, steps=5)
    assert trace['score'][-1] > trace['score'][0]
    made = recipe.parameterization.render(state.params)
    assert model.range[0] - 1e-4 <= made.min() < made.max()
    assert made.max() <= model.range[1] + 1e-4
    return (np.asarray(made, np.float64) - model.range[0]) / width

  expected = image(odd_networks.ranged())
  assert expected.std() > 5
  made = image(odd_networks.ranged(low, high))
  np.testing.assert_allclose(made, expected, atol=LEVELS)


def test_the_same_network_in_grey_levels_gives_the_same():
  model = odd_networks.ranged(-1.0, 1.0)
  image = np.random.RandomState(0).uniform(0, 255, (12, 12, 3))
  own = model(jnp.asarray(image / 127.5 - 1, jnp.float32))
  twin = core.in_grey_levels(model)
  assert twin.range == (0, 255)
  grey = twin(jnp.asarray(image, jnp.float32))
  for name in own:
    np.testing.assert_allclose(grey[name], own[name], rtol=1e-4, atol=1e-4)
  assert core.in_grey_levels(twin) is twin


def test_a_photograph_is_grey_for_a_network_of_one_channel(folder):
  path = str(folder / 'a.png')
  grey = np.asarray(Image.open(path).convert('L'), np.float32)
  np.testing.assert_array_equal(
    images.channels(images.read(path), 1)[..., 0], grey
  )
  start = targets.photograph(path)((16, 20, 1), 0)
  np.testing.assert_array_equal(start[..., 0], grey)
  with pytest.raises(UserError, match='but the network takes 5'):
    targets.photograph(path)((16, 20, 5), 0)


@pytest.mark.parametrize(
  'channels', [1, pytest.param(5, marks=pytest.mark.slow)]
)
def test_networks_of_other_channels_are_run(channels, folder, tmp_path):
  workdir = tmp_path / 'w'
  free = {'parameterization': 'fourier(model)', 'projections': ''}
  image, _ = made(config(f'grey({channels})', **free), workdir)
  assert image.shape[-1] == channels
  assert np.isfinite(image).all() and image.std() > 0.1
  if channels != 1:
    with pytest.raises(UserError, match='expected 3 channels .* or 1'):
      search.plan(str(workdir), str(folder), trust=True)
    return
  how = 'warp:12:bilinear'
  plan = search.plan(str(workdir), str(folder), trust=True, k=3, preprocess=how)
  search.search(plan, batch=2)
  found = search.read(str(workdir), 'conv2')
  photograph = Image.open(folder / 'a.png').resize((12, 12), 2)  # bilinear
  pixels = np.asarray(photograph.convert('L'), np.float32)[..., None]
  acts = odd_networks.grey()(jnp.asarray(pixels))
  most = np.asarray(acts['conv2']).max((0, 1))
  column = [row.index('a.png') for row in found.ids]
  values = found.value[np.arange(6), column]
  np.testing.assert_allclose(values, most, rtol=1e-4, atol=1e-4)
