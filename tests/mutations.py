"""Damaged copies of a file, and what becomes of a reader that is given them."""

import random
import tracemalloc

import pytest

COUNT = 2000

# How much a reader may have allocated at once, over the size of a bomb, with
# room for what a small one may unfold to.
PEAK = 8
ROOM = 64 * 2**20


def mutated(content, seed):
  """A copy cut short, with flipped bits, other bytes or splices of itself."""
  draw = random.Random(seed)
  damaged = bytearray(content)
  kind = ('cut', 'flip', 'byte', 'splice')[seed % 4]
  if kind == 'cut':
    del damaged[draw.randrange(len(damaged)) :]
  for _ in range(draw.choice((1, 1, 2, 8))):
    position = draw.randrange(len(content))
    if kind == 'flip':
      damaged[position] ^= 1 << draw.randrange(8)
    if kind == 'byte':
      value = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
      damaged[position] = value
  if kind == 'splice':
    start, length = draw.randrange(len(content)), draw.randrange(1, 65)
    end = position + draw.choice((0, length))
    damaged[position:end] = content[start : start + length]
  return bytes(damaged)


def mutations(content, count=COUNT):
  """The first so many damaged copies."""
  return (mutated(content, seed) for seed in range(count))


def survives(read, path, content, count=COUNT):
  """Every damaged copy is a value or a ValueError with the file's name."""
  path.write_bytes(content)
  read(path)
  refused = 0
  for damaged in mutations(content, count):
    path.write_bytes(damaged)
    try:
      read(path)
    except ValueError as error:
      assert path.name in str(error)
      refused += 1
  # Much of a file is numbers, where damage cannot be seen.
  assert count / 4 < refused < count


def refuses(read, path, content, match=None):
  """A ValueError that names the file, after bounded allocation."""
  path.write_bytes(content)
  tracemalloc.start()
  try:
    with pytest.raises(ValueError, match=match) as error:
      read(path)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert str(path) in str(error.value)
  assert peak < PEAK * len(content) + ROOM
