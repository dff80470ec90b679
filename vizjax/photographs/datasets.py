"""Labelled photographs: a folder of images, or a set of TensorFlow Datasets.

  photographs = datasets.open('DIR')                   # or 'tfds:imagenet_v2'
  photographs[0]                # Example('n01440764/7.jpg', image, 'n01440764')

A folder is read recursively, in the order of its paths, without hidden files.
The class of an image is the name of the directory that contains the image
(`DIR/tench/x.jpg`). In DIR itself the class is the WordNet id that the name of
the image starts with (`n01440764_tench.jpg`); other images have no class.

A set `tfds:NAME[:SPLIT]`, such as `tfds:imagenet_v2:test[:10%]`, has to be
prepared as array_record in $TFDS_DATA_DIR. The set is read without TensorFlow,
and nothing is downloaded.

`decoding` makes every image RGB of 8 bits.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import hashlib
import io
import operator
import os
import pathlib
import re
from typing import Any, NamedTuple, SupportsIndex

from jax.typing import ArrayLike
import numpy as np

from vizjax import errors
from vizjax.errors import UserError
from vizjax.photographs import decoding
from vizjax.photographs import images as images_

SUFFIXES = (
  '.jpg', '.jpeg', '.png', '.webp', '.bmp', '.gif', '.tif', '.tiff', '.ppm',
  '.pgm',
)  # fmt: skip

_SYNSET = re.compile(r'n\d{8}(?!\d)')
# The name may end with a version, the split may hold a slice.
_TFDS_SPEC = re.compile(r'tfds:([^:\[\s]+(?::\d[\d.*]*)?)(?::([A-Za-z].*))?')


class Example(NamedTuple):
  """One photograph."""

  id: str  # unique in the data set: a path in the folder, or as TFDS has it
  image: np.ndarray  # uint8 [h, w, 3], RGB
  label: str  # name of the class as the data set gives it; '' for none


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A sequence of examples. Indexing decodes an example.

  Attributes:
    name: the spec that was opened.
    classes: every name that a label can be, but ''.
    size: number of examples.
    example: 0 <= number < size -> Example.
    identity: 0 <= number < size -> id, also of an image that cannot be decoded.
  """

  name: str
  classes: tuple[str, ...]
  size: int
  example: Callable[[int], Example]
  identity: Callable[[int], str] = str

  def __len__(self) -> int:
    return self.size

  def __getitem__(self, number: SupportsIndex) -> Example:
    """Returns an example; negative numbers count from the end.

    Raises:
      IndexError: the data set has no example of this number.
      UserError: the image cannot be decoded.
      OSError: the file of the image cannot be read.
    """
    index = operator.index(number)
    index = index + self.size if index < 0 else index
    if not 0 <= index < self.size:
      raise IndexError(
        f'example {number} of {self.name!r}, which has {self.size}'
      )
    return self.example(index)


def open(spec: str) -> Dataset:
  """Opens a folder of images, or the set 'tfds:NAME[:SPLIT]'.

  Where no split is named, the split is 'validation', else 'test', else the
  only one of the set.

  Raises:
    UserError: the folder, the set or the split does not exist, the folder has
      no image, or the set is not prepared.
    OSError: a folder cannot be read.
  """
  return _tfds(spec) if spec.startswith('tfds:') else _folder(spec)


def of_arrays(images: Iterable[ArrayLike]) -> Dataset:
  """Returns a data set of images that are in memory, without classes.

  Args:
    images: of [h, w, 3], RGB of 0-255, or [h, w] or [h, w, 1], grey; an array
      of them or a list.

  Raises:
    UserError: there is none, or one is of another form.
  """
  if np.ndim(images) == 3 and np.shape(images)[2] in (1, 3):
    raise UserError(
      f'photographs= is one image, {np.shape(images)}, expected several: type '
      '[image]'
    )
  digest, found = hashlib.sha256(), []
  for number, image in enumerate(images):
    array = images_.of_array(image)
    if array.shape[2] not in (1, 3):
      raise UserError(
        f'photograph {number} is {np.shape(image)}, expected [h, w, 3] of '
        '0-255, or [h, w], grey'
      )
    array = np.repeat(array, 3, 2) if array.shape[2] == 1 else array
    array = images_.to_uint8(array)
    digest.update(repr(array.shape).encode() + array.tobytes())
    found.append(array)
  if not found:
    raise UserError('photographs= is empty, expected images [h, w, 3] of 0-255')
  return Dataset(
    f'{len(found)} arrays ({digest.hexdigest()[:8]})',
    (),
    len(found),
    lambda number: Example(str(number), found[number], ''),
  )


def _folder(spec: str) -> Dataset:
  """Returns the images of a folder and of the folders in it."""
  folder = pathlib.Path(os.path.expanduser(spec))
  if not spec or not folder.is_dir():
    raise UserError(
      f'{spec!r} is not a folder: expected a folder of images, or '
      'tfds:NAME[:SPLIT]'
    )
  paths = sorted(_files(str(folder), (), ()), key='/'.join)
  if not paths:
    raise UserError(
      f'the folder {spec!r} has no images: expected files that end with '
      f'{", ".join(SUFFIXES)}, in it or in folders in it'
    )
  labels = [_label(path) for path in paths]

  def example(number):
    image = decoding.of_file(str(folder.joinpath(*paths[number]))).pixels
    return Example(identity(number), image, labels[number])

  identity = lambda number: '/'.join(paths[number])
  classes = tuple(sorted({*labels} - {''}))
  return Dataset(spec, classes, len(paths), example, identity)


