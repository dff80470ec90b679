"""Runs several commands of a launcher, each in a fork of one process.

  python tests/forked.py FOLDER MODULE '[["--flag", ...], ...]'

The process has imported vizjax, which takes longer than most commands that are
refused. The output of each command is in FOLDER/0.out, FOLDER/0.err, ...;
prints a list of the exit statuses.
"""

import importlib
import json
import os
import pathlib
import runpy
import sys

IMPORTED = (
  'vizjax.cli.run',
  'vizjax.sweeps.description',
  'vizjax.sweeps.watching',
)


def main(folder: str, module: str, commands: list[list[str]]) -> None:
  for name in IMPORTED:
    importlib.import_module(name)
  children = []
  for number, arguments in enumerate(commands):
    children.append(os.fork())
    if not children[-1]:
      for stream, name in ((1, 'out'), (2, 'err')):
        file = open(pathlib.Path(folder, f'{number}.{name}'), 'wb')
        os.dup2(file.fileno(), stream)
      sys.argv[1:] = arguments
      runpy.run_module(module, run_name='__main__', alter_sys=True)
      sys.exit()
  ends = [os.waitpid(child, 0)[1] for child in children]
  print(json.dumps([os.waitstatus_to_exitcode(end) for end in ends]))


if __name__ == '__main__':
  main(*sys.argv[1:3], json.loads(sys.argv[3]))
