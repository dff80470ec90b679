"""The site of a workdir: pages for the network, its layers and its units.

site      writes the pages of a whole workdir; begin here
layers    one layer: its images, its numbers, its sheets of pictures
diagram   the drawing of the network
templates the pages themselves: HTML, CSS and JavaScript
"""
