"""A configuration string becomes functions: no eval, no registry.

  neuron(layer) - 0.1 * total_variation()
  l2_decay(decay) | every(4, gaussian_blur(1.)) | clip_pixels(model)

A name in call position is a function of one of the modules that
`build/vocabulary.py` lists for the knob (or, dotted, of a module that can be
imported: `my_lab.terms.symmetry(layer)`). A name in argument position is a
knob. `+ - * /` work between numbers and between
functions of equal arguments, such as terms; `|` separates the links of a
chain. There is nothing else: no attribute of a value, no comparison, no
subscript.
"""

import ast
import collections
from collections.abc import Callable, Mapping, Sequence
import functools
import importlib
import inspect
import operator
import sys
import traceback
import types
import typing
from typing import Any

from vizjax import core
from vizjax import errors
from vizjax.errors import UserError


LONGEST = 2000  # characters

_OPERATORS = {
  ast.Add: operator.add,
  ast.Sub: operator.sub,
  ast.Mult: operator.mul,
  ast.Div: operator.truediv,
}


class Noted(Mapping):
  """Knobs that note what formulas read of them.

  Attributes:
    names: the knobs that were read.
    strings: the texts that functions were given: literals and values of knobs.
  """

  def __init__(self, knobs: Mapping[str, Any]):
    self.knobs = knobs
    self.names: set[str] = set()
    self.strings: set[str] = set()

  def replaced(self, knobs: Mapping[str, Any]) -> 'Noted':
    """Returns other values of some knobs, which note in the same place."""
    # typeshed expects a MutableMapping; a ChainMap writes to its first alone.
    other = Noted(
      collections.ChainMap(
        dict(knobs),
        self.knobs,  # pyright: ignore[reportArgumentType]
      )
    )
    other.names, other.strings = self.names, self.strings
    return other

  def __getitem__(self, name: str) -> Any:
    self.names.add(name)
    return self.knobs[name]

  def __contains__(self, name: object) -> bool:
    return name in self.knobs

  def __iter__(self):
    return iter(self.knobs)

  def __len__(self):
    return len(self.knobs)


def evaluate(
  formula: str,
  modules: Sequence[types.ModuleType],
  knobs: Mapping[str, Any],
) -> Any:
  """The value of a formula.

  Args:
    formula: at most 2,000 characters of the grammar above.
    modules: where names in call position are looked up, in order.
    knobs: what names in argument position stand for; `Noted` to learn which.

  Raises:
    UserError: the formula is quoted, with what was expected and, for a
      misspelt name, the nearest that exists.
  """
  return _Evaluator(formula, modules, knobs).value(_parse(formula))


def chain(
  formula: str,
  modules: Sequence[types.ModuleType],
  knobs: Mapping[str, Any],
) -> tuple[Any, ...]:
  """The values of the links of `a | b | c`; () for a blank formula."""
  if not formula.strip():
    return ()
  evaluator = _Evaluator(formula, modules, knobs)
  return tuple(evaluator.value(link) for link in _links(_parse(formula)))


def records(
  formula: str,
  modules: Sequence[types.ModuleType],
  knobs: Mapping[str, Any],
) -> dict[str, Any]:
  """The values of `name = formula, name = formula`; {} for a blank one."""
  if not formula.strip():
    return {}
  match _parse(f'record({formula})'):
    case ast.Call(func=ast.Name(id='record'), args=[], keywords=keywords):
      formulas = {k.arg: k.value for k in keywords if k.arg is not None}
      if len(formulas) == len(keywords):  # no name twice, and no **
        evaluator = _Evaluator(formula, modules, knobs)
        return {name: evaluator.value(node) for name, node in formulas.items()}
  raise UserError(
    f'{formula!r} is not a list of records: '
    "type name = formula, as 'norm = l2_norm(), std = std()'"
  )


def called(
  formula: str, modules: Sequence[types.ModuleType]
) -> dict[str, Callable | None]:
  """Returns the function of each call in a formula, by its name.

  Nothing is called, and no package is imported that is not: a function of such
  a package is None, and so is one that is not there.

  Args:
    formula: as for `evaluate`.
    modules: likewise.
  """
  evaluator = _Evaluator(formula, modules, {})
  names = [
    _dotted(node.func)
    for node in ast.walk(_parse(formula))
    if isinstance(node, ast.Call)
  ]
  return {name: evaluator.known(name) for name in names}


