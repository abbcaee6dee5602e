"""Run a function in a process of its own, and take nothing from it but numbers.

Its code cannot reach the judging: not what is compared, nor how, nor the mark. A folder of its own carries the question
there and arrays back. If the process takes too long, or too much memory, or ends itself, that is the finding.
"""

from __future__ import annotations

import inspect
import json
import linecache
import pickle
import shutil
import sys
import tempfile
import textwrap
import types
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from attention_variants.classroom import wording
from attention_variants.classroom.contract.answer import LONGEST_NAME, Answer, Failure, Remark, words_or_none
from attention_variants.classroom.contract.noted import Noted
from attention_variants.classroom.contract.problems import Exam
from attention_variants.classroom.goals import Goal
from attention_variants.variants import VARIANTS

from . import processes
from .ends import How
from .job import ANSWERED, PICKLE, Job
from .limits import (
    GRACE,
    LARGEST_ANSWERS,
    MEMORY,
    MOST_ENTRIES,
    SECONDS,
    seconds_to_load,
)
from .registered import described
from .submission import Submission


@dataclass
class Outcome:
    """What came back from the other process.

    Attributes
    ----------
    answers : list of Answer, or of Noted
        One for each question; of a goal, what was noted.
    printed : int
        How many characters were printed.
    counts : list of dict or None
        The operations, if they were to be counted.
    trouble : Failure or None
        Why there are no answers at all, if there are none.
    remarks : tuple of Remark
        What else happened, such as cells that were passed over.
    lacks : tuple of str
        What a goal could be asked for, and is not there.
    """

    answers: list[Any]
    printed: int = 0
    counts: list[dict[str, int]] | None = None
    trouble: Failure | None = None
    remarks: tuple[Remark, ...] = ()
    lacks: tuple[str, ...] = ()


def run_isolated(fn: Callable | Submission, exam: Exam, *, rules: bool, seconds: float, memory: int) -> Outcome:
    """Ask a function every question of an exam, in another process.

    Parameters
    ----------
    fn : callable or Submission
        What to run. A function must be importable there or picklable by cloudpickle; a `Submission` always works.
    exam : Exam
        The problems.
    rules : bool
        Whether its operations are counted too.
    seconds : float
        How long the function may take; a module may take as long to load, and the cells of a notebook twice as long.
    memory : int
        How many bytes it may take beyond what PyTorch itself needs.

    Returns
    -------
    outcome : Outcome
        The answers; where none came, each says why.
    """
    return _run(fn, exam.problems, Answer, seconds, memory, variant=exam.variant, exam=exam.number, rules=rules)


def ask_goal_isolated(
    mine: Callable | Submission, goal: Goal, exam: int, *, rules: bool = False, seconds: float, memory: int
) -> Outcome:
    """Put all questions of a goal to a function or a class, in another process.

    Parameters
    ----------
    mine : callable or Submission
        As in `run_isolated`.
    goal : Goal
        What is asked for.
    exam : int
        Which numbers.
    rules : bool, default False
        Whether calls of the package's own are counted.
    seconds, memory
        As in `run_isolated`.

    Returns
    -------
    outcome : Outcome
        With a `Noted` for each question.
    """
    return _run(
        mine, goal.questions, Noted, seconds, memory, variant=min(VARIANTS), exam=exam, goal=goal.name, rules=rules
    )


def _run(
    fn: Callable | Submission, questions: Sequence[Any], form: type[Any], seconds: float, memory: int, **asked: Any
) -> Outcome:
    """Do a job in another process; ``form`` is the class of what comes back for each question."""
    with _folder() as folder:
        code = _code(folder, fn)  # before the time is fixed: code takes time to load, a pickle next to none
        loading = 0.0 if code is None else seconds_to_load(seconds, bool(code.cells))
        limits = {"seconds": seconds, "loading": loading, "memory": memory}
        sources = _sources(fn) if code is None else {}
        job = _write_job(folder, code, asked.pop("variant"), sources=sources, **limits, **asked)
        how = processes.do(folder, loading + seconds + GRACE, code is not None and _draws(code))
        return _read(folder, job, how, questions, form)


