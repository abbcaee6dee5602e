"""`make test-readers` puts other values into the cells that invite them, and says what does not bear it."""

from __future__ import annotations

import nbformat
import pytest
import run_other_inputs
from nbformat.v4 import new_code_cell, new_notebook

with_values = run_other_inputs.with_values


def test_values_take_the_place_of_values_and_nothing_else_changes():
    source = "# a date: digits, and häßlich\ntext = 'Ä 1'  # as you write it\nrow, word = 3, 'it'\n"
    assert with_values(source, {}) == source
    assert with_values(source, {"text": "7", "row": 12, "word": "é"}) == (
        "# a date: digits, and häßlich\ntext = '7'  # as you write it\nrow, word = 12, 'é'\n"
    )
    over_lines = "rows = [\n    [1, 2],  # one\n    [3, 4],\n]\nlast = 5"
    assert with_values(over_lines, {"rows": [[0]], "last": None}) == "rows = [[0]]\nlast = None"


@pytest.mark.parametrize("source", ["print(1)", "a = b = 1", "x.y = 1", "a += 1"])
def test_what_is_no_plain_assignment_is_refused(source):
    with pytest.raises(ValueError, match="reader-input"):
        list(run_other_inputs.assigned(source))


def test_run_is_what_an_input_reaches_and_what_that_needs():
    sources = [
        "import torch, numpy as np",
        "x = torch.ones(3)",  # needed by the one below that the input reaches
        "y = torch.zeros(3)\nprint(y)",
        "word = 'it'",
        "def of(a):\n    return x[len(a)]",  # needed
        "row = of(word)",
        "print(torch.ones(2))",
        "found = []",  # needed
        "found.append(row)",
        "print(len(found))",
        "%matplotlib inline",
        "mask = x > 0",
        "mask[row] = False",
        "print(mask)",
        "",
        "row = 5",
        "print(row)",
        "longer = lambda word: word + word",
    ]
    run = run_other_inputs.reached(sources, ["word"])
    assert [at for at, needed in enumerate(run) if needed] == [0, 1, 3, 4, 5, 7, 8, 9, 11, 12, 13]


@pytest.fixture
def store(tmp_path, monkeypatch):
    def store(name, *sources, values):
        cells = [new_code_cell(sources[0], metadata={"tags": ["reader-input"]}), *map(new_code_cell, sources[1:])]
        nbformat.write(new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
        monkeypatch.setitem(run_other_inputs.OTHER_INPUTS, name, values)
        return tmp_path

    return store


@pytest.mark.slow
def test_a_failure_says_notebook_input_cell_and_error(store, capsys):
    values = {"word": ["short", "longer", "autre"]}
    folder = store(
        "90_first", "word = 'it'", "print(word)", "assert len(word) < 6, word", "1 / (len(word) - 6)", values=values
    )
    before = (folder / "90_first.ipynb").read_bytes()
    assert run_other_inputs.main([f"--folder={folder}"]) == 1
    told = capsys.readouterr()
    assert told.err.count("90_first.ipynb with") == 2, "both cells of the one run that fails, and no other run"
    assert "word = 'longer'\n  cell 2: AssertionError: longer" in told.err
    assert "cell 3: ZeroDivisionError" in told.err
    assert "| assert len(word) < 6, word" in told.err
    assert "3 runs" in told.out
    assert (folder / "90_first.ipynb").read_bytes() == before

    assert run_other_inputs.main([f"--folder={folder}", "--only=91"]) == 2


@pytest.mark.slow
def test_a_notebook_that_bears_all_passes_and_one_without_the_cell_does_not(store, capsys):
    folder = store("90_good", "n = 1  # any", "print(10 / n)", values={"n": [2, 3, 4]})
    assert run_other_inputs.main([f"--folder={folder}"]) == 0
    store("91_lost", "n = 1  # any", values={"m": [2, 3, 4]})
    assert run_other_inputs.main([f"--folder={folder}", "--only=91"]) == 1
    assert "no cell tagged reader-input assigns to m" in capsys.readouterr().err
