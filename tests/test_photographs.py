"""Names of files of photographs, several in a text."""

import pytest

from vizjax import photographs


@pytest.fixture
def here(tmp_path, monkeypatch):
  """A folder with files of odd names, in which the test stands."""
  for name in ('1.jpg', '2.jpg', 'a', 'a,b.jpg', 'c,d.jpg', ' s.jpg',
               'x[1].jpg', 'p+q.jpg'):  # fmt: skip
    (tmp_path / name).touch()
  (tmp_path / 'folder').mkdir()
  monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
  'text, names',
  [
    ('1.jpg, 2.jpg', ['1.jpg', '2.jpg']),
    ('a,b.jpg', ['a,b.jpg']),
    ('c,d.jpg,1.jpg', ['c,d.jpg', '1.jpg']),
    ('1.jpg,c,d.jpg', ['1.jpg', 'c,d.jpg']),
    ('c,*.jpg', ['c,d.jpg']),
    ('?.jpg,c,*.jpg', ['1.jpg', '2.jpg', 'c,d.jpg']),
    (' s.jpg', [' s.jpg']),
    ('1.jpg, s.jpg', ['1.jpg', ' s.jpg']),
    ('x[1].jpg', ['x[1].jpg']),
    ('p+q.jpg', ['p+q.jpg']),
    ('gone.jpg,1.jpg', ['gone.jpg', '1.jpg']),
    ('folder,1.jpg', ['folder', '1.jpg']),
    ('1.jpg,', ['1.jpg']),
  ],
)
def test_a_comma_of_a_file_name_does_not_split_it(here, text, names):
  assert photographs.listed(text) == tuple(names)
  # Each name is read back alone, as config.each gives it.
  assert [photographs.listed(name) for name in names] == [(n,) for n in names]


def test_a_plus_of_a_file_name_does_not_split_it(here):
  assert photographs.blended('p+q.jpg') == ('p+q.jpg',)
  assert photographs.blended('1.jpg+p+q.jpg') == ('1.jpg', 'p+q.jpg')
  assert photographs.blended('1.jpg+gone.jpg') == ('1.jpg', 'gone.jpg')
  assert photographs.stem('1.jpg+p+q.jpg') == '1+p+q'


def test_no_name_at_all_is_refused(here):
  for text in ('', ' ', ' , '):
    with pytest.raises(ValueError, match='expected a file: type --config.phot'):
      photographs.listed(text)
  with pytest.raises(ValueError, match="'z.[.]jpg' is the name of no file"):
    photographs.listed('1.jpg,z*.jpg')
