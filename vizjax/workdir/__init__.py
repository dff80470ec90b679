"""The folder of a run: its config, its arrays, its claims.

store    arrays by layer; which rows are done; who owns the workdir
folders  directories and buckets
"""
