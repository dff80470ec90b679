"""Bars that show how far a work is: on a terminal, in a notebook, or as lines.

  with progress.Bars(unit=' images') as bars:
    whole = bars.whole('all layers', total=200)
    bars.say('compiling conv5 ...')
    bars.of('conv5', total=100).update(32)
    whole.update(32)

Where standard error is no terminal, as in a log file, a bar is a line now and
then. In a notebook with ipywidgets a bar is a widget.
"""

import sys
from typing import Any

from tqdm import auto
from tqdm import notebook
from tqdm import std

# The text of a bar where there is no terminal, as tqdm's bar_format.
LINE = '{desc}: {n_fmt} of {total_fmt}, {rate_fmt}, {remaining} left'

_SECONDS = 10  # between two lines, where there is no terminal


class Bars:
  """A bar for the whole of some work, and one for the part under way.

  Args:
    line: as of `bar`.
    quiet: whether nothing is shown.
    options: of tqdm, the same for every bar.
  """

  def __init__(self, line: str = LINE, *, quiet: bool = False, **options: Any):
    self.line, self.options = line, {'quiet': quiet, **options}
    self.quiet = quiet
    self.part = self.part_bar = self.whole_bar = None

  def __enter__(self) -> 'Bars':
    return self

  def __exit__(self, *raised: Any) -> None:
    self.close()

  def whole(self, name: str, **options: Any) -> std.tqdm:
    """Opens the bar of the whole work, above those of its parts.

    Args:
      name: of the work, as tqdm's `desc`.
      options: of tqdm.
    """
    if self.whole_bar is None:
      self.whole_bar = bar(self.line, desc=name, **self.options, **options)
    return self.whole_bar

  def of(self, part: str, **options: Any) -> std.tqdm:
    """Returns the bar of a part; a new part closes the bar of the last one.

    Args:
      part: name of the part, as tqdm's `desc`.
      options: of tqdm, for the bar of a new part.
    """
    if part != self.part:
      self._close_part()
      self.part = part
      # Below the bar of the whole, a bar of each finished part would pile up.
      leave = self.whole_bar is None
      options = {'leave': leave, **self.options, **options}
      self.part_bar = bar(self.line, desc=part, **options)
    assert self.part_bar is not None
    return self.part_bar

  def say(self, text: str) -> None:
    """Closes the bar of the part, and writes a line."""
    self._close_part()
    if not self.quiet:
      if _is_drawn():
        auto.tqdm.write(text, file=sys.stderr)
      else:
        print(text, file=sys.stderr, flush=True)

  def close(self) -> None:
    """Closes the bars that are open."""
    self._close_part()
    if self.whole_bar is not None:
      self.whole_bar.close()
    self.whole_bar = None

  def _close_part(self) -> None:
    if self.part_bar is not None:
      self.part_bar.close()
    self.part = self.part_bar = None


def bar(line: str = LINE, *, quiet: bool = False, **options: Any) -> std.tqdm:
  """Returns a bar on a terminal or in a notebook; elsewhere it writes lines.

  Args:
    line: text of the lines, as tqdm's bar_format.
    quiet: whether nothing is shown. Such a bar does not count: its `n` stays.
    options: of tqdm.
  """
  if quiet:
    options['disable'] = True
  elif not _is_drawn():
    lines = {'file': _Lines(), 'bar_format': line, 'mininterval': _SECONDS}
    # Each bar writes its own last line, and none moves a cursor.
    options |= lines | {'leave': True, 'position': 0}
  return auto.tqdm(**options)


def _is_drawn() -> bool:
  """Returns whether a bar is drawn: on a terminal, or by a notebook."""
  return issubclass(auto.tqdm, notebook.tqdm_notebook) or sys.stderr.isatty()


class _Lines:
  """Standard error, with each state of a bar on a line of its own."""

  def write(self, text: str) -> None:
    # tqdm writes '?' for a rate or a time that is not known yet.
    parts = text.strip().split(', ')
    if known := ', '.join(p for p in parts if not p.startswith('?')):
      print(known, file=sys.stderr)

  def flush(self) -> None:
    sys.stderr.flush()
