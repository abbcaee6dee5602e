"""Grade a whole class: a folder of plain files, in parallel, into a table, a page for each student and one for all.

Each of several processes grades one submission after the other with `check`, and a submission runs in a process of its
own below it. If code brings down the process that grades it, that submission is graded once more when all the others
are done, alone; if it does so again, it is told, and nobody else is touched.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from attention_variants.lab.plots.colors import COLORS
from attention_variants.variants import get_variant

from attention_variants.classroom.sandbox.submission import Submission, listed, printable

from .read import HandedIn, find_submissions

__all__ = ["ClassResult", "Graded", "grade", "output_folder"]

#: Called with the file that is being graded, how many are done, and how many there are.
Progress = Callable[[str, int, int], None]

#: So many misconceptions are named in the terminal; the class page has all.
_MOST_FREQUENT = 3

_ENDED = (
    "the process that graded it was ended, twice, and the second time no other submission was running; "
    "does it kill other processes, or take more memory than there is?"
)


@dataclass(frozen=True)
class Graded:
    """What became of one student's submission.

    Attributes
    ----------
    student : str
        The name of the file without its ending, or of the student's folder.
    file : str
        The file that was graded, from the folder of submissions on; empty if there is none.
    report : dict or None
        `Report.to_dict`, if the file could be read.
    trouble : str
        Why there was nothing to judge, if so.
    remarks : tuple of str
        What else there is to know.
    """

    student: str
    file: str
    report: dict[str, Any] | None = None
    trouble: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """Between 0 and 1."""
        return float(self.report["score"]) if self.report else 0.0

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return bool(self.report and self.report["passed"])

    @property
    def not_written(self) -> bool:
        """Whether there is no code yet."""
        return bool(self.report and self.report["not_written"])

    @property
    def misconceptions(self) -> list[str]:
        """What it looks like: none, one or two."""
        return [named["name"] for named in self.report["misconceptions"]] if self.report else []

    @property
    def broken_rules(self) -> list[str]:
        """What it did that the variant forbids."""
        return list(self.report["broken_rules"]) if self.report else []

    @property
    def first_fails_with(self) -> str:
        """The smallest problem that it does not solve, or why it solves none."""
        if self.trouble:
            return self.trouble
        if self.not_written:
            return "nothing is written yet"
        if self.report is None or self.report["first"] is None:
            return ""
        return str(self.report["findings"][self.report["first"]]["situation"])


@dataclass(frozen=True)
class ClassResult:
    """What became of all submissions, by name of the student.

    Attributes
    ----------
    variant : int
        1 to 7.
    function : str
        What the function was to be called.
    rows : tuple of Graded
        One for each student.
    rules : bool
        Whether the rules of the variant were held too.
    left_out : tuple of str
        Files that nobody looked at, for they are neither .py nor .ipynb.
    """

    variant: int
    function: str
    rows: tuple[Graded, ...]
    rules: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def passed(self) -> int:
        """How many students are right."""
        return sum(row.passed for row in self.rows)

    @property
    def mean(self) -> float:
        """The mean score."""
        return sum(row.score for row in self.rows) / max(len(self.rows), 1)

    def misconceptions(self) -> list[tuple[dict[str, Any], list[Graded]]]:
        """Which misconceptions who has, the most frequent first.

        Returns
        -------
        misconceptions : list of (dict, list of Graded)
            Each with ``name``, ``explanation`` and ``hint``, and the students whose code looks like it.
        """
        found: dict[str, tuple[dict[str, Any], list[Graded]]] = {}
        for row in self.rows:
            for named in row.report["misconceptions"] if row.report else []:
                found.setdefault(named["name"], (named, []))[1].append(row)
        return sorted(found.values(), key=lambda item: (-len(item[1]), item[0]["name"]))

    def parts(self) -> dict[str, int]:
        """How many students keep each part of the contract wholly.

        Returns
        -------
        parts : dict
            In the order of the contract; empty if nothing could be read.
        """
        reports = [row.report for row in self.rows if row.report]
        names = list(reports[0]["parts"]) if reports else []
        return {name: sum(report["parts"][name]["kept"] == 1.0 for report in reports) for name in names}

    def to_csv(self) -> str:
        """The grades as a table, one row for each student, the same for the same submissions.

        Returns
        -------
        csv : str
        """
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(
            "student file score passed misconceptions first_fails_with broken_rules remarks".split(),
        )
        for row in self.rows:
            cells = [row.student, row.file, f"{row.score:.3f}", "yes" if row.passed else "no"]
            cells += [" + ".join(row.misconceptions), row.first_fails_with]
            cells += [" ".join(row.broken_rules), " ".join(row.remarks)]
            table.writerow([_harmless(cell) for cell in cells])
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """All of it as numbers, words, lists and dicts, ready for JSON.

        Returns
        -------
        result : dict
        """
        return {
            "variant": self.variant,
            "function": self.function,
            "rules": self.rules,
            "students": len(self.rows),
            "passed": self.passed,
            "mean": round(self.mean, 3),
            "misconceptions": {named["name"]: [row.student for row in rows] for named, rows in self.misconceptions()},
            "left_out": list(self.left_out),
            "rows": [
                {"student": row.student, "file": row.file, "score": row.score, "passed": row.passed}
                | {"trouble": row.trouble, "remarks": list(row.remarks), "report": row.report}
                for row in self.rows
            ],
        }

    def __rich__(self) -> Group:
        """What a terminal shows: how many are right, and the most frequent misconceptions."""
        total = len(self.rows)
        lines = [
            Text(f"Variant {self.variant}, {self.function}: {self.passed} of {total} right, mean {self.mean:.2f}.")
        ]
        if nothing := sum(bool(row.trouble) for row in self.rows):
            lines.append(Text(f"Nothing to judge in {nothing}; their reports say why."))
        if self.left_out:
            lines.append(Text(f"Not looked at, neither .py nor .ipynb: {listed(self.left_out)}."))
        from .pages import in_words

        found = self.misconceptions()
        if not found:
            return Group(*lines)
        table = Table(box=None, show_header=False, padding=(0, 1))
        for named, rows in found[:_MOST_FREQUENT]:
            bar = "█" * max(1, round(20 * len(rows) / len(found[0][1])))
            table.add_row(str(len(rows)), Text(bar, style=COLORS["q"]), Text(in_words(named["name"])))
        return Group(*lines, Text("\nThe most frequent misconceptions:"), table)

    def write(self, out: str | Path) -> Path:
        """Write grades.csv, grades.json, a page for each student in students/, and the class page, index.html.

        Parameters
        ----------
        out : path
            A folder; what an earlier run left there is replaced.

        Returns
        -------
        page : Path
            The class page.
        """
        from .pages import class_page, file_names, student_page

        out = Path(out)
        folder = out / "students"
        folder.mkdir(parents=True, exist_ok=True)
        names = file_names(self)
        for row in self.rows:
            (folder / names[row.student]).write_text(student_page(row, self), encoding="utf-8")
        for stale in set(folder.glob("*.html")) - {folder / name for name in names.values()}:
            stale.unlink()  # of a student who is no longer among the submissions
        (out / "grades.csv").write_text(self.to_csv(), encoding="utf-8", newline="")
        (out / "grades.json").write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        page = out / "index.html"
        page.write_text(class_page(self), encoding="utf-8")
        return page


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula, and no line break tears apart."""
    cell = " ".join(cell.split())
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell


