"""Large images that amplify what a layer sees: cnn-vis (Johnson 2015).

The program and the example scripts of https://github.com/jcjohnson/cnn-vis,
after "Inceptionism" (Mordvintsev et al. 2015). An image grows from size to
size; at each it is covered by tiles of the size of the network's input, which
amplify a layer, hold on to the photograph if there is one, and stay smooth.
Memory is that of `tile_batch` tiles, whatever the size.

  example1 ... example6     noise to 1080 x 1920, by GoogLeNet
  example7 ... example13    photographs: --config.photograph=FILE
  neuron                    a channel of GoogLeNet instead of a layer
  own                       example 1's form on vgg16_features, offline

Knobs have the names of the program's options where they are options of it;
`steps` is num_steps, `every` output_iter, `show` iter_behavior, `tile_batch`
batch_size, and `rate` learning_rate. GoogLeNet has to be fetched once:

  vizjax weights fetch bvlc_googlenet
  vizjax run --config=cnn_vis:example1 --workdir=DIR
  ... --config=cnn_vis:example11 --config.photograph=sky.jpg
  ... --config.initial_size=x0.5 --config.final_size=x2 --config.num_sizes=3

Expected of `own` with --config.steps=12: rows of green and red bubbles, some of
them eyes, without a seam. With tile_batch=4 a step takes 17 seconds at 540 x
960 and some 50 at 1080 x 1920 on two cores of a CPU; a process of one size
takes 1.52 GB at the former and 1.77 GB at the latter.

Pictures as the program writes them are in DIR/shown; the stored image lacks
their 1.2-fold contrast.
"""

from ml_collections import config_dict

from vizjax import build
from vizjax.errors import UserError

# The grand mean of Caffe's ilsvrc_2012_mean.npy, which the program takes off.
_MEAN = '114.45155662981172,114.45155662981172,114.45155662981172'

_NOISE = {
  'initial_size': '270x480',
  'final_size': '1080x1920',
  'num_sizes': 5,
  'show': 'print',
  'every': 25,
  'rate': 10.0,
  'decay_rate': 0.25,
  'p_reg': 1e-10,
  'beta': 2.5,
}
_PLACES = {'model': "load('places205_googlenet')"}
_PHOTOGRAPH = {
  'start': '',
  'photograph': '',  # has to be given
  'decay_rate': 0.9,
  'alpha': 2.0,
  'p_reg': 0.5,
  'beta': 2.5,
  'every': 10,
}
_AUXILIARY = {
  'alpha_aux': 8.0,
  'p_reg_aux': 5e-11,
  'use_pixel_learning_rates': True,
}


def _noise(layer, steps, **more):
  return {**_NOISE, 'layer': layer, 'steps': steps, **more}


def _photograph(layer, steps, first, last, number, **more):
  sizes = {'initial_size': first, 'final_size': last, 'num_sizes': number}
  return {**_PHOTOGRAPH, **sizes, 'layer': layer, 'steps': steps, **more}


FORMS = {
  'example1': _noise('inception_4d/3x3_reduce', 100),
  'example2': _noise('inception_4c/output', 100),
  'example3': _noise('inception_4e/output', 100),
  'example4': _noise(
    'inception_4d/3x3_reduce', 200, p_reg=1e-11, tv_reg=0.01
  ),
  'example5': _noise(
    'inception_4b/3x3_reduce', 200, rate=5.0, decay_rate=0.95, alpha=4.0,
    p_reg=1e-9, beta=2.0, tv_reg=0.3, **_PLACES,
  ),
  'example6': _noise(
    'inception_4c/pool', 150, rate=2.0, decay_rate=0.9, alpha=4.0,
    p_reg=1e-9, tv_reg=1.0, every=50, initialization_scale=10.0,
    initialization_blur=1.0, **_PLACES,
  ),
  'example7': _photograph(
    'inception_3a/1x1', 30, 'x0.08', 'x0.15', 2, tv_reg=0.05
  ),
  'example8': _photograph(
    'inception_3a/3x3_reduce', 30, 'x0.08', 'x0.15', 2, tv_reg=0.05
  ),
  'example9': _photograph(
    'inception_4d/output', 50, 'x0.12', 'x0.25', 3, tv_reg=0.05, every=25
  ),
  'example10': _photograph(
    'inception_4d/pool', 50, 'x0.2', 'x0.75', 4, p_reg=5.0, tv_reg=0.1
  ),
  'example11': _photograph(
    'inception_4d/pool', 50, 'x0.25', 'x1.0', 5, decay_rate=0.85, p_reg=10.0,
    tv_reg=1.0, **_AUXILIARY,
  ),
  'example12': _photograph(
    'inception_4c/output', 100, 'x0.2', 'x0.5', 3, rate=5.0, decay_rate=0.85,
    tv_reg=5.0, **_AUXILIARY,
  ),
  'example13': _photograph(
    'inception_4b/5x5_reduce', 100, 'x0.25', 'x0.5', 3, rate=5.0,
    decay_rate=0.85, **_AUXILIARY,
  ),
  'neuron': {
    'units': '0',
    'objective': 'amplify_neuron(layer, rectifier)',
  },
  'own': _noise('conv4_2', 100, model="load('vgg16_features')", mean=None),
}  # fmt: skip


