"""The regularized images of Yosinski et al. (2015), as their program does.

optimize_image of https://github.com/yosinski/deep-visualization-toolbox, the
four sets of Table 1 of https://arxiv.org/abs/1506.06579; most images of the
paper are of set 3. Starts are NumPy's RandomState(seed), as in the program,
and activations are read behind the rectifier, as there. The store has its
records as trace/obj, idxmax, ismax, norm, dist and std, and beside the best
image the last one and the first whose unit is the largest of its layer.

Expected of units 0 to 8 of conv5: textures on a flat ground, activations of 4
to 40 by set 1 and of 13 to 43 by set 4 (500 steps). By set 3, of all 256 units
on images of 163 x 163: soft patterns in the middle of a flat ground, such as
rings, stripes, eyes and petals, activations of 1.1 to 24.5, half of them above
8.7; of 235 the unit becomes the largest of its layer. Set 2 is made for larger
gradients: here its decay leaves most units silent.

  vizjax run --config=yosinski2015:3 --workdir=DIR
  ... --config.layer=conv4 --config.units=0:64 --config.sigma=0.5
  ... --config.shape=227x227 --config.mean=ilsvrc_2012_mean.npy
  ... --config.start='legacy_uniform(model)'      # or 'mean_image(model)'
  ... --config.optimizer='progress01(early, late, max_rate, push_dir)'
  ... --config.push_dir=-1
"""

from vizjax import build
from vizjax.errors import UserError

# The table: decay; blur; regularizer; steps; learning rate.
SETS = {
  '1': {
    'sigma': 0.5,
    'small_norm': 50.0,
    'steps': 500,
    'optimizer': 'progress(desired, max_rate)',
  },
  '2': {'decay': 0.3, 'period': 0, 'small_norm': 20.0, 'steps': 750},
  '3': {'decay': 1e-4, 'sigma': 1.0},
  '4': {
    'sigma': 0.5,
    'px_abs_benefit': 90.0,
    'optimizer': 'progress(desired, max_rate)',
    'max_rate': 1e8,
  },
}


def get_config(number='3'):
  if number not in SETS:
    raise UserError(
      f'yosinski2015:{number} is not one of its sets: type yosinski2015'
      ':1, :2, :3 or :4'
    )
  config = build.config()

  # Which network and which units.
  config.model = "load('alexnet_features')"
  config.layer = 'conv5'
  config.start = 'legacy_normal(model, std)'

  # Numbers.
  config.std = 10.0  # grey levels of the start
  config.steps = 1000
  config.push_dir = 1.0  # what the gradient enters with; -1 minimizes
  config.rate = 100.0  # grey levels per unit of score and gradient
  config.desired = 2.0  # gain in score that a step is to promise
  config.early = 0.1  # the same for a probability, far from 1,
  config.late = 0.5  # and as a fraction of what is missing
  config.max_rate = 100.0
  config.decay = 0.0  # fraction removed a step
  config.sigma = 0.0  # pixels
  config.period = 4  # steps from blur to blur; 0 for none
  # Percent of the image that is zeroed a step.
  config.small_val = 0.0
  config.small_norm = 0.0
  config.px_benefit = 0.0
  config.px_abs_benefit = 0.0

  # Formulas.
  config.parameterization = 'pixels(model)'
  config.objective = 'push_dir * neuron(layer, read=rectifier)'
  config.optimizer = 'sgd(rate)'
  config.projections = (
    'l2_decay(decay) | every(period, gaussian_blur(sigma))'
    ' | drop_small_values(small_val) | drop_small_norms(small_norm)'
    ' | drop_small_benefits(px_benefit)'
    ' | drop_small_abs_benefits(px_abs_benefit)'
  )
  config.procedure = 'optimize_image(layer, rectifier)'
  config.activation = 'neuron(layer, read=rectifier)'
  config.keep = 'last, majority'
  config.update(SETS[number])

  # How to run it: the program works on the whole image.
  config.box = False
  return config
