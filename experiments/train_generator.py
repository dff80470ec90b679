"""The command `vizjax train_generator`, in a checkout."""

import sys

from vizjax import __main__ as command

if __name__ == '__main__':
  command.start('train_generator', sys.argv[1:])
