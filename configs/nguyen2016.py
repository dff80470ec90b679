"""Preferred images through a deep generator, of Nguyen et al. (2016).

act_max.py of https://github.com/Evolving-AI-Lab/synthesizing and its five
scripts, https://arxiv.org/abs/1605.09304: the code of an image generator is
optimized, kept between 0 and what natural images give it, and decays. The
result is the last image, not the best, as there.

  activate_output  classes of CaffeNet (mask, library, leaf beetle, ...)
  places           scenes of Places205's AlexNet
  real_image       bell pepper, from a photograph; all frames are kept
  hidden           units of conv5 of Places205's AlexNet
  googlenet        the classes of the first, of GoogLeNet
  own              units of conv5 of alexnet_features, by a generator that
                   `vizjax train_generator` made

The networks and the bounds have to be fetched once, all but those of `own`:

  vizjax weights fetch deepsim_fc6 bvlc_caffenet \\
    act_range_3x_fc6
  vizjax run --config=nguyen2016:activate_output \\
    --workdir=DIR
  ... --config.units=0:1000                          # every class
  vizjax run --config=nguyen2016:real_image \\
    --config.photograph=red_pepper.jpg --workdir=DIR
  vizjax run --config=nguyen2016:own \\
    --config.prior="trained('GENERATOR')" --workdir=DIR
  ... --config.bounds=relu5.txt       # of `vizjax act_range`; else 'inf'

Expected of `own` with the generator of configs/generator.py and bounds of one
standard deviation (act_range --sigmas=1): units 0 to 63 of conv5 reach 93 to
304, in the middle 161; those of configs/demo.py on pixels 87 to 379, 205, and
those of yosinski2015.py:3 1.5 to 24.5, 8. Each is one thing in the middle of a
grey ground: the face of an animal (0, 55), a tin (14), a pot and what is in it
(45), a white head with black spots (15), a green ball (8); others are rings and
blobs with frayed edges and sparks of colour. With three standard deviations
the first six reach 245 to 474, and are black and white. 64 units take 14
minutes on two cores of a CPU.

Pictures as the scripts make them: vizjax export --format=synthesizing.
"""

from ml_collections import config_dict

from vizjax import build
from vizjax.errors import UserError

_CLASSES = '643,624,304,629,437'  # mask, library, leaf beetle, lipstick, beacon

FORMS = {
  'activate_output': {},
  'places': {
    'model': "load('places205_alexnet')",
    'units': '2,7,8,12,71',  # alley, arch, art gallery, auditorium, doorway
  },
  'real_image': {
    'units': '945',  # bell pepper
    'steps': 30,
    'rate_start': 1.0,
    'save_every': 1,
    'encoder': "load('bvlc_caffenet')",
    'data': 'code = encoded(encoder, code_layer, photograph, prior)',
  },
  'hidden': {
    'model': "load('places205_alexnet')",
    'layer': 'conv5',
    # Lighthouse, building, bookcase, food, painting.
    'units': '8@6x6,55@6x6,154@6x6,181@6x6,45@6x6',
  },
  'googlenet': {
    'model': "load('bvlc_googlenet')",
    'layer': 'loss3/classifier',
    'rate_start': 2.0,
  },
  'own': {
    'model': "load('alexnet_features')",
    'layer': 'conv5',
    'units': '0:64',
    'prior': '',
    'rate_start': 1.0,
    'bounds': 'inf',
  },
}


def get_config(form='activate_output'):
  if form not in FORMS:
    raise UserError(
      f'nguyen2016:{form} is not one of its forms: type nguyen2016:'
      f'{", :".join(FORMS)}'
    )
  config = build.config()

  # Which networks and which units.
  config.model = "load('bvlc_caffenet')"
  config.prior = "load('deepsim_fc6')"
  config.layer = 'fc8'
  config.units = _CLASSES

  # Numbers.
  config.steps = 200
  config.rate_start, config.rate_end = 8.0, 1e-10
  config.decay = 0.01  # fraction of the code removed a step
  config.std = 1.0  # of the first code
  config.bounds = 'act_range_3x_fc6'  # a file of numbers, or one number
  config.code_layer = 'relu6'  # what gives a photograph its code
  config.photograph = config_dict.placeholder(str)

  # Formulas.
  config.parameterization = 'generator(prior, model)'
  config.data = 'code = legacy_code(prior, std)'
  config.objective = 'neuron(layer)'
  config.optimizer = (
    'normalize_by_mean_abs()'
    ' | heavy_ball(linear_schedule(rate_start, rate_end, steps))'
  )
  config.projections = 'clip_box(0., bound(bounds, prior)) | l2_decay(decay)'
  config.procedure = 'act_max()'
  config.result = 'last'
  config.update(FORMS[form])

  # How to run it: the program works on the whole image.
  config.box = False
  return config
