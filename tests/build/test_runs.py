"""Which images are to be made, from a string, and the key of each."""

import random

import jax
import numpy as np
import pytest

from vizjax.build import runs
from vizjax.errors import UserError
from vizjax.models import receptive_fields

FIELD = receptive_fields.Field(
  receptive_fields.Span(5, 2, -1), receptive_fields.Span(3, 2, 0)
)


def units(text, count=64, height=13, width=9):
  return runs.units(text, 'conv5', count, height, width)


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('0:3', [(0, 6, 4), (1, 6, 4), (2, 6, 4)]),
    ('3,7', [(3, 6, 4), (7, 6, 4)]),
    ('7,3', [(7, 6, 4), (3, 6, 4)]),
    ('3@6x7', [(3, 6, 7)]),
    ('0@0x0', [(0, 0, 0)]),
    ('63@12x8', [(63, 12, 8)]),
    ('0:64:32@2x1,7', [(0, 2, 1), (32, 2, 1), (7, 6, 4)]),
    ('*@2x1,7', [*((c, 2, 1) for c in range(64)), (7, 6, 4)]),
    ('1:2', [(1, 6, 4)]),
    (' 3 , 5 @ 2 x 1 ', [(3, 6, 4), (5, 2, 1)]),
    ('62:64', [(62, 6, 4), (63, 6, 4)]),
    ('0:5:2', [(0, 6, 4), (2, 6, 4), (4, 6, 4)]),
    ('3,2:4,3', [(3, 6, 4), (2, 6, 4)]),
  ],
)
def test_a_string_names_units(text, expected):
  assert units(text) == expected


def test_no_string_is_every_channel_at_the_center():
  assert units(None, 3, 13, 8) == [(0, 6, 4), (1, 6, 4), (2, 6, 4)]
  assert units(None, 2, 1, 1) == [(0, 0, 0), (1, 0, 0)]


@pytest.mark.parametrize(
  'text',
  [
    '',
    ' ',
    ',',
    '3,',
    'a',
    '-1',
    '1.5',
    '1e1',
    '0x3',
    ':',
    '0:',
    ':3',
    '0:3:',
    '0:4:0',
    '0:4:1:1',
    '3@',
    '3@6',
    '3@6x',
    '3@x6',
    '3@6x6x6',
    '3@6,6',
    '3@1x1@1x1',
    '@1x1',
    '\N{SUPERSCRIPT TWO}',
    '1_0',
    '+1',
    '0' * 5000,
  ],
)
def test_what_cannot_be_read_says_what_to_type(text):
  with pytest.raises(UserError, match='cannot be read: type a range as 0:64'):
    units(text)


@pytest.mark.parametrize(
  ('text', 'match'),
  [
    ('64', "unit 64 is not in layer 'conv5', which has 64: expected 0 to 63"),
    ('0:65', 'unit 64 is not in layer'),
    ('0:99:98', 'unit 98 is not in layer'),
    ('0:' + '9' * 30, 'is not in layer'),
    ('5:5', "'5:5' holds no unit; a range ends before its second number"),
    ('7:3@1x1', "'7:3' holds no unit"),
    ('3@13x0', 'row 13, column 0 is not in the map of .* 13 x 9'),
    ('3@0x9', "unit '3@0x9': row 0, column 9 is not in the map"),
  ],
)
def test_units_that_are_not_there_are_named(text, match):
  with pytest.raises(UserError, match=match):
    units(text)


def test_any_string_gives_units_that_exist_or_a_value_error():
  draw = random.Random(0)
  read = 0
  for _ in range(2000):
    n = draw.randint(0, 9)
    text = ''.join(draw.choice('0123456789:,@x -') for _ in range(n))
    try:
      found = units(text)
    except ValueError as error:
      assert 'unit' in str(error)
      continue
    read += 1
    assert found
    for c, y, x in found:
      assert 0 <= c < 64 and 0 <= y < 13 and 0 <= x < 9
  assert read > 20  # some of the strings are good ones


def test_a_table_has_a_row_for_each_unit_and_replicate():
  rows = runs.of_units('conv5', [(3, 1, 2), (5, 0, 4)], 2, None, (20, 30))
  assert rows.layer == 'conv5'
  assert rows.channel.tolist() == [3, 3, 5, 5]
  assert rows.y.tolist() == [1, 1, 0, 0]
  assert rows.x.tolist() == [2, 2, 4, 4]
  assert rows.replicate.tolist() == [0, 1, 0, 1]
  assert not rows.boxed.any()
  assert rows.box.tolist() == [[0, 0, 20, 30]] * 4


