import html.parser

import numpy as np
from PIL import Image
import pytest
import toy_config

from vizjax import atlas
from vizjax import images
from vizjax import store
from vizjax import sweep


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  path = tmp_path_factory.mktemp('atlas') / 'some <sweep>'
  config = toy_config.get_config()
  sweep.execute(config, sweep.plan(config), str(path))
  atlas.write(str(path))
  return path


class Links(html.parser.HTMLParser):
  """What a page refers to, and the ids that it has."""

  def __init__(self, text):
    super().__init__()
    self.links, self.ids, self.lazy = [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    attributes = dict(attributes)
    self.ids += [attributes['id']] if 'id' in attributes else []
    for name in ('href', 'src'):
      self.links += [attributes[name]] if name in attributes else []
    if tag == 'img':
      self.lazy.append(attributes.get('loading') == 'lazy')


def page(workdir, name):
  return (workdir / 'atlas' / name).read_text()


@pytest.mark.parametrize('name', ['index.html', 'conv2.html', 'fc3.html'])
def test_every_link_is_relative_and_leads_to_a_file(workdir, name):
  found = Links(page(workdir, name))
  assert found.links
  assert all(found.lazy)
  for link in found.links:
    file, _, anchor = link.partition('#')
    assert '://' not in link and not link.startswith('/')
    assert (workdir / 'atlas' / (file or name)).is_file()
    assert not anchor or anchor in found.ids


def test_a_page_shows_every_unit_with_its_numbers(workdir):
  text = page(workdir, 'conv2.html')
  kept = store.open_(workdir / 'conv2')
  assert len([i for i in Links(text).ids]) == 5
  assert text.count('<polyline') == 5
  for activation in store.read(kept, 'activation'):
    assert f'{activation:.4g}' in text


def test_a_page_states_recipe_seed_and_versions(workdir):
  for name in ('index.html', 'conv2.html'):
    text = page(workdir, name)
    for fact in ('adam(rate)', 'toynets.net()', 'jaxlib', 'seed'):
      assert fact in text


def test_names_are_escaped(workdir):
  assert '<sweep>' not in page(workdir, 'index.html')
  assert 'some &lt;sweep&gt;' in page(workdir, 'index.html')


def test_the_images_are_what_the_units_see(workdir):
  kept = store.open_(workdir / 'conv2')
  top, left, h, w = store.read(kept, 'seen')[1]
  stored = store.read(kept, 'image')[1][top : top + h, left : left + w]
  shown = Image.open(workdir / 'atlas' / 'conv2' / '1_3x3_0.png')
  # A conv2 unit of the toy network sees 8 x 8 pixels.
  assert shown.size == (8, 8)
  expected = images.to_uint8(images.stretch(stored, 0.5))
  np.testing.assert_array_equal(np.asarray(shown), expected)


def test_a_contact_sheet_has_a_cell_for_every_unit(workdir):
  with Image.open(workdir / 'atlas' / 'conv2.png') as sheet:
    # Three columns and two rows of 8 pixels, a line of text, and gaps of 4.
    assert sheet.size == (3 * (8 + 4) + 4, 2 * (8 + 12 + 4) + 4)


def test_it_can_be_made_again_and_replaces_the_old_one(workdir):
  stale = workdir / 'atlas' / 'stale.html'
  stale.touch()
  before = page(workdir, 'conv2.html')
  atlas.write(str(workdir))
  assert page(workdir, 'conv2.html') == before
  assert not stale.exists()


def test_an_unfinished_sweep_shows_what_is_done(tmp_path):
  config = toy_config.get_config()
  config.layer = 'conv2'

  class Enough(Exception):
    pass

  def stop(progress):
    if progress.units >= 4:
      raise Enough

  with pytest.raises(Enough):
    sweep.execute(config, sweep.plan(config), str(tmp_path / 'w'), stop)
  atlas.write(str(tmp_path / 'w'))
  text = page(tmp_path / 'w', 'conv2.html')
  done = store.read(store.open_(tmp_path / 'w' / 'conv2'), 'done').sum()
  assert 0 < done < 5
  assert f'{done} of 5 images' in text
  assert text.count('<figure') == done


def test_a_directory_without_results_is_refused(tmp_path):
  with pytest.raises(ValueError, match='is not a workdir'):
    atlas.write(str(tmp_path))


def test_curves_leave_out_what_is_not_finite():
  curve = atlas._curve(np.array([0.0, np.nan, 2.0]))
  assert curve['points'] == '0.0,29.0 100.0,1.0'
  assert (curve['low'], curve['high']) == ('0', '2')


def test_replicates_have_cards_of_their_own(tmp_path):
  config = toy_config.get_config()
  config.layer, config.units, config.replicates = 'fc3', '2', 2
  sweep.execute(config, sweep.plan(config), str(tmp_path / 'w'))
  atlas.write(str(tmp_path / 'w'))
  text = page(tmp_path / 'w', 'fc3.html')
  assert Links(text).ids == ['2_0x0_0', '2_0x0_1']
  assert '#0' in text and '#1' in text


@pytest.mark.parametrize('channels', [1, 2, 6])
def test_channels_that_are_no_colours_are_shown_in_grey(
  workdir, tmp_path, channels
):
  old = store.open_(workdir / 'conv2')
  columns = {name: store.read(old, name) for name in old.arrays}
  columns['image'] = np.tile(columns['image'], 2)[..., :channels]
  del columns[store.DONE]
  store.claim(str(tmp_path), store.read_config(str(workdir)))
  fields = {name: (c.shape[1:], c.dtype) for name, c in columns.items()}
  path = store.directory(str(tmp_path), 'conv2')
  kept = store.create(path, fields, old.count, old.count)
  store.write(kept, np.arange(old.count), columns)
  atlas.write(str(tmp_path), contrast=0)
  top, left, h, w = columns['seen'][1]
  seen = columns['image'][1, top : top + h, left : left + w]
  shown = Image.open(tmp_path / 'atlas' / 'conv2' / '1_3x3_0.png')
  shown = np.asarray(shown.convert('RGB'))
  assert shown.shape == (8, 8 * channels + 2 * (channels - 1), 3)
  for i in range(channels):
    tile = np.tile(images.to_uint8(seen[..., i : i + 1]), 3)
    np.testing.assert_array_equal(shown[:, 10 * i : 10 * i + 8], tile)
  assert f'width="{shown.shape[1]}"' in page(tmp_path, 'conv2.html')
