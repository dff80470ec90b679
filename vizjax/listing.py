"""Lists of names as they are typed: `conv3,conv4`, `'conv*'`, `'"a,b",c'`.

A name that holds a comma stands in double quotes, as in a CSV file.
"""

from collections.abc import Sequence
import csv
import fnmatch

from vizjax.errors import UserError


def split(text: str) -> list[str]:
  """The names of a list, without the blanks around them; [''] for none.

  Raises:
    UserError: a quote is not closed, or a line break is outside quotes.
  """
  try:
    if text.count('"') % 2:
      raise csv.Error('a quote is not closed')
    parts = next(csv.reader([text], skipinitialspace=True), [])
  except csv.Error:
    raise UserError(
      f'{text!r} cannot be read as a list: type conv3,conv4, and a name with a '
      'comma or a line break in double quotes, as \'"a,b",c\''
    ) from None
  return [part.strip() for part in parts] or ['']


def typed(names: Sequence[str]) -> str:
  """The text that `split` reads these names from."""
  return ','.join(map(_quoted, names))


def matching(
  text: str, known: Sequence[str], globbed: Sequence[str] | None = None
) -> tuple[set[str], str | None]:
  """The names that a list of names and globs means.

  Args:
    text: the list.
    known: names that may be in it. A name comes before a glob: '[0]' is the
      name '[0]' where there is one.
    globbed: names that a glob can match; `known` unless given.

  Returns:
    The names, and the first part of the list that is none of them, or None.
  """
  globbed = known if globbed is None else globbed
  chosen = set()
  for part in split(text):
    found = {part} & set(known) or set(fnmatch.filter(globbed, part))
    if not found:
      return chosen, part
    chosen |= found
  return chosen, None


def _quoted(name: str) -> str:
  plain = name == name.strip() and not set(name) & set(',"\n\r') and name
  return name if plain else '"{}"'.format(name.replace('"', '""'))
