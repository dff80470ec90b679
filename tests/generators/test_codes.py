"""Codes of generators: starts, bounds, and what does not fit."""

import pathlib

import conftest
import jax.numpy as jnp
import numpy as np
import pytest
import toynets

import toyplans

from vizjax import build
from vizjax import core
from vizjax import parameterizations
from vizjax.build import assemble
from vizjax.errors import UserError
from vizjax.generators import codes
from vizjax.models.download import catalogue
from vizjax.photographs import images
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

SYNTHESIZING = (
  pathlib.Path(__file__).parents[3] / 'shared/fixtures/synthesizing'
)


def of_shape(*shape):
  """A network of which only the shape of the input is known."""
  return core.Model({}, jnp.zeros(shape[2]), lambda p, x: {}, shape)


@pytest.fixture
def photograph(tmp_path):
  pixels = np.random.RandomState(0).uniform(0, 255, (31, 17, 3))
  path = str(tmp_path / 'a.png')
  images.write(path, pixels)
  return path


def config(**knobs):
  c = assemble.config()
  c.model, c.layer, c.units = 'toynets.net()', 'conv2', '0:4'
  c.prior = 'toynets.prior()'
  c.parameterization = 'generator(prior, model)'
  c.data = 'code = legacy_code(prior)'
  c.optimizer = 'normalize_by_mean_abs() | heavy_ball(0.3)'
  c.box = False
  c.steps, c.batch = 6, 4
  c.update(knobs)
  return c


def made(path, **knobs):
  c = config(**knobs)
  sweep.execute(sweep.plan(build.request(c)), str(path))
  kept = store.open_(path / 'conv2')
  return {name: store.read(kept, name) for name in kept.arrays}


def refused(message, error=ValueError, **knobs):
  with pytest.raises(error, match=message):
    sweep.plan(build.request(config(**knobs)))


# Starts.


def test_the_start_of_nguyen_is_numpys():
  # What act_max.py has for seed 0: four numbers and, of all, the norm, the
  # mean and the deviation.
  code = codes.legacy_code(of_shape(1, 1, 4096))((9, 9, 3), 0)
  np.testing.assert_allclose(
    code[:4], [1.76405235, 0.40015721, 0.97873798, 2.2408932], atol=5e-9
  )
  assert np.linalg.norm(code) == pytest.approx(62.94834053, abs=5e-9)
  assert code.mean() == pytest.approx(-0.02662872, abs=5e-9)
  assert code.std() == pytest.approx(0.98320729, abs=5e-9)


def test_the_start_of_cnnpref_is_rectified_and_ten_times_that():
  plain = codes.legacy_code(of_shape(2, 3, 4))((), 7)
  code = codes.legacy_code(of_shape(2, 3, 4), 10, rectified=True)((), 7)
  expected = 10 * np.maximum(plain.astype(np.float32), 0)
  np.testing.assert_array_equal(code, expected)
  assert (code == 0).any() and (code > 0).any()


def test_a_photograph_starts_from_its_own_code(photograph):
  net = toynets.net()
  code = codes.encoded(net, 'fc3', photograph, toynets.prior())((), 0)
  pixels = images.resize(images.read(photograph), (12, 12))
  np.testing.assert_allclose(code, net(jnp.asarray(pixels))['fc3'], rtol=1e-5)


def test_the_code_of_a_map_is_in_the_order_of_caffe(photograph):
  net = toynets.net()
  code = codes.encoded(net, 'relu2', photograph, of_shape(6, 6, 6))((), 0)
  pixels = images.resize(images.read(photograph), (12, 12))
  act = np.asarray(net(jnp.asarray(pixels))['relu2'])
  expected = [
    act[y, x, c] for c in range(6) for y in range(6) for x in range(6)
  ]
  np.testing.assert_allclose(code, expected, rtol=1e-5)


def test_a_mean_image_takes_the_place_of_the_mean(photograph, tmp_path):
  net, path = toynets.net(), str(tmp_path / 'mean.npy')
  mean = np.random.RandomState(1).uniform(90, 130, (12, 12, 3))
  np.save(path, mean.astype(np.float32))
  code = codes.encoded(net, 'fc3', photograph, toynets.prior(), path)((), 0)
  pixels = images.resize(images.read(photograph), (12, 12))
  acts = net.apply(net.params, jnp.asarray(pixels - mean, jnp.float32))
  np.testing.assert_allclose(code, acts['fc3'], rtol=1e-4, atol=1e-5)


