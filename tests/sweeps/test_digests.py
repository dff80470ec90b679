"""What a resume compares: weights, data, programs, versions; and format 1."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import types

import conftest
import jax
import numpy as np
from PIL import Image
import pytest
import test_sweep

from vizjax import build
from vizjax.atlas import site
from vizjax.errors import UserError
from vizjax.export import selecting
from vizjax.sweeps import digests
from vizjax.sweeps import format1
from vizjax.sweeps import provenance
from vizjax.sweeps import sweep
from vizjax.workdir import store

pytestmark = pytest.mark.usefixtures('quickly')
COMPARES_PROGRAMS = True

few, execute = test_sweep.few, test_sweep.execute

OWN = """
import dataclasses
import conftest
from jax.tree_util import Partial
import numpy as np

WEIGHTS = np.array([1, 2, 3, 4], np.float32)
SCALE = 2.0


def weighted(layer):
  def term(acts, target):
    return SCALE * (acts[layer][0, 0] @ WEIGHTS)

  return term


def tinted(strength=3):
  def transform(tint, draw, views):
    return views + tint

  return Partial(transform, np.full((1, 1, 1, 3), strength, np.float32))


def net():
  model = conftest.toy()
  apply = lambda params, image: model.apply(params, 1 * image)
  return dataclasses.replace(model, apply=apply)
