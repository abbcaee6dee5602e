"""`make notebooks` stores what a fresh kernel says, without what differs from machine to machine, and fails aloud."""

from __future__ import annotations

import nbformat
import pytest
import run_notebooks
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path):
    def store(name, *sources, **metadata):
        path = tmp_path / name
        cells = [new_code_cell(source, metadata={"tags": ["kept"], "scrolled": True}) for source in sources]
        nbformat.write(new_notebook(cells=cells, metadata=metadata), path)
        return path

    return store


def test_runs_and_normalises(store, tmp_path, capsys):
    path = store(
        "01_good.ipynb",
        "print(1, flush=True)\nprint(2, flush=True)",
        "40 + 2",
        language_info={"name": "python", "version": "3.11.7"},
    )
    other = store("02_other.ipynb", "1 / 0")
    assert run_notebooks.main(["--only=01", f"--folder={tmp_path}"]) == 0
    notebook = nbformat.read(path, as_version=4)
    first, second = notebook.cells
    assert [first.execution_count, second.execution_count] == [1, 2]
    assert [output.text for output in first.outputs] == ["1\n2\n"]
    assert second.outputs[0].data["text/plain"] == "42"
    assert notebook.metadata == run_notebooks.NOTEBOOK_METADATA
    assert first.metadata == {"tags": ["kept"]}
    assert nbformat.read(other, as_version=4).cells[0].execution_count is None, "--only=01 ran 02"
    assert "01_good.ipynb" in capsys.readouterr().out

    before = path.read_bytes()
    assert run_notebooks.main(["--only=01", f"--folder={tmp_path}"]) == 0
    assert path.read_bytes() == before, "a second run changes the file"


def test_a_failing_cell_fails_and_leaves_the_notebook_alone(store, tmp_path, capsys):
    path = store("01_bad.ipynb", "1 / 0")
    before = path.read_bytes()
    assert run_notebooks.main([f"--folder={tmp_path}"]) == 1
    assert path.read_bytes() == before
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_stderr_fails(store, tmp_path, capsys):
    path = store("01_warns.ipynb", "import warnings\nwarnings.warn('look here')")
    assert run_notebooks.main([f"--folder={tmp_path}"]) == 1
    assert "look here" in capsys.readouterr().err
    assert nbformat.read(path, as_version=4).cells[0].execution_count == 1, "stored, so that one can look"


def test_no_such_notebook(tmp_path, capsys):
    assert run_notebooks.main(["--only=99", f"--folder={tmp_path}"]) == 2
    assert "99" in capsys.readouterr().err


def test_the_words_for_a_picture_are_put_beside_it(store, tmp_path):
    path = store("01_words.ipynb", "from IPython.display import display\ndisplay({'image/png': 'AAAA'}, raw=True)")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].metadata["alt"] = "what it shows"
    nbformat.write(notebook, path)
    assert run_notebooks.main([f"--folder={tmp_path}"]) == 0
    (cell,) = nbformat.read(path, as_version=4).cells
    assert cell.metadata.alt == cell.outputs[0].metadata["image/png"].alt == "what it shows"
