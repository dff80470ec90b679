"""What results are of: config, versions, and what processes must agree in."""

import platform
from importlib import metadata
from typing import Any

import jax
from ml_collections import config_dict

import vizjax
from vizjax import store

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')


def of(config: config_dict.ConfigDict, source: str) -> dict[str, Any]:
  """What can be said before anything is read.

  Args:
    config: the configuration.
    source: text of its file.
  """
  return {'config': config.to_dict(), 'versions': versions(), 'source': source}


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
  return {
    **{f'config.{n}': v for n, v in config.items() if n not in store.FREE},
    **found,
    'weights and files': provenance['fingerprint'],
  }
