"""cnnpref's files of any run."""

import pickle

import numpy as np
import scipy.io
import test_export

from vizjax.export import cnnpref
from vizjax.workdir import store


def test_it_has_the_image_as_it_is(tmp_path):
  workdir = tmp_path / 'w'
  made = test_export.fabricate(workdir)
  test_export.write(workdir, 'cnnpref', tmp_path / 'out')
  which = [
    f'preferred_img{masked}_layer_conv5_channel_{i}.{ending}'
    for masked in ('', '_masked')
    for i in range(4)
    for ending in ('mat', 'jpg')
  ]
  assert test_export.names(tmp_path / 'out') == sorted([*which, 'options.pkl'])
  name = '_layer_conv5_channel_2'
  image, masked = (
    scipy.io.loadmat(tmp_path / 'out' / f'preferred_img{kind}{name}.mat')[
      'preferred_img'
    ]
    for kind in ('', '_masked')
  )
  assert image.dtype == np.float32
  np.testing.assert_array_equal(image, test_export.image_of(made, 2))
  inside = np.zeros(test_export.SIZE, bool)
  inside[1:7, 2:7] = True
  np.testing.assert_array_equal(masked[inside], image[inside])
  assert (masked[~inside] == 0).all()
  options = pickle.loads((tmp_path / 'out' / 'options.pkl').read_bytes())
  assert options == store.read_config(str(workdir))['config']


def test_it_masks_only_what_a_unit_does_not_see(tmp_path):
  workdir = tmp_path / 'w'
  test_export.fabricate(workdir, seen=(0, 0, *test_export.SIZE), replicates=2)
  test_export.write(workdir, 'cnnpref', tmp_path / 'out', units='0')
  assert test_export.names(tmp_path / 'out') == ['options.pkl'] + [
    f'preferred_img_layer_conv5_channel_0_r{r}.{ending}'
    for r in (0, 1)
    for ending in ('jpg', 'mat')
  ]


def test_it_shows_all_but_the_extremes():
  image = np.arange(10001, dtype=np.float32)[:, None, None] - 5000
  found = cnnpref.shown(image).ravel()
  # 0.02 percent at either end: 2 numbers, and the rest goes from 0 to 255.
  middle = np.clip(np.arange(10001) - 2, 0, 9996)
  np.testing.assert_array_equal(found, np.floor(middle * 255 / 9996 + 1e-6))
  image[5] = np.nan
  assert not cnnpref.shown(image).any()
