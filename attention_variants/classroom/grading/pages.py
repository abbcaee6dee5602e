"""What a lecturer looks at: a page for the class, the misconceptions first, and one for each student.

The pages work from disk with the network off: style and script are in them, and the bars are drawn with HTML alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_variants.classroom import wording
from attention_variants.classroom.report_html import render, say, shown
from attention_variants.classroom.wording import mistake

from .results import ClassResult, Graded

__all__ = ["class_page", "file_names", "student_page", "write_pages"]

#: Of one student's case so much stands in the table.
_LONGEST_CASE = 140
#: The height of the tallest column of scores, in the size of a letter.
_TALLEST = 7.5


def write_pages(result: ClassResult, out: str | Path) -> Path:
    """Write grades.csv, grades.json, a page for each student in students/, and the class page, index.html.

    Parameters
    ----------
    result : ClassResult
        What `grade` found.
    out : path
        A folder; what an earlier run left there is replaced.

    Returns
    -------
    page : Path
        The class page.
    """
    out = Path(out)
    folder = out / "students"
    folder.mkdir(parents=True, exist_ok=True)
    names = file_names(result)
    for row in result.rows:
        (folder / names[row.student]).write_text(student_page(row, result), encoding="utf-8")
    for stale in set(folder.glob("*.html")) - {folder / name for name in names.values()}:
        stale.unlink()  # of a student who is no longer among the submissions
    (out / "grades.csv").write_text(result.to_csv(), encoding="utf-8", newline="")
    (out / "grades.json").write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
    page = out / "index.html"
    page.write_text(class_page(result), encoding="utf-8")
    return page


def file_names(result: ClassResult) -> dict[str, str]:
    """Give each student a file name of their own that every system takes.

    Parameters
    ----------
    result : ClassResult

    Returns
    -------
    names : dict
        Student to file name.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for row in result.rows:
        start = re.sub(r"[^\w-]+", "_", row.student).strip("_")[:50] or "student"
        name, number = start, 1
        while name.lower() in taken:
            number += 1
            name = f"{start}_{number}"
        taken.add(name.lower())
        names[row.student] = f"{name}.html"
    return names


def student_page(row: Graded, result: ClassResult) -> str:
    """Make the page of one student.

    Parameters
    ----------
    row : Graded
    result : ClassResult

    Returns
    -------
    page : str
        The text of an HTML file.
    """
    over = f"Variant {result.variant} · {result.function}" + (f" · {row.file}" if row.file else "")
    if row.report is None:
        told = {"passed": False, "trouble": row.trouble, "remarks": row.remarks, "printed": 0}
        names = {"report": told, "verdict": say("verdict_not_graded"), "about": say("score", score=0.0)}
    else:
        names = shown(row.report | {"remarks": row.remarks})
    title = f"{row.student}: variant {result.variant}"
    return render("student.html", title=title, over=over, row=row, **names)


def class_page(result: ClassResult) -> str:
    """Make the page of the class: which misconceptions how many have, the scores, the contract, and the students.

    Parameters
    ----------
    result : ClassResult

    Returns
    -------
    page : str
        The text of an HTML file; it links to ``students/``.
    """
    total = len(result.rows)
    right, students = f"{result.passed} of {total} right", count(total, "student")
    over = f"Variant {result.variant} · {result.function} · {students}"
    over += " · with the rules of the variant" if result.rules else ""
    bars = _bars(result)
    return render(
        "class.html",
        title=f"Variant {result.variant}, {result.function}: {right}",
        over=over,
        right=right,
        wrong=total - result.passed,
        students=students,
        result=result,
        files=file_names(result),
        bars=bars,
        most=max((len(bar.rows) for bar in bars), default=1),
        columns=_columns(result),
        parts={wording.PARTS[part]: kept for part, kept in result.parts().items()},
        cases={row.student: case(row) for row in result.rows},
    )


def count(number: int, noun: str) -> str:
    """A number and what is counted."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


@dataclass(frozen=True)
class _Bar:
    """Whom a misconception concerns, or what has no name in the catalogue."""

    title: str
    words: str
    rows: Sequence[Graded]
    of_catalogue: bool = False


def _bars(result: ClassResult) -> list[_Bar]:
    """The drawing that the lecturer came for: a bar for each misconception, and for what has no name."""
    named = [_Bar(mistake(one["name"]), one["explanation"], rows, True) for one, rows in result.misconceptions()]
    others = (
        _Bar(
            "nothing to judge",
            "The file could not be read or run, or has no such function; each report says why.",
            [row for row in result.rows if row.trouble],
        ),
        _Bar("not written yet", "The function raises NotImplementedError.", [r for r in result.rows if r.not_written]),
        _Bar(
            "no known misconception",
            "It raises an error, does not end, or is wrong in a way without a name; each report says which.",
            [r for r in result.rows if not (r.passed or r.trouble or r.not_written or r.misconceptions)],
        ),
        _Bar(
            "against the rules",
            "It may be right, but not in the way of this variant.",
            [row for row in result.rows if row.broken_rules],
        ),
    )
    return [*named, *(bar for bar in others if bar.rows)]


def _columns(result: ClassResult) -> list[dict[str, Any]]:
    """How many have which score: ten columns below 1, and one for what is right."""
    counts = [0] * 11
    for row in result.rows:
        counts[10 if row.passed else min(int(row.score * 10), 9)] += 1
    most = max(*counts, 1)
    columns = []
    for i, number in enumerate(counts):
        said = "right" if i == 10 else f"score {i / 10:.1f} to below {(i + 1) / 10:.1f}"
        columns.append(
            {
                "right": i == 10,
                "number": number,
                "height": _TALLEST * number / most,
                "label": "right" if i == 10 else f"0.{i}",
                "said": f"{said}: {count(number, 'student')}",
            }
        )
    return columns


def case(row: Graded) -> str:
    """Say one student's case in a few words.

    Parameters
    ----------
    row : Graded

    Returns
    -------
    words : str
        Empty if all is right.
    """
    if row.passed:
        return ""
    if row.trouble:
        return _short(row.trouble)
    if row.not_written:
        return "nothing is written yet"
    words = [mistake(name) for name in row.misconceptions]
    if row.broken_rules:
        words.append("against the rules")
    if words or row.report is None:
        return "; ".join(words)
    first = row.report["findings"][row.report["first"]]
    return _short(f"fails with {first['title']}: {first['lines'][0]}")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_CASE else text[:_LONGEST_CASE] + " ..."
