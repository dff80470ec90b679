"""Damaged copies of a file, and what becomes of a reader that is given them."""

import random
import re
import tracemalloc

import pytest

from vizjax.errors import UserError

# Damaged copies of a file; tests/fuzz.py reads 20,000 of each format.
COUNT = 300

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


_EXTREMES = (0, 1, 127, 128, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1)


def extreme(content, seed):
  """A copy with other numbers in its text or of its bytes, or with a hole.

  Other lengths of text shift what is behind.
  """
  draw = random.Random(seed)
  damaged = bytearray(content)
  for _ in range(draw.choice((1, 1, 2))):
    texts = list(re.finditer(rb'\d+', damaged))
    kind = draw.choice(
      ('text', 'bytes', 'hole') if texts else ('bytes', 'hole')
    )
    value = draw.choice((*_EXTREMES, 2**63 - 1, 2**64 - 1, 10**30))
    if kind == 'text':
      start, end = draw.choice(texts).span()
      damaged[start:end] = str(draw.choice((value, -value))).encode()
      continue
    start, size = draw.randrange(len(damaged)), draw.choice((2, 4, 8))
    value = draw.choice((value, -value)) % 256**size
    order = draw.choice(('little', 'big'))
    end = start + (size if kind == 'bytes' else draw.randrange(1, 65))
    new = value.to_bytes(size, order) if kind == 'bytes' else b''
    damaged[start:end] = new
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
    with pytest.raises(UserError, match=match) as error:
      read(path)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert str(path) in str(error.value)
  assert peak < PEAK * len(content) + ROOM
