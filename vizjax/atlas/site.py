"""A store becomes a site: a network, a page a layer, a page a unit.

  OUT/index.html            the site; #/conv5 is a layer, #/conv5/17 a unit, or
                            a direction, mask or photograph
  OUT/site.css, site.js ... how it looks and what it does
  OUT/data.js, data.json    what is said of the workdir
  OUT/config.py             a config that makes these images again, unless the
                            sweep was a call in Python
  OUT/<layer>/              of `layers`: pictures and numbers

In an address a layer's name is percent-encoded: #/inception_3a%2F1x1/17; as
it is, it is understood, too. Static files with relative links, to be opened
from disk, moved or served. Only the store is read, so a site can be made again
at any time, also of a sweep that is still under way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import errno
import functools
from importlib import resources
import json
import os
import pathlib
import platform
import shlex
import shutil
import threading
from typing import Any
from urllib import parse

import jinja2
import psutil

from vizjax import listing
from vizjax.atlas import diagram
from vizjax.atlas import layers as layers_
from vizjax.errors import UserError
from vizjax.workdir import folders
from vizjax.workdir import store

# In this order: what starts the page comes last.
_CODE = ('site.css', 'elements.js', 'layers.js', 'units.js', 'site.js')

# Ends of the names of the folders in which a site is made and taken away.
_HIDDEN = ('partial', 'old')

# What makes an image again; the units are typed after it.
_COMMAND = 'vizjax run {} --workdir=again {} --config.units='


def write(
  workdir: str,
  *,
  contrast: float | int = 0.5,
  out: str | None = None,
  report: Callable[[str, int, int], Any] = lambda layer, done, count: None,
) -> pathlib.Path:
  """Writes the site of a workdir; it replaces the old one when complete.

  Args:
    workdir: of `sweep.execute`.
    contrast: percent of an image's values at either end that are shown as
      black and white; 0 shows the stored values. The pages say so, and a click
      on a picture opens its true pixels.
    out: the folder; WORKDIR/atlas unless given.
    report: is called with a layer, and how many of its images are written.

  Returns:
    The path of the index.

  Raises:
    UserError: the directory holds no results, or `out` holds other files.
    OSError: it cannot be written.
  """
  provenance = store.read_config(workdir)
  out = folders.output(out, workdir, 'atlas', 'type --out=DIR')
  config = provenance['config']
  labels, subjects = (provenance.get(n, {}) for n in ('labels', 'subjects'))
  with _replacing(out) as folder:
    layers = []
    for name, path in store.layers(workdir).items():
      source = layers_.Source(
        workdir,
        config,
        labels.get(name, []),
        subjects.get(name, 'unit'),
        contrast,
        provenance.get('makers', ()),
      )
      layer_store = store.open_(path)
      told = functools.partial(report, name)
      layers.append(layers_.write(name, layer_store, folder, source, told))
    if not any(layer['done'] for layer in layers):
      raise UserError(
        f'{workdir!r} holds no finished images yet: type the same '
        'vizjax run command, and let it run for longer'
      )
    title = pathlib.Path(workdir).resolve().name
    # A sweep from Python has no text of its network or of its recipe.
    flag = ''
    if config.get('model'):
      flag = f'--config={out / "config.py"}'  # where it will be
      (folder / 'config.py').write_text(_config(title, config))
    _index(folder, title, provenance, layers, flag, contrast)
  return out / 'index.html'


@contextlib.contextmanager
def _replacing(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder to write into that takes the place of an old site at the end.

  Raises:
    UserError: there is something else.
  """
  if out.exists() and not _ours(out):
    raise UserError(
      f'{str(out)!r} holds other files: expected a new or empty folder, or '
      'that of an atlas'
    )
  out.parent.mkdir(parents=True, exist_ok=True)
  _sweep_up(out)
  # Several may make a site of one workdir at once: each in its own folder.
  who = f'{platform.node()}.{os.getpid()}-{threading.get_ident()}'
  folder = out.with_name(f'.{out.name}.{who}')
  partial, old = (folder.with_name(f'{folder.name}.{n}') for n in _HIDDEN)
  partial.mkdir()
  try:
    yield partial
    while True:
      with contextlib.suppress(FileNotFoundError):  # none, or taken by another
        out.rename(old)
      try:
        partial.rename(out)
        return
      except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
          raise
        # Another process put its own there meanwhile, which makes way.
        shutil.rmtree(old, ignore_errors=True)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _sweep_up(out: pathlib.Path) -> None:
  """Removes what processes of this machine left that were killed."""
  before = f'.{out.name}.{platform.node()}.'
  for path in out.parent.iterdir():
    who, _, kind = path.name.removeprefix(before).partition('.')
    number = who.partition('-')[0]
    ours = path.name.startswith(before) and kind in _HIDDEN
    if ours and number.isdecimal() and not psutil.pid_exists(int(number)):
      shutil.rmtree(path, ignore_errors=True)


