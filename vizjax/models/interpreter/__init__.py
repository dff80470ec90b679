"""A table of layers, computed.

tables     a network as rows: kind, kernel, stride, inputs
layers     the network of a table, in Flax
operators  what each kind of row computes
cpu        the same numbers in less time on a CPU
"""
