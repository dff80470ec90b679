"""A network as a diagram: its layers in rows from the image down, and wires.

  found = diagram.draw(rows, made={'conv1', 'conv2'})

A layer that changes each number by itself, such as a rectifier, is drawn as
part of the layer that it reads, unless it has images. Wires that pass a row
have a place of their own in it (after Sugiyama et al. 1981, with one sweep).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

Number = int | float

IMAGE = 'image'  # what the first layers read

_ROW, _NODE = 38, 22  # pixels from row to row; height of a node
_GAP, _WIRE = 12, 16  # pixels between places; width of a wire's place
_NARROWEST, _WIDEST = 64, 168  # pixels of a node
_LETTER = 6.3  # pixels, about the mean of a system font of 11

# Parts of the kinds of layers that are drawn even where the shape stays.
_DRAWN = ('conv', 'fc', 'pool', 'concat', 'function')


class Row(NamedTuple):
  """A layer: name, kind, the layers that it reads, [h, w, c] or [c]."""

  name: str
  kind: str
  inputs: tuple[str, ...]
  shape: tuple[int, ...]


class Node(NamedTuple):
  """A layer's place, in pixels from the top left."""

  name: str
  kind: str
  size: str  # as 13 x 13 x 256, for people
  left: Number
  top: Number
  width: Number
  height: Number
  made: bool  # whether there are images of it


class Diagram(NamedTuple):
  """Nodes, and wires as paths of SVG."""

  width: int
  height: int
  nodes: tuple[Node, ...]
  wires: tuple[str, ...]


def column(names: Sequence[str]) -> list[Row]:
  """Layers of which nothing but the order is known."""
  return [Row(name, '', (), ()) for name in names]


def draw(rows: Sequence[Row], made: Collection[str]) -> Diagram:
  """The diagram of a network.

  Args:
    rows: the layers, each after those that it reads. A name that is none of
      theirs is the image's. Without any inputs they stand below each other.
    made: layers with images.
  """
  rows = _folded(rows, made)
  wired = any(row.inputs for row in rows)
  levels, wires = _levels(rows) if wired else ([[row.name] for row in rows], [])
  known = {row.name: row for row in rows}
  longest = max((len(name) for name in known), default=0)
  width = min(max(longest * _LETTER + 14, _NARROWEST), _WIDEST)
  places = _places(levels, known, width)
  nodes = tuple(
    Node(
      name,
      known[name].kind,
      ' × '.join(map(str, known[name].shape)),
      places[name][0] - width / 2,
      places[name][1],
      width,
      _NODE,
      name in made,
    )
    for level in levels
    for name in level
    if name in known
  )
  right = max((x + width / 2 for x, _ in places.values()), default=0)
  paths = tuple(_path([places[name] for name in wire]) for wire in wires)
  return Diagram(round(right) + 1, len(levels) * _ROW, nodes, paths)


def _folded(rows: Sequence[Row], made: Collection[str]) -> list[Row]:
  """The layers that are drawn, which read each other or the image."""
  stands: dict[str, str] = {}  # of each layer, the one that it is part of
  shapes: dict[str, tuple[int, ...]] = {}
  kept = []
  for row in rows:
    inputs = tuple(dict.fromkeys(stands.get(i, IMAGE) for i in row.inputs))
    (first, *_) = inputs or (IMAGE,)
    plain = not any(part in row.kind for part in _DRAWN)
    if (
      plain
      and len(inputs) == 1
      and row.name not in made
      and shapes.get(first) == row.shape
    ):
      stands[row.name] = first
      continue
    stands[row.name] = row.name
    shapes[row.name] = row.shape
    kept.append(row._replace(inputs=inputs))
  if any(row.inputs for row in kept):
    kept.insert(0, Row(IMAGE, '', (), ()))
  return kept


def _levels(rows: Sequence[Row]) -> tuple[list[list[str]], list[list[str]]]:
  """The names in each row of the diagram, and the way of each wire.

  A wire that passes rows does so in places named after it.
  """
  depth: dict[str, int] = {}
  order: dict[str, float] = {}
  levels: list[list[str]] = []
  wires = []
  readers = []  # (level, name, what it hangs from)
  for row in rows:
    depth[row.name] = 1 + max((depth[i] for i in row.inputs), default=-1)
    hang = []
    for i in row.inputs:
      wire = [i]
      for level in range(depth[i] + 1, depth[row.name]):
        name = f'{i}\n{row.name}\n{level}'  # no layer has such a name
        readers.append((level, name, [wire[-1]]))
        wire.append(name)
      hang.append(wire[-1])
      wires.append([*wire, row.name])
    readers.append((depth[row.name], row.name, hang))
  for level in range(1 + max(depth.values())):
    here = [(name, hang) for at, name, hang in readers if at == level]
    means = {
      name: sum(order[h] for h in hang) / max(len(hang), 1)
      for name, hang in here
    }
    names = sorted(means, key=means.__getitem__)  # ties stay in order
    for i, name in enumerate(names):
      order[name] = i - (len(names) - 1) / 2
    levels.append(names)
  return levels, wires


def _places(
  levels: Sequence[Sequence[str]], known: Mapping[str, Row], width: Number
) -> dict[str, tuple[Number, Number]]:
  """The middle of each place, (x, y of its top), rows centered."""
  widths = [
    [width if name in known else _WIRE for name in level] for level in levels
  ]
  totals = [sum(w) + _GAP * (len(w) - 1) for w in widths]
  places = {}
  for i, (level, sizes, total) in enumerate(
    zip(levels, widths, totals, strict=True)
  ):
    x = (max(totals) - total) / 2 + 1
    for name, size in zip(level, sizes, strict=True):
      y = i * _ROW + 1 + (0 if name in known else _NODE / 2)
      places[name] = (x + size / 2, y)
      x += size + _GAP
  return places


def _path(points: Sequence[tuple[Number, Number]]) -> str:
  """A wire from the bottom of the first place to the top of the last."""
  (x, y), *others = points
  y += _NODE
  path = f'M{x:.0f},{y:.0f}'
  for next_x, next_y in others:
    middle = (y + next_y) / 2
    path += f'C{x:.0f},{middle:.0f} {next_x:.0f},{middle:.0f} '
    path += f'{next_x:.0f},{next_y:.0f}'
    x, y = next_x, next_y
  return path
