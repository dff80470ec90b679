"""Networks: load one by name, cut it at a layer, crop it to one unit.

model = load('alexnet_features')
model(image)['conv5']                    # image [h, w, 3], RGB, 0-255

named             loads a network by name; begin here
networks          the description of each, a file for each family
adapters          networks of Flax, and functions of one's own
caffe             networks of Caffe: .prototxt and .caffemodel
formats           files of weights
download          where weights are published, and how they are downloaded
labels            names of classes
means             the mean that is subtracted from images
finite            reports weights that are NaN or infinite
interpreter       runs a network that is described as a table of layers
unrectified       a layer before its rectifier
variants          truncated, cropped to one unit, unpadded, of another dtype
receptive_fields  the part of the image that a unit sees
"""

from vizjax.models.adapters import from_function
from vizjax.models.adapters import from_linen
from vizjax.models.adapters import from_nnx
from vizjax.models.named import NAMES, described, load
from vizjax.models.unrectified import unrectified
from vizjax.models.variants import boxed, computed_in, cut, fitting, pooled
from vizjax.models.variants import rectifier, sized, unpadded

__all__ = [
  'NAMES', 'boxed', 'computed_in', 'cut', 'described', 'fitting',
  'from_function', 'from_linen', 'from_nnx', 'load', 'pooled', 'rectifier',
  'sized', 'unpadded', 'unrectified',
]  # fmt: skip
