"""Damaged copies of every kind of file that a user gives, read one by one.

  python tests/fuzz.py [FORMAT ...] [--first=0] [--count=20000] [--refusals]

Each copy must be read, or refused by a ValueError or OSError of one line,
within 10 seconds and 1 GB. Copies are made by `mutations.mutated`, each fifth
by `mutations.extreme`, of the seeds from --first on, in turn of the files of a
format. A worker process reads them;
one that hangs or dies is replaced, and its seed is reported. Prints a line of
counts for each format, and each kind of failure with a seed that shows it; the
exit status is 1 if there is any.
"""

import argparse
import collections
import functools
import io
import json
import os
import pathlib
import re
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
import warnings

TESTS = pathlib.Path(__file__).parent
SECONDS = 10
MEMORY = 2**30  # bytes
FINE = ('read', 'refused', 'refused for memory')

FORMATS = (
  'prototxt',
  'caffemodel',
  'binaryproto',
  'pth',
  'h5',
  'mat',
  'npy',
  'npz',
  'safetensors',
  'photographs',
)


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('formats', nargs='*', default=FORMATS)
  parser.add_argument('--first', type=int, default=0)
  parser.add_argument('--count', type=int, default=20000)
  parser.add_argument('--refusals', action='store_true', help='lists them')
  parser.add_argument('--worker', action='store_true')
  options = parser.parse_args()
  seeds = range(options.first, options.first + options.count)
  if options.worker:
    return work(options.formats[0], seeds)
  failed = [fuzz(form, seeds, options.refusals) for form in options.formats]
  sys.exit(1 if any(failed) else 0)


def fuzz(form, seeds, listed):
  """Reads all copies of a format, and prints the counts.

  Returns:
    The number of copies that were neither read nor refused.
  """
  begun, counts, shown = time.monotonic(), collections.Counter(), {}
  refusals = collections.Counter()
  done = seeds.start
  while done < seeds.stop:
    # A worker that ends early ends at the seed of its last outcome.
    for seed, outcome, detail in outcomes(form, range(done, seeds.stop)):
      done = seed + 1
      counts[outcome] += 1
      if outcome == 'refused':
        refusals[detail] += 1
      if outcome not in FINE:
        shown.setdefault((outcome, detail), seed)
  seconds = time.monotonic() - begun
  told = ', '.join(f'{n} {outcome}' for outcome, n in counts.most_common())
  print(
    f'{form}: seeds {seeds.start} to {seeds.stop - 1}: {told}; '
    f'{len(refusals)} kinds of refusal; {seconds:.0f} s'
  )
  for (outcome, detail), seed in shown.items():
    print(f'  {outcome}: {detail} (seed {seed})')
  for detail, n in refusals.most_common() if listed else ():
    print(f'  {n} refused: {detail}')
  sys.stdout.flush()
  return sum(n for key, n in counts.items() if key not in FINE)


def outcomes(form, seeds):
  """Yields (seed, outcome, detail) until a worker is done, hangs or dies."""
  command = [sys.executable, __file__, '--worker', form]
  command += [f'--first={seeds.start}', f'--count={len(seeds)}']
  with subprocess.Popen(
    command, stdout=subprocess.PIPE, env={**os.environ, 'JAX_PLATFORMS': 'cpu'}
  ) as process:
    try:
      lines, seed = Lines(process.stdout), None
      while (line := lines.next(120 if seed is None else SECONDS + 2)) != '':
        if line is None:
          yield seed, 'hangs', form
          return
        found = json.loads(line)
        seed = found[0]
        if len(found) > 1:
          yield found
      if process.wait() and seed is not None:
        yield seed, 'ends the process', f'status {process.returncode}'
      elif process.returncode:
        raise RuntimeError(f'the worker of {form} does not start')
    finally:
      process.kill()


class Lines:
  """The lines of a pipe, with a limit to waiting."""

  def __init__(self, stream):
    self.stream = stream
    self.selector = selectors.DefaultSelector()
    self.selector.register(stream, selectors.EVENT_READ)
    self.waiting = b''

  def next(self, seconds):
    """A line; '' at the end; None if there is none in so many seconds."""
    while b'\n' not in self.waiting:
      if not self.selector.select(seconds):
        return None
      block = os.read(self.stream.fileno(), 2**16)
      if not block:
        return ''
      self.waiting += block
    line, _, self.waiting = self.waiting.partition(b'\n')
    return line.decode()


