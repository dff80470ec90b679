"""cnn-vis against its twin and its printed figures."""

import conftest
import functools

import jax.numpy as jnp
import numpy as np
import pytest

from oracles import cnn_vis as twin
from oracles import network
from test_configs import load
from test_programs import net as small_net
import toyplans

from vizjax import core
from vizjax import scales as scales_
from vizjax import transforms
from vizjax.build import assemble
from vizjax.photographs import images
from vizjax.programs import cnn_vis
from vizjax.programs import cnn_vis_images
from vizjax.sweeps import batches
from vizjax.sweeps import parallel
from vizjax.workdir import folders

MEAN = 114.45155662981172
TILE = 20  # of the small network
STEPS = 10

# Of the largest number, after ten steps of two sizes in float64; found 1e-12.
TOLERANCE = 1e-9


def scalar_net() -> core.Model:
  """The network of the twin with one number as its mean."""
  net = small_net()
  mean = jnp.full(3, MEAN, net.mean.dtype)
  return core.Model(
    net.params, mean, net.apply, net.input_shape, net.layers, net.labels
  )


def config(form='own', **knobs):
  c = load('cnn_vis', form)
  c.model, c.layer, c.mean = 'test_cnn_vis.scalar_net()', 'conv2', None
  c.tile, c.steps = TILE, STEPS
  c.initial_size, c.final_size, c.num_sizes = '20x52', '24x55', 2
  c.every = None
  c.update(knobs)
  return c


def options(c, target_layer='conv2', **more):
  """The knobs of a configuration by the names of the program."""
  names = (
    'decay_rate', 'learning_rate_decay_iter', 'learning_rate_decay_fraction',
    'use_pixel_learning_rates', 'amplify_l1_weight', 'amplify_l2_weight',
    'amplify_grad_clip', 'alpha', 'p_scale', 'p_reg', 'alpha_aux',
    'p_scale_aux', 'p_reg_aux', 'beta', 'tv_reg', 'tv_reg_scale',
    'tv_reg_step', 'tv_reg_step_iter', 'tv_grad_operator',
  )  # fmt: skip
  given = {name: c[name] for name in names}
  return {
    **given, 'learning_rate': c.rate, 'num_steps': c.steps,
    'target_layer': target_layer, **more,
  }  # fmt: skip


def made(c, tmp_path, report=lambda steps: None):
  """What a batch of the first run gives, in float64."""
  net = assemble.model(c)
  (layer,) = assemble.layers(c, net)
  table = toyplans.runs(c, net, layer)
  found = toyplans.stages(c, net, layer)
  scales = found.scales
  mesh = parallel.local_mesh()

  @functools.cache
  def runner(size):
    program = dict(zip(scales.sizes, found.programs, strict=True))[size]
    return parallel.runner(program.recipe, program.clean, program.result, mesh)

  rows = np.zeros(mesh.size * 2, int)
  batch = batches.Batch(
    c, table, found, rows, 1, folders.File(str(tmp_path), 'kept.npz')
  )
  results = batches.run(
    batch, lambda program: runner(program.geometry.canvas), report
  )
  return {name: array[0] for name, array in results.items()}


def close(found, expected):
  expected = np.asarray(expected, float)
  assert np.shape(found) == expected.shape
  np.testing.assert_allclose(
    found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max()
  )


NAMES = {
  'p_loss': 'p_loss',
  'tv_loss': 'tv_loss',
  'p': 'p_grad',
  'aux': 'p_aux_grad',
  'tv': 'tv_grad',
  'amplify': 'target_grad',
  'step_mean': 'mean_step',
  'step_median': 'median_step',
  'image_mean': 'image_mean',
  'image_std': 'image_std',
  'step_ratio': 'relative_step',
}


def equal_to_the_twin(found, expected):
  close(found['image'] - MEAN, expected.image)
  for name, there in NAMES.items():
    told = [row[there] for row in expected.statistics]
    close(found[f'trace/{name}'], told)


@pytest.fixture
def photograph(tmp_path):
  pixels = np.random.RandomState(0).uniform(0, 255, (41, 97, 3))
  path = str(tmp_path / 'a.png')
  images.write(path, pixels)
  return path, images.to_uint8(pixels)


