"""The site as a reader meets it: in headless Chromium, and from a server."""

import contextlib
import functools
from http import server
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import pytest
import toysites

from vizjax.atlas import site as site_

ROOT = pathlib.Path(__file__).parents[2]
LABELS = [f'thing {i}, also no. {i}' for i in range(12)]
LABELS[4] = '<img src=x onerror="document.title = 1">, <b>bold</b>'
STRENGTH = toysites.activations(12)


@pytest.fixture(scope='module')
def browser():
  """Chromium; where there is none, the tests say so and are skipped."""
  chromium = shutil.which('chromium') or shutil.which('chromium-browser')
  try:
    from playwright import sync_api
  except ImportError:
    pytest.skip('NO TEST IN A BROWSER: type pip install playwright')
  if chromium is None:
    pytest.skip('NO TEST IN A BROWSER: type apt-get install chromium')
  with sync_api.sync_playwright() as playwright:
    # Without a sandbox of its own, which root cannot have.
    found = playwright.chromium.launch(
      executable_path=chromium, args=['--no-sandbox']
    )
    yield found
    found.close()


@pytest.fixture(scope='module')
def site(tmp_path_factory):
  """Of two layers, one with photographs and two images of each unit."""
  path = tmp_path_factory.mktemp('site') / 'w <1>'
  toysites.workdir(
    path,
    replicates=2,
    least=True,
    metrics=['metric/rank'],
    labels={'conv1': LABELS},
    network=toysites.NETWORK,
  )
  with pytest.MonkeyPatch.context() as patch:
    toysites.examples(patch, path, k=18)  # sixteen in a row of the sheet
    return site_.write(str(path))


@contextlib.contextmanager
def opened(browser, index, address='', **options):
  """A page; at the end nothing was wrong, and nothing left the machine."""
  context = browser.new_context(**options)
  page = context.new_page()
  page.set_default_timeout(5000)
  wrong, asked = [], []
  page.on('console', lambda m: wrong.append(m.text) if m.type == 'error' else 0)
  page.on('pageerror', lambda error: wrong.append(str(error)))
  page.on('requestfailed', lambda request: wrong.append(request.url))
  page.on('request', lambda request: asked.append(request.url))
  start = index if isinstance(index, str) else index.as_uri()
  page.goto(start + address)
  yield page
  assert not wrong
  context.close()
  folder = start.rpartition('/')[0]
  assert all(url.startswith((folder, 'data:')) for url in asked)


@pytest.fixture
def layer(browser, site):
  with opened(browser, site, '#/conv1') as page:
    page.wait_for_selector('.card')
    yield page


def units(page):
  cards = page.locator('.card b').all_text_contents()
  return [int(re.match(r'\d+', text)[0]) for text in cards]


def focused(page):
  return page.evaluate('document.activeElement.dataset.unit')


def test_from_the_network_to_a_layer_to_a_unit(browser, site):
  with opened(browser, site) as page:
    assert page.locator('.network .made').count() == 2
    assert page.locator('.layers img').count() == 2
    page.click('.network a:has-text("branch/1x1")')
    page.wait_for_selector('.card')
    assert page.url.endswith('index.html#/branch%2F1x1')
    assert units(page) == list(range(12))
    page.click('.card >> nth=5')
    page.wait_for_selector('#unit h1')
    assert page.url.endswith('#/branch%2F1x1/5')
    assert page.inner_text('#unit h1') == 'branch/1x1 / 5'
    assert page.title() == '5 · branch/1x1 · w <1>'


