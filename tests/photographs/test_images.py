"""Images on disk and on a sheet."""

import numpy as np
from PIL import Image
import pytest

from vizjax.errors import UserError
from vizjax.photographs import images

# Grey levels: float32 sums of a dozen weights, of numbers up to 255.
LEVELS = 1e-3


def an_image(h=7, w=5, seed=0):
  draw = np.random.RandomState(seed)
  return draw.randint(0, 256, (h, w, 3)).astype(np.uint8)


def test_what_is_written_is_read(tmp_path):
  path = tmp_path / 'image.png'
  images.write(path, an_image())
  image = images.read(str(path))
  assert image.dtype == np.float32
  np.testing.assert_array_equal(image, an_image())


def test_the_ending_names_the_format(tmp_path):
  for name, kind in [('a.png', 'PNG'), ('b.jpg', 'JPEG'), ('c.bmp', 'BMP')]:
    images.write(tmp_path / name, an_image())
    with Image.open(tmp_path / name) as image:
      assert image.format == kind


def test_channels_are_red_green_blue(tmp_path):
  images.write(str(tmp_path / 'red.png'), np.full((2, 2, 3), [250.0, 2, 1]))
  with Image.open(tmp_path / 'red.png') as image:
    assert image.getpixel((0, 0)) == (250, 2, 1)


def test_transparent_pixels_are_told(tmp_path):
  alpha = np.full((7, 5, 1), 255, np.uint8)
  path = tmp_path / 'alpha.png'
  Image.fromarray(np.concatenate([an_image(), alpha], -1)).save(path)
  np.testing.assert_array_equal(images.read(str(path)), an_image())

  alpha[2] = 0
  Image.fromarray(np.concatenate([an_image(), alpha], -1)).save(path)
  with pytest.warns(UserWarning, match="alpha.png' has transparent pixels"):
    read = images.read(str(path))
  expected = an_image()
  expected[2] = 255
  np.testing.assert_array_equal(read, expected)