"""


@pytest.fixture
def own(monkeypatch):
  """Returns a function that makes OWN, changed, a module that formulas name."""

  def make(was='', now=''):
    assert was in OWN
    module = types.ModuleType('own_terms')
    exec(OWN.replace(was, now) if was else OWN, module.__dict__)
    monkeypatch.setitem(sys.modules, 'own_terms', module)

  make()
  return make


@pytest.fixture
def versions(monkeypatch):
  """Returns a function that changes the versions of this process."""
  true = provenance.versions()

  def change(**changes):
    monkeypatch.setattr(provenance, 'versions', lambda: true | changes)

  return change


def read(workdir):
  return json.loads((workdir / 'config.json').read_text())


def of(c):
  """The digests of the programs of the first layer of a config."""
  plan = sweep.plan(build.request(c))
  return sweep._programs(plan.request, plan.layers[0])


def aged(workdir, c):
  """Turns a workdir into one of format 1."""
  found = read(workdir)
  for name in ('format', 'digests', 'makers'):
    del found[name]
  found['fingerprint'] = sweep._fingerprint(
    sweep.plan(build.request(c)), store.WHOLE
  )
  (workdir / 'config.json').write_text(json.dumps(found))
  for path in filter(pathlib.Path.is_dir, workdir.iterdir()):
    shutil.rmtree(path / 'maker')
    group = json.loads((path / 'zarr.json').read_text())
    group['attributes']['arrays'].remove('maker')
    (path / 'zarr.json').write_text(json.dumps(group))


def refused(workdir, words, first, more):
  """A second command is refused in one line, and changes nothing."""
  files = {p: p.read_bytes() for p in workdir.rglob('*') if p.is_file()}
  for use in (
    lambda: execute(more, workdir),
    lambda: sweep.check(sweep.plan(build.request(more)), str(workdir)),
  ):
    with pytest.raises(UserError, match=words) as error:
      use()
    assert '\n' not in str(error.value)
    assert '--workdir=ANOTHER' in str(error.value)
  after = {p: p.read_bytes() for p in workdir.rglob('*') if p.is_file()}
  assert after == files


def test_one_changed_bit_of_a_weight_is_refused(tmp_path, monkeypatch):
  execute(few(), tmp_path)
  other = conftest.toy()
  kernel = np.array(other.params['conv2']['kernel'])
  kernel.view(np.int32)[0, 0, 0, 0] ^= 1
  other.params['conv2']['kernel'] = kernel
  monkeypatch.setattr(conftest, 'toy', lambda: other)
  refused(tmp_path, "other weights .digest 'weights'", few(), few(units='0:2'))


def test_weights_that_change_places_are_others():
  one, other = conftest.toy(), conftest.toy()
  bias = other.params['conv1']['bias']
  other.params['conv1'] = {'kernel': other.params['conv1']['kernel']}
  other.params['conv1']['shift'] = bias
  found = [digests.weights([net]) for net in (one, one, other)]
  assert found[0] == found[1] != found[2]


def test_another_encoder_is_refused(tmp_path, own):
  Image.new('RGB', (12, 12), (9, 8, 7)).save(tmp_path / 'a.png')
  c = few(
    data="code = encoded(encoder, 'fc3', photograph, prior)",
    prior='toynets.prior()',
    encoder='own_terms.net()',
    photograph=str(tmp_path / 'a.png'),
  )
  execute(c, tmp_path / 'w')
  own('conftest.toy()', 'conftest.toy(seed=1)')
  refused(tmp_path / 'w', "digest 'weights'", c, c)


@pytest.mark.parametrize('knob', ['start', *conftest.slow('direction')])
def test_another_file_under_the_same_name_is_refused(tmp_path, knob):
  if knob == 'start':
    file = tmp_path / 'a.png'
    c = few(start=f"photograph('{file}')")
    save = lambda seed: Image.new('RGB', (3, 3), (seed, 8, 7)).save(file)
  else:
    file = tmp_path / 'd.npy'
    c = few(direction=str(file), objective='direction_neuron(layer)')
    save = lambda seed: np.save(file, np.full(4, seed, np.float32))
  save(1)
  execute(c, tmp_path / 'w')
  save(2)
  refused(tmp_path / 'w', "other data .digest 'data'.: the bytes of a", c, c)
  save(1)
  execute(c, tmp_path / 'w')


def test_an_exchanged_photograph_that_images_start_from_is_refused(tmp_path):
  file = tmp_path / 'a.png'
  Image.new('RGB', (16, 19), (1, 8, 7)).save(file)
  scales = f"grown(model, None, '20x17', 2, photograph='{file}')"
  c, more = (
    few(
      objective='channel(layer)', transforms='tiles(12, 12)', views='sum',
      scales=scales, replicates=replicates,
    )
    for replicates in (1, 2)
  )  # fmt: skip
  execute(c, tmp_path / 'w')
  Image.new('RGB', (16, 19), (2, 8, 7)).save(file)
  refused(tmp_path / 'w', "digest 'data'.: .* photograph that images", c, more)


def test_files_count_by_their_bytes_and_not_by_their_folder(tmp_path):
  for folder in ('one', 'other', 'swapped'):
    (tmp_path / folder).mkdir()
    names = 'ab' if folder != 'swapped' else 'ba'
    for name, content in zip(names, ('first', 'second'), strict=True):
      (tmp_path / folder / f'{name}.jpg').write_text(content)
  found = {
    folder: [
      digests.data([form.replace('DIR', str(tmp_path / folder))], [])
      for form in ('DIR/a.jpg,DIR/b.jpg', 'DIR/*.jpg', 'DIR/a.jpg+DIR/b.jpg')
    ]
    for folder in ('one', 'other', 'swapped')
  }
  assert len({*found['one']}) == 1 and found['one'] == found['other']
  assert found['swapped'][0] != found['one'][0]
  assert digests.data(['no file', '1'], []) == digests.data([], [])
  zeros = [digests.data([], [np.zeros(s)]) for s in ((2, 3), (3, 2))]
  assert zeros[0] != zeros[1]


CHANGES = {
  'constant': ('3, 4]', '3, 5]', 'constants', {}),
  'number': ('SCALE = 2.0', 'SCALE = 2.5', 'program', {}),
  'code': ('acts[layer][0, 0]', 'acts[layer][0, 1]', 'program', {}),
  'leaf': (
    'strength=3',
    'strength=4',
    'constants',
    {'transforms': 'own_terms.tinted()'},
  ),
  'network': (
    '1 * image',
    '3 * image',
    'program',
    {'model': 'own_terms.net()'},
  ),
}


@pytest.mark.parametrize(
  'name', ['constant', 'code', 'network', *conftest.slow('number', 'leaf')]
)
def test_a_changed_program_is_refused(tmp_path, own, name):
  was, now, digest, knobs = CHANGES[name]
  c = few(objective='own_terms.weighted(layer)', **knobs)
  execute(c, tmp_path)
  own(was, now)
  more = few(objective='own_terms.weighted(layer)', replicates=2, **knobs)
  words = f"layer 'conv1' of .* was made by .*.digest '{digest}'.: .* changed"
  refused(tmp_path, words, c, more)
  # Also where nothing is to be made.
  refused(tmp_path, f"digest '{digest}'", c, c)
  own()
  assert len(execute(more, tmp_path)['conv1']['image']) == 2


def test_an_interrupted_layer_is_not_finished_by_another_program(tmp_path, own):
  class Stop(Exception):
    pass

  def stop(progress):
    if progress.runs:
      raise Stop

  c = few(objective='own_terms.weighted(layer)', replicates=4, batch=2)
  with pytest.raises(Stop):
    execute(c, tmp_path, report=stop)
  own('@ WEIGHTS', '@ WEIGHTS[::-1]')
  refused(tmp_path, "'conv1' of .*digest '(program|constants)'", c, c)
  own()
  done = execute(c, tmp_path)['conv1']
  assert done['done'].all() and (done['maker'] == 0).all()


def test_an_optimizer_of_the_same_name_is_another_program(monkeypatch):
  import optax

  c = few(optimizer='optax.adam(0.1)')
  before = of(c)
  sgd = lambda rate: optax.sgd(rate)
  sgd.__module__ = 'optax'
  monkeypatch.setattr(optax, 'adam', sgd)
  assert before.program != of(c).program


def test_the_digests_do_not_depend_on_how_runs_are_made():
  tiled = {
    'layer': 'conv1', 'units': '1', 'parameterization': 'fourier(model)',
    'transforms': 'tiles(12, 12)', 'views': 'sum', 'box': False,
    'objective': 'channel(layer)', 'shape': '24x24',
  }  # fmt: skip
  found = of(few(**tiled))
  for changes in (
    {'units': '0,3', 'replicates': 3, 'memory': 0.1},
    {'batch': 1, 'tile_batch': 1},
    {'layer': 'conv1,conv2', 'steps': 7, 'save_every': 2},
  ):
    assert of(few(**tiled | changes)) == found, changes
  assert of(few(**tiled | {'layer': 'conv2'})) != found


def test_data_of_runs_that_differ_in_shape_give_one_digest(tmp_path):
  np.save(tmp_path / 'd.npy', np.eye(4, dtype=np.float32))
  c = {'direction': str(tmp_path / 'd.npy'), 'box': True}
  c |= {'objective': 'direction_neuron(layer)'}
  assert of(few(**c, units='3')) == of(few(**c, units='0:2'))


MAKER = """
import jax.numpy as jnp
import numpy as np


