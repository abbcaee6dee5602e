"""A reader's notebooks do not make the tests fail: what is tested is what git has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import course_notebooks
import pytest
from course_notebooks import lay_out, own_notebooks


@pytest.fixture
def repository(tmp_path):
    """A repository with two notebooks, and what they read."""

    def git(*arguments):
        name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *name, *arguments], cwd=tmp_path, check=True, capture_output=True)

    for path in ("notebooks/01_loops.ipynb", "notebooks/02_matmul.ipynb", "assets/bench/run.json", "README.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"the course's {path}\n")
    (tmp_path / ".gitignore").write_text("build/\n.ipynb_checkpoints/\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "the course")
    return tmp_path, git


def test_a_course_that_nobody_changed_is_tested_where_it_is(repository):
    root, _ = repository
    (root / "README.md").write_text("changed")
    (root / "notebooks" / ".ipynb_checkpoints").mkdir()
    (root / "notebooks" / ".ipynb_checkpoints" / "01_loops-checkpoint.ipynb").write_text("{}")
    (root / "notebooks" / "figure.png").write_bytes(b"")
    (root / "notebooks" / "01_loops.ipynb").touch()
    assert own_notebooks(root) == []


def test_what_is_saved_new_or_gone_is_the_readers_own(repository):
    root, _ = repository
    (root / "notebooks" / "02_matmul.ipynb").write_text("answers")
    (root / "notebooks" / "Untitled.ipynb").write_text("tried")
    (root / "notebooks" / "01_loops.ipynb").unlink()
    assert own_notebooks(root) == ["01_loops.ipynb", "02_matmul.ipynb", "Untitled.ipynb"]


def test_the_courses_are_laid_out_with_what_they_read(repository):
    root, _ = repository
    (root / "notebooks" / "02_matmul.ipynb").write_text("answers")
    (root / "notebooks" / "Untitled.ipynb").write_text("tried")
    for _ in range(2):  # the second finds the first
        folder = lay_out(root)
        assert folder == root / "build" / "course" / "notebooks"
        (folder / "left.ipynb").write_text("from before")
    lay_out(root)
    assert sorted(path.name for path in folder.iterdir()) == ["01_loops.ipynb", "02_matmul.ipynb"]
    assert (folder / "02_matmul.ipynb").read_text() == "the course's notebooks/02_matmul.ipynb\n"
    assert (folder / "../assets/bench/run.json").is_file()
    assert (root / "notebooks" / "02_matmul.ipynb").read_text() == "answers", "the reader's stays"


def test_what_is_staged_is_the_courses(repository):
    root, git = repository
    (root / "notebooks" / "02_matmul.ipynb").write_text("better")
    (root / "notebooks" / "03_new.ipynb").write_text("new")
    git("add", "notebooks")
    assert own_notebooks(root) == []
    (root / "notebooks" / "01_loops.ipynb").write_text("answers")
    assert own_notebooks(root) == ["01_loops.ipynb"]
    assert (lay_out(root) / "02_matmul.ipynb").read_text() == "better"


def test_without_git_every_notebook_is_the_courses(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_loops.ipynb").write_text("from a zip")
    assert own_notebooks(tmp_path) == []
    monkeypatch.setenv("PATH", "")
    assert own_notebooks(tmp_path) == []


def test_the_tests_read_the_notebooks_that_they_are_told():
    ask = [sys.executable, "-c", "import course_notebooks; print(course_notebooks.NOTEBOOKS)"]
    scripts = Path(course_notebooks.__file__).parent
    for told, read in ({}, str(scripts.parent / "notebooks")), ({"COURSE_NOTEBOOKS": "elsewhere"}, "elsewhere"):
        environment = {name: value for name, value in os.environ.items() if name != "COURSE_NOTEBOOKS"} | told
        assert subprocess.run(ask, cwd=scripts, env=environment, capture_output=True, text=True).stdout.strip() == read
