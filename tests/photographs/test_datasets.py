"""Folders of images and sets of TFDS, as one sequence."""

import io
import os
import pathlib
import re
import subprocess
import sys
import textwrap

import numpy as np
from PIL import Image
import pytest

from vizjax.errors import UserError
from vizjax.photographs import datasets

ROOT = pathlib.Path(__file__).parents[2]


def draw(h=6, w=9, channels=3, seed=0):
  shape = (h, w, channels) if channels > 1 else (h, w)
  return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def save(path, image=None, **options):
  """Writes an array, or an image of Pillow."""
  path.parent.mkdir(parents=True, exist_ok=True)
  image = draw() if image is None else image
  image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
  image.save(path, **options)
  return path


def only(folder):
  (example,) = datasets.open(str(folder))
  return example


def test_images_come_in_the_order_of_their_paths_with_their_folder(tmp_path):
  for name in (
    'tench/b.png',
    'tench/A.PNG',
    'stray.png',
    'n01440764_tench.jpg',
    'deep/er/zebra/1.webp',
    'n014407645.bmp',
    '.hidden.png',
    '.git/x.png',
  ):
    save(tmp_path / name)
  (tmp_path / 'tench' / 'notes.txt').write_text('no image')
  (tmp_path / 'folder.png').mkdir()
  data = datasets.open(str(tmp_path))
  assert [(e.id, e.label) for e in data] == [
    ('deep/er/zebra/1.webp', 'zebra'),
    ('n014407645.bmp', ''),
    ('n01440764_tench.jpg', 'n01440764'),
    ('stray.png', ''),
    ('tench/A.PNG', 'tench'),
    ('tench/b.png', 'tench'),
  ]
  assert data.classes == ('n01440764', 'tench', 'zebra')
  assert data.name == str(tmp_path)


def test_it_is_a_sequence(tmp_path):
  for i in range(3):
    save(tmp_path / f'{i}.png', draw(seed=i))
  data = datasets.open(str(tmp_path))
  assert len(data) == 3
  assert data[-1].id == data[np.int64(2)].id == '2.png'
  np.testing.assert_array_equal(data[1].image, draw(seed=1))
  for number in (3, -4):
    with pytest.raises(IndexError, match=f'{number} of .* which has 3'):
      data[number]


def test_what_cannot_be_decoded_has_an_id(tmp_path):
  save(tmp_path / 'a.png')
  save(tmp_path / 'cat' / 'b.png').write_bytes(b'damaged')
  data = datasets.open(str(tmp_path))
  assert [data.identity(number) for number in range(2)] == [
    'a.png',
    'cat/b.png',
  ]
  with pytest.raises(UserError, match='b.png.*cannot be decoded'):
    data[1]


def test_links_are_followed_but_not_in_circles(tmp_path):
  folder = tmp_path / 'data'
  save(tmp_path / 'elsewhere' / '1.png')
  save(folder / 'zebra' / '1.png')
  (folder / 'tench').symlink_to(tmp_path / 'elsewhere')
  (folder / 'zebra' / 'up').symlink_to(folder)
  # Two that lead to each other.
  (tmp_path / 'elsewhere' / 'over').symlink_to(folder / 'zebra')
  found = [e.id for e in datasets.open(str(folder))]
  assert found[0] == 'tench/1.png' and found[-1] == 'zebra/1.png'
  assert len(found) == len(set(found)) < 10


