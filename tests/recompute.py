"""Every number on the pages of a layer's units, once more, by other means.

  python tests/recompute.py WORKDIR LAYER [FOLDER]

Reads what WORKDIR/atlas/LAYER/layer.json says, and computes the same from the
stored images: a network of loops over the taps of its kernels in float64, on
the whole input of the network, into which what a unit sees is put where it
belongs. Of the library it takes the weights, what is stored, and what the
keys of the runs draw. With the FOLDER of photographs that were searched, what
is said of them is computed from the files.

Prints for each number how many there are and the largest difference, over the
largest number of its kind, and ends with 1 if one is above 1e-4 (1e-3 of a
curve, which is said in four digits).
"""

import json
import pathlib
import sys

import jax
import jax.numpy as jnp
from ml_collections import config_dict
import numpy as np
from PIL import Image

from oracles import metrics
from oracles import transforms
import toyplans

from vizjax import core
from vizjax.build import assemble
from vizjax.build import runs as runs_
from vizjax.examples import search
from vizjax.workdir import store

# Float32 sums of thousands of products, through five layers.
TOLERANCE, ROUNDED = 1e-4, {'curve': 1e-3}


def forward(table, params, image):
  """{layer: [h, w, c] or [c]} of an image less its mean, in float64."""
  acts = {'data': image.astype(np.float64)}
  for row in table:
    (name,) = row.inputs
    x = acts[name]
    weights = {
      n: np.asarray(w, np.float64) for n, w in params.get(row.name, {}).items()
    }
    match row.kind:
      case 'conv':
        assert row.groups == 1 and row.dilation == (1, 1), row
        y = _windows(row, x, 0.0)
        y = sum(
          tap @ weights['kernel'][i, j]
          for (i, j), tap in zip(np.ndindex(row.kernel), y, strict=True)
        )
        acts[row.name] = y + weights['bias']
      case 'max_pool':
        assert not row.options, row
        acts[row.name] = np.max(list(_windows(row, x, -np.inf)), 0)
      case 'relu':
        assert not row.options, row
        acts[row.name] = np.maximum(x, 0)
      case 'fc':
        flat = np.moveaxis(x, -1, 0).reshape(-1) if x.ndim == 3 else x
        acts[row.name] = flat @ weights['kernel'] + weights['bias']
      case _:
        raise ValueError(f'{row} is not computed here')
  return acts


def _windows(row, x, value):
  """What each tap of a window meets, [h, w, c], one after the other."""
  (down, right), (above, beside) = row.stride, row.pad
  x = np.pad(
    x, ((above, above), (beside, beside), (0, 0)), constant_values=value
  )
  h = (x.shape[0] - row.kernel[0]) // down + 1
  w = (x.shape[1] - row.kernel[1]) // right + 1
  for i, j in np.ndindex(row.kernel):
    yield x[i : i + down * h : down, j : j + right * w : right][:h, :w]


