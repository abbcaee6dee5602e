"""The other process: it runs a student's code on questions from a folder, and leaves the answers there.

It knows the questions and not the answers, and its word on whether they are right is never asked. `isolated` starts
it. On Linux it first loads PyTorch, and then forks a child for each job, so that a job costs milliseconds; elsewhere
it does one job and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pickle
import signal
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import run, watch
from .situations import situations

#: A child cannot write more than this into a file.
LARGEST_FILE = 64 * 1024**2


def work(folder: Path) -> None:
    """Do the job in a folder: job.json says which, answers.npz is what comes of it."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    _limit(job["memory"], job["seconds"])
    variant = job["variant"]
    # What knows the answers cannot be imported here. (The variants can; `rules` notices when they are called.)
    for name in ("family", "contract", "diagnose", "check"):
        sys.modules[f"{__package__}.{name}"] = None  # type: ignore[assignment]
    told: dict[str, Any] = {"load": None, "printed": 0, "counts": None}
    answers: list[run.Answer] = []
    with run.unharmed():
        try:
            fn = _load(folder, job)
        except BaseException as error:
            told["load"] = run.in_words(error)
    if told["load"] is None:
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


def _load(folder: Path, job: dict[str, Any]) -> Callable:
    """The function, from a pickle or from the source of the module or cells that define it."""
    sys.path[:] = job["path"]
    if job["name"] is None:
        import importlib

        importlib.invalidate_caches()
        return pickle.loads((folder / "function.pickle").read_bytes())
    source = (folder / "source.py").read_text(encoding="utf-8")
    module = types.ModuleType("submission")
    module.__file__ = job["file"]
    sys.modules["submission"] = module
    exec(compile(source, job["file"], "exec"), vars(module))
    if job["name"] not in vars(module):
        raise NameError(f"there is no function {job['name']}; is it renamed, or deleted?")
    fn = vars(module)[job["name"]]
    if not callable(fn):
        raise TypeError(f"{job['name']} is a {type(fn).__name__}, not a function")
    return fn


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
    watch.watch(torch.matmul, 1)  # loads what watching needs, once for all children
    situations(1)
    requests, replies = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    for line in requests:
        folder, seconds = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                os.closerange(3, 256)
                _die_with_parent()
                work(Path(folder))
            finally:
                os._exit(0)
        replies.write(json.dumps(_wait(child, float(seconds))) + "\n")
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
