"""What a misspelt name may have been meant to be."""

from collections.abc import Iterable
import difflib


def nearest(name: str, known: Iterable[str]) -> str | None:
  """The name that is most like it, if one is like it."""
  return next(iter(difflib.get_close_matches(name, list(known), 1)), None)


def hint(name: str, known: Iterable[str]) -> str:
  """The end of a message: " Did you mean 'conv5'?", or nothing."""
  near = nearest(name, known)
  return '' if near is None else f' Did you mean {near!r}?'
