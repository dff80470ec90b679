"""What a network sees in a photograph, and how near an image comes to it.

  content = activations(model, 'conv3', photograph)       # of config.data
  style = grams(model, 'relu1_1,relu2_1', styles)

  -feature_error(layer)                                   # of config.objective
  -5 * content_loss('relu4_2') - 500 * style_loss('relu1_1,relu2_1')

Losses are positive and enter the score with a minus. What they are measured
against is data, target['content'] and target['style'], so that one compilation
serves every photograph. Without transforms target['content'] is computed once.
Under transforms the photograph itself is data, target['photographs'], and goes
through the draws of the image at every step, as in lucid's feature inversion:
`core.score` gives its activations to the terms as target['content'].
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from vizjax import core
from vizjax import errors
from vizjax import reading
from vizjax import targets
from vizjax.errors import UserError
from vizjax.photographs import files
from vizjax.photographs import images

Layers = str | Sequence[str]  # names: 'relu1_1,relu2_1', or a list

# By weight, the layers of CaffeNet and AlexNet.
_VARIATION = {
  1: 'conv1 relu1 pool1 norm1 conv2 relu2',
  10: 'pool2 norm2 conv3 relu3 conv4 relu4',
  100: 'conv5 relu5 pool5 fc6 relu6 fc7 relu7 fc8',
}


class PhotographLayers(NamedTuple):
  """Layers of a photograph at the size of the image: a `targets.Maker`.

  Attributes:
    model: the network.
    names: the layers.
    photograph: (h, w) -> the photograph at that size, [h, w, c], 0-255.
  """

  model: core.Model
  names: tuple[str, ...]
  photograph: Callable

  def __call__(self, shape: tuple[int, ...], seed: int) -> dict:
    """{layer: activation}."""
    del seed
    seen = _on_photograph(self.model, self.photograph(shape[:2]))
    return jax.device_get(_activations(*seen, self.names))

  def checked(self, shape: tuple[int, ...]) -> np.ndarray:
    """The photograph in the network's range, if it has these layers."""
    known = {info.name: info for info in self.model.layers}
    if known:
      _named(known, self.names)
    return core.from_grey_levels(self.model.range, self.photograph(shape[:2]))


def activations(
  model: core.Model,
  layers: Layers,
  photograph: files.Source | None,
  fit: str = 'middle',
  rounded: bool | int = False,
) -> PhotographLayers:
  """{layer: activation} of a photograph at the size of the image.

  Under config.transforms the photograph goes through the same draws as the
  image, and its activations are computed at every step.

  Args:
    model: the network.
    layers: their names, as 'conv3', 'relu4_2,relu5_2' or a list.
    photograph: an image file, or an array [h, w, c] of 0-255.
    fit: how it is brought to that size, as photographs.fitted.
    rounded: likewise.

  Raises:
    OSError: it cannot be read.
    UserError: it is no image, or not one.
  """
  source = _given(photograph, 'photograph')
  found = files.single(source, model.input_shape[2])
  image = lambda size: files.fitted(found.image, size, fit, bool(rounded))
  return PhotographLayers(model, _names(layers), image)


def grams(
  model: core.Model,
  layers: Layers,
  styles: files.Source | None,
  scales: str | Sequence[core.Number] | None = None,
) -> targets.Maker:
  """{layer: [k, c, c]}, the Gram matrices of k photographs.

  Each is resized to the width of the image, in its own proportions, as
  neural-style does: in 8 bits, by Pillow's bicubic filter. A Gram matrix knows
  no positions, so config.transforms move the image alone.

  Args:
    model: the network.
    layers: their names, as 'relu1_1,relu2_1' or a list.
    styles: an image file, or k to be blended: 'a.jpg+b.jpg'; or an array
      [h, w, c] of 0-255, or a list of k.
    scales: of each, what its width is multiplied by: '1,0.5' or (1, 0.5); one
      for all.

  Raises:
    OSError: one cannot be read.
    UserError: one is no image, or there are other scales than styles.
  """
  found = files.together(_given(styles, 'style'))
  pictures = [images.channels(f.image, model.input_shape[2]) for f in found]
  factors = _numbers(scales, len(found), 'style_scales') or (1.0,) * len(found)

  def make(shape, seed):
    del seed
    each = [
      _grams(model, _scaled(picture, factor, shape[1]), layers)
      for picture, factor in zip(pictures, factors, strict=True)
    ]
    return jax.tree.map(lambda *matrices: np.stack(matrices), *each)

  return make


