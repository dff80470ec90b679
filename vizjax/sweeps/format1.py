"""Fingerprints of workdirs of format 1, by the rules they were made with.

Their config.json has one 'fingerprint' where format 2 has 'digests'. These
rules never change: a workdir of before goes on by them.
"""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from vizjax import core
from vizjax.photographs import files
from vizjax.sweeps import digests
from vizjax.workdir import store

# The knobs whose formulas were searched for names of files.
_KNOBS = ('start', 'direction', 'mask', 'data', 'optimizer', 'projections')


def of_networks(
  config: Mapping[str, Any],
  networks: Sequence[core.Model],
  photographs: Sequence[files.Photograph],
) -> str:
  """Returns the fingerprint of all that images are made from.

  Args:
    config: its knobs, which may name files.
    networks: all of them, whole.
    photographs: that images start from.
  """
  found = jax.tree.leaves(networks) + [each.image for each in photographs]
  return store.WHOLE + store.fingerprint(found, strings(config))


def of_parts(config: Mapping[str, Any], parts: Sequence[Any]) -> str:
  """Returns the fingerprint of the layers that are asked for: the first rule.

  Args:
    config: its knobs, which may name files.
    parts: what the programs of the layers read, in order.
  """
  return store.fingerprint(jax.tree.leaves(parts), strings(config))


def strings(config: Mapping[str, Any]) -> list[str]:
  """Returns the texts in knobs that may be names of files."""
  found = [config[knob] for knob in _KNOBS if config[knob].endswith('.npy')]
  for knob in _KNOBS:
    text = config[knob]
    if text.strip() and not text.endswith('.npy'):
      text = f'record({text})' if knob == 'data' else text.strip()
      for value in _arguments(config, text):
        found += digests.named(value) if isinstance(value, str) else []
  return found


def _arguments(config: Mapping[str, Any], text: str) -> list[Any]:
  """Returns what the calls of a formula are given: literals, then knobs."""
  found = []
  for node in ast.walk(ast.parse(text, mode='eval').body):
    if isinstance(node, ast.Call):
      values = [*node.args, *(keyword.value for keyword in node.keywords)]
      found += [v.value for v in values if isinstance(v, ast.Constant)]
      found += [config.get(v.id) for v in values if isinstance(v, ast.Name)]
  return found
