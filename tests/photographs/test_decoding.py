"""Files of images: every kind is the same photograph and example."""

import os
import struct

import numpy as np
from PIL import Image
import pytest

from vizjax.errors import UserError
from vizjax.photographs import datasets
from vizjax.photographs import decoding
from vizjax.photographs import files

LEVELS = np.arange(54).reshape(6, 9)


def kinds():
  """{name of a file: (image of Pillow, options, pixels [6, 9, 3], note)}."""
  colour = np.random.RandomState(0).randint(0, 256, (6, 9, 3)).astype(np.uint8)
  alpha = np.where(LEVELS % 2, 255, 0).astype(np.uint8)
  over_white = np.where(alpha[..., None], colour, 255)
  grey = colour[..., 0]
  deep = (LEVELS * 1200 + 7).astype(np.uint16)
  eight = np.rint(deep / 65535 * 255)
  share = (LEVELS / 53).astype(np.float32)
  exif = Image.Exif()
  exif[0x0112] = 6
  palette = Image.fromarray((LEVELS % 2).astype(np.uint8)).convert('P')
  palette.putpalette([200, 0, 0, 0, 100, 0])
  held = np.where(LEVELS[..., None] % 2, [255, 255, 255], [200, 0, 0])
  image = Image.fromarray
  hidden = 'has transparent pixels'
  return {
    'turned.png': (image(colour), {'exif': exif}, np.rot90(colour, -1), ''),
    'turned16.png': (image(deep), {'exif': exif}, np.rot90(eight, -1), ''),
    'rgba.png': (
      image(np.concatenate([colour, alpha[..., None]], -1)),
      {},
      over_white,
      hidden,
    ),
    'opaque.png': (image(colour).convert('RGBA'), {}, colour, ''),
    'key.png': (
      image(grey),
      {'transparency': int(grey[0, 0])},
      np.where(grey == grey[0, 0], 255, grey),
      hidden,
    ),
    'grey_alpha.png': (
      image(np.stack([grey, alpha], -1), 'LA'),
      {},
      np.where(alpha, grey, 255),
      hidden,
    ),
    'palette.png': (palette, {'transparency': 1}, held, hidden),
    'deep.png': (image(deep), {}, eight, ''),
    'deep.tif': (image(deep), {}, eight, ''),
    'deep.pgm': (image(deep), {}, eight, ''),
    'deep_key.png': (
      image(deep),
      {'transparency': int(deep[0, 1])},
      np.where(deep == deep[0, 1], 255, eight),
      hidden,
    ),
    'inverse.tif': (
      image(deep),
      {'tiffinfo': {262: 0}},
      np.rint((1 - deep / 65535) * 255),
      '',
    ),
    'float.tif': (image(share), {}, np.rint(share * 255), '0 to 1 become 0 to'),
    'bits.png': (image(LEVELS % 2 > 0), {}, LEVELS % 2 * 255, ''),
    'film.gif': (
      Image.new('L', (9, 6), 40),
      {'save_all': True, 'append_images': [Image.new('L', (9, 6), 200)]},
      np.full((6, 9), 40),
      '',
    ),
  }


@pytest.mark.parametrize('name', kinds())
def test_a_photograph_is_what_a_data_set_has(name, tmp_path, recwarn):
  image, options, pixels, note = kinds()[name]
  path = tmp_path / name
  image.save(path, **options)
  if pixels.ndim == 2:
    pixels = np.stack([pixels] * 3, -1)
  example = datasets.open(str(tmp_path))[0].image
  assert example.dtype == np.uint8
  np.testing.assert_array_equal(example, pixels)
  assert not recwarn  # a note for each of a million files helps nobody
  (photograph,) = files.read(str(path))
  assert photograph.image.dtype == np.float32
  np.testing.assert_array_equal(photograph.image, pixels)
  said = [str(warning.message) for warning in recwarn]
  assert len(said) == bool(note)
  assert all(repr(str(path)) in text and note in text for text in said)


def test_twelve_bits_are_taken_by_their_own_largest_number(tmp_path):
  levels = np.array([[0, 1000], [2048, 4095]])
  packed = b''.join(  # two numbers in three bytes
    int(a << 12 | b).to_bytes(3, 'big') for a, b in levels.tolist()
  )
  tags = {
    256: 2, 257: 2, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 2, 279: 6,
  }  # fmt: skip
  path = tmp_path / 'twelve.tif'
  path.write_bytes(
    b'II*\0'
    + struct.pack('<I', 16)
    + packed.ljust(8, b'\0')
    + struct.pack('<H', len(tags))
    + b''.join(struct.pack('<HHII', t, 4, 1, n) for t, n in tags.items())
    + bytes(4)
  )
  found = decoding.of_file(str(path)).pixels[..., 0]
  np.testing.assert_array_equal(found, np.rint(levels / 4095 * 255))


@pytest.mark.parametrize(
  'pixels, words',
  [
    (np.full((3, 3), 2.5, np.float32), 'floating-point numbers from 2.5 to'),
    (np.full((3, 3), np.nan, np.float32), 'expected 0 to 1'),
    (np.full((3, 3), -0.5, np.float32), 'expected 0 to 1'),
    (np.full((3, 3), 1, np.int32), 'whole numbers .* expected 0 to 65535'),
  ],
)
def test_depths_of_an_unknown_range_are_refused(pixels, words, tmp_path):
  path = tmp_path / 'a.tif'
  Image.fromarray(pixels).save(path)
  with pytest.raises(UserError, match=f'a.tif.*cannot be decoded.*{words}'):
    decoding.of_file(str(path))


def test_what_is_no_file_is_refused_at_once(tmp_path):
  os.mkfifo(tmp_path / 'pipe.png')
  (tmp_path / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
  for name, words in {
    'pipe.png': 'is a pipe, socket or device, expected an image file',
    'gone.png': 'is a link that leads to no file',
    '': 'is a folder, expected an image file',
  }.items():
    with pytest.raises(UserError, match=words):
      decoding.of_file(str(tmp_path / name))
  with pytest.raises(FileNotFoundError):
    decoding.of_file(str(tmp_path / 'missing.png'))


def test_both_readers_refuse_as_many_pixels(tmp_path, monkeypatch):
  path = tmp_path / 'bomb.png'
  Image.new('L', (50, 40)).save(path)
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 900)  # refused from twice that
  for read in (files.read, lambda _: datasets.open(str(tmp_path))[0]):
    with pytest.raises(UserError, match='too large, expected at most 1800'):
      read(str(path))
