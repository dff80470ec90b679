"""What docs/from_other_tools.md says is there."""

import pathlib
import re

import pytest
import test_configs

from vizjax.build import vocabulary

ROOT = pathlib.Path(__file__).parent.parent
TEXT = (ROOT / 'docs' / 'from_other_tools.md').read_text()
SECTIONS = {part.split('\n', 1)[0]: part for part in TEXT.split('\n## ')[1:]}
CONFIGS = {
  'deep-visualization-toolbox: optimize_image.py': [('yosinski2015', '3')],
  'cnnpref': [
    ('cnnpref', 'gd_lower'),
    ('cnnpref', 'lbfgs_lower'),
    ('cnnpref', 'dgn_gd_lower'),
  ],
  'synthesizing: act_max.py': [
    ('nguyen2016', 'activate_output'),
    ('nguyen2016', 'real_image'),
  ],
  'cnn-vis': [('cnn_vis', 'example1'), ('cnn_vis', 'neuron')],
  'DeepDream': [('deepdream', 'plain'), ('deepdream', 'zoom')],
  'neural-style': [('gatys2016', 'vgg19'), ('gatys2016', 'own')],
  'Feature inversion': [('mahendran2015', 'library'), ('inversion', 'cs231n')],
  'lucid and lucent': [('olah2017', None)],
  'Class visualisation': [('simonyan2013', None), ('cs231n', None)],
}


@pytest.mark.parametrize('section', SECTIONS)
def test_every_knob_is_there(section):
  configs = [test_configs.load(*name) for name in CONFIGS[section]]
  text = SECTIONS[section]
  knobs = re.findall(r'--config\.(\w+)', text)
  # `--config.rate_start`, `rate_end`
  knobs += re.findall(r'config\.\w+`[^|]*, `(\w+_end)`', text)
  assert len(knobs) > 1
  for knob in knobs:
    assert any(knob in config for config in configs), knob


FORMULAS = re.findall(r"--config\.(\w+)='([^']*\([^']*)'", TEXT)


@pytest.mark.parametrize('field, formula', FORMULAS)
def test_every_formula_is_one(field, formula, model):
  config = test_configs.load('yosinski2015', '3')
  noted = vocabulary.noted(config, {})
  knobs = vocabulary.at(noted, model, 'conv2').replaced({'jitter': 4})
  with config.unlocked():
    config[field] = formula.replace('\\|', '|')
  assert vocabulary.links(config, field, knobs)
