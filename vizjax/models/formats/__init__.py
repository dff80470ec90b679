"""Files of weights, read as arrays by name.

detect      reads a file of any format, and lists the readers; begin here
signatures  tells a format by the first bytes
torch       .pth of PyTorch
unpickle    safe unpickling: executes no code of the file
keras       .h5 of Keras
hdf5        the arrays of such a file, in a child process
confined    runs that process with limits, and replaces it when it hangs
matconvnet  .mat of MatConvNet
arrays      .npy, .npz and .safetensors
npy         parses one .npy file
caffemodel  .caffemodel and .binaryproto of Caffe
caffe_schema  their messages, and those of .prototxt, as protocol buffers
layouts     matches names and axes of each framework with those of a network

A new format has a row in `_READERS` of `detect`, its mark in `signatures`, and
where its weights have names of their own a kind in `layouts`.
"""
