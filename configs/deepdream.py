"""DeepDream (Mordvintsev, Olah and Tyka 2015): photographs that a layer dreams.

The notebook of https://github.com/google/deepdream, "Inceptionism": a layer's
activation is amplified in a photograph, from small to large in octaves, each
step by the gradient over its mean size, the image shifted at random.

  plain    inception_4c/output of GoogLeNet
  guided   towards what inception_3b/output sees in another photograph
  zoom     a film: each frame dreamed of the one before, zoomed in
  own      conv4 of alexnet_features, offline

GoogLeNet has to be fetched once, for all but `own`:

  vizjax weights fetch bvlc_googlenet
  vizjax run --config=deepdream:plain \\
    --config.photograph=sky.jpg --workdir=DIR
  ... --config=deepdream:guided --config.guide=flowers.jpg
  ... --config=deepdream:zoom
  ... --config.photograph='DIR/*.jpg'            # several, in one batch
  ... --config.size=x2 --config.transforms='roll(jitter) | tiles(256, 256)' \\
    --config.views=sum                           # large, in bounded memory

Expected of `own` with the notebook's sky1024px.jpg, 1024 x 575: eyes of all
sizes in the clouds, in 14 seconds on two cores of a CPU; of conv4_3 of
vgg16_features eyes in the clouds, scales and worms in the sky, in two minutes
and 3 GB. Of `zoom` by conv4, six frames: the eyes grow and draw rings.

The film: vizjax export --format=mp4 --workdir=DIR --out=FILMS.
"""

from ml_collections import config_dict

from vizjax import build
from vizjax.errors import UserError

FORMS = {
  'plain': {},
  'guided': {
    'layer': 'inception_3b/output',
    'objective': 'guided(layer)',
    'data': 'guide = features(model, layer, guide)',
  },
  'zoom': {'frames': 100, 'image_dtype': 'uint8'},
  'own': {
    'model': "load('alexnet_features')",
    'layer': 'conv4',
    'mean': None,
  },
}


def get_config(form='plain'):
  if form not in FORMS:
    raise UserError(
      f'deepdream:{form} is not one of its forms: type deepdream:'
      f'{", :".join(FORMS)}'
    )
  config = build.config()

  # Which network, layer and photograph.
  config.model = "load('bvlc_googlenet')"
  config.mean = '122,116,104'
  config.layer = 'inception_4c/output'
  config.photograph = ''  # has to be given; or several: 'DIR/*.jpg'
  config.guide = config_dict.placeholder(str)  # a photograph, of `guided`

  # Numbers.
  config.steps = 10  # at each octave
  config.step_size = 1.5  # grey levels, in the mean
  config.jitter = 32  # pixels
  config.octave_n = 4
  config.octave_scale = 1.4
  config.size = config_dict.placeholder(str)  # 'HxW', 'xF'; of the photograph
  config.frames = 1  # of the film
  config.zoom = 0.05  # part of a frame that the next one lacks

  # Formulas.
  config.scales = (
    'octaves(octave_n, octave_scale, photograph, size, frames, zoom)'
  )
  config.transforms = 'roll(jitter)'
  config.objective = 'dream(layer)'
  config.optimizer = 'normalize_by_mean_abs() | sgd(step_size)'
  config.projections = 'clip_pixels(model)'
  config.result = 'next'  # after the last update, as there

  # How to run it.
  config.box = False
  config.every = 10
  config.show = 'save'
  config.batch = 1  # photographs at a time
  config.update(FORMS[form])
  return config
