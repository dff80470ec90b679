"""Where weights are published, and how they are downloaded.

catalogue  files, addresses, sizes and hashes; begin here
transfer   a download that resumes after an interruption
archives   files in zips and tars
"""
