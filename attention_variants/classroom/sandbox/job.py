"""What goes to the process that runs a submission: a job, written into a folder as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

#: The files in a job's folder: what is asked, the function if it travels as a pickle, and what was answered.
ASKED, PICKLE, ANSWERED = "job.json", "function.pickle", "answers.npz"
#: The folder in it in which the submission runs: what it writes there is thrown away with it.
WORKING_FOLDER = "work"


@dataclass(frozen=True)
class Job:
    """A submission, what it is asked, and within which limits.

    Attributes
    ----------
    variant : int
        Whose problems it gets.
    variants : list of dict
        Variants that the other process does not know by itself, as `registered.described` gives them.
    seconds, loading : float
        How long the function may take, and how long the module.
    memory : int
        How many bytes it may take beyond what PyTorch itself needs.
    path : list of str
        ``sys.path`` there.
    exam : int or str
        Which problems: `Exam.number`.
    goal : str or None
        The name of the goal that is asked for in place of a variant.
    rules : bool
        Whether its operations are counted too.
    name : str or None
        What it is called; None if the function travels as a pickle.
    file : str
        What its errors call the file.
    cells : tuple of str
        Its code.
    cell : str
        What its errors call one of its cells, with fields for the ``file`` and the ``number``.
    notebook : bool
        Whether these are the cells of a notebook, and may fail each by itself.
    adapter : str or None
        What of `adapters` is put around it.
    value : bool
        Whether the value of the name itself is wanted: it is not called.
    sources : dict of str
        Of a pickle: code that stands in no file, such as the cells of a notebook, by what errors call it.
    """

    variant: int
    variants: list[dict[str, Any]]
    seconds: float
    loading: float
    memory: int
    path: list[str]
    exam: int | Literal["real"] = 0
    goal: str | None = None
    rules: bool = False
    name: str | None = None
    file: str = ""
    cells: tuple[str, ...] = ()
    cell: str = "{file}"
    notebook: bool = False
    adapter: str | None = None
    value: bool = False
    sources: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write it into its folder."""
        (folder / ASKED).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Read it from its folder."""
        return cls(**json.loads((folder / ASKED).read_text(encoding="utf-8")))
