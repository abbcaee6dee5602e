"""The other process: it runs a student's code on questions from a folder, and leaves the answers there.

It knows the questions and not the answers, and its word on whether they are right is never asked. `isolated` starts
it. On Linux it first loads PyTorch, and then forks a child for each job, so that a job costs milliseconds; elsewhere
it does one job and ends.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import importlib
import json
import os
import pickle
import re
import signal
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attention_variants.classroom.contract.problems import situations
from attention_variants.classroom.grading.read import listed
from attention_variants.variants import VARIANTS

from . import adapters, run
from . import rules as watch

#: A child cannot write more than this into a file.
LARGEST_FILE = 64 * 1024**2


def work(folder: Path) -> None:
    """Do the job in a folder: job.json says which, answers.npz is what comes of it."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    _limit(job["memory"], job["loading"] + job["seconds"])
    variant = job["variant"]
    # What knows the answers cannot be imported here. (The variants can; `rules` notices when they are called.)
    classroom = "attention_variants.classroom"
    for name in ("contract.clauses", "diagnosis.knobs", "diagnosis.search"):
        sys.modules[f"{classroom}.{name}"] = None  # type: ignore[assignment]
    for name in ("check", "check_layer", "nbgrader.points", "report"):
        sys.modules[f"{classroom}.{name}"] = _NotJudged(f"{classroom}.{name}")
    sys.path[:] = job["path"]
    if job["name"] is not None:
        desk = folder / "desk"  # what it writes into the folder in which it runs is thrown away with it
        desk.mkdir(exist_ok=True)
        os.chdir(desk)
        sys.dont_write_bytecode = True  # nor does it leave anything beside what was handed in
    told: dict[str, Any] = {"load": None, "printed": 0, "counts": None, "remarks": [], "value": None}
    answers: list[run.Answer] = []
    with run.unharmed():
        try:
            fn, told["remarks"] = _load(folder, job)
            told["value"] = _in_json(fn) if job["value"] else None
        except _NotThere as error:
            told["load"] = str(error)
        except BaseException as error:
            told["load"] = run.in_words(error)
    if told["load"] is None and not job["value"]:
        answers, told["printed"] = run.run_all(fn, situations(variant, job["paper"]), job["seconds"])
        if job["rules"]:
            with run.unharmed():
                told["counts"] = watch.watch(fn, variant)
    _write(folder, told, answers)


def _limit(memory: int, seconds: float) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    now = 0
    if sys.platform == "linux":
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _set(resource, resource.RLIMIT_AS, now + memory)
    _set(resource, resource.RLIMIT_CPU, int(seconds) + 2)
    _set(resource, resource.RLIMIT_FSIZE, LARGEST_FILE)
    _set(resource, resource.RLIMIT_CORE, 0)


