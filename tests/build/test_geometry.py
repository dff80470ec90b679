"""Sizes of canvas and view, and where the view lies on the canvas."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import conftest
import toyplans

from vizjax import build
from vizjax import core
from vizjax import models
from vizjax import transforms
from vizjax.build import assemble
from vizjax.build import geometry
from vizjax.errors import UserError
from vizjax.models import receptive_fields
from vizjax.models.interpreter import layers
from vizjax.models.interpreter import tables
from vizjax.sweeps import sweep

JITTER = transforms.jitter(3)
PAD = transforms.pad(2)
ROLL = transforms.roll(4)


def view_of(geometry_, canvas):
  """What the network sees of a canvas [h, w, c]."""
  views = jnp.asarray(canvas)[None]
  for i, link in enumerate(geometry_.transforms):
    key = jax.random.fold_in(jax.random.key(0), i)
    views = link(core.Draw(key, jnp.array(0), {}), views)
  return views[0]


def test_a_given_canvas_is_kept_and_its_view_follows():
  geometry_ = geometry.of_canvas((PAD, JITTER), (20, 15), 3)
  assert geometry_[:3] == ((20, 15), (21, 16), (PAD, JITTER))
  assert geometry.of_canvas((), (20, 15), 3)[:3] == ((20, 15), (20, 15), ())
  crop = transforms.crop(9, 8)
  assert geometry.of_canvas((ROLL, crop), (20, 15), 3).view == (9, 8)


def test_a_canvas_is_larger_by_what_jitter_eats():
  geometry_ = geometry.of_view((JITTER, ROLL, JITTER), (12, 10), 3)
  assert geometry_.canvas == (18, 16)
  assert geometry_.view == (12, 10)
  assert geometry_.transforms == (JITTER, ROLL, JITTER)


def test_what_pad_adds_is_cut_off_again():
  geometry_ = geometry.of_view((PAD,), (12, 10), 3)
  assert (geometry_.canvas, geometry_.view) == ((12, 10), (12, 10))
  canvas = np.random.RandomState(0).uniform(0, 255, (12, 10, 3))
  canvas = canvas.astype(np.float32)
  np.testing.assert_array_equal(view_of(geometry_, canvas), canvas)


@pytest.mark.parametrize(
  'links',
  [
    pytest.param(links, marks=[pytest.mark.slow] if n == 3 else [])
    for n in range(4)
    for links in itertools.product((JITTER, PAD, ROLL), repeat=n)
  ],
)
def test_a_view_is_always_full_of_image(links):
  geometry_ = geometry.of_view(links, (9, 8), 3)
  view = view_of(geometry_, np.ones((*geometry_.canvas, 3), np.float32))
  assert view.shape == (9, 8, 3)
  assert geometry_.view == (9, 8)
  eaten = 3 * links.count(JITTER)
  assert geometry_.canvas == (9 + eaten, 8 + eaten)
  if PAD not in links:
    np.testing.assert_array_equal(view, np.ones((9, 8, 3)))


def test_a_crop_to_less_than_the_view_is_refused():
  links = (JITTER, transforms.crop(8, 20))
  match = r'leave 8 x 20 pixels, the network needs 12 x 12.*--config.shape=HxW'
  with pytest.raises(UserError, match=match):
    geometry.of_view(links, (12, 12), 3)


def test_a_crop_to_more_than_the_view_is_cropped_again():
  geometry_ = geometry.of_view((transforms.crop(20, 18),), (12, 10), 3)
  assert geometry_.view == (12, 10)
  view = view_of(geometry_, np.ones((*geometry_.canvas, 3), np.float32))
  assert view.shape == (12, 10, 3)


def test_random_crops_of_the_view_fit():
  crops = transforms.random_crops(2, 12, 10)
  geometry_ = geometry.of_view((crops,), (12, 10), 3)
  assert (geometry_.canvas, geometry_.transforms) == ((12, 10), (crops,))


@pytest.mark.parametrize('canvas', [(9, 7), (14, 9), (15, 12), (6, 12)])
def test_a_box_on_the_canvas_is_where_the_view_shows_it(canvas):
  view = (9, 8)
  geometry_ = geometry.Geometry(canvas, view, (), None)
  for top, left, h, w in [(0, 0, 9, 8), (2, 3, 4, 5), (-2, 5, 4, 9)]:
    box = receptive_fields.Box(top, left, h, w)
    # Paint the canvas, fit it into the view, and look which pixels show.
    numbers = np.arange(1, canvas[0] * canvas[1] + 1, dtype=np.float32)
    painted = numbers.reshape(*canvas, 1) * 1000
    shown = np.asarray(transforms.fit(jnp.asarray(painted), *view))[..., 0]
    seen = shown[max(top, 0) : top + h, max(left, 0) : left + w]
    found = geometry.on_canvas(box, geometry_)
    inside = painted[
      found.top : found.top + found.height,
      found.left : found.left + found.width,
      0,
    ]
    # A box may lie off the view and still on the canvas.
    assert set(seen[seen >= 1000]) <= set(inside.ravel())
    assert found.height <= h and found.width <= w
    assert found.top >= 0 and found.top + found.height <= canvas[0]
    assert found.left >= 0 and found.left + found.width <= canvas[1]
    within = top >= 0 and left >= 0 and top + h <= 9 and left + w <= 8
    if within and min(np.subtract(canvas, view)) >= 0:
      assert (found.height, found.width) == (h, w)


def test_a_box_beside_the_canvas_is_empty():
  geometry_ = geometry.Geometry((4, 4), (10, 10), (), None)
  box = receptive_fields.Box(0, 0, 2, 2)
  found = geometry.on_canvas(box, geometry_)
  assert (found.height, found.width) == (0, 0)


@pytest.mark.parametrize(
  'row, size',
  (
    (tables.conv('top', 2, 5), (9, 4)),
    (tables.conv('top', 2, 3, pad=1)._replace(dilation=(5, 1)), (8, 9)),
    (tables.max_pool('top', 3, 2), (2, 7)),
    (tables.max_pool('top', 3, 2, ceil=True), (7, 1)),
    (tables.Layer('top', 'average_pool', kernel=(4, 4)), (3, 3)),
  ),
)
def test_a_map_without_a_unit_is_refused_with_the_size_that_is_enough(
  row, size
):
  # As a model is loaded at that size, and where its image is of that size.
  table = tables.sequence(tables.conv('below', 2, 1), row)
  match = (
    f"sees {size[0]} x {size[1]} pixels, too few for layer 'top', whose input "
    f'is {size[0]} x {size[1]} and whose window is'
  )
  with pytest.raises(UserError, match=match):
    layers.model(table, {}, mean=(0.0,) * 3, input_shape=(*size, 3))
  net = conftest.toy(table, size=20)
  with pytest.raises(UserError, match=match) as error:
    geometry.activation_shapes(net, size)
  before, _, _ = str(error.value).partition(' pixels are enough')
  h, _, w = before.rpartition('(')[2].partition(' x ')
  least = geometry.activation_shapes(net, (int(h), int(w)))['top'].shape
  assert min(least) >= 1
  assert geometry.activation_shapes(models.cut(net, ('below',)), size)


def test_a_window_that_is_cut_at_the_end_is_a_unit():
  # Caffe rounds the number of windows up.
  row = tables.max_pool('top', 3, 2, ceil=True)
  net = conftest.toy(tables.sequence(tables.conv('below', 2, 1), row), size=2)
  assert geometry.activation_shapes(net)['top'].shape == (1, 1, 2)


def test_a_size_without_units_is_refused_before_anything_is_made():
  config = assemble.config()
  config.model, config.layer, config.shape = 'toynets.net()', 'conv2', '1x5'
  match = "sees 1 x 5 pixels, too few for layer 'pool1'.*--config.shape=HxW"
  with pytest.raises(UserError, match=match):
    sweep.plan(build.request(config))
  # A network that is not ours.
  apply = lambda params, image: {'conv': jnp.zeros((0, 3, 4))}
  net = core.Model((), jnp.zeros(3), apply, (1, 5, 3))
  config.layer = 'conv'
  with pytest.raises(UserError, match="'conv' has no unit.* sees 1 x 5 pix"):
    toyplans.runs(config, net, 'conv')
