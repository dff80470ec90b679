"""How fast vizjax is: what is measured, and against whom.

measure    runs a workload and reports time and memory; begin here
workloads  what is run: networks, layers, recipes
peers      the same in PyTorch and others
store      the store alone, by many small runs
"""

from vizjax.benchmark.measure import random

__all__ = ['random']
