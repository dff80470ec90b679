"""How each published program steps; its recipe is configs/NAME.py.

cnn_vis         Inceptionism as cnn-vis has it
cnn_vis_images  its pictures and starts
cnnpref         Abdelhack and Kamitani 2018
deepdream       Google's notebook
neural_style    Gatys et al. 2016
synthesizing    Nguyen et al. 2016
toolbox         optimize_image of the deep-visualization-toolbox
"""
