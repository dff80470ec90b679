from concurrent import futures
import html.parser
import json
import platform
import threading
import urllib.parse

import numpy as np
from PIL import Image
import pytest
import toy_config
import toysites

from vizjax import build
from vizjax.atlas import layers
from vizjax.atlas import site
from vizjax.errors import UserError
from vizjax.photographs import images
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  path = tmp_path_factory.mktemp('atlas') / 'some <sweep>'
  config = toy_config.get_config()
  config.layer = 'conv2'
  sweep.execute(sweep.plan(build.request(config)), str(path))
  site.write(str(path))
  return path


class Links(html.parser.HTMLParser):
  """What a page refers to."""

  def __init__(self, text):
    super().__init__()
    self.links, self.lazy = [], []
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    attributes = dict(attributes)
    for name in ('href', 'src'):
      self.links += [attributes[name]] if name in attributes else []
    if tag == 'img':
      self.lazy.append(attributes.get('loading') == 'lazy')


def index(workdir):
  return (workdir / 'atlas' / 'index.html').read_text()


def layer(workdir, folder='conv1'):
  text = (workdir / 'atlas' / folder / 'layer.json').read_text()
  return json.loads(text, parse_constant=pytest.fail)  # no NaN in JSON


def field(data, name):
  names = [each['name'] for each in data['fields']]
  return [image['values'][names.index(name)] for image in data['images']]


@pytest.fixture(scope='module')
def noise(tmp_path_factory):
  path = toysites.workdir(
    tmp_path_factory.mktemp('noise') / 'w', network=toysites.NETWORK
  )
  site.write(str(path))
  return path


def test_every_link_is_relative_and_leads_to_a_file_or_a_layer(workdir, noise):
  for path, names in ((workdir, ['conv2']), (noise, ['branch/1x1'])):
    found = Links(index(path))
    assert found.lazy and all(found.lazy)
    for link in found.links:
      if link == 'data:,':  # an icon that nobody has to ask for
        continue
      file, _, anchor = link.partition('#')
      assert '://' not in link and not link.startswith('/')
      assert not file or (path / 'atlas' / urllib.parse.unquote(file)).is_file()
      known = {f'/{urllib.parse.quote(n, safe="")}' for n in [*names, 'conv1']}
      assert anchor in {'', '/', *known}
    assert {f'#/{urllib.parse.quote(n, safe="")}' for n in names} <= {
      *found.links
    }


def test_every_picture_that_a_layer_names_is_there(noise):
  data = layer(noise, 'branch--1x1')
  folder = noise / 'atlas' / 'branch--1x1'
  for image in data['images']:
    with Image.open(folder / f'{image["id"]}.png') as picture:
      assert picture.size == tuple(image['size'][::-1])
    sheet, x, y, w, h = image['tile']
    with Image.open(folder / f'sheet{sheet}.jpg') as picture:
      assert x + w <= picture.size[0] and y + h <= picture.size[1]


def test_a_layer_tells_every_unit_with_its_numbers(workdir):
  data = layer(workdir, 'conv2')
  kept = store.open_(workdir / 'conv2')
  assert [image['unit'] for image in data['images']] == [0, 1, 2, 3, 4]
  for name in ('activation', 'score', 'step'):
    np.testing.assert_allclose(field(data, name), store.read(kept, name), 1e-6)
  trace = store.read(kept, 'trace/score')
  curves = [image['curve'] for image in data['images']]
  np.testing.assert_allclose(curves, trace[:, data['steps']], 1e-3)


def test_the_data_are_the_same_as_scripts_and_as_json(noise):
  for json_, script in (
    ('data.json', 'data.js'),
    ('conv1/layer.json', 'conv1/layer.js'),
  ):
    text = (noise / 'atlas' / script).read_text()
    call, _, rest = text.partition('(')
    assert call in ('atlas.site', 'atlas.layer') and rest.endswith(');\n')
    expected = json.loads((noise / 'atlas' / json_).read_text())
    assert json.loads(rest[:-3], parse_constant=pytest.fail) == expected


