"""A table of how far imported Caffe networks are from OpenCV's.

  .venv/bin/python tests/parity.py PROTOTXT ... > docs/parity.md

Each is given random weights in a real .caffemodel; every layer is compared at
the network's own size and, where nothing is fully connected, at 243 x 229.
"""

import pathlib
import sys
import tempfile

from oracles import caffemodel
import test_caffe

HEAD = """# Imported networks against OpenCV

`cv2.dnn` reads the same prototxt and caffemodel, with random weights. The
difference is max|a - b| / max|b| over a layer; the largest of all layers is
shown, and the layer. Made by

```
.venv/bin/python tests/parity.py PROTOTXT ... > docs/parity.md
```

| network | layers | at its own size | layers | at 243 x 229 |
|---|--:|---|--:|---|"""


def _cells(text: str | None, folder: pathlib.Path) -> str:
  if text is None:
    return '| | starts from a code '
  model, *files = test_caffe.imported(folder, text)
  worst = test_caffe.difference(model, *files)
  layer = max(worst, key=worst.get)
  return f'| {len(worst)} | {worst[layer]:.1e} `{layer}` '


def main() -> None:
  print(HEAD)
  for path in sorted(map(pathlib.Path, sys.argv[1:])):
    text = path.read_text()
    with tempfile.TemporaryDirectory() as folder:
      folder = pathlib.Path(folder)
      cells = [_cells(t, folder) for t in (text, caffemodel.sliding(text))]
    name = '/'.join(path.parts[-2:])
    print(f'| {name} {"".join(cells)}|', flush=True)


if __name__ == '__main__':
  main()
