"""Before a commit, git refuses notebooks that no fresh kernel left so, and asks the ruff of the environment."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import check_notebooks
import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
HOOKS = {
    hook["id"]: {"repo": repository["repo"], **hook}
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    for hook in repository["hooks"]
}


@pytest.fixture
def store(tmp_path):
    def store(name, counts, *, outputs):
        shown = [new_output("stream", text="1\n")] if outputs else []
        cells = [new_code_cell("print(1)", execution_count=count, outputs=shown) for count in counts]
        path = tmp_path / name
        nbformat.write(new_notebook(cells=[new_markdown_cell("# One"), *cells]), path)
        return path

    return store


@pytest.mark.parametrize(
    ("counts", "outputs", "complaint"),
    [
        ([1, 2, 3], True, None),
        ([], True, None),  # prose alone
        ([1, 3, 2], True, "cell 2 has execution count 3, from a fresh kernel it is 2"),
        ([4, 5, 6], True, "cell 1 has execution count 4"),
        ([1, 2, None], True, "cell 3 has execution count None"),
        ([None, None], False, "cell 1 has execution count None"),
        ([1, 2], False, "no cell has an output"),
    ],
)
def test_what_is_refused(store, capsys, counts, outputs, complaint):
    path = store("01.ipynb", counts, outputs=outputs)
    assert check_notebooks.main([path]) == int(complaint is not None)
    said = capsys.readouterr().err
    assert f"{path}: {complaint}" in said if complaint else said == ""


def test_one_of_many_is_named(store, capsys):
    good, bad = store("01.ipynb", [1], outputs=True), store("02.ipynb", [1], outputs=False)
    assert check_notebooks.main([bad, good]) == 1
    said = capsys.readouterr().err
    assert "02.ipynb" in said
    assert "01.ipynb" not in said


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"worksheets": []})])
def test_what_is_no_notebook_is_refused(tmp_path, capsys, text):
    path = tmp_path / "01.ipynb"
    path.write_text(text, encoding="utf-8")
    assert check_notebooks.main([path]) == 1
    assert "not a notebook" in capsys.readouterr().err


def test_the_hook_needs_python_alone(store):
    """Without site-packages, as where the environment is not active; and as a command, as git runs it."""
    command = [sys.executable, "-I", "-S", "scripts/check_notebooks.py"]
    for path, status in [(store("01.ipynb", [1], outputs=True), 0), (store("02.ipynb", [2], outputs=True), 1)]:
        assert subprocess.run([*command, path], cwd=ROOT, capture_output=True).returncode == status


def test_the_versions_stand_in_the_constraints_alone():
    assert {hook["repo"] for hook in HOOKS.values()} == {"local"}
    assert {hook["language"] for hook in HOOKS.values()} == {"system"}
    assert not [name for name, hook in HOOKS.items() if "additional_dependencies" in hook]


def test_ruff_is_asked_for_both():
    assert HOOKS["ruff-check"]["entry"] == "ruff check --force-exclude"
    assert HOOKS["ruff-format"]["entry"] == "ruff format --force-exclude"


def test_the_notebooks_of_the_course_are_looked_at_and_those_of_the_classroom_are_not():
    hook = HOOKS["notebooks"]
    assert hook["entry"] == "python scripts/check_notebooks.py"
    looked_at = {
        path.relative_to(ROOT).as_posix()
        for folder in ["notebooks", "classroom/source"]
        for path in (ROOT / folder).rglob("*.ipynb")
        if re.search(hook["files"], path.relative_to(ROOT).as_posix())
    }
    assert looked_at == {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