def test_directions_and_photographs_are_no_units(browser, tmp_path):
  path = toysites.workdir(
    tmp_path / 'w',
    ['conv1', 'branch/1x1', 'fc'],
    count=2,
    labels={'conv1': ['my, cat', 'dog']},
    subjects={'conv1': 'photograph', 'branch/1x1': 'direction', 'fc': 'layer'},
    network=toysites.NETWORK,
  )
  index = site_.write(str(path))
  for layer, number, names, heading in (
    ('conv1', 0, ['my, cat', 'dog'], 'conv1 / my, cat'),
    ('branch/1x1', 1, ['direction 0', 'direction 1'],
     'branch/1x1 / direction 1'),
    ('fc', 0, ['fc', 'fc'], 'fc'),
  ):  # fmt: skip
    with opened(browser, index, f'#/{layer}') as page:
      page.wait_for_selector('.card')
      assert page.locator('.card .quiet').all_inner_texts() == names
      assert page.locator('.card b').all_inner_texts() == ['', '']
      assert not re.search(r'\bunits?\b', page.inner_text('body'))
      page.click(f'.card >> nth={number}')
      page.wait_for_selector('#unit h1')
      assert page.inner_text('#unit h1') == heading
      text = page.inner_text('#unit .groups')
      assert not re.search(r'unit|photographs| at \(', text.lower())


@contextlib.contextmanager
def served(folder):
  handler = functools.partial(
    server.SimpleHTTPRequestHandler, directory=str(folder)
  )
  with server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as serving:
    serve = lambda: serving.serve_forever(poll_interval=0.01)  # seconds
    threading.Thread(target=serve, daemon=True).start()
    yield f'http://127.0.0.1:{serving.server_port}'
    serving.shutdown()


def test_it_works_from_a_server_in_a_folder(browser, site, capfd):
  parent = site.parent.parent
  with served(parent) as root:
    index = f'{root}/{site.parent.name}/index.html'
    with opened(browser, index, '#/conv1/3') as page:
      page.wait_for_selector('#unit img')
      page.wait_for_function('document.images[0].naturalWidth > 0')
  assert ' 404 ' not in capfd.readouterr().err


def test_units_are_sorted_by_any_number(layer):
  layer.select_option('#sort', 'activation')
  assert units(layer) == np.argsort(-STRENGTH).tolist()
  assert layer.locator('.card .number').first.inner_text() == '11.5'
  layer.click('#order')
  assert units(layer) == np.argsort(STRENGTH).tolist()
  assert 'sort=activation&order=up' in layer.url
  layer.select_option('#sort', 'ratio/maximum')
  assert layer.locator('.card .number').first.inner_text() == '0.25'


def test_units_are_filtered_by_a_range(layer):
  layer.select_option('#by', 'activation')
  layer.fill('#from', '3')
  layer.fill('#to', '5')
  (expected,) = np.nonzero((STRENGTH >= 3) & (STRENGTH <= 5))
  assert units(layer) == expected.tolist()
  assert f'{len(expected)} of 12 units' in layer.inner_text('#state')
  layer.fill('#from', '')
  layer.fill('#to', '')
  assert len(units(layer)) == 12


def test_units_are_found_by_number_and_by_label(layer):
  for text, expected in (
    ('7', [7]),
    ('THING 1', [1, 10, 11]),
    ('also no. 5', [5]),
    ('nothing', []),
    ('', list(range(12))),
  ):
    layer.fill('#find', text)
    assert units(layer) == expected


def test_every_image_can_be_shown(layer):
  layer.check('#all')
  assert units(layer) == np.repeat(np.arange(12), 2).tolist()
  assert '24 of 24 images' in layer.inner_text('#state')


def test_an_address_brings_back_what_was_shown(browser, site):
  address = '#/conv1?find=thing&sort=score&order=up&by=activation&from=2&to=9'
  with opened(browser, site, address) as page:
    page.wait_for_selector('.card')
    order = np.argsort(STRENGTH)
    inside = [u for u in order if 2 <= STRENGTH[u] <= 9 and u != 4]
    assert units(page) == inside
    values = [page.input_value(f'#{n}') for n in ('find', 'sort', 'from', 'by')]
    assert values == ['thing', 'score', '2', 'activation']
    page.click('.card >> nth=2')
    page.wait_for_selector('#unit h1')
    assert page.inner_text('#unit h1') == f'conv1 / {inside[2]}'
    page.click('[rel=next]')
    page.wait_for_function(f'document.title.startsWith("{inside[3]} ")')
    page.go_back()
    page.go_back()
    page.wait_for_selector('#layer:not([hidden])')
    assert units(page) == inside