def _files(
  folder: str, parts: tuple[str, ...], above: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
  """Yields the path, in parts, of every image below a folder.

  Args:
    folder: to be read.
    parts: of the path from the first folder to this one.
    above: real paths of the folders that this one was reached through.
  """
  real = os.path.realpath(folder)
  if real in above:  # a link that leads back
    return
  with os.scandir(folder) as entries:
    for entry in entries:
      path = (*parts, entry.name)
      if entry.name.startswith('.'):
        continue
      # A link that leads to itself is no folder, but makes is_dir() raise.
      if os.path.isdir(entry.path):
        yield from _files(entry.path, path, (*above, real))
      elif entry.name.lower().endswith(SUFFIXES):
        yield path


def _label(path: tuple[str, ...]) -> str:
  """Returns the class of an image by its path in the folder; '' for none."""
  if len(path) > 1:
    return path[-2]
  synset = _SYNSET.match(path[-1])
  return synset[0] if synset else ''


def _tfds(spec: str) -> Dataset:
  """Returns a split of a prepared set of TensorFlow Datasets."""
  import tensorflow_datasets as tfds  # takes seconds

  parts = _TFDS_SPEC.fullmatch(spec)
  if parts is None:
    raise UserError(
      f'{spec!r} is no data set: expected tfds:NAME[:SPLIT], as '
      'tfds:imagenet_v2:test[:10%]'
    )
  name, split = parts.groups()
  builder = _builder(tfds, spec, name)
  if split is None:
    split = _default_split(spec, list(builder.info.splits))
  features = builder.info.features
  image = features['image'] if 'image' in features else None
  if not isinstance(image, tfds.features.Image) or image.np_dtype == np.float32:
    raise UserError(
      f'{spec!r} has the features {", ".join(features)}, expected one called '
      "'image' that is an image of whole numbers"
    )
  rows = _rows(tfds, builder, spec, name, split)
  label = features['label'] if 'label' in features else None
  labelled = isinstance(label, tfds.features.ClassLabel)
  classes = tuple(label.names) if labelled else ()

  def example(number):
    row = rows[number]
    id = _example_id(row, number)
    content = io.BytesIO(row['image'])
    image = decoding.of_content(content, f'{spec}, {id}').pixels
    # TFDS has -1 for an example without a label.
    known = labelled and row['label'] >= 0
    return Example(id, image, classes[row['label']] if known else '')

  identity = lambda number: _example_id(rows[number], number)
  return Dataset(spec, classes, len(rows), example, identity)


def _example_id(row: Mapping[str, Any], number: int) -> str:
  """Returns the name of the file that TFDS read, or the example's number."""
  name = row.get('file_name')
  return name.decode() if isinstance(name, bytes) else str(number)


def _rows(
  tfds: Any, builder: Any, spec: str, name: str, split: str
) -> Sequence[Mapping[str, Any]]:
  """Returns the examples of a split, whose images are not decoded yet.

  Raises:
    UserError: the set is in another format, or the split is unknown or empty.
  """
  try:
    rows = builder.as_data_source(
      split, decoders={'image': tfds.decode.SkipDecoding()}
    )
    empty = not len(rows)
  except NotImplementedError:
    raise UserError(
      f'{spec!r} is prepared in {str(builder.data_dir)!r} as '
      f'{builder.info.file_format.value}, expected array_record: remove that '
      f'folder or set another TFDS_DATA_DIR, and type {_preparation(name)}'
    ) from None
  except (ValueError, KeyError) as error:
    splits = list(builder.info.splits)
    raise UserError(
      f'{spec!r} has no split {split!r}, expected {", ".join(splits)}, or a '
      f'part of one as {splits[0]}[:10%] ({decoding.one_line(error)})'
    ) from error
  if empty:
    raise UserError(f'the split {split!r} of {spec!r} has no example')
  return rows


def _builder(tfds: Any, spec: str, name: str) -> Any:
  """Returns the builder of a prepared set.

  Raises:
    UserError: the set is unknown, cannot be opened, or is not prepared.
  """
  folder = os.environ.get('TFDS_DATA_DIR')  # when called, not when imported
  try:
    builder = tfds.builder(name, data_dir=folder)
  except tfds.core.DatasetNotFoundError:
    where = tfds.core.constants.DATA_DIR if folder is None else folder
    raise UserError(
      f'{spec!r}: {name!r} is not a set of TensorFlow Datasets and not in '
      f'{where!r}: expected a name of '
      'https://www.tensorflow.org/datasets/catalog, or set TFDS_DATA_DIR to '
      'the folder that holds it'
    ) from None
  except Exception as error:  # the code of any set runs here
    if errors.is_bug(error):
      raise
    raise UserError(
      f'{spec!r} cannot be opened: {decoding.one_line(error)}; expected a set '
      f'that is prepared: type {_preparation(name)}'
    ) from error
  if not builder.info.splits:
    raise UserError(
      f'{spec!r} is not prepared in {str(builder.data_dir)!r}, and nothing is '
      f'downloaded here: set TFDS_DATA_DIR to where it is, or type '
      f'{_preparation(name)}'
    )
  return builder


def _default_split(spec: str, splits: list[str]) -> str:
  """Returns the split that is read where a spec names none.

  Raises:
    UserError: there are several splits, none of which is the default.
  """
  for split in ('validation', 'test', *splits[: len(splits) == 1]):
    if split in splits:
      return split
  raise UserError(
    f'{spec!r} has the splits {", ".join(splits)}: expected one of them, as '
    f'{spec}:{splits[0]}'
  )


def _preparation(name: str) -> str:
  """Returns the command that prepares a set."""
  builder = f"tfds.builder('{name}', file_format='array_record')"
  return (
    'python -c "import tensorflow_datasets as tfds; '
    f'{builder}.download_and_prepare()"'
  )
