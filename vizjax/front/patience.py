"""Ctrl-C, or the stop button of a notebook, after the step at hand."""

from collections.abc import Callable, Iterator
import contextlib
import signal
import threading


@contextlib.contextmanager
def patient() -> Iterator[Callable[[], bool]]:
  """Gives a function that tells whether a stop was asked for.

  The first KeyboardInterrupt is only noted; the second is raised at once.
  Outside the main thread signals are somebody else's, so nothing is noted.
  """
  asked = []

  def handle(number, frame):
    if asked:
      raise KeyboardInterrupt(number)
    asked.append(number)

  if threading.current_thread() is not threading.main_thread():
    yield lambda: False
    return
  before = signal.signal(signal.SIGINT, handle)
  try:
    yield lambda: bool(asked)
  finally:
    signal.signal(signal.SIGINT, before)