def get_config(form='example1'):
  if form not in FORMS:
    raise UserError(
      f'cnn_vis:{form} is not one of its forms: type cnn_vis:'
      f'{", :".join(FORMS)}'
    )
  config = build.config()

  # Which network and which layer.
  config.model = "load('bvlc_googlenet')"
  config.layer = 'inception_4d/3x3_reduce'
  config.mean = _MEAN
  config.photograph = config_dict.placeholder(str)  # or several: 'DIR/*.jpg'

  # Numbers.
  config.steps = 1000  # at each size
  config.tile = 224  # rows and columns of a tile: the network's input
  config.initial_size = config_dict.placeholder(str)  # 'HxW', 'xF'
  config.final_size = config_dict.placeholder(str)
  config.num_sizes = 1
  config.resize_type = 'geometric'  # or 'linear'
  config.initialization_scale = 1.0  # of the noise, in grey levels
  config.initialization_blur = 0.0  # pixels
  config.rate = 1.0  # grey levels a step, about
  config.learning_rate_decay_iter = 100  # steps
  config.learning_rate_decay_fraction = 1.0
  config.decay_rate = 0.95  # of RMSProp
  config.use_pixel_learning_rates = False
  config.amplify_l1_weight = 1.0
  config.amplify_l2_weight = 1.0
  config.amplify_grad_clip = 5.0
  config.alpha, config.p_scale, config.p_reg = 6.0, 1.0, 1e-4
  config.alpha_aux, config.p_scale_aux, config.p_reg_aux = 6.0, 1.0, 0.0
  config.beta, config.tv_reg, config.tv_reg_scale = 2.0, 0.5, 1.0
  config.tv_reg_step, config.tv_reg_step_iter = 0.0, 50
  config.tv_grad_operator = 'naive'  # or 'sobel', 'sobel_squish'
  config.rescale_image = False  # pictures from their smallest to largest number

  # Formulas.
  config.scales = (
    'cnn_vis_sizes(model, initial_size, final_size, num_sizes, resize_type,'
    ' photograph, rescale_image)'
  )
  config.start = (
    'cnn_vis_noise(model, initialization_scale, initialization_blur)'
  )
  config.transforms = 'tiles(tile, tile)'
  config.objective = (
    'amplify_layer(layer, amplify_l1_weight, amplify_l2_weight,'
    ' amplify_grad_clip, rectifier)'
  )
  config.optimizer = (
    'scale_by_rms(decay_rate, 1e-8)'
    ' | scale_by_learning_rate(exponential_decay(rate,'
    ' learning_rate_decay_iter, learning_rate_decay_fraction, 0, True))'
  )
  config.procedure = (
    'cnn_vis(tile, p_reg, alpha, p_scale, p_reg_aux, alpha_aux, p_scale_aux,'
    ' steadily(tv_reg, tv_reg_step, tv_reg_step_iter), beta, tv_reg_scale,'
    ' tv_grad_operator, use_pixel_learning_rates)'
  )
  config.result = 'next'  # after the last update, as there
  config.views = 'sum'

  # How to run it.
  config.box = False
  config.every = 50
  config.show = 'print+save'
  config.batch = 1  # images at a time
  config.update(FORMS[form])
  return config
