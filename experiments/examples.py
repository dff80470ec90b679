"""The command `vizjax examples`, in a checkout."""

import sys

from vizjax import __main__ as command

if __name__ == '__main__':
  command.start('examples', sys.argv[1:])
