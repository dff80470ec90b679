"""The regularized images of Yosinski et al. (2015), as their program does.

optimize_image of https://github.com/yosinski/deep-visualization-toolbox, the
four sets of Table 1 of https://arxiv.org/abs/1506.06579; most images of the
paper are of set 3. The start is NumPy's RandomState(seed), as in the program.
The program reports what follows the rectifier: for that reading, type
--config.objective="neuron(layer, read='relu5')".

  python -m experiments.run --config=configs/yosinski2015.py:3 --workdir=DIR
  ... --config.layer=conv4 --config.units=0:64 --config.sigma=0.5
  ... --config.shape=227x227 --config.mean=ilsvrc_2012_mean.npy
  ... --config.objective='neuron(layer) - 0.1 * total_variation()'
"""

from vizjax import build

# decay, sigma, steps, learning rate, and what is dropped.
SETS = {
  '1': (0.0, 0.5, 500, 'progress(desired, max_rate)', 'drop_small_norms(50)'),
  '2': (0.3, 0.0, 750, 'sgd(rate)', 'drop_small_norms(20)'),
  '3': (1e-4, 1.0, 1000, 'sgd(rate)', ''),
  '4': (
    0.0,
    0.5,
    1000,
    'progress(desired, max_rate)',
    'drop_small_abs_benefits(90)',
  ),
}


def get_config(number='3'):
  if number not in SETS:
    raise ValueError(
      f'yosinski2015.py:{number} is not one of its sets: type yosinski2015.py'
      ':1, :2, :3 or :4'
    )
  decay, sigma, steps, optimizer, drop = SETS[number]
  config = build.config()

  # Which network and which units.
  config.model = "load('alexnet_features')"
  config.layer = 'conv5'
  config.start = 'legacy_normal(model, std)'

  # The knobs.
  config.std = 10.0  # grey levels of the start
  config.steps = steps
  config.rate = 100.0  # grey levels per unit of score and gradient
  config.desired = 2.0  # gain in score that a step is to promise
  config.max_rate = 1e8 if number == '4' else 100.0
  config.decay = decay  # fraction removed a step
  config.sigma = sigma  # pixels
  config.period = 4  # steps from blur to blur

  # The method.
  config.parameterization = 'pixels(model)'
  config.objective = 'neuron(layer)'
  config.optimizer = optimizer
  config.projections = ' | '.join(
    filter(
      None,
      (
        'l2_decay(decay)',
        'every(period, gaussian_blur(sigma))',
        drop,
        'clip_pixels(model)',
      ),
    )
  )
  config.activation = 'neuron(layer)'
  config.trace = 'norm = l2_norm(), std = std()'

  # How to run it: the program works on the whole image.
  config.box = False
  config.batch = 32  # units at a time
  return config
