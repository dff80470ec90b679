"""ml_collections has no types of its own: these are the ones vizjax needs."""
