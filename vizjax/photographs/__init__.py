"""Photographs: files, data sets, how a network wants them, what it says.

images          arrays as files, and between numbers of channels
decoding        one photograph of any format
files           the photographs that a configuration names
datasets        folders and TFDS
preprocessing   size and crop, as each network was trained
classifiers     scores and best classes
moments         mean and deviation of each unit over photographs
"""
