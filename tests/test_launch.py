"""Launchers parse their arguments, and answer signals."""

import conftest
import re
import signal
import sys
import types

from absl import flags
import pytest
import test_launchers

from vizjax import __main__ as command
from vizjax import build
from vizjax import recipes
from vizjax.cli import launch
from vizjax.errors import UserError

WHOLE = """
from ml_collections import config_dict
import vizjax
from vizjax import build


def get_config(form='any'):
  config = build.config()
  config.guide = config_dict.placeholder(str)
  config.rate = 0.5
  config.shape = '8x8'
  if form == 'wrong':
    raise vizjax.UserError('no such form')
  return config
"""


def loaded(folder, text, argument='', knobs=build.config):
  path = folder / 'mine.py'
  path.write_text(text)
  typed = ['', '--config', f'{path}{argument}']
  return launch._located(typed, knobs)[1]


@pytest.mark.parametrize(
  'text, argument, said',
  [
    ('def get_config(:\n', '', ':1: invalid syntax'),
    (WHOLE, ':wrong', ':13: no such form$'),
    ('x = 1\nimport sys\nsys.exit(3)\n', '', r':3: sys.exit\(3\) would end'),
    (
      'def get_config():\n  raise SystemExit\n',
      '',
      r':2: sys.exit\(None\) would end .* remove this call$',
    ),
    ('x = 1\n', '', ': the file has no function get_config, '),
    (
      'get_config = lambda: None',
      '',
      ': .* returns None, .*vizjax.build.config',
    ),
    (
      'from ml_collections import ConfigDict\n'
      'get_config = lambda: ConfigDict(dict(model=1))',
      '',
      r': get_config\(\) returns a config without activation, batch, ',
    ),
  ],
)
def test_what_is_wrong_with_a_config_file_is_a_line_with_its_place(
  text, argument, said, tmp_path
):
  with pytest.raises(UserError, match=f'^{tmp_path}/mine.py{said}'):
    loaded(tmp_path, text, argument)


@pytest.mark.parametrize(
  'text, argument, said',
  [
    ('def get_config():\n  pass\n', ':a', "does not take ':a' .*: type --conf"),
    ('def get_config(form):\n  pass\n', '', "take '' .*mine.py:VARIANT$"),
  ],
)
def test_a_variant_is_as_get_config_takes_it(text, argument, said, tmp_path):
  with pytest.raises(UserError, match=said):
    loaded(tmp_path, text, argument)


def test_a_config_is_found_in_either_spelling_and_in_a_flagfile(tmp_path):
  config = loaded(tmp_path, WHOLE, ':other')
  assert config.rate == 0.5
  flagfile = tmp_path / 'flags'
  flagfile.write_text(f'--config={tmp_path / "mine.py"}\n--config.rate=2\n')
  argv = launch._expanded(['', f'--flagfile={flagfile}'])
  argv, config = launch._located(argv, build.config)
  assert argv[1:] == [f'--config={tmp_path / "mine.py"}', '--config.rate=2']
  assert config.rate == 0.5
  argv = ['', '--workdir=x', '--config']
  assert launch._located(argv, build.config) == (argv, None)


def test_a_config_that_is_a_folder_is_called_one(tmp_path):
  with pytest.raises(UserError, match="' is a folder: type --config=FILE.py"):
    launch._located(['', f'--config={tmp_path}'], build.config)


@pytest.mark.parametrize(
  'typed, said',
  [
    (
      '--config.seed=1e3',
      "--config.seed is '1e3', expected an integer: type --config.seed=1000",
    ),
    (
      '--config.seed=1.5',
      "--config.seed is '1.5', expected an integer: type --config.seed=7",
    ),
    (
      '--config.seed=1e999',
      "--config.seed is '1e999', expected an integer: type --config.seed=7",
    ),
    ('--port=abc', "--port is 'abc', expected an integer: type --port=1"),
    (
      '--columns=2e3',
      "--columns is '2e3', expected an integer in the range [2, 1000]: "
      'type --columns=2',
    ),
    ('--rate=a: b', "--rate is 'a: b', expected a number: type --rate=0.5"),
    (
      '--dry=maybe',
      "--dry is 'maybe', expected true or false: type --dry=true or "
      '--dry=false',
    ),
    ('--way=pgn', "--way is 'pgn', expected one of gif, png: type --way=png"),
    (
      '--port',
      'Missing value for flag --port: type --port=VALUE',
    ),
  ],
)
def test_a_value_of_another_type_is_a_line_of_plain_words(
  typed, said, monkeypatch
):
  monkeypatch.setattr(flags, 'FLAGS', flags.FlagValues())
  given = {'flag_values': flags.FLAGS}
  flags.DEFINE_integer('config.seed', 7, '', **given)
  flags.DEFINE_integer('port', None, '', **given)
  flags.DEFINE_integer('columns', None, '', 2, 1000, **given)
  flags.DEFINE_float('rate', 0.5, '', **given)
  flags.DEFINE_bool('dry', False, '', **given)
  flags.DEFINE_enum('way', None, ['gif', 'png'], '', **given)
  with pytest.raises(flags.Error) as error:
    flags.FLAGS(['', typed])
  assert launch._explain(error.value) == said