def test_what_is_no_file_has_an_id_and_a_reason(tmp_path):
  folder = tmp_path / 'data'
  save(folder / 'cat' / 'plain.png')
  (folder / 'cat' / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
  (folder / 'cat' / 'self.png').symlink_to(folder / 'cat' / 'self.png')
  (folder / 'dog').symlink_to(folder / 'dog')
  os.mkfifo(folder / 'pipe.png')
  data = datasets.open(str(folder))
  reasons = {}
  for number in range(len(data)):
    try:
      reasons[data.identity(number)] = data[number].image.shape
    except ValueError as error:
      reasons[data.identity(number)] = str(error)
  assert reasons.pop('cat/plain.png') == (6, 9, 3)
  for name, why in {
    'cat/gone.png': 'leads to no file.*No such file',
    'cat/self.png': 'leads to no file.*Too many levels',
    'pipe.png': 'is a pipe, .* expected an image file',
  }.items():
    assert re.search(f'{name}.*{why}', reasons.pop(name))
  assert not reasons


def test_grey_is_tripled(tmp_path):
  grey = draw(channels=1)
  save(tmp_path / 'grey.png', grey)
  image = only(tmp_path).image
  assert image.dtype == np.uint8 and image.shape == (6, 9, 3)
  for channel in np.moveaxis(image, -1, 0):
    np.testing.assert_array_equal(channel, grey)


def test_sixteen_bits_become_eight_by_their_value(tmp_path):
  deep = np.linspace(0, 65535, 54).reshape(6, 9).astype(np.uint16)
  save(tmp_path / 'deep.png', deep)
  found = only(tmp_path).image[:, :, 0]
  np.testing.assert_array_equal(found, np.rint(deep / 65535 * 255))


def test_two_colours_are_black_and_white(tmp_path):
  bits = draw(channels=1) > 127
  save(tmp_path / 'bits.png', Image.fromarray(bits))
  np.testing.assert_array_equal(only(tmp_path).image[:, :, 1], 255 * bits)


def test_cmyk_is_printed_colour(tmp_path):
  inks = draw(channels=4)
  inks[0, 0], inks[0, 1] = (255, 0, 0, 0), (0, 0, 0, 255)
  save(tmp_path / 'inks.tiff', Image.fromarray(inks, 'CMYK'))
  image = only(tmp_path).image
  share = 1 - inks.astype(float) / 255
  expected = 255 * share[:, :, :3] * share[:, :, 3:]
  np.testing.assert_allclose(image, expected, atol=1.5)  # whole numbers
  np.testing.assert_array_equal(image[0, :2], [[0, 255, 255], [0, 0, 0]])


def test_the_transparent_is_laid_over_white(tmp_path):
  layered = draw(channels=4)
  save(tmp_path / 'a' / 'layered.png', layered)
  alpha = layered[:, :, 3:] / 255
  expected = alpha * layered[:, :, :3] + (1 - alpha) * 255
  np.testing.assert_allclose(only(tmp_path / 'a').image, expected, atol=1)
  palette = Image.fromarray(draw(channels=1) % 4).convert('L')
  palette = palette.convert('P')
  palette.putpalette([200, 0, 0, 0, 100, 0, 0, 0, 50, 9, 9, 9])
  save(tmp_path / 'b' / 'palette.png', palette, transparency=2)
  numbers = np.asarray(palette)
  colours = np.array([[200, 0, 0], [0, 100, 0], [255, 255, 255], [9, 9, 9]])
  assert set(np.unique(numbers)) == {0, 1, 2, 3}
  np.testing.assert_array_equal(only(tmp_path / 'b').image, colours[numbers])


# What undoes each orientation of EXIF: the TIFF 6.0 standard, page 36.
UPRIGHT = {
  1: lambda a: a,
  2: lambda a: a[:, ::-1],
  3: lambda a: a[::-1, ::-1],
  4: lambda a: a[::-1],
  5: lambda a: a.swapaxes(0, 1),
  6: lambda a: np.rot90(a, -1),
  7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
  8: np.rot90,
}


@pytest.mark.parametrize('orientation', UPRIGHT)
def test_a_photograph_is_turned_upright(orientation, tmp_path):
  exif = Image.Exif()
  exif[0x0112] = orientation
  save(tmp_path / 'turned.png', draw(), exif=exif)
  expected = UPRIGHT[orientation](draw())
  np.testing.assert_array_equal(only(tmp_path).image, expected)


def test_the_first_of_several_frames_is_taken(tmp_path):
  frames = [Image.new('L', (9, 6), value) for value in (40, 90, 200)]
  save(
    tmp_path / 'film.gif', frames[0], save_all=True, append_images=frames[1:]
  )
  assert set(only(tmp_path).image.ravel()) == {40}


def damaged(tmp_path):
  """A folder of each kind of file that is no image."""
  good = io.BytesIO()
  Image.fromarray(draw(60, 90)).save(good, 'jpeg')
  content = {
    'cut.jpg': good.getvalue()[:400],
    'text.png': b'no image',
    'empty.gif': b'',
    'other.jpg': b'\xff\xd8\xff\xe0' + bytes(100),
  }
  for name, data in content.items():
    path = tmp_path / name.split('.')[0] / name
    path.parent.mkdir()
    path.write_bytes(data)
    yield path
  yield save(tmp_path / 'real' / 'real.tiff', Image.new('F', (3, 3), 2.5))


def test_a_file_that_is_no_image_is_named(tmp_path):
  paths = list(damaged(tmp_path))
  assert len(paths) == 5
  for path in paths:
    with pytest.raises(UserError) as caught:
      only(path.parent)
    words = str(caught.value)
    assert repr(str(path)) in words and 'cannot be decoded' in words
    assert 'remove it' in words and '\n' not in words


def test_what_pillow_holds_for_a_bomb_is_refused(tmp_path, monkeypatch):
  path = save(tmp_path / 'bomb.png', draw(40, 50))
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 900)  # refused from twice that
  with pytest.raises(UserError, match='bomb.png.*too large.*1800 pixels'):
    only(path.parent)