def test_the_home_directory_is_known(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  images.write(tmp_path / 'image.png', an_image())
  np.testing.assert_array_equal(images.read('~/image.png'), an_image())


def test_a_missing_image_cannot_be_read(tmp_path):
  with pytest.raises(FileNotFoundError, match='none.png'):
    images.read(str(tmp_path / 'none.png'))
  with pytest.raises(UserError, match='is a folder, expected an image file'):
    images.read(str(tmp_path))


def test_what_is_no_image_is_named(tmp_path):
  path = tmp_path / 'text.png'
  path.write_text('not an image')
  with pytest.raises(UserError, match="text.png' cannot be decoded"):
    images.read(str(path))


def test_half_an_image_is_an_error(tmp_path):
  images.write(tmp_path / 'whole.png', an_image(64, 64))
  whole = (tmp_path / 'whole.png').read_bytes()
  (tmp_path / 'half.png').write_bytes(whole[: len(whole) // 2])
  with pytest.raises(UserError, match="half.png' cannot be decoded.*truncated"):
    images.read(str(tmp_path / 'half.png'))


def test_writing_leaves_one_file_and_replaces_the_last(tmp_path):
  for seed in (0, 1):
    images.write(tmp_path / 'image.png', an_image(seed=seed))
  assert [path.name for path in tmp_path.iterdir()] == ['image.png']
  read = images.read(str(tmp_path / 'image.png'))
  np.testing.assert_array_equal(read, an_image(seed=1))


def test_a_failed_write_leaves_the_last_image(tmp_path, monkeypatch):
  images.write(tmp_path / 'image.png', an_image())

  def fail(self, path, *args, **kwargs):
    with open(path, 'wb') as file:
      file.write(b'half of it')
    raise OSError('the disk is full')

  monkeypatch.setattr(Image.Image, 'save', fail)
  with pytest.raises(OSError, match='full'):
    images.write(tmp_path / 'image.png', an_image(seed=1))
  read = images.read(str(tmp_path / 'image.png'))
  np.testing.assert_array_equal(read, an_image())
  assert [path.name for path in tmp_path.iterdir()] == ['image.png']


def test_a_file_that_cannot_be_renamed_is_removed(tmp_path):
  (tmp_path / 'image.png').mkdir()
  with pytest.raises(IsADirectoryError):
    images.write(tmp_path / 'image.png', an_image())
  assert [path.name for path in tmp_path.iterdir()] == ['image.png']


@pytest.mark.parametrize('ending', ['.xyz', '.fits', ''])  # Pillow reads FITS
def test_an_ending_that_cannot_be_written_is_refused(ending, tmp_path):
  with pytest.raises(UserError, match=f"has the ending '{ending}', expected"):
    images.write(tmp_path / f'image{ending}', an_image())
  assert not list(tmp_path.iterdir())


def test_bytes_are_clipped_and_rounded():
  values = [-5, -0.4, 0.4, 0.6, 1.5, 2.5, 254.6, 300, np.inf, -np.inf, np.nan]
  made = images.to_uint8(np.array(values))
  assert made.dtype == np.uint8
  # Halves go to the even neighbor.
  assert made.tolist() == [0, 0, 0, 1, 2, 2, 255, 255, 255, 0, 0]


@pytest.mark.parametrize('dtype', [np.float32, np.uint8])
@pytest.mark.parametrize('channels', [1, 2, 6])
def test_channels_that_are_no_colours_stand_side_by_side(channels, dtype):
  image = np.random.RandomState(0).uniform(0, 250, (4, 7, channels))
  image = image.astype(dtype)
  shown = images.rgb(image)
  assert shown.shape == (4, 7 * channels + 2 * (channels - 1), 3)
  assert shown.dtype == dtype
  for i in range(channels):
    tile = shown[:, 9 * i : 9 * i + 7]
    np.testing.assert_array_equal(tile, np.tile(image[..., i : i + 1], 3))
    assert (shown[:, 9 * i + 7 : 9 * i + 9] == 255).all()


def test_three_channels_are_colours():
  np.testing.assert_array_equal(images.rgb(an_image()), an_image())


def test_resize_shrinks_by_a_triangle(shape=(4, 6)):
  image = an_image(8, 12).astype(np.float32)
  resized = images.resize(image, shape)
  assert resized.dtype == np.float32
  # Twice as small: a triangle four pixels wide, cut at the border.
  weights = np.array([1, 3, 3, 1]) / 8
  inner = np.einsum('i,j,ijc->c', weights, weights, image[1:5, 3:7])
  np.testing.assert_allclose(resized[1, 2], inner, atol=LEVELS)
  corner = np.array([3, 3, 1]) / 7
  outer = np.einsum('i,j,ijc->c', corner, corner, image[:3, :3])
  np.testing.assert_allclose(resized[0, 0], outer, atol=LEVELS)


def test_resize_enlarges_between_pixel_centers():
  image = np.zeros((2, 1, 3), np.float32)
  image[1] = 100
  resized = images.resize(image, (4, 3))
  expected = np.array([0, 25, 75, 100])[:, None, None]
  np.testing.assert_allclose(
    resized, np.broadcast_to(expected, (4, 3, 3)), atol=LEVELS
  )


def test_resize_to_the_same_size_changes_nothing():
  image = np.random.RandomState(0).normal(0, 300, (5, 6, 3))
  np.testing.assert_array_equal(
    images.resize(image, (5, 6)), image.astype(np.float32)
  )


def test_stretch_brings_its_percentiles_to_black_and_white():
  image = np.random.RandomState(0).normal(100, 20, (9, 7, 3))
  stretched = images.stretch(image, 5.0)
  low, high = np.percentile(stretched, [5, 95])
  np.testing.assert_allclose([low, high], [0, 255], atol=LEVELS)
  # Affine: the order and the ratios of differences stay.
  ratio = np.diff(stretched.ravel()) / np.diff(image.ravel())
  np.testing.assert_allclose(ratio, np.full(len(ratio), ratio[0]))


def test_stretch_leaves_alone_what_it_cannot_stretch():
  image = np.random.RandomState(0).normal(100, 20, (4, 4, 3))
  np.testing.assert_array_equal(images.stretch(image, 0.0), image)
  image[0, 0, 0] = np.nan
  np.testing.assert_array_equal(images.stretch(image, 1.0), image)
  flat = images.stretch(np.full((4, 4, 3), 7.0), 1.0)
  np.testing.assert_array_equal(flat, np.zeros((4, 4, 3)))


def test_a_contact_sheet_has_a_cell_for_each_image():
  tiles = [an_image(20, 30, seed) for seed in range(5)]
  sheet = images.contact_sheet(tiles, list('abcde'), columns=3, gap=4)
  # Twelve rows of text below each image, a gap around every cell.
  assert sheet.shape == (2 * (20 + 12 + 4) + 4, 3 * (30 + 4) + 4, 3)
  assert sheet.dtype == np.uint8
  for i, tile in enumerate(tiles):
    top, left = 4 + i // 3 * 36, 4 + i % 3 * 34
    np.testing.assert_array_equal(sheet[top : top + 20, left : left + 30], tile)
    label = sheet[top + 20 : top + 32, left : left + 30]
    assert label.min() < 128  # dark letters, whatever the font
  # The sixth cell and the gaps are white.
  assert (sheet[40:, 72:] == 255).all()
  assert (sheet[:4] == 255).all() and (sheet[:, :4] == 255).all()


def test_a_contact_sheet_is_about_square_unless_told():
  tiles = [an_image(10, 10)] * 5
  sheet = images.contact_sheet(tiles, [''] * 5, gap=1)
  assert sheet.shape == (2 * 23 + 1, 3 * 11 + 1, 3)


def test_smaller_images_stand_in_the_corner_of_the_largest_cell():
  tiles = [an_image(10, 20), an_image(30, 8, seed=1)]
  sheet = images.contact_sheet(tiles, ['', ''], columns=2, gap=2)
  assert sheet.shape == (30 + 12 + 4, 2 * 22 + 2, 3)
  np.testing.assert_array_equal(sheet[2:12, 2:22], tiles[0])
  np.testing.assert_array_equal(sheet[2:32, 24:32], tiles[1])
  assert (sheet[12:32, 2:22] == 255).all()


def test_every_image_of_a_sheet_needs_a_label():
  with pytest.raises(ValueError):
    images.contact_sheet([an_image()] * 2, ['one'])
