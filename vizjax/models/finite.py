"""Tells of weights that are NaN or infinite."""

import warnings

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import PyTree
import numpy as np


def broken(params: PyTree) -> list[str]:
  """Returns the arrays of a network with weights that are NaN or infinite.

  Args:
    params: the weights of a network.

  Returns:
    For each such array its name and how many of its weights are: 'a/b: 1 of 6'.
  """
  found = []
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    known = not isinstance(leaf, jax.core.Tracer)
    if known and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
      wrong = int((~np.isfinite(np.asarray(leaf))).sum())
      if wrong:
        name = jax.tree_util.keystr(path, simple=True, separator='/')
        found.append(f'{name or "the array"}: {wrong} of {np.size(leaf)}')
  return found


def warn(params: PyTree) -> None:
  """Warns of weights that are NaN or infinite, in one warning.

  Args:
    params: the weights of a network.
  """
  found = broken(params)
  if found:
    count = len(found) - 1
    more = f' (also in {count} more array{"s"[: count - 1]})' if count else ''
    warnings.warn(
      f'{found[0]} weights are NaN or infinite{more}, and so are the scores of '
      'the units that read them: take the weights from their source again',
      stacklevel=3,
    )
