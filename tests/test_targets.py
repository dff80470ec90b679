"""Starts, directions, masks and means, from formulas and files."""

import numpy as np
from PIL import Image
import pytest

from oracles import caffemodel
from vizjax import core
from vizjax import targets
from vizjax.errors import UserError
from vizjax.models import means
from vizjax.photographs import files
from vizjax.photographs import images

# The published numbers have twelve digits; a mean of hundreds is added and
# taken off again in float64.
PRINTED = 1e-10


@pytest.fixture
def save(tmp_path):
  """Saves an array and gives its path."""

  def save(array, name='array.npy'):
    np.save(tmp_path / name, array)
    return str(tmp_path / name)

  return save


def a_model(mean):
  return core.Model({}, mean, lambda params, image: {}, (227, 227, 3))


def test_the_legacy_start_is_that_of_the_toolbox():
  mean = np.array([122.679, 116.669, 104.007])
  make = targets.legacy_normal(a_model(mean), 10.0)
  start = make((227, 227, 3), 0)
  noise = (start - mean)[..., ::-1].transpose(2, 0, 1)  # BGR, c h w
  found = [*noise.ravel()[:2], np.linalg.norm(noise), np.std(noise)]
  printed = [17.6405234597, 4.00157208367, 3921.52364497, 9.97384688005]
  np.testing.assert_allclose(found, printed, rtol=PRINTED)


def test_the_legacy_start_follows_the_seed_and_a_mean_image():
  mean = np.random.RandomState(9).uniform(90, 130, (6, 5, 3))
  make = targets.legacy_normal(a_model(mean), 2.0)
  for seed in (0, 7):
    noise = np.random.RandomState(seed).normal(0, 2.0, (3, 6, 5))
    start = make((6, 5, 3), seed)
    for c in range(3):
      np.testing.assert_allclose(
        start[..., c] - mean[..., c], noise[2 - c], rtol=1e-9
      )


def test_one_hot_is_one_in_its_channel():
  made = targets.one_hot(2)((4,), 0)
  assert made.tolist() == [0, 0, 1, 0]
  made = targets.one_hot(1)((2, 3, 4), 0)
  assert made.sum() == 6 and (made[..., 1] == 1).all()


@pytest.mark.parametrize('channel', [-1, 4, 99])
def test_one_hot_knows_the_channels(channel):
  match = rf'one_hot\({channel}\): expected a channel from 0 to 3'
  with pytest.raises(UserError, match=match):
    targets.one_hot(channel)((4,), 0)


def test_a_unit_is_one_at_its_place():
  expected = np.zeros((4, 5, 3))
  expected[2, 4, 1] = 1
  found = targets.unit(1, 2, 4)((4, 5, 3), 0)
  np.testing.assert_array_equal(found, expected)
  np.testing.assert_array_equal(targets.unit(2)((3,), 0), [0, 0, 1])


@pytest.mark.parametrize('place', [(3, 0, 0), (0, 4, 0), (0, 0, 5), (0, -1, 0)])
def test_a_unit_outside_the_layer_is_refused(place):
  with pytest.raises(UserError, match=r'of shape \(4, 5, 3\)'):
    targets.unit(*place)((4, 5, 3), 0)


def test_a_window_is_one_in_its_part():
  found = targets.window(1, 2, 2, 3)((4, 5, 3), 0)
  assert found.sum() == 2 * 3 * 3 and found[1:3, 2:5].all()


@pytest.mark.parametrize(
  'part', [(0, 0, 5, 1), (0, 3, 1, 3), (-1, 0, 1, 1), (0, 0, 0, 2)]
)
def test_a_window_outside_the_map_is_refused(part):
  with pytest.raises(UserError, match='expected a part of a map'):
    targets.window(*part)((4, 5, 3), 0)


def test_flat_starts_are_one_number_or_the_mean():
  mean = np.array([1.0, 2.0, 3.0])
  np.testing.assert_array_equal(
    targets.mean_image(a_model(mean))((4, 5, 3), 7), np.tile(mean, (4, 5, 1))
  )
  np.testing.assert_array_equal(
    targets.constant(9)((4, 5, 3), 7), np.full((4, 5, 3), 9.0)
  )


def test_the_numbers_of_cnnpref_are_drawn_in_its_order():
  # An image for its norm, one to start from, then a pair of shifts a step.
  draw = np.random.RandomState(3)
  noise = draw.randint(0, 256, (6, 5, 3))
  start = draw.randint(0, 256, (6, 5, 3))
  pairs = [draw.randint(-4, 5, 2) for _ in range(7)]
  shape = (6, 5, 3)
  norm = targets.legacy_norm()(shape, 3)
  np.testing.assert_allclose(norm, np.sqrt((noise**2).sum()) / 2)
  np.testing.assert_array_equal(targets.legacy_integers()(shape, 3), start)
  np.testing.assert_array_equal(targets.legacy_shifts(4, 7)(shape, 3), pairs)


