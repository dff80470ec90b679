"""Makes the same images in other batches, and compares every stored number.

  python tests/widths.py [--units=16] [--steps=40] [--cores] [CASE ...]

Each case is a recipe on a real network. Its units are made in batches of 8 on
one device, then in batches of 1, 2, 3, 5 and 16 (16 units leave a remainder
after 3 and 5), on two and three simulated devices, and with --cores on one
core of the CPU. Prints a line for each case and difference, with the arrays
that differ and by how much; exit status 1 if any do. A case is a name of
`CASES`, or the beginning of some: `demo` takes all that begin with `demo`.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).parent.parent
BATCHES = (1, 2, 3, 5, 16)
REFERENCE = 8
DEVICES = (2, 3)

# {name: (config file, {knob: value})}. Pictures of the documentation stand
# for photographs.
ALEXNET = "load('alexnet_features')"
VGG = "load('vgg16_features')"
GOOGLENET = "vizjax.benchmark.random('bvlc_googlenet')"
LITE = "load('efficientnet_lite0')"
SIXTEEN = '0:16'
CASES = {
  **{
    f'demo/{layer}': ('demo', {'layer': layer})
    for layer in ('conv1', 'conv2', 'conv3', 'conv4', 'conv5')
  },
  'demo/vgg16/conv3_3': ('demo', {'model': VGG, 'layer': 'conv3_3'}),
  'demo/vgg16/conv5_3': ('demo', {'model': VGG, 'layer': 'conv5_3'}),
  'demo/googlenet/3b': (
    'demo',
    {'model': GOOGLENET, 'layer': 'inception_3b/output'},
  ),
  'demo/googlenet/4c': (
    'demo',
    {'model': GOOGLENET, 'layer': 'inception_4c/output'},
  ),
  'demo/lite0/block4': ('demo', {'model': LITE, 'layer': 'block4'}),
  'demo/lite0/logits': ('demo', {'model': LITE, 'layer': 'logits'}),
  'demo/whole': ('demo', {'box': False}),
  'classes': ('classes', {'units': SIXTEEN}),
  'olah2017': ('olah2017', {}),
  'olah2017/diversity': (
    'olah2017',
    {
      'units': '0:4',
      'replicates': 4,
      'result': 'last',
      'objective': 'channel(layer) + 10 * diversity(layer)',
      'metrics': "distance = distance('conv3')",
    },
  ),
  **{f'yosinski2015/{n}': (f'yosinski2015:{n}', {}) for n in range(1, 5)},
  **{
    f'cnnpref/{kind}': (f'cnnpref:{kind}', {'layer': layer})
    for kind, layer in (
      ('gd_lower', 'conv5'),
      ('gd_higher', 'logits'),
      ('lbfgs_lower', 'conv5'),
      ('lbfgs_higher', 'logits'),
    )
  },
  'simonyan2013': ('simonyan2013', {}),
  'cs231n': ('cs231n', {}),
  'cnn_vis/neuron': (
    'cnn_vis:neuron',
    {
      'model': ALEXNET,
      'layer': 'conv5',
      'mean': None,
      'tile': 96,
      'initial_size': '120x150',
      'final_size': '150x190',
      'num_sizes': 2,
    },
  ),
  **{
    f'inversion/{kind}': (f'inversion:{kind}', {'photograph': 'docs/*.jpg'})
    for kind in ('fourier', 'pixels', 'lbfgs', 'caricature', 'blog', 'cs231n')
  },
  'mahendran2015': ('mahendran2015:own', {'photograph': 'docs/*.jpg'}),
  'deepdream': (
    'deepdream:own',
    {'photograph': 'docs/demo.jpg', 'layer': 'conv5'},
  ),
  'gatys2016': (
    'gatys2016:own',
    {
      'content': 'docs/demo.jpg,docs/atlas_unit.jpg',
      'style': 'docs/deepdream.jpg,docs/atlas_layer.jpg',
      'width': 96,
    },
  ),
}


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('cases', nargs='*', help='names, or how they begin')
  parser.add_argument('--units', type=int, default=16)
  parser.add_argument('--steps', type=int, default=40)
  parser.add_argument('--batches', default=','.join(map(str, BATCHES)))
  parser.add_argument('--devices', default=','.join(map(str, DEVICES)))
  parser.add_argument('--cores', action='store_true', help='one core, too')
  given = parser.parse_args()
  names = [
    name
    for name in CASES
    if not given.cases
    or name in given.cases
    or any(map(name.startswith, {*given.cases} - {*CASES}))
  ]
  failed = 0
  for name in names:
    differing = compared(
      name,
      given.units,
      given.steps,
      numbers(given.batches),
      numbers(given.devices),
      given.cores,
    )
    print(f'{name}: ' + ('; '.join(differing) or 'equal'), flush=True)
    failed += bool(differing)
  return 1 if failed else 0


def numbers(text: str) -> tuple[int, ...]:
  return tuple(map(int, filter(None, text.split(','))))


def compared(
  name: str,
  units: int,
  steps: int,
  batches: tuple[int, ...] = BATCHES,
  devices: tuple[int, ...] = DEVICES,
  cores: bool = False,
) -> list[str]:
  """Every way of making the images of a case that gives other numbers."""
  case = *CASES[name], units, steps
  with tempfile.TemporaryDirectory() as folder:
    first, *others = made(folder, case, (REFERENCE, *batches))
    found = {
      f'batch {batch}': arrays
      for batch, arrays in zip(batches, others, strict=True)
    }
    for count in devices:
      (found[f'{count} devices'],) = made(folder, case, (REFERENCE,), count)
    if cores:
      (found['one core'],) = made(folder, case, (REFERENCE,), cores=1)
  return [
    f'{how}: {told}'
    for how, arrays in found.items()
    if (told := differences(first, arrays))
  ]


def differences(first: dict, other: dict) -> str:
  """The arrays that are not equal, with the largest difference of each."""
  told = []
  for name, expected in first.items():
    if not np.array_equal(expected, other[name], equal_nan=True):
      apart = np.abs(expected.astype(float) - other[name].astype(float))
      rows = np.unique(np.nonzero(apart)[0])
      told.append(f'{name} {np.nanmax(apart):.2g} in {len(rows)} rows')
  return ', '.join(told)


def made(
  folder: str,
  case: tuple,
  batches: tuple[int, ...],
  devices: int = 1,
  cores: int | None = None,
) -> list[dict[str, np.ndarray]]:
  """The arrays of a case for each size of batch, made in a process."""
  environment = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': str(devices),
    'JAX_COMPILATION_CACHE_DIR': os.path.join(folder, 'compiled'),
    'PYTHONPATH': str(ROOT),
  }
  task = json.dumps([folder, *case, batches, cores])
  subprocess.run(
    [sys.executable, __file__, '--made', task],
    check=True,
    cwd=ROOT,
    env=environment,
  )
  found = []
  for batch in batches:
    with np.load(os.path.join(folder, f'{batch}.npz')) as arrays:
      found.append(dict(arrays))
  return found


def make(folder, file, knobs, units, steps, batches, cores) -> None:
  """Makes a case at each size of batch, and writes FOLDER/BATCH.npz."""
  if cores is not None:  # before JAX looks how many there are
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
  import importlib.util

  from vizjax.workdir import store
  from vizjax import build
  from vizjax.sweeps import sweep

  name, _, argument = file.partition(':')
  path = ROOT / 'configs' / f'{name}.py'
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  for batch in batches:
    config = module.get_config(*([argument] if argument else []))
    photographs = {'photograph', 'content'} & knobs.keys()
    with config.unlocked():
      config.steps = steps
      config.batch = batch
      if not photographs:
        config.units = f'0:{units}'
      config.update(knobs)
    workdir = os.path.join(folder, f'workdir{batch}')
    plans = sweep.plan(build.request(config))
    sweep.execute(plans, workdir)
    arrays = {}
    for layer, where in store.layers(workdir).items():
      kept = store.open_(where)
      assert store.read(kept, store.DONE).all()
      for field in kept.arrays:
        arrays[f'{layer}:{field}'] = store.read(kept, field)
    np.savez(os.path.join(folder, f'{batch}.npz'), **arrays)
    subprocess.run(['rm', '-r', workdir], check=True)


if __name__ == '__main__':
  if sys.argv[1:2] == ['--made']:
    make(*json.loads(sys.argv[2]))
  else:
    sys.exit(main())
