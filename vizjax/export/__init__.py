"""A workdir as image files, films, plots, and files of other programs.

formats       the formats, by name
selecting     selects layers and units of a workdir; begin here
pictures      PNG files, contact sheets, strips of frames, GIF and MP4
plots         curves
toolbox       the files of the deep-visualization-toolbox
cnnpref       the files of cnnpref
synthesizing  the files of Nguyen et al. 2016
grid          a page of photographs beside what was made of them, and the
              files of neural_style
templates     that page

`formats` finds the function of a format. A new format is a function that yields
the paths of the files that it writes: in a module of this package with a row in
`formats.NAMES`, or anywhere, by its import path.
"""
