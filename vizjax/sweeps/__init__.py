"""From a configuration to a workdir: many runs, resumed after any end.

sweep         plan, then execute; begin here
batches       one batch: its steps, its interruptions
growth        further units, layers and replicates for a workdir
results       which rows failed and are tried again; how rows are filled
parallel      one run mapped over a batch and over devices
alike         sums in one order, so that no batch changes a bit
capacity      how many images at a time
compilation   programs kept between starts
hosts         several processes that share the work
watching      numbers, pictures and plots while it runs
description   what a run says of itself
provenance    what a workdir was made by
"""