def test_knobs_go_back_to_none(tmp_path):
  config = loaded(tmp_path, WHOLE)
  argv = [
    '',
    '--config.shape=none',
    '--config.guide=None',
    '--config.batch=none',
  ]
  # A text knob that is never None takes 'none' as a text.
  rest = ['--config.prior=none', '--workdir=none', '--config.nothing=none']
  assert launch._without_none([*argv, *rest], config) == (
    ['', *rest],
    ['shape', 'guide', 'batch'],
  )
  with pytest.raises(UserError, match='expected a value, as --config.rate=0.5'):
    launch._without_none(['--config.rate=none'], config)
  assert launch._without_none(argv, None) == (argv, [])


def test_a_home_directory_is_known_in_every_flag(monkeypatch):
  monkeypatch.setenv('HOME', '/home/me')
  for given, expected in (
    ('--workdir=~/out', '--workdir=/home/me/out'),
    ('--config.photograph=~/a.jpg', '--config.photograph=/home/me/a.jpg'),
    ('--dataset=folder', '--dataset=folder'),
    ('~/out', '~/out'),  # which the shell expands
    ('--config.data=a=~/b', '--config.data=a=~/b'),
  ):
    assert launch._at_home(given) == expected


def test_nohup_keeps_a_run_alive_and_every_other_signal_stops_it():
  before = {n: signal.getsignal(n) for n in launch._STOPS}
  try:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with launch.patient() as stop:
      signal.raise_signal(signal.SIGHUP)
      stop()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for number in launch._STOPS:
      with launch.patient() as stop:
        stop()
        signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt) as first:
          stop()
        with pytest.raises(KeyboardInterrupt) as second:
          signal.raise_signal(number)
      assert first.value.args == second.value.args == (number,)
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def test_ctrl_c_while_modules_are_imported_is_one_line(monkeypatch, capfd):
  before = signal.getsignal(signal.SIGINT)
  monkeypatch.setattr(sys, 'argv', [])
  started = types.SimpleNamespace(start=lambda: None)
  monkeypatch.setattr(command.importlib, 'import_module', lambda name: started)
  try:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    command.start('run', ['--config=demo'])
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command.start('run', ['--config=demo'])
    assert sys.argv == ['vizjax run', '--config=demo']
    left = []
    monkeypatch.setattr(command.os, '_exit', left.append)
    signal.raise_signal(signal.SIGINT)
    assert left == [130]
    assert capfd.readouterr().err == (
      'interrupted before it began: type the same command again\n'
    )
  finally:
    signal.signal(signal.SIGINT, before)


def test_an_interruption_that_python_drops_is_raised_again():
  run = test_launchers.start('-c', DROPPING)
  code, _, err = test_launchers.finish(run)
  assert code == 130
  assert err == 'interrupted: the same command starts anew\n'


DROPPING = """
import signal
import time
from vizjax.cli import launch

class Last:
  def __del__(self):  # Python drops what is raised here
    signal.raise_signal(signal.SIGINT)

def main():
  Last()
  time.sleep(60)

launch.run(main, anew=True)
"""


PLANTED = """
import numpy as np
import vizjax
from vizjax.cli import launch

def main():
  {}

launch.run(main)
"""


@pytest.mark.parametrize(
  'text, status, said',
  [
    # A bug of a launcher, and of a package that it calls.
    (
      'undefined',
      1,
      r'Traceback .*NameError: .*This is a bug of vizjax: pleas',
    ),
    *conftest.slow(
      ('vizjax.core.key(None)', 1, r'Traceback .*TypeError: .*please report it')
    ),
    ('vizjax.core.key(-1)', 2, r'^seed is -1, expected .* to 4294967295\n$'),
    ("open('/nowhere')", 2, r"^'/nowhere' cannot be used \(No such .*\n$"),
    (
      'np.empty(2**50)',
      2,
      r'^there is not enough memory \(.* a smaller --.*\n$',
    ),
  ],
)
def test_a_bug_shows_its_traceback_and_a_refusal_is_a_line(text, status, said):
  run = test_launchers.start('-c', PLANTED.format(text))
  code, _, err = test_launchers.finish(run)
  assert code == status
  assert re.search(said, err, re.DOTALL)
  assert (err.count('\n') == 1) == (status == 2)


