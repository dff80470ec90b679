"""What a formula may say, what it means, and what it may not say."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vizjax import core
from vizjax import errors
from vizjax import formula
from vizjax import objectives
from vizjax import projections
from vizjax import targets
from vizjax import transforms
from vizjax.errors import UserError

MODULES = (transforms, projections, objectives)
KNOBS = {'layer': 'conv5', 'decay': 0.25, 'n': 3, 'size': 0.5, 'none': None}

# A few float32 products.
FLOAT32 = 1e-5


def evaluate(text, modules=MODULES):
  return formula.evaluate(text, modules, KNOBS)


def chain(text):
  return formula.chain(text, MODULES, KNOBS)


def records(text):
  return formula.records(text, (objectives,), KNOBS)


def score(term):
  """A term of the activations below, as a number."""
  acts = {'conv5': jnp.array([1.0, -2.0, 4.0]), 'centered': jnp.full(4, 3.0)}
  return float(term(acts, {'direction': jnp.array([2.0, 0.5, 1.0])}))


# The value of three terms on those activations.
MEAN, SQUARES, SIZES = 1.0, 36.0, 12.0


@pytest.mark.parametrize(
  ('text', 'value'),
  [
    ('1 + 2 * 3', 7),
    ('(1 + 2) * 3', 9),
    ('8 - 2 - 1', 5),
    ('8 / 4 / 2', 1.0),
    ('8 / (4 / 2)', 4.0),
    ('-2 * -3', 6),
    ('- - 2', 2),
    ('2 - -1', 3),
    ('-(1 + 2)', -3),
    ('1e-3', 0.001),
    ('.5 + 1.', 1.5),
    ('n / 4', 0.75),
    ('decay * n - size', 0.25),
    ('  7 ', 7),
    ("'a | b'", 'a | b'),
    ('layer', 'conv5'),
    ('none', None),
    ('None', None),
    ('True', True),
    ('()', ()),
    ('1, n, "a"', (1, 3, 'a')),
    ('(1, (2, 3 + 1))', (1, (2, 4))),
  ],
)
def test_values_and_precedence(text, value):
  found = evaluate(text)
  assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
  ('text', 'value'),
  [
    ('layer(layer)', MEAN),
    ("layer('conv5')", MEAN),
    ('layer(name=layer)', MEAN),
    ('layer(layer) - 0.1 * l2()', MEAN - 0.1 * SQUARES),
    ('l2() + layer(layer) * l1()', SQUARES + MEAN * SIZES),
    ('(l2() + layer(layer)) * l1()', (SQUARES + MEAN) * SIZES),
    ('l2() - l1() - 3', SQUARES - SIZES - 3),
    ('3 - (l2() - l1())', 3 - (SQUARES - SIZES)),
    ('l2() / l1() / n', SQUARES / SIZES / 3),
    ('-l2()', -SQUARES),
    ('--l2() * -decay', -SQUARES * 0.25),
    ('2 / l1()', 2 / SIZES),
    ('l2() * (1 + 2)', SQUARES * 3),
    ('-(l2() - l1()) / 2', -(SQUARES - SIZES) / 2),
    ('direction(layer, power=0.)', 5.0),
  ],
)
def test_terms_are_added_and_multiplied_as_their_values(text, value):
  np.testing.assert_allclose(score(evaluate(text)), value, rtol=FLOAT32)


def test_makers_take_part_in_arithmetic_too():
  make = evaluate('one_hot(2) - 0.5 * one_hot(1)', (targets,))
  assert make((4,), 0).tolist() == [0, -0.5, 1, 0]


def test_schedules_are_arguments():
  [decay] = formula.chain(
    'l2_decay(linear_schedule(decay, 0.75, 2))',
    (projections, optax.schedules),
    KNOBS,
  )
  params = jnp.ones((1, 1, 3))
  made = [float(decay(params, params, s)[0, 0, 0]) for s in jnp.arange(3)]
  assert made == [0.75, 0.5, 0.25]


def test_a_chain_has_its_links_in_order():
  links = chain('pad(2) | jitter(n) | random_crops(2, 5, 6)')
  views = jnp.zeros((1, 9, 9, 3))
  shapes = []
  for link in links:
    draw = core.Draw(jax.random.key(0), jnp.array(0), {})
    views = jax.eval_shape(link, draw, views)
    shapes.append(views.shape)
  assert shapes == [(1, 13, 13, 3), (1, 10, 10, 3), (2, 5, 6, 3)]


def test_a_chain_may_be_of_one_link_or_none():
  assert chain('') == chain('  \n') == ()
  assert chain('1') == (1,)
  assert chain('1 | 2 + 3 | n') == (1, 5, 3)
  assert chain('(1 | 2) | n') == (1, 2, 3)


def test_only_a_chain_has_links():
  for text in ('1 | 2', 'every(2, l2_decay(.1) | l2_decay(.2))'):
    with pytest.raises(UserError, match='is not of its grammar'):
      evaluate(text)
  with pytest.raises(UserError, match='is not a formula'):
    chain('1 | ')


def test_records_have_names():
  found = records('mean = layer(layer), square = l2() * 2')
  assert list(found) == ['mean', 'square']
  assert score(found['mean']) == MEAN
  assert score(found['square']) == 2 * SQUARES
  assert records('') == records(' ') == {}
  assert list(records('a = l1(),')) == ['a']


@pytest.mark.parametrize(
  'text',
  [
    'l2()',
    'a = l1(), l2()',
    'a = l1()) + (b = l2()',
    'a = l1()).get(b = l2()',
    'a = l1())(b = l2()',
    '**decay',
    '*decay',
    'a = l1(), a = l2()',
    'a == l1()',
    'a.b = l1()',
    '1 = l1()',
    ',',
  ],
)
def test_what_is_no_list_of_records_is_refused(text):
  with pytest.raises(UserError):
    records(text)


def test_a_list_without_names_says_what_to_type():
  with pytest.raises(UserError, match='type name = formula, as'):
    records('l2()')


def test_all_calls_are_told():
  text = "neuron(layer) - .1 * p.q(3, of='a', s=size, t=f(1))"
  assert {*formula.called(text, MODULES)} == {'f', 'neuron', 'p.q'}
  with pytest.raises(UserError, match='is not a formula'):
    formula.called('neuron(', MODULES)
  # As long a name as fits is read without recursion.
  name = 'a' + '.b' * 990
  assert formula.called(f'{name}()', MODULES) == {name: None}


def test_a_dotted_name_is_a_function_of_a_package():
  assert callable(evaluate('vizjax.objectives.l2()'))
  schedule = evaluate('schedules.constant_schedule(2.)', (optax,))
  assert schedule(0) == 2.0


def test_knobs_note_what_is_read_and_the_texts_that_functions_get(monkeypatch):
  pair = lambda names: 1.0
  monkeypatch.setattr(pair, '__module__', 'vizjax.objectives')
  monkeypatch.setattr(objectives, 'pair', pair, raising=False)
  knobs = formula.Noted(KNOBS | {'of': 'view'})
  text = 'neuron(layer) - decay * l2(of="image") + n + pair((of, "relu4", 2))'
  formula.evaluate(text, MODULES, knobs)
  assert knobs.names == {'layer', 'decay', 'n', 'of'}
  assert knobs.strings == {'conv5', 'image', 'view', 'relu4'}
  fresh = formula.Noted(KNOBS)
  assert not fresh.names and not fresh.strings
  assert formula.evaluate('layer', MODULES, fresh) == 'conv5'
  assert fresh.names == {'layer'} and not fresh.strings


def test_what_a_formula_calls_is_told_without_a_call_or_an_import():
  found = formula.called('l2() + my_nothing.f(p.q(neuron(layer)))', MODULES)
  assert found == {
    'l2': objectives.l2,
    'neuron': objectives.neuron,
    'my_nothing.f': None,
    'p.q': None,
  }


@pytest.mark.parametrize(
  ('text', 'match'),
  [
    ('neurn(layer)', "no function 'neurn'; did you mean 'neuron'?"),
    ('total_variaton()', "did you mean 'total_variation'?"),
    ('neuron(layr)', "no knob 'layr'; did you mean 'layer'?"),
    ('decey * l2()', "no knob 'decey'; did you mean 'decay'?"),
    ('qqqqqq()', "no function 'qqqqqq'; there are amplify_layer, .*jitter"),
    ('qqqqqq', "no knob 'qqqqqq'; knobs: there are decay, layer, n"),
    (
      'vizjax.objectives.neurn(layer)',
      "no function of vizjax.objectives; did you mean 'neuron'?",
    ),
    ('_layer(1, 2)', "'_layer' is private"),
    ('vizjax.objectives._at(1, 2)', 'is private'),
    ('core.Unit(1, 2, 3)', "'core.Unit' cannot be imported"),
    ('vizjax.core.Unit(1, 2, 3)', 'is no function of vizjax.core'),
    ('no_such_lab.terms.f()', "'no_such_lab.terms.f' cannot be imported"),
  ],
)
def test_a_name_that_is_not_a_function_is_told_why(text, match):
  with pytest.raises(UserError, match=match) as error:
    evaluate(text)
  assert repr(text) in str(error.value)


@pytest.mark.parametrize(
  ('text', 'match'),
  [
    ('neuron()', r'neuron\(layer, read\) does not take these arguments'),
    ('neuron(layer, 1, 2, 3)', 'does not take these arguments'),
    ('neuron(leyer=layer)', "missing a required argument: 'layer'"),
    ('neuron(3)', r"\(layer, read\) is given layer=3, .* type '3'"),
    ("jitter('8')", r"jitter\(d\) is given d='8', expected a number"),
    ('clip_pixels(3)', r'is given model=3, expected a Model'),
    ("l2_decay('a')", "is given .*='a', expected a number"),
    ('jitter', r"no knob 'jitter'; it is a function: type jitter\(...\)"),
    ('pad(-1)', 'pad: w is -1'),
    ('jitter(d=1, d=2)', 'jitter'),
    ('gaussian_blur(1e999)', 'gaussian_blur'),
    ("gaussian_blur('1')", 'gaussian_blur'),
    ('1 / 0', 'division by zero'),
    ('1 + none', 'only numbers and functions'),
    ('layer * 3', "not 'conv5'"),
    ('True + 1', 'not True'),
    ('-layer', "not 'conv5'"),
    ('jitter(3) + 1', 'only numbers and functions'),
    ('l2() + jitter(3)', 'only numbers and functions'),
    ('(1, 2) * 3', r'not \(1, 2\)'),
  ],
)
def test_arguments_and_operands_that_do_not_fit(text, match):
  with pytest.raises(UserError, match=match):
    evaluate(text)


# Separated by three spaces.
REFUSED = """\
os.system('ls')   __import__('os')   open('x')   eval('1')   exec('1')
print(1)   getattr(layer, 'upper')   globals()   neuron.__class__
neuron.__class__()   l2().__class__   layer.upper()   'x'.join(layer)
(1).bit_length()   1.5.hex()   ....jitter(8)   ....open('x')   ...
math.sqrt(2)   subprocess.run('ls')   importlib.import_module('os')
jax.os.system('ls')   vizjax.targets.os.system('ls')
vizjax.objectives.jax.jit(l2)   _layer(layer)   vizjax.objectives._layer(1, 2)
vizjax._private.f()   __class__()   neuron   l2   lambda: 1   (lambda: 1)()
[1 for i in (1, 2)]   l2(i for i in (1, 2))   {1, 2}   {1: 2}   [1, 2]
layer[0]   l2()[0]   l2()()   2 ** 3   l2() ** 2   7 // 2   7 % 2   1 << 9
1 @ 2   1 & 2   1 ^ 2   ~1   +1   not 1   1 < 2   1 and 2   1 if 2 else 3
n := 3   (n := 3)   n = 3   import os   1; 2   await l2()   yield 1   f'{n}'
b'a'   2j   *layer   (*layer, 1)   l2(*layer)   l2(**layer)   1 +   )   (   '
#
""".replace('\n', '   ').split('   ')

ODD = [
  '1\n2',
  '\\',
  '1\x00',
  '\x00',
  'l2(\x00)',
  '\ud800',
  '\N{SNOWMAN}',
  '\N{SUPERSCRIPT TWO}',
  'l2()\N{MULTIPLICATION SIGN}2',
  '\N{FULLWIDTH DIGIT ONE}',
]


@pytest.mark.parametrize('text', [*REFUSED, *ODD])
def test_nothing_else_is_of_the_grammar(text):
  with pytest.raises(UserError):
    evaluate(text)


def test_refusing_does_nothing(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for text in (
    "os.mkdir('made')",
    "pathlib.Path('made').mkdir()",
    "open('made', 'w')",
    "__import__('os').mkdir('made')",
    'l2(os.mkdir("made"))',
  ):
    with pytest.raises(UserError):
      evaluate(text)
  assert not list(tmp_path.iterdir())


def test_a_formula_is_at_most_2000_characters():
  assert evaluate('1' + '+1' * 99) == 100
  with pytest.raises(UserError, match='has 2001 characters, expected'):
    evaluate('1' * 2001)
  assert evaluate(' ' * 1999 + '1') == 1


@pytest.mark.parametrize(
  'text',
  [
    '(' * 10000 + '1' + ')' * 10000,
    '-' * 10000 + '1',
    'l2(' * 10000 + ')' * 10000,
    '(' * 999 + '1' + ')' * 999,
    '-' * 1990 + '1',
    'every(1, ' * 200 + 'l2_decay(.1)',
    'a' + '.b' * 990 + '()',
    'a' + '.b' * 990,
    'a' + '()' * 990,
    'layer' + '[0]' * 600,
  ],
)
def test_nesting_has_an_end(text):
  with pytest.raises(UserError):
    evaluate(text)


def test_what_nests_is_a_value_or_too_deep():
  for depth in range(50, 1000, 190):
    for text in ('-' * depth + '1', '1' + '+1' * depth, '1-(' * (depth // 10)):
      try:
        value = evaluate(text)
      except ValueError:
        continue
      assert value in (1, -1, depth + 1)


SEEDS = [
  'neuron(layer) - 0.1 * total_variation()',
  'l2_decay(decay) | every(4, gaussian_blur(1.)) | drop_small_norms(5.)',
  'pad(12) | jitter(8) | scale(.9, 1.1) | rotate(10.) | jitter(4)',
  "direction(layer, 2.) + -(l1(of='image') / n) * p_norm(6., 80.)",
  'norm = l2_norm(), std = std() * (2 - size)',
  'vizjax.objectives.neuron(layer, read="relu5")',
]
ALPHABET = '()()..,,||++--*/=\'"0159 _:[]{}<>@#\\\n\0aelnorst\xe9\N{SNOWMAN}'


def mutated(text, draw):
  """A formula with up to four characters replaced, put in or left out."""
  for _ in range(draw.randint(1, 4)):
    at = draw.randrange(len(text) + 1)
    kind = draw.randrange(4)
    piece = '' if kind == 0 else draw.choice(ALPHABET)
    if kind == 3:  # a piece of the formula itself
      start = draw.randrange(len(text) + 1)
      piece = text[start : start + draw.randint(1, 12)]
    text = text[:at] + piece + text[at + (kind < 2) :]
  return text


def test_any_mutation_is_a_value_or_a_value_error():
  draw = random.Random(0)
  values = 0
  for i in range(2000):
    text = mutated(SEEDS[i % len(SEEDS)], draw)
    for read in (chain, records):
      try:
        read(text)
        values += 1
      except ValueError as error:
        assert str(error)
    try:
      formula.called(text, MODULES)
    except ValueError:
      pass
  assert 20 < values < 3000  # some of both


def test_an_error_inside_a_function_is_not_one_of_the_call(monkeypatch):
  """The call is right: the place says whose mistake it is."""

  def wrong(layer):
    return layer + 1

  monkeypatch.setattr(wrong, '__module__', 'vizjax.objectives')
  monkeypatch.setattr(objectives, 'wrong', wrong, raising=False)
  line = wrong.__code__.co_firstlineno + 1
  with pytest.raises(TypeError, match='can only concatenate str') as e:
    formula.evaluate('wrong(layer)', (objectives,), KNOBS)
  assert errors.place(e.value) == f'{__file__}:{line}'


def test_a_function_that_ends_the_program_is_an_error(tmp_path, monkeypatch):
  text = 'import sys\ndef f():\n  sys.exit(3)\n'
  (tmp_path / 'my_ending.py').write_text(text)
  (tmp_path / 'my_end.py').write_text('import sys\nsys.exit(3)\n')
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(UserError, match=r'f\(\) calls sys.exit\(3\) at .*py:3'):
    evaluate('my_ending.f()')
  with pytest.raises(UserError, match='my_end calls sys.exit.3'):
    evaluate('my_end.f()')


def test_an_error_of_a_function_of_ones_own_is_left_as_it_is(
  tmp_path, monkeypatch
):
  (tmp_path / 'my_fault.py').write_text('def f():\n  return 1 / 0\n')
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(ZeroDivisionError) as error:
    evaluate('my_fault.f()')
  assert errors.place(error.value) == f'{tmp_path}/my_fault.py:2'


def test_a_module_of_ones_own_that_cannot_be_imported_has_its_place(
  tmp_path, monkeypatch
):
  (tmp_path / 'my_typo.py').write_text('def f(:\n')
  (tmp_path / 'my_import.py').write_text('\nimport nothing_of_this_name\n')
  monkeypatch.syspath_prepend(tmp_path)
  match = (
    f'my_typo.f.* cannot be imported: {tmp_path}/my_typo.py:1: invalid syn'
  )
  with pytest.raises(UserError, match=match):
    evaluate('my_typo.f()')
  with pytest.raises(
    ModuleNotFoundError, match='nothing_of_this_name'
  ) as error:
    evaluate('my_import.f()')
  assert errors.place(error.value) == f'{tmp_path}/my_import.py:2'
  with pytest.raises(UserError, match="No module named 'my_nothing'"):
    evaluate('my_nothing.f()')


def test_an_error_of_an_installed_function_names_the_call():
  match = r'schedule\(\) fails at .*optax.*\.py:\d+ \(ValueError: .* positive'
  with pytest.raises(UserError, match=match):
    evaluate('optax.cosine_decay_schedule(1., -5)')
