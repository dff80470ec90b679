"""Labelled photographs: a folder of images, or a set of TensorFlow Datasets.

  photographs = datasets.open('DIR')                   # or 'tfds:imagenet_v2'
  photographs[0]                # Example('n01440764/7.jpg', image, 'n01440764')

A folder is read recursively, in the order of the paths in it, without hidden
files. The class of an image is the name of the directory that it is in
(`DIR/tench/x.jpg`); an image of DIR itself is of the class whose WordNet id
its name starts with (`n01440764_tench.jpg`), if it does.

A set `tfds:NAME[:SPLIT]`, such as `tfds:imagenet_v2:test[:10%]`, has to be
prepared as array_record in $TFDS_DATA_DIR. It is read without TensorFlow, and
nothing is downloaded.

Every image becomes RGB of 8 bits, as `decoding` says.
"""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import io
import operator
import os
import pathlib
import re
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from vizjax import errors
from vizjax.errors import UserError
from vizjax.photographs import decoding

SUFFIXES = (
  '.jpg', '.jpeg', '.png', '.webp', '.bmp', '.gif', '.tif', '.tiff', '.ppm',
  '.pgm',
)  # fmt: skip

_SYNSET = re.compile(r'n\d{8}(?!\d)')
# The name may end with a version, the split may hold a slice.
_SET = re.compile(r'tfds:([^:\[\s]+(?::\d[\d.*]*)?)(?::([A-Za-z].*))?')


class Example(NamedTuple):
  """One photograph."""

  id: str  # unique in the data set: a path in the folder, or as TFDS has it
  image: np.ndarray  # uint8 [h, w, 3], RGB
  label: str  # name of the class as the data set gives it; '' for none


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A sequence of examples, each decoded when it is asked for.

  Attributes:
    name: as it was opened.
    classes: every name that a label can be, but ''.
    size: number of examples.
    example: 0 <= number < size -> Example.
    identity: the same -> its id, also of an image that cannot be decoded.
  """

  name: str
  classes: tuple[str, ...]
  size: int
  example: Callable[[int], Example]
  identity: Callable[[int], str] = str

  def __len__(self) -> int:
    return self.size

  def __getitem__(self, number: SupportsIndex) -> Example:
    """An example; negative numbers count from the end.

    Raises:
      IndexError: there is no such number.
      UserError: the image cannot be decoded: which, and why.
      OSError: its file cannot be read.
    """
    index = operator.index(number)
    index = index + self.size if index < 0 else index
    if not 0 <= index < self.size:
      raise IndexError(
        f'example {number} of {self.name!r}, which has {self.size}'
      )
    return self.example(index)


def open(spec: str) -> Dataset:
  """The data set of a folder's path, or of 'tfds:NAME[:SPLIT]'.

  Without a split it is 'validation', or 'test' where there is none, or the
  only one.

  Raises:
    UserError: no such folder, no image in it, no such set or split, or one
      that is not prepared: what to type.
    OSError: a folder cannot be read.
  """
  return _set(spec) if spec.startswith('tfds:') else _folder(spec)


def _folder(spec: str) -> Dataset:
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
  """The parts of the path of every image below a folder."""
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
  if len(path) > 1:
    return path[-2]
  found = _SYNSET.match(path[-1])
  return found[0] if found else ''


def _set(spec: str) -> Dataset:
  """A split of a prepared set of TensorFlow Datasets."""
  import tensorflow_datasets as tfds  # takes seconds

  found = _SET.fullmatch(spec)
  if found is None:
    raise UserError(
      f'{spec!r} is no data set: expected tfds:NAME[:SPLIT], as '
      'tfds:imagenet_v2:test[:10%]'
    )
  name, split = found.groups()
  builder = _builder(tfds, spec, name)
  splits = list(builder.info.splits)
  split = _default(spec, splits) if split is None else split
  features = builder.info.features
  image = features['image'] if 'image' in features else None
  if not isinstance(image, tfds.features.Image) or image.np_dtype == np.float32:
    raise UserError(
      f'{spec!r} has the features {", ".join(features)}, expected one called '
      "'image' that is an image of whole numbers"
    )
  try:
    rows = builder.as_data_source(
      split, decoders={'image': tfds.decode.SkipDecoding()}
    )
    size = len(rows)
  except NotImplementedError:
    raise UserError(
      f'{spec!r} is prepared in {str(builder.data_dir)!r} as '
      f'{builder.info.file_format.value}, expected array_record: remove that '
      f'folder or set another TFDS_DATA_DIR, and type {_preparation(name)}'
    ) from None
  except (ValueError, KeyError) as error:
    raise UserError(
      f'{spec!r} has no split {split!r}, expected {", ".join(splits)}, or a '
      f'part of one as {splits[0]}[:10%] ({decoding.one_line(error)})'
    ) from error
  if not size:
    raise UserError(f'the split {split!r} of {spec!r} has no example')
  label = features['label'] if 'label' in features else None
  named = isinstance(label, tfds.features.ClassLabel)
  classes = tuple(label.names) if named else ()

  def example(number):
    row = rows[number]
    where = _where(row, number)
    content = io.BytesIO(row['image'])
    image = decoding.of_content(content, f'{spec}, {where}').pixels
    # TFDS has -1 for an example without a label.
    known = named and row['label'] >= 0
    return Example(where, image, classes[row['label']] if known else '')

  identity = lambda number: _where(rows[number], number)
  return Dataset(spec, classes, size, example, identity)


def _where(row: Mapping[str, Any], number: int) -> str:
  """The name of the file that an example was made of, else its number."""
  name = row.get('file_name')
  return name.decode() if isinstance(name, bytes) else str(number)


def _builder(tfds: Any, spec: str, name: str) -> Any:
  """The builder of a set that is prepared."""
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


def _default(spec: str, splits: list[str]) -> str:
  for split in ('validation', 'test', *splits[: len(splits) == 1]):
    if split in splits:
      return split
  raise UserError(
    f'{spec!r} has the splits {", ".join(splits)}: expected one of them, as '
    f'{spec}:{splits[0]}'
  )


def _preparation(name: str) -> str:
  """What to type to prepare a set."""
  builder = f"tfds.builder('{name}', file_format='array_record')"
  return (
    'python -c "import tensorflow_datasets as tfds; '
    f'{builder}.download_and_prepare()"'
  )
