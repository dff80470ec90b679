"""Launchers parse their arguments, and answer signals."""

import signal

import pytest
import test_launchers

from experiments import launch
from vizjax import build

WHOLE = """
from ml_collections import config_dict
from vizjax import build


def get_config(form='any'):
  config = build.config()
  config.guide = config_dict.placeholder(str)
  config.rate = 0.5
  config.shape = '8x8'
  if form == 'wrong':
    raise ValueError('no such form')
  return config
"""


def loaded(folder, text, argument='', fields=build.config):
  path = folder / 'mine.py'
  path.write_text(text)
  return launch._loaded(['', '--config', f'{path}{argument}'], fields)


@pytest.mark.parametrize(
  'text, argument, said',
  [
    ('x = 1\ny = x.z\n', '', ":2: AttributeError: 'int' object has no attri"),
    ('def get_config(:\n', '', ':1: invalid syntax'),
    ('import nothere_at_all\n', '', ':1: ModuleNotFoundError: No module named'),
    ("open('/nowhere')\n", '', ':1: FileNotFoundError: .*/nowhere'),
    (WHOLE, ':wrong', ':12: no such form$'),
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
    (
      'def get_config():\n  pass\n',
      ':a',
      r': TypeError: get_config\(\) takes 0',
    ),
  ],
)
def test_an_error_of_a_config_file_is_a_line_with_its_place(
  text, argument, said, tmp_path
):
  with pytest.raises(ValueError, match=f'^{tmp_path}/mine.py{said}'):
    loaded(tmp_path, text, argument)


def test_a_config_is_found_in_either_spelling_and_in_a_flagfile(tmp_path):
  config = loaded(tmp_path, WHOLE, ':other')
  assert config.rate == 0.5
  flagfile = tmp_path / 'flags'
  flagfile.write_text(f'--config={tmp_path / "mine.py"}\n--config.rate=2\n')
  argv = launch._expanded(['', f'--flagfile={flagfile}'])
  assert launch._loaded(argv, build.config).rate == 0.5
  assert launch._loaded(['', '--workdir=x'], build.config) is None


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
  with pytest.raises(
    ValueError, match='expected a value, as --config.rate=0.5'
  ):
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


def test_an_interruption_that_python_drops_is_raised_again():
  run = test_launchers.start('-c', DROPPING)
  code, _, err = test_launchers.finish(run)
  assert code == 130
  assert err == 'interrupted: the same command starts anew\n'


DROPPING = """
import signal
import time
from experiments import launch

class Last:
  def __del__(self):  # Python drops what is raised here
    signal.raise_signal(signal.SIGINT)

def main():
  Last()
  time.sleep(60)

launch.run(main, anew=True)
"""
