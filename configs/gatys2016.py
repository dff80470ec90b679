"""Style transfer: Gatys, Ecker and Bethge 2016, as neural-style has it.

https://github.com/anishathalye/neural-style (Smith 2015). The image has the
activations of a content photograph deep in VGG-19, and the correlations
between channels of a style at five depths.

  vgg19   the program's: VGG-19, which has to be fetched once
  own     the same on vgg16_features, offline
  lbfgs   `own` by L-BFGS, as in the paper

  vizjax weights fetch vgg19
  vizjax run --config=gatys2016:own \\
    --config.content=house.jpg --config.style=wave.jpg --config.width=256 \\
    --workdir=DIR
  ... --config.style=a.jpg+b.jpg --config.style_blend_weights=0.8,0.2
  ... --config.content='DIR/*.jpg' --config.style=a.jpg,b.jpg  # all pairs
  ... --config.num_sizes=3                       # large: from coarse to fine
  vizjax export --format=grid --workdir=DIR   # pairs on a page
  vizjax export --format=neural_style --workdir=DIR \\
    --preserve_colors
"""

from ml_collections import config_dict

from vizjax import build
from vizjax.errors import UserError

# Its activations are smaller: of the order of one.
_OWN = {
  'network': 'vgg16_features',
  'content_weight': 5e4,
  'style_weight': 5e10,
}
FORMS = {
  'vgg19': {},
  'own': _OWN,
  'lbfgs': {
    **_OWN,
    'optimizer': 'lbfgsb(None, None)',
    'procedure': '',
    'result': 'best',
  },
}


def get_config(form='vgg19'):
  if form not in FORMS:
    raise UserError(
      f'gatys2016:{form} is not one of its forms: type gatys2016:'
      f'{", :".join(FORMS)}'
    )
  config = build.config()
  placeholder = config_dict.placeholder

  # Which photographs; several are runs of their own, in all pairs.
  config.content = ''
  config.style = ''  # or several to be blended: 'a.jpg+b.jpg'
  config.each = 'content,style'
  config.style_blend_weights = placeholder(
    str
  )  # '0.8,0.2'; None for equal ones
  config.style_scales = placeholder(str)  # '1,0.5': of the width; None for 1
  config.width = placeholder(int)  # None: as the content is
  config.num_sizes = 1  # each twice the one before
  config.initial = placeholder(str)  # a photograph to start from
  config.initial_noiseblend = placeholder(float)

  # Which network and layers.
  config.network = 'vgg19'
  config.pooling = 'max'  # or 'avg'
  config.layer = 'relu4_2'
  config.content_layers = 'relu4_2,relu5_2'
  config.style_layers = 'relu1_1,relu2_1,relu3_1,relu4_1,relu5_1'

  # Numbers.
  config.iterations = 1000
  config.checkpoint_iterations = placeholder(int)
  config.content_weight = 5.0
  config.content_weight_blend = 1.0  # of the first of content_layers
  config.style_weight = 500.0
  config.style_layer_weight_exp = 1.0
  config.tv_weight = 100.0
  config.learning_rate = 10.0
  config.beta1, config.beta2, config.eps = 0.9, 0.999, 1e-8

  # Formulas.
  config.model = 'pooled(load(network), pooling)'
  config.scales = 'style_sizes(content, width, num_sizes)'
  config.data = (
    'content = activations(model, content_layers, content, rounded=1), '
    'style = grams(model, style_layers, style, style_scales), '
    'blend = blend(style, style_blend_weights)'
  )
  config.start = 'initial_image(model, content, initial, initial_noiseblend)'
  config.parameterization = 'pixels(model)'
  content = (
    'content_weight * content_loss(content_layers, content_weight_blend)'
  )
  style = 'style_weight * style_loss(style_layers, style_layer_weight_exp)'
  tv = 'tv_weight * mean_variation()'
  config.objective = f'-({content} + {style} + {tv})'
  config.trace = f'content = {content}, style = {style}, tv = {tv}'
  config.optimizer = 'adam_reordered(learning_rate, beta1, beta2, eps)'
  config.procedure = 'neural_style(iterations, checkpoint_iterations)'
  config.steps = config.get_ref('iterations') + 1  # to evaluate the last
  config.result = 'checkpoint'

  # How to run it.
  config.box = False
  config.batch = 1  # images at a time; more on a GPU
  config.every = 50
  config.show = 'save'
  config.update(FORMS[form])
  return config
