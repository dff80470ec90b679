"""What is shown of a run while it runs."""

import contextlib
import io

import numpy as np
from PIL import Image
import pytest
import toy_config

from test_configs import load
from vizjax import build
from vizjax.errors import UserError
from vizjax.programs import cnn_vis_images
from vizjax.sweeps import sweep
from vizjax.sweeps import watching
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')

MEAN = np.array([120.0, 115.0, 100.0])  # of the toy network


def config(**knobs):
  c = load('cnn_vis', 'own')
  c.model, c.layer, c.mean = 'toynets.net()', 'conv2', None
  c.tile, c.steps, c.every, c.show = 12, 4, 2, 'print'
  c.initial_size, c.final_size, c.num_sizes = '12x23', '13x25', 2
  c.update(knobs)
  return c


def execute(c, workdir):
  plans = sweep.plan(build.request(c))
  watch = watching.watcher(plans, str(workdir))
  sweep.execute(plans, str(workdir), watch=watch)
  kept = store.open_(workdir / 'conv2')
  return {name: store.read(kept, name) for name in kept.arrays}


@pytest.fixture(scope='module')
def shown(tmp_path_factory):
  """A run that shows all it can: its arrays, its folder, what it printed."""
  workdir = tmp_path_factory.mktemp('shown') / 'w'
  with contextlib.redirect_stdout(io.StringIO()) as out:
    found = execute(config(show='print+save+plot_pix'), workdir)
  return found, workdir / 'shown', out.getvalue().splitlines()


def test_records_are_printed(shown):
  found, _, lines = shown
  assert len(lines) == 4
  assert lines[0].startswith('conv2_layer: size 1/2, 12x23, step 2/4: score ')
  assert lines[3].startswith('conv2_layer: size 2/2, 13x25, step 4/4: score ')
  told = dict(text.split() for text in lines[3].partition('4: ')[2].split(', '))
  assert {'p_loss', 'tv_loss', 'step_median', 'image_std'} < set(told)
  for name, text in told.items():
    value = found[f'trace/{name}'][0, -1]
    assert float(text) == pytest.approx(value, rel=1e-5)


def test_pictures_are_those_of_the_program(shown):
  found, folder, _ = shown
  names = [
    f'conv2_layer_{size}_{step}.png' for size in (1, 2) for step in (2, 4)
  ]
  assert {path.name for path in folder.iterdir()} == {
    *names, 'conv2_layer_pixels.png'
  }  # fmt: skip
  with Image.open(folder / names[-1]) as picture:
    pixels = np.asarray(picture)
  expected = cnn_vis_images.eight_bit(found['image'][0], MEAN)
  np.testing.assert_array_equal(pixels, expected)


def test_the_history_of_pixels_is_plotted(shown):
  found, folder, _ = shown
  with Image.open(folder / 'conv2_layer_pixels.png') as picture:
    assert picture.size > (300, 300)
  # No pixel but those on the image has one: here none of the four.
  assert np.isnan(found['trace/pixels']).all()


def test_without_a_display_there_is_no_window(tmp_path, capsys, monkeypatch):
  import matplotlib

  monkeypatch.setattr(matplotlib, 'get_backend', lambda: 'agg')
  execute(config(show='show'), tmp_path / 'w')
  assert 'no display' in capsys.readouterr().err


@pytest.mark.parametrize(
  'knobs, match',
  (
    ({'show': 'print+shw'}, "config.show is 'print.shw', expected some of"),
    ({'show': 'plot_pix', 'procedure': ''}, 'no pixels are recorded'),
  ),
)
def test_what_cannot_be_shown_is_refused(knobs, match):
  c = config(**knobs)
  with pytest.raises(UserError, match=match):
    watching.watcher(sweep.plan(build.request(c)), 'nowhere')


def test_files_of_a_whole_layer_are_named_as_its_exports():
  c = toy_config.get_config()
  c.layer, c.units, c.replicates = 'conv2', None, 2
  c.objective = 'dream(layer)'
  request = build.request(c)
  (layer,) = sweep.plan(request).layers
  found = watching._stems(request, layer, np.arange(2))
  assert found == ['conv2_layer_r0', 'conv2_layer_r1']


def test_nothing_is_shown_unless_it_is_asked_for():
  c = config(every=None)
  assert watching.watcher(sweep.plan(build.request(c)), 'nowhere') is None