def _set(resource: Any, which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


class _NotThere(Exception):  # noqa: N818 (no error of ours: it carries what is said to the student)
    """The function is not there; the message says what is."""


def _load(folder: Path, job: dict[str, Any]) -> tuple[Any, list[str]]:
    """What is asked for, from a pickle, a module or cells, and what there is to say of them."""
    if job["name"] is None:
        importlib.invalidate_caches()
        return pickle.loads((folder / "function.pickle").read_bytes()), []
    module = types.ModuleType("submission")
    module.__file__ = job["file"]
    vars(module).update(display=lambda *things, **options: None, get_ipython=_NoIPython)
    given = set(vars(module))
    sys.modules["submission"] = module
    stops = _run_cells(module, job)
    name = job["name"]
    if name not in vars(module):
        kind = "class" if job["adapter"] else "value" if job["value"] else "function"
        raise _NotThere(_what_is_there(kind, name, module, given, stops, job["notebook"]))
    fn = vars(module)[name]
    if job["value"]:
        return fn, []
    if not callable(fn):
        raise _NotThere(f"{name} is no function: its type is {type(fn).__name__}")
    if job["adapter"] is not None:
        fn = getattr(adapters, job["adapter"])(fn)
    return fn, _remarks(stops, job["notebook"])


def _run_cells(module: types.ModuleType, job: dict[str, Any]) -> list[tuple[str, str]]:
    """Run what was handed in; where it stopped, and by what. A module is a single cell."""
    stops = []
    end = time.monotonic() + job["loading"]
    longest = job["loading"] / (4 if job["notebook"] else 1)  # so that one cell does not take the time of all others
    for number, cell in enumerate(job["cells"], start=1):
        file = f"{job['file']}, cell {number}" if job["notebook"] else job["file"]
        seconds = min(longest, end - time.monotonic())
        try:
            if seconds <= 0:
                raise run.TimeIsUp
            with run.alarm(seconds):
                code = compile(without_magics(cell) if job["notebook"] else cell, file, "exec")
                exec(code, vars(module))
        except BaseException as error:  # SystemExit too
            where = f"cell {number}" if job["notebook"] else "the file"
            stops.append((where, _how_it_stopped(error, file, job["loading"] if seconds <= 0 else longest)))
    return stops


def _how_it_stopped(error: BaseException, file: str, seconds: float) -> str:
    if isinstance(error, run.TimeIsUp):
        return f"did not finish within {seconds:g} seconds"
    line, tb = None, error.__traceback__
    while tb is not None:
        line = tb.tb_lineno if tb.tb_frame.f_code.co_filename == file else line
        tb = tb.tb_next
    return f"stopped{'' if line is None else f' in line {line}'} with {run.in_words(error)}"


def _what_is_there(
    kind: str, name: str, module: types.ModuleType, given: set[str], stops: list[tuple[str, str]], notebook: bool
) -> str:
    """That there is no such function, what there is in its place, and what went wrong before."""
    what = "notebook" if notebook else "file"
    wanted = type if kind == "class" else types.FunctionType
    others = [
        str(other)
        for other, x in vars(module).items()
        if isinstance(x, wanted) and x.__module__ == module.__name__ and other not in given
    ]
    words = f"there is no {kind} {name}; the {what} defines "
    words += f"{listed(others)}. Is it renamed?" if others else f"no {kind}."
    if stops:
        where, how = stops[0]
        words += f" {where[0].upper()}{where[1:]} {how}"
    return words


def _remarks(stops: list[tuple[str, str]], notebook: bool) -> list[str]:
    if not stops:
        return []
    where, how = stops[0]
    if not notebook:
        return [f"The file {how}; what it had defined until then was graded."]
    if len(stops) == 1:
        return [f"{where[0].upper()}{where[1:]} was passed over: it {how}"]
    return [f"{len(stops)} cells were passed over; the first, {where}, {how}"]


#: What is no Python in a cell: IPython's commands, and a name with a question mark.
_MAGIC = re.compile(r"\s*(%|!|\?|\w+\s*=\s*[%!]|[\w.]+\?\??\s*$)")
_TIMED = re.compile(r"(\s*)%time\s+(.*)")


def without_magics(cell: str) -> str:
    """Turn IPython's own commands in a cell into comments: ``%matplotlib inline``, ``!pip install``, ``%%time``."""
    lines = cell.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        if lines[first].split()[0] not in ("%%time", "%%timeit", "%%capture", "%%prun"):
            return ""  # the cell is written in another language
        lines[first] = ""
    for _ in lines:
        try:
            compile("\n".join(lines), "cell", "exec", ast.PyCF_ONLY_AST)
            break
        except SyntaxError as error:  # "% d" may continue an expression: only where Python stumbles it is a command
            i = (error.lineno or 0) - 1
            if not (0 <= i < len(lines) and _MAGIC.match(lines[i])):
                break
            timed = _TIMED.match(lines[i])
            indent = lines[i][: len(lines[i]) - len(lines[i].lstrip())]
            lines[i] = timed[1] + timed[2] if timed else f"{indent}pass  # {lines[i].strip()}"
    return "\n".join(lines)


class _NoIPython:
    """Stands for IPython in cells that speak to it; every command does nothing."""

    def __getattr__(self, name: str) -> Callable:
        return lambda *things, **options: None


class _NotJudged(types.ModuleType):
    """Stands for the modules that judge: whatever a student's cell calls of them does nothing here."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unjudged


class _Unjudged:
    """What a student's own call of `check` or `grade` gets here: this process does not judge."""

    passed, score, misconceptions, looks_like, failed = True, 1.0, (), None, None

    def __init__(self, *things: Any, **options: Any) -> None:
        pass

    def __str__(self) -> str:
        return "not judged here"

    def __float__(self) -> float:
        return 0.0


def _in_json(x: Any) -> Any:
    """Shapes and what else is written in a warm-up, in what JSON has; of anything else, its beginning as text."""
    if isinstance(x, dict):
        return {str(key)[:100]: _in_json(value) for key, value in list(x.items())[:100]}
    if isinstance(x, (tuple, list)):
        return [_in_json(value) for value in x[:100]]
    if x is None or (type(x) in (bool, int) and abs(x) < 2**53):
        return x
    return "..." if x is ... else {"text": str(x)[:100]}


def _write(folder: Path, told: dict[str, Any], answers: list[run.Answer]) -> None:
    arrays: dict[str, np.ndarray] = {}
    told["answers"] = []
    for i, answer in enumerate(answers):
        for name in ("context", "weights"):
            x = getattr(answer, name)
            if x is not None:
                arrays[f"{i}/{name}"] = x
        for group in ("after", "again", "gradients"):
            arrays |= {f"{i}/{group}/{name}": x for name, x in getattr(answer, group).items()}
        told["answers"].append({name: getattr(answer, name) for name in ("error", "returned", "kinds", "no_gradient")})
    arrays["told"] = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
    partial = folder / "partial.npz"
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.rename(folder / "answers.npz")


# ------------------------------------------------------------------------------------------------- the nursery


def nursery() -> None:
    """Take folders from standard input, one a line; fork a child for each, and say when it has ended."""
    torch.set_num_threads(1)  # a child that is forked has one thread, whatever this process had
    watch.watch(VARIANTS[2], 2)  # loads what watching needs, once for all children
    situations(1)
    requests, replies = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    for line in requests:
        try:
            folder, seconds, draws = json.loads(line)
        except (ValueError, TypeError):  # a job has written that
            continue
        if draws:  # half a second, once for all jobs
            with contextlib.suppress(ImportError):
                importlib.import_module("matplotlib.pyplot")
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                os.closerange(3, 256)
                _die_with_parent()
                work(Path(folder))
            finally:
                os._exit(0)
        replies.write(json.dumps([folder, _wait(child, float(seconds))]) + "\n")
        replies.flush()


def _die_with_parent() -> None:
    """A job that kills its nursery, to be rid of the clock, goes with it."""
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _wait(child: int, seconds: float) -> str:
    end, pause = time.monotonic() + seconds, 0.002
    how = "time"
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "ended"
            break
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)  # with whatever it has started
    if how == "time":
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)  # it may have left its group
        os.waitpid(child, 0)
    return how


if __name__ == "__main__":
    if sys.argv[1:] == ["nursery"]:
        nursery()
    else:
        work(Path(sys.argv[1]))