def test_the_numbers_of_cnnpref_are_the_published_ones():
  norm = targets.legacy_norm()((227, 227, 3), 0)
  np.testing.assert_allclose(norm, 29024.28897493, rtol=PRINTED)
  first = targets.legacy_integers(before=0)((227, 227, 3), 0)
  assert first.ravel()[:5].tolist() == [172, 47, 117, 192, 67]
  shifts = targets.legacy_shifts(32, 3, before=0)((227, 227, 3), 0)
  assert shifts.tolist() == [[12, 15], [32, -23], [-11, 4]]


def test_npy_is_the_array_of_the_file(save):
  array = np.random.RandomState(0).normal(0, 1, (2, 3))
  make = targets.npy(save(array))
  np.testing.assert_array_equal(make((2, 3), 0), array)
  with pytest.raises(UserError, match=r'holds \(2, 3\), expected \(3, 2\)'):
    make((3, 2), 0)


def test_a_photograph_is_resized_to_the_canvas(tmp_path):
  path = tmp_path / 'photograph.png'
  Image.new('RGB', (30, 20), (10, 200, 90)).save(path)
  made = targets.photograph(str(path))((6, 7, 3), 0)
  expected = np.broadcast_to([10.0, 200, 90], (6, 7, 3))
  np.testing.assert_allclose(made, expected, atol=1e-3)


def test_a_missing_file_is_an_os_error(tmp_path):
  for read in (targets.npy, targets.photograph, means.load_npy):
    with pytest.raises(OSError, match='none'):
      read(str(tmp_path / 'none.npy'))


@pytest.mark.parametrize(
  'content',
  [
    b'',
    b'text',
    b'\x93NUMPY\x01\x00',
    b'PK\x03\x04 an archive that is none',
    b'\x80\x04K\x01.',  # a pickle
  ],
)
def test_what_is_no_array_file_is_named(tmp_path, content):
  path = tmp_path / 'array.npy'
  path.write_bytes(content)
  with pytest.raises(UserError, match="array.npy' is not a .npy file"):
    means.load_npy(str(path))


def test_a_file_cut_short_is_named(tmp_path, save):
  path = save(np.ones((20, 20)))
  content = (tmp_path / 'array.npy').read_bytes()
  (tmp_path / 'array.npy').write_bytes(content[:-100])
  with pytest.raises(UserError, match="array.npy' is not a .npy file"):
    means.load_npy(path)


def test_an_archive_of_arrays_is_no_array(tmp_path):
  path = tmp_path / 'arrays.npz'
  np.savez(path, a=np.ones(3))
  with pytest.raises(UserError, match="arrays.npz' is not a .npy file"):
    means.load_npy(str(path))


def test_numbers_that_are_not_finite_are_refused(save):
  with pytest.raises(UserError, match='not finite'):
    means.load_npy(save(np.array([1.0, np.nan])))


@pytest.mark.parametrize(
  'array',
  [np.array(['a', 'b']), np.ones(3, complex), np.zeros(2, 'datetime64[s]')],
)
def test_only_real_numbers_are_read(save, array):
  with pytest.raises(UserError, match='not a .npy file of real numbers'):
    means.load_npy(save(array))


def test_pickled_objects_are_never_loaded(tmp_path):
  np.save(tmp_path / 'o.npy', np.array([{}], object), allow_pickle=True)
  with pytest.raises(UserError, match="o.npy' is not a .npy file"):
    means.load_npy(str(tmp_path / 'o.npy'))


@pytest.mark.parametrize('dtype', ['f4', 'f8', 'f2', 'i8', 'u1', '?', '>f4'])
def test_every_kind_of_real_number_is_read(save, dtype):
  array = np.arange(6).reshape(2, 3).astype(dtype)
  np.testing.assert_array_equal(means.load_npy(save(array)), array)


def test_a_mean_is_a_number_for_each_channel():
  mean = means.mean('123.68,116.779, 103.939', (9, 9, 3))
  assert mean.tolist() == [123.68, 116.779, 103.939]
  assert means.mean('7', (9, 9, 1)).tolist() == [7]


@pytest.mark.parametrize(
  'text', ['', '118', '1,2,3,4', '1,2,', 'a,b,c', '1;2;3', '118 118 118']
)
def test_other_means_say_what_to_type(text):
  match = f'config.mean is {text!r}, expected 3 numbers, as 118,118,118'
  with pytest.raises(UserError, match=match):
    means.mean(text, (9, 9, 3))


@pytest.mark.parametrize('text', ['nan,1,2', '1,inf,2'])
def test_a_mean_is_finite(text):
  with pytest.raises(UserError, match='config.mean'):
    means.mean(text, (9, 9, 3))


def test_a_mean_image_is_cut_to_its_middle(save):
  image = np.random.RandomState(0).uniform(0, 255, (10, 13, 3))
  # Three rows over, six columns: rounded down.
  mean = means.mean(save(image), (7, 7, 3))
  np.testing.assert_array_equal(mean, image[1:8, 3:10])
  assert means.mean(save(image), (10, 13, 3)).tolist() == image.tolist()


