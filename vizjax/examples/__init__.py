"""The photographs that excite each unit most.

search  from a data set to the workdir: plan, then search; begin here
passes  one pass over the photographs for all layers
top     the k best photographs of each unit, merged batch by batch
crops   the part of a photograph that a unit sees
"""

from vizjax.examples.search import read

__all__ = ['read']
