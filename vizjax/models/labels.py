"""Names of classes, by the name of a list or from a file."""

import pathlib

from vizjax.models import imagenet
from vizjax.models import places205

LISTS = {'imagenet': imagenet.labels, 'places205': places205.labels}


def read(text: str) -> tuple[str, ...]:
  """The names of a key of `LISTS`, or of a file with one in each line.

  Raises:
    ValueError: the file is not text, or empty.
    OSError: it cannot be read.
  """
  if text in LISTS:
    return LISTS[text]()
  try:
    content = pathlib.Path(text).expanduser().read_text(encoding='utf-8')
  except UnicodeDecodeError:
    content = ''
  names = tuple(content.splitlines())
  if not names:
    raise ValueError(
      f'{text!r} has no names of classes: expected {", ".join(LISTS)}, or a '
      'file with a name in each line'
    )
  return names