def test_a_mean_image_of_caffe_is_turned_to_rgb(save):
  image = np.random.RandomState(0).uniform(0, 255, (3, 256, 256))
  mean = means.mean(save(image), (227, 227, 3))
  for c in range(3):
    # Rows and columns 14 to 240 of 256, as the Caffe programs take them.
    np.testing.assert_array_equal(mean[..., c], image[2 - c, 14:241, 14:241])


def test_a_mean_has_every_form_that_caffe_users_have(save, tmp_path):
  draw = np.random.RandomState(0)
  image = draw.uniform(0, 255, (3, 9, 11)).astype(np.float32)
  middle = image[::-1, 1:8, 2:9].transpose(1, 2, 0)
  np.testing.assert_array_equal(
    means.mean(save(image[None]), (7, 7, 3)), middle
  )
  for legacy in (False, True):
    path = tmp_path / 'mean.binaryproto'
    caffemodel.write_mean(path, image, legacy)
    np.testing.assert_array_equal(means.mean(str(path), (7, 7, 3)), middle)
  for color in (image[:, 0, 0], image[:, :1, :1], image[None, :, :1, :1]):
    path = save(color)
    if color.ndim == 1:
      with pytest.warns(UserWarning, match='taken as blue, green, red'):
        mean = means.mean(path, (7, 7, 3))
    else:
      mean = means.mean(path, (7, 7, 3))
    np.testing.assert_array_equal(mean, image[::-1, 0, 0])
  pixels = draw.randint(0, 256, (7, 7, 3)).astype(np.uint8)
  images.write(tmp_path / 'mean.png', pixels)
  mean = means.mean(str(tmp_path / 'mean.png'), (7, 7, 3))
  np.testing.assert_array_equal(mean, pixels)


def test_a_mean_of_another_number_of_channels_keeps_its_order(save):
  image = np.random.RandomState(0).uniform(0, 255, (9, 9, 2))
  turned = save(image.transpose(2, 0, 1))
  np.testing.assert_array_equal(means.mean(turned, (9, 9, 2)), image)
  grey = image[..., :1]
  for array in (grey, grey[..., 0], grey[None, ..., 0]):
    np.testing.assert_array_equal(means.mean(save(array), (9, 9, 1)), grey)
  assert means.mean(save(np.array([7.0])), (9, 9, 1)).tolist() == [7]


def test_a_damaged_mean_is_named(tmp_path):
  path = tmp_path / 'mean.binaryproto'
  for content in (b'', b'no blob', bytes(range(256))):
    path.write_bytes(content)
    with pytest.raises(UserError, match='mean.binaryproto'):
      means.mean(str(path), (7, 7, 3))


def test_a_photograph_is_grey_for_a_grey_network(tmp_path):
  pixels = np.random.RandomState(0).randint(0, 256, (6, 9, 3)).astype(np.uint8)
  path = str(tmp_path / 'image.png')
  images.write(path, pixels)
  found = targets.photograph(path)((6, 9, 1), 0)
  luma = np.asarray(Image.fromarray(pixels).convert('L'))
  np.testing.assert_allclose(found[..., 0], luma, atol=0.51)  # is rounded
  (grey,) = files.read(path, 1)
  np.testing.assert_array_equal(grey.image, found)
  with pytest.raises(UserError, match='takes 2 channels'):
    files.read(path, 2)


@pytest.mark.parametrize(
  'shape',
  [
    (2,),
    (9, 9),
    (3, 9),
    (9, 9, 4),
    (6, 9, 3),
    (9, 6, 3),
    (3, 6, 9),
    (2, 3, 9, 9),
  ],
)
def test_a_mean_image_that_does_not_fit_is_refused(save, shape):
  with pytest.raises(UserError, match=r'expected at least \(7, 7, 3\)'):
    means.mean(save(np.ones(shape)), (7, 7, 3))


def test_the_middle_of_a_map_and_a_group_of_its_channels():
  found = targets.central(3)((6, 5, 4), 0)
  expected = np.zeros((6, 5, 4))
  expected[1:4, 1:4] = 1
  np.testing.assert_array_equal(found, expected)
  found = targets.channels(1, 3)((6, 5, 4), 0)
  np.testing.assert_array_equal(found[2, 2], [0, 1, 1, 0])
  for maker, shape in (
    (targets.central(6), (6, 5, 4)),
    (targets.central(3), (4,)),
    (targets.channels(2, 2), (4,)),
    (targets.channels(0, 5), (4,)),
  ):
    with pytest.raises(UserError, match='expected a'):
      maker(shape, 0)


def test_noise_has_the_norm_of_its_share(model):
  noise = targets.noise_of_norm(model, 500.0, 4)((12, 10, 3), 3)
  noise = noise - np.asarray(model.mean)
  np.testing.assert_allclose(np.linalg.norm(noise), 250)
  drawn = np.random.RandomState(3).normal(size=(12, 10, 3))
  np.testing.assert_allclose(noise / noise[0, 0, 0], drawn / drawn[0, 0, 0])
