"""Names of classes, and the list of ImageNet's."""

import pathlib

import pytest

from vizjax.errors import UserError
from vizjax.models.labels import imagenet
from vizjax.models.labels import lists as lists_
from vizjax.models.labels import names as names_

SHARED = pathlib.Path(__file__).parents[3] / 'shared' / 'fixtures'
WORDS = SHARED / 'synthesizing' / 'misc' / 'synset_words.txt'


def units(*names, labels=None, count=1000):
  labels = imagenet.labels() if labels is None else labels
  return names_.units(names, labels, count)


def test_the_synsets_are_in_the_order_of_the_numbers():
  synsets = imagenet.synsets()
  assert len(set(synsets)) == len(imagenet.labels()) == 1000
  assert list(synsets) == sorted(synsets)
  pairs = dict(zip(synsets, imagenet.labels(), strict=True))
  # WordNet 3.0: 'wn -over flamingo -o' and so on.
  assert pairs['n01440764'] == 'tench, Tinca tinca'
  assert pairs['n02007558'] == 'flamingo'
  assert pairs['n02012849'] == 'crane (bird)'
  assert pairs['n03126707'] == 'crane (machine)'
  assert pairs['n15075141'].startswith('toilet tissue')


@pytest.mark.skipif(not WORDS.exists(), reason='synset_words.txt is not there')
def test_the_synsets_are_those_of_caffe():
  pairs = zip(imagenet.synsets(), imagenet.labels(), strict=True)
  told = ('crane (bird)', 'crane (machine)')
  found = [f'{s} {"crane" if name in told else name}' for s, name in pairs]
  assert found == WORDS.read_text().splitlines()


def test_a_class_may_be_named_in_many_ways():
  names = ('tench', 'Tinca_tinca', 'TENCH, tinca tinca', 'n01440764', '0')
  assert units(*names) == dict.fromkeys(names, 0)
  named = {
    'great_white_shark': 2,
    'crane (bird)': 134,
    'Crane_(machine)': 517,
    'maillot, tank suit': 639,
    'n03710637': 638,
    '999': 999,
  }
  assert units(*named) == named


def test_a_class_that_is_not_known_is_left_out():
  names = ('tench', 'cat', 'n00000001', '1000', '', 'tinca', 'n0144076')
  assert units(*names) == {'tench': 0}


@pytest.mark.parametrize(
  'name, several',
  [('crane', '134 .* 517'), ('maillot', '638 .* 639'), ('Missile', '657')],
)
def test_a_name_of_several_is_refused(name, several):
  with pytest.raises(UserError, match=f'{name}.*several units: {several}'):
    units('tench', name)


def test_synsets_are_only_for_the_classes_of_imagenet():
  labels = ('tench, Tinca tinca', 'zebra')
  found = units('n01440764', 'zebra', '1', '2', labels=labels, count=2)
  assert found == {'zebra': 1, '1': 1}


def test_a_label_of_caffe_has_a_synset_and_names():
  labels = ('n01440764 tench, Tinca tinca', 'n01443537 goldfish', 'n02n zebra')
  names = ('n01440764', 'tench', 'Tinca_tinca', 'tench, tinca tinca', labels[0])
  assert units(*names, labels=labels, count=3) == dict.fromkeys(names, 0)
  found = units('n01443537', 'goldfish', 'zebra', labels=labels, count=3)
  assert found == {'n01443537': 1, 'goldfish': 1}


@pytest.mark.parametrize(
  'content',
  [
    'tench\ngoldfish\ntiger shark\n',
    'tench\ngoldfish\ntiger shark',
    'tench\ngoldfish\ntiger shark\n\n \n',
    '\ufefftench\r\ngoldfish\r\ntiger shark\r\n',
    '0 tench\n1 goldfish\n2 tiger shark\n',
    '0: tench\n1:\tgoldfish\n2: tiger shark\n',
  ],
)
def test_a_file_of_labels_has_a_name_in_each_line(content, tmp_path):
  path = tmp_path / 'labels.txt'
  path.write_bytes(content.encode())
  assert lists_.read(str(path)) == ('tench', 'goldfish', 'tiger shark')


def test_lines_that_are_no_numbered_list_stay_as_they_are(tmp_path):
  path = tmp_path / 'labels.txt'
  for lines in (['0', '1', '2'], ['1 cat', '2 dog'], ['a', '', 'b'], ['', 'a']):
    path.write_text('\n'.join(lines) + '\n')
    assert lists_.read(str(path)) == tuple(lines)


def test_a_file_without_names_is_refused(tmp_path):
  path = tmp_path / 'labels.txt'
  for content in (b'', b'\n \n', b'\xef\xbb\xbf'):
    path.write_bytes(content)
    with pytest.raises(UserError, match='has no names of classes'):
      lists_.read(str(path))


def test_a_file_in_latin_1_is_refused_with_what_to_type(tmp_path):
  path = tmp_path / 'labels.txt'
  path.write_bytes('cat\nété\n'.encode('latin-1'))
  with pytest.raises(
    UserError, match=r'not text in UTF-8 \(line 2\).*iconv -f latin1'
  ):
    lists_.read(str(path))


def test_without_names_only_numbers_will_do():
  assert units('7', '0', '8', labels=(), count=8) == {'7': 7, '0': 0}
  with pytest.raises(UserError, match="'zebra' is no number.*0 to 7.*--labels"):
    units('7', 'zebra', labels=(), count=8)
