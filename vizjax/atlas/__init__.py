"""The site of a workdir: pages for the network, its layers and its units.

site       writes the site, with the config, versions and command that each page
           shows; begin here
layers     writes the data of a layer, and chooses the numbers that the page of
           a unit shows
diagram    the drawing of the network
templates  the pages: index.html, and units.js for the page of a unit
"""