def output_folder(folder: str | Path, out: str | Path | None = None) -> Path:
    """Say where the results of a folder go, and refuse a place where they would mix with something else.

    Parameters
    ----------
    folder : path
        The submissions.
    out : path, optional
        By default a folder beside them, ``<folder>-graded``.

    Returns
    -------
    out : Path

    Raises
    ------
    ValueError
        If it lies in the folder of submissions or around it, or holds something else than earlier results.
    """
    submissions = Path(folder).resolve()
    if out is None:
        out = submissions.with_name(f"{submissions.name or 'submissions'}-graded")
    place, shown = Path(out).resolve(), printable(str(out))
    if place == submissions or submissions in place.parents or place in submissions.parents:
        raise ValueError(f"the results would mix with the submissions in {shown!r}; name a folder apart from them.")
    if place.exists() and not place.is_dir():
        raise ValueError(f"the results go into a folder; {shown!r} is a file.")
    if (
        place.exists()
        and any(place.iterdir())
        and not ((place / "grades.json").exists() and (place / "students").exists())
    ):
        raise ValueError(f"{shown!r} holds something else than earlier results; name a new folder, or an empty one.")
    return Path(out)


def grade(
    folder: str | Path,
    variant: int,
    *,
    function: str | None = None,
    jobs: int | None = None,
    seconds: float = 10.0,
    memory: int = 2 * 1024**3,
    rules: bool = False,
    progress: Progress | None = None,
) -> ClassResult:
    """Grade what every student handed in.

    A student is a .py or .ipynb file in the folder, or a folder in it; of several files there, the one that defines
    the function is taken. Students' code runs with your rights, in processes that are watched and limited but not
    locked away: grade code of strangers in a container.

    Parameters
    ----------
    folder : path
        The submissions.
    variant : int
        1 to 7.
    function : str, optional
        What the function is called, by default as the variant: ``attention_masked`` for variant 4.
    jobs : int, optional
        How many are graded at the same time, by default one for each core.
    seconds, memory, rules
        As in `check`, for each submission.
    progress : callable, optional
        Called with ``(file, done, total)`` when a file is begun and when it is done.

    Returns
    -------
    result : ClassResult
        One row for each student, also where a file cannot be read; ``result.write(folder)`` makes the pages.

    Raises
    ------
    ValueError
        If there is no such variant, no such folder, or nothing in it to grade, or a number makes no sense.
    """
    name = function or get_variant(variant).__name__
    get_variant(variant)
    if not name.isidentifier():
        raise ValueError(f"function must be the name of a function, such as attention_masked; got {name!r}")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1; got {jobs}")
    if not 0 < seconds < 1e6:
        raise ValueError(f"seconds must be more than 0; got {seconds:g}")
    handed_in, left_out = find_submissions(folder, name)
    limits = {"variant": variant, "seconds": seconds, "memory": memory, "rules": rules}
    rows = _grade_all(handed_in, limits, jobs or _cores(), progress or (lambda file, done, total: None))
    return ClassResult(variant, name, tuple(rows), rules, tuple(left_out))