class Page:
  """What is known of the images of a layer, by row of its store."""

  def __init__(self, workdir, layer, table):
    provenance = json.loads((pathlib.Path(workdir) / 'config.json').read_text())
    self.config = config_dict.ConfigDict(provenance['config'])
    self.layer, self.table = layer, table
    self.net = assemble.model(self.config)
    self.runs = toyplans.runs(self.config, self.net, layer)
    self.programs = {
      bool(boxed): toyplans.program(
        self.config, self.net, layer, boxed=bool(boxed)
      )
      for boxed in np.unique(self.runs.boxed)
    }
    kept = store.open_(store.directory(str(workdir), layer))
    self.stored = {name: store.read(kept, name) for name in kept.arrays}
    folder = pathlib.Path(workdir) / 'atlas' / kept.name
    self.said = json.loads((folder / 'layer.json').read_text())

  def row(self, image):
    """Of the store, for an image of layer.json."""
    s = self.stored
    unit = (image['unit'], *image['position'])
    same = (s['unit'] == unit).all(1) & (s['replicate'] == image['replicate'])
    same &= s['sign'] == (-1 if image['least'] else 1)
    (row,) = np.flatnonzero(same)
    return int(row)

  def image(self, row):
    h, w = self.stored['size'][row]
    return np.asarray(self.stored['image'][row][:h, :w], np.float32)

  def acts(self, view, place=None):
    """Of a view, of the whole input or of the part that `place` begins."""
    if place is not None:
      whole = np.tile(np.asarray(self.net.mean), (*self.net.input_shape[:2], 1))
      top, left, h, w = place
      whole[top : top + h, left : left + w] = view
      view = whole
    centered = np.asarray(view, np.float64) - np.asarray(self.net.mean)
    return forward(self.table, self.net.params, centered)

  def here(self, act, row):
    """All channels of a layer at the place of a run's unit."""
    _, y, x = self.stored['unit'][row]
    return act if act.ndim == 1 else act[y, x]

  def seen(self, row, chain, key, step):
    """The activations of an image under transforms, as they are drawn."""
    program = self.programs[bool(self.runs.boxed[row])]
    target = program.target(self.runs, np.array([row]))
    target = jax.tree.map(lambda a: jnp.asarray(a)[0], target)
    views = jnp.asarray(self.image(row))[None]
    for i, transform in enumerate(chain):
      draw = core.Draw(jax.random.fold_in(key, i), jnp.array(step), target)
      views = transform(draw, views)
    (view,) = np.asarray(views)
    place = self.stored['box'][row] if self.runs.boxed[row] else None
    return view, self.acts(view, place)


def numbers(page, row, all_acts):
  """{field: value} of one image."""
  stored, config = page.stored, page.config
  channel = stored['unit'][row][0]
  program = page.programs[bool(page.runs.boxed[row])]
  view, acts = all_acts[row]
  here = page.here(acts[page.layer], row)
  rectifier = 'relu' + page.layer.removeprefix('conv')
  found = {
    'activation': here[channel],
    'metric/rank': 1 + sum(here > here[channel]),
    'metric/slope': metrics.slope(view),
    'metric/rectified': page.here(acts[rectifier], row)[channel],
    'metric/dead': (stored['trace/gradient_norm'][row] == 0).all(),
    'seed': config.seed + stored['metric/retries'][row] * runs_.APART,
  }
  others = _others(page, row)
  if len(others) > 1:
    box = page.runs.boxed[row]
    maps = [
      page.here(all_acts[other][1][page.layer], row)[None, None]
      if box
      else all_acts[other][1][page.layer]
      for other in others
    ]
    alike = metrics.alikeness(maps)[others.index(row)]
    found['metric/distance'] = 1 - (alike.sum() - 1) / (len(others) - 1)
  if program.robust is not None:
    scores = []
    for key in jax.random.split(jax.random.key(0), config.robust_draws):
      _, shaken = page.seen(row, program.robust.transforms, key, 0)
      scores.append(page.here(shaken[page.layer], row)[channel])
    found['metric/robust_mean'] = np.mean(scores)
    found['metric/robust_std'] = np.std(scores)
  steps = config.steps
  trace = stored['trace/score'][row]
  step = steps - 1 if config.result == 'last' else int(np.nanargmax(trace))
  table = page.runs._replace(seed=stored['seed'])
  (key,) = runs_.keys(table, np.array([row]))
  key = jax.random.fold_in(jax.random.split(key)[1], step)
  _, shown = page.seen(row, program.recipe.transforms, key, step)
  score = page.here(shown[page.layer], row)[channel]
  return found | {'step': step, 'score': score * stored['sign'][row]}


def _others(page, row):
  s = page.stored
  same = (s['unit'] == s['unit'][row]).all(1) & (s['sign'] == s['sign'][row])
  return np.flatnonzero(same).tolist()


