"""Weight files are told apart by what is in them, whatever their name."""

import gzip
import io
import os
import pathlib
import pickle
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io

from vizjax import files
from vizjax.errors import UserError
from vizjax.models import caffe
from vizjax.models import means
from vizjax.models.formats import arrays
from vizjax.models.formats import detect

CASES = pathlib.Path(__file__).parents[3] / 'shared' / 'cases' / 'reports'
FIXTURES = pathlib.Path(__file__).parents[1] / 'fixtures'


def torch(path, form='zip'):
  path.write_bytes((FIXTURES / f'state_dict_{form}.pth').read_bytes())


def keras(path):
  with h5py.File(path, 'w') as file:
    file.attrs['layer_names'] = [b'a']
    file.create_group('a').attrs['weight_names'] = [b'w']
    file['a/w'] = np.ones(3)


def matconvnet(path):
  layers = np.empty((1, 1), object)
  layers[0, 0] = {'name': 'a', 'filters': np.ones(3)}
  scipy.io.savemat(path, {'layers': layers}, appendmat=False)


def own(path, ending):
  written = path.with_suffix(f'.{ending}')
  arrays.write(written, {'a': {'w': np.ones(3)}})
  written.rename(path)


def npy(path):
  with open(path, 'wb') as file:
    np.save(file, np.array({'a': {'w': np.ones(3)}}, object))


WRITERS = {
  'torch': torch,
  'keras': keras,
  'matconvnet': matconvnet,
  'npz': lambda path: own(path, 'npz'),
  'safetensors': lambda path: own(path, 'safetensors'),
  'npy': npy,
}


@pytest.mark.parametrize('form', WRITERS)
@pytest.mark.parametrize('name', ['weights', 'weights.caffemodel'])
def test_the_reader_is_chosen_by_content(form, name, tmp_path):
  path = tmp_path / name
  WRITERS[form](path)
  found, params = detect.read(path)
  assert found == form
  expected = {'torch': 'float32', 'matconvnet': 'filters'}.get(form, 'w')
  assert expected in (params if form == 'torch' else params['a'])
  assert detect.read(str(path))[0] == form


def test_the_legacy_form_of_torch_is_known(tmp_path):
  torch(tmp_path / 'w', 'legacy')
  assert detect.read(tmp_path / 'w')[0] == 'torch'


def test_what_has_no_mark_is_read_as_a_caffemodel(tmp_path, monkeypatch):
  reader = {'caffe': lambda path: {'path': path}}
  monkeypatch.setattr(detect, '_READERS', reader)
  path = tmp_path / 'w'
  path.write_bytes(b'\x0a\x07CaffeNet')
  assert detect.read(path) == ('caffe', {'path': path})