def _cores() -> int:
    with contextlib.suppress(AttributeError):  # macOS, Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# ---------------------------------------------------------------------------------------- several at the same time


class _Lost(Exception):  # noqa: N818 (what happened to a process, not an error of ours)
    """The process that graded a submission is gone."""


def _grade_all(handed_in: Sequence[HandedIn], limits: dict[str, Any], jobs: int, progress: Progress) -> list[Graded]:
    """Grade them side by side, and then, alone, those whose process was lost."""
    rows: list[Graded | None] = [None] * len(handed_in)
    first: queue.SimpleQueue[int] = queue.SimpleQueue()
    again: queue.SimpleQueue[int] = queue.SimpleQueue()
    lock, done, stopped = threading.Lock(), 0, threading.Event()
    errors: list[BaseException] = []

    def tell(i: int, row: Graded | None = None) -> None:
        nonlocal done
        with lock:
            rows[i] = row
            done += row is not None
            progress(handed_in[i].file or handed_in[i].student, done, len(rows))

    def work(grader: _Grader, tasks: queue.SimpleQueue[int], alone: bool) -> None:
        try:
            while not stopped.is_set():
                with contextlib.suppress(queue.Empty):
                    i = tasks.get_nowait()
                    tell(i)
                    try:
                        tell(i, _row(handed_in[i], grader.grade(handed_in[i], limits)))
                    except _Lost:
                        if alone:
                            tell(i, _row(handed_in[i], {"trouble": _ENDED}))
                        else:
                            again.put(i)
                    continue
                return
        except BaseException as error:  # told by the thread that waits
            errors.append(error)
            stopped.set()

    for i, one in enumerate(handed_in):
        if one.submission is None:
            tell(i, _row(one, {"trouble": one.trouble}))
        else:
            first.put(i)
    with tempfile.TemporaryDirectory(prefix="attention-grade-", ignore_cleanup_errors=True) as place:
        graders = [_Grader(place) for _ in range(max(1, min(jobs, first.qsize())))]
        try:
            threads = [threading.Thread(target=work, args=(grader, first, False), daemon=True) for grader in graders]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            work(graders[0], again, alone=True)
        finally:
            stopped.set()
            for grader in graders:
                grader.stop()
    if errors:
        raise errors[0]
    return [row for row in rows if row is not None]


def _row(one: HandedIn, told: dict[str, Any]) -> Graded:
    report = told.get("report")
    if report is None:
        return Graded(one.student, one.file, None, str(told["trouble"]), one.remarks)
    return Graded(one.student, one.file, report, report["trouble"], (*one.remarks, *report["remarks"]))


class _Grader:
    """A process that grades one submission after the other; started when first needed, and anew if it is lost."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.process: subprocess.Popen | None = None

    def grade(self, one: HandedIn, limits: dict[str, Any]) -> dict[str, Any]:
        """Ask for the report of a submission, or raise `_Lost`."""
        assert one.submission is not None
        process = self.process or self._start()
        token = secrets.token_hex(16)  # so that no submission can write a report in the grader's place
        request = {"token": token, "submission": asdict(one.submission), **limits}
        # More than the submission itself may take: also a process that was halted must not hold us up.
        watchdog = threading.Timer(3 * limits["seconds"] + 120.0, process.kill)
        watchdog.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
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
        raise _Lost

    def _start(self) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_HOME), *filter(None, sys.path)])}
        environment |= {"OMP_NUM_THREADS": "1", "TMPDIR": self.place}
        with tempfile.TemporaryFile() as errors:
            self.process = process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.grade"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                self.stop()
                errors.seek(0)
                said = errors.read().decode("utf-8", "replace").strip().splitlines() or ["nothing"]
                raise RuntimeError(f"the process that grades could not be started; it said: {said[-1]}")
        return process

    def stop(self) -> None:
        """End the process; what runs below it ends by itself."""
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError, AttributeError):
                pipe.close()  # type: ignore[union-attr]


_HOME = Path(__file__).parents[3]


def _serve() -> None:
    """Be the process that grades: take submissions from standard input, one a line, and write a report for each."""
    from attention_variants.classroom.check import check

    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    replies.write(b"ready\n")
    replies.flush()
    for line in requests:
        request = json.loads(line)
        token, fields = request.pop("token"), request.pop("submission")
        submission = replace(Submission(**fields), cells=tuple(fields["cells"]))
        try:
            told: dict[str, Any] = {"report": check(submission, **request).to_dict()}
        except Exception as error:  # one that the grader trips over must not stop the others
            told = {"trouble": f"the grader itself failed on it, which should be told to its authors: {error!r}"}
        replies.write(json.dumps({"token": token, **told}).encode() + b"\n")
        replies.flush()


if __name__ == "__main__":
    _serve()
