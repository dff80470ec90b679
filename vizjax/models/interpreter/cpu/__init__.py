"""Convolutions and poolings, computed faster on a CPU.

unstrided    convolutions with stride 1: by tiles, or as shifted matmuls
strided      convolutions with a larger stride
correlation  XLA's convolution, with a row of zeros where that is faster
pooling      maxima over windows
"""
