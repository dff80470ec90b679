"""Nguyen's pictures of runs that are written here by hand."""

import io
import pathlib

import numpy as np
from PIL import Image
import pytest
import test_export

from vizjax.errors import UserError
from vizjax.export import synthesizing
from vizjax.models.labels import imagenet
from vizjax.models.labels import places205

PUBLISHED = (
  pathlib.Path(__file__)
  .parents[3]
  .joinpath('shared', 'fixtures', 'synthesizing')
)
KNOBS = {
  'decay': 0.01,
  'rate_start': 8.0,
  'steps': 200,
  'mean': '120,115,100',
}
MEAN = np.float32([120, 115, 100])


def fabricate(workdir, **changes):
  return test_export.fabricate(workdir, **KNOBS | changes)


def write(workdir, out, **options):
  paths = test_export.write(workdir, 'synthesizing', out, **options)
  return [str(path.relative_to(out)) for path in paths]


def imsaved(image):
  """What act_max.py writes of an image [h, w, 3], by SciPy's bytescale."""
  shown = np.clip(np.float64(image) - MEAN, -120, 120)
  shown = (shown + 120) / 240
  shown = (shown - shown.min()) * (255 / (shown.max() - shown.min()))
  return (shown.clip(0, 255) + 0.5).astype(np.uint8)


def jpeg(shown):
  buffer = io.BytesIO()
  Image.fromarray(shown).save(buffer, format='JPEG', quality=75)
  return buffer.getvalue()


def test_a_picture_is_what_the_program_writes(tmp_path):
  made = fabricate(tmp_path / 'w')
  write(tmp_path / 'w', tmp_path / 'out')
  for i in range(4):
    image = test_export.image_of(made, i)
    less = image - MEAN
    assert less.min() < -120 and less.max() > 120  # something is cut off
    path = tmp_path / 'out' / f'conv5_{i:04d}_200_0.99_8.0__0.jpg'
    assert path.read_bytes() == jpeg(imsaved(image))


@pytest.mark.parametrize('model, mean', [
  ('toynets.net()', None), ("load('alexnet_features')", '120,115,100'),
])  # fmt: skip
def test_the_mean_is_of_the_config_or_the_network(tmp_path, model, mean):
  made = fabricate(tmp_path / 'w', model=model, mean=mean)
  (name, *_) = write(tmp_path / 'w', tmp_path / 'out', units='1')
  # That of toynets is the same.
  expected = jpeg(imsaved(test_export.image_of(made, 1)))
  assert (tmp_path / 'out' / name).read_bytes() == expected


def test_a_workdir_that_calls_other_functions_has_to_be_trusted(tmp_path):
  fabricate(tmp_path / 'w', model='toynets.net()')
  with pytest.raises(UserError, match=r'calls toynets\.net, .*--trust'):
    write(tmp_path / 'w', tmp_path / 'out', trust=False)
  assert not (tmp_path / 'out').exists()


def test_what_is_not_beyond_the_range_is_stretched_to_all_of_0_to_255():
  image = np.linspace(-3, 50, 99, dtype=np.float32).reshape(11, 3, 3)
  found = synthesizing.picture(image)
  assert found.min() == 0 and found.max() == 255
  expected = 255 * (image + 3) / 53
  assert np.abs(found - expected).max() < 0.5001  # float32 at a half
  assert not synthesizing.picture(np.full((2, 2, 3), 7.0)).any()


@pytest.mark.parametrize('changes, names', [
  ({}, ['conv5_0000_200_0.99_8.0__0', 'conv5_0001_200_0.99_8.0__0']),
  (
    {'steps': 5, 'decay': 0.07, 'rate_start': 1e-10, 'seed': 3},
    ['conv5_0000_05_0.93_1e-10__3', 'conv5_0001_05_0.93_1e-10__3'],
  ),
  (
    {'layer': 'loss3/classifier', 'decay': 0, 'rate_start': 2},
    [f'loss3--classifier_000{i}_200_1.0_2.0__0' for i in (0, 1)],
  ),
  (
    {'replicates': 2, 'seed': 7},
    ['conv5_0000_200_0.99_8.0__7', 'conv5_0000_200_0.99_8.0__8'],
  ),
  # One position has no place in the program's names, of several each is told.
  (
    {'units': '0@2x3,1@2x3'},
    ['conv5_0000_200_0.99_8.0__0', 'conv5_0001_200_0.99_8.0__0'],
  ),
  (
    {'units': '0@2x3,0@2x4'},
    ['conv5_0000_200_0.99_8.0__0_y2x3', 'conv5_0001_200_0.99_8.0__0_y2x3'],
  ),
])  # fmt: skip
def test_names_have_the_numbers_as_python_prints_them(tmp_path, changes, names):
  fabricate(tmp_path / 'w', count=2, **changes)
  layer = names[0].split('_')[0]
  assert write(tmp_path / 'w', tmp_path / 'out') == [
    *(f'{part}{name}.jpg' for name in names for part in ('', 'captioned/')),
    f'example_{layer}.jpg',
  ]


