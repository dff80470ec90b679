"""The bits of docs/python.md with all optimizations, as users compile it."""

import pytest
from test_gallery import check_bits
from test_gallery import EXACT


@pytest.mark.slow
@pytest.mark.parametrize('name', EXACT)
def test_a_block_has_the_bits_of_its_recipe(name, tmp_path):
  check_bits(name, tmp_path)