def test_a_unit_is_made_on_its_receptive_field_where_that_fits():
  # Rows 2 y - 1 to 2 y + 3, columns 2 x to 2 x + 2, on 12 x 12.
  places = [(0, 3), (1, 3), (4, 4), (5, 3), (4, 5)]
  rows = runs.of_units('a', [(0, y, x) for y, x in places], 1, FIELD, (12, 12))
  whole = [0, 0, 12, 12]
  assert rows.boxed.tolist() == [False, True, True, False, False]
  assert rows.box.tolist() == [
    whole,
    [1, 6, 5, 3],
    [7, 8, 5, 3],
    whole,
    whole,
  ]


def key_data(table, rows, seed=0):
  table = table._replace(seed=np.full_like(table.seed, seed))
  return np.asarray(jax.random.key_data(runs.keys(table, rows)))


def test_a_key_belongs_to_a_run_and_not_to_its_row():
  some = [(3, 1, 2), (5, 0, 4), (0, 0, 0), (63, 12, 8)]
  table = runs.of_units('conv5', some, 3, None, (20, 20))
  everything = key_data(table, np.arange(12))
  for order in ([7, 2, 11], [2], [11, 10, 9]):
    np.testing.assert_array_equal(
      key_data(table, np.array(order)), everything[order]
    )
  backwards = runs.of_units('conv5', some[::-1], 3, FIELD, (20, 20))
  for i in range(4):
    np.testing.assert_array_equal(
      key_data(backwards, np.arange(3) + 9 - 3 * i),
      everything[3 * i : 3 * i + 3],
    )


def test_more_replicates_leave_the_first_ones_keys():
  few = runs.of_units('a', [(3, 1, 2)], 2, None, (20, 20))
  many = runs.of_units('a', [(3, 1, 2)], 5, None, (20, 20))
  np.testing.assert_array_equal(
    key_data(few, np.arange(2)), key_data(many, np.arange(2))
  )


def test_different_runs_have_different_keys():
  places = [(c, y, x) for c in range(6) for y in range(4) for x in range(4)]
  found = set()
  for layer in ('conv5', 'conv4'):
    table = runs.of_units(layer, places, 3, None, (20, 20))
    for seed in (0, 1):
      data = key_data(table, np.arange(len(places) * 3), seed)
      found |= {row.tobytes() for row in data}
  assert len(found) == 2 * 2 * 96 * 3


LABELS = ('crane (bird)', 'black stork, Ciconia nigra', 'zebra', 'crane')


def named(text):
  return [c for c, _, _ in runs.units(text, 'logits', 4, 1, 1, LABELS)]


def test_classes_are_named():
  assert named('zebra') == [2]
  assert named('ZEBRA, black stork,0') == [2, 1, 0]
  assert named('"black stork, Ciconia nigra",3') == [1, 3]
  assert named('ciconia nigra') == [1]
  assert named('1:3') == [1, 2]


def test_a_class_that_is_not_there_is_told_with_the_nearest():
  with pytest.raises(UserError, match="'zebre' is no class.*'zebra'"):
    named('zebre')


def test_a_name_of_several_classes_lists_them():
  labels = ('crane, bird', 'crane, machine')
  with pytest.raises(UserError, match='several units: 0 .*, 1 '):
    runs.units('crane', 'logits', 2, 1, 1, labels)


def key_of(seed, rows=1):
  table = runs.of_units('conv1', [(0, 0, 0)] * rows, 1, None, (9, 9), seed=seed)
  return jax.random.key_data(runs.keys(table, np.arange(rows))).tolist()


def test_seeds_have_keys_of_their_own_up_to_the_last():
  keys = [key_of(seed)[0] for seed in (0, 1, 2**31, 2**32 - 1)]
  assert len({*map(tuple, keys)}) == 4


@pytest.mark.parametrize('seed', (-1, 2**32, 2**63 - 1))
def test_a_seed_that_would_share_the_key_of_another_is_refused(seed):
  with pytest.raises(UserError, match='seed is -?[0-9]+, .*0 to 4294967295'):
    key_of(seed)


@pytest.mark.parametrize('implementation', ('rbg', 'unsafe_rbg'))
def test_keys_are_the_same_whatever_jax_draws_by(implementation):
  expected = key_of(3, 2)
  with jax.default_prng_impl(implementation):
    assert key_of(3, 2) == expected


@pytest.mark.parametrize('several', (False, True))
@pytest.mark.parametrize('placed', (False, True))
def test_no_two_runs_of_a_workdir_have_the_same_stem(several, placed):
  config = {'replicates': 1 + several, 'units': '*@0x1' if placed else None}
  subjects = ('unit', 'direction', 'mask', 'photograph', 'layer')
  layers = ['a', 'a_0001', 'a_layer', 'a_layer_r1', 'a_r1', 'a_direction0001']
  stems = [
    runs.stem(layer, number, 0, 1, replicate, sign, config, subject)
    for subject in subjects
    for layer in layers
    for number in range(1 if subject == 'layer' else 3)
    for replicate in range(1 + several)
    for sign in (1, -1)
  ]
  assert len(stems) == len({*stems})
