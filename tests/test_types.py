"""What a type checker says of the README's first examples.

`make lint` runs the same checker on vizjax itself.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()
WRONG = "vizjax.Unit('9')"


def errors(folder):
  """Returns (file, rule) of each error in the files of a folder."""
  settings = {'typeCheckingMode': 'standard', 'extraPaths': [str(ROOT)]}
  (folder / 'pyrightconfig.json').write_text(json.dumps(settings))
  command = [sys.executable, '-m', 'basedpyright', '--outputjson']
  command += ['--project', str(folder), '--pythonpath', sys.executable]
  said = json.loads(subprocess.run(command, capture_output=True).stdout)
  assert said['summary']['filesAnalyzed'] == len([*folder.glob('*.py')])
  return {
    (pathlib.Path(one['file']).name, one['rule'])
    for one in said['generalDiagnostics']
    if one['severity'] == 'error'
  }


def test_the_examples_have_no_error_and_a_wrong_unit_has_one(tmp_path):
  first, second, example = re.findall(
    r'```python\n(.*?)```', README, re.DOTALL
  )[:3]
  wrong = example.replace('vizjax.Unit(9)', WRONG)
  assert WRONG in wrong
  (tmp_path / 'first.py').write_text(first + second)
  (tmp_path / 'example.py').write_text(example)
  (tmp_path / 'wrong.py').write_text(wrong)
  assert errors(tmp_path) == {('wrong.py', 'reportArgumentType')}


def test_the_package_says_that_it_has_types():
  """Type checkers ignore the annotations of a package without this file."""
  assert (ROOT / 'vizjax' / 'py.typed').exists()
  assert "'py.typed'" in (ROOT / 'setup.py').read_text()
