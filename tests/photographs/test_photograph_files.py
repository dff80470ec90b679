"""Names of files of photographs, several in a text."""

import numpy as np
import pytest

from test_configs import load
from vizjax import build
from vizjax.errors import UserError
from vizjax.photographs import files
from vizjax.photographs import images
from vizjax.sweeps import sweep


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
  assert files.listed(text) == tuple(names)
  # Each name is read back alone, as config.each gives it.
  assert [files.listed(name) for name in names] == [(n,) for n in names]


def test_a_plus_of_a_file_name_does_not_split_it(here):
  assert files.blended('p+q.jpg') == ('p+q.jpg',)
  assert files.blended('1.jpg+p+q.jpg') == ('1.jpg', 'p+q.jpg')
  assert files.blended('1.jpg+gone.jpg') == ('1.jpg', 'gone.jpg')
  assert files.stem('1.jpg+p+q.jpg') == '1+p+q'


def test_no_name_at_all_is_refused(here):
  for text in ('', ' ', ' , '):
    with pytest.raises(UserError, match='expected a file: type --config.phot'):
      files.listed(text)
  with pytest.raises(UserError, match="'z.[.]jpg' is the name of no file"):
    files.listed('1.jpg,z*.jpg')


def test_the_last_photograph_is_missed_before_anything_is_made(tmp_path):
  path = tmp_path / 'a,b.png'
  images.write(path, np.full((20, 20, 3), 99.0))
  c = load('inversion')
  c.model, c.layer, c.steps = 'toynets.net()', 'conv2', 1
  c.photograph = str(path)
  (plan,) = sweep.plan(build.request(c)).layers
  assert plan.labels == ('a,b',)
  c.photograph = f'{path},{tmp_path / "gone.png"}'
  with pytest.raises(FileNotFoundError, match='gone.png'):
    sweep.plan(build.request(c))
