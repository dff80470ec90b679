"""The network that the images of a workdir are of, loaded or given."""

from collections.abc import Mapping
from typing import Any

from vizjax import build
from vizjax import core
from vizjax.errors import UserError
from vizjax.sweeps import digests
from vizjax.workdir import store


def of_workdir(
  workdir: str, made_by: Mapping[str, Any], given: core.Model | None = None
) -> core.Model:
  """Returns the network of a workdir, on images of 0-255.

  Args:
    workdir: for messages.
    made_by: the content of its config.json.
    given: the network; None for the one that the config names.

  Raises:
    UserError: the config names none and none is given, or the one that is
      given has other weights.
    OSError: its weights cannot be read.
  """
  config = made_by['config']
  if given is None:
    # A sweep from Python keeps no name of a network.
    if config.get('model') is None and store.format_of(made_by) > 1:
      raise UserError(
        f'workdir {workdir!r} was made in Python, with a network that has no '
        f'name: type results = vizjax.open({workdir!r}) in Python, and '
        'results.examples(photographs, model=model) or '
        'results.export(format, model=model)'
      )
    return build.model(build.restored(config))
  given = build.with_mean(build.restored(config), core.in_grey_levels(given))
  alone = not config.get('prior') and not config.get('encoder')
  kept = made_by.get('digests', {}).get('weights')
  # Where there are further networks, the digest is of all together.
  if alone and kept not in (None, digests.weights([given])):
    raise UserError(
      f'workdir {workdir!r} was made with another network than model= (digest '
      "'weights'): the parameters, mean or scale are others"
    )
  return given
