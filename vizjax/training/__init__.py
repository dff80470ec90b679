"""Training a generator that inverts a layer of a network.

plans      a configuration, checked, and the steps of its training; begin here
runs       the training in a workdir, resumable after a crash
crops      the photographs, in batches
inversion  losses, adversary, one step

`vizjax.generators` has the generator itself.
"""