EVERYTHING = {
  'rate': 3.0, 'learning_rate_decay_iter': 4,
  # Optax's schedules are of float32: a number that it holds exactly.
  'learning_rate_decay_fraction': 0.5, 'use_pixel_learning_rates': True,
  'amplify_l1_weight': 0.7, 'amplify_l2_weight': 1.3,
  'amplify_grad_clip': 0.8, 'alpha': 2.0, 'p_scale': 3.0, 'p_reg': 0.5,
  'alpha_aux': 4.0, 'p_scale_aux': 20.0, 'p_reg_aux': 0.3, 'beta': 2.5,
  'tv_reg': 0.2, 'tv_reg_scale': 2.0, 'tv_reg_step': 0.1,
  'tv_reg_step_iter': 3, 'tile_batch': 2,
}  # fmt: skip


@pytest.mark.parametrize(
  'operator',
  (
    pytest.param('naive', marks=pytest.mark.slow),
    pytest.param('sobel', marks=pytest.mark.slow),
    pytest.param('sobel_squish', marks=pytest.mark.slow),
  ),
)
def test_everything_on_a_photograph_is_the_twins(
  operator, photograph, tmp_path, x64
):
  path, pixels = photograph
  c = config(**EVERYTHING, start='', photograph=path, tv_grad_operator=operator)
  found = made(c, tmp_path)
  sizes = twin.sizes((20, 20), '20x52', '24x55', 2)
  start = twin.from_file(pixels, sizes[0], MEAN)
  expected = twin.run(
    network.AlexNet(), start, pixels, MEAN, sizes, **options(c)
  )
  equal_to_the_twin(found, expected)


@pytest.mark.slow
def test_a_neuron_from_noise_is_the_twins(tmp_path, x64):
  c = config(
    objective='amplify_neuron(layer, rectifier)',
    units='3',
    initialization_scale=8.0,
    initialization_blur=0.7,
    rate=2.0,
  )
  found = made(c, tmp_path)
  sizes = twin.sizes((20, 20), '20x52', '24x55', 2)
  start = twin.noise(0, sizes[0], 8.0, 0.7, MEAN)
  given = options(c, image_type='amplify_neuron', target_neuron=3)
  expected = twin.run(network.AlexNet(), start, None, MEAN, sizes, **given)
  equal_to_the_twin(found, expected)


# The printed figures: what a slow twin and the published rules agree on.

TV = {  # value, norm of the gradient, its first and its last entry but four
  ('naive', 1): (1396.810496, 4.986914394, -1.085110922, 1.537693881e-5),
  ('naive', 2): (60832.89383, 413.1064589, -24.36067977, -6.798473196),
  ('naive', 2.5): (412723.3524, 3541.552429, -102.0215817, -84.4524831),
  ('sobel', 2): (1978854.749, 13666.07094, -337.5680455, 2286.276824),
  ('sobel', 2.5): (37971411.65, 329931.9931, -5063.016115, 51441.50224),
  ('sobel_squish', 2): (455197.929, 4701.856474, -134.3186842, 1187.665428),
}


def powers():
  """The array of the figures, [channel, row, column] there."""
  return jnp.asarray(
    (np.arange(60.0) ** 1.5).reshape(3, 4, 5).transpose(1, 2, 0)
  )


def digits(found, expected):
  """Equal to the ten digits that are printed."""
  np.testing.assert_allclose(found, expected, rtol=6e-10)


@pytest.mark.parametrize(
  'operator, beta',
  [
    ('sobel', 2),
    *conftest.slow(*(case for case in TV if case != ('sobel', 2))),
  ],
)
def test_total_variation_has_the_printed_digits(operator, beta, x64):
  value, gradient = cnn_vis.total_variation(powers(), beta, operator, 1.0)
  told = value, jnp.linalg.norm(gradient), gradient[0, 0, 0], gradient[2, 3, 1]
  digits(told, TV[operator, beta])


@pytest.mark.parametrize(
  'p, scale, expected',
  (
    (2, 1, (1548348.84, 2488.653323, -200)),
    (4, 10, (10902335.69, 39645.97653, -400)),
    (8, 100, (97489.90248, 887.2172135, -0.08)),
  ),
)
def test_the_p_norm_has_the_printed_digits(p, scale, expected, x64):
  value, gradient = cnn_vis.p_norm(powers() - 100, p, scale)
  digits((value, jnp.linalg.norm(gradient), gradient[0, 0, 0]), expected)


