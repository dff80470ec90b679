"""The rates of the toolbox of Yosinski et al. 2015, in NumPy."""

import numpy as np


def rate(gradient, desired, max_rate):
  """min(max_rate, desired / |g|^2)."""
  return min(max_rate, desired / np.linalg.norm(gradient) ** 2)


def desired01(score, early, late):
  """What `progress01` wants to gain."""
  return min(early, late * (1 - score))
