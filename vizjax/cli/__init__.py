"""What the command `vizjax` does, a module a subcommand.

launch           starts each of them: flags, errors, signals
run              makes preferred images
atlas            their site
export           their files
examples         the photographs that excite each unit
weights          weights of published networks
validate         how good a network is
act_range        the range of each unit over photographs
train_generator  generators for configs/nguyen2016.py:own
benchmark        how fast steps are
list             what formulas and flags may name

A subcommand is a module here with a docstring, whose first line is its line in
`vizjax --help`, and a function `start`, which defines its flags and runs it;
its name stands in `COMMANDS` of `vizjax/__main__.py`.
"""
