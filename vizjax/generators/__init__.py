"""Networks that generate an image from a code, a vector of numbers.

networks  the generators; begin here
codes     initial codes, their bounds, and the codes that are stored
"""
