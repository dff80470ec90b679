"""The command `vizjax run`, in a checkout."""

import sys

from vizjax import __main__ as command

if __name__ == '__main__':
  command.start('run', sys.argv[1:])
