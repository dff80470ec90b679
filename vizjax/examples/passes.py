"""One pass of a network over photographs: what every unit answers most to.

A unit's value in a photograph is its maximum over all positions of the map.
All statistics are of these values, one a photograph. Photographs are counted
in the order of the data set, so nothing depends on how many go at a time but
the last digits of the activations.
"""

import collections
from collections.abc import Iterator, Mapping
from concurrent import futures
import functools
import io
import itertools
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8
import numpy as np

from vizjax import core
from vizjax import errors
from vizjax import metrics
from vizjax.errors import UserError
from vizjax.examples import top as top_
from vizjax.photographs import datasets
from vizjax.photographs import images as images_
from vizjax.photographs import moments as moments_
from vizjax.photographs import preprocessing

# Bytes of the highest values that are kept for the percentiles: all that the
# 99th of 10,000 units asks for up to 600,000 photographs.
ROOM = 2**28

PERCENTILES = {'p99': 990, 'p99_9': 999}  # thousandths


class Scan(NamedTuple):
  """What is looked at.

  Attributes:
    model: of colour or grey images, down to the layers.
    layers: {name: shape of its activations, [h, w, c] or [c]}.
    size: (h, w) of the network's input.
    data: the photographs.
    how: they are prepared.
    count: of photographs, the first ones.
    k: strongest photographs kept of a unit.
  """

  model: core.Model
  layers: dict[str, tuple[int, ...]]
  size: tuple[int, int]
  data: datasets.Dataset
  how: preprocessing.Preprocessing
  count: int
  k: int


class Tally(NamedTuple):
  """What is known of n units, of all layers one after the other.

  Attributes:
    number: of the next photograph.
    last: id of the one before.
    skipped: (id, why) of those that could not be read.
    top: the strongest photographs of each unit.
    high: arrays [m, n] float32 that hold the highest values of each unit.
    moments: of all values; NaN where one was no finite number.
    slopes: moments [1] of `metrics.spectrum_slope` of the photographs.
  """

  number: int
  last: str
  skipped: tuple[tuple[str, str], ...]
  top: top_.Top
  high: tuple[np.ndarray, ...]
  moments: moments_.Moments
  slopes: moments_.Moments


class _Photograph(NamedTuple):
  """One of the data set, as the network wants it."""

  id: str
  image: np.ndarray | None  # [h, w, 3] uint8; None where it cannot be read
  why: str  # that is so


def units(scan: Scan) -> dict[str, slice]:
  """Where the units of each layer are among those of all."""
  counts = [shape[-1] for shape in scan.layers.values()]
  ends = itertools.accumulate(counts)
  parts = [slice(e - n, e) for n, e in zip(counts, ends, strict=True)]
  return dict(zip(scan.layers, parts, strict=True))


def begin(scan: Scan) -> Tally:
  """What is known before the first photograph."""
  n = _units(scan)
  top = top_.nothing(scan.k, n)
  high = (np.zeros((0, n), np.float32),)
  return Tally(0, '', (), top, high, moments_.empty(n), moments_.empty(1))


def walk(scan: Scan, tally: Tally, batch: int) -> Iterator[Tally]:
  """What is known after each further batch.

  Photographs that cannot be decoded, or may not be read, are skipped.

  Args:
    scan: what is looked at.
    tally: from `begin`, or where an earlier walk ended.
    batch: photographs computed at a time.

  Raises:
    OSError: the data is gone, or its disk is broken.
  """
  kept = _kept(scan)
  for photographs, found in _computed(scan, tally.number, batch):
    tally = _added(tally, photographs, *map(np.asarray, found))
    # They are sorted now and then, for that takes time.
    if sum(map(len, tally.high)) > max(2 * kept, 256):
      tally = settled(tally, kept)
    yield tally


def settled(tally: Tally, kept: int) -> Tally:
  """The same, with the highest values in one array [kept, n], descending."""
  nothing = tally.high[0][:0]
  return tally._replace(
    high=(top_.highest(nothing, np.concatenate(tally.high), kept),)
  )


