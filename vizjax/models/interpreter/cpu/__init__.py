"""Convolutions and poolings that a CPU computes in less time.

strided      convolutions with a stride
unstrided    convolutions without one: by tiles, or as shifted matmuls
correlation  convolutions by Fourier transforms
pooling      maxima over windows
"""
