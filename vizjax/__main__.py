"""The command `vizjax`, also as `python -m vizjax`."""

import ast
import importlib
import os
import pathlib
import signal
import sys

import vizjax
from vizjax import errors

# In the order of the help.
COMMANDS = (
  'run',
  'atlas',
  'export',
  'examples',
  'weights',
  'validate',
  'act_range',
  'train_generator',
  'benchmark',
  'list',
)


def main() -> None:
  """Runs the subcommand that is typed, or prints which ones there are."""
  command, *arguments = sys.argv[1:] or ['--help']
  if command in ('--help', '-help', '-h', 'help'):
    _print(_help())
  elif command == '--version':
    print(f'vizjax {vizjax.__version__}')
  elif command in COMMANDS:
    start(command, arguments)
  else:
    near = errors.nearest(command, COMMANDS)
    advice = f'vizjax {near}' if near else 'vizjax --help'
    print(
      f'{command!r} is no subcommand of vizjax, expected one of '
      f'{", ".join(COMMANDS)}: type {advice}',
      file=sys.stderr,
    )
    sys.exit(2)


def start(command: str, arguments: list[str]) -> None:
  """Runs a subcommand.

  Args:
    command: one of COMMANDS.
    arguments: what is typed after it.
  """
  # The imports take seconds; after them `launch.run` answers Ctrl-C. A shell
  # lets what it starts in the background ignore Ctrl-C: that stays so.
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
  # Formulas find the user's modules in this folder; last, so that a file that
  # is called json.py there hides nothing.
  if '' not in sys.path and os.getcwd() not in sys.path:
    sys.path.append('')
  sys.argv = [f'vizjax {command}', *arguments]
  importlib.import_module(f'vizjax.cli.{command}').start()


def _end(number, frame):
  # Not by print, which the signal may have interrupted.
  os.write(2, b'interrupted before it began: type the same command again\n')
  os._exit(128 + number)


def _print(text: str) -> None:
  """Prints a text, also to a reader that stops early, such as `head`."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _help() -> str:
  """Returns a line for each subcommand, and what else can be typed."""
  width = max(map(len, COMMANDS))
  lines = [f'  {name:{width}}  {_sentence(name)}' for name in COMMANDS]
  return '\n'.join(
    [
      'vizjax COMMAND --FLAG=VALUE ...',
      '',
      *lines,
      '',
      'vizjax COMMAND --help tells how to use one.',
    ]
  )


def _sentence(command: str) -> str:
  """Returns the first line of a subcommand's docstring; imports nothing."""
  path = pathlib.Path(__file__).parent / 'cli' / f'{command}.py'
  docstring = ast.get_docstring(ast.parse(path.read_text('utf-8')))
  return docstring.splitlines()[0] if docstring else ''


if __name__ == '__main__':
  main()
