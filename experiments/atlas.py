"""The command `vizjax atlas`, in a checkout."""

import sys

from vizjax import __main__ as command

if __name__ == '__main__':
  command.start('atlas', sys.argv[1:])