def test_a_folder_that_is_none_is_refused(tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'empty' / 'notes.txt').write_text('')
  for spec, words in {
    str(tmp_path / 'nowhere'): 'is not a folder: expected .* tfds:NAME',
    str(save(tmp_path / 'a.png')): 'is not a folder',
    '': 'is not a folder',
    str(tmp_path / 'empty'): 'has no images: expected files .*jpg',
  }.items():
    with pytest.raises(UserError, match=words) as caught:
      datasets.open(spec)
    assert repr(spec) in str(caught.value)


TOY_SETS = """
  import io
  import numpy as np
  from PIL import Image
  import tensorflow_datasets as tfds

  NAMES = ['tench', 'zebra', 'n01484850']

  class ToyBoth(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version('1.2.0')
    SPLITS = {'train': 4, 'test': 2, 'validation': 5}
    LABELLED = True
    IMAGES = 'image'

    def _info(self):
      features = {self.IMAGES: tfds.features.Image(shape=(None, None, 3))}
      if self.LABELLED:
        features['label'] = tfds.features.ClassLabel(names=NAMES)
        features['file_name'] = tfds.features.Text()
      features = tfds.features.FeaturesDict(features)
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, manager):
      return {k: self._generate_examples(n) for k, n in self.SPLITS.items()}

    def _generate_examples(self, count):
      for i in range(count):
        file = io.BytesIO()
        value = Image.fromarray(np.full((4, 5), 10 * i, np.uint8))  # grey
        value.save(file, 'png')
        file.seek(0)
        row = {self.IMAGES: file}
        if self.LABELLED:
          row |= {'label': i % 4 - 1, 'file_name': f'{i}.png'}
        yield i, row

  class ToyTest(ToyBoth):
    SPLITS = {'train': 1, 'test': 2}

  class ToyOne(ToyBoth):
    SPLITS = {'unlabelled': 3}
    LABELLED = False

  class ToyNeither(ToyBoth):
    SPLITS = {'train': 1, 'extra': 2}

  class ToySound(ToyBoth):
    SPLITS = {'train': 1}
    IMAGES = 'spectrum'
"""

PREPARE = """
  import sys
  import toy_sets
  for name in ('Both', 'Test', 'One', 'Neither', 'Sound'):
    builder = getattr(toy_sets, f'Toy{name}')
    builder = builder(data_dir=sys.argv[1], file_format='array_record')
    builder.download_and_prepare()
"""


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  """$TFDS_DATA_DIR with small sets, and a folder to import from."""
  pytest.importorskip('array_record', reason='array_record is not installed')
  folder = tmp_path_factory.mktemp('tfds')
  package = folder / 'code' / 'toy_sets'
  package.mkdir(parents=True)
  (package / '__init__.py').write_text(textwrap.dedent(TOY_SETS))
  command = [sys.executable, '-c', textwrap.dedent(PREPARE), folder / 'data']
  environment = {**os.environ, 'PYTHONPATH': str(folder / 'code')}
  subprocess.run(command, env=environment, check=True, capture_output=True)
  return folder / 'data'


@pytest.fixture
def sets(prepared, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(prepared))
  return prepared


