"""What results are of: config, versions, and what processes must agree in."""

from collections.abc import Mapping
from importlib import metadata
import json
import platform
from typing import Any

import jax

import vizjax
from vizjax import build
from vizjax import core
from vizjax import listing
from vizjax.workdir import folders
from vizjax.workdir import store

# What a config.json without knobs keeps of a request.
_KNOBS = (
  'units', 'sign', 'replicates', 'seed', 'retries', 'box', 'steps', 'result',
  'image_dtype', 'save_every', 'robust_draws', 'tile_batch', 'memory', 'batch',
  'every', 'show',
)  # fmt: skip

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')


def of(request: build.Request, source: str) -> dict[str, Any]:
  """What can be said before anything is read.

  Args:
    request: what is wanted.
    source: text of its file.
  """
  config = {
    'layer': listing.typed(request.layers),
    **{name: getattr(request, name) for name in _KNOBS},
    **request.values,
  }
  return {'config': config, 'versions': versions(), 'source': source}


def network(model: core.Model, shapes: Mapping[str, Any]) -> list[list]:
  """Name, kind, inputs and shape of each layer, in order, as JSON has it.

  Inputs are known of networks that are tables of layers.

  Args:
    model: the network.
    shapes: of its activations, for an image of its own size.
  """
  table = getattr(getattr(model.apply, 'network', None), 'table', ())
  inputs = {row.name: row.inputs for row in table}
  return [
    [
      info.name,
      info.kind,
      list(inputs.get(info.name, ())),
      [*shapes[info.name].shape],
    ]
    for info in model.layers
  ]


def versions() -> dict[str, str]:
  """Versions of all that the numbers depend on."""
  found = {name: metadata.version(name) for name in _PACKAGES}
  return {
    'vizjax': vizjax.__version__,
    'python': platform.python_version(),
    **found,
    'device': jax.local_devices()[0].device_kind,
  }


def facts(provenance: dict[str, Any]) -> dict[str, Any]:
  """What processes that share work must agree in.

  Devices may differ, and what may change from run to run.
  """
  config, found = provenance['config'], dict(provenance['versions'])
  del found['device']
  digests = provenance['digests']
  return {
    **{f'config.{n}': v for n, v in config.items() if n not in store.FREE},
    **found,
    **{f'digest {name!r}': digests[name] for name in store.DIGESTS},
  }


def enlisted(workdir: str) -> int:
  """Returns the place of this process in the list 'makers' of config.json.

  Versions and device are added to the list where they are new.

  Returns:
    The place, from 0; -1 of a workdir of format 1, which has no such list.
  """
  here = versions()

  def edit(content):
    there = json.loads(content)
    if here not in there['makers']:
      there['makers'].append(here)
    return (json.dumps(there, indent=2) + '\n').encode()

  there = store.read_config(workdir)
  if store.format_of(there) == 1:
    return -1
  if here not in there['makers']:
    folders.change(folders.File(workdir, store.CONFIG), edit)
    there = store.read_config(workdir)
  return there['makers'].index(here)