def _ours(out: pathlib.Path) -> bool:
  """Whether a folder is empty, or of an atlas: these tell their version."""
  if not out.is_dir():
    return False
  index = out / 'index.html'
  made = index.is_file() and 'vizjax' in index.read_text(errors='replace')
  return made or not any(out.iterdir())


def _index(
  folder: pathlib.Path,
  title: str,
  provenance: Mapping[str, Any],
  layers: Sequence[dict[str, Any]],
  flag: str,
  contrast: float | int,
) -> None:
  """Writes index.html, the data that all pages share, and the code."""
  begun = {layer['name']: layer for layer in layers}
  names = provenance.get('layers', list(begun))
  listed = [_listed(begun.get(name, {'name': name}), flag) for name in names]
  data = {
    'title': title,
    'config': {k: v for k, v in provenance['config'].items() if _said(v)},
    'versions': provenance.get('versions', {}),
    'contrast': contrast,
    'layers': listed,
  }
  # A number in a config may be infinite: text for JSON.
  text = json.dumps(_finite(data), allow_nan=False)
  (folder / 'data.json').write_text(text)
  (folder / 'data.js').write_text(f'atlas.site({text});\n')
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader('vizjax.atlas'), autoescape=True
  )
  page = environment.get_template('index.html').render(
    **data,
    from_python=not flag,
    scripts=_CODE[1:],
    diagram=_diagram(provenance, listed),
    done=sum(layer['done'] for layer in listed),
    count=sum(layer['count'] for layer in listed),
    nonfinite=sum(layer['nonfinite'] for layer in listed),
    dead=sum(layer['dead'] for layer in listed),
    waiting=sum(layer['count'] == 0 for layer in listed),
  )
  (folder / 'index.html').write_text(page)
  for name in _CODE:
    code = resources.files('vizjax.atlas') / 'templates' / name
    (folder / name).write_bytes(code.read_bytes())


def _listed(layer: Mapping[str, Any], flag: str) -> dict[str, Any]:
  """What the index and the pages say of a layer, begun or not."""
  name = layer['name']
  return {
    'name': name,
    'href': '#/' + parse.quote(name, safe=''),
    'folder': parse.quote(layer.get('folder', '')),
    'done': layer.get('done', 0),
    'count': layer.get('count', 0),
    'nonfinite': layer.get('nonfinite', 0),
    'dead': layer.get('dead', 0),
    'command': flag
    and _COMMAND.format(
      *map(shlex.quote, [flag, f'--config.layer={listing.typed([name])}'])
    ),
  }


def _diagram(
  provenance: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]
) -> diagram.Diagram:
  """The network, as far as the workdir knows it."""
  made = {layer['name'] for layer in layers if layer['done']}
  network = [
    diagram.Row(name, kind, tuple(inputs), tuple(shape))
    for name, kind, inputs, shape in provenance.get('network', [])
  ]
  if not network:
    network = diagram.column([layer['name'] for layer in layers])
  return diagram.draw(network, made)


def _said(value: Any) -> bool:
  """Whether a knob of a config says anything."""
  return value is not None and value != '' and value != []


def _finite(value: Any) -> Any:
  """The same with the numbers that JSON lacks as text: 'inf'."""
  if isinstance(value, Mapping):
    return {name: _finite(each) for name, each in value.items()}
  if isinstance(value, (list, tuple)):
    return [_finite(each) for each in value]
  finite = not isinstance(value, float) or abs(value) < float('inf')
  return value if finite else str(value)


def _config(title: str, config: Mapping[str, Any]) -> str:
  """The text of a config file with every knob of a stored one."""
  about = f'The config of {title}, knob by knob.'
  lines = [
    repr(about),
    '',
    'from vizjax import build',
    '',
    '',
    'def get_config():',
    '  config = build.config()',
  ]
  for name, value in config.items():
    if value is not None:
      lines.append(f'  config.{name} = {_literal(value)}')
  return '\n'.join([*lines, '  return config', ''])


def _literal(value: Any) -> str:
  if isinstance(value, list):
    return repr(tuple(value))
  if isinstance(value, float) and abs(value) == float('inf'):
    return f"float('{value}')"
  return repr(value)
