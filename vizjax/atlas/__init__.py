"""The site of a workdir: pages for the network, its layers and its units.

site       writes the pages of a whole workdir; begin here
layers     the data of a layer: its units, its images, their numbers
diagram    the drawing of the network
templates  the pages: index.html, and units.js for the page of a unit
"""
