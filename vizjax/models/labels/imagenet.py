"""The thousand classes of ILSVRC 2012, in the order of their numbers.

Russakovsky et al. 2015, https://arxiv.org/abs/1409.0575. The numbers are
those of the sorted synset ids.
"""

import functools
from importlib import resources


def labels() -> tuple[str, ...]:
  """Names of the classes; synonyms are separated by commas.

  The words of WordNet for the synsets, as the labels of TensorFlow Datasets
  list them: the two cranes are told apart there.
  """
  return tuple(name for _, name in _classes())


def synsets() -> tuple[str, ...]:
  """WordNet's ids of the classes, such as 'n01440764'."""
  return tuple(synset for synset, _ in _classes())


@functools.cache
def _classes() -> tuple[tuple[str, str], ...]:
  """(synset, name) of each class."""
  text = (
    resources.files('vizjax.models.labels').joinpath('imagenet.txt').read_text()
  )
  pairs = (line.partition(' ')[::2] for line in text.splitlines())
  return tuple((synset, name) for synset, name in pairs)
