"""Which notebooks are the course's: those that git has. What a reader made of them in JupyterLab is the reader's own.

Whoever runs a notebook and saves it changes its file. `make test` is to prove the course nevertheless: then it tests
what git has of the notebooks, in a folder of its own. What is staged (git add) is the course's as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = "COURSE_NOTEBOOKS"
#: Where the tests find the notebooks.
NOTEBOOKS = Path(os.environ.get(VARIABLE, ROOT / "notebooks"))
# With what they read beside them: notebook 10 shows ../assets/bench.
PARTS = ("notebooks", "assets")


def _git(root: Path, *arguments: str) -> list[str]:
    """Ask git for paths; there are none if there is no git, or nothing that it keeps."""
    try:
        told = subprocess.run(["git", *arguments, "-z", "--", *PARTS], cwd=root, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [os.fsdecode(path) for path in told.stdout.split(b"\0") if path]


def own_notebooks(root: Path = ROOT) -> list[str]:
    """List the notebooks that are not as git has them, and those that it does not have.

    Parameters
    ----------
    root : Path
        The folder of the repository.

    Returns
    -------
    names : list of str
        Without their folder, in order; empty where there is no git.
    """
    if not _git(root, "ls-files"):
        return []
    paths = [*_git(root, "diff", "--name-only"), *_git(root, "ls-files", "--others", "--exclude-standard")]
    return sorted(Path(path).name for path in paths if Path(path).parts[0] == "notebooks" and path.endswith(".ipynb"))


def lay_out(root: Path = ROOT) -> Path:
    """Write what git has of the notebooks into a folder of its own.

    Parameters
    ----------
    root : Path
        The folder of the repository.

    Returns
    -------
    notebooks : Path
        The folder, ``build/course/notebooks``.
    """
    folder = root / "build" / "course"
    shutil.rmtree(folder, ignore_errors=True)
    paths = "\0".join(_git(root, "ls-files"))
    command = ["git", "checkout-index", "--force", f"--prefix={folder.as_posix()}/", "-z", "--stdin"]
    subprocess.run(command, cwd=root, check=True, input=os.fsencode(paths))
    return folder / "notebooks"
