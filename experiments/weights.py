"""The command `vizjax weights`, in a checkout."""

import sys

from vizjax import __main__ as command

if __name__ == '__main__':
  command.start('weights', sys.argv[1:])
