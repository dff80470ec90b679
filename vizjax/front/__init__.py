"""The calls of a notebook: images of units in one line, sweeps, results.

  images = vizjax.visualize(model, 'conv5', units=range(16))
  results = vizjax.sweep(model, 'conv*', recipe='olah2017', workdir='DIR')
  results = vizjax.open('DIR')

making     `visualize` and `sweep`
asking     their arguments become a `build.Request`
defaults   the recipe where none is given
images     the images of a layer, and how they are shown
results    a workdir: layers by name, photographs, the site, files
patience   Ctrl-C and the stop button of a notebook, without a loss
"""

from vizjax.front.images import Images
from vizjax.front.making import sweep
from vizjax.front.making import visualize
from vizjax.front.results import open
from vizjax.front.results import Results

__all__ = ['Images', 'Results', 'open', 'sweep', 'visualize']
