"""From a configuration to programs: what is made, of which units, and how.

  config = build.config()
  net = build.model(config)

assemble    the knobs, the network, the layers, and the program of a layer
vocabulary  the knobs that are formulas, and the functions each may call;
            `vizjax.formula` parses them
runs        the table of runs: a row for each unit, sign and replicate
reach       how much a formula reads: a position, a channel, a whole map; hence
            whether a unit is computed on its receptive field alone
geometry    sizes: the canvas, which is optimized, and the view of it that the
            network is shown
inputs      arrays that differ from run to run: masks, starts, directions
outputs     the arrays that one run gives
stages      the sizes that an image is made at, and a program for each
"""

from vizjax.build.assemble import check
from vizjax.build.assemble import config
from vizjax.build.assemble import layers
from vizjax.build.assemble import model
from vizjax.build.assemble import networks
from vizjax.build.assemble import recipe
from vizjax.build.assemble import seen

__all__ = [
  'check', 'config', 'layers', 'model', 'networks', 'recipe', 'seen',
]  # fmt: skip
