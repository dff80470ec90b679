"""Bars on a terminal, lines elsewhere, and silence where it is asked for."""

import io
import sys

from vizjax import progress


class Terminal(io.StringIO):
  """Standard error of somebody who looks at it."""

  def isatty(self):
    return True


def looked_at(monkeypatch):
  """Makes standard error a terminal; a fixture would be undone by pytest."""
  stream = Terminal()
  monkeypatch.setattr(sys, 'stderr', stream)
  return stream


def test_a_line_of_progress_leaves_out_what_is_not_known_yet(capsys):
  line = '{desc}{postfix}, {percentage:.0f}%, {rate_fmt}, {remaining} left'
  options = {'desc': 'conv5', 'total': 9, 'postfix': '0/3 images'}
  progress.bar(line, **options).close()
  assert capsys.readouterr().err == 'conv5, 0/3 images, 0%\n' * 2


def test_a_new_part_closes_the_bar_of_the_last_one(capsys):
  with progress.Bars('{desc}: {n_fmt} of {total_fmt}', unit=' images') as bars:
    for part, total in (('a', 2), ('b', 1)):
      for _ in range(total):
        bars.of(part, total=total).update()
  lines = ['a: 0 of 2', 'a: 2 of 2', 'b: 0 of 1', 'b: 1 of 1']
  assert capsys.readouterr().err.splitlines() == lines


def test_a_part_that_was_closed_goes_on_in_a_bar_of_its_own(capsys):
  bars = progress.Bars('{desc}: {n_fmt} of {total_fmt}')
  bars.close()  # before the first
  bars.of('a', total=9).update(3)
  bars.close()
  bars.of('a', total=9, initial=3).update(6)
  bars.close()
  lines = ['a: 0 of 9', 'a: 3 of 9', 'a: 3 of 9', 'a: 9 of 9']
  assert capsys.readouterr().err.splitlines() == lines


def sweep(bars):
  for part in ('a', 'b'):
    bars.say(f'compiling {part} ...')
    bars.whole('all', total=4).update(2)
    bars.of(part, total=2).update(2)
  bars.close()


def test_the_bar_of_the_whole_stays_open_from_part_to_part(capsys):
  sweep(progress.Bars('{desc}: {n_fmt} of {total_fmt}'))
  lines = ['compiling a ...', 'all: 0 of 4', 'a: 0 of 2', 'a: 2 of 2']
  lines += ['compiling b ...', 'b: 0 of 2', 'b: 2 of 2', 'all: 4 of 4']
  assert capsys.readouterr().err.splitlines() == lines


def test_a_terminal_keeps_one_line_of_the_whole(monkeypatch):
  terminal = looked_at(monkeypatch)
  sweep(progress.Bars(unit=' images'))
  shown = terminal.getvalue()
  assert '\x1b[A' in shown  # the bar of a part stands below
  assert shown.splitlines()[-1].lstrip('\r').startswith('all: 100%|')
  assert 'compiling a ...\n' in shown and 'images/s' in shown


def test_quiet_bars_show_nothing(capsys, monkeypatch):
  sweep(progress.Bars(quiet=True))
  assert not capsys.readouterr().err
  terminal = looked_at(monkeypatch)
  sweep(progress.Bars(quiet=True))
  assert not terminal.getvalue()


def test_a_notebook_shows_widgets(monkeypatch):
  made = []

  class Widget(progress.notebook.tqdm_notebook):
    def __init__(self, **options):
      made.append(options)
      super().__init__(disable=True)

  monkeypatch.setattr(progress.auto, 'tqdm', Widget)
  progress.bar('{n}', desc='conv5', total=3).close()
  assert made == [{'desc': 'conv5', 'total': 3}]