def statistics(scan: Scan, tally: Tally) -> dict[str, np.ndarray]:
  """{'maximum', 'mean', 'deviation', 'p99', 'p99_9': [n] float64}.

  Of the values of all photographs that could be read; the deviation is the
  population's. NaN where an activation was no finite number, and where a
  percentile lies below the values that are kept.
  """
  (high,) = settled(tally, _kept(scan)).high
  count, mean, squares = tally.moments
  found = {
    'maximum': high[0].astype(np.float64),
    'mean': mean,
    'deviation': np.sqrt(squares / count),
    **{
      name: top_.percentile(high, count, thousandths)
      for name, thousandths in PERCENTILES.items()
    },
  }
  finite = np.isfinite(mean)
  return {name: np.where(finite, a, np.nan) for name, a in found.items()}


def slope(tally: Tally) -> dict[str, float | None]:
  """Mean and deviation of the photographs' `metrics.spectrum_slope`.

  None where no photograph has one: all are of one colour, or too small.
  """
  count, (mean,), (squares,) = tally.slopes
  if not count:
    return {'mean': None, 'deviation': None}
  return {'mean': float(mean), 'deviation': float(np.sqrt(squares / count))}


def content(scan: Scan, tally: Tally, facts: Mapping[str, Any]) -> bytes:
  """A file of what is known, and of what was looked at."""
  tally = settled(tally, _kept(scan))
  about = {
    'facts': facts,
    'number': tally.number,
    'last': tally.last,
    'skipped': tally.skipped,
    'count': tally.moments.count,
    'slopes': [tally.slopes.count, *tally.slopes.mean, *tally.slopes.squares],
  }
  text = np.frombuffer(json.dumps(about).encode(), np.uint8)
  file = io.BytesIO()
  top, moments = tally.top._asdict(), tally.moments
  np.savez(
    file,
    about=text,
    high=tally.high[0],
    mean=moments.mean,
    squares=moments.squares,
    **top,
  )
  return file.getvalue()


def restored(content: bytes) -> tuple[Tally, dict[str, Any]]:
  """What `content` was made of: what is known, and the facts.

  Raises:
    UserError: it is no such file.
  """
  try:
    with np.load(io.BytesIO(content)) as arrays:
      about = json.loads(arrays['about'].tobytes())
      top = top_.Top(*(arrays[f] for f in top_.Top._fields))
      moments = moments_.Moments(
        about['count'], arrays['mean'], arrays['squares']
      )
      count, mean, squares = about['slopes']
      slopes = moments_.Moments(count, np.array([mean]), np.array([squares]))
      skipped = tuple(map(tuple, about['skipped']))
      high = (arrays['high'],)
  except Exception as error:  # a damaged archive raises nearly anything
    if errors.is_bug(error):
      raise
    raise UserError(f'it is damaged ({error})') from error
  tally = Tally(
    about['number'], about['last'], skipped, top, high, moments, slopes
  )
  return tally, about['facts']


def prepared(scan: Scan, number: int) -> UInt8[np.ndarray, 'h w 3']:
  """A photograph as the network wants it; for one channel, grey thrice.

  Raises:
    UserError: it cannot be decoded, or is a strip.
    OSError: it cannot be read.
  """
  example = scan.data[number]
  pixels = preprocessing.prepared(scan.how, example, scan.size).image
  grey = images_.channels(pixels, scan.model.input_shape[2])
  return np.broadcast_to(grey, pixels.shape)


def _units(scan: Scan) -> int:
  return sum(shape[-1] for shape in scan.layers.values())


