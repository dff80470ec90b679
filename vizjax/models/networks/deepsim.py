"""Generators that make an image of a code: Dosovitskiy and Brox 2016.

"Generating images with perceptual similarity metrics based on deep networks",
https://arxiv.org/abs/1602.02644, inverting fc6, fc7 and pool5 of CaffeNet.
The code is the network's `image`, [1, 1, 4096] or [6, 6, 256]; the picture is
the layer `deconv0` [256, 256, 3], RGB less CaffeNet's mean.
"""

from vizjax.models.interpreter import tables
from vizjax.models.networks import published

SLOPE = 0.3  # below zero

# Name, features, kernel, stride: those of stride 2 double the size.
DECONVOLUTIONS = (
  ('deconv5', 256, 4, 2),
  ('conv5_1', 512, 3, 1),
  ('deconv4', 256, 4, 2),
  ('conv4_1', 256, 3, 1),
  ('deconv3', 128, 4, 2),
  ('conv3_1', 128, 3, 1),
  ('deconv2', 64, 4, 2),
  ('deconv1', 32, 4, 2),
)


def _of_vector() -> list[tables.Layer]:
  rows = []
  for name in ('defc7', 'defc6', 'defc5'):
    rows.append(tables.fc(name, 4096))
    rows.append(tables.relu(f'relu_{name}', SLOPE))
  options = (('shape', (256, 4, 4)),)
  rows.append(tables.Layer('reshape', 'reshape', options=options))
  return rows


def _of_map() -> list[tables.Layer]:
  rows = []
  for number, pad in ((6, 1), (7, 1), (8, 0)):
    rows.append(tables.conv(f'Rconv{number}', 512, 3, pad=pad))
    rows.append(tables.relu(f'Rrelu{number}', SLOPE))
  return rows


def network(name: str) -> published.Network:
  """The network of a name, but for its weights."""
  of_map = name == 'deepsim_pool5'
  shape = (6, 6, 256) if of_map else (1, 1, 4096)
  rows = _of_map() if of_map else _of_vector()
  for layer, features, kernel, stride in DECONVOLUTIONS:
    rows.append(tables.deconv(layer, features, kernel, stride, pad=1))
    rows.append(tables.relu(f'relu_{layer}', SLOPE))
  rows.append(tables.deconv('deconv0', 3, 4, 2, pad=1))
  table, mean = tables.sequence(*rows), (0.0,) * shape[2]
  return published.Network(table, shape, mean, bgr=True)
