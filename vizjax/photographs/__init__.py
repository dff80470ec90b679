"""Photographs: reading, preprocessing, and a network's predictions.

files          the photographs that a configuration names; begin here
decoding       decodes one photograph of any format
images         reads and writes arrays; grey and RGB, sizes, contact sheets
datasets       folders and TFDS
preprocessing  size and crop, as each network was trained
classifiers    scores and best classes of photographs
moments        mean and deviation of each unit over photographs
"""
