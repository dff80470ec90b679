"""From a configuration to programs: what is made, of which units, and how.

  config = build.config()
  request = build.request(config)

assemble    a configuration becomes a request: the knobs, checked
vocabulary  the knobs that are formulas, and the functions each may call;
            `vizjax.formula` parses them
requests    what is wanted, as a value; also made in Python
program     a request becomes the runs and the programs of a layer
runs        the table of runs: a row for each unit, sign and replicate
reach       what terms read: a position, a channel, a whole map; hence whether
            a unit is computed on its receptive field alone
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
from vizjax.build.assemble import named
from vizjax.build.assemble import recipe
from vizjax.build.assemble import request
from vizjax.build.assemble import restored
from vizjax.build.assemble import with_mean
from vizjax.build.requests import Method
from vizjax.build.requests import Request

__all__ = [
  'Method', 'Request', 'check', 'config', 'layers', 'model', 'named',
  'recipe', 'request', 'restored', 'with_mean',
]  # fmt: skip
