"""Pickles of plain data and arrays, read without running what they name.

`pickle.load` calls any function that a file names, and a file of a few bytes
can make it recurse, hash or allocate without end. Here the opcodes, as the
standard library's `pickletools` takes them apart, go through a small stack
machine that knows plain data only. A name in the file stands for an entry of
a table of this program, or it is an error.
"""

from collections.abc import Callable, Mapping
import io
import math
import pickletools
import re
import types
from typing import Any

import numpy as np

from vizjax.errors import UserError

# A state dict takes about 50 a tensor. Each makes an object of at most a few
# hundred bytes, so this is what bounds time and memory.
MAX_OPCODES = 2**19

_INTEGER = 2**127  # PyTorch's magic number has ten bytes
_DTYPE = re.compile('b1|[iu][1248]|f[248]|O8?')

Names = Mapping[tuple[str, str], Any]


def load(
  stream: io.BytesIO,
  names: Names,
  persistent: Callable[[Any], Any] | None = None,
) -> Any:
  """The value of the next pickle of a stream, which is left just behind it.

  Args:
    stream: in memory, so that no declared length is allocated unread.
    names: {(module, name): value}; a function of this program among them
      takes the arguments that the file has for it.
    persistent: of a persistent id, what it stands for.

  Raises:
    UserError: damaged, too long, or not plain data.
  """
  machine = _Machine(names, persistent)
  for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
    if count >= MAX_OPCODES:
      raise UserError(f'the pickle has more than {MAX_OPCODES} opcodes')
    if opcode.name == 'STOP':
      return machine.pop()
    machine.run(opcode.name, argument)
  raise UserError('the pickle has no end')


class _Machine:
  def __init__(self, names: Names, persistent):
    self.names = names
    self.persistent = persistent
    self.stack = []
    self.below = []  # stacks under the marks
    self.memo = {}

  def pop(self):
    if not self.stack:
      raise UserError('the pickle takes a value where there is none')
    return self.stack.pop()

  def pop_mark(self) -> list:
    if not self.below:
      raise UserError('the pickle takes a mark where there is none')
    items, self.stack = self.stack, self.below.pop()
    return items

  def run(self, opcode: str, argument):
    if opcode in _LITERALS:
      if isinstance(argument, int) and abs(argument) >= _INTEGER:
        raise UserError('the pickle has an integer of more than 127 bits')
      self.stack.append(argument)
    elif opcode in _EMPTY:
      self.stack.append(_EMPTY[opcode]())
    elif opcode in _RUN:
      _RUN[opcode](self, argument)
    else:
      raise UserError(f'the pickle has the opcode {opcode}, not plain data')

  def constant(self, value):
    self.stack.append(value)

  def mark(self):
    self.below.append(self.stack)
    self.stack = []

  def pop_any(self):
    if self.stack:
      self.stack.pop()
    else:
      self.pop_mark()

  def put(self, index):
    if not self.stack:
      raise UserError('the pickle keeps a value where there is none')
    self.memo[len(self.memo) if index is None else index] = self.stack[-1]

  def get(self, index):
    if index not in self.memo:
      raise UserError(f'the pickle recalls value {index}, which it never kept')
    self.stack.append(self.memo[index])

  def take(self, count: int) -> list:
    return [self.pop() for _ in range(count)][::-1]

  def top(self, kind: type):
    if not self.stack or type(self.stack[-1]) is not kind:
      raise UserError(f'the pickle fills a {kind.__name__} that is not there')
    return self.stack[-1]

  def extend(self, items: list):
    self.top(list).extend(items)

  def update(self, items: list):
    _fill(self.top(dict), items)

  def name(self, module, name):
    if (module, name) not in self.names:
      raise UserError(
        f'the pickle names {module}.{name}: expected arrays or tensors and '
        'plain data alone; save those'
      )
    self.stack.append(self.names[module, name])

  def call(self):
    function, arguments = self.take(2)
    # Values of the table that are no functions are passed around, not called.
    if type(function) is not types.FunctionType or type(arguments) is not tuple:
      raise UserError('the pickle calls what is not a function')
    self.stack.append(function(*arguments))

  def build(self):
    state = self.pop()
    target = self.stack[-1] if self.stack else None
    if isinstance(target, np.ndarray):
      _set_array(target, state)
    elif isinstance(target, np.dtype):
      _set_dtype(target, state)
    elif type(target) is not dict:  # PyTorch's have a version: not data
      raise UserError(f'the pickle sets the state of a {type(target).__name__}')

  def persist(self, name):
    if self.persistent is None:
      raise UserError('the pickle refers to data outside of it')
    self.stack.append(self.persistent(name))


