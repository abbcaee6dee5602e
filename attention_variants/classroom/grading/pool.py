"""Processes that grade: several at the same time, one submission after the other in each (`worker`).

If code brings down the process that grades it, that submission is graded once more when all the others are done,
alone; if it does so again, it is told, and nobody else is touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from attention_variants.classroom.contract.answer import Remark
from attention_variants.classroom.sandbox import processes
from attention_variants.classroom.sandbox.limits import GRACE_OF_GRADER, GRADER_TIMES, MOST_GRADERS
from attention_variants.classroom.sandbox.registered import described

from .protocol import READY
from .read import HandedIn
from .results import Graded

#: Called with the file that is being graded, how many are done, and how many there are.
Progress = Callable[[str, int, int], None]


class Lost(Exception):  # noqa: N818 (what happened to a process, not an error of ours)
    """The process that graded a submission is gone."""


def cores() -> int:
    """Count the processor cores that this process may use."""
    with contextlib.suppress(AttributeError):  # macOS, Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Rows:
    """What is graded so far; several threads write into it, and each time the caller is told."""

    def __init__(self, handed_in: Sequence[HandedIn], progress: Progress) -> None:
        self.handed_in = handed_in
        self.progress = progress
        self.rows: list[Graded | None] = [None] * len(handed_in)
        self.lock = threading.Lock()

    def begin(self, i: int) -> None:
        with self.lock:
            self._tell(i)

    def put(self, i: int, told: dict[str, Any]) -> None:
        """Take what was told of a submission: ``report``, or ``trouble`` if there is none."""
        one, report = self.handed_in[i], told.get("report")
        if report is None:
            row = Graded(one.student, one.file, None, Remark(**told["trouble"]), one.remarks)
        else:
            code, numbers = report["trouble_code"], report["trouble_numbers"]
            remarks = map(Remark, report["remark_codes"], report["remark_numbers"])
            trouble = Remark(code, numbers) if code else None
            row = Graded(one.student, one.file, report, trouble, (*one.remarks, *remarks))
        with self.lock:
            self.rows[i] = row
            self._tell(i)

    def _tell(self, i: int) -> None:
        done = sum(row is not None for row in self.rows)
        self.progress(self.handed_in[i].file or self.handed_in[i].student, done, len(self.rows))


def grade_all(handed_in: Sequence[HandedIn], limits: dict[str, Any], jobs: int, progress: Progress) -> list[Graded]:
    """Grade submissions side by side, and then, alone, those whose process was lost.

    Parameters
    ----------
    handed_in : sequence of HandedIn
        What every student handed in.
    limits : dict
        What `check` is to be called with.
    jobs : int
        How many are graded at the same time.
    progress : callable
        Called when a file is begun and when it is done.

    Returns
    -------
    rows : list of Graded
        In the order of the students.
    """
    rows = _Rows(handed_in, progress)
    first: queue.SimpleQueue[int] = queue.SimpleQueue()
    for i, one in enumerate(handed_in):
        if one.submission is None:
            assert one.trouble is not None
            rows.put(i, {"trouble": asdict(one.trouble)})
        else:
            first.put(i)
    with tempfile.TemporaryDirectory(prefix="attention-grade-", ignore_cleanup_errors=True) as place:
        graders = [Grader(place) for _ in range(max(1, min(jobs, first.qsize(), MOST_GRADERS)))]
        try:
            for i in _side_by_side(graders, rows, first, limits):
                rows.begin(i)
                try:
                    rows.put(i, graders[0].grade(handed_in[i], limits))
                except Lost:
                    rows.put(i, {"trouble": {"code": "process_lost", "numbers": {}}})
        finally:
            for grader in graders:
                grader.stop()
    return [row for row in rows.rows if row is not None]


def _side_by_side(
    graders: Sequence[Grader], rows: _Rows, tasks: queue.SimpleQueue[int], limits: dict[str, Any]
) -> list[int]:
    """Have each grader take one submission after the other; which of them lost their process."""
    lost: list[int] = []
    errors: list[BaseException] = []

    def work(grader: Grader) -> None:
        try:
            while not errors:
                try:
                    i = tasks.get_nowait()
                except queue.Empty:
                    return
                rows.begin(i)
                try:
                    rows.put(i, grader.grade(rows.handed_in[i], limits))
                except Lost:
                    lost.append(i)
        except BaseException as error:  # told by the thread that waits
            errors.append(error)

    threads = [threading.Thread(target=work, args=(grader,), daemon=True) for grader in graders]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException as error:  # Ctrl-C: no thread begins another one
        errors.append(error)
        raise
    if errors:
        raise errors[0]
    return sorted(lost)


def request(one: HandedIn, limits: dict[str, Any]) -> dict[str, Any]:
    """Say what a process that grades is to do, ready for JSON.

    Parameters
    ----------
    one : HandedIn
        What a student handed in.
    limits : dict
        What `check` is to be called with.

    Returns
    -------
    request : dict
    """
    assert one.submission is not None
    return {"submission": asdict(one.submission), "variants": described(), "limits": limits}


class Grader:
    """A process that grades one submission after the other; started when first needed, and anew if it is lost.

    Parameters
    ----------
    place : str
        The folder for what is temporary there.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.process: subprocess.Popen | None = None

    def grade(self, one: HandedIn, limits: dict[str, Any]) -> dict[str, Any]:
        """Ask for the report of a submission, or raise `Lost`."""
        process = self.process or self._start()
        token = secrets.token_hex(16)  # so that no submission can write a report in the grader's place
        # More than the submission itself may take: also a process that was halted must not hold us up.
        watchdog = threading.Timer(GRADER_TIMES * limits["seconds"] + GRACE_OF_GRADER, process.kill)
        watchdog.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"token": token, **request(one, limits)}).encode() + b"\n")
            process.stdin.flush()
            while line := process.stdout.readline():
                with contextlib.suppress(ValueError):
                    told = json.loads(line)
                    if isinstance(told, dict) and told.get("token") == token:
                        return told
        except OSError:
            pass
        finally:
            watchdog.cancel()
        self.stop()
        raise Lost

    def _start(self) -> subprocess.Popen:
        environment = processes.environment_of_ours() | {"OMP_NUM_THREADS": "1", "TMPDIR": self.place}
        with tempfile.TemporaryFile() as errors:
            self.process = process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
            assert process.stdout is not None
            if process.stdout.readline() != READY:
                self.stop()
                errors.seek(0)
                said = errors.read().decode("utf-8", "replace").strip().splitlines() or ["nothing"]
                raise RuntimeError(f"the process that grades could not be started; it said: {said[-1]}")
        return process

    def stop(self) -> None:
        """End the process; what runs below it ends by itself."""
        process, self.process = self.process, None
        if process is not None:
            processes.end(process)