def _kept(scan: Scan) -> int:
  """How many of the highest values of a unit are kept."""
  wanted = max(top_.needed(scan.count, each) for each in PERCENTILES.values())
  return max(1, min(wanted, ROOM // (4 * _units(scan))))


def _added(
  tally: Tally,
  photographs: list[_Photograph],
  values: Float[np.ndarray, 'b n'],
  positions: Int[np.ndarray, 'b n'],
  slopes: Float[np.ndarray, 'b'],
) -> Tally:
  """What is known after a batch; its last rows may be nobody's."""
  there = [i for i, each in enumerate(photographs) if each.image is not None]
  skipped = [(p.id, p.why) for p in photographs if p.image is None]
  values, positions = values[there], positions[there]
  top, moments = tally.top, tally.moments
  if there:
    numbers = np.array(there, np.int32) + tally.number
    top = top_.added(top, top_.of(values, numbers, positions))
  with np.errstate(invalid='ignore', over='ignore'):  # infinite activations
    for row in values:
      moments = moments_.added(moments, row)
  steepness = tally.slopes
  for slope in slopes[there][np.isfinite(slopes[there])]:
    steepness = moments_.added(steepness, slope[None])
  return Tally(
    tally.number + len(photographs),
    photographs[-1].id,
    (*tally.skipped, *skipped),
    top,
    (*tally.high, values),
    moments,
    steepness,
  )


def _computed(
  scan: Scan, start: int, batch: int
) -> Iterator[tuple[list[_Photograph], tuple[Array, Array, Array]]]:
  """Each batch and its numbers, while the device computes those of the next."""
  blank = np.zeros((*scan.size, 3), np.uint8)
  waiting = None
  for photographs in _read(scan, start, batch):
    pixels = [blank if p.image is None else p.image for p in photographs]
    pixels += [blank] * (batch - len(pixels))  # one compilation
    found = _numbers(scan.model, np.stack(pixels), layers=tuple(scan.layers))
    if waiting is not None:
      yield waiting
    waiting = photographs, found
  if waiting is not None:
    yield waiting


def _read(scan: Scan, start: int, batch: int) -> Iterator[list[_Photograph]]:
  """The photographs of each batch; those of the next are read meanwhile."""
  pool = futures.ThreadPoolExecutor()
  ahead = collections.deque()
  try:
    for first in range(start, scan.count, batch):
      numbers = range(first, min(first + batch, scan.count))
      ahead.append([pool.submit(_photograph, scan, n) for n in numbers])
      if len(ahead) > 1:
        yield [each.result() for each in ahead.popleft()]
    for batch_ in ahead:
      yield [each.result() for each in batch_]
  finally:
    pool.shutdown(wait=False, cancel_futures=True)  # an interruption is prompt


def _photograph(scan: Scan, number: int) -> _Photograph:
  """A photograph, or why there is none."""
  name = scan.data.identity(number)
  try:
    return _Photograph(name, prepared(scan, number), '')
  except UserError as error:
    return _Photograph(name, None, ' '.join(str(error).split()))
  except PermissionError as error:
    return _Photograph(name, None, f'it cannot be read ({error.strerror})')


@functools.partial(jax.jit, static_argnames='layers')
def _numbers(
  model: core.Model, images: UInt8[Array, 'b h w 3'], *, layers: tuple[str, ...]
) -> tuple[Float[Array, 'b n'], Int[Array, 'b n'], Float[Array, 'b']]:
  """The maximum of every unit of some layers, where it is first; slopes."""
  images = images.astype(jnp.result_type(model.mean))
  images = images[..., : model.input_shape[2]]  # equal ones where it is one

  def acts(image):
    found = model(image)
    return [found[name] for name in layers]

  values, positions = [], []
  for maps in jax.vmap(acts)(images):
    maps = maps.reshape(len(maps), -1, maps.shape[-1])  # [b, h * w, c]
    best = maps.max(1)
    number = jnp.arange(maps.shape[1], dtype=jnp.int32)[None, :, None]
    found = jnp.where(maps == best[:, None], number, maps.shape[1] - 1)
    # XLA's maximum on a CPU may pass over NaN.
    best = jnp.where(jnp.isnan(maps).any(1), jnp.nan, best)
    values.append(best.astype(jnp.float32))
    positions.append(found.min(1))
  slopes = jnp.full(len(images), jnp.nan, images.dtype)
  if min(images.shape[1:3]) >= metrics.SMALLEST:
    steep = metrics.spectrum_slope()
    slopes = jax.vmap(lambda image: steep({'view': image}, {}))(images)
  return jnp.concatenate(values, 1), jnp.concatenate(positions, 1), slopes