_LITERALS = frozenset(
  'INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING '
  'SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES '
  'SHORT_BINBYTES BINBYTES8 BYTEARRAY8'.split()
)

_EMPTY = {'EMPTY_DICT': dict, 'EMPTY_LIST': list, 'EMPTY_TUPLE': tuple}

# What https://docs.python.org/3/library/pickletools.html says of each; those
# that are not here make instances, sets or buffers.
_RUN = {
  'PROTO': lambda machine, _: None,
  'FRAME': lambda machine, _: None,
  'NONE': lambda machine, _: machine.constant(None),
  'NEWTRUE': lambda machine, _: machine.constant(True),
  'NEWFALSE': lambda machine, _: machine.constant(False),
  'MARK': lambda machine, _: machine.mark(),
  'POP': lambda machine, _: machine.pop_any(),
  'POP_MARK': lambda machine, _: machine.pop_mark(),
  'PUT': lambda machine, index: machine.put(index),
  'BINPUT': lambda machine, index: machine.put(index),
  'LONG_BINPUT': lambda machine, index: machine.put(index),
  'MEMOIZE': lambda machine, _: machine.put(None),
  'GET': lambda machine, index: machine.get(index),
  'BINGET': lambda machine, index: machine.get(index),
  'LONG_BINGET': lambda machine, index: machine.get(index),
  'TUPLE': lambda machine, _: machine.constant(tuple(machine.pop_mark())),
  'TUPLE1': lambda machine, _: machine.constant(tuple(machine.take(1))),
  'TUPLE2': lambda machine, _: machine.constant(tuple(machine.take(2))),
  'TUPLE3': lambda machine, _: machine.constant(tuple(machine.take(3))),
  'LIST': lambda machine, _: machine.constant(machine.pop_mark()),
  'DICT': lambda machine, _: machine.constant(_fill({}, machine.pop_mark())),
  'APPEND': lambda machine, _: machine.extend(machine.take(1)),
  'APPENDS': lambda machine, _: machine.extend(machine.pop_mark()),
  'SETITEM': lambda machine, _: machine.update(machine.take(2)),
  'SETITEMS': lambda machine, _: machine.update(machine.pop_mark()),
  'GLOBAL': lambda machine, pair: machine.name(*pair.split(' ', 1)),
  'STACK_GLOBAL': lambda machine, _: machine.name(*map(_text, machine.take(2))),
  'REDUCE': lambda machine, _: machine.call(),
  'BUILD': lambda machine, _: machine.build(),
  'BINPERSID': lambda machine, _: machine.persist(machine.pop()),
}


def ordered_dict(items: Any = ()) -> dict:
  """A `collections.OrderedDict`; Python 2 wrote its items as pairs."""
  if not isinstance(items, list | tuple):
    raise UserError('the pickle has an OrderedDict of what is not pairs')
  for pair in items:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
      raise UserError('the pickle has an OrderedDict of what is not pairs')
  return _fill({}, [value for pair in items for value in pair])


def _fill(target: dict, items: list) -> dict:
  if len(items) % 2:
    raise UserError('the pickle has a key without a value')
  for key, value in zip(items[::2], items[1::2], strict=True):
    # The hash of nested tuples takes as long as they are deep, or forever.
    if key is not None and type(key) not in (str, int, float, bool):
      raise UserError(f'the pickle has a {type(key).__name__} for a key')
    target[key] = value
  return target


