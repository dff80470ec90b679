"""Update rules that optax lacks, and L-BFGS-B for a batch of problems.

rules        updates and schedules as the published programs have them
lbfgs        L-BFGS-B for many bounded problems at once
line_search  its line search, of Moré and Thuente 1994
memory       its compact matrices, of Byrd et al. 1995
"""

from vizjax.optimizers.lbfgs import lbfgsb
from vizjax.optimizers.lbfgs import lbfgsb_pixels
from vizjax.optimizers.rules import adam_reordered
from vizjax.optimizers.rules import heavy_ball
from vizjax.optimizers.rules import normalize_by_mean_abs
from vizjax.optimizers.rules import progress
from vizjax.optimizers.rules import progress01
from vizjax.optimizers.rules import staged_momentum

__all__ = [
  'adam_reordered',
  'heavy_ball',
  'lbfgsb',
  'lbfgsb_pixels',
  'normalize_by_mean_abs',
  'progress',
  'progress01',
  'staged_momentum',
]
