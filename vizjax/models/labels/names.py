"""Names of classes become numbers of units.

A class is a number, or a name of the unit: the whole label (`tench, Tinca
tinca`) or one of its synonyms (`Tinca_tinca`), in any case and with '_' for
' '; or a synset id (`n01440764`), for the classes of ImageNet and for labels
that begin with one, as those of Caffe's synset_words.txt.
"""

import collections
from collections.abc import Sequence
import re

from vizjax.errors import UserError
from vizjax.models.labels import imagenet


def units(
  names: Sequence[str], labels: tuple[str, ...], count: int
) -> dict[str, int]:
  """The unit of each name that is that of one; the others are left out.

  Args:
    names: of classes, as a data set has them.
    labels: of the units, with commas between synonyms; () if they have none.
    count: number of units.

  Raises:
    UserError: a name is that of several units, or it is no number and the
      units have no labels.
  """
  index = _index(labels)
  found = {}
  for name in names:
    named = sorted(index.get(_folded(name), ()))
    if name.isdecimal():
      named = [int(name)] if int(name) < count else []
    elif not labels:
      raise UserError(
        f'class {name!r} is no number, and the units have no names: expected '
        f'0 to {count - 1}, or type --labels=imagenet, or --labels=FILE with '
        'a name in each line'
      )
    if len(named) > 1:
      several = ', '.join(f'{unit} ({labels[unit]})' for unit in named)
      raise UserError(
        f'class {name!r} is the name of several units: {several}; expected '
        'one of these numbers, or a name that only one of them has'
      )
    if named:
      found[name] = named[0]
  return found


def _index(labels: tuple[str, ...]) -> dict[str, set[int]]:
  """{folded name: the units that it names}."""
  index = collections.defaultdict(set)
  for unit, label in enumerate(labels):
    synset = re.match(r'(n\d{8})[ \t]+(?=\S)', label)
    if synset:
      index[synset[1]].add(unit)
      index[_folded(label)].add(unit)
      label = label[synset.end() :]
    for name in (label, *label.split(',')):
      index[_folded(name)].add(unit)
      # 'crane (bird)' and 'crane (machine)' are both a crane.
      index[_folded(re.sub(r' \([^()]*\)$', '', name))].add(unit)
  if labels == imagenet.labels():
    for unit, synset in enumerate(imagenet.synsets()):
      index[synset].add(unit)
  return index


def _folded(name: str) -> str:
  return ' '.join(name.replace('_', ' ').casefold().split())
