"""The runs and programs of a configuration and a network, for one layer."""

from vizjax import build
from vizjax.build import program as program_
from vizjax.build import stages as stages_


def read(config, net, layer):
  """The request at its last size, and what the terms of the layer read."""
  request = stages_.sized(build.request(config, net))[-1]
  return request, program_.read(request, layer)


def runs(config, net, layer):
  request, found = read(config, net, layer)
  scales = request.scales
  photographs = 0 if scales is None else len(scales.photographs)
  return program_.runs(request, found, photographs)


def program(config, net, layer, *, boxed=False):
  return program_.of(*read(config, net, layer), boxed=boxed)


def stages(config, net, layer, *, boxed=False, runs=2):
  request = build.request(config, net)
  reads = stages_.read(request, layer)
  return stages_.of(request, reads, boxed=boxed, runs=runs)
