"""The command `vizjax`: its help, its subcommands, and what messages name."""

import ast
import json
import pathlib
import re
import subprocess
import sys

import pytest
import test_launchers

import vizjax
from vizjax import __main__ as command

ROOT = pathlib.Path(__file__).parent.parent
CHECKOUT = 'python -m experiments.run --config=configs/demo.py'


def typed(*arguments):
  return test_launchers.finish(test_launchers.start('-m', 'vizjax', *arguments))


def test_help_has_a_line_for_each_subcommand():
  code, out, err = typed('--help')
  assert (code, err) == (0, '')
  lines = out.splitlines()
  assert max(map(len, lines)) <= 80 and len(lines) < 16
  named = [line.split()[0] for line in lines if line.startswith('  ')]
  assert named == [*command.COMMANDS]
  folder = ROOT / 'vizjax' / 'cli'
  modules = {path.stem for path in folder.glob('[!_]*.py')} - {'launch'}
  assert modules == {*named}
  for name, line in zip(named, lines[2:], strict=False):
    docstring = ast.get_docstring(
      ast.parse((folder / f'{name}.py').read_text())
    )
    assert line.split(maxsplit=1)[1] == docstring.splitlines()[0]
    assert f'vizjax {name}' in docstring


def test_the_version_is_told():
  assert typed('--version') == (0, f'vizjax {vizjax.__version__}\n', '')


@pytest.mark.parametrize(
  'name, advice', [('ruin', 'vizjax run'), ('--workdir=x', 'vizjax --help')]
)
def test_an_unknown_subcommand_is_one_line(name, advice):
  code, out, err = typed(name)
  assert (code, out) == (2, '')
  assert re.fullmatch(
    f"'{name}' is no subcommand .* run, .*: type {advice}\n", err
  )


def test_help_comes_before_jax_and_before_other_subcommands():
  program = (
    'import sys\n'
    'from vizjax import __main__\n'
    "sys.argv = ['vizjax', '--help']\n"
    '__main__.main()\n'
    "print({'jax', 'numpy', 'absl', 'vizjax.cli'} & {*sys.modules})"
  )
  code, out, err = test_launchers.finish(test_launchers.start('-c', program))
  assert (code, err) == (0, '')
  assert out.splitlines()[-1] == 'set()'


# A flag of each subcommand, with a part of its meaning.
FLAGS = {
  'run': ('--config', 'yosinski2015, or FILE.py'),
  'atlas': ('--contrast', 'Default: 0.5.'),
  'export': ('--format', 'the import path of a function of your own'),
  'examples': ('--k', 'Photographs of each channel.'),
  'weights': ('--[no]quiet', 'no progress'),
  'validate': ('--labels', "'imagenet', or a file"),
  'act_range': ('--sigmas', 'Standard deviations'),
  'train_generator': ('--workdir', 'Where the generator goes.'),
  'benchmark': ('--suite', 'What is measured'),
  'list': ('--[no]traceback', 'Show where an error comes from.'),
}


def test_each_subcommand_lists_its_flags(tmp_path):
  commands = [[name, '--help'] for name in command.COMMANDS]
  code, out, err = test_launchers.finish(
    test_launchers.start(
      'tests/forked.py', tmp_path, 'vizjax', json.dumps(commands)
    )
  )
  assert (code, json.loads(out)) == (0, [0] * len(commands)), err
  for number, name in enumerate(command.COMMANDS):
    flag, meaning = FLAGS[name]
    text = (tmp_path / f'{number}.out').read_text()
    head, flags = text.split('\nFlags:\n')
    assert f'vizjax {name}' in head
    assert f'  {flag}\n' in flags and meaning in ' '.join(flags.split())
    assert 'traceback' in flags
    assert not (tmp_path / f'{number}.err').read_text()


def test_all_subcommands_can_be_imported_together():
  names = ', '.join(command.COMMANDS)
  program = (
    f'from vizjax.cli import {names}\n'
    'from absl import flags\n'
    'import sys\n'
    "ours = [m for m in flags.FLAGS.flags_by_module_dict() if 'vizjax' in m]\n"
    'assert not ours, ours\n'
    "sys.argv = ['vizjax run', '--config=demo', '--layer=conv5']\n"
    'run.start()'
  )
  run = test_launchers.start('-c', program)
  code, _, err = test_launchers.finish(run)
  assert code == 2 and err.startswith("Unknown command line flag 'layer'"), err


def texts():
  """Yields the path and the text of everything that people read."""
  paths = [ROOT / name for name in ('README.md', 'Makefile', 'setup.py')]
  for folder in ('vizjax', 'docs', 'configs'):
    paths += [p for p in (ROOT / folder).rglob('*') if p.is_file()]
  for path in paths:
    if path.suffix in ('.py', '.md', '.html', '.js', '.css', '.txt', ''):
      yield path.relative_to(ROOT), path.read_text()


def test_no_message_names_a_command_that_an_installed_user_lacks():
  found = [
    (str(path), line)
    for path, text in texts()
    for line in text.splitlines()
    if re.search(r'experiments\.\w|--config=configs/', line)
  ]
  assert len(found) == 1
  assert found[0][0] == 'README.md' and f'`{CHECKOUT}`' in found[0][1]


def test_every_command_that_is_named_is_there():
  named = set()
  for path, text in texts():
    if path.suffix in ('.py', '.md'):
      named |= set(re.findall(r'(?<![\w./])vizjax ([a-z_]+)(?= --\w)', text))
      named |= set(re.findall(r'`vizjax (\w+)`', text))
  assert named <= {*command.COMMANDS}
  assert len(named) > 6


def test_every_launcher_of_a_checkout_is_a_subcommand():
  launchers = [path.stem for path in (ROOT / 'experiments').glob('[!_]*.py')]
  assert sorted(launchers) == sorted(command.COMMANDS)
  for name in launchers:
    text = (ROOT / 'experiments' / f'{name}.py').read_text()
    assert f"command.start('{name}', sys.argv[1:])" in text


def test_the_installed_command_is_the_module():
  installed = pathlib.Path(sys.executable).with_name('vizjax')
  if not installed.exists():
    pytest.skip('vizjax is not installed beside this Python')
  found = subprocess.run(
    [installed, '--version'], capture_output=True, text=True
  )
  assert found.stdout == f'vizjax {vizjax.__version__}\n', found.stderr


def test_help_ends_quietly_where_its_reader_has_gone():
  process = test_launchers.start('-m', 'vizjax', '--help')
  process.stdout.close()
  with process.stderr as err:
    assert (process.wait(60), err.read()) == (0, '')
