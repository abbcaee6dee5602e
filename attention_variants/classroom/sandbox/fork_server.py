"""The fork server: a process that has loaded PyTorch, and forks a child for each job, so that a job costs milliseconds.

It takes folders from standard input, one a line, and says on standard output how each job ended. It runs no student's
code itself and never loads what knows the answers, for a child gets a copy of its memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import time
from pathlib import Path

import torch

from attention_variants.classroom.contract.problems import Exam
from attention_variants.variants import VARIANTS

from . import rules
from .child import work
from .ends import End, How
from .limits import MOST_DESCRIPTORS


def serve() -> None:
    """Take requests until standard input ends."""
    _load()
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
        how = _do(Path(folder), float(seconds))
        replies.write(json.dumps([folder, how.end, how.signal]) + "\n")
        replies.flush()


def _load() -> None:
    """Load, once for all children, what they need."""
    torch.set_num_threads(1)  # a child that is forked has one thread, whatever this process had
    first = Exam(min(VARIANTS))
    rules.watch(VARIANTS[first.variant], first)


def _do(folder: Path, seconds: float) -> How:
    child = os.fork()
    if child:
        return _wait(child, seconds)
    try:
        os.setsid()
        os.closerange(3, MOST_DESCRIPTORS)
        _die_with_parent()
        work(folder)
    finally:
        os._exit(0)


def _die_with_parent() -> None:
    """A job that kills the fork server, to be rid of the clock, goes with it."""
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _wait(child: int, seconds: float) -> How:
    end, pause = time.monotonic() + seconds, 0.002
    how = How(End.OUT_OF_TIME)
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            how = How.by_signal(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else How(End.BY_ITSELF)
            break
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    else:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)  # by its number too: it may have left its group
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)  # with whatever it has started
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)
    return how


if __name__ == "__main__":
    serve()
