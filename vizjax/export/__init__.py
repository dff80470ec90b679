"""A workdir in the formats of other programs.

selecting     the images of a workdir that are asked for; begin here
pictures      PNG files, and a sheet of them
plots         curves
toolbox       the files of the deep-visualization-toolbox
cnnpref       the files of cnnpref
synthesizing  the files of Nguyen et al. 2016
grid          photographs beside what was made of them
templates     the pages of `grid`
"""
