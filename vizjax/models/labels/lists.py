"""Names of classes, by the name of a list or from a file."""

import pathlib
import re

from vizjax.errors import UserError
from vizjax.models.labels import imagenet
from vizjax.models.labels import places205

LISTS = {'imagenet': imagenet.labels, 'places205': places205.labels}


def read(text: str) -> tuple[str, ...]:
  """The names of a key of `LISTS`, or of a file with one in each line.

  Blank lines at the end of the file are no names. Where every line begins with
  its number from 0, as '0 tench', '0: tench' or '0,tench', the number is left
  out. A synset id in front of a name stays: `classes` finds both.

  Raises:
    UserError: the file is not text in UTF-8, or it has no names.
    OSError: it cannot be read.
  """
  if text in LISTS:
    return LISTS[text]()
  path = pathlib.Path(text).expanduser()
  try:
    content = path.read_text(encoding='utf-8-sig')  # with or without a mark
  except UnicodeDecodeError as error:
    line = error.object[: error.start].count(b'\n') + 1
    raise UserError(
      f'{text!r} is not text in UTF-8 (line {line}): expected a name of a '
      f'class in each line; if the file is in Latin-1, type iconv -f latin1 '
      f'-t utf-8 {path} > labels.txt, and name labels.txt instead'
    ) from None
  names = tuple(line.strip() for line in content.rstrip().split('\n'))
  if names == ('',):
    raise UserError(
      f'{text!r} has no names of classes: expected {", ".join(LISTS)}, or a '
      'file with a name in each line'
    )
  numbered = [re.fullmatch(r'(\d+)[ \t:,;]+(.+)', name) for name in names]
  if all(found and int(found[1]) == i for i, found in enumerate(numbered)):
    return tuple(found[2] for found in numbered if found)
  return names