def test_the_index_states_recipe_seed_and_versions(workdir):
  for fact in ('adam(rate)', 'toynets.net()', 'jaxlib', 'seed'):
    assert fact in index(workdir)


def test_names_are_escaped(workdir, tmp_path):
  assert '<sweep>' not in index(workdir)
  assert 'some &lt;sweep&gt;' in index(workdir)
  name = '<img src=x>'
  path = toysites.workdir(
    tmp_path / 'w', [name], count=2, labels={name: ['<i>a</i>', '</script>']}
  )
  site.write(str(path))
  assert '<img src=x' not in index(path) and '&lt;img src=x' in index(path)
  assert layer(path, name)['units']['1'] == {'label': '</script>'}


def test_the_images_are_what_the_units_see(workdir):
  kept = store.open_(workdir / 'conv2')
  top, left, h, w = store.read(kept, 'seen')[1]
  stored = store.read(kept, 'image')[1][top : top + h, left : left + w]
  true, shown = (
    np.asarray(Image.open(workdir / 'atlas' / 'conv2' / f'1_3x3_0{name}.png'))
    for name in ('', '_shown')
  )
  # A conv2 unit of the toy network sees 8 x 8 pixels.
  assert true.shape == (8, 8, 3)
  np.testing.assert_array_equal(true, images.to_uint8(stored))
  expected = images.to_uint8(images.stretch(stored, 0.5))
  np.testing.assert_array_equal(shown, expected)
  assert (true != shown).any()


@pytest.mark.parametrize('contrast', (0, 0.5))
def test_a_site_says_whether_contrast_is_stretched(contrast, tmp_path):
  path = toysites.workdir(tmp_path / 'w', ['conv1'], count=2)
  site.write(str(path), contrast=contrast)
  assert layer(path)['contrast'] == contrast
  assert ('0.5 % of its values' in index(path)) == bool(contrast)
  assert bool([*path.glob('atlas/conv1/*_shown.png')]) == bool(contrast)


def test_a_sheet_has_the_images_with_their_pixels_whole(tmp_path):
  path = toysites.workdir(tmp_path / 'w', ['conv1'], count=270, size=14)
  site.write(str(path))
  data, folder = layer(path), path / 'atlas' / 'conv1'
  assert [image['tile'][0] for image in data['images']] == [0] * 256 + [1] * 14
  for number in (0, 17, 255, 269):
    sheet, x, y, w, h = data['images'][number]['tile']
    assert (w, h) == (112, 112)
    tile = Image.open(folder / f'sheet{sheet}.jpg').crop((x, y, x + w, y + h))
    picture = Image.open(folder / f'{data["images"][number]["id"]}_shown.png')
    grown = np.asarray(picture, int).repeat(8, 0).repeat(8, 1)
    # A pixel fills a block of JPEG: only its color is rounded.
    assert np.abs(grown - np.asarray(tile)).max() <= 4


def test_large_images_are_shrunk_on_a_sheet():
  picture = np.tile(np.uint8([[0], [200]]), (200, 300))[..., None].repeat(3, 2)
  tile = layers._tile(picture, 100)
  assert tile.shape == (100, 75, 3)
  assert np.abs(tile[2:-2].astype(int) - 100).max() <= 2  # the mean


def test_it_can_be_made_again_and_replaces_the_old_one(workdir):
  stale = workdir / 'atlas' / 'stale.html'
  stale.touch()
  before = index(workdir), layer(workdir, 'conv2')
  site.write(str(workdir))
  assert (index(workdir), layer(workdir, 'conv2')) == before
  assert not stale.exists()
  assert not list(workdir.glob('.atlas*'))