def work(form, seeds):
  """Tells of each seed that it begins, and what became of it."""
  folders = (TESTS, TESTS / 'models', TESTS.parent)
  sys.path[:0] = map(str, folders)
  import mutations

  out = os.fdopen(os.dup(1), 'w', buffering=1)
  os.dup2(2, 1)
  # To write a small file anew takes ten times as long on some disks.
  memory_disk = '/dev/shm' if os.path.isdir('/dev/shm') else None
  with tempfile.TemporaryDirectory(dir=memory_disk) as folder:
    read, contents = KINDS[form](pathlib.Path(folder))
    for name, content in contents.items():
      path = pathlib.Path(folder, name)
      path.write_bytes(content)
      try:
        read(path)
      except ValueError as error:
        print(f'{name} is refused even when it is whole: {error}')
    used = memory('VmSize') + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
    names = list(contents)
    for seed in seeds:
      print(json.dumps([seed]), file=out)
      name = names[seed % len(names)]
      # By way of the quotient, that each file gets every kind of damage.
      damage = mutations.mutated if seed % 5 else mutations.extreme
      damaged = damage(contents[name], seed // len(names))
      path = pathlib.Path(folder, name)
      path.write_bytes(damaged)
      print(json.dumps([seed, *outcome(read, path)]), file=out)


def outcome(read, path):
  pathlib.Path('/proc/self/clear_refs').write_text('5')  # the peak, anew
  before, begun = memory('VmRSS'), time.monotonic()
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      read(path)
    found = 'read', ''
  except (ValueError, OSError) as error:
    found = judged(error)
  except Exception as error:
    found = 'another exception', f'{type(error).__name__} {place(error)}'
  if memory('VmHWM') - before > MEMORY:
    return 'takes memory', place_of(found)
  if time.monotonic() - begun > SECONDS:
    return 'takes time', place_of(found)
  return found


def judged(error):
  """Whether an error is one line for a user, and of what kind."""
  text = str(error)
  if '\n' in text or not text or len(text) > 1500:
    return (
      'not one line',
      f'{type(error).__name__} {place(error)}: {text[:200]}',
    )
  if 'MemoryError' in text:
    return 'refused for memory', f'{place(error)}: {text[:200]}'
  kind = re.sub(r"'[^']*'|\"[^\"]*\"|[\d.,]+", '#', text)
  return 'refused', kind[:120]


def place(error):
  root = error.__cause__ or error
  frames = traceback.extract_tb(root.__traceback__)
  return f'{pathlib.Path(frames[-1].filename).name}:{frames[-1].lineno}'


def place_of(found):
  return f'{found[0]} {found[1]}'


def memory(name):
  """A size of this process in bytes, by its name in /proc."""
  text = pathlib.Path('/proc/self/status').read_text()
  return int(re.search(rf'{name}:\s+(\d+) kB', text)[1]) * 1024


def quickly():
  """The shapes of one table are always the same; weights stay NumPy's."""
  import numpy as np

  from vizjax.models.interpreter import layers

  layers.shapes = functools.cache(layers.shapes)
  layers.jnp = np


def weights_of(make):
  """Files of weights for a toy network, and `load` of it."""

  def kind(folder):
    import test_published

    from vizjax.models.networks import published

    quickly()

    def read(path):
      published.load('toy', test_published.TOY, str(path))

    return read, make(folder, test_published)

  return kind


def made(folder, name, write):
  path = folder / name
  write(path)
  return path.read_bytes()


def pth(folder, toy):
  import test_torch

  groups, arrays = toy.laid_out('torch', False), {}
  flat = {
    f'{g}.{n}': a for g, group in groups.items() for n, a in group.items()
  }
  entries = {}
  for i, (name, array) in enumerate(flat.items()):
    key = str(i)
    arrays[key] = array.copy(order='C').ravel()
    strides = [s // array.itemsize for s in array.copy(order='C').strides]
    stored = test_torch.storage('FloatStorage', key, array.size)
    entries[name] = test_torch.tensor(stored, 0, array.shape, strides)
  value = test_torch.dictionary(entries)
  return {
    f'{f}.pth': make(value, arrays) for f, make in test_torch.MAKE.items()
  }


def h5(folder, toy):
  import test_keras

  params = toy.laid_out('keras', False)
  options = {
    'plain': {},
    'chunked': {'chunks': True},
    'deflated': {'compression': 'gzip', 'shuffle': True},
    'model': {'under': 'model_weights'},
  }
  return {
    f'{name}.h5': test_keras.save(folder / f'{name}.h5', params, **more)
    for name, more in options.items()
  }


def mat(folder, toy):
  import test_matconvnet

  layers = [
    {'name': name, 'type': 'conv', 'weights': test_matconvnet.cell(*g.values())}
    for name, g in toy.laid_out('matconvnet', False).items()
  ]
  content = {**test_matconvnet.NEW, 'layers': test_matconvnet.cell(*layers)}
  return {
    'plain.mat': test_matconvnet.save(content),
    'deflated.mat': test_matconvnet.save(content, do_compression=True),
  }


def npz(folder, toy):
  import numpy as np

  from vizjax.models.formats import arrays

  groups = toy.laid_out('vizjax', False)
  flat = {
    f'{g}:{n}': a for g, group in groups.items() for n, a in group.items()
  }
  return {
    'plain.npz': made(folder, 'a.npz', lambda p: arrays.write(p, groups)),
    'deflated.npz': made(
      folder, 'b.npz', lambda p: np.savez_compressed(p, **flat)
    ),
  }


def safetensors(folder, toy):
  from vizjax.models.formats import arrays

  kinds = {k: toy.laid_out(k, False) for k in ('vizjax', 'torch')}
  return {
    f'{k}.safetensors': made(
      folder, f'{k}.safetensors', lambda p, g=groups: arrays.write(p, g)
    )
    for k, groups in kinds.items()
  }


def npy(folder):
  """Dictionaries of caffe-tensorflow, and plain arrays."""
  import numpy as np

  read_weights, _ = weights_of(lambda folder, toy: None)(folder)
  import test_npy_files
  import test_published

  from vizjax.models import means

  value = np.empty((), object)
  value[()] = test_published.laid_out('tensorflow', False)
  stream = io.BytesIO()
  np.save(stream, value)

  def read(path):
    if path.name == 'dictionary.npy':
      return read_weights(path)
    means.load_npy(str(path))

  array = np.arange(60.0).reshape(3, 4, 5)
  contents = {
    'array.npy': test_npy_files.saved(array),
    'columns.npy': test_npy_files.saved(np.asfortranarray(array), (2, 0)),
    'dictionary.npy': stream.getvalue(),
  }
  return read, contents


def caffe_files(folder):
  from oracles import caffemodel
  import test_caffe

  texts = {'v2': test_caffe.V2, 'v1': test_caffe.V1, 'v0': test_caffe.V0}
  blobs = {name: caffemodel.blobs(text) for name, text in texts.items()}
  return texts, blobs, caffemodel


def prototxt(folder):
  from vizjax.models import caffe

  texts, blobs, caffemodel = caffe_files(folder)
  for name in texts:
    caffemodel.write(folder / f'{name}.caffemodel', blobs[name])

  def read(path):
    caffe.load(str(path), str(path.with_suffix('.caffemodel')))

  return read, {f'{n}.prototxt': t.encode() for n, t in texts.items()}


def caffemodels(folder):
  from vizjax.models import caffe

  quickly()
  texts, blobs, caffemodel = caffe_files(folder)
  for name, text in texts.items():
    (folder / f'{name}.prototxt').write_text(text)

  def read(path):
    caffe.load(str(path.with_suffix('.prototxt')), str(path))

  contents = {}
  for generation, name in enumerate(('v0', 'v1', 'v2')):
    path = folder / f'{name}.caffemodel'
    caffemodel.write(path, blobs[name], generation, legacy=generation < 2)
    contents[path.name] = path.read_bytes()
  return read, contents


def binaryproto(folder):
  """Mean images of Caffe: a blob alone."""
  import numpy as np

  from vizjax.models import means
  from vizjax.models.formats import caffe_schema

  contents = {}
  values = np.arange(3 * 8 * 9, dtype='<f4')
  for name in ('four', 'shape'):
    blob = caffe_schema.message('BlobProto')
    blob.data.append(values.tobytes())
    if name == 'shape':
      blob.shape.dim.extend((1, 3, 8, 9))
    else:
      blob.num, blob.channels, blob.height, blob.width = 1, 3, 8, 9
    contents[f'{name}.binaryproto'] = blob.SerializeToString()

  return lambda path: means.mean(str(path), (6, 6, 3)), contents


def photographs(folder):
  import numpy as np
  from PIL import Image

  from vizjax.photographs import files as files_

  draw = np.random.RandomState(0)
  colors = Image.fromarray(draw.randint(0, 256, (24, 30, 3), np.uint8))
  exif = Image.Exif()
  exif[0x0112] = 6
  alpha = colors.convert('RGBA')
  alpha.putalpha(99)
  pictures = {
    'a.png': (colors, {}),
    'palette.png': (colors.convert('P'), {'transparency': 3}),
    'alpha.png': (alpha, {}),
    'deep.png': (
      Image.fromarray(draw.randint(0, 2**16, (9, 9)).astype('u2')),
      {},
    ),
    'a.jpg': (colors, {'exif': exif}),
    'grey.jpg': (colors.convert('L'), {'progressive': True}),
    'cmyk.jpg': (colors.convert('CMYK'), {}),
    'a.gif': (colors.convert('P'), {}),
    'a.bmp': (colors, {}),
    'a.tif': (colors, {'compression': 'tiff_lzw'}),
    'float.tif': (Image.fromarray(draw.rand(9, 9).astype('f4')), {}),
    'a.webp': (colors, {}),
    'a.ppm': (colors, {}),
  }
  contents = {}
  for name, (picture, options) in pictures.items():
    picture.save(folder / name, **options)
    contents[name] = (folder / name).read_bytes()
  return lambda path: files_.read(str(path)), contents


KINDS = {
  'prototxt': prototxt,
  'caffemodel': caffemodels,
  'binaryproto': binaryproto,
  'pth': weights_of(pth),
  'h5': weights_of(h5),
  'mat': weights_of(mat),
  'npy': npy,
  'npz': weights_of(npz),
  'safetensors': weights_of(safetensors),
  'photographs': photographs,
}


if __name__ == '__main__':
  main()
