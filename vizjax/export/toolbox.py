"""Files as optimize_image of the deep-visualization-toolbox writes them.

  opt_<layer>_<channel>_<seed>_best_X.jpg    the image less the mean
  ..._best_Xpm.jpg                           the image
  ..._info.txt                               parameters and results, in words
  ..._info_big.pkl                           the same to be computed with
  ..._info.pkl                               and without the arrays

Source: optimize/gradient_optimizer.py of
https://github.com/yosinski/deep-visualization-toolbox. What differs:

The program pickles objects of its own classes; here each file is a pair of
plain dicts (params, results) of the same keys, besides `data_mean`, what was
taken off the image. Arrays are as there, [c, h, w] in BGR order, less the
mean; they and the records are of float32, not float64, and printed in as many
digits as float32 has. The JPEGs are Pillow's of quality 95, rounded to the
nearest: those of OpenCV, byte for byte, where both have the same libjpeg.
Replicates have the next seeds, as they had when they were made; names go on
with y<row>x<column>_ where the config named positions; a / in the name of a
layer is --.
"""

import ast
from collections.abc import Iterator, Mapping
import inspect
import io
import pathlib
import pickle
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

from vizjax import build
from vizjax import core
from vizjax import formula
from vizjax import optimizers
from vizjax.build import inputs
from vizjax.build import runs
from vizjax.build import vocabulary
from vizjax.errors import UserError
from vizjax.export import selecting
from vizjax.workdir import store

_RECORDS = ('obj', 'idxmax', 'ismax', 'norm', 'dist', 'std')
_SNAPSHOTS = ('best', 'last', 'majority')
_ENDINGS = (
  'best_X.jpg', 'best_Xpm.jpg', 'info.txt', 'info_big.pkl', 'info.pkl'
)  # fmt: skip

_ADVICE = 'make the run with --config=yosinski2015:3 (or :1, :2, :4)'

# Our optimizers and knobs, and what the program calls them.
_POLICIES = {
  'sgd': (optax.sgd, 'constant', {'learning_rate': 'lr'}),
  'progress': (
    optimizers.progress,
    'progress',
    {'max_rate': 'max_lr', 'desired': 'desired_prog'},
  ),
  'progress01': (
    optimizers.progress01,
    'progress01',
    {'max_rate': 'max_lr', 'early': 'early_prog', 'late': 'late_prog_mult'},
  ),
}
_STARTS = {
  'legacy_normal': 'mean_plus_rand',
  'legacy_uniform': 'randu',
  'mean_image': 'mean',
}
_PARAMS = {
  'blur_every': 'period',
  'blur_radius': 'sigma',
  'decay': 'decay',
  'max_iter': 'steps',
  'push_dir': 'push_dir',
  'px_abs_benefit_percentile': 'px_abs_benefit',
  'px_benefit_percentile': 'px_benefit',
  'small_norm_percentile': 'small_norm',
  'small_val_percentile': 'small_val',
}


