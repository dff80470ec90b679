"""The folder of a run: its configuration, its arrays, its owner.

store    arrays by layer, the rows that are finished, and the owner; begin here
folders  files on local disks and in cloud buckets
"""