def read_value(submission: Submission, *, seconds: float = SECONDS, memory: int = MEMORY) -> Any:
    """Run what was handed in, in another process, and hand back what a name in it stands for.

    Parameters
    ----------
    submission : Submission
        The code, and the name.
    seconds : float, default 10
        How long it may take.
    memory : int, default 2 GiB
        How many bytes it may take beyond what PyTorch itself needs.

    Returns
    -------
    value : dict, list, int, str or None
        As JSON has it: a tuple is a list, ``...`` is "...", and what JSON lacks is a dict with its "text". None, too,
        if there is no such name.
    """
    limits = {"seconds": seconds, "loading": seconds, "memory": memory}
    with _folder() as folder:
        _write_job(folder, submission, min(VARIANTS), value=True, **limits)
        processes.do(folder, seconds + GRACE, _draws(submission))
        try:
            return _arrays(folder / ANSWERED)[0]["value"]
        except Exception:  # no file, or not one that we wrote
            return None


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for one job, gone when it is done, whatever it holds then."""
    folder = Path(tempfile.mkdtemp(prefix="attention-check-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _draws(code: Submission) -> bool:
    """Whether it looks as if it needs matplotlib."""
    return "matplotlib" in code.source


def _code(folder: Path, fn: Callable | Submission) -> Submission | None:
    """The code that goes to the other process; None if the function goes there as a pickle."""
    if isinstance(fn, Submission):
        return fn
    try:
        (folder / PICKLE).write_bytes(_pickled(fn))
    except Exception:
        return _source_of(fn)
    return None


def _write_job(folder: Path, code: Submission | None, variant: int, **limits: Any) -> Job:
    path = [str(Path(entry).absolute()) for entry in sys.path]  # the other process stands elsewhere
    job = Job(variant=variant, variants=described(), path=path, **limits)
    if code is not None:
        job = replace(
            job,
            name=code.name,
            file=code.file,
            cells=code.cells or (code.source,),
            cell=wording.FILES["cell"],
            notebook=bool(code.cells),
            adapter=code.adapter,
            path=[*path, *filter(None, [code.folder])],
        )
    job.write(folder)
    return job


def _pickled(fn: Callable) -> bytes:
    try:
        import cloudpickle  # type: ignore[import-untyped]
    except ImportError:
        if getattr(fn, "__module__", "__main__") == "__main__":
            raise  # the other process has another __main__
        return pickle.dumps(fn)
    return cloudpickle.dumps(fn)


def _sources(fn: Any) -> dict[str, str]:
    """The cells in which a function stands, and functions that it names: the other process cannot read them."""
    named = [fn, *(getattr(fn, "__globals__", {}).get(name) for name in fn.__code__.co_names)] if _is_plain(fn) else []
    files = {one.__code__.co_filename for one in named if _is_plain(one)}
    return {file: "".join(linecache.getlines(file)) for file in files if not Path(file).exists()}


def _is_plain(x: Any) -> bool:
    return isinstance(x, types.FunctionType)


def _source_of(fn: Callable) -> Submission:
    try:
        lines, start = inspect.getsourcelines(fn)
    except (OSError, TypeError) as error:
        raise TypeError(
            "check: this function cannot be handed to another process; pip install cloudpickle, or pass a Submission, "
            "its source and name."
        ) from error
    # As many lines before it as in its own file, so that an error names the right one; one that begins in the first
    # line, which the imports take, is one line further down.
    head = "import math, torch, torch.nn.functional as F" + "\n" * max(start - 1, 1)
    return Submission(head + textwrap.dedent("".join(lines)), fn.__name__)


# ------------------------------------------------------------------------------------------- what came back


def _read(folder: Path, job: Job, how: How, questions: Sequence[Any], form: type[Any]) -> Outcome:
    reason = how.failure(job.seconds)
    unanswered = form(error=reason)
    try:
        told, arrays = _arrays(folder / ANSWERED)
        stops = [_stop(stop, job) for stop in told["stops"][: len(job.cells)]]
        not_loaded = _not_loaded(told, job, stops)
        if not_loaded is not None:
            return Outcome([form(error=not_loaded) for _ in questions], trouble=not_loaded)
        remarks = _passed_over(stops)
        answers = [_answer(i, said, arrays, form) for i, said in enumerate(told["answers"][: len(questions)])]
        printed = int(told["printed"])
        lacks = tuple(str(name)[:LONGEST_NAME] for name in told["lacks"][:MOST_ENTRIES])
        counts = told["counts"]
        if counts is not None:
            counts = [{str(name): int(n) for name, n in count.items()} for count in counts[:2]]
    except Exception:  # no file, or not one that we wrote: whatever it says, there is no answer in it
        return Outcome([unanswered for _ in questions], trouble=reason)
    answers += [unanswered for _ in questions[len(answers) :]]
    return Outcome(answers, printed, counts, remarks=remarks, lacks=lacks)


def _not_loaded(told: dict[str, Any], job: Job, stops: Sequence[dict[str, Any]]) -> Failure | None:
    """Why there is nothing to ask, if so, checked: another process has written it."""
    if told["missing"] is not None:
        others = tuple(str(other)[:LONGEST_NAME] for other in told["missing"]["others"][:MOST_ENTRIES])
        more = {
            "kind": "class" if job.adapter else "function",
            "name": job.name,
            "type": words_or_none(told["missing"]["type"]),
            "others": others,
            "is_notebook": job.notebook,
            "stop": stops[0] if stops else None,
        }
        return Failure("not_loaded", more=more)
    raised = Failure.from_dict(told["failed"])
    return None if raised is None else Failure("not_loaded", raised.exception, raised.message)


def _stop(told: dict[str, Any], job: Job) -> dict[str, Any]:
    """Where it stopped, checked: another process has written it."""
    raised = Failure.from_dict({"kind": "raised", **told, "seconds": told["seconds"] or 0.0})
    assert raised is not None
    return {
        "cell": int(told["cell"]) if job.notebook else None,
        "line": None if told["line"] is None else int(told["line"]),
        "seconds": None if told["seconds"] is None else raised.seconds,
        "exception": raised.exception,
        "message": raised.message,
    }


def _passed_over(stops: Sequence[dict[str, Any]]) -> tuple[Remark, ...]:
    """What of a submission was not run to its end."""
    if not stops:
        return ()
    if stops[0]["cell"] is None:
        return (Remark("file_stopped", stops[0]),)
    if len(stops) == 1:
        return (Remark("cell_passed_over", stops[0]),)
    return (Remark("cells_passed_over", {"count": len(stops), **stops[0]}),)


def _arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > LARGEST_ANSWERS:
            raise ValueError("too large")
    with np.load(path, allow_pickle=False) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    return json.loads(arrays.pop("told").tobytes()), arrays


def _answer(i: int, said: dict[str, Any], arrays: dict[str, np.ndarray], form: type[Any]) -> Any:
    start = f"{i}/"
    own = {key[len(start) :]: _real(x) for key, x in arrays.items() if key.startswith(start)}
    return form.from_parts(said, own)


def _real(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, dtype=np.float64)
