"""Files of weights, read as arrays by name.

detect      reads a file of any format; begin here
signatures  tells a format by the first bytes
torch       .pth of PyTorch
unpickle    its pickles, without running what they call
keras       .h5 of Keras
hdf5        the arrays of such a file, in a child process
confined    that process, with limits, replaced when it hangs
matconvnet  .mat of MatConvNet
npy         .npy of NumPy
arrays      the arrays of .npy, .npz and .safetensors
layouts     the order of axes in each framework
"""
