"""Preferred images as cnnpref makes them (Abdelhack and Kamitani 2018).

prefer_img_gd and prefer_img_lbfgs of https://github.com/KamitaniLab/cnnpref,
with the options of its example scripts: `gd_lower`, `gd_higher`,
`lbfgs_lower`, `lbfgs_higher`. The scripts visualise conv1 and fc8 of BVLC's
AlexNet; here the networks are those that need no download. For theirs, type
--config.model="load('bvlc_alexnet')" and --config.layer=fc8.

Expected, as seen: of conv1, by gd_lower one edge or a pair of coloured spots
in the middle of a grey image, by lbfgs_lower crisp filters on black. Of 25
classes of efficientnet_lite0 by gd_higher faint reliefs on grey, logits of 2
to 21; stretched (vizjax export --stretch) a manhole cover, a hook, a
helmet, pills, a pacifier and a traffic light are plain, most animals are not.
Of 8 classes by lbfgs_higher logits of 60 to 86 and faint coloured noise on
black, nothing to be recognized: the method has no other prior than its bounds.

Random numbers are those of NumPy's RandomState(seed), drawn in the order of
the program. Its L-BFGS counts iterations, `iterations`; one takes an
evaluation or a few, and `steps` bounds these.

  vizjax run --config=cnnpref:gd_lower --workdir=DIR
  ... --config.units=0:96:3 --config.jitter=8 --config.tv=2

prefer_img_dgn_gd and prefer_img_dgn_lbfgs optimize the code of a generator
instead: `dgn_gd_lower`, `dgn_gd_higher`, `dgn_lbfgs_lower`,
`dgn_lbfgs_higher`, by the networks of the scripts, which have to be fetched:

  vizjax weights fetch deepsim_fc6 bvlc_alexnet \\
    act_range_3x_fc6
  vizjax run --config=cnnpref:dgn_gd_higher \\
    --workdir=DIR
"""

from vizjax import build
from vizjax.errors import UserError

METHODS = ('gd', 'lbfgs', 'dgn_gd', 'dgn_lbfgs')
FORMS = tuple(f'{m}_{which}' for m in METHODS for which in ('lower', 'higher'))


def get_config(form='gd_lower'):
  if form not in FORMS:
    raise UserError(
      f'cnnpref:{form} is not one of its forms: type cnnpref:'
      f'{", :".join(FORMS)}'
    )
  config = build.config()

  # Which network and which units.
  if form.endswith('lower'):
    config.model = "load('alexnet_features')"
    config.layer = 'conv1'
    config.units = '0:64:2'
  else:
    config.model = "load('efficientnet_lite0')"
    config.layer = 'logits'
    config.units = '0:1000:40'

  config.parameterization = 'pixels(model)'
  config.objective = 'weight * neuron(layer)'
  config.activation = 'neuron(layer)'
  if form.startswith('gd'):
    _descent(config, form)
  elif form.startswith('lbfgs'):
    _lbfgs(config, form)
  else:
    _generator(config, form)

  # How to run it: the program works on the whole image.
  config.box = False
  return config


def _descent(config, form):
  # Numbers; schedules run from start to end.
  config.weight = 1.0
  config.steps = 201  # 200 updates; the image after the last one is kept
  config.rate_start, config.rate_end = 1.0, 1.0
  config.momentum_start, config.momentum_end = 0.001, 0.001
  config.decay_start, config.decay_end = 0.001, 0.001
  config.normalize = True
  config.jitter = 4 if form == 'gd_lower' else 32
  config.sigma_start, config.sigma_end = 2.5, 0.5
  config.p, config.p_start, config.p_end = 0.0, 0.5, 0.5
  config.tv, config.tv_start, config.tv_end = 0.0, 0.5, 0.5
  config.e_every, config.e_start, config.e_end = 0, 1.0, 1.0
  config.n_every, config.n_start, config.n_end = 1, 5.0, 5.0
  config.c_every, config.c_start, config.c_end = 1, 5.0, 5.0

  # Formulas.
  config.start = 'legacy_integers()'
  config.data = 'noise = legacy_norm(), shifts = legacy_shifts(jitter, steps)'
  config.procedure = (
    'prefer_img_gd(linear_schedule(rate_start, rate_end, steps - 1),'
    ' linear_schedule(momentum_start, momentum_end, steps - 1), normalize,'
    ' p, linear_schedule(p_start, p_end, steps - 1),'
    ' tv, linear_schedule(tv_start, tv_end, steps - 1))'
  )
  config.projections = (
    'every(e_every, clip_percentile('
    'linear_schedule(e_start, e_end, steps - 1)), 1)'
    ' | every(n_every, drop_small_norms('
    'linear_schedule(n_start, n_end, steps - 1)), 1)'
    ' | every(c_every, drop_small_contributions('
    'linear_schedule(c_start, c_end, steps - 1)), 1)'
    ' | l2_decay(linear_schedule(decay_start, decay_end, steps - 1))'
    ' | gaussian_blur(linear_schedule(sigma_start, sigma_end, steps - 1))'
  )
  config.optimizer = 'sgd(1.)'  # the procedure has its own
  config.result = 'last'


def _lbfgs(config, form):
  # Numbers.
  lower = form == 'lbfgs_lower'
  config.weight = 1.0 if lower else 10.0
  config.iterations = 50 if lower else 500
  config.steps = 75 if lower else 750

  # Formulas: from black, which is the lower bound of every pixel.
  config.start = 'constant(0)'
  config.optimizer = 'lbfgsb_pixels(model, iterations=iterations)'
  config.result = 'best'


def _generator(config, form):
  lower = form.endswith('lower')
  config.model = "load('bvlc_alexnet')"
  config.prior = "load('deepsim_fc6')"
  config.layer = 'conv1' if lower else 'fc8'
  config.units = '0:96:3' if lower else '0:1000:40'
  config.bounds = 'act_range_3x_fc6'  # a file of numbers, or one number
  config.parameterization = 'generator(prior, model)'
  config.data = 'code = legacy_code(prior, 10., rectified=True)'
  if form.startswith('dgn_gd'):
    _generator_descent(config, lower)
  else:
    _generator_lbfgs(config, lower)


def _generator_descent(config, lower):
  # Numbers; schedules run from start to end.
  config.weight = 1.0 if lower else 10.0
  config.steps = 200
  config.rate_start, config.rate_end = (0.1, 0.01) if lower else (2.0, 1e-10)
  kept = 0.1 if lower else 0.9
  config.momentum_start, config.momentum_end = kept, kept
  removed = 0.001 if lower else 0.01
  config.decay_start, config.decay_end = removed, removed

  # Formulas.
  config.optimizer = (
    'normalize_by_mean_abs()'
    ' | heavy_ball(linear_schedule(rate_start, rate_end, steps),'
    ' linear_schedule(momentum_start, momentum_end, steps))'
  )
  config.projections = (
    'l2_decay(linear_schedule(decay_start, decay_end, steps))'
    ' | clip_box(0., bound(bounds, prior))'
  )
  config.result = 'last'


def _generator_lbfgs(config, lower):
  # Numbers.
  config.weight = 0.05 if lower else 10.0
  config.iterations = 200 if lower else 500
  config.steps = 300 if lower else 750
  config.save_every = 10

  # Formulas.
  config.optimizer = 'lbfgsb(0., bound(bounds, prior), iterations=iterations)'
  config.result = 'best'