def test_other_folders_are_left_alone(noise, tmp_path):
  for name, text in (('index.html', 'my page'), ('notes.txt', '')):
    (tmp_path / name).mkdir()
    (tmp_path / name / name).write_text(text)
    with pytest.raises(UserError, match='holds other files'):
      site.write(str(noise), out=str(tmp_path / name))
    assert [p.name for p in (tmp_path / name).iterdir()] == [name]
  (tmp_path / 'file').touch()
  with pytest.raises(UserError, match='holds other files'):
    site.write(str(noise), out=str(tmp_path / 'file'))
  (tmp_path / 'empty').mkdir()
  made = site.write(str(noise), out=str(tmp_path / 'empty'))
  assert made == tmp_path / 'empty' / 'index.html' and made.is_file()


def test_a_failure_leaves_the_old_site_and_nothing_else(tmp_path, monkeypatch):
  path = toysites.workdir(tmp_path / 'w', count=2)
  site.write(str(path))

  def full(*arguments):
    raise OSError('No space left on device')

  monkeypatch.setattr(images, 'write', full)
  with pytest.raises(OSError, match='No space'):
    site.write(str(path))
  assert (path / 'atlas' / 'conv1' / 'layer.json').is_file()
  assert not list(path.glob('.atlas*'))


def test_sites_that_are_made_at_once_are_each_whole(tmp_path):
  path = toysites.workdir(tmp_path / 'w', count=2)
  killed = path / f'.atlas.{platform.node()}.{2**22 + 1}-1.partial'
  (killed / 'conv1').mkdir(parents=True)
  started = threading.Barrier(3)

  def make(number):
    # All three are at work before the first one takes its place.
    def wait(layer, done, count):
      if done == 1:
        started.wait(60)

    return site.write(str(path), report=wait)

  with futures.ThreadPoolExecutor(3) as pool:
    made = list(pool.map(make, range(3)))
  assert made == [path / 'atlas' / 'index.html'] * 3
  assert (path / 'atlas' / 'conv1' / 'layer.json').is_file()
  assert '2 of 2 done' in index(path)
  assert not list(path.glob('.atlas*'))


def test_a_bucket_needs_a_folder_to_write_to(monkeypatch):
  monkeypatch.setattr(store, 'read_config', lambda workdir: {'config': {}})
  with pytest.raises(UserError, match='type --out=DIR'):
    site.write('gs://bucket/atlas')


def test_an_unfinished_sweep_shows_what_is_done(tmp_path):
  path = toysites.workdir(tmp_path / 'w', ['conv1'], done=5)
  config = path / 'config.json'
  said = json.loads(config.read_text())
  config.write_text(json.dumps(said | {'layers': ['conv1', 'conv2']}))
  site.write(str(path))
  assert '5 of 12 done' in index(path)
  assert '1 of 2 layers not begun' in index(path)
  data = layer(path)
  assert (data['done'], data['count'], len(data['images'])) == (5, 12, 5)
  assert not (path / 'atlas' / 'conv2').exists()


def test_a_sweep_cut_in_the_middle_of_a_chunk_shows_what_is_done(tmp_path):
  config = toy_config.get_config()
  config.layer = 'conv2'

  class Enough(Exception):
    pass

  def stop(progress):
    if progress.runs >= 4:
      raise Enough

  with pytest.raises(Enough):
    sweep.execute(sweep.plan(build.request(config)), str(tmp_path / 'w'), stop)
  site.write(str(tmp_path / 'w'))
  done = store.read(store.open_(tmp_path / 'w' / 'conv2'), 'done').sum()
  assert 0 < done < 5
  assert len(layer(tmp_path / 'w', 'conv2')['images']) == done


def test_a_directory_without_results_is_refused(tmp_path):
  with pytest.raises(UserError, match='is not a workdir'):
    site.write(str(tmp_path))
  path = toysites.workdir(tmp_path / 'w', done=0)
  with pytest.raises(UserError, match='no finished images yet'):
    site.write(str(path))
  assert not list(path.glob('*atlas*')) and not list(path.glob('.atlas*'))