def test_an_encoder_that_does_not_match_is_refused(photograph):
  data = f"code = encoded(encoder, 'relu2', '{photograph}', prior)"
  message = r"'relu2' of the encoder is \(6, 6, 6\), but .* is \(1, 1, 5\)"
  refused(message, data=data, encoder='toynets.net()')
  data = data.replace('relu2', 'fc6')
  refused("'fc6' is not in the encoder", data=data, encoder='toynets.net()')
  refused("config.encoder is ''", data=data)


def test_a_photograph_that_cannot_be_read_is_refused(tmp_path):
  data = "code = encoded(encoder, 'fc3', photograph, prior)"
  (tmp_path / 'text.jpg').write_text('no image')
  given = {'data': data, 'encoder': 'toynets.net()'}
  for name, message, error in (
    ('text.jpg', 'cannot be decoded, expected an image', ValueError),
    ('absent.jpg', 'No such file', OSError),
  ):
    c = config(**given)
    c.photograph = str(tmp_path / name)
    with pytest.raises(error, match=message):
      sweep.plan(build.request(c))
  c = config(**given)
  c.photograph = None
  with pytest.raises(UserError, match='--config.photograph=FILE'):
    sweep.plan(build.request(c))


# Bounds.


def test_bounds_are_read_from_a_file(tmp_path):
  path = tmp_path / 'b.txt'
  path.write_text('1 2.5\n3e1 0 -4 ')
  found = codes.bound(str(path), toynets.prior())
  assert found.tolist() == [1, 2.5, 30, 0, -4]


@pytest.mark.parametrize(
  'given, expected', [(3, 3), ('3', 3), ('inf', np.inf), (None, np.inf)]
)
def test_a_number_bounds_all(given, expected):
  assert codes.bound(given, toynets.prior()) == expected


@pytest.mark.parametrize('text', ['', '1 2 x 3 4', '1 2 nan 3 4', '\xff\xfe'])
def test_a_file_without_bounds_is_refused(text, tmp_path):
  path = tmp_path / 'b.txt'
  path.write_text(text)
  with pytest.raises(UserError, match='b.txt.* holds no bounds'):
    codes.bound(str(path), toynets.prior())


def test_bounds_of_the_wrong_length_are_refused(tmp_path):
  path = tmp_path / 'b.txt'
  path.write_text('1 2 3 4')
  c = config(projections='clip_box(0., bound(bounds, prior))')
  c.bounds = str(path)
  with pytest.raises(UserError, match='are 4 numbers, .* generator has 5'):
    sweep.plan(build.request(c))


def test_published_bounds_are_looked_for_in_the_zoo(tmp_path, monkeypatch):
  monkeypatch.setenv(catalogue.VARIABLE, str(tmp_path))
  with pytest.raises(UserError, match='fetch act_range_3x_fc6'):
    codes.bound('act_range_3x_fc6', of_shape(1, 1, 4096))


@pytest.mark.skipif(
  not SYNTHESIZING.exists(), reason='the published bounds are not there'
)
@pytest.mark.parametrize('k, mean', [(1, 4.3721), (2, 8.1118), (3, 11.8518)])
def test_published_bounds_are_read(k, mean):
  path = SYNTHESIZING / f'act_range/{k}x/fc6.txt'
  numbers = codes.bound(str(path), of_shape(1, 1, 4096))
  assert numbers.mean() == pytest.approx(mean, abs=5e-5)


# The parameterization.


@pytest.mark.slow
def test_units_in_a_batch_are_those_made_alone(tmp_path):
  together = made(tmp_path / 'all', units='0:6', batch=6)
  alone = made(tmp_path / 'alone', units='4')
  for name in ('image', 'score', 'activation', 'trace/score'):
    np.testing.assert_array_equal(alone[name][0], together[name][4])


def test_the_code_of_the_image_is_kept(tmp_path):
  found = made(tmp_path / 'w', keep='last')
  for which in ('', 'last/'):
    for code, image in zip(
      found[f'{which}code'], found[f'{which}image'], strict=True
    ):
      picture = np.asarray(
        toynets.prior()(jnp.asarray(code)[None, None])['deconv0']
      )
      mean = np.asarray(toynets.net().mean)
      np.testing.assert_allclose(image, picture[2:14, 2:14] + mean, atol=1e-3)


