"""Networks of Caffe: a .prototxt, whose .caffemodel formats/ reads.

network    load, and the table and the arrays of both files; begin here
upgrade    old definitions in today's words
fields     which fields are read, which change nothing, which are refused
layers     a row of the table for each type of layer
windows    kernels, strides and padding
transform  the mean and the scale of the images
"""

from vizjax.models.caffe.network import BGR
from vizjax.models.caffe.network import IMAGENET_MEAN
from vizjax.models.caffe.network import load
from vizjax.models.caffe.network import model
from vizjax.models.caffe.network import params
from vizjax.models.caffe.network import parse
from vizjax.models.formats.caffemodel import read as read_weights
from vizjax.models.formats.caffemodel import read_mean

__all__ = [
  'BGR', 'IMAGENET_MEAN', 'load', 'model', 'params', 'parse', 'read_mean',
  'read_weights',
]  # fmt: skip
