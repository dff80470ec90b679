"""Weights that Keras 1 and 2 wrote to HDF5, as for its VGG-16 and VGG-19.

The file is taken apart by `hdf5`, in a process of its own: libhdf5 hangs on
some damaged files, and others end the process.
"""

import numpy as np

from vizjax import files
from vizjax.models.formats import confined


def read(path: files.Path) -> dict[str, dict[str, np.ndarray]]:
  """The weights of a Keras `.h5`: {layer: {weight: array}}, as stored.

  Names are the file's own, such as `block1_conv1/kernel:0`; kernels are [h, w,
  in, out]. Layers without weights are left out.

  Raises:
    UserError: damaged, not of Keras, or h5py is missing: file and reason.
  """
  files.library('h5py')
  size = files.length(path)
  params = {}
  with files.reading(path, 'Keras HDF5 file'):
    for layer, name, array in confined.arrays(path, size, files.bound(size)):
      params.setdefault(layer, {})[name] = array
  return params
