"""The thousand classes of ILSVRC 2012, in the order of their numbers."""

import functools
from importlib import resources


@functools.cache
def labels() -> tuple[str, ...]:
  """Names of the classes; synonyms are separated by commas.

  The words of WordNet for the synsets of Russakovsky et al. 2015,
  https://arxiv.org/abs/1409.0575, as the labels of TensorFlow Datasets list
  them: the two cranes are told apart there.
  """
  text = resources.files('vizjax.models').joinpath('imagenet.txt').read_text()
  return tuple(text.splitlines())