def test_an_end_that_a_launcher_asks_for_is_no_bug():
  run = test_launchers.start('-c', PLANTED.format('raise SystemExit(7)'))
  assert test_launchers.finish(run) == (7, '', '')
  run = test_launchers.start('-c', PLANTED.format('pass'), '--help')
  code, out, err = test_launchers.finish(run)
  assert code == 0 and '--[no]traceback\n' in out and not err


@pytest.mark.parametrize(
  'where, fails, said',
  [
    ('config', '1 / 0', 'ZeroDivisionError: division by zero'),
    ('term', '1 / 0', 'ZeroDivisionError: division by zero'),
    *conftest.slow(
      ('factory', '1 / 0', 'ZeroDivisionError: division by zero'),
      ('term', "acts['conv2'] @ [1]", 'TypeError: '),  # raised by JAX
      ('term', "open('/nowhere')", 'FileNotFoundError: '),
      ('term', 'sys.exit(0)', 'SystemExit: 0'),
    ),
    (
      'term',
      "called_back() + acts['conv1'].mean()",
      'jax.errors.JaxRuntimeError: ',
    ),  # while it runs, behind JAX
  ],
)
def test_an_error_of_the_users_own_file_is_its_place(
  where, fails, said, tmp_path
):
  mine = tmp_path / 'mine.py'
  mine.write_text(OWN.replace('1 / 0', fails))
  form = f':{where}' if where == 'config' else ''
  run = test_launchers.start(
    '-m',
    'vizjax',
    'run',
    f'--config={mine}{form}',
    f'--config.objective=mine.{where}()',
    f'--workdir={tmp_path / "w"}',
    folders=[tmp_path],
  )
  code, out, err = test_launchers.finish(run)
  at = 'lookup' if 'called' in fails else where
  line = [i for i, text in enumerate(OWN.splitlines(), 1) if f'# {at}' in text]
  assert code == 1
  assert 'Traceback ' in err and 'please report' not in err
  last = err.splitlines()[-1]
  assert last.startswith(f'in your {mine}:{line[0]}: {said}')


OWN = """
import sys

import jax
import numpy as np
from vizjax import build

def get_config(form=''):
  if form == 'config':
    return 1 / 0  # config
  config = build.config()
  config.model = 'toynets.net()'
  config.layer = 'conv2'
  return config

def factory(divided=True):
  if divided:
    return 1 / 0  # factory

def called_back():
  lookup = lambda: {}[3]  # lookup
  like = jax.ShapeDtypeStruct((), np.float32)
  return jax.pure_callback(lookup, like, vmap_method='sequential')

def term():
  def score(acts, target):
    return 1 / 0  # term

  return score
"""


def test_a_recipe_that_is_named_is_a_path_for_ml_collections(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  for name in ('demo', 'yosinski2015:3'):
    file, _, form = name.partition(':')
    path = str(recipes.find(name)) + f':{form}' * bool(form)
    for argv in (['', f'--config={name}'], ['', '-config', name]):
      found, config = launch._located(argv, build.config)
      assert found == [word.replace(name, path) for word in argv]
      assert config.model == "load('alexnet_features')" or file != 'demo'


def test_a_folder_with_a_colon_is_no_argument(tmp_path, monkeypatch):
  folder = tmp_path / 'a:b' / 'configs'
  folder.mkdir(parents=True)
  (folder / 'mine.py').write_text(WHOLE)
  monkeypatch.setattr(recipes, '_PACKAGE', folder.parent)
  monkeypatch.chdir(folder.parent)
  argv, _ = launch._located(['', '--config=mine:other'], build.config)
  assert argv[1] == '--config=configs/mine.py:other'
  monkeypatch.chdir(folder)
  (folder / 'mine.py').rename(folder / 'another.py')
  argv, _ = launch._located(['', '--config=another'], build.config)
  assert argv[1] == '--config=another.py'


def test_a_recipe_of_the_user_is_told_once(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'demo.py').write_text(WHOLE)
  with pytest.warns(UserWarning, match='is your file') as told:
    launch._located(['', '--config=demo'], build.config)
  assert len(told) == 1
