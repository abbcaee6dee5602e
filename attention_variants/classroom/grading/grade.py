"""Grade a whole class: a folder of submissions, in parallel, into a row for each student.

`pages.write_pages` makes a table, a page for each student and one for the class of it.
"""

from __future__ import annotations

from pathlib import Path

from attention_variants.classroom.contract.answer import Remark
from attention_variants.classroom.sandbox.limits import MEMORY, SECONDS, TOO_MANY_SECONDS
from attention_variants.classroom.sandbox.rules import rules_of
from attention_variants.classroom.sandbox.submission import printable
from attention_variants.variants import describe_variant

from .pool import Progress, cores, grade_all
from .read import find_submissions
from .results import ClassResult

__all__ = ["grade", "output_folder"]


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
    seconds: float = SECONDS,
    memory: int = MEMORY,
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
        Its number, of those that are registered.
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
        One row for each student, also where a file cannot be read; `write_pages` makes the pages.

    Raises
    ------
    ValueError
        If there is no such variant, no such folder, or nothing in it to grade, or a number makes no sense.
    """
    name = function or describe_variant(variant).name
    describe_variant(variant)  # whatever the function is called
    if not name.isidentifier():
        raise ValueError(f"function must be the name of a function, such as attention_masked; got {name!r}")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1; got {jobs}")
    if not 0 < seconds < TOO_MANY_SECONDS:
        raise ValueError(f"seconds must be more than 0 and less than {TOO_MANY_SECONDS:,.0f}; got {seconds:g}")
    handed_in, left_out = find_submissions(folder, name)
    limits = {"variant": variant, "seconds": seconds, "memory": memory, "rules": rules}
    rows = grade_all(handed_in, limits, jobs or cores(), progress or (lambda file, done, total: None))
    has_no_rules = rules and not rules_of(variant).rules
    notes = (Remark("no_rules", {"variant": variant, "name": describe_variant(variant).name}),) if has_no_rules else ()
    return ClassResult(variant, name, tuple(rows), rules, tuple(left_out), notes)