def test_a_set_of_tfds_has_its_labels_by_name(sets):
  data = datasets.open('tfds:toy_both')
  assert data.classes == ('tench', 'zebra', 'n01484850')
  assert len(data) == 5  # the split validation
  found = {e.id: (e.label, e.image) for e in data}
  assert [data.identity(number) for number in range(5)] == list(found)
  labels = ['', 'tench', 'zebra', 'n01484850', '']
  for i, expected in enumerate(labels):
    label, image = found[f'{i}.png']
    assert label == expected
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.full((4, 5, 3), 10 * i))


@pytest.mark.parametrize(
  'spec, size',
  [
    ('tfds:toy_both:train', 4),
    ('tfds:toy_both:1.2.0', 5),
    ('tfds:toy_both:1.*.*:test', 2),
    ('tfds:toy_both:train[:2]', 2),
    ('tfds:toy_both:1.2.0:validation[1:]', 4),
    ('tfds:toy_test', 2),
    ('tfds:toy_one', 3),
    ('tfds:toy_neither:extra', 2),
  ],
)
def test_a_split_is_found(sets, spec, size):
  assert len(datasets.open(spec)) == size


def test_a_set_without_labels_has_none(sets):
  data = datasets.open('tfds:toy_one')
  assert data.classes == ()
  assert [(e.id, e.label) for e in data] == [('0', ''), ('1', ''), ('2', '')]
  assert [data.identity(number) for number in range(3)] == ['0', '1', '2']


def test_a_set_that_is_not_there_says_what_to_type(sets, tmp_path, monkeypatch):
  for spec, *words in (
    ('tfds:toy_neither', 'splits train, extra', 'as tfds:toy_neither:train'),
    ('tfds:toy_both:dev', "no split 'dev'", 'train, test, validation'),
    ('tfds:toy_both:test[', "no split 'test['", 'train[:10%]'),
    ('tfds:toy_sound', 'spectrum', "expected one called 'image'"),
    ('tfds:toy_bth', "'toy_bth' is not a set", str(sets)),
    ('tfds:toy_both:2.0.0', 'is not a set'),
    ('tfds:mnist:1.0.0', 'cannot be opened', 'download_and_prepare'),
    (
      'tfds:mnist',
      'not prepared',
      str(sets),
      "tfds.builder('mnist', file_format='array_record')"
      '.download_and_prepare()"',
    ),
    ('tfds:', 'is no data set', 'tfds:NAME'),
    ('tfds:a b', 'is no data set'),
  ):
    with pytest.raises(UserError) as caught:
      datasets.open(spec)
    for part in (repr(spec), *words):
      assert part in str(caught.value), (spec, str(caught.value))
    assert '\n' not in str(caught.value)


def test_a_set_in_another_format_is_refused(prepared, tmp_path, monkeypatch):
  folder = tmp_path / 'toy_test' / '1.2.0'
  folder.mkdir(parents=True)
  for path in (prepared / 'toy_test' / '1.2.0').iterdir():
    content = path.read_bytes()
    if path.name == 'dataset_info.json':
      assert b'"array_record"' in content
      content = content.replace(b'"array_record"', b'"tfrecord"')
    (folder / path.name).write_bytes(content)
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  with pytest.raises(UserError, match='as tfrecord, expected array_record'):
    datasets.open('tfds:toy_test')


def test_tensorflow_is_not_imported(prepared, tmp_path):
  # There is one to import here, though it is not installed.
  (tmp_path / 'tensorflow').mkdir()
  (tmp_path / 'tensorflow' / '__init__.py').write_text('')
  program = """
    import sys
    from vizjax.photographs import datasets
    assert 'tensorflow_datasets' not in sys.modules
    data = datasets.open('tfds:toy_both')
    assert sum(example.image.size for example in data) == 5 * 4 * 5 * 3
    print('tensorflow' in sys.modules)
  """
  path = os.pathsep.join([str(tmp_path), str(ROOT)])
  found = subprocess.run(
    [sys.executable, '-c', textwrap.dedent(program)],
    env={**os.environ, 'PYTHONPATH': path, 'TFDS_DATA_DIR': str(prepared)},
    capture_output=True,
    text=True,
  )
  assert found.returncode == 0, found.stderr
  assert found.stdout.strip() == 'False'
