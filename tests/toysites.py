"""Workdirs of noise, for sites: made at once, as no network is run."""

import numpy as np

from vizjax.examples import search as search_
from vizjax.workdir import store

VERSIONS = {'vizjax': '0.0', 'python': '3.11', 'jax': '0.10', 'device': 'cpu'}

# Two branches of a small network, with a layer that has no images.
NETWORK = [
  ['conv1', 'conv', ['data'], [12, 12, 4]],
  ['relu1', 'relu', ['conv1'], [12, 12, 4]],
  ['pool1', 'max_pool', ['relu1'], [6, 6, 4]],
  ['branch/1x1', 'conv', ['pool1'], [6, 6, 4]],
  ['branch/reduce', 'conv', ['pool1'], [6, 6, 2]],
  ['branch/3x3', 'conv', ['branch/reduce'], [6, 6, 4]],
  ['branch/join', 'concat', ['branch/1x1', 'branch/3x3'], [6, 6, 8]],
  ['fc', 'fc', ['branch/join'], [5]],
]


def activations(count):
  """Of so many units: 0 has the third largest, and so on."""
  return (np.arange(count) * 7 + 3) % count + 0.5


def workdir(
  path,
  layers=('conv1', 'branch/1x1'),
  *,
  count=12,
  size=8,
  done=None,
  replicates=1,
  least=False,
  metrics=(),
  **provenance,
):
  """A workdir [count units of each layer], of which `done` runs are made.

  Args:
    path: a folder.
    layers: names.
    count: units.
    size: pixels of an image.
    done: runs that are made of each layer; all unless given.
    replicates: images of each unit; that of an odd number is half as strong.
    least: whether images of odd replicates are minimized.
    metrics: names of fields, which hold the number of the unit.
    provenance: more of config.json.
  """
  config = {
    'model': 'toynets.net()', 'layer': ','.join(layers), 'units': None,
    'replicates': replicates, 'seed': 7, 'steps': 8, 'rate': 0.05,
    'objective': 'neuron(layer)', 'optimizer': 'adam(rate)', 'prior': '',
    'memory': float('inf'),
  }  # fmt: skip
  said = {
    'config': config, 'versions': VERSIONS, 'source': '', 'fingerprint': '',
    'layers': list(layers),
  }  # fmt: skip
  store.claim(str(path), said | provenance)
  n = count * replicates
  numbers = np.arange(n) // replicates, np.arange(n) % replicates
  for layer in layers if done != 0 else ():
    columns = _columns(n, size, *numbers)
    columns |= {name: numbers[0].astype(np.float32) for name in metrics}
    if least:
      columns['sign'] = np.where(numbers[1] % 2, -1, 1).astype(np.int32)
    fields = {name: (c.shape[1:], c.dtype) for name, c in columns.items()}
    kept = store.create(store.directory(str(path), layer), fields, n, n)
    rows = np.arange(n if done is None else done)
    store.write(kept, rows, {name: c[rows] for name, c in columns.items()})
  return path


def _columns(n, size, units, replicates):
  draw = np.random.RandomState(0)
  strength = activations(units.max() + 1)[units] / (1 + replicates % 2)
  whole = [0, 0, size, size]
  return {
    'unit': np.stack([units, 0 * units + 6, 0 * units + 6], -1).astype('i4'),
    'replicate': replicates.astype(np.int32),
    'box': np.tile(np.int32(whole), (n, 1)),
    'size': np.tile(np.int32([size, size]), (n, 1)),
    'seen': np.tile(np.int32(whole), (n, 1)),
    'image': draw.uniform(0, 255, (n, size, size, 3)).astype(np.float32),
    'score': strength.astype(np.float32),
    'activation': strength.astype(np.float32),
    'step': np.full(n, 7, np.int32),
    'trace/score': np.linspace(0, strength, 8).T.astype(np.float32),
  }


def examples(monkeypatch, path, count=12, k=3):
  """Puts a search of photographs beside a workdir, of layer conv1."""
  draw = np.random.RandomState(1)
  found = search_.Found(
    ids=[[f'<b>{c}_{i}.jpg' for i in range(k)] for c in range(count)],
    value=np.tile(np.arange(k, 0.0, -1), (count, 1)),
    position=np.zeros((count, k, 2), np.int32),
    box=np.tile(np.int32([0, 0, 8, 6]), (count, k, 1)),
    image=draw.randint(0, 256, (count, k, 8, 8, 3), np.uint8),
    maximum=np.full(count, 2.0),
    mean=np.full(count, 0.5),
    deviation=np.full(count, 0.25),
    p99=np.full(count, 0.75),
    p99_9=np.full(count, 1.0),
    slope=(-2.0, 0.5),
  )
  found.value[0, 1:] = np.nan  # one photograph alone
  folder = str(path)

  def read(workdir, layer):
    return found if (workdir, layer) == (folder, 'conv1') else None

  monkeypatch.setattr(search_, 'read', read)
  return found
