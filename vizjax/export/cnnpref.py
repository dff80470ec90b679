"""Files as the example scripts of cnnpref write them.

  preferred_img_layer_<layer>_channel_<channel>.mat          'preferred_img'
  preferred_img_layer_<layer>_channel_<channel>.jpg
  preferred_img_masked_layer_<layer>_channel_<channel>.mat   and .jpg
  options.pkl

Source: https://github.com/KamitaniLab/cnnpref, example/ and cnnpref/utils.py.
Its masks are found by gradients of noise images; here they are the receptive
arrays of the store. Its options are those of its functions; here they
are the config. Names go on with _r<replicate> and _y<row>x<column> where there
are several, and a / in the name of a layer is --. <channel> is the number of
the mask, where masks were given as feature_mask.
"""

from collections.abc import Iterator
import io
import pathlib
import pickle

import numpy as np

from vizjax.export import selecting
from vizjax.photographs import images

EXTREME = 0.04  # percent of all numbers that the JPEG does not show


def cnnpref(
  selection: selecting.Selection, out: pathlib.Path
) -> Iterator[pathlib.Path]:
  """A .mat and a .jpg for each run; masked, too, where it sees a part only.

  The .mat holds `preferred_img`, [h, w, 3] float32, RGB, not clipped. The
  JPEG shows it from its smallest number to its largest, but for 0.04 percent,
  in Pillow's own quality, 75.

  Args:
    selection: of `select`.
    out: a folder.

  Raises:
    UserError: the images are whole numbers, or SciPy is not installed.
  """
  matlab = selecting.library('scipy.io')
  selecting.floats(selection)
  path = selecting.made(out) / 'options.pkl'
  selecting.write(path, pickle.dumps(selection.config, protocol=2))
  yield path
  for layer in selection.layers:
    folder = layer.store.name
    for i, item in selecting.items(layer, 'image', 'size', 'seen', 'unit'):
      image = selecting.cropped(item['image'], item['size'])
      image = np.broadcast_to(image, (*image.shape[:2], 3))
      seen = mask(image.shape[:2], item['seen'])
      masks = {'': np.uint8(1)}
      if not seen.all():
        masks['_masked'] = seen
      # What distinguishes it from other runs of the channel.
      _, *more = layer.stems[i].removeprefix(f'{folder}_').split('_')
      channel = f'channel_{item["unit"][0]}'
      name = '_'.join(['', 'layer', folder, channel, *more])
      for which, part in masks.items():
        path = out / f'preferred_img{which}{name}.mat'
        buffer = io.BytesIO()
        matlab.savemat(buffer, {'preferred_img': image * part})
        selecting.write(path, buffer.getvalue())
        yield path
        path = path.with_suffix('.jpg')
        images.write(path, shown(image) * part)
        yield path


def shown(image: np.ndarray) -> np.ndarray:
  """uint8 of an image [h, w, c]: extremes clipped, stretched to 0 to 255.

  normalise_img(clip_extreme_pixel(image, 0.04)) of cnnpref: half of the
  percentage at either end, numbers cut off and not rounded. An image that is
  not finite is black.
  """
  if not np.isfinite(image).all():
    return np.zeros(image.shape, np.uint8)
  ends = np.percentile(image, [EXTREME / 2, 100 - EXTREME / 2])
  image = np.clip(image, *ends.astype(image.dtype))
  image = image - image.min()
  if image.max() > 0:
    image = image * (255 / image.max())
  return image.astype(np.uint8)


def mask(shape: tuple[int, int], seen: np.ndarray) -> np.ndarray:
  """uint8 [h, w, 1]: 1 in a part (top, left, h, w), 0 elsewhere."""
  top, left, h, w = seen
  inside = np.zeros((*shape, 1), np.uint8)
  inside[top : top + h, left : left + w] = 1
  return inside
