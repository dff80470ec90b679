"""Which pixels a unit sees along one axis, found by following every tap."""


def seen(index, windows):
  """The pixels, off the image or on it, that the unit `index` reads.

  Args:
    index: of the unit in the last layer.
    windows: (kernel, stride, pad, dilation) of each layer, first to last.
  """
  units = {index}
  for kernel, stride, pad, dilation in reversed(windows):
    units = {
      unit * stride - pad + tap * dilation
      for unit in units
      for tap in range(kernel)
    }
  return units


def span(index, windows):
  """(first, number) of what lies between the ends of `seen`."""
  pixels = seen(index, windows)
  return min(pixels), max(pixels) - min(pixels) + 1