@pytest.mark.parametrize('name', ['branch%2F1x1', 'branch/1x1'])
def test_a_unit_has_a_stable_address(browser, site, name):
  with opened(browser, site, f'#/{name}/11') as page:
    page.wait_for_selector('#unit h1')
    assert page.inner_text('#unit h1') == 'branch/1x1 / 11'


@pytest.mark.parametrize(
  'address, words',
  [
    ('#/conv1/99', 'no image of unit 99'),
    ('#/nowhere/1', 'no images of nowhere/1'),
    ('#/%E0%A4%A', 'no images of %E0%A4%A'),
  ],
)
def test_an_address_of_nothing_is_explained(browser, site, address, words):
  with opened(browser, site, address) as page:
    page.wait_for_function('words => document.body.innerText.includes(words)',
                           arg=words)  # fmt: skip


def test_a_unit_s_page_tells_all_that_is_known(browser, site):
  with opened(browser, site, '#/conv1/3') as page:
    page.wait_for_selector('#unit img')
    text = page.inner_text('#unit')
    for words in (
      'thing 3, also no. 3', 'Preferred images', 'Minimized', 'In photographs',
      '<b>3_0.jpg', 'neuron(layer)', 'adam(rate)', 'seed', 'vizjax',
      'Maximum of the data', 'rank', 'contrast stretched',
    ):  # fmt: skip
      assert words.lower() in text.lower(), words
    assert page.locator('#unit img').count() == 2
    src = page.locator('#unit img').first.get_attribute('src')
    assert src == 'conv1/3_6x6_0_shown.png'
    href = page.locator('#unit figure a').first.get_attribute('href')
    assert href == 'conv1/3_6x6_0.png'
    tiles = page.locator('#unit .tile')
    assert tiles.count() == 18
    place = 'node => getComputedStyle(node).backgroundPosition'
    assert tiles.nth(1).evaluate(place) == '-160px 0px'
    assert tiles.nth(17).evaluate(place) == '-160px -160px'
    assert page.locator('.curve polyline').count() == 2
    assert page.locator('.command code').inner_text() == (
      'vizjax run '
      f"'--config={site.parent}/config.py' --workdir=again "
      '--config.layer=conv1 --config.units=3'
    )
    row = page.locator('tr', has=page.locator('th:text-is("Activation")')).last
    shown = [float(cell) for cell in row.locator('td').all_inner_texts()]
    assert shown == [STRENGTH[3], STRENGTH[3] / 2]


def test_labels_are_text(layer):
  assert layer.locator('.card img').count() == 0
  assert '<img src=x' in layer.locator('.card >> nth=4').inner_text()
  layer.click('.card >> nth=4')
  layer.wait_for_selector('#unit h1')
  assert '<b>bold</b>' in layer.inner_text('#unit')
  assert layer.locator('#unit b').count() == 0
  assert layer.title().startswith('4 · conv1')


def test_keys_move_open_and_go_back(layer):
  layer.keyboard.press('ArrowRight')
  assert focused(layer) == '0'
  layer.keyboard.press('ArrowRight')
  assert focused(layer) == '1'
  layer.keyboard.press('ArrowDown')
  wide = int(focused(layer)) - 1
  assert 5 <= wide < 12
  layer.keyboard.press('ArrowUp')
  layer.keyboard.press('Enter')
  layer.wait_for_selector('#unit h1')
  layer.keyboard.press('ArrowRight')
  layer.wait_for_function('document.title.startsWith("2 ")')
  layer.keyboard.press('Escape')
  layer.wait_for_selector('#layer:not([hidden])')
  assert focused(layer) == '2'
  layer.keyboard.press('/')
  layer.keyboard.type('11/')
  assert layer.input_value('#find') == '11/'
  layer.keyboard.press('Escape')
  layer.keyboard.press('Escape')
  layer.wait_for_selector('#index:not([hidden])')
  assert layer.url.endswith('#/')


