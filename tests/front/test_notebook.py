"""The notebook of docs/ runs from its first cell to its last."""

import pathlib

import nbclient
import nbformat
import pytest

NOTEBOOK = pathlib.Path(__file__).parents[2] / 'docs' / 'tour.ipynb'
SETTINGS = "steps, units, workdir = 128, range(16), 'conv5'"


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_the_notebook_runs(tmp_path, monkeypatch):
  monkeypatch.setenv('PYTHONPATH', str(NOTEBOOK.parents[1]))
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  cells = {i: c for i, c in enumerate(notebook.cells) if c.cell_type == 'code'}
  # Steps enough that the first batch is not finished when it is stopped.
  (first,) = [c for c in cells.values() if SETTINGS in c.source]
  few = "steps, units, workdir = 6, range(4), 'conv5'"
  first.source = first.source.replace(SETTINGS, few)
  (sweeps,) = [c for c in cells.values() if 'threading.Timer(30' in c.source]
  sweeps.source = sweeps.source.replace(
    'threading.Timer(30', 'threading.Timer(0.5'
  )
  client = nbclient.NotebookClient(
    notebook, timeout=900, resources={'metadata': {'path': str(tmp_path)}}
  )
  client.execute()

  def said(text):
    (cell,) = [c for c in cells.values() if text in c.source]
    return ''.join(map(str, cell.outputs))

  shown = said("images = vizjax.visualize(model, 'conv5', units")
  assert 'data:image/png;base64' in shown and '4 of 4 images' in shown
  stopped = said('threading.Timer')
  assert 'stopped' in stopped and '4 of 4' not in stopped
  assert 'conv5: 4 of 4' in said('results = vizjax.sweep')
  assert 'image/png' in said('plot.scatter')
  assert 'activation' in said('.table()[[')
  assert (tmp_path / 'conv5' / 'atlas' / 'index.html').exists()
  assert (tmp_path / 'conv5' / 'export' / 'montage' / 'conv5.png').exists()
