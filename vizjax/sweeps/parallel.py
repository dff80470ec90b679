"""Many runs at once: one vmap, spread over this machine's devices.

The mesh has one axis, 'unit'. Runs are spread by `shard_map`, not by automatic
sharding: each device works on its own runs and never waits for another,
whatever an optimizer's line search does.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
from jaxtyping import Array, Key, PyTree

from vizjax import core
from vizjax import metrics
from vizjax.build import outputs
from vizjax.sweeps import alike

UNIT = 'unit'

# Most steps in one call on an accelerator: enough to hide the launch.
LONGEST_CALL = 32


class Runner(NamedTuple):
  """A recipe for a batch. All inputs and outputs have a leading axis [b].

  Attributes:
    start: (targets, keys) -> state.
    advance: (state, targets, keys, *, steps) -> state, trace [b, steps].
      The state that is passed in is donated and cannot be used again.
    render: (state) -> images that would be evaluated next.
    finish: (state, targets) -> {'image', 'score', 'step', 'activation'}, the
      records of `clean` as 'metric/NAME', mean and deviation of the scores
      under transforms as 'metric/robust_mean' and 'metric/robust_std', and the
      first three arrays of every further snapshot, as 'last/image'. An image
      of a generator has its 'code' besides.
    prepare: (targets, keys, *, steps) -> bytes that `advance` takes on a
      device, 0 where JAX cannot tell. Compiles, and computes nothing.
  """

  start: Callable
  advance: Callable
  render: Callable
  finish: Callable
  prepare: Callable


class FurtherResults(NamedTuple):
  """The arrays that a run gives besides those of its result.

  Attributes:
    keep: snapshots besides the result: 'best', 'last', or of the procedure.
    robust: `clean` under transforms, which scores the result again.
    draws: number of these scores; every image is scored with the same keys.
  """

  keep: tuple[str, ...] = ()
  robust: core.Recipe | None = None
  draws: int = 1


RESULT_ALONE = FurtherResults()


def local_mesh() -> Mesh:
  """Returns all devices of this process in a row."""
  devices = jax.local_devices()
  kind = jax.sharding.AxisType.Auto
  return jax.make_mesh((len(devices),), (UNIT,), (kind,), devices=devices)


def runner(
  recipe: core.Recipe,
  clean: core.Recipe,
  result: str,
  mesh: Mesh,
  further: FurtherResults = RESULT_ALONE,
  *,
  group: int | None = None,
) -> Runner:
  """Returns the functions of a batch. Each compiles once for a shape of batch.

  Args:
    recipe: how an image is made.
    clean: the same without transforms; its score is the 'activation'.
    result: the snapshot that is kept: 'best', 'last', or 'next', the image
      after the last update, whose score is its 'activation'.
    mesh: of `local_mesh`; the batch must be a multiple of its size.
    further: arrays besides those of the result.
    group: runs in a row that see each other on the axis `metrics.REPLICATE`;
      the batch of a device must be a multiple of it.
  """

  def finish_run(recipes: outputs.Recipes, state, targets):
    return outputs.finish(
      *recipes, further.draws, result, further.keep, state, targets
    )

  recipes = _placed((recipe, clean, further.robust), mesh)
  recipe = recipes[0]
  spread = functools.partial(_spread, mesh=mesh, group=group)
  start = spread(_start_run, recipe)
  step = spread(_step_run, recipe, donate=1)
  scan = spread(_scan_run, recipe, donate=1)
  render = spread(_frame_run, recipe)
  finish = spread(finish_run, recipes)

  def prepare(targets, keys, *, steps):
    state = start.shapes(targets, keys)
    start.program(targets, keys)
    if _on_cpu():
      program = step.program(state, targets, keys)
    else:
      program = scan.program(state, targets, keys, steps=steps)
    finish.program(state, targets)
    return _bytes_taken(program)

  advance = functools.partial(_advance_stepwise, step) if _on_cpu() else scan
  return Runner(start, advance, render, finish, prepare)


def steps_per_call(steps: int, *every: int | None) -> int:
  """Returns the number of steps that each call of `advance` makes.

  The number divides `steps` and each `every`, so that one compilation serves.
  On the CPU, where a call is a loop of programs of one step, it is one.
  """
  if _on_cpu():
    return 1
  return max(
    n
    for n in range(1, LONGEST_CALL + 1)
    if all(number is None or number % n == 0 for number in (steps, *every))
  )


def _on_cpu() -> bool:
  return jax.default_backend() == 'cpu'


def _split(key: Key[Array, '']) -> Key[Array, '2']:
  """Returns the key of the start, and the key of the steps."""
  return jax.random.split(key)


def _placed(recipes: outputs.Recipes, mesh: Mesh) -> outputs.Recipes:
  """Copies recipes onto every device, with the weights of the first for all."""
  whole = NamedSharding(mesh, PartitionSpec())
  recipe, clean, robust = recipes
  recipe = jax.device_put(recipe, whole)

  def placed(other: core.Recipe) -> core.Recipe:
    shared = dataclasses.replace(
      other, model=recipe.model, parameterization=recipe.parameterization
    )
    return jax.device_put(shared, whole)

  return recipe, placed(clean), None if robust is None else placed(robust)


def _start_run(recipe, targets, keys):
  return core.init(recipe, targets, _split(keys)[0])


def _step_run(recipe, state, targets, keys):
  return core.advance(recipe, state, targets, _split(keys)[1])


def _scan_run(recipe, state, targets, keys, *, steps):
  return core.optimize(recipe, state, targets, _split(keys)[1], steps=steps)


def _frame_run(recipe, state):
  return recipe.parameterization.render(state.params)


def _advance_stepwise(step, state, targets, keys, *, steps):
  """Makes steps by a program of one step, as `_scan_run` does in one program.

  XLA runs the body of a loop more slowly than a program on the CPU (AlexNet:
  by a third), and on the CPU the launch of a program costs nothing.
  """
  traces = []
  for _ in range(steps):
    state, trace = step(state, targets, keys)
    traces.append(trace)
  return state, jax.tree.map(lambda *parts: jnp.stack(parts, 1), *traces)


@dataclasses.dataclass(frozen=True, eq=False)
class _SpreadFunction:
  """A function of (recipe, run ...), called with (batch ...).

  Attributes:
    mapped: (recipe, batch ...) -> outputs, jitted.
    recipe: the first argument of `mapped`, on every device.
    split: the sharding of the batch.
    programs: `mapped` as compiled so far, by shapes and static arguments.
  """

  mapped: Any  # jax.stages.Wrapped, whose `eval_shape` JAX does not declare
  recipe: PyTree
  split: NamedSharding
  programs: dict = dataclasses.field(default_factory=dict)

  def __call__(self, *batch: PyTree, **static: int) -> PyTree:
    """Returns the outputs; compiles first where this was not done."""
    batch = jax.device_put(batch, self.split)
    return self.program(*batch, **static)(self.recipe, *batch)

  def program(self, *batch: PyTree, **static: int) -> Any:
    """Returns the compiled program for a batch of arrays or of shapes."""
    leaves, tree = jax.tree.flatten(batch)
    key = (tree, *((a.shape, a.dtype) for a in leaves), *static.values())
    if key not in self.programs:
      batch = jax.tree.map(self._shape, batch)
      self.programs[key] = self.lower(*batch, **static).compile()
    return self.programs[key]

  def lower(self, *batch: PyTree, **static: int) -> Any:
    """Returns the program before it is compiled."""
    return self.mapped.lower(self.recipe, *batch, **static)

  def shapes(self, *batch: PyTree, **static: int) -> PyTree:
    """Returns the shapes of the outputs; nothing is computed."""
    return self.mapped.eval_shape(self.recipe, *batch, **static)

  def _shape(self, leaf: Any) -> jax.ShapeDtypeStruct:
    weak = getattr(leaf, 'weak_type', False)
    return jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=self.split, weak_type=weak
    )


def _spread(
  function: Callable,
  recipe: PyTree,
  *,
  mesh: Mesh,
  group: int | None = None,
  donate: int | None = None,
) -> _SpreadFunction:
  """Maps a function of (recipe, run ...) over runs and over devices."""

  @functools.partial(
    jax.jit,
    static_argnames='steps',
    donate_argnums=() if donate is None else donate,
    compiler_options=alike.options(),
  )
  def mapped(recipe, *batch, **static):
    def on_device(recipe, *batch):
      of_run = functools.partial(function, **static)
      of_run = alike.alike(of_run) if _on_cpu() else of_run
      return _over_runs(functools.partial(of_run, recipe), group)(*batch)

    return jax.shard_map(
      on_device,
      mesh=mesh,
      in_specs=(PartitionSpec(), *[PartitionSpec(UNIT)] * len(batch)),
      out_specs=PartitionSpec(UNIT),
      # optax.lbfgs has branches that differ in what varies over devices.
      check_vma=False,
    )(recipe, *batch)

  return _SpreadFunction(
    mapped, recipe, NamedSharding(mesh, PartitionSpec(UNIT))
  )


def _over_runs(of_run: Callable, group: int | None) -> Callable:
  """Maps a function of one run over the runs [b, ...] of a device."""
  if group is None:
    return jax.vmap(of_run)
  of_group = jax.vmap(of_run, axis_name=metrics.REPLICATE)
  split = lambda a: a.reshape(-1, group, *a.shape[1:])
  join = lambda a: a.reshape(-1, *a.shape[2:])

  def of_batch(*batch):
    groups = jax.tree.map(split, batch)
    return jax.tree.map(join, jax.vmap(of_group)(*groups))

  return of_batch


def _bytes_taken(program: Any) -> int:
  """Returns the bytes that a program and its arguments take on a device."""
  memory = program.memory_analysis()
  if memory is None:
    return 0
  return (
    memory.temp_size_in_bytes
    + memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
  )