@pytest.mark.parametrize(
  'content, match',
  [
    (b'', 'it is empty'),
    (b'<!DOCTYPE html><title>404</title>', 'a page of text'),
    (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
    (gzip.compress(b'weights', mtime=0), 'gzip: unpack it'),
    (b'MATLAB 7.3 MAT-file, Platform: GLNXA64', "'-v7'"),
    (pickle.dumps({'a': 1}), 'a pickle, but not one of torch.save'),
    (b'PK\x03\x04', 'not a zip'),
    (bytes(257) + b'ustar' + bytes(300), 'tar archive'),
    (b'\x08\x07\x12\x07pytorch\x1a\x051.13a', 'an ONNX model.*one of .caffe'),
    (b'\x08\x03\x3a\x80\x01\x0a\x10', 'an ONNX model, which is not read'),
    (b'\x08\x01\x12\x80\x02\x0a\x03', 'a model of TensorFlow .* or Core ML'),
    (b'\x0a\x80\x02\x0a\x05input\x12\x0bPlaceholder', 'a graph of TensorFlow'),
    (b'\x1c\0\0\0TFL3\x14\0\x20', 'a model of TensorFlow Lite'),
    (b'\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1\x13', 'of Torch 7'),
    (b'\x12\x01' + bytes(14), 'of MXNet'),
    (b'{"metadata": {}, "weight_map": {}}', 'index .*max_shard_size'),
    (b'\xef\xbb\xbf {"class_name": "Model"}', 'it is JSON'),
    ('name: "Net" # é\n'.encode() * 100, 'it is text, such as a prototxt'),
  ],
)
@pytest.mark.parametrize('read', [detect.read, caffe.read_weights])
def test_other_files_are_an_error_that_says_what_they_are(
  read, content, match, tmp_path
):
  path = tmp_path / 'weights.pth'
  path.write_bytes(content)
  if read is caffe.read_weights and content[:2] == b'PK':
    match = 'it is a zip'
  with pytest.raises(UserError, match=match) as error:
    read(str(path))
  assert str(path) in str(error.value)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('form', WRITERS)
def test_weights_of_other_formats_are_no_caffemodel(form, tmp_path):
  path = tmp_path / 'net.caffemodel'
  WRITERS[form](path)
  with pytest.raises(UserError, match='cannot be read as a .caffemodel: it is'):
    caffe.read_weights(str(path))


def test_weights_of_other_names_are_listed():
  table, shape = caffe.parse(
    'input: "data" input_dim: [1, 3, 9, 9] layer { name: "c" type: "Conv'
    'olution" bottom: "data" top: "c" convolution_param { num_output: 2 '
    'kernel_size: 3 } }'
  )
  blobs = {f'conv{i}': [np.zeros((2, 3, 3, 3)), np.zeros(2)] for i in range(15)}
  told = "nothing for 'c': they have 'conv0', 'conv1', .*'conv11' and 3 more"
  with pytest.raises(UserError, match=told):
    caffe.model(table, shape, blobs)


def test_bytes_without_a_mark_are_damaged_or_no_caffemodel(tmp_path):
  path = tmp_path / 'net.caffemodel'
  path.write_bytes(b'\xff' * 600)
  with pytest.raises(UserError, match='damaged, or no .caffemodel'):
    detect.read(path)


@pytest.mark.parametrize(
  'file, match',
  [
    ('B02b.pth', "is its entry 'model': type .*save.*load.*'model'"),
    ('B02c.pth', "is its entry 'net': type "),
    ('B02d.pth', "is its entry 'model_state_dict': type "),
    ('model.safetensors.index.json', 'index of weights .*max_shard_size'),
    ('k.keras', r'\.keras file, which is not read: type model.save\('),
    ('k3.weights.h5', r"model\.save\('x.h5'\) in Keras 3"),
  ],
)
def test_what_is_not_read_yet_says_what_to_type(file, match):
  folder = file.partition('.')[0]
  folder = {'model': 'B07', 'k': 'B10', 'k3': 'B10'}.get(folder, folder)
  path = CASES / folder / file
  if not path.exists():
    pytest.skip('the cases are not here')
  with pytest.raises(UserError, match=match):
    detect.read(path)


def dagnn(path):
  cell = np.empty((1, 1), object)
  cell[0, 0] = {'name': 'conv1', 'type': 'dagnn.Conv', 'params': 'conv1f'}
  values = {'name': 'conv1f', 'value': np.zeros((3, 3, 3, 2), 'f4')}
  content = {'layers': cell, 'params': [values]}
  scipy.io.savemat(path, content, appendmat=False)


def empty_npy():
  stream = io.BytesIO()
  np.save(stream, np.array({}, object))
  return stream.getvalue()


EMPTY = {
  'DagNN': (dagnn, 'layers of DagNN have no weights .* SimpleNN'),
  'safetensors': (
    lambda path: path.write_bytes(b'\x08' + bytes(7) + b'{}      '),
    'holds no weights',
  ),
  'npz': (
    lambda path: zipfile.ZipFile(path, 'w').close(),
    "a zip of 'nothing'",
  ),
  'npy': (
    lambda path: path.write_bytes(empty_npy()),
    'holds no weights',
  ),
  'keras': (
    lambda path: h5py.File(path, 'w').attrs.create('layer_names', [b'']),
    'not a Keras',
  ),
}


@pytest.mark.parametrize('form', EMPTY)
def test_a_file_without_weights_is_refused(form, tmp_path):
  make, match = EMPTY[form]
  make(tmp_path / 'weights')
  with pytest.raises(UserError, match=match):
    detect.read(tmp_path / 'weights')


def test_another_zip_is_an_error_that_lists_it(tmp_path):
  path = tmp_path / 'weights.zip'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('release/generator.caffemodel', b'')
  with pytest.raises(UserError, match='release/generator.caffemodel'):
    detect.read(path)
  with pytest.raises(UserError, match='absent'):
    detect.read(tmp_path / 'absent')


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
  pipe = tmp_path / 'pipe.npy'
  os.mkfifo(pipe)
  for read in (files.content, caffe.read_weights, means.load_npy):
    with pytest.raises((OSError, ValueError), match='pipe, a socket or a dev'):
      read(str(pipe))
