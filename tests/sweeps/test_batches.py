"""A batch that is interrupted goes on to the same numbers."""

import jax
import numpy as np
import pytest

from test_configs import load
from vizjax import build
from vizjax.errors import UserError
from vizjax.models.formats import arrays
from vizjax.photographs import images
from vizjax.sweeps import batches
from vizjax.sweeps import parallel
from vizjax.sweeps import results
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
  folder = tmp_path_factory.mktemp('photographs')
  for name in 'ab':
    pixels = np.random.RandomState(ord(name)).uniform(0, 255, (22, 26, 3))
    images.write(folder / f'{name}.png', pixels)
  return str(folder / '*.png')


def dream(photographs, **knobs):
  """Two octaves of three steps, of two photographs."""
  c = load('deepdream', 'own')
  c.model, c.layer = 'toynets.net()', 'conv2'
  c.photograph, c.octave_n, c.steps, c.jitter = photographs, 2, 3, 5
  c.every, c.save_every, c.batch = None, 2, 4
  c.update(knobs)
  return c


def plain(**knobs):
  """Four units of one size, whose optimizer has a state."""
  c = build.config()
  c.model, c.layer, c.units = 'toynets.net()', 'conv2', '0:4'
  c.transforms, c.optimizer, c.steps = 'jitter(2)', 'adam(9.)', 4
  c.update(knobs)
  return c


def everything(workdir):
  kept = store.open_(workdir / 'conv2')
  return {name: store.read(kept, name) for name in kept.arrays}


def execute(c, workdir, report=lambda progress: None):
  sweep.execute(sweep.plan(build.request(c)), str(workdir), report)
  return everything(workdir)


def interrupting(calls):
  """A report that raises at its nth call."""
  left = [calls]

  def report(progress):
    left[0] -= progress.steps > 0
    if left[0] == 0:
      raise KeyboardInterrupt

  return report


def equal(found, expected):
  assert set(found) == set(expected)
  for name in expected:
    np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize('calls', (pytest.param(3, marks=pytest.mark.slow), 4))
@pytest.mark.slow
def test_octaves_go_on_from_any_step(calls, photographs, tmp_path):
  c = dream(photographs)
  with pytest.raises(KeyboardInterrupt):
    execute(c, tmp_path / 'w', interrupting(calls))
  kept = tmp_path / 'w' / 'conv2' / '.batch0.npz'
  assert kept.exists()
  made = []
  found = execute(c, tmp_path / 'w', lambda progress: made.append(progress))
  # What was made before is told first, and then every step.
  assert [p.steps for p in made if p.steps] == [2 * calls] + [2] * (6 - calls)
  assert not kept.exists()
  equal(found, execute(c, tmp_path / 'whole'))


@pytest.mark.slow
def test_a_batch_of_units_goes_on(tmp_path):
  c = plain()
  with pytest.raises(KeyboardInterrupt):
    execute(c, tmp_path / 'w', interrupting(2))
  equal(execute(c, tmp_path / 'w'), execute(c, tmp_path / 'whole'))


def test_a_call_of_several_steps_ends_on_its_steps_when_resumed(
  tmp_path, monkeypatch
):
  """A run stopped after 5 of 50 steps makes 20, then 25, in calls of 25."""
  c = plain(steps=50, save_every=25, every=25)
  whole = execute(c, tmp_path / 'whole')
  monkeypatch.setattr(parallel, 'steps_per_call', lambda *every: 5)
  with pytest.raises(KeyboardInterrupt):
    execute(plain(steps=50, save_every=25), tmp_path / 'w', interrupting(1))
  monkeypatch.setattr(parallel, 'steps_per_call', lambda *every: 25)
  made, watched = [], []
  sweep.execute(
    sweep.plan(build.request(c)),
    str(tmp_path / 'w'),
    lambda progress: made.append(progress.steps),
    watch=lambda p, status: watched.append(status.step),
  )
  assert [n for n in made if n] == [4 * 5, 4 * 20, 4 * 25]
  assert watched == [25, 50]
  equal(everything(tmp_path / 'w'), whole)


@pytest.mark.slow
def test_a_batch_that_went_too_far_begins_again(tmp_path):
  c = plain(steps=6)
  with pytest.raises(KeyboardInterrupt):
    execute(c, tmp_path / 'w', interrupting(4))
  kept = tmp_path / 'w' / 'conv2' / '.batch0.npz'
  content = arrays.unpacked(kept.read_bytes())
  content['at']['place'] = np.array([0, 7])
  kept.write_bytes(arrays.packed(content))
  equal(execute(c, tmp_path / 'w'), execute(c, tmp_path / 'whole'))


