"""The command `vizjax benchmark`, in a checkout."""

import sys

from vizjax import __main__ as command

if __name__ == '__main__':
  command.start('benchmark', sys.argv[1:])
