"""The commands of vizjax in a checkout: `python -m experiments.NAME`."""