@pytest.mark.parametrize(
  'optimizer',
  (
    pytest.param('add_noise(9., 0.5, key=3) | sgd(9.)', marks=pytest.mark.slow),
    "adam(9., mu_dtype='bfloat16')",
  ),
)
def test_a_state_of_keys_or_of_bfloat16_goes_on(optimizer, tmp_path):
  c = plain(optimizer=optimizer)
  with pytest.raises(KeyboardInterrupt):
    execute(c, tmp_path / 'w', interrupting(2))
  assert (tmp_path / 'w' / 'conv2' / '.batch0.npz').exists()
  made = []
  found = execute(c, tmp_path / 'w', lambda progress: made.append(progress))
  assert [p.steps for p in made if p.steps] == [8, 4, 4]
  equal(found, execute(c, tmp_path / 'whole'))


@pytest.fixture
def rbg():
  before = jax.config.jax_default_prng_impl
  jax.config.update('jax_default_prng_impl', 'rbg')
  yield
  jax.config.update('jax_default_prng_impl', before)


def test_images_are_those_of_threefry_whatever_jax_draws_by(tmp_path, request):
  knobs = {'robust': 'jitter(2)', 'parameterization': 'fourier(model)'}
  knobs['optimizer'] = 'add_noise(9., 0.5, key=3) | sgd(9.)'
  expected = execute(plain(**knobs), tmp_path / 'threefry')
  request.getfixturevalue('rbg')
  equal(execute(plain(**knobs, batch=2), tmp_path / 'rbg'), expected)


def test_a_batch_of_other_units_begins_again(tmp_path):
  c = plain(batch=4)
  with pytest.raises(KeyboardInterrupt):
    execute(c, tmp_path / 'w', interrupting(2))
  other = plain(batch=2)
  equal(execute(other, tmp_path / 'w'), execute(c, tmp_path / 'whole'))


def test_what_is_kept_is_damaged(tmp_path):
  c = plain()
  with pytest.raises(KeyboardInterrupt):
    execute(c, tmp_path / 'w', interrupting(2))
  (tmp_path / 'w' / 'conv2' / '.batch0.npz').write_bytes(b'PK nothing')
  with pytest.raises(UserError, match='batch0.npz.*damaged: remove it'):
    execute(c, tmp_path / 'w')


@pytest.mark.slow
def test_several_sizes_are_kept_as_they_begin(
  photographs, tmp_path, monkeypatch
):
  # As if each took more than a minute; the power fails at the last step.
  monkeypatch.setattr(batches, '_BETWEEN', -1)
  c = dream(photographs)

  class PowerFails(Exception):
    pass

  def report(progress, left=[6]):  # noqa: B006
    left[0] -= progress.steps > 0
    if left[0] == 0:
      raise PowerFails

  with pytest.raises(PowerFails):
    execute(c, tmp_path / 'w', report)
  made = []
  found = execute(c, tmp_path / 'w', lambda progress: made.append(progress))
  assert [p.steps for p in made if p.steps] == [6, 2, 2, 2]
  equal(found, execute(c, tmp_path / 'whole'))


@pytest.mark.slow
def test_frames_of_all_sizes_are_brought_to_the_last(photographs, tmp_path):
  found = execute(dream(photographs), tmp_path / 'w')
  assert found['frames'].shape == (2, 4, 22, 26, 3)
  assert found['trace/score'].shape == (2, 6)
  start = images.resize(images.read(photographs.replace('*', 'a')), (16, 19))
  first = images.resize(start, (22, 26))
  # A frame is before its step: the first is the photograph, if coarser.
  assert np.abs(found['frames'][0, 0] - first).mean() < 12


def test_a_film_is_kept_in_the_bits_that_are_stored(photographs, tmp_path):
  c = dream(photographs, save_every=1)
  whole = execute(c, tmp_path / 'w')['frames']
  assert whole.shape == (2, 6, 22, 26, 3)
  c = dream(photographs, save_every=1, image_dtype='uint8')
  with pytest.raises(KeyboardInterrupt):
    execute(c, tmp_path / 'small', interrupting(4))
  kept = np.load(tmp_path / 'small' / 'conv2' / '.batch0.npz')
  frames = [kept[name] for name in kept.files if name.startswith('frames')]
  assert {(frame.shape, str(frame.dtype)) for frame in frames} == {
    ((4, 22, 26, 3), 'uint8')
  }
  found = execute(c, tmp_path / 'small')['frames']
  np.testing.assert_array_equal(found, images.to_uint8(whole))


def test_a_film_is_not_copied_on_its_way_to_the_store():
  film = np.zeros((2, 3, 4, 4, 3), np.uint8)
  found = {'frames': film, 'score': np.zeros(2, np.float32)}
  fields = {'frames': (film.shape[1:], 'uint8'), 'score': ((), 'float32')}
  rows = results.rows(fields, found)
  assert np.shares_memory(rows['frames'], film)
