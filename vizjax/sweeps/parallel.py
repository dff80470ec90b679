"""Many runs at once: one vmap, spread over this machine's devices.

The only axis is 'unit'. `shard_map`, not automatic sharding: each device
works on its own runs and never waits for another, whatever an optimizer's
line search does.
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

# Steps in one call on an accelerator, at most: enough to hide the launch.
LONGEST_CALL = 32


class Runner(NamedTuple):
  """A recipe for a batch. All inputs and outputs have a leading axis [b].

  Attributes:
    start: (targets, keys) -> state.
    advance: (state, targets, keys, *, steps) -> state, trace [b, steps].
      The state that is passed in is used up.
    frame: (state) -> images that would be evaluated next.
    finish: (state, targets) -> {'image', 'score', 'step', 'activation'}, the
      records of `clean` as 'metric/NAME', mean and deviation of the scores
      under transforms as 'metric/robust_mean' and 'metric/robust_std', and the
      first three of every further snapshot, as 'last/image'; besides an image
      its 'code' where it has one.
    prepare: (targets, keys, *, steps) -> bytes that `advance` takes on a
      device, 0 where that is not known. Compiles, and computes nothing.
  """

  start: Callable
  advance: Callable
  frame: Callable
  finish: Callable
  prepare: Callable


def local_mesh() -> Mesh:
  """All devices of this process in a row."""
  devices = jax.local_devices()
  kind = jax.sharding.AxisType.Auto
  return jax.make_mesh((len(devices),), (UNIT,), (kind,), devices=devices)


def runner(
  recipe: core.Recipe,
  clean: core.Recipe,
  result: str,
  mesh: Mesh,
  keep: tuple[str, ...] = (),
  *,
  robust: core.Recipe | None = None,
  draws: int = 1,
  group: int | None = None,
) -> Runner:
  """Compiles nothing yet; each function compiles once for a shape of batch.

  Args:
    recipe: how an image is made.
    clean: the same without transforms; its score is the 'activation'.
    result: the snapshot that is kept: 'best', 'last', or 'next', the image
      after the last update, whose score is its 'activation'.
    mesh: of `local_mesh`; the batch must be a multiple of its size.
    keep: further snapshots: 'best', 'last', or of the recipe's procedure.
    robust: `clean` under transforms, to be scored again.
    draws: how many times; of every image by the same keys.
    group: runs in a row that see each other on the axis `metrics.REPLICATE`;
      the batch of a device must be a multiple of it.
  """

  def start(recipe, targets, keys):
    return core.init(recipe, targets, _split(keys)[0])

  def step(recipe, state, targets, keys):
    return core.advance(recipe, state, targets, _split(keys)[1])

  def scan(recipe, state, targets, keys, *, steps):
    return core.optimize(recipe, state, targets, _split(keys)[1], steps=steps)

  def frame(recipe, state):
    return recipe.parameterization.render(state.params)

  def finish(recipes, state, targets):
    return outputs.finish(*recipes, draws, result, keep, state, targets)

  # Once for all four, and the weights once for both recipes.
  whole = NamedSharding(mesh, PartitionSpec())
  recipe = jax.device_put(recipe, whole)
  clean, robust = (
    one
    and dataclasses.replace(
      one, model=recipe.model, parameterization=recipe.parameterization
    )
    for one in (clean, robust)
  )
  clean, robust = jax.device_put((clean, robust), whole)

  spread = functools.partial(_spread, mesh=mesh, group=group)
  start = spread(start, recipe)
  scan = spread(scan, recipe, donate=1)
  step = spread(step, recipe, donate=1)
  frame = spread(frame, recipe)
  finish = spread(finish, (recipe, clean, robust))

  def loop(state, targets, keys, *, steps):
    # XLA runs the body of a loop more slowly than a program on the CPU
    # (AlexNet: by a third), and there a launch a step costs nothing.
    traces = []
    for _ in range(steps):
      state, trace = step(state, targets, keys)
      traces.append(trace)
    return state, jax.tree.map(lambda *parts: jnp.stack(parts, 1), *traces)

  def prepare(targets, keys, *, steps):
    state = start.shapes(targets, keys)
    start.program(targets, keys)
    if _on_cpu():
      program = step.program(state, targets, keys)
    else:
      program = scan.program(state, targets, keys, steps=steps)
    finish.program(state, targets)
    return _taken(program)

  advance = loop if _on_cpu() else scan
  return Runner(start, advance, frame, finish, prepare)


def steps_per_call(steps: int, *every: int | None) -> int:
  """How many steps one call of `advance` makes, the same in every call.

  A divisor of `steps` (and of each `every`), so that one compilation serves.
  On the CPU, where a call is a loop of steps, one.
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
  """The key of the start, and the key of the steps."""
  return jax.random.split(key)


def _spread(
  function: Callable,
  recipe: PyTree,
  *,
  mesh: Mesh,
  group: int | None = None,
  donate: int | None = None,
) -> Callable:
  """Maps a function of (recipe, run ...) over runs and over devices."""
  split = NamedSharding(mesh, PartitionSpec(UNIT))

  @functools.partial(
    jax.jit,
    static_argnames='steps',
    donate_argnums=() if donate is None else donate,
    compiler_options=alike.options(),
  )
  def mapped(recipe, *batch, **static):
    def local(recipe, *batch):
      one = functools.partial(function, **static)
      one = alike.alike(one) if _on_cpu() else one
      one = functools.partial(one, recipe)
      if group is None:
        return jax.vmap(one)(*batch)
      # The runs of a unit side by side, on an axis that has a name.
      grouped = lambda a: a.reshape(-1, group, *a.shape[1:])
      several = jax.vmap(one, axis_name=metrics.REPLICATE)
      found = jax.vmap(several)(*jax.tree.map(grouped, batch))
      return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), found)

    return jax.shard_map(
      local,
      mesh=mesh,
      in_specs=(PartitionSpec(), *[PartitionSpec(UNIT)] * len(batch)),
      out_specs=PartitionSpec(UNIT),
      # optax.lbfgs has branches that differ in what varies over devices.
      check_vma=False,
    )(recipe, *batch)

  programs = {}  # compiled, by shapes and what is static

  def program(*batch, **static):
    leaves, tree = jax.tree.flatten(batch)
    key = (tree, *((a.shape, a.dtype) for a in leaves), *static.values())
    if key not in programs:
      batch = jax.tree.map(_like, batch)
      programs[key] = mapped.lower(recipe, *batch, **static).compile()
    return programs[key]

  def _like(leaf):
    weak = getattr(leaf, 'weak_type', False)
    return jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=split, weak_type=weak
    )

  def call(*batch: Any, **static: int) -> PyTree:
    batch = jax.device_put(batch, split)
    return program(*batch, **static)(recipe, *batch)

  call.program = program
  call.shapes = functools.partial(mapped.eval_shape, recipe)
  call.lower = lambda *batch, **static: mapped.lower(recipe, *batch, **static)
  return call


def _taken(program: Any) -> int:
  """Bytes on a device while a program runs, its arguments included."""
  memory = program.memory_analysis()
  if memory is None:
    return 0
  return (
    memory.temp_size_in_bytes
    + memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
  )
