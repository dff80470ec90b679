"""Where the weights of the published networks are, and how they get here.

  catalogue.find('bvlc_caffenet')      # its path, or an error with what to type
  catalogue.fetch('bvlc_caffenet')     # downloads it; what came before is kept

A download is a hidden file beside its destination, and takes the final name
once its size and checksum are right. No weights are ever changed here. Bounds
of units, which are published as text, are rows of the same table.
"""

from collections.abc import Callable
import hashlib
import os
import pathlib
from typing import NamedTuple

from vizjax import errors
from vizjax import files
from vizjax.errors import UserError
from vizjax.models.download import archives
from vizjax.models.download import transfer

VARIABLE = 'VIZJAX_WEIGHTS'
COMMAND = 'vizjax weights'

# Short names of licences, and what they ask.
LICENCES = {
  'unrestricted': 'released by its authors for unrestricted use',
  'CC BY': 'Creative Commons Attribution: free to use, naming the authors',
  'CC BY-NC 4.0': (
    'Creative Commons Attribution-NonCommercial 4.0: name the authors; no '
    'commercial use'
  ),
  'research only': "for research; commercial use needs the authors' consent",
  'MIT': 'free to use; copies go with the notice of its authors',
  'BSD-3-Clause': 'the licence of torchvision, which publishes the file',
  'see authors': "told on the authors' page, not beside the file: read it",
}
NONCOMMERCIAL = ('CC BY-NC 4.0', 'research only')


class Checksum(NamedTuple):
  """The hexadecimal digest of a file."""

  kind: str  # 'sha1', 'sha256', or 'sha256-prefix', its first digits
  value: str


class File(NamedTuple):
  """A published file."""

  name: str
  file: str
  address: str
  checksum: Checksum | None  # None: no sure one is published
  licence: str  # a key of LICENCES
  accuracy: str = ''  # percent of ImageNet's or Places' validation, top-1/top-5
  size: int | None = None  # bytes; None: not known
  note: str = ''
  member: str = ''  # the weights' path in it, if it is an archive: a pattern
  what: str = 'weights'  # or 'bounds', numbers for the units of a layer


def _sha1(value: str) -> Checksum:
  return Checksum('sha1', value)


_BVLC = 'http://dl.caffe.berkeleyvision.org'
_VGG = 'http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe'
_PLACES = 'http://places.csail.mit.edu/model'
_TORCH = 'https://download.pytorch.org/models'

# One archive with generators that invert layers of CaffeNet.
_DEEPSIM = tuple(
  File(
    f'deepsim_{layer}',
    'release_deepsim_v0.zip',
    'https://lmb.informatik.uni-freiburg.de/resources/binaries/'
    'arxiv2016_alexnet_inversion_with_gans/release_deepsim_v0.zip',
    None,
    'research only',
    note='One archive for all of deepsim. No checksum is published.',
    member=f'*{layer}/generator.caffemodel',
  )
  for layer in ('fc6', 'fc7', 'pool5')
)

# Upper bounds of a code, with which deepsim_fc6 is used.
_SUMS = (
  '39040cecb2292fbe544547e001b98e953f9d7a246ed241b01e77ed852315ac3b',
  '2d69ff42fd36b74b710c8263e18605b405fb1c3fe0e267ef2a65436dc344857a',
  '615c088ea5beff9c1cd67fe643d8daa5ea7370cb93a70656951b88194a7c65cc',
)
_RANGES = tuple(
  File(
    f'act_range_{times}x_fc6',
    f'act_range_{times}x_fc6.txt',  # they are all published as fc6.txt
    'https://raw.githubusercontent.com/Evolving-AI-Lab/synthesizing/master/'
    f'act_range/{times}x/fc6.txt',
    Checksum('sha256', value),
    'MIT',
    size=size,
    note=f'Of each unit mean + {times} x standard deviation, whole numbers.',
    what='bounds',
  )
  for times, size, value in zip(
    (1, 2, 3), (8192, 8427, 12185), _SUMS, strict=True
  )
)

