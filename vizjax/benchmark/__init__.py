"""How fast vizjax is, and compared to what.

measure    runs a workload and reports time and memory; begin here
workloads  the networks, layers and recipes that are run
peers      the same workloads in PyTorch
store      the speed of the store, measured with many small runs

`random(name)` is a published network with random weights.
"""

from vizjax.benchmark.measure import random

__all__ = ['random']
