"""Names of classes, and the list of ImageNet's."""

import pathlib

import pytest

from vizjax import classes
from vizjax.models import imagenet

SHARED = pathlib.Path(__file__).parent.parent.parent / 'shared' / 'fixtures'
WORDS = SHARED / 'synthesizing' / 'misc' / 'synset_words.txt'


def units(*names, labels=None, count=1000):
  labels = imagenet.labels() if labels is None else labels
  return classes.units(names, labels, count)


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
  with pytest.raises(ValueError, match=f'{name}.*several units: {several}'):
    units('tench', name)


def test_synsets_are_only_for_the_classes_of_imagenet():
  labels = ('tench, Tinca tinca', 'zebra')
  found = units('n01440764', 'zebra', '1', '2', labels=labels, count=2)
  assert found == {'zebra': 1, '1': 1}


def test_without_names_only_numbers_will_do():
  assert units('7', '0', '8', labels=(), count=8) == {'7': 7, '0': 0}
  with pytest.raises(
    ValueError, match="'zebra' is no number.*0 to 7.*--labels"
  ):
    units('7', 'zebra', labels=(), count=8)
