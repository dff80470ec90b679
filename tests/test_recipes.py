"""Recipes are found by name and by path, and their mistakes are told."""

import pathlib
import warnings

from ml_collections import config_dict
import pytest

from vizjax import build
from vizjax import recipes
from vizjax.errors import UserError

CONFIGS = pathlib.Path(__file__).parent.parent / 'configs'
MINE = (
  'from vizjax import build\n\n\ndef get_config():\n  return build.config()\n'
)


def test_a_recipe_is_found_by_its_name_in_any_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert recipes.names() == sorted(path.stem for path in CONFIGS.glob('*.py'))
  for name in recipes.names():
    assert recipes.find(name).samefile(CONFIGS / f'{name}.py')
  assert recipes.find('yosinski2015:3').samefile(CONFIGS / 'yosinski2015.py')
  assert recipes.find(f'{CONFIGS}/demo.py:x') == CONFIGS / 'demo.py'


def test_the_argument_of_a_name_chooses_the_variant():
  third = recipes.load('yosinski2015:3', build.config)
  assert isinstance(third, config_dict.ConfigDict)
  assert third == recipes.load(f'{CONFIGS}/yosinski2015.py:3', build.config)
  assert third != recipes.load('yosinski2015:1', build.config)


@pytest.mark.parametrize(
  'name, parts',
  [
    ('demo', ('demo', None)),
    ('demo:', ('demo', '')),
    ('a.py:b:c', ('a.py', 'b:c')),
    ('C:\\a.py', ('C:\\a.py', None)),
    ('C:/a.py:b', ('C:/a.py', 'b')),
  ],
)
def test_a_name_ends_at_its_first_colon(name, parts):
  assert recipes.split(name) == parts


@pytest.mark.parametrize('place', ['demo.py', 'configs/demo.py'])
def test_a_file_of_the_user_wins_and_a_warning_says_so(
  place, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  own = tmp_path / place
  own.parent.mkdir(exist_ok=True)
  own.write_text(MINE)
  with pytest.warns(UserWarning) as told:
    config = recipes.load('demo', build.config, '--config')
  assert config == build.config()
  assert [str(warning.message) for warning in told] == [
    f'--config=demo is your file {place!r}: for the recipe of vizjax type '
    f'--config={CONFIGS / "demo.py"}'
  ]


def test_a_file_that_shadows_nothing_is_taken_in_silence(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ('mine.py', 'plain'):
    (tmp_path / name).write_text(MINE)
  (tmp_path / 'demo').write_text('not a recipe')
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    for name in ('mine', 'mine.py', 'plain'):
      assert recipes.load(name, build.config) == build.config()
    assert recipes.find('demo').samefile(CONFIGS / 'demo.py')
    monkeypatch.chdir(CONFIGS.parent)
    assert recipes.find('demo').samefile(CONFIGS / 'demo.py')


@pytest.mark.parametrize(
  'name, by, advice',
  [
    ('demon', '--config', 'type --config=demo$'),
    ('demon', 'recipe', "type recipe='demo'$"),
    ('configs/olah2017.py', '--config', 'type --config=olah2017$'),
    ('cat:3', '--config', 'type --config=NAME or --config=FILE.py$'),
    ('', 'recipe', "type recipe='NAME' or recipe='FILE.py'$"),
  ],
)
def test_an_unknown_name_is_told_with_the_names(
  name, by, advice, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  named = repr(name.partition(':')[0])
  said = f'^there is no recipe and no file {named}, expected one of classes, '
  with pytest.raises(UserError, match=f'{said}.*yosinski2015, .*: {advice}'):
    recipes.find(name, by)
