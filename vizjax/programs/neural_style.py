"""neural-style (Smith 2015): Gatys' style transfer, with the program's rules.

Source: https://github.com/anishathalye/neural-style, after Gatys, Ecker and
Bethge 2016, "Image style transfer using convolutional neural networks". The
losses are those of `features` and objectives.mean_variation, the optimizer is
optimizers.adam_reordered; here are the start, the sizes and which image of a
run is kept.
"""

import math

import numpy as np

from vizjax import core
from vizjax import errors
from vizjax import scales
from vizjax import targets
from vizjax.errors import UserError
from vizjax.photographs import files
from vizjax.photographs import images

NOISE = 0.256  # standard deviation of the start, in grey levels


def neural_style(
  iterations: int, checkpoint_iterations: int | None = None
) -> core.Procedure:
  """The usual step; the snapshot 'checkpoint' is what the program outputs.

  That is the image after the last of `iterations` updates. With checkpoints
  it is the best of that one and of the images after updates 0, c, 2c, ...
  Evaluating the last takes one step more: config.steps = iterations + 1.

  Args:
    iterations: number of updates.
    checkpoint_iterations: c; None for none.
  """
  errors.whole('iterations', iterations, 1)
  if checkpoint_iterations is not None:
    errors.whole(
      'checkpoint_iterations', checkpoint_iterations, 1, advice=', or None'
    )

  def step(recipe, state, target, key):
    new, trace = core.step(recipe, state, target, key)
    due = state.step == iterations
    if checkpoint_iterations is not None:
      due |= (state.step > 0) & ((state.step - 1) % checkpoint_iterations == 0)
    kept = state.extra['checkpoint']
    better = due & (new.last.score > kept.score)
    kept = core.chosen(better, new.last, kept)
    return new._replace(extra={'checkpoint': kept}), trace

  def extra(recipe, params, target):
    del recipe, target
    return {'checkpoint': core.unevaluated(params)}

  return core.Procedure(step, extra, snapshots=('checkpoint',))


def style_sizes(
  photograph: files.Source | None,
  width: int | None = None,
  num_sizes: int = 1,
) -> scales.Scales:
  """The size of a content photograph, and smaller ones before it.

  Args:
    photograph: an image file, or an array [h, w, c]; of several, the first.
    width: in pixels; the height follows, cut to whole pixels. None for the
      photograph's own size.
    num_sizes: with several, each is twice the one before: what was made at
      one is the start of the next.
  """
  if photograph is None or isinstance(photograph, str) and not photograph:
    raise UserError(
      f'the content is {photograph!r}, expected a photograph: type '
      '--config.content=FILE'
    )
  h, w, _ = files.first(photograph).image.shape
  if width is not None:
    errors.whole('width', width, 1)
    h, w = math.floor(h / w * width), width
  errors.whole('num_sizes', num_sizes, 1)
  sizes = [(h >> k, w >> k) for k in reversed(range(num_sizes))]
  if min(sizes[0]) < 1:
    raise UserError(
      f'num_sizes is {num_sizes}, too many for an image of {h}x{w}: each is '
      'half the next'
    )

  def enter(stage, original, image):
    start = None if image is None else images.resize(image, sizes[stage])
    return scales.StageStart(original, start, None)

  return scales.Scales(tuple(sizes), enter)


def initial_image(
  model: core.Model,
  content: files.Source,
  initial: files.Source | None = None,
  noiseblend: core.Number | None = None,
) -> targets.Maker:
  """Where neural-style starts: noise, a photograph, or some of both.

  (1 - b) (photograph - mean) + b noise, and the mean, with noise of N(0,
  0.256) by NumPy's RandomState(seed) over [h, w, c]. Without `initial` the
  photograph is the content; b is 1 without it, else 0, unless given.

  Args:
    model: gives the mean.
    content: an image file, or an array [h, w, c] of 0-255.
    initial: the same.
    noiseblend: b, from 0 to 1.
  """
  if noiseblend is not None and not 0 <= noiseblend <= 1:
    raise UserError(
      f'initial_noiseblend is {noiseblend!r}, expected a number from 0 to 1'
    )
  if noiseblend is None:
    noiseblend = 1 if initial is None else 0
  source = content if initial is None else initial
  found = files.single(source, model.input_shape[2])

  def make(shape, seed):
    mean = np.asarray(core.in_grey_levels(model).mean)
    noise = NOISE * np.random.RandomState(seed).normal(size=shape)
    image = files.fitted(found.image, shape[:2], rounded=True)
    return mean + (1 - noiseblend) * (image - mean) + noiseblend * noise

  return make
