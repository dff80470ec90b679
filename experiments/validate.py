"""The command `vizjax validate`, in a checkout."""

import sys

from vizjax import __main__ as command

if __name__ == '__main__':
  command.start('validate', sys.argv[1:])
