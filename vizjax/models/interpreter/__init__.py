"""Runs a network that is described as a table of layers.

tables     a network as rows: kind, kernel, stride, inputs; begin here
layers     the Flax module of a table
operators  the function of each kind of row
cpu        faster ways for a CPU to compute some of them
"""
