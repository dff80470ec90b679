"""The split, and the crops that a generator is trained on."""

import numpy as np
import pytest

from vizjax.errors import UserError
from vizjax.photographs import datasets
from vizjax.photographs import preprocessing
from vizjax.training import crops

HELD = (2, 6, 13, 16, 17)  # of 20: the smallest CRC-32 of '0' to '19'


def numbered(count):
  """Pictures with their number on the left, 100 more on the right."""

  def example(number):
    image = np.full((12, 16, 3), number, np.uint8)
    image[:, 8:] += 100
    return datasets.Example(f'{number}.png', image, '')

  return datasets.Dataset('numbered', (), count, example)


def drawn(count, **options):
  """[n, b, 10, 12, 3]: the first batches of 15 pictures, 5 held out."""
  kept, _ = crops.split(20, 5)
  how = preprocessing.Preprocessing(12, False, 'bilinear')
  options = {'seed': 0, 'size': 3, **options}
  batches = crops.batches(numbered(20), kept, how, (10, 12), **options)
  return np.stack([next(batches) for _ in range(count)])


def test_the_split_is_always_the_same():
  kept, held = crops.split(20, 5)
  assert sorted(kept + held) == list(range(20)) and len(held) == 5
  assert held == HELD
  with pytest.raises(UserError, match='5 photographs, of which 5 are held'):
    crops.split(5, 5)


def test_what_is_held_out_is_in_no_batch():
  found = drawn(20).reshape(-1, 10, 12, 3).min((1, 2, 3))  # four epochs
  epochs = found.reshape(4, 15)
  for epoch in epochs:  # each picture once
    assert sorted(epoch) == sorted(set(range(20)) - set(HELD))
  assert len({tuple(epoch) for epoch in epochs}) == 4  # in another order
  assert (drawn(5, seed=1).min((2, 3, 4)) != drawn(5).min((2, 3, 4))).any()


def test_crops_lie_anywhere_and_are_mirrored():
  images = drawn(40).reshape(-1, 10, 12, 3).astype(int)
  number = images.min((1, 2, 3))
  left = images[:, 0, 0, 0] - number == 100  # the bright half, mirrored
  assert 0.3 < left.mean() < 0.7
  bright = (images[:, 0, :, 0] - number[:, None] == 100).sum(1)
  assert set(bright) == {4, 5, 6, 7, 8}  # of 12 columns, by the place
  assert not images.std(1).any()  # columns are one colour: nothing is resized


def test_batches_go_on_where_they_are_asked_to():
  np.testing.assert_array_equal(drawn(3, start=7), drawn(10)[7:])
  np.testing.assert_array_equal(drawn(4, readers=3), drawn(4))
