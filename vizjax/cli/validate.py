"""Measures how good a network is: top-1, top-5, each class.

  vizjax validate --model=efficientnet_lite0 --dataset=DIR
  ... --dataset=tfds:imagenet_v2:test --out=images.csv
  ... --model="caffe.load('net.prototxt', 'net.caffemodel')" --labels=imagenet

DIR holds a folder for each class, called as the class is: its number, one of
its names, or its synset id (`DIR/n01440764/x.jpg`, `DIR/tench/x.jpg`).
Photographs are prepared as the network wants them:
vizjax/photographs/preprocessing.py.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
import contextlib
import csv
import pathlib
import re
from typing import Any

from absl import flags
from absl import logging
from tqdm import auto

from vizjax import build
from vizjax import core
from vizjax import files
from vizjax import progress
from vizjax.cli import launch
from vizjax.errors import UserError
from vizjax.models.labels import lists as lists_
from vizjax.models.labels import names as names_
from vizjax.photographs import classifiers
from vizjax.photographs import datasets
from vizjax.photographs import preprocessing

HEAD = (
  'id', 'class', 'unit', 'rank',
  *(f'{what}{k}' for k in range(1, 6) for what in ('unit', 'name')),
)  # fmt: skip


def define() -> None:
  """Defines the flags."""
  text, number = flags.DEFINE_string, flags.DEFINE_integer
  text('model', None, "A network of vizjax, or a formula: 'caffe.load(...)'.")
  text('dataset', None, 'A folder of photographs, or tfds:NAME[:SPLIT].')
  text('layer', None, 'The scores; else the last that is not a softmax.')
  text('labels', None, "'imagenet', or a file; else the network's own names.")
  text('preprocessing', None, f'{preprocessing.EXAMPLE}; else its own.')
  number('batch', 32, 'Photographs at a time.', lower_bound=1)
  number('limit', None, 'Only the first so many photographs.', lower_bound=1)
  text('out', None, 'A .csv file for a row a photograph.')
  launch.define_quiet()


def main() -> None:
  """Prints what the network makes of the photographs."""
  f = flags.FLAGS
  logging.set_verbosity(logging.WARNING)  # TFDS tells which files it opens
  validate(
    f.model,
    f.dataset,
    layer=f.layer,
    labels=f.labels,
    preprocess=f.preprocessing,
    batch=f.batch,
    limit=f.limit,
    out=f.out,
    quiet=f.quiet,
  )


def start() -> None:
  """Runs the command."""
  launch.run(main, 'model', 'dataset', define=define, anew=True)


def validate(
  model: str,
  dataset: str,
  *,
  layer: str | None = None,
  labels: str | None = None,
  preprocess: str | None = None,
  batch: int = 32,
  limit: int | None = None,
  out: str | None = None,
  quiet: bool = False,
) -> None:
  """Prints what a network makes of a data set; what `define` lists."""
  how = None if preprocess is None else preprocessing.parse(preprocess)
  data = datasets.open(dataset)
  names = None if labels is None else lists_.read(labels)
  classifier = classifiers.of(load(model), layer, names)
  shape = classifier.model.input_shape[:2]
  how = preprocessing.own(classifier.model, shape) if how is None else how
  preprocessing.check(how, shape)
  units = known_units(data, classifier)
  count = len(data) if limit is None else min(limit, len(data))
  print(
    f'{model}: layer {classifier.layer!r} of {classifier.count} units, '
    f'{count} of {len(data)} photographs of {dataset}, '
    + preprocessing.told(how, shape),
    flush=True,
  )
  answers = classifiers.answers(
    classifier, data, how, units, count=count, batch=batch
  )
  found = []
  with _rows(out) as write, bar(count, quiet) as counted:
    write(HEAD)
    for answer in answers:
      write(_row(answer, classifier))
      found.append(answer)
      counted.update()
  known = [answer for answer in found if answer.unit is not None]
  if not known:
    raise _none_known(data, classifier)
  for line in table(known, classifier):
    print(line)
  unknown = sorted({a.label for a in found if a.unit is None} - {''})
  if unknown:
    print(f'classes that the network does not know: {_some(unknown)}')
  print(summary(known, len(found)))


def load(model: str) -> core.Model:
  """The network of a name of vizjax.models, or of a formula.

  Raises:
    UserError: no such network: as config.model.
    OSError: a file cannot be read.
  """
  config = build.config()
  config.model = f'load({model!r})' if re.fullmatch(r'\w+', model) else model
  try:
    return build.model(config)
  except UserError as error:
    words = str(error).replace('config.model', '--model', 1)
    raise UserError(words) from error


def destination(out: str) -> pathlib.Path:
  """Where a file goes that --out names.

  Raises:
    UserError: it is a folder, or in none that is there.
  """
  path = pathlib.Path(out).expanduser()
  if path.is_dir() or not path.parent.is_dir():
    raise UserError(f'--out={out}: expected a file in a folder that is there')
  return path


def bar(count: int, quiet: bool) -> auto.tqdm:
  """Returns a bar that counts the photographs that are done."""
  options = {'desc': 'photographs', 'total': count, 'unit': ' photographs'}
  return progress.bar(quiet=quiet, **options)


def known_units(
  data: datasets.Dataset, classifier: classifiers.Classifier
) -> dict[str, int]:
  """The unit of each class of the data set that the network knows.

  Raises:
    UserError: the data set has no classes, none is known, or one is the name
      of several units.
  """
  if not data.classes:
    raise UserError(
      f'{data.name!r} has no classes: expected a folder of photographs for '
      'each class, as DIR/tench/x.jpg, or a set with a feature label'
    )
  try:
    found = names_.units(data.classes, classifier.labels, classifier.count)
  except UserError as error:
    raise UserError(f'in {data.name!r}, {error}') from error
  if not found:
    raise _none_known(data, classifier)
  return found


def table(
  known: Sequence[classifiers.Answer], classifier: classifiers.Classifier
) -> list[str]:
  """Lines: a head, and each class, the worst first."""
  groups = collections.defaultdict(list)
  for answer in known:
    groups[answer.unit].append(answer)
  shares = {
    unit: [100 * _right(group, k) / len(group) for k in (1, 5)]
    for unit, group in groups.items()
  }
  rows = [('class', 'images', 'top-1', 'top-5', 'most frequent mistake')]
  for unit in sorted(groups, key=lambda unit: (shares[unit], unit)):
    wrong = collections.Counter(a.best[0] for a in groups[unit] if a.rank > 1)
    mistakes = [
      f'{_called(other, classifier)} ({times})'
      for other, times in wrong.most_common(1)
    ]
    percent = [f'{share:.1f} %' for share in shares[unit]]
    images = str(len(groups[unit]))
    rows.append((_called(unit, classifier), images, *percent, *mistakes))
  first, *widths = (
    max(map(len, column)) for column in zip(*(r[:4] for r in rows), strict=True)
  )
  lines = []
  for name, *cells in rows:
    right = [f'{c:>{w}}' for c, w in zip(cells, widths, strict=False)]
    lines.append('  '.join([f'{name:{first}}', *right, *cells[3:]]))
  return lines


def summary(known: Sequence[classifiers.Answer], total: int) -> str:
  """'top-1 372/500 = 74.4 %, ...', and how many had no known class."""
  size = len(known)
  parts = [
    f'top-{k} {_right(known, k)}/{size} = {100 * _right(known, k) / size:.1f} %'
    for k in (1, 5)
  ]
  if total > size:
    left = (
      f'{total - size} of {total} photographs without a class of the network'
    )
    parts.append(left)
  return ', '.join(parts)


def _right(answers: Sequence[classifiers.Answer], k: int) -> int:
  return sum(answer.rank <= k for answer in answers)


def _called(unit: int, classifier: classifiers.Classifier) -> str:
  name = classifier.labels[unit].split(',')[0] if classifier.labels else ''
  return f'{unit} {name}'.strip()


def _none_known(
  data: datasets.Dataset, classifier: classifiers.Classifier
) -> UserError:
  like = f'0 to {classifier.count - 1}'
  if classifier.labels:
    like += f', or names as {classifier.labels[0].split(",")[0]!r}'
  return UserError(
    f'no photograph of {data.name!r} has a class that the network knows: '
    f'classes {_some(data.classes)}; expected {like}'
  )


def _some(names: Sequence[str]) -> str:
  more = f', ... ({len(names)} in all)' if len(names) > 10 else ''
  return ', '.join(map(repr, names[:10])) + more


def _row(
  answer: classifiers.Answer, classifier: classifiers.Classifier
) -> tuple[Any, ...]:
  """A line of the file; a number that is not known is empty."""
  best = []
  for unit in answer.best:
    best += [unit, classifier.labels[unit] if classifier.labels else '']
  return answer.id, answer.label, answer.unit, answer.rank, *best


@contextlib.contextmanager
def _rows(out: str | None) -> Iterator[Callable[[Sequence], Any]]:
  """What writes a row of a .csv file, which is there once all are written."""
  if out is None:
    yield lambda row: None
    return
  with files.replacing(destination(out)) as partial:
    # A file name may hold bytes that are no text.
    with partial.open('w', -1, 'utf-8', 'surrogateescape', '') as file:
      yield csv.writer(file).writerow