def blend(
  styles: files.Source | None,
  weights: str | Sequence[core.Number] | None = None,
) -> targets.Maker:
  """[k], the weight of each style, one in sum.

  Args:
    styles: as in `grams`.
    weights: '0.8,0.2' or (0.8, 0.2); None for equal ones.

  Raises:
    UserError: there are other weights than styles, or they are none.
  """
  count = len(files.together(_given(styles, 'style')))
  found = np.array(
    _numbers(weights, count, 'style_blend_weights') or (1.0,) * count
  )
  if not found.sum() > 0 or found.min() < 0:
    raise UserError(
      f'style_blend_weights is {weights!r}, expected numbers >= 0, as 0.8,0.2'
    )
  return lambda shape, seed: found / found.sum()


def content_loss(layers: Layers, blend: core.Number = 1.0) -> core.Term:
  """Mean square of (activation - target['content']) over a layer's entries.

  Gatys, Ecker, Bethge 2016, eq. 1, in the scale of neural-style.

  Args:
    layers: a name, or two: 'relu4_2,relu5_2' or a list.
    blend: the share of the first of two; the second has the rest.
  """
  names = _names(layers)
  if len(names) > 2:
    raise UserError(f'content_loss({layers!r}): expected one layer or two')
  shares = (blend, 1 - blend) if len(names) == 2 else (1,)

  @core.Term
  def term(acts, target):
    each = [jnp.mean(_difference(acts, target, name)[0] ** 2) for name in names]
    return sum(s * loss for s, loss in zip(shares, each, strict=True))

  return term


def style_loss(layers: Layers, exponent: core.Number = 1.0) -> core.Term:
  """How far the Gram matrices are from target['style'].

  sum_i b_i sum_l w_l mean((G_l - S_il)^2), with G_l = F'F / size(F) of the
  activations F [positions, c], S_il of style i and its weight b_i in
  target['blend']: Gatys, Ecker, Bethge 2016, eq. 3 to 5, in the scale of
  neural-style.

  Args:
    layers: their names, as 'relu1_1,relu2_1' or a list.
    exponent: w_l is that to the power of 0, 1, 2 ..., one in sum.
  """
  names = _names(layers)
  weights = np.power(float(exponent), np.arange(len(names)))
  weights = (weights / weights.sum()).tolist()

  @core.Term
  def term(acts, target):
    total = 0.0
    for name, weight in zip(names, weights, strict=True):
      found = gram(_map(acts, name))
      wanted = _wanted(target, 'style', name)
      each = jnp.mean((found[None] - wanted) ** 2, (1, 2))
      total += weight * (target['blend'] @ each)
    return total

  return term


def feature_error(layer: str) -> core.Term:
  """|m (a - a0)|^2 / |a0|^2 over a layer, with a0 = target['content'].

  With the mask m = target['mask'] where there is one. Mahendran and Vedaldi
  2015, eq. 2, https://arxiv.org/abs/1412.0035.
  """

  @core.Term
  def term(acts, target):
    difference, wanted = _difference(acts, target, layer)
    if 'mask' in target:
      difference = target['mask'] * difference
    return jnp.sum(difference**2) / jnp.sum(wanted**2)

  return term


def feature_distance(layer: str) -> core.Term:
  """|a - a0|^2 over a layer, with a0 = target['content']."""

  @core.Term
  def term(acts, target):
    return jnp.sum(_difference(acts, target, layer)[0] ** 2)

  return term


def variation_weight(
  layer: str, weight: core.Number | None = None
) -> core.Number:
  """What the total variation weighs for a layer of AlexNet.

  Mahendran and Vedaldi 2015, section 5: 1 below the second pooling, 10 up to
  relu4, 100 above.

  Args:
    layer: its name, as Caffe has it.
    weight: None for theirs.
  """
  if weight is not None:
    return weight
  for value, names in _VARIATION.items():
    if layer in names.split():
      return value
  raise UserError(
    f'no weight of the variation is published for layer {layer!r}: type '
    '--config.tv_weight=10'
  )


def caricature(layer: str, power: core.Number = 1) -> core.Term:
  """(a . a0) max(0.1, cos(a, a0))^power over a layer: what is there, more so.

  With a0 = target['content']; Olah et al. 2018, for a whole layer:
  https://distill.pub/2018/building-blocks.
  """

  @core.Term
  def term(acts, target):
    act, wanted = _pair(acts, target, layer)
    dot = jnp.sum(act * wanted)
    # Constants as in objectives.direction.
    square = jnp.sum(act**2)
    norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    cosine = dot / (1e-4 + norm) / (1e-4 + jnp.sqrt(jnp.sum(wanted**2)))
    return dot * jnp.maximum(cosine, 0.1) ** power

  return term