def test_the_p_norm_below_one_has_no_slope_at_zero(x64):
  image = jnp.array([-4.0, 0.0, 9.0]).reshape(1, 1, 3)
  value, gradient = cnn_vis.p_norm(image, 0.5, 1.0)
  np.testing.assert_allclose(value, 5)
  np.testing.assert_allclose(gradient.ravel(), [-1 / 4, 0, 1 / 6])


def test_the_optimizer_has_the_printed_steps(x64):
  c = config(rate=1.0, decay_rate=0.25)
  net = assemble.model(c)
  found = toyplans.stages(c, net, 'conv2')
  optimizer = found.programs[0].recipe.optimizer
  state, steps = optimizer.init(jnp.zeros(())), []
  for gradient in (3.0, -1.0, 0.5):
    step, state = optimizer.update(jnp.array(gradient), state, jnp.zeros(()))
    steps.append(step)
  np.testing.assert_allclose(
    steps, [-1.1547005, 0.6405126, -0.5601120], atol=5e-8
  )


SIZES = {
  ((270, 480), (1080, 1920), 5): (
    (270, 480), (382, 679), (540, 960), (764, 1358), (1080, 1920),
  ),
  ((249, 374), (936, 1405), 4): (
    (249, 374), (387, 581), (602, 904), (936, 1405),
  ),
  ((264, 471), (1059, 1887), 5): (
    (264, 471), (374, 666), (529, 943), (748, 1334), (1059, 1887),
  ),
  ((320, 512), (800, 1280), 3): ((320, 512), (506, 810), (800, 1280)),
  ((262, 420), (525, 840), 3): ((262, 420), (371, 594), (525, 840)),
}  # fmt: skip


@pytest.mark.parametrize('ends', SIZES)
def test_the_sizes_are_the_printed_ones(ends):
  assert scales_.between(*ends) == SIZES[ends]


STARTS = {
  224: [0], 225: [0, 1], 270: [0, 46], 382: [0, 158], 448: [0, 224],
  449: [0, 113, 225], 480: [0, 128, 256], 540: [0, 158, 316],
  672: [0, 224, 448], 679: [0, 152, 303, 455], 764: [0, 180, 360, 540],
  960: [0, 184, 368, 552, 736], 1080: [0, 214, 428, 642, 856],
  1358: [0, 189, 378, 567, 756, 945, 1134],
  1920: [0, 212, 424, 636, 848, 1060, 1272, 1484, 1696],
}  # fmt: skip


@pytest.mark.parametrize('total', STARTS)
def test_windows_start_where_they_should(total):
  assert transforms.starts(total, 224) == STARTS[total]


@pytest.mark.parametrize('window', (7, 8, 20, 33))
def test_windows_keep_the_four_rules(window):
  for total in range(window, 300):
    assert transforms.starts(total, window) == twin.starts(total, window)


def test_a_poster_has_45_windows():
  even, odd = cnn_vis.tile_corners(1080, 1920, 224)
  assert (len(even), len(odd)) == (23, 22)
  pairs = zip(twin.windows(1080, 1920, (224, 224)), (even, odd), strict=True)
  for theirs, ours in pairs:
    assert [(y0, x0) for y0, _, x0, _ in theirs] == ours


def test_the_noise_has_the_printed_digits():
  net = core.Model({}, np.full(3, MEAN), lambda p, x: {}, (224, 224, 3))
  image = cnn_vis_images.cnn_vis_noise(net, 1.0)((224, 224, 3), 0) - MEAN
  assert image.mean() == pytest.approx(-0.49459181, abs=5e-9)
  assert image.std() == pytest.approx(1.23121303, abs=5e-9)
  expected = [1.54844337, -0.45155663, 0.54844337, 2.54844337]
  blue = image[0, :4, 2]  # drawn first
  np.testing.assert_allclose(blue, expected, atol=5e-9)


def test_pictures_of_8_bits_are_the_twins():
  image = np.random.RandomState(0).uniform(-90, 350, (9, 7, 3))
  for rescale in (False, True):
    found = cnn_vis_images.eight_bit(image, np.full(3, MEAN), rescale)
    expected = twin.to_8_bit(image - MEAN, MEAN, rescale)
    np.testing.assert_array_equal(found, expected)
