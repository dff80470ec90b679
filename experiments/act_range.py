"""The command `vizjax act_range`, in a checkout."""

import sys

from vizjax import __main__ as command

if __name__ == '__main__':
  command.start('act_range', sys.argv[1:])
