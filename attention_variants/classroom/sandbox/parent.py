"""Run a function in a process of its own, and take nothing from it but numbers.

Its code cannot reach the judging: not what is compared, nor how, nor the mark. A folder of its own carries the question
there and arrays back. If the process takes too long, or too much memory, or ends itself, that is the finding.
"""

from __future__ import annotations

import atexit
import contextlib
import inspect
import json
import os
import pickle
import select
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attention_variants.classroom.contract.problems import Situation, situations
from attention_variants.classroom.grading.read import Submission

from .run import Answer

#: More than this is not read from a child.
LARGEST_ANSWERS = 64 * 1024**2


@dataclass
class Outcome:
    """What came back from the other process.

    Attributes
    ----------
    answers : list of Answer
        One for each question.
    printed : int
        How many characters were printed.
    counts : list of dict or None
        The operations, if they were to be counted.
    trouble : str
        Why there are no answers at all, if there are none.
    remarks : tuple of str
        What else happened, such as cells that were passed over.
    """

    answers: list[Answer]
    printed: int = 0
    counts: list[dict[str, int]] | None = None
    trouble: str = ""
    remarks: tuple[str, ...] = ()


def run_isolated(
    fn: Callable | Submission, variant: int, *, paper: int = 0, rules: bool, seconds: float, memory: int
) -> Outcome:
    """Ask a function every question of a variant, in another process.

    Parameters
    ----------
    fn : callable or Submission
        What to run. A function must be importable there or picklable by cloudpickle; a `Submission` always works.
    variant : int
        1 to 7.
    paper : int
        Which problems.
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
    folder = Path(tempfile.mkdtemp(prefix="attention-check-"))
    try:
        if not isinstance(fn, Submission):
            try:
                (folder / "function.pickle").write_bytes(_pickled(fn))
            except Exception:
                fn = _source_of(fn)  # before the time is fixed: source takes time to load, a pickle next to none
        loading = 0.0
        if isinstance(fn, Submission):
            loading = 2 * seconds if fn.cells else seconds
        _write_job(folder, fn, variant, paper=paper, rules=rules, seconds=seconds, loading=loading, memory=memory)
        draws = isinstance(fn, Submission) and "matplotlib" in fn.source
        how = _do(folder, loading + seconds + 1.0, draws)
        return _read(folder, situations(variant, paper), how, seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_value(submission: Submission, *, seconds: float = 10.0, memory: int = 2 * 1024**3) -> Any:
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
    folder = Path(tempfile.mkdtemp(prefix="attention-check-"))
    try:
        limits = {"paper": 0, "rules": False, "seconds": seconds, "loading": seconds, "memory": memory}
        _write_job(folder, submission, 1, value=True, **limits)
        _do(folder, seconds + 1.0, "matplotlib" in submission.source)
        return _arrays(folder / "answers.npz")[0]["value"]
    except Exception:  # no file, or not one that we wrote
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_job(folder: Path, fn: Callable | Submission, variant: int, **limits: Any) -> None:
    path = [os.path.abspath(entry) for entry in sys.path]  # the other process stands elsewhere
    job: dict[str, Any] = {"variant": variant, "path": path, "name": None, "file": None, "value": False, **limits}
    if isinstance(fn, Submission):
        job |= {"name": fn.name, "file": fn.file, "notebook": bool(fn.cells), "cells": fn.cells or (fn.source,)}
        job["adapter"] = fn.adapter
        job["path"] = [*path, *filter(None, [fn.folder])]
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def _pickled(fn: Callable) -> bytes:
    try:
        import cloudpickle  # type: ignore[import-untyped]
    except ImportError:
        if getattr(fn, "__module__", "__main__") == "__main__":
            raise  # the other process has another __main__
        return pickle.dumps(fn)
    return cloudpickle.dumps(fn)


def _source_of(fn: Callable) -> Submission:
    try:
        source = inspect.getsource(fn)
    except (OSError, TypeError) as error:
        raise TypeError(
            "check: this function cannot be handed to another process; pip install cloudpickle, or pass a Submission, "
            "its source and name."
        ) from error
    return Submission(
        "import math\nimport torch\nimport torch.nn.functional as F\n" + textwrap.dedent(source), fn.__name__
    )


# ------------------------------------------------------------------------------------------ the other process


class _Nursery:
    """A process that has loaded PyTorch and forks a child for each job; started when first needed."""

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None
        self.lock = threading.Lock()

    def do(self, folder: Path, seconds: float, draws: bool) -> str:
        """Have a job done; once more, if the nursery is lost: an earlier job may have left something that ends it."""
        with self.lock:
            how = self._do(folder, seconds, draws)
            if how == "lost":
                (folder / "answers.npz").unlink(missing_ok=True)
                how = self._do(folder, seconds, draws)
            return how

    def _do(self, folder: Path, seconds: float, draws: bool) -> str:
        if self.process is None or self.process.poll() is not None:
            self.stop()
            self.process = _start("nursery")
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write((json.dumps([str(folder), seconds, draws]) + "\n").encode())
            process.stdin.flush()
            # A job that kills its nursery, or halts it, or writes rubbish to it, must not hold us up.
            return _reply(process.stdout.fileno(), str(folder), seconds + 60.0)
        except (OSError, ValueError, TypeError) as error:
            self.stop()
            return "time" if isinstance(error, TimeoutError) else "lost"

    def stop(self) -> None:
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self.process = None


def _reply(pipe: int, folder: str, seconds: float) -> str:
    """What the nursery says of this job; a reply that names another one is not meant for us."""
    end, read = time.monotonic() + seconds, b""
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise TimeoutError
        more = os.read(pipe, 65536)
        if not more:
            raise OSError("the nursery is gone")
        *lines, read = (read + more).split(b"\n")
        for line in lines:
            of, how = json.loads(line)
            if of == folder:
                return str(how)
        if len(read) > 65536:
            raise OSError("the nursery does not write that")


def _start(*arguments: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_HOME), *filter(None, sys.path)])}
    environment["MPLBACKEND"] = "Agg"  # a figure opens no window
    for display in ("DISPLAY", "WAYLAND_DISPLAY"):
        environment.pop(display, None)
    return subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.child", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )


_HOME = Path(__file__).parents[3]
_NURSERY = _Nursery()
atexit.register(_NURSERY.stop)


def _do(folder: Path, seconds: float, draws: bool) -> str:
    if sys.platform == "linux":
        return _NURSERY.do(folder, seconds, draws)
    process = _start(str(folder))
    try:
        process.communicate(timeout=seconds + 60.0)  # PyTorch itself may take long to load
        return "ended"
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "time"


# ------------------------------------------------------------------------------------------- what came back


def _read(folder: Path, questions: tuple[Situation, ...], how: str, seconds: float) -> Outcome:
    reasons = {
        "time": f"TimeIsUp: it did not finish within {seconds:g} seconds",
        "ended": "Ended: the process ended before the function had returned (exit, or os._exit?)",
        "signal 24": f"TimeIsUp: it did not finish within {seconds:g} seconds",
        "signal 25": "Ended: it wrote more into a file than it may",
    }
    reason = reasons.get(how, f"Ended: the process was stopped ({how})")
    nothing = [Answer(error=reason) for _ in questions]
    try:
        told, arrays = _arrays(folder / "answers.npz")
        remarks = tuple(str(remark)[:1000] for remark in told["remarks"][:10])
        if told["load"] is not None:
            trouble = str(told["load"])[:2000]
            return Outcome([Answer(error=f"Ended: {trouble}") for _ in questions], trouble=trouble, remarks=remarks)
        answers = [_answer(i, said, arrays) for i, said in enumerate(told["answers"][: len(questions)])]
        printed = int(told["printed"])
        counts = told["counts"]
        if counts is not None:
            counts = [{str(name): int(n) for name, n in count.items()} for count in counts[:2]]
    except Exception:  # no file, or not one that we wrote: whatever it says, there is no answer in it
        return Outcome(nothing, trouble=reason.partition(": ")[2])
    answers += nothing[len(answers) :]
    return Outcome(answers, printed, counts, remarks=remarks)


def _arrays(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > LARGEST_ANSWERS:
            raise ValueError("too large")
    with np.load(path, allow_pickle=False) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    return json.loads(arrays.pop("told").tobytes()), arrays


def _answer(i: int, said: dict[str, Any], arrays: dict[str, np.ndarray]) -> Answer:
    def words(x: Any) -> str | None:
        return None if x is None else str(x)[:1000]

    def group(name: str) -> dict[str, np.ndarray]:
        start = f"{i}/{name}/"
        return {key[len(start) :]: _real(x) for key, x in arrays.items() if key.startswith(start)}

    context, weights = (arrays.get(f"{i}/{name}") for name in ("context", "weights"))
    return Answer(
        error=words(said["error"]),
        returned=words(said["returned"]),
        context=None if context is None else _real(context),
        weights=None if weights is None else _real(weights),
        kinds={str(name): str(kind)[:100] for name, kind in said["kinds"].items()},
        after=group("after"),
        again=group("again"),
        gradients=group("gradients"),
        no_gradient=words(said["no_gradient"]),
    )


def _real(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, dtype=np.float64)