def test_a_tile_is_what_the_unit_sees_over_its_name(tmp_path):
  labels = ['mask', 'leaf beetle, chrysomelid', 'a white shark', 'd']
  made = fabricate(tmp_path / 'a', labels={'conv5': labels})
  write(tmp_path / 'a', tmp_path / 'out')
  tiles = []
  for i, text in enumerate(['mask', 'leaf beetle', 'a white', 'd']):
    seen = imsaved(test_export.image_of(made, i))[1 : 1 + 6, 2 : 2 + 5]
    tiles.append(synthesizing.captioned(seen, text))
    name = f'conv5_{i:04d}_200_0.99_8.0__0.jpg'
    found = (tmp_path / 'out' / 'captioned' / name).read_bytes()
    assert found == jpeg(tiles[i])
  width = max(tile.shape[1] for tile in tiles) + 2
  sheet = test_export.pixels(tmp_path / 'out' / 'example_conv5.jpg')
  assert sheet.shape == (6 + 40 + 2, 4 * width, 3)
  # A layer without names has numbers.
  fabricate(tmp_path / 'b')
  write(tmp_path / 'b', tmp_path / 'out', units='3')
  tile = synthesizing.captioned(seen, '3')
  assert (tmp_path / 'out' / 'captioned' / name).read_bytes() == jpeg(tile)


def test_a_caption_is_black_on_white_and_whole():
  image = np.full((227, 227, 3), 90, np.uint8)
  tile = synthesizing.captioned(image, 'leafy gap')
  assert tile.shape == (267, 227, 3)
  np.testing.assert_array_equal(tile[:227], image)
  dark = tile[227:].min(-1) < 100
  rows, columns = (np.flatnonzero(dark.any(axis)) for axis in (1, 0))
  assert rows[0] >= 7 and rows[-1] < 40 - 1  # as l rises, and as g hangs down
  assert abs((columns[0] + columns[-1]) / 2 - 113) < 2
  wide = synthesizing.captioned(image[:, :20], 'leafy gap')
  assert wide.shape[1] == pytest.approx(columns[-1] - columns[0], abs=6)
  left = (wide.shape[1] - 20) // 2
  np.testing.assert_array_equal(wide[:227, left : left + 20], image[:, :20])
  assert (wide[:227, :left] == 255).all()


@pytest.mark.skipif(not PUBLISHED.exists(), reason='the lists are not there')
def test_captions_are_those_of_the_scripts():
  lines = (PUBLISHED / 'misc' / 'synset_words.txt').read_text().splitlines()
  names = imagenet.labels()
  for i, line in enumerate(lines):
    # cut -d "," -f 1 | cut -d " " -f 2, and -f 3
    words = line.split(',')[0].split(' ')
    expected = f'{words[1]} {(words + [""])[2]}'.strip()
    if expected != 'crane':  # ours are told apart
      assert synthesizing.caption(i, names) == expected
  lines = (PUBLISHED / 'misc' / 'categoryIndex_places205.txt').read_text()
  for i, line in enumerate(lines.splitlines()):
    expected = line.split(' ')[0].replace('_', ' ')
    found = synthesizing.caption(i, places205.labels())
    assert found == expected


@pytest.mark.skipif(not PUBLISHED.exists(), reason='they are not there')
@pytest.mark.parametrize('number, size', [(1, 227), (4, 163), (5, 224)])
def test_an_example_is_as_large_as_the_published_one(number, size):
  tile = synthesizing.captioned(np.zeros((size, size, 3), np.uint8), 'a')
  found = synthesizing._sheet(5 * [tile], 5)
  with Image.open(PUBLISHED / 'examples' / f'example{number}.jpg') as image:
    assert found.shape[:2] == image.size[::-1]


def test_frames_stand_over_the_scores_of_their_steps(tmp_path):
  made = fabricate(tmp_path / 'w', save_every=2, steps=5)
  names = write(tmp_path / 'w', tmp_path / 'out', units='2')
  name = 'conv5_0002_05_0.99_8.0__0'
  assert f'{name}_frames.jpg' in names
  h, w = test_export.SIZE
  result = imsaved(test_export.image_of(made, 2))
  tiles = []
  for k, step in enumerate((0, 2, 4)):
    frame = imsaved(made['frames'][2, k, :h, :w])
    text = f'{made["trace/score"][2, step]:.2f}'
    tiles.append(synthesizing.captioned(frame, text))
  sheet = synthesizing._sheet([*tiles, result], 10)
  found = (tmp_path / 'out' / f'{name}_frames.jpg').read_bytes()
  assert found == jpeg(sheet)


def test_thirty_frames_are_ten_in_a_row():
  frames = 30 * [np.zeros((267, 227, 3), np.uint8)]
  sheet = synthesizing._sheet([*frames, frames[0][:227]], 10)
  assert sheet.shape == (3 * 269 + 229, 2290, 3)  # example3.jpg is as wide


def test_a_sheet_is_no_higher_than_a_jpeg_can_be():
  tiles = 1100 * [np.zeros((600, 1, 3), np.uint8)]
  h, w, _ = synthesizing._sheet(tiles, 5).shape
  assert h <= 65535 and h * w // (602 * 3) >= 1100


def test_another_recipe_is_refused_with_what_to_type(tmp_path):
  test_export.fabricate(tmp_path / 'w', decay=0.1)
  with pytest.raises(UserError, match='no rate_start.*nguyen2016') as told:
    write(tmp_path / 'w', tmp_path / 'out')
  assert '\n' not in str(told.value)
  assert not (tmp_path / 'out').exists()


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
  def fail(self, target):
    assert self.stat().st_size > 0
    raise OSError(28, 'No space left on device', str(target))

  fabricate(tmp_path / 'w')
  monkeypatch.setattr(pathlib.Path, 'replace', fail)
  with pytest.raises(OSError, match='No space'):
    write(tmp_path / 'w', tmp_path / 'out')
  assert not list((tmp_path / 'out').glob('*'))
