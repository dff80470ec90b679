"""Photographs to train on: a split, random crops in batches, centres.

  kept, held = crops.split(len(data), 50)
  for batch in crops.batches(data, kept, how, (224, 224), seed=0, size=16):
    ...                                        # uint8 [16, 224, 224, 3]

Batches are a function of their number: `start=n` gives what an iteration from
the beginning gives after n batches.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
import zlib

from jaxtyping import UInt8
import numpy as np

from vizjax import files
from vizjax.errors import UserError
from vizjax.photographs import datasets
from vizjax.photographs import preprocessing


class Held(NamedTuple):
  """Photographs that are not trained on."""

  ids: tuple[str, ...]  # of the examples
  images: np.ndarray  # float32 [n, h, w, 3], RGB, 0-255: their centres


def split(count: int, held_out: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """The indices of the examples to train on, and of those held out.

  Held out are those whose number, written out, has the smallest CRC-32: the
  same whatever the seed, and spread over the classes.

  Raises:
    UserError: nothing is left to train on.
  """
  if count <= held_out:
    raise UserError(
      f'{count} photographs, of which {held_out} are held out: expected more '
      'of them, or type a smaller --config.held_out'
    )
  order = sorted(range(count), key=lambda n: (zlib.crc32(b'%d' % n), n))
  return tuple(sorted(order[held_out:])), tuple(sorted(order[:held_out]))


def centres(
  data: datasets.Dataset,
  indices: Sequence[int],
  how: preprocessing.Preprocessing,
  shape: tuple[int, int],
) -> Held:
  """Examples as the network wants them, all at once.

  Raises:
    UserError: one cannot be decoded: which.
  """
  examples = [data[number] for number in indices]
  images = [preprocessing.apply(how, e.image, shape) for e in examples]
  blank = np.zeros((0, *shape, 3), np.float32)
  ids = tuple(e.id for e in examples)
  return Held(ids, np.stack(images) if images else blank)


def batches(
  data: datasets.Dataset,
  indices: Sequence[int],
  how: preprocessing.Preprocessing,
  shape: tuple[int, int],
  *,
  seed: int,
  size: int,
  start: int = 0,
  readers: int = 1,
) -> Iterator[UInt8[np.ndarray, 'b h w 3']]:
  """Batches without end, each example once before any comes again.

  A photograph is resized as for the network, cut where chance has it, and
  mirrored half of the time.

  Args:
    data: the photographs.
    indices: of the examples to take.
    how: they are resized.
    shape: (h, w) of a crop.
    seed: of order, places and mirrors.
    size: of a batch.
    start: batches to leave out.
    readers: threads that decode.

  Raises:
    UserError: Grain is not installed, or an image cannot be decoded: which.
  """
  grain = files.library('grain', 'train', 'training reads photographs by')
  source = _Resized(data, indices, how)

  def crop(image, rng):
    return _crop(image, shape, rng)

  endless = (
    grain.MapDataset.source(source)
    .seed(seed)
    .shuffle()
    .random_map(crop)
    .repeat()
    .batch(size)
  )
  options = grain.ReadOptions(num_threads=readers, prefetch_buffer_size=4)
  return iter(endless[start:].to_iter_dataset(options))


class _Resized:
  """Photographs by their place among `indices`: what Grain calls a source."""

  def __init__(
    self,
    data: datasets.Dataset,
    indices: Sequence[int],
    how: preprocessing.Preprocessing,
  ):
    self.data, self.indices, self.how = data, indices, how

  def __len__(self) -> int:
    return len(self.indices)

  def __getitem__(self, place: Any) -> np.ndarray:
    image = self.data[self.indices[place]].image
    return np.asarray(preprocessing.resized(self.how, image))


def _crop(image: np.ndarray, shape: tuple[int, int], rng: Any) -> np.ndarray:
  top, left = (
    int(rng.integers(n - s + 1))
    for n, s in zip(image.shape, shape, strict=False)
  )
  cut = image[top : top + shape[0], left : left + shape[1]]
  return cut[:, ::-1] if rng.integers(2) else cut