@conftest.needs_avx512
def test_a_start_is_of_the_key_unless_it_is_given(tmp_path):
  drawn = made(tmp_path / 'drawn', data='', steps=1)
  given = made(tmp_path / 'given', steps=1)
  first, second = drawn['image'][:2]
  assert np.abs(first - second).max() > 1  # a start for each unit
  np.testing.assert_array_equal(*given['image'][:2])  # NumPy's, of the seed


def test_the_middle_of_the_picture_is_the_image():
  net, prior = toynets.net(), toynets.prior()
  c = config()
  recipe = toyplans.program(c, net, 'conv2', boxed=False).recipe
  code = np.random.RandomState(3).normal(0, 1, 5).astype(np.float32)
  image = recipe.parameterization.render(jnp.asarray(code))
  picture = prior(jnp.asarray(code)[None, None])['deconv0']
  expected = picture[2:14, 2:14] + net.mean[None, None]
  np.testing.assert_allclose(image, expected, rtol=1e-5, atol=1e-4)


def test_pictures_of_any_range_become_images():
  net, prior = toynets.net(), toynets.prior()
  text = 'generator(prior, model, scale=127.5, offset=127.5, bgr=True)'
  c = config(parameterization=text)
  recipe = toyplans.program(c, net, 'conv2', boxed=False).recipe
  code = jnp.ones(5)
  image = recipe.parameterization.render(code)
  picture = prior(code[None, None])['deconv0'][2:14, 2:14, ::-1]
  expected = 127.5 * picture + 127.5
  np.testing.assert_allclose(image, expected, rtol=1e-5, atol=1e-3)


def test_a_generator_without_a_table_ends_with_what_it_names_last():
  def apply(params, code):
    del params
    first = jnp.broadcast_to(code, (16, 16, 3))  # sorts behind 'picture'
    return {'wide': first, 'picture': 2 * first}

  prior = core.Model({}, jnp.zeros(3), apply, (1, 1, 3))
  render = parameterizations.generator(prior, toynets.net()).render
  image = render(jnp.arange(3.0)) - toynets.net().mean[None, None]
  np.testing.assert_allclose(image[5, 7], [0, 2, 4], atol=1e-4)


def test_what_is_not_a_picture_is_refused():
  refused(r"'deconv0' is \(16, 16, 3\), but the image is \(18, 18, 3\)",
          shape='18x18', layer='conv2')  # fmt: skip
  text = "generator(prior, model, layer='{}')"
  refused(r"'deconv1' is \(8, 8, 4\)", parameterization=text.format('deconv1'))
  refused("'conv0' is not in the generator",
          parameterization=text.format('conv0'))  # fmt: skip
  refused("config.prior is '', but a formula names it", prior='')


def test_a_photograph_is_no_start_of_a_generator(photograph):
  refused('starts from a code', start=f"photograph('{photograph}')")


def test_projections_of_pixels_refuse_codes():
  refused('works on pixels', projections='gaussian_blur(1.)')


def test_another_generator_is_another_run(tmp_path, monkeypatch):
  made(tmp_path / 'w')
  prior = toynets.prior()
  prior.params['deconv0']['bias'] += 1
  monkeypatch.setattr(toynets, 'prior', lambda: prior)
  toynets.prior.__module__ = 'toynets'
  with pytest.raises(UserError, match="digest '(weights|data)'"):
    made(tmp_path / 'w')


def test_other_bounds_are_another_run(tmp_path):
  knobs = {
    'projections': 'clip_box(0., bound(bounds, prior))',
    'bounds': str(tmp_path / 'b.txt'),
  }
  for text, same in (('1 2 3 4 5', True), ('1 2 3 4 6', False)):
    (tmp_path / 'b.txt').write_text(text)
    c = config()
    with c.unlocked():
      c.update(knobs)
    if same:
      sweep.execute(sweep.plan(build.request(c)), str(tmp_path / 'w'))
      continue
    with pytest.raises(UserError, match="digest '(weights|data)'"):
      sweep.execute(sweep.plan(build.request(c)), str(tmp_path / 'w'))


def test_a_code_is_read_from_a_file(tmp_path):
  path = str(tmp_path / 'z.npy')
  np.save(path, np.arange(5.0))
  code = codes.saved(path, toynets.prior())((), 0)
  assert code.tolist() == [0, 1, 2, 3, 4]
  np.save(path, np.arange(6.0))
  with pytest.raises(UserError, match=r'holds \(6,\), .* is \(5,\)'):
    codes.saved(path, toynets.prior())
