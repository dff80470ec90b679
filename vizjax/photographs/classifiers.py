"""A network as a classifier: scores of photographs, and the best classes.

model = vizjax.load('efficientnet_lite0')
classifier = classifiers.of(model)
for answer in classifiers.answers(classifier, data, how, units):
  print(answer.id, classifier.labels[answer.best[0]])
"""

import collections
from collections.abc import Iterable, Iterator, Mapping
from concurrent import futures
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Real
import numpy as np

from vizjax import core
from vizjax import errors
from vizjax.errors import UserError
from vizjax.photographs import datasets
from vizjax.photographs import images as images_
from vizjax.photographs import preprocessing


class Classifier(NamedTuple):
  """A network and the layer whose units are the classes."""

  model: core.Model
  layer: str
  count: int  # of units
  labels: tuple[str, ...]  # names of the units; () for none


class Answer(NamedTuple):
  """What a classifier says of one photograph."""

  id: str  # of the example
  label: str  # of the example: what is right
  unit: int | None  # of that label; None if the network has none
  best: tuple[int, ...]  # the five best units, the first one first
  rank: int | None  # of `unit` among all, from 1


def of(
  model: core.Model,
  layer: str | None = None,
  labels: tuple[str, ...] | None = None,
) -> Classifier:
  """A network as a classifier.

  Args:
    model: of colour or grey images.
    layer: its scores, [c] or [1, 1, c]; None for the last layer that is not
      a softmax.
    labels: names of the units; None for the network's own, if they are as
      many.

  Raises:
    UserError: no such layer, it is no vector, the network takes no colour
      images, or the labels are not as many as the units.
  """
  known = shapes(model, layer)
  if layer is None:
    soft = {info.name for info in model.layers if info.kind == 'softmax'}
    layer = [name for name in known if name not in soft][-1]
  vectors = {n: s[-1] for n, s in known.items() if set(s[:-1]) <= {1}}
  if layer not in vectors:
    raise UserError(
      f'layer {layer!r} is {known[layer]}, expected a vector: '
      f'{", ".join(vectors) or "but the network has none"}'
    )
  count = vectors[layer]
  if labels is None:
    labels = model.labels if len(model.labels) == count else ()
  elif len(labels) != count:
    raise UserError(
      f'{len(labels)} labels, expected {count}: layer {layer!r} has as many '
      'units'
    )
  return Classifier(model, layer, count, labels)


def shapes(
  model: core.Model, layer: str | None = None
) -> dict[str, tuple[int, ...]]:
  """The shape of each layer, in the network's order.

  Args:
    model: of colour or grey images.
    layer: one that has to be among them.

  Raises:
    UserError: it is not, or the network takes no photographs.
  """
  check_channels(model)
  order = []  # as the network names them; what comes out of JAX is sorted

  def traced(model, image):
    acts = model(image)
    order.extend(acts)
    return acts

  image = jax.ShapeDtypeStruct(model.input_shape, jnp.float32)
  acts = jax.eval_shape(traced, model, image)
  if layer is not None and layer not in acts:
    hint = errors.hint(layer, order)
    raise UserError(
      f'layer {layer!r} is not in the network. Layers: {", ".join(order)}.'
      + hint
    )
  return {name: acts[name].shape for name in order}


def check_channels(model: core.Model) -> None:
  """Refuses a network that photographs cannot be shown to.

  Raises:
    UserError: it has neither 3 channels nor 1.
  """
  if model.input_shape[2] not in (1, 3):
    raise UserError(
      f'the network takes images of {model.input_shape}, expected 3 channels '
      'for photographs, or 1 for grey ones'
    )


def answers(
  classifier: Classifier,
  data: datasets.Dataset,
  how: preprocessing.Preprocessing,
  units: Mapping[str, int],
  *,
  count: int | None = None,
  batch: int = 32,
) -> Iterator[Answer]:
  """What a classifier says of the examples, in their order.

  Of units with equal scores the first is the better. Nothing depends on the
  batch but the last digits of the scores.

  Args:
    classifier: from `of`.
    data: the photographs.
    how: they are prepared.
    units: the number of each label that the network knows.
    count: only so many, the first; None for all.
    batch: computed at a time.

  Raises:
    UserError: an image cannot be decoded, a score is NaN: of which; or a
      batch is too large.
  """
  for name, label, row in rows(classifier, data, how, count=count, batch=batch):
    order = np.argsort(-row, kind='stable')
    unit = units.get(label)
    rank = None if unit is None else int(np.flatnonzero(order == unit)[0]) + 1
    yield Answer(name, label, unit, tuple(map(int, order[:5])), rank)


def rows(
  classifier: Classifier,
  data: datasets.Dataset,
  how: preprocessing.Preprocessing,
  *,
  count: int | None = None,
  batch: int = 32,
) -> Iterator[tuple[str, str, np.ndarray]]:
  """(id, label, scores [units], float32) of each example, in their order.

  Args:
    classifier: from `of`; any layer will do, its numbers come flat.
    data: the photographs.
    how: they are prepared.
    count: only so many, the first; None for all.
    batch: computed at a time.

  Raises:
    UserError: an image cannot be decoded, a score is NaN: of which; or a
      batch is too large.
  """
  total = len(data) if count is None else min(count, len(data))
  *size, channels = classifier.model.input_shape
  shape = tuple(size)
  batch = preprocessing.together(batch, total, shape)
  about = collections.deque()  # id and label of what is still computed

  def images():
    for example in _prepared(data, how, shape, total, batch):
      about.append((example.id, example.label))
      yield images_.channels(example.image, channels)

  for row in scores(classifier, images(), batch):
    name, label = about.popleft()
    if np.isnan(row).any():
      raise UserError(
        f'layer {classifier.layer!r} is NaN for {name!r}, expected numbers: '
        'the weights are damaged, or not of this network'
      )
    yield name, label, row


def scores(
  classifier: Classifier, images: Iterable[np.ndarray], batch: int
) -> Iterator[np.ndarray]:
  """The scores [units] of each image [h, w, c], 0-255.

  The device computes a batch while the images of the next one are made.
  """
  images, waiting = iter(images), None
  while chunk := list(itertools.islice(images, batch)):
    padded = chunk + [chunk[0]] * (batch - len(chunk))  # one compilation
    found = _forward(classifier.model, np.stack(padded), layer=classifier.layer)
    yield from _fetched(waiting)
    waiting = found, len(chunk)
  yield from _fetched(waiting)


@functools.partial(jax.jit, static_argnames='layer')
def _forward(
  model: core.Model, images: Real[Array, 'n h w c'], *, layer: str
) -> Float[Array, 'n units']:
  images = images.astype(jnp.result_type(model.mean))
  return jax.vmap(lambda image: model(image)[layer].reshape(-1))(images)


def _fetched(waiting: tuple[Array, int] | None) -> np.ndarray | tuple:
  """The scores of a batch, without its padding."""
  return () if waiting is None else np.asarray(waiting[0])[: waiting[1]]


def _prepared(
  data: datasets.Dataset,
  how: preprocessing.Preprocessing,
  shape: tuple[int, int],
  total: int,
  batch: int,
) -> Iterator[datasets.Example]:
  """The examples as the network wants them; a batch is decoded at once."""

  def prepared(number):
    return preprocessing.prepared(how, data[number], shape)

  pool = futures.ThreadPoolExecutor()
  try:
    for start in range(0, total, batch):
      numbers = range(start, min(start + batch, total))
      yield from list(pool.map(prepared, numbers))
  finally:
    pool.shutdown(wait=False, cancel_futures=True)  # an interruption is prompt
