"""Makes the pages of a workdir; the last line printed is where to look.

python -m experiments.atlas --workdir=DIR
"""

from absl import flags

from experiments import launch
from vizjax import atlas

_WORKDIR = flags.DEFINE_string('workdir', None, 'Of experiments.run.')
_CONTRAST = flags.DEFINE_float(
  'contrast',
  0.5,
  'Percent of values at either end shown as black and white; 0: as stored.',
  lower_bound=0,
  upper_bound=49,
)
_OUT = flags.DEFINE_string(
  'out', None, 'The folder; WORKDIR/atlas unless given.'
)


def main() -> None:
  workdir, contrast = _WORKDIR.value, _CONTRAST.value
  print(atlas.write(workdir, contrast=contrast, out=_OUT.value))


if __name__ == '__main__':
  launch.run(main, 'workdir')
