"""Feature inversion: Mahendran and Vedaldi 2015, an image with given features.

https://arxiv.org/abs/1412.0035, as the program deep-goggle has it: gradient
descent with a momentum that is forgotten whenever the rate changes.

  library   the program's defaults: 2,100 steps, four starts
  paper     of the experiments: 400 steps, the variation weighed by depth
  own       `paper` on alexnet_features, offline

CaffeNet has to be fetched once, for all but `own`:

  vizjax weights fetch bvlc_caffenet
  vizjax run --config=mahendran2015:own \\
    --config.photograph='DIR/*.jpg' --config.layer='conv*' --workdir=DIR
  ... --config.mask='central(5)'          # from the middle 5 x 5 of the map
  ... --config.mask='channels(0, 128)'    # from one group of filters
  vizjax export --format=grid --workdir=DIR

`activation` in the store is the error: |a - a0|^2 / |a0|^2.
"""

from ml_collections import config_dict

from vizjax import build
from vizjax.errors import UserError

PAPER = {
  'rate': 0.004,
  'plan': '1x100,0.1x200,0.01x100',
  'steps': 400,
  'replicates': 1,
  'tv_weight': None,
}
FORMS = {
  'library': {},
  'paper': PAPER,
  # At the rate of the paper, skies diverge from conv3 of this network.
  'own': {**PAPER, 'model': "load('alexnet_features')", 'rate': 0.002},
}


def get_config(form='library'):
  if form not in FORMS:
    raise UserError(
      f'mahendran2015:{form} is not one of its forms: type '
      f'mahendran2015:{", :".join(FORMS)}'
    )
  config = build.config()

  # Which network, layers and photographs.
  config.model = "load('bvlc_caffenet')"
  config.layer = 'conv3'
  config.photograph = ''  # or several: 'DIR/*.jpg'
  config.each = 'photograph'
  config.fit = 'whole'  # squeezed to the network's input; or 'middle'
  config.replicates = 4  # starts

  # Numbers.
  config.sigma = 27098.11571533  # norm of a typical photograph less its mean
  config.alpha = 6.0  # of the norm
  config.alpha_weight = 8e-10
  config.beta = 2.0  # of the variation
  config.tv_weight = config_dict.FieldReference(  # None: by depth
    10.0, field_type=float
  )
  config.rate = 0.001
  config.plan = '1x800,0.1x500,0.01x500,0.001x200,0.0001x100'
  config.steps = 2100
  config.momentum = 0.9

  # Formulas; its energy is multiplied by sigma^2, as in the program.
  config.parameterization = 'pixels(model)'
  config.start = 'noise_of_norm(model, sigma, replicates)'
  config.data = 'content = activations(model, layer, photograph, fit)'
  config.objective = (
    '-sigma * sigma * feature_error(layer)'
    ' - variation_weight(layer, tv_weight) / 2 * total_variation(beta)'
    ' - alpha_weight / 2 * p_norm(alpha)'
  )
  config.optimizer = 'staged_momentum(rate, plan, momentum)'
  config.activation = 'feature_error(layer)'
  config.trace = 'error = feature_error(layer)'
  config.result = 'next'  # after the last update

  # How to run it.
  config.box = False
  config.update(FORMS[form])
  return config
