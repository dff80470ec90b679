"""vizjax validate, mostly without starting it."""

import csv
import os
import pathlib
import signal
import sys

import cv2
import numpy as np
from PIL import Image
import pytest
import test_datasets
import test_launchers

from vizjax.cli import validate
from vizjax.errors import UserError
from vizjax.models.labels import imagenet
from vizjax.photographs import classifiers
from vizjax.photographs import datasets
from vizjax.photographs import preprocessing

FIXTURES = pathlib.Path(__file__).parents[3] / 'shared' / 'fixtures'

prepared = test_datasets.prepared

COLOURS = {
  'red': (255, 0, 0),
  'green': (0, 255, 0),
  'blue': (0, 0, 255),
  'white': (255, 255, 255),
  'black': (0, 0, 0),
  'yellow': (255, 255, 0),
  'purple': (128, 0, 128),
}

# A network that names a colour; its scores are minus the distances.
NETWORK = f"""
import dataclasses
import jax.numpy as jnp
import numpy as np
from vizjax import models

COLOURS = np.array({list(COLOURS.values())}, np.float32)

def bare(scale=1.):
  def function(colours, image):
    gaps = image.mean((0, 1))[None] - colours
    return {{'map': image, 'scores': -scale * (gaps ** 2).sum(-1)}}

  return models.from_function(function, COLOURS, input_shape=(12, 12, 3))

def net(scale=1.):
  labels = ('red, scarlet', *{tuple(COLOURS)[1:]})
  return dataclasses.replace(bare(scale), labels=labels)
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """A folder with the network in it."""
  folder = tmp_path_factory.mktemp('place')
  (folder / 'colours.py').write_text(NETWORK)
  return folder


@pytest.fixture
def colours(place, monkeypatch):
  monkeypatch.syspath_prepend(place)
  yield
  sys.modules.pop('colours', None)


def paint(path, colour):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new('RGB', (20, 15), COLOURS[colour]).save(path)


@pytest.fixture
def folder(tmp_path):
  """Five images right, two wrong, two of what the network does not know."""
  painted = {
    'Scarlet/1.png': 'red',
    'Scarlet/2.png': 'white',
    'Scarlet/3.png': 'red',
    'red/4.png': 'red',
    '1/green.png': 'green',
    'blue/1.png': 'green',
    'yellow/1.png': 'yellow',
    'cat/1.png': 'black',
    'stray.png': 'black',
  }
  for name, colour in painted.items():
    paint(tmp_path / 'data' / name, colour)
  return str(tmp_path / 'data')


def test_the_table_tells_the_worst_class_first(colours, folder, capsys):
  validate.validate('colours.net()', folder)
  out, err = capsys.readouterr()
  head, *lines = out.splitlines()
  assert head == (
    "colours.net(): layer 'scores' of 7 units, "
    f'9 of 9 photographs of {folder}, '
    'short:14:bilinear, of which the middle 12x12 is seen'
  )
  # green is the nearest to the image for blue, white, yellow, ...
  assert lines == [
    'class     images    top-1    top-5  most frequent mistake',
    '2 blue         1    0.0 %    0.0 %  1 green (1)',
    '0 red          4   75.0 %  100.0 %  3 white (1)',
    '1 green        1  100.0 %  100.0 %',
    '5 yellow       1  100.0 %  100.0 %',
    "classes that the network does not know: 'cat'",
    'top-1 5/7 = 71.4 %, top-5 6/7 = 85.7 %, '
    '2 of 9 photographs without a class of the network',
  ]
  assert 'photographs: 9 of 9' in err


def test_nothing_depends_on_the_batch(colours, folder, tmp_path, capsys):
  found = set()
  for batch in (1, 4, 9, 32):
    path = tmp_path / f'{batch}.csv'
    validate.validate('colours.net()', folder, batch=batch, out=str(path))
    found.add((path.read_bytes(), capsys.readouterr().out))
  assert len(found) == 1


def test_the_file_has_a_row_for_each_image(colours, folder, tmp_path):
  path = tmp_path / 'out.csv'
  validate.validate('colours.net()', folder, out=str(path))
  with path.open(newline='') as file:
    rows = list(csv.DictReader(file))
  assert [row['id'] for row in rows] == [e.id for e in datasets.open(folder)]
  by_id = {row['id']: row for row in rows}
  blue = by_id['blue/1.png']
  assert (blue['class'], blue['unit'], blue['rank']) == ('blue', '2', '6')
  # Their squared distances from green: 0, 1, 1, 1.5 and 2 times 255 ** 2.
  best = [(blue[f'unit{k}'], blue[f'name{k}']) for k in range(1, 6)]
  names = ['green', 'black', 'yellow', 'purple', 'red, scarlet']
  assert best == list(zip('14560', names, strict=True))
  cat = by_id['cat/1.png']
  assert (cat['class'], cat['unit'], cat['rank']) == ('cat', '', '')
  assert (cat['unit1'], cat['name1']) == ('4', 'black')
  assert not [p for p in tmp_path.iterdir() if 'partial' in p.name]


def test_only_the_first_may_be_asked_for(colours, folder, capsys):
  validate.validate('colours.net()', folder, limit=4)
  lines = capsys.readouterr().out.splitlines()
  assert '4 of 9 photographs' in lines[0]
  assert lines[-1] == 'top-1 3/4 = 75.0 %, top-5 4/4 = 100.0 %'


def test_numbers_are_units_without_names(colours, tmp_path, capsys):
  for name, colour in {'6': 'purple', '0': 'red', '9': 'red'}.items():
    paint(tmp_path / 'data' / name / '1.png', colour)
  validate.validate('colours.bare()', str(tmp_path / 'data'))
  lines = capsys.readouterr().out.splitlines()
  assert lines[2].split()[:2] == ['0', '1'] and lines[3].split()[0] == '6'
  assert lines[-1].startswith('top-1 2/2 = 100.0 %') and '1 of 3' in lines[-1]


def test_names_may_be_given(colours, folder, tmp_path, capsys):
  names = tmp_path / 'names.txt'
  names.write_text('yellow\n1\nblue\nscarlet\nred\ncat\nx\n')
  validate.validate('colours.bare()', folder, labels=str(names))
  last = capsys.readouterr().out.splitlines()[-1]
  assert last.startswith('top-1 2/8')  # 1/green.png, Scarlet/2.png


def test_the_preprocessing_may_be_given(colours, folder, capsys):
  validate.validate('colours.net()', folder, preprocess='warp:20:bicubic')
  assert 'warp:20:bicubic' in capsys.readouterr().out.splitlines()[0]


BAD = {
  'no folder': ({'dataset': 'nowhere'}, "'nowhere' is not a folder"),
  'unknown network': (
    {'model': 'efficientnet_lite'},
    "^--model: .*Did you mean 'efficientnet_lite0'",
  ),
  'no formula': ({'model': 'colours.net('}, '^--model: .*not a formula'),
  'no network': ({'model': 'colours.nt()'}, "^--model: .*mean 'net'"),
  'unknown layer': ({'layer': 'score'}, "Did you mean 'scores'"),
  'a map': ({'layer': 'map'}, "'map' is .12, 12, 3., expected a vector"),
  'preprocessing': ({'preprocess': 'warp'}, "'warp' cannot be read"),
  'too small': (
    {'preprocess': 'warp:9:bilinear'},
    'at least 12.*--preprocessing=short:14:bilinear',
  ),
  'other names': ({'labels': 'imagenet'}, '1000 labels, expected 7'),
  'no names': ({'model': 'colours.bare()'}, "in .*'Scarlet' is no number"),
  'NaN': ({'model': "colours.net(1e999)"}, "NaN for '1/green.png'"),
  'no folder for the file': (
    {'out': 'nowhere/out.csv'},
    '--out=nowhere/out.csv: expected a file in a folder',
  ),
  'unknown set': ({'dataset': 'tfds:nothing'}, "'nothing' is not a set"),
}  # fmt: skip


@pytest.mark.parametrize('name', BAD)
def test_what_is_wrong_is_told_in_one_line(name, colours, folder, capsys):
  changed, words = BAD[name]
  arguments = {'model': 'colours.net()', 'dataset': folder, **changed}
  with pytest.raises(UserError, match=words) as caught:
    validate.validate(**arguments)
  assert '\n' not in str(caught.value).strip()


def test_a_data_set_without_known_classes_is_refused(colours, tmp_path):
  paint(tmp_path / 'data' / 'stray.png', 'red')
  data = str(tmp_path / 'data')
  with pytest.raises(UserError, match='has no classes: expected a folder of'):
    validate.validate('colours.net()', data)
  paint(tmp_path / 'data' / 'cat' / '1.png', 'red')
  with pytest.raises(UserError, match="no photog.*'cat'; expected 0 to 6, or"):
    validate.validate('colours.net()', data)
  paint(tmp_path / 'data' / 'red' / '1.png', 'red')
  with pytest.raises(UserError, match="no photograph.*'cat', 'red'"):
    validate.validate('colours.net()', data, limit=1)


def test_a_file_is_there_whole_or_not_at_all(colours, folder, tmp_path):
  pathlib.Path(folder, 'yellow', '1.png').write_bytes(b'damaged')
  path = tmp_path / 'out.csv'
  path.write_text('from before')
  with pytest.raises(UserError, match='yellow/1.png'):
    validate.validate('colours.net()', folder, out=str(path), batch=1)
  assert path.read_text() == 'from before'
  assert [p.name for p in tmp_path.glob('*out.csv*')] == ['out.csv']


def start(place, *arguments, **environment):
  """The command, in a process of its own."""
  command = ['-m', 'vizjax', 'validate', *arguments]
  environment = {'PYTHONPATH': str(place), **environment}
  return test_launchers.start('-c', PROGRAM.format(environment, command))


PROGRAM = """
import os, sys
os.environ.update({})
os.execv(sys.executable, [sys.executable, *{}])
"""


@pytest.mark.slow
def test_the_command_reads_a_set_and_a_folder(
  place, prepared, folder, tmp_path
):
  data = f'--dataset={folder}'
  runs = {
    'set': start(
      place,
      '--model=colours.bare()',
      '--dataset=tfds:toy_both:train',
      f'--labels={tmp_path / "names.txt"}',
      TFDS_DATA_DIR=str(prepared),
    ),
    'folder': start(place, '--model=colours.net()', data, '--batch=2'),
    'none': start(
      place,
      '--model=colours.net()',
      '--dataset=tfds:mnist',
      TFDS_DATA_DIR=str(prepared),
    ),
    'missing': start(place, data),
  }
  (tmp_path / 'names.txt').write_text('a\nb\nc\nd\nzebra\ne\nn01484850\n')
  ends = {name: test_launchers.finish(run) for name, run in runs.items()}
  code, out, err = ends['set']
  assert code == 0, err
  # Black for tench, zebra, n01484850, and one without a label.
  assert out.splitlines()[-1].startswith('top-1 1/2 = 50.0 %')
  assert '2 of 4 photographs' in out.splitlines()[-1]
  assert all(line.startswith('photographs: ') for line in err.splitlines()), err
  code, out, err = ends['folder']
  assert code == 0, err
  assert out.splitlines()[-1].startswith('top-1 5/7')
  for name, words in {
    'none': "'tfds:mnist' is not prepared",
    'missing': '--model is missing',
  }.items():
    code, out, err = ends[name]
    assert code == 2 and not out, (name, err)
    assert words in err and len(err.strip().splitlines()) == 1, err


def test_an_interruption_is_told_in_one_line(place, folder):
  photograph = next(pathlib.Path(folder).glob('*/*.png'))
  for i in range(8_000):  # more than it has read when it is interrupted
    os.link(photograph, photograph.with_name(f'z{i}.png'))
  arguments = '--model=colours.net()', f'--dataset={folder}', '--batch=1'
  run = start(place, *arguments)
  assert run.stdout.readline().startswith('colours.net()')
  run.send_signal(signal.SIGINT)
  _, err = run.communicate(timeout=60)
  assert run.returncode == 130
  *_, last = err.strip().splitlines()
  assert last == 'interrupted: the same command starts anew'
  assert 'Traceback' not in err


@pytest.mark.slow
@pytest.mark.skipif(
  not (FIXTURES / 'imagenet500').exists(), reason='the images are not there'
)
def test_squeezenet_says_what_opencv_says_of_the_same_pixels():
  files = [
    str(FIXTURES / 'squeezenet' / name)
    for name in ('squeezenet_deploy.prototxt', 'squeezenet.caffemodel')
  ]
  model = f'caffe.load({files[0]!r}, {files[1]!r}, (123., 117., 104.))'
  net = cv2.dnn.readNetFromCaffe(*files)
  data = datasets.open(str(FIXTURES / 'imagenet500'))
  labels = imagenet.labels()
  classifier = classifiers.of(validate.load(model), labels=labels)
  how = preprocessing.own(classifier.model, (227, 227))
  units = validate.known_units(data, classifier)
  assert len(units) == 500
  found = list(classifiers.answers(classifier, data, how, units))
  assert len(found) == len(data) == 500
  for example, answer in zip(data, found, strict=True):
    pixels = preprocessing.apply(how, example.image, (227, 227))
    blob = (pixels - np.float32([123, 117, 104]))[:, :, ::-1]
    net.setInput(np.ascontiguousarray(blob.transpose(2, 0, 1)[None]))
    assert answer.best[0] == net.forward().argmax(), answer.id
  right = sum(answer.rank == 1 for answer in found)
  # Its authors tell 57.5 % of all photographs of the validation set.
  assert 280 <= right <= 340


@pytest.mark.parametrize('model', ('', ' '))
def test_a_model_that_is_empty_is_refused(model):
  with pytest.raises(UserError, match='^--model is empty.*alexnet_features'):
    validate.load(model)
