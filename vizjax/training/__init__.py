"""Training a generator that inverts a layer of a network.

  plans      a configuration, checked, and the steps of its training
  runs       the same in a workdir, safe against crashes
  crops      the photographs, in batches
  inversion  losses, adversary, one step

`vizjax.generators` has the generator itself.
"""
