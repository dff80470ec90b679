"""From a configuration to a workdir: many runs, resumable after a crash.

sweep         plan, then execute; begin here
results       the rows that are missing or failed and have to be made (again)
batches       one batch: its steps, and its resumption
growth        further units, layers and replicates for a workdir
parallel      maps one run over a batch and over devices
alike         makes results bit-identical whatever the batch size
capacity      chooses the batch size that fits in memory
compilation   the cache of compiled programs on disk
hosts         several processes that share the work
watching      numbers, pictures and plots while a sweep runs
description   the text printed before and after a run
provenance    config, versions and hashes of weights, kept with the results
"""
