"""Runs of photographs as a page, and as neural-style writes them."""

import re
import shutil

import jax
import numpy as np
from PIL import Image
import pytest

from oracles import neural_style as twin
from test_neural_style import config, made, paths, photographs
from vizjax.errors import UserError
from vizjax.export import grid
from vizjax.export import selecting
from vizjax.photographs import images
from vizjax.workdir import store

__all__ = ['paths']  # a fixture
pytestmark = pytest.mark.usefixtures('x64')  # of the network


@pytest.fixture(scope='module')
def swept(tmp_path_factory):
  """The folder of the photographs and of the workdir that every test copies."""
  folder = tmp_path_factory.mktemp('swept')
  paths = photographs(folder)
  c = config(
    paths,
    content=f'{paths["a"]},{paths["b"]}',
    style=f'{paths["c"]},{paths["b"]}',
    style_blend_weights=None,
    style_scales=None,
    width=20,
    iterations=1,
  )
  with jax.enable_x64(True):
    made(c, folder)
  return folder


@pytest.fixture
def workdir(swept, paths, tmp_path):
  shutil.copytree(swept / 'w', tmp_path / 'w')
  file = tmp_path / 'w' / 'config.json'
  file.write_text(file.read_text().replace(str(swept), str(tmp_path)))
  assert paths['a'] in file.read_text()
  return tmp_path / 'w'


def written(workdir, name, out, **options):
  selection = selecting.select(str(workdir))
  found = list(getattr(grid, name)(selection, out, **options))
  return sorted(path.name for path in found)


def image(workdir, row):
  kept = store.open_(store.directory(str(workdir), 'conv2'))
  return store.read(kept, 'image')[row]


def test_the_page_has_a_row_for_each_content(workdir, tmp_path, paths):
  names = written(workdir, 'grid', tmp_path / 'out', tile=10)
  assert names == sorted(
    [f'conv2_photograph{i:04d}.png' for i in range(4)]
    + ['photograph_0.png', 'photograph_1.png', 'index.html', 'grid.png']
  )
  page = (tmp_path / 'out' / 'index.html').read_text()
  heads = re.findall('<th scope="col">([^<]*)</th>', page)
  assert heads == ['content', 'c', 'b']
  assert re.findall('<span>([^<]*)</span>', page) == ['a', 'b']
  sources = re.findall('img src="([^"]*)"', page)
  assert sources == [
    'photograph_0.png', *(f'conv2_photograph{i:04d}.png' for i in (0, 1)),
    'photograph_1.png', *(f'conv2_photograph{i:04d}.png' for i in (2, 3)),
  ]  # fmt: skip
  for i in range(4):
    file = tmp_path / 'out' / f'conv2_photograph{i:04d}.png'
    shown = images.read(str(file))
    np.testing.assert_array_equal(shown, images.to_uint8(image(workdir, i)))
  with Image.open(tmp_path / 'out' / 'grid.png') as sheet:
    assert sheet.size == (3 * (10 + 4) + 4, 2 * (7 + 12 + 4) + 4)


@pytest.mark.parametrize('preserve', (False, True))
def test_a_picture_is_what_the_program_writes(
  preserve, workdir, paths, tmp_path
):
  out = tmp_path / 'out'
  names = written(workdir, 'neural_style', out, preserve_colors=preserve)
  assert names == ['a_b.jpg', 'a_c.jpg', 'b_b.jpg', 'b_c.jpg']
  expected = np.clip(image(workdir, 1), 0, 255).astype(np.uint8)
  if preserve:
    content = twin.resize(images.read(paths['a']), expected.shape[:2])
    expected = twin.preserve_colors(image(workdir, 1), content)
  Image.fromarray(expected).save(tmp_path / 'expected.jpg', quality=95)
  bytes_ = (tmp_path / 'expected.jpg').read_bytes()
  assert (out / 'a_b.jpg').read_bytes() == bytes_


def test_a_file_that_is_there_stays(workdir, tmp_path):
  out = tmp_path / 'out'
  out.mkdir()
  (out / 'b_c.jpg').write_text('mine')
  with pytest.raises(UserError, match='b_c.jpg.*type --overwrite'):
    written(workdir, 'neural_style', out)
  assert [path.name for path in out.iterdir()] == ['b_c.jpg']
  assert (out / 'b_c.jpg').read_text() == 'mine'
  assert len(written(workdir, 'neural_style', out, overwrite=True)) == 4


def test_colors_of_every_grey_level():
  # Each grey with each of some colors, as the program.
  grey = np.arange(256.0)
  styled = np.stack([grey] * 3, -1)[None] + np.zeros((4, 1, 1))
  content = np.random.RandomState(0).uniform(0, 255, (4, 256, 3))
  np.testing.assert_array_equal(
    grid.recolored(styled, content),
    twin.preserve_colors(styled, content),
  )


def test_other_runs_are_refused(workdir, tmp_path):
  selection = selecting.select(str(workdir))
  alone = selection._replace(config=selection.config | {'each': ''})
  with pytest.raises(UserError, match='config.each is blank'):
    list(grid.grid(alone, tmp_path / 'out'))
  del alone.config['each']  # as an older version kept its knobs
  with pytest.raises(UserError, match='config.each is blank'):
    list(grid.grid(alone, tmp_path / 'out'))
  other = selection._replace(config=selection.config | {'each': 'content'})
  with pytest.raises(UserError, match='--config=gatys2016'):
    list(grid.neural_style(other, tmp_path / 'out'))
  assert not (tmp_path / 'out').exists()


def test_a_photograph_that_is_gone_is_told(workdir, paths, tmp_path):
  (tmp_path / 'a.png').unlink()
  with pytest.raises(OSError, match='a.png'):
    written(workdir, 'grid', tmp_path / 'out')
