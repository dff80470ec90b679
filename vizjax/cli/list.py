"""Lists functions for formulas, networks, recipes and formats.

  vizjax list
  vizjax list objectives transforms

Each function has its arguments, with their defaults, and the first sentence of
what it says of itself. A function of your own stands beside them: it is named
by its import path, as my_lab.terms.symmetry.
"""

import ast
from collections.abc import Callable, Iterable, Iterator
import inspect
import textwrap
from typing import Any

from vizjax import errors
from vizjax import recipes
from vizjax.build import vocabulary
from vizjax.cli import launch
from vizjax.errors import UserError
from vizjax.export import formats
from vizjax.models import named

# What functions make, and the knob whose formula names them.
_KNOBS = {
  'objectives': 'objective',
  'transforms': 'transforms',
  'projections': 'projections',
  'parameterizations': 'parameterization',
  'optimizers': 'optimizer',
  'procedures': 'procedure',
  'scales': 'scales',
  'data': 'data',
  'starts': 'start',
  'directions': 'direction',
  'models': 'model',
}

# What else a kind may be, which is not listed.
_MORE = {
  'objectives': 'metrics, traces and activations are of the same functions',
  'optimizers': 'and every function of optax',
  'directions': 'masks are of the same functions',
}


def main(kinds: list[str]) -> None:
  """Prints the kinds that are typed, or all of them."""
  found = {**{kind: _functions for kind in _KNOBS}, **_OTHERS}
  for kind in kinds:
    if kind not in found:
      raise UserError(
        f'{kind!r} is no kind, expected one of {", ".join(found)}.'
        f'{errors.hint(kind, found)}'
      )
  for kind in kinds or found:
    more = f' ({_MORE[kind]})' if kind in _MORE else ''
    print(f'{kind}{more}')
    for line in found[kind](kind):
      print(textwrap.indent(line, '  '))
    print()


def start() -> None:
  """Runs the subcommand."""
  launch.run(main, positional=True, anew=True)


def sentence(docstring: str | None) -> str:
  """Returns the first line of a docstring, without its full stop."""
  return (docstring or ' ').strip().splitlines()[0].rstrip('.')


def called(name: str, function: Callable[..., Any]) -> str:
  """Returns a function as it is called: name(argument, other=default)."""
  parameters = []
  for p in inspect.signature(function).parameters.values():
    default = '' if p.default is p.empty else f'={p.default!r:.40}'
    stars = {p.VAR_POSITIONAL: '*', p.VAR_KEYWORD: '**'}.get(p.kind, '')
    parameters.append(f'{stars}{p.name}{default}')
  return f'{name}({", ".join(parameters)})'


def _functions(kind: str) -> Iterator[str]:
  yield from _told(vocabulary.functions(_KNOBS[kind]).items())


def _told(functions: Iterable[tuple[str, Callable]]) -> Iterator[str]:
  for name, function in functions:
    yield f'{called(name, function)}\n    {sentence(function.__doc__)}'


def _formats(kind: str) -> Iterator[str]:
  for name in formats.NAMES:
    write = formats.find(name)
    options = [f'--{option}' for option in formats.options(write)]
    yield f'{" ".join([name, *options])}\n    {sentence(write.__doc__)}'


def _recipes(kind: str) -> Iterator[str]:
  for name in recipes.names():
    text = recipes.find(name).read_text('utf-8')
    yield f'{name}\n    {sentence(ast.get_docstring(ast.parse(text)))}'


def _networks(kind: str) -> Iterator[str]:
  yield from named.NAMES


_OTHERS = {'networks': _networks, 'recipes': _recipes, 'formats': _formats}
