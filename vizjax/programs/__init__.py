"""The optimization step of each published program, by its recipe.

cnn_vis         configs/cnn_vis.py, Johnson 2015
cnn_vis_images  makes its initial images and pictures, and chooses its sizes;
                sweeps/watching.py writes the pictures
cnnpref         configs/cnnpref.py, Abdelhack and Kamitani 2018
deepdream       configs/deepdream.py, Google's notebook
neural_style    configs/gatys2016.py, Gatys et al. 2016
synthesizing    configs/nguyen2016.py, Nguyen et al. 2016
toolbox         configs/yosinski2015.py, optimize_image of the
                deep-visualization-toolbox
"""
