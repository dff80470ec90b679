"""Tables of how far networks are from OpenCV's and PyTorch's.

  .venv/bin/python tests/parity.py [PROTOTXT ...]

Every network of vizjax.models, and each prototxt that is given, has random
weights in a real .caffemodel or .pth; every layer is compared at the
network's own size and at 243 x 229, where of Caffe's nothing that is fully
connected is left. Of a prototxt that vizjax or OpenCV refuses the sentence is
in the table. torchvision's networks are there where it is installed. The
output is a part of docs/parity.md.
"""

import pathlib
import sys
import tempfile

import cv2
from oracles import caffemodel

sys.path.insert(0, str(pathlib.Path(__file__).parent / 'models'))

import test_caffe  # noqa: E402
import test_published  # noqa: E402

HEAD = """
| network | layers | at its own size | layers | at 243 x 229 |
|---|--:|---|--:|---|"""


def _row(name: str, pair) -> str:
  cells = []
  for worst in pair:
    if worst is None:
      cells.append('| | starts from a code ')
      continue
    layer = max(worst, key=worst.get)
    cells.append(f'| {len(worst)} | {worst[layer]:.1e} `{layer}` ')
  return f'| {name} {"".join(cells)}|'


def _imported(text: str | None, folder: pathlib.Path):
  if text is None:
    return None
  model, *files = test_caffe.imported(folder, text)
  return test_caffe.difference(model, *files)


def _prototxt(path: pathlib.Path, folder: pathlib.Path):
  text = path.read_text()
  return [_imported(t, folder) for t in (text, caffemodel.sliding(text))]


def _table(rows: dict) -> None:
  print(HEAD)
  for name, compare in rows.items():
    with tempfile.TemporaryDirectory() as folder:
      try:
        row = _row(name, compare(pathlib.Path(folder)))
      except (ValueError, cv2.error) as error:
        row = f'| {name} | | {" ".join(str(error).split())} | | |'
    print(row, flush=True)


def main() -> None:
  def compared(name):
    torch = name.startswith('torchvision')
    compare = test_published.against_opencv
    compare = test_published.against_pytorch if torch else compare
    return lambda folder: compare(name, folder)

  names = test_published.NAMES
  try:
    import torchvision  # noqa: F401
  except ImportError:
    names = [name for name in names if not name.startswith('torchvision')]
  _table({f'`{name}`': compared(name) for name in names})
  paths = sorted(map(pathlib.Path, sys.argv[1:]))
  if paths:
    _table(
      {
        '/'.join(path.parts[-2:]): lambda folder, path=path: _prototxt(
          path, folder
        )
        for path in paths
      }
    )


if __name__ == '__main__':
  main()
