"""The command `vizjax export`, in a checkout."""

import sys

from vizjax import __main__ as command

if __name__ == '__main__':
  command.start('export', sys.argv[1:])
