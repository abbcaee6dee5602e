"""The other process: it runs a student's code on questions from a folder, and leaves the answers there.

It knows the questions and not the answers (`lock`), and its word on whether they are right is never asked. `parent`
starts it: on Linux as a child of the `fork_server`, elsewhere by itself, ``python -m ...sandbox.child FOLDER``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from attention_variants.classroom.contract.answer import LONGEST_NAME, Answer
from attention_variants.classroom.contract.noted import Noted
from attention_variants.classroom.contract.problems import Exam
from attention_variants.classroom.goals import GOALS

from . import rules, run
from .job import ANSWERED, WORKING_FOLDER, Job
from .limits import GRACE_OF_PROCESSOR, LARGEST_WRITTEN, MOST_ENTRIES
from .load import NotThere, load
from .lock import lock
from .notes import ask_goal
from .ready_made import watching
from .registered import take_over


def work(folder: Path) -> None:
    """Do the job in a folder.

    Parameters
    ----------
    folder : Path
        `job.ASKED` in it says what is asked; `job.ANSWERED` is what comes of it.
    """
    job = Job.read(folder)
    _limit(job.memory, job.loading + job.seconds)
    take_over(job.variants)
    lock()
    sys.path[:] = job.path
    if job.name is not None:
        place = folder / WORKING_FOLDER
        place.mkdir(exist_ok=True)
        os.chdir(place)
        sys.dont_write_bytecode = True  # nor does it leave anything beside what was handed in
    told: dict[str, Any] = dict.fromkeys(("missing", "failed", "counts", "value"))
    told |= {"stops": [], "printed": 0, "lacks": ()}
    answers: Sequence[Answer | Noted] = []
    fn: Any = None
    with run.unharmed():
        try:
            fn = load(folder, job, told["stops"])
            told["value"] = _in_json(fn) if job.value else None
        except NotThere as error:
            told["missing"] = error.missing
        except BaseException as error:
            told["failed"] = run.raised(error).to_dict()
    if told["missing"] is None and told["failed"] is None and job.goal is not None:
        goal = GOALS[job.goal]
        with watching(goal.right) if job.rules else nullcontext() as counts:
            answers, told["lacks"], told["printed"] = ask_goal(fn, goal, int(job.exam), job.seconds)
        told["counts"] = None if counts is None else [counts]
    elif told["missing"] is None and told["failed"] is None and not job.value:
        exam = Exam(job.variant, job.exam)
        answers, told["printed"] = run.run_all(fn, exam.problems, job.seconds)
        if job.rules:
            with run.unharmed():
                told["counts"] = rules.watch(fn, exam)
    _write(folder, told, answers)


def _limit(memory: int, seconds: float) -> None:
    """Have the system hold the limits, where it can."""
    try:
        import resource
    except ImportError:  # Windows
        return

    def limit(which: int, value: int) -> None:
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))

    if sys.platform == "linux":
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit(resource.RLIMIT_AS, now + memory)
    limit(resource.RLIMIT_CPU, int(seconds + GRACE_OF_PROCESSOR))
    limit(resource.RLIMIT_FSIZE, LARGEST_WRITTEN)
    limit(resource.RLIMIT_CORE, 0)


def _in_json(x: Any) -> Any:
    """Shapes and what else is written in a warm-up, in what JSON has; of anything else, its beginning as text."""
    if isinstance(x, dict):
        return {str(key)[:LONGEST_NAME]: _in_json(value) for key, value in list(x.items())[:MOST_ENTRIES]}
    if isinstance(x, (tuple, list)):
        return [_in_json(value) for value in x[:MOST_ENTRIES]]
    if x is None or (type(x) in (bool, int) and abs(x) < 2**53):
        return x
    return "..." if x is ... else {"text": str(x)[:LONGEST_NAME]}


def _write(folder: Path, told: dict[str, Any], answers: Sequence[Answer | Noted]) -> None:
    arrays: dict[str, np.ndarray] = {}
    told["answers"] = []
    for i, answer in enumerate(answers):
        arrays |= {f"{i}/{key}": x for key, x in answer.arrays().items()}
        told["answers"].append(answer.said())
    arrays["told"] = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
    partial = folder / "partial.npz"
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.rename(folder / ANSWERED)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
