"""The images of cnn-vis on the host: the start, 8 bits, from size to size.

Source: https://github.com/jcjohnson/cnn-vis. The step is in `cnn_vis`.
"""

import functools

import numpy as np
from PIL import Image
from scipy import ndimage

from vizjax import core
from vizjax import scales
from vizjax import targets
from vizjax.photographs import files

_BILINEAR = Image.Resampling.BILINEAR
_BICUBIC = Image.Resampling.BICUBIC

# What an image is multiplied by whenever it becomes one of 8 bits, and never
# divided by: cnn-vis, image_utils.deprocess.
CONTRAST = 1.2


def cnn_vis_sizes(
  model: core.Model,
  initial_size: scales.Named,
  final_size: scales.Named,
  num_sizes: int,
  resize_type: str = 'geometric',
  photograph: files.Source | None = None,
  rescale_image: bool = False,
) -> scales.Scales:
  """The sizes of cnn-vis, and what it does between them.

  From size to size the image becomes one of 8 bits, by `eight_bit`, and is
  resized by Pillow's bicubic filter. A photograph is resized from the file
  each time, by the bilinear one, and is target['reference'].

  Args:
    model: gives the mean, and the size without a photograph.
    initial_size: as of `scales.size`; None for the size at hand.
    final_size: the same, of the last size.
    num_sizes: how many; with 1 the first alone.
    resize_type: 'geometric' or 'linear'.
    photograph: an image file, or several: 'a.jpg,b.jpg', 'DIR/*.jpg'; or an
      array [h, w, c] of 0-255, or a list.
    rescale_image: how pictures are shown, as `rescale` of `eight_bit`.
  """
  found = files.alike(files.read(photograph, model.input_shape[2]))
  ends = initial_size, final_size
  steps = scales.named(model, found, *ends, num_sizes, resize_type)
  mean = np.asarray(core.in_grey_levels(model).mean)

  def enter(stage, original, image):
    reference = None
    if original is not None:
      reference = files.resized(original, steps[stage], _BILINEAR)
    if stage == 0:
      return scales.StageStart(original, reference, reference)
    pixels = eight_bit(image, mean)
    start = files.resized(pixels, steps[stage], _BICUBIC)
    return scales.StageStart(original, start, reference)

  return scales.Scales(
    steps,
    enter,
    found,
    shown=functools.partial(eight_bit, mean=mean, rescale=rescale_image),
  )


def cnn_vis_noise(
  model: core.Model, scale: core.Number, blur: core.Number = 0.0
) -> targets.Maker:
  """The start without a photograph: noise of 8 bits around the mean.

  NumPy's RandomState(seed).randn over [c, h, w] in BGR order, times `scale`,
  by `eight_bit`; the program draws the same without a seed.

  Args:
    model: gives the mean.
    scale: standard deviation, in grey levels.
    blur: sigma of a Gaussian in pixels, over rows, columns and colours, on
      whole numbers, as the program has it.
  """
  mean = np.asarray(core.in_grey_levels(model).mean)

  def make(shape, seed):
    h, w, c = shape
    image = np.random.RandomState(seed).randn(c, h, w)[::-1].transpose(1, 2, 0)
    image *= scale
    image += mean
    return ndimage.gaussian_filter(eight_bit(image, mean), blur).astype(float)

  return make


def eight_bit(
  image: np.ndarray, mean: np.ndarray, rescale: bool = False
) -> np.ndarray:
  """What cnn-vis shows of an image: uint8, of 1.2 times the contrast.

  Args:
    image: [h, w, 3], RGB, 0-255.
    mean: of the network; it stays what it is.
    rescale: whether the smallest of all numbers becomes 0 and the largest
      255; clipped otherwise.
  """
  # In place: a poster in float64 is 50 MB.
  value = np.array(image, float)
  value -= mean
  value *= CONTRAST
  value += mean
  low, high = (value.min(), value.max()) if rescale else (0, 255)
  np.clip(value, low, high, out=value)
  value -= low
  value *= 255 / max(high - low, 1e-12)
  return value.astype(np.uint8)