def test_what_is_not_finite_is_marked(tmp_path):
  path = toysites.workdir(tmp_path / 'w', ['conv1'], count=3)
  kept = store.open_(path / 'conv1')
  kept.arrays['score'][1].write(np.nan).result()
  kept.arrays['activation'][1].write(np.inf).result()
  kept.arrays['image'][1].write(np.nan).result()
  kept.arrays['trace/score'][1, 2:].write(np.nan).result()
  site.write(str(path))
  data = layer(path)
  assert [image['finite'] for image in data['images']] == [True, False, True]
  assert data['nonfinite'] == 1
  assert field(data, 'score')[1] is None
  curve = data['images'][1]['curve']
  assert curve[:2] == [0, 0.2143] and curve[2:] == [None] * 6  # 1.5 / 7
  assert '1 without a finite score' in index(path)


def test_every_image_of_a_unit_is_told_and_what_it_is(tmp_path):
  path = toysites.workdir(
    tmp_path / 'w', ['conv1'], count=2, replicates=2, least=True
  )
  site.write(str(path))
  found = layer(path)['images']
  ids = ['0_6x6_0', '0_6x6_1_min', '1_6x6_0', '1_6x6_1_min']
  assert [image['id'] for image in found] == ids
  assert [image['replicate'] for image in found] == [0, 1, 0, 1]
  assert [image['least'] for image in found] == [False, True] * 2


def test_further_numbers_of_the_store_are_told(tmp_path):
  names = ['metric/dead', 'metric/my own']
  path = toysites.workdir(tmp_path / 'w', ['conv1'], metrics=names)
  site.write(str(path))
  data = layer(path)
  titles = {each['name']: each['title'] for each in data['fields']}
  assert list(titles)[0] == 'activation'
  assert [titles[name] for name in names] == ['Dead', 'my own']
  assert field(data, 'metric/my own') == list(range(12))


def test_images_of_several_makers_are_counted_by_what_differs(tmp_path):
  makers = [
    {'jax': '0.1', 'device': 'cpu'},
    {'jax': '0.2', 'device': 'cpu'},
    {'jax': '0.1', 'device': 'gpu'},
  ]
  digests = dict.fromkeys(store.DIGESTS, '')
  path = toysites.workdir(
    tmp_path / 'w',
    ['conv1'],
    count=6,
    done=5,
    metrics=['maker'],
    format=2,
    makers=makers,
    digests=digests | {'constants': {}, 'program': {}},
  )
  kept = store.open_(path / 'conv1')
  for numbers, told in (
    ([0, 0, 2, 0, 0], '4 with device cpu; 1 with device gpu'),
    ([1, 1, 0, 1, 1], '1 with jax 0.1; 4 with jax 0.2'),
    (
      [0, 1, 2, 2, 2],
      '1 with jax 0.1, device cpu; 1 with jax 0.2, device cpu; '
      '3 with jax 0.1, device gpu',
    ),
    ([1] * 5, ''),
  ):
    kept.arrays['maker'][:5].write(np.float32(numbers)).result()
    site.write(str(path))
    data = layer(path)
    assert data['makers'] == (told and f'images made: {told}')
    assert 'maker' not in [each['name'] for each in data['fields']]