def _text(value) -> str:
  if type(value) is not str:
    raise UserError(f'the pickle has a {type(value).__name__} for a name')
  return value


def _encode(text: Any, encoding: Any) -> bytes:
  """`codecs.encode`: how Python 3 writes bytes in pickles for Python 2."""
  if encoding != 'latin1':
    raise UserError('the pickle has bytes that are not in latin1')
  return _text(text).encode('latin1')


def _dtype(name: Any, align: Any = False, copy: Any = True) -> np.dtype:
  if not _DTYPE.fullmatch(_text(name)):
    raise UserError(f'the pickle has an array of dtype {name[:40]!r}')
  return np.dtype(name, False, True)  # its own: `_set_dtype` changes it


def _set_dtype(dtype: Any, state: Any):
  values = [*state] if isinstance(state, tuple) else []
  known = len(values) >= 5 and values[1] in ('<', '>', '|', '=')
  if not known or any(values[2:5]):
    raise UserError('the pickle has a dtype with fields')
  if values[1] in ('<', '>') and dtype.itemsize > 1 and dtype.kind != 'O':
    dtype.__setstate__((3, values[1], None, None, None, -1, -1, 0))


def _reconstruct(kind: Any, shape: Any, code: Any) -> np.ndarray:
  if kind is not np.ndarray:
    raise UserError('the pickle has an array of an unknown class')
  return np.empty(0, np.uint8)  # `_set_array` gives it all the rest


def _set_array(array: Any, state: Any):
  if not isinstance(state, tuple) or len(state) != 5:
    raise UserError('the pickle has an array without a state')
  _, shape, dtype, by_columns, values = state
  if isinstance(dtype, np.dtype) and dtype.kind == 'O':
    # NumPy saves a dictionary as an array of no axes.
    if shape != () or type(values) is not list or len(values) != 1:
      raise UserError('the pickle has an array of several objects')
  else:
    values = _bytes(values)
    _check(shape, dtype, len(values))
  array.__setstate__((1, shape, dtype, bool(by_columns), values))


def _frombuffer(values: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
  values = _bytes(values)
  _check(shape, dtype, len(values))
  if order not in ('C', 'F'):
    raise UserError('the pickle has an array in an unknown order')
  return np.frombuffer(values, dtype).reshape(shape, order=order)


def _scalar(dtype: Any, values: Any) -> np.generic:
  array: Any = _frombuffer(values, dtype, (), 'C')
  return array[()]


def _bytes(values) -> bytes:
  if type(values) is str:  # those of Python 2
    return values.encode('latin1')
  if type(values) not in (bytes, bytearray):
    raise UserError('the pickle has an array without bytes')
  return bytes(values)


def _check(shape, dtype, found: int):
  if not isinstance(dtype, np.dtype) or dtype.kind == 'O':
    raise UserError('the pickle has an array without a dtype of numbers')
  sizes = shape if type(shape) is tuple else (-1,)
  if len(sizes) > 32 or not all(type(n) is int and n >= 0 for n in sizes):
    raise UserError('the pickle has an array without a shape')
  if math.prod(sizes) * dtype.itemsize != found:
    raise UserError(
      f'the pickle has an array of {sizes} {dtype} in {found} bytes'
    )


# What pickled arrays name; NumPy 2 moved its core, Python 2 knew no bytes.
ARRAYS = {
  ('numpy', 'dtype'): _dtype,
  ('numpy', 'ndarray'): np.ndarray,
  ('_codecs', 'encode'): _encode,
  ('numpy.core.multiarray', '_reconstruct'): _reconstruct,
  ('numpy._core.multiarray', '_reconstruct'): _reconstruct,
  ('numpy.core.multiarray', 'scalar'): _scalar,
  ('numpy._core.multiarray', 'scalar'): _scalar,
  ('numpy.core.numeric', '_frombuffer'): _frombuffer,
  ('numpy._core.numeric', '_frombuffer'): _frombuffer,
}
