"""Sizes, photographs, and images that grow."""

import numpy as np
from PIL import Image
import pytest

import conftest
from vizjax import scales as scales_
from vizjax.errors import UserError
from vizjax.photographs import files
from vizjax.photographs import images


@pytest.mark.parametrize(
  'text, expected',
  (
    (None, (100, 61)),
    ('x0.5', (50, 30)),  # cut, not rounded
    ('x2', (200, 122)),
    ('7x9', (7, 9)),
  ),
)
def test_a_size_is_read_as_cnn_vis_reads_it(text, expected):
  assert scales_.size(text, (100, 61), 'initial_size') == expected


@pytest.mark.parametrize(
  'text',
  ('', 'x', '7', '7x', 'x-1', '0x5', '7xa', 'axb', 'xnan', 'xinf', '7x9x2'),
)
def test_a_size_that_does_not_parse_is_refused(text):
  with pytest.raises(UserError, match='initial_size is .*expected HxW'):
    scales_.size(text, (100, 61), 'initial_size')


def test_one_size_is_the_first_alone():
  assert scales_.between((5, 6), (1, 1), 1) == ((5, 6),)


def test_sizes_by_equal_differences():
  found = scales_.between((10, 20), (15, 21), 3, 'linear')
  assert found == ((10, 20), (12, 20), (15, 21))  # halves to the even number


@pytest.mark.parametrize(
  'arguments, match',
  (
    (((5, 6), (5, 5), 2), 'final_size is 5x5, smaller than initial_size, 5x6'),
    (((5, 6), (7, 8), 0), 'num_sizes is 0'),
    (((5, 6), (7, 8), 2, 'cubic'), "resize_type is 'cubic'"),
  ),
)
def test_impossible_sizes_are_refused(arguments, match):
  with pytest.raises(UserError, match=match):
    scales_.between(*arguments)


def saved(folder, name, size):
  pixels = np.random.RandomState(len(name)).randint(
    0, 256, (*size, 4), np.uint8
  )
  Image.fromarray(pixels, 'RGBA').convert('RGB').save(folder / name)
  return str(folder / name)


def test_photographs_have_the_proportions_of_the_first(tmp_path):
  saved(tmp_path, 'a.png', (20, 30))
  saved(tmp_path, 'b.png', (50, 30))
  found = files.read(str(tmp_path / '*.png'))
  assert [one.image.shape[:2] for one in found] == [(20, 30), (50, 30)]
  first, second = files.alike(found)
  assert (first.name, second.name) == ('a', 'b')
  assert first.image.shape == (20, 30, 3)
  assert second.image.shape == (20, 30, 3)
  whole = images.read(str(tmp_path / 'b.png'))
  np.testing.assert_array_equal(second.image, whole[15:35])


def test_a_name_with_brackets_is_a_name(tmp_path):
  path = saved(tmp_path, 'a[1].png', (4, 5))
  (found,) = files.read(path)
  assert found.name == 'a[1]'


def test_photographs_that_are_not_there_are_told(tmp_path):
  assert files.read(None) == ()
  with pytest.raises(UserError, match='type --config.photograph=FILE'):
    files.read('')
  with pytest.raises(OSError, match='none.png'):
    files.read(str(tmp_path / 'none.png'))
  with pytest.raises(UserError, match='the name of no file'):
    files.read(str(tmp_path / '*.jpg'))
  (tmp_path / 'a.png').write_text('no image')
  with pytest.raises(UserError, match='a.png. cannot be decoded'):
    files.read(str(tmp_path / 'a.png'))


def test_an_image_grows_from_size_to_size(tmp_path):
  path = saved(tmp_path, 'a.png', (20, 30))
  scales = scales_.grown(conftest.toy(), 'x0.5', '30x45', 3, 'linear', path)
  assert scales.sizes == ((10, 15), (20, 30), (30, 45))
  (photograph,) = scales.photographs
  first = scales.enter(0, photograph.image, None)
  expected = images.resize(photograph.image, (10, 15))
  np.testing.assert_array_equal(first.start, expected)
  second = scales.enter(1, first.original, np.full((10, 15, 3), 7.0))
  np.testing.assert_array_equal(second.start, np.full((20, 30, 3), 7.0))
  np.testing.assert_array_equal(second.reference, photograph.image)
