"""A generator of images that inverts conv5 of AlexNet, behind its rectifier.

In the manner of Dosovitskiy and Brox (2016), https://arxiv.org/abs/1602.02644,
but small enough for two cores and some hundred photographs: an upconvolutional
network of 1.7 million weights makes a picture of an activation of 13 x 13 x
256, and learns to come near the photograph in pixels and in that layer.

Expected of 450 photographs of ImageNet: of 50 held out the squared error of a
pixel is 1,976, of the mean image 4,346; 48 are better than that, and 44
reconstructions are nearest to their own photograph. The error of the layer is
0.41 of its square, of the mean image 1.03. What is to be seen (DIR/grids):
place, colour and rough form, under a fine grid; a lizard with its eye, the two
bodies of a spider, a beagle and its collar, a wolfhound's face are recognized.
That takes 39 minutes on two cores of a CPU; 1,600 steps, 15 minutes, come to
2,118 and 0.46.

  vizjax train_generator --config=generator \\
    --config.data=PHOTOGRAPHS --workdir=DIR
  ... --config.steps=1600 --config.layer=relu3 --config.comparator=relu3
  ... --config.adversarial_weight=0.1
"""

from vizjax.training import plans


def get_config():
  config = plans.config()

  # Which layer, and by which photographs.
  config.model = "load('alexnet_features')"
  config.layer = 'relu5'
  config.data = ''  # a folder of images, or tfds:NAME[:SPLIT]
  config.held_out = 50  # photographs that are not trained on

  # Numbers.
  config.steps = 4000
  config.batch_size = 8  # photographs of a step
  config.rate = 1e-3  # Adam's, at first
  config.widths = (256, 128, 64, 32)  # channels at 14, 28, 56, 112 rows
  config.image_weight = 1.0  # of losses that a constant picture has 1 of
  config.feature_weight = 1.0
  config.adversarial_weight = 0.0
  config.comparator = 'relu5'  # of the feature loss

  # Formulas.
  config.optimizer = 'adam(cosine_decay_schedule(rate, steps))'

  # How to run it.
  config.every = 200  # steps between checkpoints
  return config
