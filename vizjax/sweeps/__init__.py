"""From a configuration to a workdir: many runs, resumable after a crash.

sweep         plans, finds the rows that a workdir lacks, and makes them; begin
              here
results       judges what a batch gave; says which rows are made (again)
batches       makes one batch; keeps it if it is interrupted, and goes on
growth        further units, layers and replicates for a workdir
parallel      maps one run over a batch and over devices
alike         makes results bit-identical whatever the batch size
capacity      chooses the batch size that fits in memory
compilation   the cache of compiled programs on disk
hosts         several processes that share the work
watching      prints numbers, and writes pictures and plots as cnn-vis does,
              while a sweep runs
description   the text printed before and after a run
provenance    config, versions and makers, kept with the results
network       the network of a workdir, which a later command computes
digests       hashes of weights, data and programs, which a resume compares
format1       the one hash of weights and files in older workdirs
"""
