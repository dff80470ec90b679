"""Which images are to be made: the runs of a layer, and the key of each.

'0:64'      channels 0 to 63, at the centre of the map
'3,7'       two channels
'3@6x6'     channel 3 at row 6, column 6
'*'         every channel, as where nothing is said
'0:256:16@2x2,7'
'flamingo,"black stork, Ciconia nigra"'     classes by name
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, SupportsIndex
import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key
from ml_collections import config_dict
import numpy as np

from vizjax import core
from vizjax import errors
from vizjax import listing
from vizjax.errors import UserError
from vizjax.models import receptive_fields
from vizjax.models.labels import names
from vizjax.workdir import folders


# Seeds between two attempts: more than a unit has replicates, also later on.
APART = 10**6


class Runs(NamedTuple):
  """The runs of a layer, as columns [n] of integers.

  Attributes:
    layer: its name.
    channel: of the layer; where runs are of no unit, the number of the
      direction, mask or photograph.
    y: row of the unit in the full map.
    x: column.
    sign: 1 where the score is maximized, -1 where it is minimized.
    replicate: number of the image among those of one unit and sign.
    seed: of all that is drawn at random, beside the numbers above.
    boxed: bool; whether the image is just the unit's receptive field.
    box: [n, 4], the part of the full image that the unit is made on: top,
      left, height, width.
  """

  layer: str
  channel: np.ndarray
  y: np.ndarray
  x: np.ndarray
  sign: np.ndarray
  replicate: np.ndarray
  seed: np.ndarray
  boxed: np.ndarray
  box: np.ndarray


def of_units(
  layer: str,
  units: list[tuple[int, int, int]],
  replicates: int,
  receptive_field: receptive_fields.Field | None,
  image: tuple[int, int],
  *,
  signs: tuple[int, ...] = (1,),
  seed: int = 0,
) -> Runs:
  """The runs of some units; those of a unit stand together.

  Args:
    layer: its name.
    units: (channel, y, x) of each.
    replicates: images of each unit and sign.
    receptive_field: the layer's, or None to use the whole image. A unit
      whose receptive field leaves the image sees padding: it gets the whole.
    image: (h, w) of the full image.
    signs: 1 for images that maximize, -1 for those that minimize.
    seed: of every run.
  """
  whole = receptive_fields.Box(0, 0, *image)
  rows = [
    (*unit, sign, replicate)
    for unit in units
    for sign in signs
    for replicate in range(replicates)
  ]
  boxed, boxes = [], []
  for _, y, x, *_ in rows:
    box = (
      whole
      if receptive_field is None
      else receptive_fields.box(receptive_field, y, x)
    )
    boxed.append(
      receptive_field is not None and receptive_fields.inside(box, *image)
    )
    boxes.append(box if boxed[-1] else whole)
  channel, y, x, sign, replicate = np.array(rows, np.int32).T
  return Runs(
    layer,
    channel,
    y,
    x,
    sign,
    replicate,
    seed=np.full(len(rows), seed),
    boxed=np.array(boxed),
    box=np.array(boxes, np.int32),
  )


class UnitSpec(NamedTuple):
  """A part of a list of units.

  Attributes:
    text: as it was typed.
    channels: the channels; None for all of the layer.
    position: (row, column); None where the part names no position.
  """

  text: str
  channels: range | None
  position: tuple[int, int] | None


def unit_specs(text: str, labels: tuple[str, ...] = ()) -> list[UnitSpec]:
  """Reads a list of units, such as '0:64,3@6x6,*'.

  Args:
    text: as above.
    labels: names of the layer's units, if they have any.

  Raises:
    UserError: the list cannot be read, or names a class that is not there.
  """
  try:
    texts = listing.split(text)
  except UserError:
    raise _unreadable(text) from None
  found = []
  for part in texts:
    if labels and named(part):
      channel = _class(part, labels)
      found.append(UnitSpec(part, range(channel, channel + 1), None))
      continue
    channels, at, position = part.partition('@')
    place = _position(position, part) if at else None
    found.append(UnitSpec(part, _channels(channels, part), place))
  return found


def units(
  text: str | None,
  layer: str,
  count: int,
  height: int,
  width: int,
  labels: tuple[str, ...] = (),
) -> list[tuple[int, int, int]]:
  """(channel, y, x) of every unit that a string names, each unit once.

  Args:
    text: as above; None for every channel, at the centre.
    layer: its name, for messages.
    count: channels of the layer.
    height: rows of its map; 1 for a fully connected layer.
    width: columns.
    labels: names of the layer's units, if they have any.

  Raises:
    UserError: the string does not parse, or names a unit that is not there.
  """
  found = []
  for part in unit_specs('*' if text is None else text, labels):
    channels = range(count) if part.channels is None else part.channels
    if channels[-1] >= count:
      raise UserError(
        f'unit {channels[-1]} is not in layer {layer!r}, which has {count}: '
        f'expected 0 to {count - 1}'
      )
    y, x = part.position or (height // 2, width // 2)
    if y >= height or x >= width:
      raise UserError(
        f'unit {part.text!r}: row {y}, column {x} is not in the map of layer '
        f'{layer!r}, which is {height} x {width}'
      )
    found += [(channel, y, x) for channel in channels]
  return list(dict.fromkeys(found))


def keys(runs: Runs, rows: np.ndarray) -> Key[Array, 'b']:
  """The keys of some runs: of what a run is, never of where it stands.

  The least image of a unit starts where the greatest does.
  """
  layer = np.uint32(zlib.crc32(runs.layer.encode()))
  numbers = np.stack([runs.channel, runs.y, runs.x, runs.replicate], -1)[rows]
  seeds, which = np.unique(runs.seed[rows], return_inverse=True)
  first = jnp.stack([core.key(seed) for seed in seeds.tolist()])
  return _folded(first, which, layer, jnp.asarray(numbers, jnp.uint32))


@jax.jit
def _folded(first, which, layer, numbers):
  def key(key, row):
    key = jax.random.fold_in(key, layer)
    for number in row:
      key = jax.random.fold_in(key, number)
    return key

  return jax.vmap(key)(first[which], numbers)


def stem(
  layer: str,
  channel: SupportsIndex,
  y: SupportsIndex,
  x: SupportsIndex,
  replicate: SupportsIndex,
  sign: SupportsIndex,
  config: Mapping[str, Any] | config_dict.ConfigDict,
  subject: str = 'unit',
) -> str:
  """Returns the name of a run, which no other run of its workdir has.

  <layer>_<channel>[_r<replicate>][_y<y>x<x>][_min]. The replicate is named
  where there are several, the position where config.units names one; _min is
  minimized. In place of the channel of a unit stand the subject and its
  number, as in conv5_direction0003; and conv5_layer, which has no number.
  """
  several = config['replicates'] > 1
  placed = '@' in (config['units'] or '')
  number = '' if subject == 'layer' else f'{channel:04d}'
  what = number if subject == 'unit' else f'{subject}{number}'
  name = f'{folders.spelled(layer)}_{what}'
  name += f'_r{replicate}' * several + f'_y{y}x{x}' * placed
  return name + '_min' * (int(sign) < 0)


def called(
  layer: str, number: int, subject: str, labels: Sequence[str] = ()
) -> str:
  """Returns what people call the subject of a run that is of no unit.

  'direction 3', 'mask 0', the name of a photograph, or that of the layer.

  Args:
    layer: its name.
    number: of the direction, mask or photograph.
    subject: 'direction', 'mask', 'photograph' or 'layer'.
    labels: names of the photographs.
  """
  if subject == 'layer':
    return layer
  label = ''.join(labels[number:][:1]) if subject == 'photograph' else ''
  return label.strip() or f'{subject} {number}'


def named(part: str) -> bool:
  """Whether a part of config.units is a name and not a number."""
  return any(character.isalpha() for character in part.partition('@')[0])


def _class(name: str, labels: tuple[str, ...]) -> int:
  """The number of a class, by its whole label or one of its synonyms."""
  found = names.units((name,), labels, len(labels))
  if name in found:
    return found[name]
  known = [one.strip() for label in labels for one in label.split(',')]
  hint = errors.hint(name, known)
  raise UserError(
    f'units {name!r} is no class of the network: type a number, or a name '
    f'as {labels[0].split(",")[0]!r}.{hint}'
  )


def _channels(text: str, part: str) -> range | None:
  if text.strip() == '*':
    return None
  numbers = [_number(n, part) for n in text.split(':')]
  if len(numbers) == 1:
    numbers.append(numbers[0] + 1)
  if len(numbers) > 3 or (len(numbers) == 3 and numbers[2] < 1):
    raise _unreadable(part)
  channels = range(*numbers)
  if not channels:
    raise UserError(
      f'units {part!r}: {text!r} holds no unit; a range ends before its '
      'second number, as 0:64'
    )
  return channels


def _position(text: str, part: str) -> tuple[int, int]:
  numbers = [_number(n, part) for n in text.split('x')]
  if len(numbers) != 2:
    raise _unreadable(part)
  y, x = numbers
  return y, x


def _number(text: str, part: str) -> int:
  if not text.strip().isdecimal() or len(text) > 1000:  # int() refuses 4301
    raise _unreadable(part)
  return int(text)


def _unreadable(part: str) -> UserError:
  return UserError(
    f'units {part!r} cannot be read: type a range as 0:64, a list as 3,7, '
    'or a position as 3@6x6 (row x column)'
  )