def gram(act: Float[Array, 'h w c']) -> Float[Array, 'c c']:
  """Products of channels, in the mean over positions and over c."""
  flat = act.reshape(-1, act.shape[-1])
  exact = jax.lax.Precision.HIGHEST
  return jnp.matmul(flat.T, flat, precision=exact) / act.size


@functools.partial(jax.jit, static_argnames='names')
def _activations(model, image, names):
  return _named(model(image), names)


def _named(acts: Mapping[str, Any], names: tuple[str, ...]) -> dict:
  """These layers, or an error that says which there are."""
  for name in names:
    if name not in acts:
      raise UserError(
        f'layer {name!r} is not in the network, or does not fit an image of '
        'this size, as fully connected layers do not. Layers: '
        f'{", ".join(acts)}.{errors.hint(name, acts)}'
      )
  return {name: acts[name] for name in names}


@functools.partial(jax.jit, static_argnames='names')
def _gram_matrices(model, image, names):
  acts = _activations(model, image, names)
  return {name: gram(_map(acts, name)) for name in names}


def _grams(model: core.Model, image: np.ndarray, layers: Layers) -> dict:
  return jax.device_get(
    _gram_matrices(*_on_photograph(model, image), _names(layers))
  )


def _on_photograph(
  model: core.Model, image: np.ndarray
) -> tuple[core.Model, Array]:
  """The model on 0-255, and a photograph in its dtype."""
  photograph = jnp.asarray(image, jnp.result_type(model.mean))
  return core.in_grey_levels(model), photograph


def _scaled(image: np.ndarray, factor: float, width: int) -> np.ndarray:
  """A style at factor * width, both sides cut to whole pixels."""
  rows, columns, _ = image.shape
  ratio = factor * width / columns
  size = int(rows * ratio), int(columns * ratio)
  if min(size) < 1:
    raise UserError(f'style_scales: {factor:g} leaves nothing of a style')
  return files.fitted(image, size, 'whole', rounded=True)


def _names(layers: Layers) -> tuple[str, ...]:
  if not isinstance(layers, str):
    return tuple(layers)
  return tuple(filter(None, map(str.strip, layers.split(','))))


def _numbers(
  given: str | Sequence[core.Number] | None, count: int, name: str
) -> tuple[float, ...]:
  """The numbers of '0.8,0.2', one for each style; () for None."""
  if given is None:
    return ()
  parts = given.split(',') if isinstance(given, str) else given
  try:
    found = tuple(float(number) for number in parts)
  except ValueError:
    found = ()
  if len(found) == 1:
    found *= count
  if len(found) != count or not np.isfinite(found).all():
    raise UserError(
      f'{name} is {given!r}, expected a number for each of the styles that are '
      f'blended, of which there are {count}: {",".join(["1"] * count)}'
    )
  return found


def _given(source: files.Source | None, name: str) -> files.Source:
  if source is None or (isinstance(source, str) and not source.strip()):
    raise UserError(
      f'expected a photograph: type --config.{name}=FILE, or several, '
      f"'DIR/*.jpg', with --config.each={name}"
    )
  return source


def _map(acts: core.Acts, name: str) -> Float[Array, 'h w c']:
  act = reading.layer(acts, name)
  if act.ndim != 3:
    raise UserError(
      f'layer {name!r} is {act.shape}, without rows and columns: expected a '
      'convolution or its rectifier for a style, as relu4_1'
    )
  return act


def _wanted(target: core.Target, what: str, layer: str) -> Array:
  maker = {'content': 'activations', 'style': 'grams'}[what]
  if layer not in target.get(what, {}):
    raise UserError(
      f'the objective compares layer {layer!r} with a photograph, but '
      f'{what!r} is not given: type --config.data="{what} = {maker}(model, '
      f"'{layer}', {'photograph' if what == 'content' else 'style'})\""
    )
  return jnp.asarray(target[what][layer])


def _pair(
  acts: core.Acts, target: core.Target, layer: str
) -> tuple[Array, Array]:
  wanted = _wanted(target, 'content', layer)
  return reading.layer(acts, layer), wanted


def _difference(
  acts: core.Acts, target: core.Target, layer: str
) -> tuple[Array, Array]:
  act, wanted = _pair(acts, target, layer)
  return act - wanted, wanted
