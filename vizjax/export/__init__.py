"""A workdir as image files, films, plots, and files of other programs.

selecting     selects layers and units of a workdir; begin here
pictures      PNG files, contact sheets, strips of frames, GIF and MP4
plots         curves
toolbox       the files of the deep-visualization-toolbox
cnnpref       the files of cnnpref
synthesizing  the files of Nguyen et al. 2016
grid          a page of photographs beside what was made of them, and the
              files of neural_style
templates     that page

FORMATS of `vizjax/cli/export.py` lists the formats: a new format has a row
there, and here a function that yields the paths of the files that it writes.
"""