def imported(
  name: str, error: Callable[[str], UserError] = UserError
) -> Callable[..., Any]:
  """Returns the function that an import path names, as 'my_lab.terms.symmetry'.

  Args:
    name: the path.
    error: makes the error of a message.

  Raises:
    UserError: there is no such function, or its module cannot be imported.
    Exception: whatever else the module of the user's raises.
  """
  head, _, last = name.rpartition('.')
  top = head.split('.')[0]
  if top in sys.stdlib_module_names:
    raise error(f'{name!r} is of the standard library')
  try:
    module = importlib.import_module(head)
  except SystemExit as stop:
    raise error(
      f'{name!r} cannot be imported: {head} calls sys.exit({stop.code!r}); '
      'remove that call'
    ) from stop
  except SyntaxError as wrong:
    raise error(
      f'{name!r} cannot be imported: {wrong.filename}:{wrong.lineno}: '
      f'{wrong.msg}'
    ) from wrong
  except ImportError as missing:
    if errors.place(missing):
      raise
    raise error(f'{name!r} cannot be imported: {missing}') from missing
  function = getattr(module, last, None)
  if not _callable(function, top):
    near = _nearest(last, functions(module)) or 'expected a function'
    raise error(f'{name!r} is no function of {head}; {near}')
  return function


def _place(error: BaseException) -> str:
  """FILE:LINE where an error was raised."""
  frame = traceback.extract_tb(error.__traceback__)[-1]
  return f'{frame.filename}:{frame.lineno}'


def _summary(error: BaseException) -> str:
  """Returns the class of an error and the first line of its message."""
  return f'{type(error).__name__}: {(str(error).splitlines() or [""])[0]}'


def _wanted(annotation: Any, value: Any) -> str | None:
  """Says what an argument should be; None if it is that, or cannot be told."""
  kinds = typing.get_args(annotation) or (annotation,)
  known = (str, int, float, bool, type(None), Callable)
  package = __name__.split('.')[0]
  told = all(
    kind in known
    or (inspect.isclass(kind) and kind.__module__.startswith(package))
    for kind in kinds
  )
  if annotation is inspect.Parameter.empty or not told:
    return None
  number = isinstance(value, (int, float)) and {int, float} & {*kinds}
  if value is None or number or isinstance(value, tuple(kinds)):
    return None
  if str in kinds:
    return f'a text in quotes: type {str(value)!r}, or another'
  names = {
    int: 'a number', float: 'a number', bool: 'true or false',
    Callable: 'a schedule',
  }  # fmt: skip
  said = dict.fromkeys(names.get(k, f'a {k.__name__}') for k in kinds)
  return ' or '.join(said)


def _dotted(node: ast.expr) -> str:
  """'a.b.c' of a name and its attributes; '' of anything else."""
  parts = []
  while isinstance(node, ast.Attribute):
    parts.append(node.attr)
    node = node.value
  return '.'.join([node.id, *parts[::-1]]) if isinstance(node, ast.Name) else ''


@functools.lru_cache(1024)
def _parse(formula: str) -> ast.expr:
  """Returns the tree of a formula, which nobody may change: it is kept."""
  if len(formula) > LONGEST:
    raise UserError(
      f'{formula[:40]!r}... has {len(formula)} characters, '
      f'expected a formula of at most {LONGEST}'
    )
  try:
    return ast.parse(formula.strip(), mode='eval').body
  except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
    why = getattr(error, 'msg', None) or 'too deep'
    raise UserError(
      f'{formula!r} is not a formula ({why}): '
      "expected calls and numbers, as 'neuron(layer) - 0.1 * l2()'"
    ) from None


def _texts(value: Any) -> list[str]:
  """Returns a text, or the texts in a list or tuple of values."""
  if type(value) in (list, tuple):
    return [text for part in value for text in _texts(part)]
  return [value] if isinstance(value, str) else []


def _links(node: ast.expr) -> list[ast.expr]:
  links = []
  while isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
    links.insert(0, node.right)
    node = node.left
  return [node, *links]


