"""Formats of weight files, told apart by their first bytes.

Only formats that vizjax reads have a name here; every other known one is
explained to the user.
"""

from vizjax import files

# How many bytes `form` needs.
LENGTH = 512

# Before torch.save wrote zips, its files began with this number, pickled.
TORCH = 0x1950A86A20F9469CFC6C

# Names of the formats in messages.
DESCRIPTIONS = {
  'caffe': 'a .caffemodel',
  'keras': 'an HDF5 file (.h5)',
  'matconvnet': 'a MAT-file (.mat)',
  'npy': 'a .npy file of NumPy',
  'safetensors': 'a .safetensors file',
  'torch': "a file of PyTorch's torch.save (.pth)",
  'zip': 'a zip (.pth or .npz)',
}

READ = (
  'expected one of .caffemodel, .h5 of Keras, .mat of MatConvNet, .npy, .npz, '
  '.pth, .safetensors'
)

_READ = {
  b'\x89HDF\r\n\x1a\n': 'keras',
  b'MATLAB 5.0 MAT-file': 'matconvnet',
  b'\x93NUMPY': 'npy',
  b'PK': 'zip',
}

# Files that users often give in place of weights.
_OTHERS = {
  b'<': 'it is a page of text: its address answered with an error',
  b'version https://git-lfs': 'it is a pointer of Git LFS: git lfs pull',
  b'\x1f\x8b': 'it is compressed by gzip: unpack it first',
  b'BZh': 'it is compressed by bzip2: unpack it first',
  b'\xfd7zXZ': 'it is compressed by xz: unpack it first',
  b'MATLAB 7.3': "it is a MAT-file of version 7.3: save(..., '-v7')",
  b'GGUF': f'it is a GGUF file, which is not read: {READ}',
  # kMXAPINDArrayListMagic: https://github.com/apache/mxnet, src/ndarray
  b'\x12\x01\0\0\0\0\0\0': f'it is a .params file of MXNet: {READ}',
}


def form(head: bytes) -> str:
  """The format of a file: a key of `DESCRIPTIONS`.

  Protocol buffers have no mark: a file that has no mark of another format is
  taken for a .caffemodel.

  Args:
    head: its first `LENGTH` bytes.

  Raises:
    NotRead: it is of another format, or empty: which one.
  """
  for magic, name in _READ.items():
    if head.startswith(magic):
      return name
  if head.startswith(b'\x80'):
    if TORCH.to_bytes(10, 'little') not in head[:40]:
      raise files.NotRead('it is a pickle, but not one of torch.save')
    return 'torch'
  if head[8:9] == b'{' and not any(head[6:8]):
    return 'safetensors'
  other = _other(head)
  if other:
    raise files.NotRead(other)
  return 'caffe'


def _other(head: bytes) -> str:
  """Describes a file that is not read; '' if it may be a .caffemodel."""
  if not head:
    return 'it is empty'
  for magic, said in _OTHERS.items():
    if head.startswith(magic):
      return said
  if head[257:262] == b'ustar':
    return 'it is a tar archive: unpack it first'
  if head[1:8] == b'\0\0\0TFL3':
    return f'it is a model of TensorFlow Lite, which is not read: {READ}'
  if head[1:4] == bytes(3) and head[12:15] == b'V 1':
    return f'it is a .t7 file of Torch 7, which is not read: {READ}'
  if head[0] == 8:  # field 1 is a number; in a .caffemodel it is the name
    return f'it is {_numbered_model(head)}, which is not read: {READ}'
  if head[0] == 10 and _inner(head)[:1] == b'\n':
    return f'it is a graph of TensorFlow (.pb), which is not read: {READ}'
  return _text(head)


def _numbered_model(head: bytes) -> str:
  """A protocol buffer that begins with a version.

  ONNX goes on with the name of the program that wrote it or with the graph,
  https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (ModelProto).
  """
  producer = _inner(head[2:]) if head[2:3] == b'\x12' else b''
  if head[2:3] in (b'\x3a', b'\x42') or producer[:3].isalnum():
    return 'an ONNX model'
  return 'a model of TensorFlow (.pb) or Core ML'


def _inner(head: bytes) -> bytes:
  """The content of the first field, after its length of one to five bytes."""
  begin = 2
  while begin < 6 and head[begin - 1 : begin] >= b'\x80':
    begin += 1
  return head[begin:]


def _text(head: bytes) -> str:
  """Describes a text by its beginning; '' if the bytes are no text."""
  try:
    text = head.decode()
  except UnicodeDecodeError as error:
    if error.start < len(head) - 3:  # else the last letter is cut
      return ''
    text = head[: error.start].decode()
  text = text.removeprefix('\ufeff')  # a byte order mark
  if not all(letter.isprintable() or letter in '\r\n\t' for letter in text):
    return ''
  if text.lstrip()[:1] not in ('{', '['):
    return f'it is text, such as a prototxt: {READ}'
  if 'weight_map' in text:
    return (
      'it is the index of weights that are in several files, expected one '
      'file: type model.save_pretrained(FOLDER, max_shard_size="100GB")'
    )
  return f'it is JSON, which describes a network at most: {READ}'
