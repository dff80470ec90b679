"""DeepDream (Mordvintsev et al. 2015): octaves, a guide, the zooming film.

Source: the notebook of https://github.com/google/deepdream. A photograph is
dreamed small, and what that changed is enlarged and added to the photograph at
the next size, an octave up. The step is core's: `objectives.dream`, the
gradient divided by its mean size, and `clip_pixels`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np
from scipy import ndimage

from vizjax import core
from vizjax import errors
from vizjax import reading
from vizjax import scales
from vizjax import targets
from vizjax.errors import UserError
from vizjax.photographs import files
from vizjax.photographs import images


def octaves(
  number: int,
  scale: core.Number,
  photograph: files.Source | None,
  size: scales.Named = None,
  frames: int = 1,
  zoom: core.Number = 0.05,
  clip: bool = True,
) -> scales.Scales:
  """The octaves of a photograph, from the smallest to its own size.

  With several frames each is dreamed of the one before, zoomed in, and all are
  kept, for a film.

  Args:
    number: of octaves.
    scale: how many times a size is the one before.
    photograph: an image file, or several: 'a.jpg,b.jpg', 'DIR/*.jpg'; or an
      array [h, w, c] of 0-255, or a list.
    size: of the largest octave, as of `scales.size`; None for the photograph's
      own. Of a photograph of other proportions the middle is taken.
    frames: of the film.
    zoom: what part of the height and width a frame lacks of the one before.
    clip: whether images are kept within 0-255. If not, pictures of them are
      scaled so that 99.98 % of their numbers are below 255.
  """
  _check(number, scale, frames, zoom)
  found = files.read('' if photograph is None else photograph)
  largest = scales.size(size, found[0].image.shape[:2], 'size')
  found = tuple(
    one
    if one.image.shape[:2] == largest
    else one._replace(image=images.resize(one.image, largest))
    for one in files.alike(found, largest)
  )
  blank = np.zeros((*largest, 1))
  sizes = tuple(base.shape[:2] for base in _bases(blank, number, scale))

  def enter(stage, original, image):
    octave = stage % number
    if octave == 0 and image is not None:  # of the last frame
      original = zoomed(image, zoom)
    bases = _bases(original, number, scale)
    start = bases[octave]
    if octave:
      start = start + _resized(image - bases[octave - 1], sizes[octave])
    return scales.StageStart(original, start, bases[octave])

  return scales.Scales(
    sizes * frames, enter, found, film=frames > 1, shown=_shown(clip)
  )


def features(
  model: core.Model, layer: str, photograph: files.Source
) -> targets.Maker:
  """[positions, c]: a layer's activation for a photograph of its own size."""
  one = files.single(photograph, model.input_shape[2])
  model = core.in_grey_levels(model)
  image = jnp.asarray(one.image, jnp.result_type(model.mean))
  act = jax.jit(lambda model, image: model(image)[layer])(model, image)
  found = np.asarray(act).reshape(-1, act.shape[-1])
  return lambda shape, seed: found


def guided(layer: str) -> core.Term:
  """The mean over positions of the best agreement with target['guide'].

  At each position that is the largest dot product with one of the guide's
  vectors [m, c], whose gradient is that vector: guided dreams.

  Args:
    layer: that `features` were taken of.
  """

  @core.Term
  def term(acts, target):
    if layer not in acts or 'guide' not in target:
      raise UserError(
        f'guided({layer!r}) reads a layer of the network and its guide: type '
        '--config.data="guide = features(model, layer, guide)"'
      )
    act = reading.layer(acts, layer)
    act = act.reshape(-1, act.shape[-1])
    return jnp.mean(_agreement(act, target['guide']))

  return term


def zoomed(image: np.ndarray, part: float) -> np.ndarray:
  """An image [h, w, c] magnified about its middle, by so much of its size."""
  h, w, _ = image.shape
  magnify, corner = (1 - part, 1 - part, 1), (h * part / 2, w * part / 2, 0)
  return ndimage.affine_transform(image, magnify, corner, order=1)


def _agreement(
  act: Float[Array, 'k c'], guide: Float[Array, 'm c']
) -> Float[Array, 'k']:
  best = jnp.argmax(act @ guide.T, axis=1)  # the first of equals
  return jnp.sum(act * guide[best], axis=1)


def _bases(
  image: np.ndarray, number: int, scale: core.Number
) -> list[np.ndarray]:
  """The photograph at each octave, from the smallest."""
  bases = [np.asarray(image, float)]
  for _ in range(number - 1):
    bases.append(_spline(bases[-1], (1 / scale, 1 / scale)))
  return bases[::-1]


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  factors = [new / old for new, old in zip(size, image.shape, strict=False)]
  return _spline(np.asarray(image, float), factors)


def _spline(image: np.ndarray, factors) -> np.ndarray:
  # Else the last row or column is 0 where its place is rounded to one beyond.
  return ndimage.zoom(image, (*factors, 1), order=1, mode='nearest')


def _shown(clip: bool):
  def shown(image):
    if clip:
      return image
    return image * (255 / max(np.percentile(image, 99.98), 1e-6))

  return shown


def _check(
  number: int, scale: core.Number, frames: int, zoom: core.Number
) -> None:
  for name, value in (('number', number), ('frames', frames)):
    errors.whole(f'octaves: {name}', value, 1)
  if not scale > 1:
    raise UserError(f'octaves: scale is {scale!r}, expected more than 1')
  if not 0 <= zoom < 1:
    raise UserError(f'octaves: zoom is {zoom!r}, expected a number below 1')
