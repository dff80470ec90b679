"""The command `vizjax list`, in a checkout."""

import sys

from vizjax import __main__ as command

if __name__ == '__main__':
  command.start('list', sys.argv[1:])
