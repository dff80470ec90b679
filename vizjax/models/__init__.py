"""Networks: load one by name, cut it to what is asked, box it to one unit.

model = load('alexnet_features')
model(image)['conv5']                    # image [h, w, 3], RGB, 0-255

named             the networks that have a name; begin here
networks          what each of them is, a file for each family
adapters          networks of Flax, and functions of one's own
caffe             networks of Caffe: .prototxt and .caffemodel
formats           files of weights
download          where published weights are, and how they come here
labels            names of classes
means             the mean that is subtracted from images
finite            tells of weights that are NaN or infinite
interpreter       a table of layers, computed
variants          cut, boxed, without padding, in other numbers
receptive_fields  what a unit sees
"""

from vizjax.models.adapters import from_function
from vizjax.models.adapters import from_linen
from vizjax.models.adapters import from_nnx
from vizjax.models.named import NAMES, described, load
from vizjax.models.variants import boxed, computed_in, cut, pooled
from vizjax.models.variants import rectifier, sized, unpadded

__all__ = [
  'NAMES', 'boxed', 'computed_in', 'cut', 'described', 'from_function',
  'from_linen', 'from_nnx', 'load', 'pooled', 'rectifier', 'sized', 'unpadded',
]  # fmt: skip
