"""Codes of image generators: where they start, and what bounds them.

A code is one vector [n], the generator's input [h, w, c] in the order of
Caffe: channels, rows, columns. Makers of codes are used as those of targets:

  config.data = 'code = legacy_code(prior)'
  config.projections = 'clip_box(0., bound(bounds, prior))'
"""

import dataclasses
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from vizjax import core
from vizjax import targets
from vizjax.errors import UserError
from vizjax.models import means
from vizjax.models.download import catalogue
from vizjax.photographs import files
from vizjax.photographs import images

# How the zoo's names of published bounds begin.
PUBLISHED = 'act_range_'


def size(prior: core.Model) -> int:
  """How many numbers a code has."""
  return math.prod(prior.input_shape)


def legacy_code(
  prior: core.Model, std: core.Number = 1.0, rectified: bool = False
) -> targets.Maker:
  """N(0, 1) for each number of a generator's code, drawn by NumPy.

  RandomState(seed).normal, as in synthesizing (Nguyen et al. 2016). cnnpref
  rounds to float32, zeroes what is negative and multiplies by ten:
  legacy_code(prior, 10, rectified=True).
  """

  def make(shape, seed):
    del shape
    code = np.random.RandomState(seed).normal(0, 1, prior.input_shape).ravel()
    return std * np.maximum(np.float32(code), 0) if rectified else std * code

  return make


def saved(path: str, prior: core.Model) -> targets.Maker:
  """The code in a .npy file, [n].

  Raises:
    UserError: it is no such file, or the generator has other codes.
    OSError: it cannot be read.
  """
  code = means.load_npy(path)
  if code.shape != (size(prior),):
    raise UserError(
      f'{path!r} holds {code.shape}, but the code of the generator is '
      f'{(size(prior),)}'
    )
  return lambda shape, seed: code


def encoded(
  encoder: core.Model,
  layer: str,
  photograph: files.Source | None,
  prior: core.Model,
  encoder_mean: str | None = None,
) -> targets.Maker:
  """The code of a photograph: activations of a network's layer.

  The photograph is resized to the network's input, whatever its shape, as in
  synthesizing (Nguyen et al. 2016), whose code is fc6 of CaffeNet behind its
  rectifier: encoded(encoder, 'relu6', 'red_pepper.jpg', prior).

  Args:
    encoder: the network.
    layer: its name.
    photograph: an image file, or an array [h, w, c] of 0-255.
    prior: the generator of codes of that layer.
    encoder_mean: as config.mean: a mean image in the place of its own.

  Raises:
    OSError: the photograph cannot be read.
    UserError: it is no image, or the layer is not what the generator takes.
  """
  if photograph is None:
    raise UserError(
      'encoded(): expected a photograph: type --config.photograph=FILE'
    )
  h, w, c = encoder.input_shape
  encoder = core.in_grey_levels(encoder)
  if encoder_mean is not None:
    mean = means.mean(encoder_mean, encoder.input_shape)
    mean = jnp.asarray(mean, encoder.mean.dtype)
    encoder = dataclasses.replace(encoder, mean=mean)
  image = files.single(photograph, c).image
  pixels = jnp.asarray(images.resize(image, (h, w)))
  acts = jax.eval_shape(lambda m, x: m(x), encoder, pixels)
  if layer not in acts:
    raise UserError(
      f'encoded(): layer {layer!r} is not in the encoder. Layers: '
      f'{", ".join(acts)}'
    )
  found, expected = acts[layer].shape, prior.input_shape
  if (1,) * (3 - len(found)) + found != expected:
    raise UserError(
      f'encoded(): layer {layer!r} of the encoder is {found}, but the code of '
      f'the generator is {expected}: expected the layer that it inverts'
    )
  code = jax.jit(lambda m, x: m(x)[layer])(encoder, pixels)
  code = np.moveaxis(np.asarray(code).reshape(expected), -1, 0).ravel()
  return lambda shape, seed: code


def bound(
  source: str | core.Number | np.ndarray | None, prior: core.Model
) -> core.Number | np.ndarray:
  """The bound of each number of a code [n], or one number for all.

  Args:
    source: a number; None for no bound, to be used as an upper one; an array
      [n]; a text file; or the zoo's name of a published one,
      'act_range_3x_fc6'.
    prior: the generator.

  Raises:
    UserError: no such file, no numbers in it, or another number of them.
    OSError: it cannot be read.
  """
  if source is None:
    return np.inf
  if np.ndim(source):
    if np.shape(source) != (size(prior),):
      raise UserError(
        f'the bounds are {np.shape(source)}, but the code of the generator has '
        f'{size(prior)} numbers: expected an array ({size(prior)},)'
      )
    return np.asarray(source)
  if not isinstance(source, str):
    return source
  number = _number(source)
  if number is not None:  # a knob of text: --config.bounds=3
    return number
  path = pathlib.Path(source).expanduser()
  if source.startswith(PUBLISHED) and not path.is_file():
    path = catalogue.find(source)
  numbers = _read(path)
  if len(numbers) != size(prior):
    raise UserError(
      f'the bounds of {str(path)!r} are {len(numbers)} numbers, but the code '
      f'of the generator has {size(prior)}: expected the file of that layer; '
      'vizjax act_range makes one'
    )
  return numbers


def _number(text: str) -> float | None:
  try:
    return float(text)
  except ValueError:
    return None


def _read(path: pathlib.Path) -> np.ndarray:
  words = path.read_bytes().decode('ascii', 'replace').split()
  numbers = np.array([_number(word) for word in words], float)  # None: NaN
  if not len(numbers) or np.isnan(numbers).any():
    raise UserError(
      f'{str(path)!r} holds no bounds: expected numbers with blanks between '
      'them, as vizjax act_range writes them'
    )
  return numbers