def test_light_and_dark(browser, site):
  ground = 'getComputedStyle(document.body).backgroundColor'
  with opened(browser, site, color_scheme='dark') as page:
    dark = page.evaluate(ground)
    page.click('#theme')
    light = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == light
  with opened(browser, site, color_scheme='light') as page:
    assert page.evaluate(ground) == light


def test_it_fits_a_phone(browser, site):
  size = {'width': 360, 'height': 740}
  for address in ('#/', '#/conv1', '#/conv1/3'):
    with opened(browser, site, address, viewport=size) as page:
      page.wait_for_selector('main:not([hidden]) :is(.card, .layers, h1)')
      assert page.evaluate('document.documentElement.scrollWidth') <= 360


# Frames of a scroll through a page, in milliseconds.
SCROLL = """async (pixels) => {
  const frames = [];
  let before = await new Promise(requestAnimationFrame);
  for (let i = 0; i < 90; i++) {
    scrollBy(0, pixels);
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - before);
    before = now;
  }
  return frames;
}"""


@pytest.mark.slow
def test_4096_units_are_shown_at_once_and_scroll(browser, tmp_path):
  path = toysites.workdir(tmp_path / 'w', ['conv1'], count=4096, size=16)
  index = site_.write(str(path))
  with opened(browser, index) as page:
    sheets = []
    page.on(
      'request',
      lambda r: sheets.append(r.url) if 'sheet' in r.url else None,
    )
    page.evaluate("location.hash = '#/conv1'")
    page.wait_for_selector('.card')
    page.evaluate(SCROLL, 0)
    assert '4096 of 4096 units' in page.inner_text('#state')
    assert page.locator('.card').count() < 400  # those near the window
    assert len(sheets) <= 2  # of 16: those of the first screens
    took = page.evaluate(
      """async () => {
        const before = performance.now();
        document.getElementById('sort').value = 'activation';
        document.getElementById('sort').dispatchEvent(
          new Event('input', {bubbles: true}));
        await new Promise(requestAnimationFrame);
        await new Promise(requestAnimationFrame);
        return performance.now() - before;
      }"""
    )
    frames = page.evaluate(SCROLL, 400)
    assert page.evaluate('scrollY') >= 0.9 * 90 * 400
    assert page.locator('.card').count() < 400
    # A machine that draws without a graphics card, beside other tests.
    assert took < 2000 and np.median(frames) < 100  # milliseconds


def launched(*flags):
  return subprocess.Popen(
    [sys.executable, '-m', 'vizjax', 'atlas', *map(str, flags)],
    cwd=ROOT,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_a_served_site_answers_until_it_is_interrupted(tmp_path):
  path = toysites.workdir(tmp_path / 'w', count=2)
  first = launched(f'--workdir={path}', '--serve', '--port=0')
  assert first.stdout.readline() == f'{path}/atlas/index.html\n'
  address = first.stdout.readline().split()[0]
  assert address.startswith('http://127.0.0.1:')
  with urllib.request.urlopen(address) as answer:
    assert b'conv1' in answer.read()
  port = address.rstrip('/').rpartition(':')[2]
  second = launched(f'--workdir={path}', '--serve', f'--port={port}')
  _, err = second.communicate(timeout=60)
  assert second.returncode == 2
  assert len(err.splitlines()) == 1 and f'--port={port}' in err
  first.send_signal(signal.SIGINT)
  _, err = first.communicate(timeout=60)
  assert first.returncode == 130
  assert err == 'stopped; the site stays where it is\n'