def toolbox(
  selection: selecting.Selection,
  out: pathlib.Path,
  *,
  brave: bool = False,
  skipbig: bool = False,
  trust: bool = False,
) -> Iterator[pathlib.Path]:
  """Two JPEGs, a text and two pickles for each run of configs/yosinski2015.py.

  A run whose score was never a number has no best image and no JPEGs.

  Args:
    selection: of `select`.
    out: a folder; the names in it begin with opt_.
    brave: replace files that are there.
    skipbig: leave out info_big.pkl.
    trust: whether the formulas of the workdir may call any function; else only
      those of vizjax and optax.

  Raises:
    UserError: another recipe, or one that is not trusted; or a file is there:
      then none is written.
    OSError: what the config names cannot be read, such as the weights.
  """
  if not trust:
    vocabulary.check_trust(selection.workdir, selection.config)
  config = selection.config
  selecting.floats(selection)
  arrays = [f'trace/{record}' for record in (*_RECORDS, 'gradient_norm')]
  for name in _SNAPSHOTS:
    arrays += _snapshot(name, config)
  selecting.require(selection, arrays, _ADVICE)
  if not {'start', 'optimizer'} <= config.keys():
    raise UserError(
      'this run was made in Python by a recipe function, and has no knobs that '
      "this format tells of: make it with recipe='yosinski2015:3'"
    )
  prefixes = {
    layer.name: _prefixes(layer, config) for layer in selection.layers
  }
  wanted = [
    out / f'{prefix}{ending}'
    for each in prefixes.values()
    for prefix in each
    for ending in _ENDINGS
  ]
  there = [path for path in wanted if path.exists()]
  if there and not brave:
    raise UserError(
      f'{str(there[0])!r} is there ({len(there)} such files), expected none: '
      'type --brave to replace them, or another --out=DIR'
    )
  mean = None
  for layer in selection.layers:
    seeds = selecting.seeds(layer, config)
    for i, item in selecting.items(layer, *arrays, 'size', 'unit'):
      item['seed'] = seeds[i]
      shape = selecting.cropped(item['image'], item['size']).shape
      if mean is None or mean.shape != shape:
        mean = selecting.mean(selection, shape)
      params = _params(layer.name, item, config)
      results = _results(item, config, mean)
      results['x0'] = _start(layer.name, item, config, mean)
      contents = _contents(params, results, mean, skipbig)
      for ending, content in contents.items():
        path = selecting.made(out) / f'{prefixes[layer.name][i]}{ending}'
        selecting.write(path, content)
        yield path


def text(params: dict[str, Any], results: dict[str, Any]) -> str:
  """Parameters and results, a line each, in order of their names."""
  lines = [
    'FindParams:',
    *(f'{key:>30}: {value}' for key, value in sorted(params.items())),
    *('', ''),
    'FindResults:',
    *(f'{key:>30}: {_shown(value)}' for key, value in sorted(results.items())),
    *('', ''),
  ]
  return '\n'.join(lines)


def centered(image: np.ndarray) -> np.ndarray:
  """0 to 1, with zero at a half."""
  image = image.astype(np.float64)
  return image / (max(2 * image.max(), -2 * image.min()) + 1e-10) + 0.5


def stretched(image: np.ndarray) -> np.ndarray:
  """0 to 1, from the smallest number to the largest."""
  image = image.astype(np.float64) - image.min()
  return image / (image.max() + 1e-10)


def _snapshot(name: str, config: Mapping[str, Any]) -> list[str]:
  """The image and the step of 'best', 'last' or 'majority' in the store."""
  prefix = '' if config['result'] == name else f'{name}/'
  return [f'{prefix}image', f'{prefix}step']


def _prefixes(layer: selecting.Layer, config: Mapping[str, Any]) -> list[str]:
  units = store.read(layer.store, 'unit', layer.rows)
  seeds = selecting.seeds(layer, config)
  placed = '@' in (config['units'] or '')
  return [
    f'opt_{layer.store.name}_{channel:04d}_{seed}_' + f'y{y}x{x}_' * placed
    for (channel, y, x), seed in zip(units, seeds, strict=True)
  ]


def _start(
  layer: str,
  item: dict[str, Any],
  config: Mapping[str, Any],
  mean: np.ndarray,
) -> np.ndarray | None:
  """The image before the first step, less the mean, not clipped."""
  if not config['start']:
    return None
  # A start asks a network for nothing but its mean.
  model = core.Model({}, jnp.asarray(mean), lambda *_: {}, mean.shape)
  knobs = formula.Noted({**config, 'model': model, 'layer': layer})
  # Only the start is made, not the other arrays of the run.
  others = dict.fromkeys(('direction', 'mask', 'data'), '')
  alone = build.restored({**config, **others})
  make = inputs.arrays(alone, knobs, mean.shape, (1,), np.float32)
  table = runs.of_units(
    layer,
    [tuple(item['unit'].tolist())],
    1,
    None,
    mean.shape[:2],
    seed=item['seed'],
  )
  return _bgr(make(table, np.array([0]))['start'][0] - mean)


