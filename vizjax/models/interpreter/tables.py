"""A layer table: each row a layer, its inputs by name, its window.

Importers write tables, `layers.Network` runs them, and receptive fields and
cuts are read off them.
"""

from typing import Any, NamedTuple

from vizjax import core
from vizjax.models import receptive_fields

DATA = 'data'  # the image, as an input of a layer

Pair = tuple[int, int]  # (down, right)


class Layer(NamedTuple):
  """One row of a table.

  Attributes:
    name: key of its activations and weights.
    kind: the name of a function of `operators`.
    inputs: names of the layers it reads; () in `sequence` means the last.
    features: channels out of a conv or fc.
    kernel: (height, width) of the window.
    stride: (down, right).
    pad: (above and below, left and right); option 'end' has the numbers below
      and right where they differ.
    dilation: (down, right) distance between the taps of a conv.
    groups: of a conv; group g of the output reads group g of the input.
    options: further (name, value) pairs that its operator reads.
  """

  name: str
  kind: str
  inputs: tuple[str, ...] = ()
  features: int = 0
  kernel: Pair = (1, 1)
  stride: Pair = (1, 1)
  pad: Pair = (0, 0)
  dilation: Pair = (1, 1)
  groups: int = 1
  options: tuple[tuple[str, Any], ...] = ()

  def option(self, name: str, default: Any) -> Any:
    """The value of an option."""
    return dict(self.options).get(name, default)


Table = tuple[Layer, ...]


def conv(
  name: str,
  features: int,
  kernel: int,
  stride: int = 1,
  pad: int = 0,
  groups: int = 1,
) -> Layer:
  """A square convolution with bias: cross-correlation, zeros around."""
  windows = _square(kernel, stride, pad)
  return Layer(name, 'conv', features=features, groups=groups, **windows)


def deconv(
  name: str, features: int, kernel: int, stride: int = 1, pad: int = 0
) -> Layer:
  """The adjoint of a square convolution, with bias."""
  windows = _square(kernel, stride, pad)
  return Layer(name, 'deconv', features=features, **windows)


def max_pool(
  name: str, kernel: int, stride: int, pad: int = 0, ceil: bool = False
) -> Layer:
  """A square maximum; windows that do not fit whole are left out, or cut."""
  windows = _square(kernel, stride, pad)
  options = (('ceil', True),) if ceil else ()
  return Layer(name, 'max_pool', options=options, **windows)


def relu(name: str, slope: core.Number = 0) -> Layer:
  """max(0, x), or slope * x below zero."""
  return Layer(name, 'relu', options=(('slope', slope),) if slope else ())


def lrn(name: str) -> Layer:
  """Krizhevsky et al. 2012, section 3.3, with Caffe's k of 1."""
  options = (('size', 5), ('alpha', 1e-4), ('beta', 0.75))
  return Layer(name, 'lrn', options=options)


def dropout(name: str) -> Layer:
  """x, for nothing is dropped when nothing is trained."""
  return Layer(name, 'identity')


def fc(name: str, features: int) -> Layer:
  """A fully connected layer with bias; reads a map as [c, h, w]."""
  return Layer(name, 'fc', features=features)


def softmax(name: str) -> Layer:
  """Probabilities over channels."""
  return Layer(name, 'softmax')


def adaptive_average_pool(name: str, size: int) -> Layer:
  """The mean of size x size windows that cover the map, whatever its size."""
  return Layer(name, 'adaptive_average_pool', options=(('size', size),))


def classifier(hidden: int, classes: int) -> tuple[Layer, ...]:
  """fc6 to prob: the end of AlexNet and of VGG."""
  return (
    fc('fc6', hidden),
    relu('relu6'),
    dropout('drop6'),
    fc('fc7', hidden),
    relu('relu7'),
    dropout('drop7'),
    fc('fc8', classes),
    softmax('prob'),
  )


def sequence(*rows: Layer) -> Table:
  """A table in which a row without inputs reads the row before it."""
  last = DATA
  table = []
  for row in rows:
    table.append(row if row.inputs else row._replace(inputs=(last,)))
    last = row.name
  return tuple(table)


def _square(kernel: int, stride: int, pad: int) -> dict[str, Any]:
  windows = {'kernel': kernel, 'stride': stride, 'pad': pad}
  return {name: (size, size) for name, size in windows.items()}


def receptive_fields_of(
  table: Table,
) -> dict[str, receptive_fields.Field | None]:
  """The receptive field of every layer; None for the whole image."""
  fields: dict[str, receptive_fields.Field | None] = {
    DATA: receptive_fields.PIXEL
  }
  for row in table:
    below = [fields[name] for name in row.inputs]
    known = [field for field in below if field is not None]
    joined = None if None in below else receptive_fields.union(known)
    whole = (
      row.option('whole', False)
      or row.option('within', False)
      or row.option('axis', 1) != 1
      or len(row.option('shape', ())) > 1  # weights for each position
      or (row.kind == 'normalize' and row.option('across_spatial', True))
      or row.kind not in _POINTWISE | WINDOWED
    )
    fields[row.name] = None
    if joined is not None and not whole:
      h, w = (
        (k - 1) * d + 1 for k, d in zip(row.kernel, row.dilation, strict=True)
      )
      fields[row.name] = receptive_fields.compose(
        joined, (h, w), row.stride, row.pad
      )
  return fields


def cut(table: Table, names: tuple[str, ...]) -> Table:
  """The rows that these layers need, themselves included."""
  wanted = set(names)
  for row in reversed(table):
    if row.name in wanted:
      wanted.update(row.inputs)
  return tuple(row for row in table if row.name in wanted)


# Kinds whose unit sees no more than the units at its position in the inputs.
_POINTWISE = {
  'relu', 'prelu', 'elu', 'sigmoid', 'tanh', 'absolute', 'power', 'exp', 'log',
  'identity', 'softmax', 'concat', 'slice', 'eltwise', 'scale', 'bias',
  'batch_norm', 'normalize', 'lrn', 'reverse',
}  # fmt: skip

# Kinds whose unit sees a window of its input.
WINDOWED = {'conv', 'max_pool', 'average_pool'}