def test_photographs_stand_beside_the_images(tmp_path, monkeypatch):
  path = toysites.workdir(tmp_path / 'w', metrics=('metric/slope',))
  found = toysites.examples(monkeypatch, path, k=18)  # sixteen in a row
  site.write(str(path))
  data, folder = layer(path), path / 'atlas' / 'conv1' / 'examples'
  activation = np.array(field(data, 'activation'))
  np.testing.assert_allclose(field(data, 'ratio/maximum'), activation / 2)
  np.testing.assert_allclose(field(data, 'ratio/p99_9'), activation)
  slopes = np.array(field(data, 'metric/slope'))
  np.testing.assert_allclose(field(data, 'ratio/slope'), (slopes + 2) / 0.5)
  one = data['units']['3']['examples']
  assert (one['maximum'], one['p99'], one['mean']) == (2, 0.75, 0.5)
  assert [each['id'] for each in one['items']] == found.ids[3]
  assert [each['value'] for each in one['items']] == list(range(18, 0, -1))
  assert len(data['units']['0']['examples']['items']) == 1
  sheet = Image.open(folder / '3.jpg')
  for k, item in enumerate(one['items']):
    x, y, w, h = item['tile']
    assert (w, h) == (120, 160)  # 6 x 8 pixels, twenty times as large
    tile = np.asarray(sheet.crop((x, y, x + w, y + h)), int)
    grown = found.image[3, k, :, :6].astype(int).repeat(20, 0).repeat(20, 1)
    assert np.abs(tile - grown).mean() < 3  # JPEG
  other = layer(path, 'branch--1x1')
  assert 'ratio/maximum' not in {each['name'] for each in other['fields']}


def test_dead_images_are_counted(tmp_path):
  path = toysites.workdir(tmp_path / 'w', metrics=['metric/dead'])
  site.write(str(path))
  assert layer(path)['dead'] == 1  # of twelve units number one
  index = (path / 'atlas' / 'index.html').read_text()
  assert '2 dead: their gradient was zero' in index
  assert index.count('1 dead</span>') == 2


def test_it_is_told_how_far_a_site_is(tmp_path):
  path = toysites.workdir(tmp_path / 'w', count=3)
  told = []
  site.write(str(path), report=lambda *progress: told.append(progress))
  assert told == [
    (name, done, 3) for name in ('conv1', 'branch/1x1') for done in (1, 2, 3)
  ]


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
  site.write(str(tmp_path), contrast=0)
  top, left, h, w = columns['seen'][1]
  seen = columns['image'][1, top : top + h, left : left + w]
  shown = Image.open(tmp_path / 'atlas' / 'conv2' / '1_3x3_0.png')
  shown = np.asarray(shown.convert('RGB'))
  assert shown.shape == (8, 8 * channels + 2 * (channels - 1), 3)
  for i in range(channels):
    tile = np.tile(images.to_uint8(seen[..., i : i + 1]), 3)
    np.testing.assert_array_equal(shown[:, 10 * i : 10 * i + 8], tile)
  size = layer(tmp_path, 'conv2')['images'][1]['size']
  assert size == [8, shown.shape[1]]


def test_the_config_of_a_site_makes_its_images_again(workdir, tmp_path):
  names = {}
  exec((workdir / 'atlas' / 'config.py').read_text(), names)
  config = names['get_config']()
  config.layer = 'conv2'
  config.units = layer(workdir, 'conv2')['images'][3]['units']
  assert config.units == '3'
  sweep.execute(sweep.plan(build.request(config)), str(tmp_path / 'w'))
  once, again = (
    store.read(store.open_(path / 'conv2'), 'image')
    for path in (workdir, tmp_path / 'w')
  )
  # A batch of one image is rounded in another order than one of two.
  np.testing.assert_allclose(again[0], once[3], rtol=1e-3, atol=1e-2)


def test_a_config_may_hold_tuples_infinity_and_nothing():
  given = {'a': [1, 'b'], 'memory': float('inf'), 'units': None, 'c': '"\''}
  names = {}
  exec(site._config("it's", given), names)
  config = names['get_config']()
  assert config.a == (1, 'b') and config.c == '"\''
  assert config.memory == float('inf') and config.units is None


def test_a_position_is_typed_where_the_run_named_one():
  row = {'unit': 3, 'position': [2, 10]}
  assert layers._typed(row, {'units': '3@2x10'}) == '3@2x10'
  assert layers._typed(row, {'units': None}) == '3'
