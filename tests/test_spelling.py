"""What a misspelt name may have been."""

from vizjax import spelling


def test_a_hint_names_the_nearest():
  known = ('conv1', 'conv5', 'fc8')
  assert spelling.hint('conv55', known) == " Did you mean 'conv5'?"
  assert spelling.nearest('fc88', iter(known)) == 'fc8'


def test_nothing_like_it_is_no_hint():
  assert spelling.hint('softmax', ('conv1', 'fc8')) == ''
  assert spelling.nearest('softmax', ()) is None