def recomputed(workdir, layer, table, folder=None, units=None):
  """{field: [(said, computed), ...]} of the units of a layer."""
  page = Page(workdir, layer, table)
  pairs, all_acts = {}, {}
  chosen = [
    image
    for image in page.said['images']
    if units is None or image['unit'] in units
  ]
  for image in chosen:
    row = page.row(image)
    h, w = page.programs[bool(page.runs.boxed[row])].geometry.view
    view = transforms.fit(page.image(row), h, w)
    place = page.stored['box'][row] if page.runs.boxed[row] else None
    all_acts[row] = view, page.acts(view, place)
  found = search.read(str(workdir), layer)
  natural = None if folder is None else _photographs(page, folder)
  for image in chosen:
    row = page.row(image)
    values = numbers(page, row, all_acts)
    if found is not None:
      c = image['unit']
      known = page.said['units'][str(c)]['examples']
      if natural is not None:
        for name, of_all in natural.items():
          if name in known:
            pairs.setdefault(f'photographs/{name}', []).append(
              (known[name], of_all[c])
            )
      # Of an activation that was minimized no maximum is a measure.
      strength = np.nan if image['least'] else values['activation']
      values['ratio/maximum'] = strength / found.maximum[c]
      values['ratio/p99_9'] = strength / found.p99_9[c]
      mean, deviation = found.slope
      values['ratio/slope'] = (values['metric/slope'] - mean) / deviation
      if natural is not None:
        pairs.setdefault('photographs/slope', []).append(
          (mean, natural['slope'])
        )
      for k, item in enumerate(known['items']):
        top, left, h, w = item['box']
        crop = np.asarray(found.image[c, k])[:h, :w]
        act = page.acts(crop, item['box'])[layer]
        y, x = item['position']
        value = act[y, x, c] if act.ndim == 3 else act[c]
        pairs.setdefault('photograph', []).append((item['value'], value))
    for field, said in zip(page.said['fields'], image['values'], strict=True):
      name = field['name']
      if name in values:
        pairs.setdefault(name, []).append((said, float(values[name])))
      elif name != 'metric/retries':
        raise ValueError(f'{name} is not computed here')
    curve = page.stored['trace/score'][row][page.said['steps']]
    pairs.setdefault('curve', []).extend(
      zip(image['curve'], curve, strict=True)
    )
  return pairs


def _photographs(page, folder):
  """Statistics of the maxima of photographs, read from their files."""
  maxima, slopes = [], []
  size = page.net.input_shape[0]
  for path in sorted(pathlib.Path(folder).rglob('*.*')):
    # As torchvision does: the shorter side, and the middle.
    with Image.open(path) as file:
      image = file.convert('RGB')
    short = round(size * 256 / 224)
    w, h = image.size
    w, h = (short * n // min(w, h) for n in (w, h))
    image = image.resize((w, h), Image.Resampling.BILINEAR)
    left, top = (w - size) // 2, (h - size) // 2
    view = np.asarray(image.crop((left, top, left + size, top + size)))
    act = page.acts(view)[page.layer]
    maxima.append(act.reshape(-1, act.shape[-1]).max(0))
    slopes.append(metrics.slope(view))
  return metrics.statistics(np.array(maxima)) | {'slope': np.mean(slopes)}


def differences(pairs):
  """{field: (count, largest difference over the largest number)}."""
  found = {}
  for name, both in pairs.items():
    said, again = np.array(both, np.float64).T
    scale = max(np.nanmax(abs(again)), 1e-12)
    assert (np.isnan(said) == np.isnan(again)).all(), name
    found[name] = len(both), float(np.nanmax(abs(said - again)) / scale)
  return found


def main(workdir, layer, folder=None):
  from vizjax.models.networks import alexnet_features

  pairs = recomputed(workdir, layer, alexnet_features.TABLE, folder)
  wrong = 0
  for name, (count, difference) in differences(pairs).items():
    print(f'{name:24} {count:6} {difference:.1e}')
    wrong += difference > ROUNDED.get(name, TOLERANCE)
  return int(wrong > 0)


if __name__ == '__main__':
  sys.exit(main(*sys.argv[1:]))
