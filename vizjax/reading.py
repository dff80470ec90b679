"""What a term reads of the activations, or an error that says what there is."""

from jaxtyping import Array

from vizjax import core


def layer(acts: core.Acts, name: str) -> Array:
  """The activations of a layer, [h, w, c] or [c].

  Raises:
    ValueError: there is none of that name.
  """
  if name not in acts:
    known = ', '.join(k for k in acts if k not in core.RESERVED)
    raise ValueError(
      f'the objective reads layer {name!r}, expected one of: {known}'
    )
  return acts[name]
