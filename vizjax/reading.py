"""What a term reads of the activations, or an error that says what there is."""

from jaxtyping import Array

from vizjax import core


def layer(acts: core.Acts, name: str) -> Array:
  """Returns the activations of a layer, [h, w, c] or [c].

  A reserved name means the layer where the network has one of that name: it
  is the image, or the like, only to terms that read `acts` themselves.

  Raises:
    ValueError: there is none of that name.
  """
  shadowed = core.SHADOWED + name
  name = shadowed if shadowed in acts else name
  if name not in acts:
    layers = [key for key in acts if key not in core.RESERVED]
    known = ', '.join(layers).replace(core.SHADOWED, '')
    raise ValueError(
      f'the objective reads layer {name!r}, expected one of: {known}'
    )
  return acts[name]
