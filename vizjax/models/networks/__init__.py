"""The networks that vizjax knows by name, a file for each family.

published           a described network with the weights of the catalogue
packaged            weights in an installed package
alexnet             AlexNet of Caffe, of Yosinski, of Places, of torchvision
alexnet_features    AlexNet's convolutions, in an installed package
googlenet           GoogLeNet of Caffe, of Places, of torchvision
vgg                 VGG-16 and VGG-19 of Caffe and of torchvision
vgg16_features      VGG-16's convolutions, in an installed package
efficientnet_lite0  EfficientNet-Lite0, in an installed package
deepsim             the generators and encoders of Dosovitskiy and Brox 2016
lpips               the package that holds the two `features`
"""