FILES = (
  File(
    'bvlc_alexnet',
    'bvlc_alexnet.caffemodel',
    f'{_BVLC}/bvlc_alexnet.caffemodel',
    _sha1('9116a64c0fbe4459d18f4bb6b56d647b63920377'),
    'unrestricted',
    accuracy='57.1/80.2',
  ),
  File(
    'bvlc_caffenet',
    'bvlc_reference_caffenet.caffemodel',
    f'{_BVLC}/bvlc_reference_caffenet.caffemodel',
    _sha1('4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46'),
    'unrestricted',
    accuracy='57.4/80.4',
  ),
  File(
    'caffenet_yos',
    'caffenet-yos-weights',
    'http://c.yosinski.com/caffenet-yos-weights',
    None,
    'see authors',
    note='About 230 MB. Authors: http://yosinski.com/deepvis',
  ),
  File(
    'bvlc_googlenet',
    'bvlc_googlenet.caffemodel',
    f'{_BVLC}/bvlc_googlenet.caffemodel',
    _sha1('405fc5acd08a3bb12de8ee5e23a96bec22f08204'),
    'unrestricted',
    accuracy='68.7/88.9',
    size=53533754,
  ),
  File(
    'vgg16',
    'VGG_ILSVRC_16_layers.caffemodel',
    f'{_VGG}/VGG_ILSVRC_16_layers.caffemodel',
    _sha1('9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24'),
    'see authors',
    size=553432081,
    note=(
      'The checksum is from lists of third parties. Authors: '
      'https://www.robots.ox.ac.uk/~vgg/research/very_deep'
    ),
  ),
  File(
    'vgg19',
    'VGG_ILSVRC_19_layers.caffemodel',
    f'{_VGG}/VGG_ILSVRC_19_layers.caffemodel',
    _sha1('239785e7862442717d831f682bb824055e51e9ba'),
    'CC BY-NC 4.0',
    size=574671192,
    note=(
      'The checksum is from lists of third parties. The licence is that of a '
      "readme beside the file; the authors' page says otherwise."
    ),
  ),
  File(
    'places205_alexnet',
    'placesCNN_upgraded.tar.gz',
    f'{_PLACES}/placesCNN_upgraded.tar.gz',
    None,
    'CC BY',
    note=(
      'An archive of prototxt and caffemodel. Third parties list SHA-1 '
      '7da27dd3cf4addf46adfcfb37576e0c7aa7b999d: of the archive or of the '
      'model in it, they do not say.'
    ),
    member='*.caffemodel',
  ),
  File(
    'places205_googlenet',
    'googlenet_places205.tar.gz',
    f'{_PLACES}/googlenet_places205.tar.gz',
    None,
    'CC BY',
    accuracy='55.67/85.41',
    note=(
      'An archive with googlelet_places205_train_iter_2400000.caffemodel. '
      'Third parties list SHA-1 d767debf686fa15df1e05fbc9b4598076127134a: of '
      'the archive or of the model in it, they do not say.'
    ),
    member='*.caffemodel',
  ),
  *_DEEPSIM,
  File(
    'vgg19_matconvnet',
    'imagenet-vgg-verydeep-19.mat',
    'https://www.vlfeat.org/matconvnet/models/imagenet-vgg-verydeep-19.mat',
    Checksum(
      'sha256',
      'abdb57167f82a2a1fbab1e1c16ad9373411883f262a1a37ee5db2e6fb0044695',
    ),
    'see authors',
    size=534904783,
  ),
  File(
    'torchvision_alexnet',
    'alexnet-owt-7be5be79.pth',
    f'{_TORCH}/alexnet-owt-7be5be79.pth',
    Checksum('sha256-prefix', '7be5be79'),
    'BSD-3-Clause',
    accuracy='56.522/79.066',
    size=244408911,
  ),
  File(
    'torchvision_googlenet',
    'googlenet-1378be20.pth',
    f'{_TORCH}/googlenet-1378be20.pth',
    Checksum('sha256-prefix', '1378be20'),
    'BSD-3-Clause',
    accuracy='69.778/89.530',
    note='About 49.7 MB.',
  ),
  File(
    'torchvision_vgg16',
    'vgg16-397923af.pth',
    f'{_TORCH}/vgg16-397923af.pth',
    Checksum('sha256-prefix', '397923af'),
    'BSD-3-Clause',
    accuracy='71.592/90.382',
    size=553433881,
  ),
  File(
    'torchvision_vgg19',
    'vgg19-dcbb9e9d.pth',
    f'{_TORCH}/vgg19-dcbb9e9d.pth',
    Checksum('sha256-prefix', 'dcbb9e9d'),
    'BSD-3-Clause',
    accuracy='72.376/90.876',
    size=574673361,
  ),
  *_RANGES,
)


def get(name: str) -> File:
  """The row of `FILES` of a name.

  Raises:
    UserError: there is none.
  """
  files = {file.name: file for file in FILES}
  if name not in files:
    hint = errors.hint(name, files)
    raise UserError(
      f'{name!r} is not a file of the zoo. Files: {", ".join(files)}.' + hint
    )
  return files[name]