SCALE = 1.0


def array():
  return lambda shape, seed: np.full(shape, SCALE, np.float32)


def maps(model, layer):
  image = jnp.full((12, 12, 3), 90 * SCALE)
  acts = model.apply(model.params, image)
  return lambda shape, seed: {layer: np.asarray(acts[layer])}
"""
MADE = {
  'start': {'start': 'own_data.array()'},
  'direction': {
    'direction': 'own_data.array()',
    'objective': 'direction_neuron(layer)',
  },
  'content': {
    'data': 'content = own_data.maps(model, layer)',
    'objective': 'neuron(layer) - content_loss(layer)',
  },
}


@pytest.mark.parametrize(
  'name', ['start', *conftest.slow('direction', 'content')]
)
def test_data_of_a_function_that_changed_are_refused(
  tmp_path, monkeypatch, name
):
  def write(scale):
    module = types.ModuleType('own_data')
    exec(MAKER.replace('1.0', str(scale)), module.__dict__)
    monkeypatch.setitem(sys.modules, 'own_data', module)

  write(1.0)
  c = few(**MADE[name])
  execute(c, tmp_path)
  write(1.02)
  words = f"was made by other data .digest 'arrays'.: {name}.* is another array"
  refused(tmp_path, words, c, few(**MADE[name], replicates=2))
  write(1 + 1e-6)  # as another processor rounds
  assert len(execute(few(**MADE[name], replicates=2), tmp_path)) == 1


def test_a_sketch_tells_shapes_and_values():
  draw = np.random.default_rng(0)
  array = draw.standard_normal((5, 7, 3))
  others = {
    'value': array + np.eye(7, 3),
    'order': array[::-1],
    'swapped': array.swapaxes(0, 1),
    'flat': array.ravel(),
    'scale': array * 1.01,
    'sign': -array,
  }
  found = {name: digests.sketch(other) for name, other in others.items()}
  for name, sketch in found.items():
    assert not digests._same(digests.sketch(array), sketch), name
  near = array + 1e-5 * draw.standard_normal(array.shape)
  assert digests._same(digests.sketch(array), digests.sketch(near))
  hole = np.where(array > 1, np.nan, array)
  assert digests._same(digests.sketch(hole), digests.sketch(hole))
  assert not digests._same(digests.sketch(hole), digests.sketch(array))
  zeros = np.zeros((2, 3))
  assert digests._same(digests.sketch(zeros), digests.sketch(zeros))


def test_boxes_and_whole_images_have_a_digest_each(tmp_path):
  boxed, both = of(few(units='0@4x4')), of(few(units='1@0x0,0@4x4'))
  (place,) = boxed.program
  assert place.startswith('boxed, cpu, vizjax ') and jax.__version__ in place
  assert len(both.program) == 2 == len(both.constants)
  assert both.program[place] == boxed.program[place]


SCRIPT = """
import sys
import test_sweep
import jax
jax.config.update('jax_num_cpu_devices', 3)
from vizjax import build
from vizjax.sweeps import sweep
c = test_sweep.few(
  objective='own_terms.weighted(layer) + neuron(layer)', batch=1,
  transforms='jitter(2)', metrics='far = distance(layer)',
)
assert len(jax.devices()) == 3
plan = sweep.plan(build.request(c))
print(sweep._programs(plan.request, plan.layers[0]))
"""


def test_another_process_has_the_same_digests(tmp_path, own):
  """Of another number of devices and hash seed, with a comment in the file."""
  c = few(
    objective='own_terms.weighted(layer) + neuron(layer)',
    transforms='jitter(2)',
    metrics='far = distance(layer)',
  )
  text = OWN.replace('  def term', '  # A comment.\n\n  def term')
  (tmp_path / 'own_terms.py').write_text(text)
  tests = pathlib.Path(__file__).parent.parent
  path = [str(tmp_path), str(tests), str(tests / 'sweeps'), str(tests.parent)]
  environment = os.environ | {
    'PYTHONHASHSEED': '7',
    'PYTHONPATH': os.pathsep.join(path),
  }
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.splitlines()[-1] == str(of(c))


def test_other_versions_are_refused_or_marked(tmp_path, versions):
  true = provenance.versions()['jax']
  first = execute(few(units='0:2', batch=2), tmp_path)['conv1']
  assert first['maker'].tolist() == [0, 0]
  versions(jax='0.0.1')
  c = few(units='0:4', batch=2)
  words = f"other versions .jax: '{true}' there, '0.0.1' here.*--allow_versions"
  refused(tmp_path, words, c, c)
  allowed = {'allow_versions': True}
  sweep.check(sweep.plan(build.request(c)), str(tmp_path), **allowed)
  found = execute(c, tmp_path, **allowed)['conv1']
  assert found['maker'].tolist() == [0, 0, 1, 1]
  assert [m['jax'] for m in read(tmp_path)['makers']] == [true, '0.0.1']
  assert len(read(tmp_path)['digests']['program']['conv1']) == 2
  # Both versions are now known.
  found = execute(few(units='0:4,0@1x1'), tmp_path)['conv1']
  assert found['maker'].tolist() == [0, 0, 1, 1, 1]
  site.write(str(tmp_path))
  (tmp_path / 'atlas').rename(tmp_path.parent / f'{tmp_path.name}-atlas')
  layer = tmp_path.parent / f'{tmp_path.name}-atlas' / 'conv1' / 'layer.json'
  told = json.loads(layer.read_text())['makers']
  assert told == f'images made: 2 with jax {true}; 3 with jax 0.0.1'


@pytest.mark.parametrize('name', store.PINNED)
def test_each_version_that_decides_images_is_compared(tmp_path, versions, name):
  there = provenance.versions()
  made_by = {
    'config': {}, 'format': 2, 'makers': [there],
    'digests': dict.fromkeys(store.DIGESTS, '') | {
      'constants': {}, 'program': {},
    },
  }  # fmt: skip
  store.claim(str(tmp_path), made_by)
  here = made_by | {'makers': [there | {name: '9.9'}]}
  with pytest.raises(UserError, match=f"versions .{name}: .* '9.9' here"):
    store.check(str(tmp_path), here)
  store.check(str(tmp_path), here, store.Rules(allow_versions=True))
  store.check(str(tmp_path), made_by | {'makers': [there | {'numpy': '9.9'}]})


def test_another_device_goes_on_and_is_recorded(tmp_path, versions):
  execute(few(units='0:2'), tmp_path)
  versions(device='another', python='9.9', numpy='9.9')
  found = execute(few(units='0:3', batch=1), tmp_path)['conv1']
  assert found['maker'].tolist() == [0, 0, 1]
  made_by = read(tmp_path)
  assert [m['device'] for m in made_by['makers']] == ['cpu', 'another']
  before = (tmp_path / 'config.json').read_bytes()
  versions(device='a third')
  execute(few(units='0:3'), tmp_path)  # Nothing is left to make.
  assert (tmp_path / 'config.json').read_bytes() == before


def test_a_row_that_is_not_made_has_no_maker(tmp_path):
  c = few(units='0:2')
  sweep._opened(
    sweep.plan(build.request(c)), str(tmp_path), '', sweep.hosts.ALONE
  )
  kept = store.open_(tmp_path / 'conv1')
  assert store.read(kept, 'maker').tolist() == [-1, -1]
  c = few(units='0:3')
  sweep._opened(
    sweep.plan(build.request(c)), str(tmp_path), '', sweep.hosts.ALONE
  )
  kept = store.open_(tmp_path / 'conv1')
  assert store.read(kept, 'maker').tolist() == [-1, -1, -1]


def test_a_request_is_of_all_knobs_but_those_that_may_change(tmp_path):
  execute(few(), tmp_path)
  found = read(tmp_path)
  for free in ({'batch': 1}, {'units': '0:3'}, {'layer': 'conv1,conv2'}):
    c = few(**free)
    made_by = sweep._made_by(sweep.plan(build.request(c)), '')
    assert made_by['digests']['request'] == found['digests']['request']
  found['config']['steps'] = 2  # by hand
  (tmp_path / 'config.json').write_text(json.dumps(found))
  c = few(steps=2)
  with pytest.raises(UserError, match="digest 'request'.*changed by hand"):
    execute(c, tmp_path)


def test_functions_in_a_config_do_not_count_in_its_request():
  one, other = (digests.request({'a': 1, 'f': f}, ()) for f in (len, print))
  assert one == other != digests.request({'a': 2, 'f': len}, ())


def test_a_workdir_of_format_1_goes_on_by_its_own_rule(tmp_path, versions):
  c, more = few(units='0:2'), few(units='0:4', layer='conv1,relu1')
  expected = execute(more, tmp_path / 'new')
  execute(c, tmp_path / 'old')
  aged(tmp_path / 'old', c)
  versions(jax='0.0.1')  # which format 1 does not compare
  found = execute(more, tmp_path / 'old')
  assert 'maker' not in found['conv1'] and 'maker' not in found['relu1']
  for layer in expected.values():
    del layer['maker']
  test_sweep.assert_same(expected, found)
  assert not {'format', 'digests', 'makers'} & read(tmp_path / 'old').keys()
  sweep.check(sweep.plan(build.request(more)), str(tmp_path / 'old'))
  assert len(selecting.select(str(tmp_path / 'old')).layers) == 2
  site.write(str(tmp_path / 'old'))


def test_a_term_of_the_users_keeps_the_image_that_format_1_gave_it(tmp_path):
  terms = {'objective': 'copied_terms.neuron(layer)'}
  c, more = few(units='0:2', **terms), few(units='0:4', **terms)

  def whole(c, workdir):  # as vizjax 0.1.0 planned such a term
    request = dataclasses.replace(build.request(c), box=False)
    sweep.execute(sweep.plan(request), str(workdir))

  whole(more, tmp_path / 'new')
  whole(c, tmp_path / 'old')
  aged(tmp_path / 'old', c)
  found = execute(more, tmp_path / 'old')['conv1']
  expected = test_sweep.everything(tmp_path / 'new')['conv1']
  assert found['image'].shape == (4, 12, 12, 3)
  for name, array in found.items():
    np.testing.assert_array_equal(array, expected[name], err_msg=name)
  (boxed,) = sweep.plan(build.request(more)).layers
  assert boxed.array_specs['image'][0] == (3, 3, 3)


def test_fingerprints_of_format_1_are_what_they_were(tmp_path, monkeypatch):
  """Both numbers, and the list, are of vizjax 0.1.0."""
  monkeypatch.chdir(tmp_path)
  np.save('d.npy', np.arange(4, dtype=np.float32))
  c = few(direction='d.npy', objective='direction_neuron(layer)')
  plans = sweep.plan(build.request(c))
  assert sweep._fingerprint(plans, store.WHOLE) == (
    'network:a82e8682346e49e5cf6ce31e7fea786c590a6da395f8b8387abf4efdae938085'
  )
  assert sweep._fingerprint(plans, '') == (
    '75cf88b1ce30e51b5f11a698a68a4c21a4a328f75aa4973dc678f8dfcb6168e7'
  )
  for name in 'ab':
    (tmp_path / f'{name}.jpg').touch()
  c.update(
    data="a = f('a.jpg,b.jpg', n), b = g(x='*.jpg')",
    projections="h('a.jpg+b.jpg', k(photograph)) | z(1)",
  )
  c.photograph = 'b.jpg'
  several = ['a.jpg', 'b.jpg']
  assert format1.strings(c.to_dict()) == [
    'd.npy', 'a.jpg,b.jpg', *several, '*.jpg', *several, 'a.jpg+b.jpg',
    *several, 'b.jpg', 'b.jpg',
  ]  # fmt: skip


def test_a_workdir_of_format_1_refuses_other_weights(tmp_path, monkeypatch):
  execute(few(), tmp_path)
  aged(tmp_path, few())
  other = conftest.toy(seed=1)
  monkeypatch.setattr(conftest, 'toy', lambda: other)
  with pytest.raises(UserError, match='the weights or arrays that the config'):
    execute(few(), tmp_path)


def test_a_newer_format_is_refused_by_every_reader(tmp_path):
  c = few()
  execute(c, tmp_path)
  (tmp_path / 'config.json').write_text(
    json.dumps(read(tmp_path) | {'format': 3})
  )
  words = (
    "config.json' is of format 3, this version of vizjax reads up to 2: "
    'install a newer vizjax'
  )
  workdir = str(tmp_path)
  for use in (
    lambda: execute(c, tmp_path),
    lambda: sweep.check(sweep.plan(build.request(c)), workdir),
    lambda: store.layers(workdir),
    lambda: selecting.select(workdir),
    lambda: site.write(workdir),
  ):
    with pytest.raises(UserError, match=words):
      use()
