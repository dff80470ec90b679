"""Published weights: where they are, and how they come here.

catalogue  files, addresses, sizes and hashes
transfer   a download that goes on where it was interrupted
archives   files in zips and tars
"""
