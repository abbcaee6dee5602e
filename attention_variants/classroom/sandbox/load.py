"""Load a submission: run its file or its cells in the other process, and find what is asked for.

Where it stopped on the way, and what there is in place of a name that is not there, goes back as data; `wording` makes
sentences of it.
"""

from __future__ import annotations

import importlib
import pickle
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attention_variants.classroom.contract.answer import LONGEST_NAME

from . import adapters, clock, run
from .cells import without_magics
from .job import PICKLE, Job
from .limits import SHARE_OF_ONE_CELL
from .where import remember

#: What a submission is loaded as.
MODULE = "submission"


class NotThere(Exception):  # noqa: N818 (no error of ours: it carries what there is)
    """What is asked for is not there; `missing` says what is."""

    def __init__(self, missing: dict[str, Any]) -> None:
        super().__init__()
        self.missing = missing


def load(folder: Path, job: Job, stops: list[dict[str, Any]]) -> Any:
    """Load what is asked for, from a pickle, a module or cells.

    Parameters
    ----------
    folder : Path
        Of the job.
    job : Job
        What it says.
    stops : list of dict
        Gets where the submission stopped on the way: ``cell``, a number, if there are cells; ``seconds`` if its time
        was up; if not, ``line`` if it is known, ``exception`` and ``message``.

    Returns
    -------
    loaded : object
        The function, or whatever the name stands for.

    Raises
    ------
    NotThere
        If the name stands for nothing, or for nothing that can be called.
    """
    if job.name is None:
        importlib.invalidate_caches()
        for file, text in job.sources.items():
            remember(file, text)
        return pickle.loads((folder / PICKLE).read_bytes())
    module = types.ModuleType(MODULE)
    module.__file__ = job.file
    vars(module).update(display=lambda *things, **options: None, get_ipython=_NoIPython)
    given = set(vars(module))
    sys.modules[MODULE] = module
    _run_cells(module, job, stops)
    if job.name not in vars(module):
        raise NotThere(_missing(job, module, given))
    found = vars(module)[job.name]
    if job.value:
        return found
    if not callable(found):
        raise NotThere(_missing(job, module, given) | {"type": type(found).__name__[:LONGEST_NAME]})
    return found if job.adapter is None else getattr(adapters, job.adapter)(found)


def _run_cells(module: types.ModuleType, job: Job, stops: list[dict[str, Any]]) -> None:
    """Run what was handed in, and note where it stopped. A module is a single cell."""
    end = time.monotonic() + job.loading
    longest = job.loading * (SHARE_OF_ONE_CELL if job.notebook else 1.0)
    for number, cell in enumerate(job.cells, start=1):
        file = job.cell.format(file=job.file, number=number) if job.notebook else job.file
        seconds = min(longest, end - time.monotonic())
        stop: dict[str, Any] = {"cell": number if job.notebook else None, "line": None, "seconds": None}
        stop |= {"exception": "", "message": ""}
        try:
            if seconds <= 0:
                raise clock.TimeIsUp
            with clock.alarm(seconds):
                remember(file, cell, number if job.notebook else None)
                code = compile(without_magics(cell) if job.notebook else cell, file, "exec")
                exec(code, vars(module))
        except clock.TimeIsUp:
            stops.append(stop | {"seconds": job.loading if seconds <= 0 else longest})
        except BaseException as error:  # SystemExit too
            told = run.raised(error)
            stops.append(stop | {"line": _line(error, file), "exception": told.exception, "message": told.message})


def _line(error: BaseException, file: str) -> int | None:
    """The line of a file in which an error arose."""
    line, tb = None, error.__traceback__
    while tb is not None:
        line = tb.tb_lineno if tb.tb_frame.f_code.co_filename == file else line
        tb = tb.tb_next
    return line


def _missing(job: Job, module: types.ModuleType, given: set[str]) -> dict[str, Any]:
    """What there is of the kind that was looked for."""
    wanted = type if job.adapter else types.FunctionType
    others = [
        str(other)[:LONGEST_NAME]
        for other, x in vars(module).items()
        if isinstance(x, wanted) and x.__module__ == module.__name__ and other not in given
    ]
    return {"others": others, "type": None}


class _NoIPython:
    """Stands for IPython in cells that speak to it; every command does nothing."""

    def __getattr__(self, name: str) -> Callable:
        return lambda *things, **options: None
