"""The blocks of docs/python.md as users run them: compiled, and in order."""

import re

import jax
import numpy as np
import pytest
from test_gallery import check_bits
from test_gallery import EXACT
from test_gallery import PAGE
from test_gallery import photographs

from vizjax.photographs import images


@pytest.mark.slow
@pytest.mark.parametrize('name', EXACT)
def test_a_block_has_the_bits_of_its_recipe(name, tmp_path):
  check_bits(name, tmp_path)


@pytest.mark.slow
def test_the_page_runs_from_its_top(tmp_path, monkeypatch):
  """On its networks, in one step; without the generator, which is trained."""
  monkeypatch.chdir(tmp_path)
  for name, image in zip(('sky', 'night'), photographs(), strict=True):
    images.write(f'{name}.jpg', images.resize(image, (240, 288)))
  names, made = {}, 0
  for block in re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL):
    if 'GENERATOR' in block or 'prior' in block:
      continue
    with jax.numpy_rank_promotion('allow'):  # as for a user
      exec(re.sub(r'(?m)^steps = \d+', 'steps = 1', block), names)
    if 'visualize(' in block:
      made += 1
      found = names.pop('images')
      assert found.made.all() and np.isfinite(found.image).all()
  assert made == PAGE.count('images = vizjax.visualize(') - 1
