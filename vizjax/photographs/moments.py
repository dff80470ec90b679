"""The range of each unit of a layer over photographs: mean and deviation.

  found = moments.measured(model, 'relu6', data, how)
  moments.text(moments.bounds(found, 3))      # mean + 3 deviations of each

Within such bounds Nguyen et al. 2016 keep the code of an image generator:
https://arxiv.org/abs/1605.09304, section 2, and the files of act_range in
https://github.com/Evolving-AI-Lab/synthesizing. How those were made is told
in words only. Here the deviation is the population's, which divides by the
number of photographs, not by one less.
"""

from collections.abc import Callable
import math
from typing import Any, NamedTuple

from jaxtyping import Float, Float64
import numpy as np

from vizjax import core
from vizjax.errors import UserError
from vizjax.photographs import classifiers
from vizjax.photographs import datasets
from vizjax.photographs import preprocessing


class Moments(NamedTuple):
  """What is known of n units after some photographs."""

  count: int  # of photographs
  mean: np.ndarray  # [n] float64, in the units of the activation
  squares: np.ndarray  # [n] float64, squared distances from the mean, summed


def measured(
  model: core.Model,
  layer: str,
  data: datasets.Dataset,
  how: preprocessing.Preprocessing,
  *,
  count: int | None = None,
  batch: int = 32,
  report: Callable[[], Any] = lambda: None,
) -> Moments:
  """The moments of every unit of a layer over photographs.

  Nothing depends on the batch but the last digits of the activations.

  Args:
    model: of colour or grey images, 0-255.
    layer: its name. Each position of a map counts as a unit of its own; they
      come as Caffe flattens them: channels, rows, columns.
    data: the photographs.
    how: they are prepared.
    count: only so many, the first; None for all.
    batch: computed at a time.
    report: is called after each photograph.

  Raises:
    UserError: no such layer, an image cannot be decoded, or an activation is
      no finite number: of which image.
  """
  shape = classifiers.shapes(model, layer)[layer]
  reader = classifiers.Classifier(model, layer, math.prod(shape), ())
  moments = empty(reader.count)
  rows = classifiers.rows(reader, data, how, count=count, batch=batch)
  for name, _, row in rows:
    if np.isinf(row).any():
      raise UserError(
        f'layer {layer!r} is infinite for {name!r}, expected numbers: the '
        'weights are damaged, or not of this network'
      )
    # [h, w, c] -> [c * h * w]
    moments = added(moments, np.moveaxis(row.reshape(shape), -1, 0).ravel())
    report()
  return moments


def empty(size: int) -> Moments:
  """The moments before the first photograph."""
  return Moments(0, np.zeros(size), np.zeros(size))


def added(moments: Moments, acts: Float[np.ndarray, 'n']) -> Moments:
  """The moments with one photograph more, by Welford's recurrence.

  Welford 1962, "Note on a method for calculating corrected sums of squares
  and products", Technometrics 4: what is small beside the mean is not lost.
  """
  count = moments.count + 1
  acts = acts.astype(np.float64)
  gap = acts - moments.mean
  mean = moments.mean + gap / count
  return Moments(count, mean, moments.squares + gap * (acts - mean))


def bounds(moments: Moments, sigmas: core.Number) -> Float64[np.ndarray, 'n']:
  """mean + sigmas * deviation of each unit; below the mean if negative."""
  return moments.mean + sigmas * np.sqrt(moments.squares / moments.count)


def text(bounds: Float64[np.ndarray, 'n'], integers: bool = False) -> str:
  """One line of numbers with a blank between them.

  Args:
    bounds: [n].
    integers: round to the nearest, as the published files are; else there
      are six digits.
  """
  if integers:
    bounds = np.rint(bounds) + 0.0  # -0.0 becomes 0.0
  form = '.0f' if integers else '.6g'
  return ' '.join(f'{number:{form}}' for number in bounds) + '\n'
