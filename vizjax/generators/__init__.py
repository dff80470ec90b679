"""Networks that make an image of a code.

networks  the image generators
codes     how a code starts, moves and is bounded
"""
