"""Several processes, on one machine or many, that share the work of a run.

  here = hosts.join()                     # asks the cluster who is who
  plans = hosts.together(here, lambda: sweep.plan(request))
  sweep.execute(config, plans, workdir, here=here)

Processes speak to each other at the start alone, and then not any more: what
each has to do is settled, and what it has done is in the store. So none waits
for another, and one that dies takes no other with it.
"""

from collections.abc import Callable, Mapping, Sequence
import itertools
import json
import os
import sys
import threading
from typing import Any, NamedTuple, TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from vizjax.errors import UserError

T = TypeVar('T')

PATIENCE = 300  # seconds that a process waits for the others to start

# Seconds after which a process that sends no sign of life is taken for dead, as
# long as the processes plan. JAX then ends the others; its own 100 s are for
# jobs of thousands of machines. The signs are sent by a thread of C++, which
# neither Python nor a compilation holds up.
HEARTBEAT = 20

# Where launchers say how many processes of a job there are.
_TASKS = ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE', 'PMI_SIZE')


class Hosts(NamedTuple):
  """Which process this is, of how many."""

  index: int = 0
  count: int = 1


ALONE = Hosts()


def join(
  address: str | None = None,
  count: int | None = None,
  index: int | None = None,
  patience: int = PATIENCE,
) -> Hosts:
  """Meets the other processes; to be called before anything is computed.

  Args:
    address: 'HOST:PORT' where process 0 listens. None, as the others: what
      the cluster says, where JAX knows it (Slurm, Open MPI, GKE, Cloud TPU).
    count: of processes.
    index: of this one.
    patience: seconds to wait for the others; then the process ends, with
      status 2 and a line that says so.

  Raises:
    UserError: the cluster says nothing, or an argument is none.
  """
  if address is not None:
    host, _, port = address.rpartition(':')
    if not host or not port.isdecimal():
      raise UserError(f'coordinator is {address!r}, expected HOST:PORT')
  if count is not None and index is not None and not 0 <= index < count:
    raise UserError(f'process is {index} of {count}: expected 0 to {count - 1}')
  shown = address or 'the coordinator that the cluster names'
  late = threading.Timer(patience, _give_up, (shown, patience))
  late.daemon = True
  late.start()
  try:
    # Longer than ours: where JAX's ends it ends the process, with a trace.
    jax.distributed.initialize(
      address,
      count,
      index,
      initialization_timeout=patience + 60,
      heartbeat_timeout_seconds=HEARTBEAT,
    )
  except (ValueError, RuntimeError) as error:
    raise UserError(
      f'the processes cannot be brought together ({error}): type '
      '--coordinator=HOST:PORT --processes=N --process=I, or leave out '
      '--distributed for a single one'
    ) from None
  finally:
    late.cancel()
  return Hosts(jax.process_index(), jax.process_count())


def alone(environment: Mapping[str, str] = os.environ) -> Hosts:
  """A single process; never one of several that do the same by accident.

  Raises:
    UserError: it was started as one of several.
  """
  for name in _TASKS:
    if environment.get(name, '1').strip() not in ('', '0', '1'):
      raise UserError(
        f'this is one of {environment[name]} processes ({name}), which would '
        'all do the same: type --distributed to share the work, or '
        '--nodistributed to do it as often'
      )
  return ALONE


def together(here: Hosts, make: Callable[[], T]) -> T:
  """What `make` gives in this process, once it has worked in all of them.

  Raises:
    UserError: it failed in another process.
    BaseException: what `make` raised here, or an interruption.
  """
  error: BaseException | None = None
  made: Any = None
  try:
    made = make()
  except BaseException as raised:  # the others wait for this one's answer
    error = raised
  failed = _gathered(here, np.array([error is not None]))[:, 0]
  if failed.any():
    leave(here)  # together, or who ends first takes the answer away
  if error is not None:
    raise error
  if failed.any():
    raise UserError(
      f'process {np.flatnonzero(failed)[0]} of {here.count} could not begin; '
      'it says why: nothing is done by the others either'
    )
  return made


def agree(here: Hosts, facts: Mapping[str, Any]) -> None:
  """Refuses to begin where processes would not do the same.

  Args:
    here: which process this is.
    facts: what must be equal in all of them, as JSON has it.

  Raises:
    UserError: which of them differ, and where.
  """
  text = np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8)
  longest = _gathered(here, np.array([len(text)])).max()
  padded = np.zeros(longest, np.uint8)
  padded[: len(text)] = text
  for index, other in enumerate(_gathered(here, padded)):
    theirs = json.loads(other.tobytes().rstrip(b'\0'))
    differing = [
      f'{name}: {theirs.get(name)!r} there, {facts.get(name)!r} here'
      for name in sorted({*facts, *theirs})
      if json.dumps(theirs.get(name)) != json.dumps(facts.get(name))
    ]
    if differing:
      leave(here)  # all of them do: each differs from some other one
      raise UserError(
        f'process {index} of {here.count} was started differently from process '
        f'{here.index} ({"; ".join(differing)}): start all of them by one '
        'command, in equal environments'
      )


def leave(here: Hosts) -> None:
  """Ends the acquaintance: from here on a process may die by itself."""
  if here.count > 1:
    jax.distributed.shutdown()


def share(here: Hosts, work: Sequence[int | float]) -> range:
  """The numbers of the pieces that are this process's own.

  Neighbours stay together, for pieces of one layer need one compilation.

  Args:
    here: which process this is.
    work: what each piece takes, in any unit.
  """
  ends = list(itertools.accumulate(work))
  if not ends:
    return range(0)
  # A piece belongs to the part in which its middle lies.
  part = ends[-1] / here.count
  middles = [end - each / 2 for end, each in zip(ends, work, strict=True)]
  owners = [min(int(m // part), here.count - 1) for m in middles]
  first = owners.index(here.index) if here.index in owners else 0
  return range(first, first + owners.count(here.index))


def _gathered(here: Hosts, array: np.ndarray) -> np.ndarray:
  """[count, ...]: the arrays of all processes, which are of one shape."""
  if here.count == 1:
    return array[None]
  return np.asarray(multihost_utils.process_allgather(array))


def _give_up(address: str, patience: int) -> None:
  print(
    f'the other processes did not come within {patience} s, or {address} '
    'cannot be reached: start all of them, with the same --coordinator, and '
    'with --process=0 on that machine',
    file=sys.stderr,
    flush=True,
  )
  os._exit(2)  # the main thread waits in a call that cannot be interrupted