def _params(
  layer: str, item: dict[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
  """What the program calls its parameters."""
  channel, y, x = map(int, item['unit'])
  start = config['start']
  policy, rates = _policy(config)
  return {
    **{key: config.get(knob, 0) for key, knob in _PARAMS.items()},
    'lr_params': rates,
    'lr_policy': policy,
    'push_channel': channel,
    'push_layer': layer,
    'push_spatial': (y, x),
    'push_unit': (channel, y, x),
    'rand_seed': item['seed'],
    'start_at': _STARTS.get(start.partition('(')[0], start),
  }


def _policy(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
  """lr_policy and lr_params; the formula itself where it is none of theirs."""
  optimizer = config['optimizer']
  call = ast.parse(optimizer.strip(), mode='eval').body
  name = ast.unparse(call.func) if isinstance(call, ast.Call) else ''
  if name not in _POLICIES:
    return optimizer, {}
  function, policy, names = _POLICIES[name]

  def value(node):
    return formula.evaluate(ast.unparse(node), (), config)

  given = inspect.signature(function).bind(
    *map(value, call.args), **{k.arg: value(k.value) for k in call.keywords}
  )
  return policy, {names.get(k, k): v for k, v in given.arguments.items()}


def _results(
  item: dict[str, Any], config: Mapping[str, Any], mean: np.ndarray
) -> dict[str, Any]:
  """What the program calls its results, all but x0."""
  _, last = _snapshot('last', config)
  count = int(item[last]) + 1  # evaluations: fewer than steps after a stop
  traces = {name: item[f'trace/{name}'][:count] for name in _RECORDS}
  results = {name: trace.tolist() for name, trace in traces.items()}
  results['ii'] = list(range(count))
  results['ismax'] = [value > 0 for value in results['ismax']]
  results['idxmax'] = [tuple(map(int, at)) for at in traces['idxmax']]
  for name in _SNAPSHOTS:
    image, step = (item[array] for array in _snapshot(name, config))
    results |= {f'{name}_obj': None, f'{name}_xx': None}
    if step >= 0:
      shown = selecting.cropped(image, item['size'])
      results[f'{name}_ii'] = int(step)
      results[f'{name}_obj'] = results['obj'][step]
      results[f'{name}_xx'] = _bgr(shown - mean)
  success = 'success' if any(results['ismax']) else 'failure'
  stopped = item['trace/gradient_norm'][count - 1] == 0
  results['meta_result'] = 'Metaresult: ' + (
    'grad 0 failure' if stopped else f'majority {success}'
  )
  return results


def _contents(
  params: dict[str, Any],
  results: dict[str, Any],
  mean: np.ndarray,
  skipbig: bool,
) -> dict[str, bytes]:
  """The files of a run, by the end of their names."""
  found = {}
  if results['best_xx'] is not None:
    best = _rgb(results['best_xx'])
    found['best_X.jpg'] = _jpeg(centered(best))
    found['best_Xpm.jpg'] = _jpeg(stretched(best + mean))
  found['info.txt'] = text(params, results).encode()
  results = results | {'data_mean': _bgr(mean)}
  if not skipbig:
    found['info_big.pkl'] = pickle.dumps((params, results), protocol=2)
  trimmed = {
    key: f'Trimmed {_shown(value)}' if isinstance(value, np.ndarray) else value
    for key, value in results.items()
  }
  found['info.pkl'] = pickle.dumps((params, trimmed), protocol=2)
  return found


def _jpeg(image: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  shown = Image.fromarray(selecting.picture(255 * image))
  shown.save(buffer, format='JPEG', quality=95)
  return buffer.getvalue()


def _bgr(image: np.ndarray) -> np.ndarray:
  """[h, w, c] RGB -> [c, h, w] BGR."""
  return np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))


def _rgb(image: np.ndarray) -> np.ndarray:
  return image.transpose(1, 2, 0)[..., ::-1]


def _shown(value: Any) -> str:
  """Long lists and arrays as the program prints them."""
  if isinstance(value, np.ndarray):
    first, second = map(_shown, value.ravel()[:2].tolist())
    return f'{value.shape} array [{first}, {second}, ...]'
  if isinstance(value, list):
    words = [_shown(part) for part in value]
    if len(words) > 4:
      words[2:-2] = ['...']
    return f'[{", ".join(words)}]'
  if isinstance(value, float):
    return str(float(str(np.float32(value))))  # the digits that it has
  return str(value)
