"""The 205 kinds of scenes of Places, in the order of their numbers."""

import functools
from importlib import resources


@functools.cache
def labels() -> tuple[str, ...]:
  """Names of the scenes, as 'apartment building/outdoor'.

  Zhou et al. 2014, "Learning deep features for scene recognition using Places
  database"; the order is that of categoryIndex_places205 in the archive of
  their networks.
  """
  text = (
    resources.files('vizjax.models.labels')
    .joinpath('places205.txt')
    .read_text()
  )
  return tuple(text.splitlines())
