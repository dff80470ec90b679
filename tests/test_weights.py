"""Weight files are told apart by what is in them, whatever their name."""

import gzip
import pathlib
import pickle
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io

from vizjax.models import arrays
from vizjax.models import caffe
from vizjax.models import weights

FIXTURES = pathlib.Path(__file__).parent / 'fixtures'


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
  found, params = weights.read(path)
  assert found == form
  expected = {'torch': 'float32', 'matconvnet': 'filters'}.get(form, 'w')
  assert expected in (params if form == 'torch' else params['a'])
  assert weights.read(str(path))[0] == form


def test_the_legacy_form_of_torch_is_known(tmp_path):
  torch(tmp_path / 'w', 'legacy')
  assert weights.read(tmp_path / 'w')[0] == 'torch'


def test_what_has_no_mark_is_read_as_a_caffemodel(tmp_path, monkeypatch):
  monkeypatch.setattr(caffe, 'read_weights', lambda path: {'path': path})
  path = tmp_path / 'w'
  path.write_bytes(b'\x0a\x07CaffeNet')
  assert weights.read(path) == ('caffe', {'path': str(path)})


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
  ],
)
def test_other_files_are_an_error_that_says_what_they_are(
  content, match, tmp_path
):
  path = tmp_path / 'weights.pth'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=match) as error:
    weights.read(path)
  assert str(path) in str(error.value)


def test_another_zip_is_an_error_that_lists_it(tmp_path):
  path = tmp_path / 'weights.zip'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('release/generator.caffemodel', b'')
  with pytest.raises(ValueError, match='release/generator.caffemodel'):
    weights.read(path)
  with pytest.raises(ValueError, match='absent'):
    weights.read(tmp_path / 'absent')