class _Evaluator:
  """One formula at work; it is kept for the messages."""

  def __init__(self, formula, modules, knobs):
    self.formula = formula
    self.modules = modules
    self.knobs = knobs

  def value(self, node: ast.expr) -> Any:
    try:
      return self._value(node)
    except RecursionError:
      raise self._error('it is too deep') from None

  def _value(self, node: ast.expr) -> Any:
    match node:
      case ast.Constant(value=str() | int() | float() | None as value):
        return value
      case ast.Tuple(elts=items):
        return tuple(self._value(item) for item in items)
      case ast.Name(id=name):
        return self._knob(name)
      case ast.UnaryOp(op=ast.USub(), operand=operand):
        return self._combine(operator.mul, -1, self._value(operand))
      case ast.BinOp(op=op, left=left, right=right) if type(op) in _OPERATORS:
        function = _OPERATORS[type(op)]
        return self._combine(function, self._value(left), self._value(right))
      case ast.Call(func=func, args=args, keywords=keywords):
        return self._call(func, args, keywords)
    raise self._error(
      f'{ast.unparse(node)!r} is not of its grammar '
      '(calls, numbers, strings, names, + - * /, and | between links)'
    )

  def _knob(self, name: str) -> Any:
    if name not in self.knobs:
      known = set().union(*map(functions, self.modules))
      hint = f'it is a function: type {name}(...)' if name in known else ''
      hint = hint or _nearest(name, self.knobs)
      hint = hint or 'knobs: ' + _list(self.knobs)
      raise self._error(f'no knob {name!r}; {hint}')
    return self.knobs[name]

  def _call(self, func, args, keywords) -> Any:
    name = _dotted(func)
    if not name:
      raise self._error(f'{ast.unparse(func)!r} cannot be called')
    function = self._function(name)
    positional = [self._value(arg) for arg in args]
    named = {keyword.arg: self._value(keyword.value) for keyword in keywords}
    if None in named or len(named) < len(keywords):
      raise self._error(f'{name}() is given ** or an argument twice')
    signature = inspect.signature(function)
    try:
      signature.bind(*positional, **named)
    except TypeError as error:
      shown = ', '.join(signature.parameters)
      raise self._error(
        f'{name}({shown}) does not take these arguments: {error}'
      ) from error
    self._check_kinds(name, signature, positional, named)
    if isinstance(self.knobs, Noted):
      self.knobs.strings.update(_texts([*positional, *named.values()]))
    try:
      return function(*positional, **named)
    except SystemExit as error:
      raise self._error(
        f'{name}() calls sys.exit({error.code!r}) at {_place(error)}: expected '
        'it to return a value; remove that call'
      ) from error
    except (UserError, OSError):
      raise
    except Exception as error:
      ours = function.__module__.split('.')[0] == __name__.split('.')[0]
      of_type = isinstance(error, TypeError)
      if errors.place(error) or (ours and not of_type):
        raise
      expected = 'expected it to return a value'
      if of_type:  # an argument of another type, or a fault inside
        expected = f'is each argument of the type that {name}() expects?'
      raise self._error(
        f'{name}() fails at {_place(error)} ({_summary(error)}): {expected}'
      ) from error

  def _check_kinds(self, name, signature, positional, named) -> None:
    """Refuses arguments that are not of the class of their annotation."""
    for key, value in signature.bind(*positional, **named).arguments.items():
      parameter = signature.parameters[key]
      several = parameter.kind == inspect.Parameter.VAR_POSITIONAL
      for one in value if several else (value,):
        wanted = _wanted(parameter.annotation, one)
        if wanted is not None:
          raise self._error(
            f'{name}({", ".join(signature.parameters)}) is given {key}='
            f'{one!r:.60}, expected {wanted}'
          )

  def _function(self, name: str) -> Callable:
    head, _, last = name.rpartition('.')
    if any(part.startswith('_') for part in name.split('.')):
      raise self._error(f'{name!r} is private')
    function = self._of_modules(head, last)
    if function is not None:
      return function
    if head:
      return imported(name, self._error)
    known = sorted(set().union(*map(functions, self.modules)))
    raise self._error(
      f'no function {name!r}; {_nearest(name, known) or _list(known)}'
    )

  def known(self, name: str) -> Callable | None:
    """The function of a name, if its package is imported."""
    head, _, last = name.rpartition('.')
    function = self._of_modules(head, last)
    if function is not None:
      return function
    # A plain getattr could run code of the module: some import when asked.
    return inspect.getattr_static(sys.modules.get(head), last, None)

  def _of_modules(self, head: str, last: str) -> Callable | None:
    for module in self.modules:
      function = getattr(self._submodule(module, head), last, None)
      if _callable(function, module.__name__):
        return function
    return None

  def _submodule(self, module, head: str):
    for part in filter(None, head.split('.')):
      inner = getattr(module, part, None)
      if inner is None and hasattr(module, '__path__'):
        try:
          inner = importlib.import_module(f'{module.__name__}.{part}')
        except ModuleNotFoundError:
          return None
      if not inspect.ismodule(inner) or not _within(inner, module):
        return None
      module = inner
    return module

  def _combine(self, function: Callable, left: Any, right: Any) -> Any:
    try:
      return core.combined(function, left, right)
    except (UserError, ArithmeticError) as error:
      raise self._error(f'{error}') from None

  def _error(self, what: str) -> UserError:
    return UserError(f'in the formula {self.formula!r}: {what}')


def _within(module: types.ModuleType, other: types.ModuleType) -> bool:
  """Whether two modules are of one package."""
  return module.__name__.split('.')[0] == other.__name__.split('.')[0]


def _callable(function: Any, package: str) -> typing.TypeGuard[Callable]:
  """Whether it is a function that this package itself defines."""
  if not inspect.isfunction(function):
    return False
  return function.__module__.split('.')[0] == package.split('.')[0]


def functions(module: types.ModuleType) -> set[str]:
  """Returns the names of the functions of a module that formulas may call."""
  return {
    name
    for name, value in vars(module).items()
    if not name.startswith('_') and _callable(value, module.__name__)
  }


def _nearest(name: str, known) -> str:
  near = errors.nearest(name, known)
  return '' if near is None else f'did you mean {near!r}?'


def _list(known) -> str:
  names = sorted(known)
  more = ', ...' if len(names) > 30 else ''
  return 'there are ' + ', '.join(names[:30]) + more
