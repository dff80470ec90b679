"""The names of classes.

lists      reads labels from a file, and knows the lists that come along
names      finds the units that a name may mean
imagenet   the 1,000 classes of ILSVRC 2012
places205  the 205 scenes of Places
"""