def directory() -> pathlib.Path:
  """Where the files are: $VIZJAX_WEIGHTS, or ~/.cache/vizjax."""
  given = os.environ.get(VARIABLE, '')
  return pathlib.Path('~/.cache/vizjax' if given == '' else given).expanduser()


def path(name: str) -> pathlib.Path:
  """Where the file of a name is, or would be."""
  return directory() / get(name).file


def here(name: str) -> bool:
  """Whether the file of a name is here, or what was packed in it."""
  file = get(name)
  unpacked = bool(file.member) and _unpacked(file).is_file()
  return unpacked or path(name).is_file()


def owner(file: str) -> str | None:
  """The name of the row that a file of weights belongs to, if of one."""
  own = [f for f in FILES if f.what == 'weights' and not f.member]
  return next((f.name for f in own if f.file == file), None)


def find(name: str) -> pathlib.Path:
  """The path of a file that is here; of an archive, the weights are unpacked.

  A file's size is checked, its sum is not.

  Raises:
    UserError: they are not here, or not whole; what to type.
    OSError: they cannot be unpacked.
  """
  file, there = get(name), path(name)
  unpacked = _unpacked(file)
  if file.member and unpacked.is_file():
    return unpacked
  if not there.is_file():
    raise UserError(
      f'{file.what} of {name!r} are not here: expected the file '
      f'{str(there)!r}: type {COMMAND} fetch {name}, or put there by hand what '
      f'is at {file.address}'
    )
  if file.size not in (None, there.stat().st_size):
    verify(file, there)
  if not file.member:
    return there
  archives.unpack(there, file.member, unpacked)
  return unpacked


def verify(file: File, path: pathlib.Path) -> str:
  """Compares a file's size and checksum with the published ones.

  Returns:
    The checksum that it has, as 'SHA-1 9116...'.

  Raises:
    UserError: the file is another one, or is not whole.
    OSError: it cannot be read.
  """
  found, fault = _compare(file, path)
  if fault:
    raise UserError(
      f'{str(path)!r} {fault}: delete it and type {COMMAND} fetch {file.name}'
    )
  return found


def vouches(name: str, path: files.Path) -> bool:
  """Whether a file has the checksum that was published for the file of a name.

  Raises:
    OSError: it cannot be read.
  """
  file = get(name)
  return file.checksum is not None and not _compare(file, path)[1]


def fetch(
  name: str,
  report: Callable[[transfer.Progress], None] = lambda progress: None,
) -> str:
  """Downloads a file, or the rest of it; one that is here is only verified.

  Args:
    name: of a row of `FILES`.
    report: is told how far the download is, at its start and as it goes on.

  Returns:
    The checksum that it has, as `verify`.

  Raises:
    UserError: it cannot be had, or what was got is not the file.
    OSError: it cannot be written.
  """
  file, final = get(name), path(name)
  if final.exists():
    return verify(file, final)
  final.parent.mkdir(parents=True, exist_ok=True)
  partial = final.with_name(f'.{final.name}.partial')
  checked = file.checksum is not None
  try:
    with transfer.whole(file.address, partial, file.size, checked, report):
      found, fault = _compare(file, partial)
      if fault:
        partial.unlink()
        raise UserError(f'{file.address} gave what {fault}; it is deleted')
      partial.replace(final)
  except UserError as error:
    raise UserError(
      f'{error}: type {COMMAND} fetch {name} to try again, or put the file at '
      f'{str(final)!r} by hand'
    ) from error
  return found


def _unpacked(file: File) -> pathlib.Path:
  """Where the weights go that an archive holds."""
  return directory() / f'{file.name}.caffemodel'


def _compare(file: File, path: files.Path) -> tuple[str, str]:
  """The checksum of a file, and what is wrong with it or ''."""
  kind, value = file.checksum or ('sha256', '')
  algorithm = kind.removesuffix('-prefix')
  with open(path, 'rb') as stream:
    digest = hashlib.file_digest(stream, algorithm).hexdigest()
    size = stream.tell()
  label = f'SHA-{algorithm.removeprefix("sha")}'
  found = f'{label} {digest}'
  if digest.startswith(value) and file.size in (None, size):
    return found, ''
  more = '...' if kind.endswith('-prefix') else ''
  expected = [] if file.checksum is None else [f'{label} {value}{more}']
  expected += [] if file.size is None else [f'{file.size} bytes']
  return found, f'has {found}, {size} bytes; expected {", ".join(expected)}'
