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

from markupsafe import Markup

from attention_variants.classroom import wording
from attention_variants.classroom.report_html import in_html, render, say, shown

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
    page = wording.STUDENT_PAGE
    over = page["over_with_file"] if row.file else page["over"]
    remarks = [wording.sentence(remark) for remark in row.remarks]
    if row.report is None:
        trouble = wording.sentence(row.trouble) if row.trouble else ""
        told = {"passed": False, "trouble": trouble, "remarks": remarks, "printed": 0}
        names = {"report": told, "verdict": say("verdict_not_graded"), "about": say("score", score=0.0)}
    else:
        names = shown(row.report | {"remarks": remarks})
    title = wording.say(page["title"], student=row.student, variant=result.variant)
    over = wording.say(over, variant=result.variant, function=result.function, file=row.file)
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
    bars = _bars(result)
    names = {"variant": result.variant, "function": result.function, "passed": result.passed, "total": total}
    return render(
        "class.html",
        title=_on_page("title", **names),
        on_page=_on_page,
        separator=wording.LISTS["separator"],
        names=names,
        notes=[wording.sentence(note) for note in result.notes],
        wrong=total - result.passed,
        result=result,
        files=file_names(result),
        bars=bars,
        most=max((len(bar.rows) for bar in bars), default=1),
        columns=_columns(result),
        parts=[(wording.PARTS[part], wording.ABOUT_PARTS[part], kept) for part, kept in result.parts().items()],
        cases={row.student: case(row) for row in result.rows},
    )


def _on_page(key: str, **fields: Any) -> Markup:
    return in_html(wording.CLASS_PAGE[key], **fields)


@dataclass(frozen=True)
class _Bar:
    """Whom a misconception concerns, or what has no name in the catalogue."""

    title: str
    words: str
    rows: Sequence[Graded]
    of_catalogue: bool = False


def _bars(result: ClassResult) -> list[_Bar]:
    """The drawing that the lecturer came for: a bar for each misconception, and for what has no name."""
    named = [
        _Bar(wording.mistake(one["name"]), one["explanation"], rows, True) for one, rows in result.misconceptions()
    ]
    others = {
        "trouble": [row for row in result.rows if row.trouble],
        "not_written": [row for row in result.rows if row.not_written],
        "no_name": [r for r in result.rows if not (r.passed or r.trouble or r.not_written or r.misconceptions)],
        "against_the_rules": [row for row in result.rows if row.broken_rules],
    }
    words = wording.BARS
    return [*named, *(_Bar(words[key], words[f"about_{key}"], rows) for key, rows in others.items() if rows)]


def _columns(result: ClassResult) -> list[dict[str, Any]]:
    """How many have which score: ten columns below 1, and one for what is right."""
    counts = [0] * 11
    for row in result.rows:
        counts[10 if row.passed else min(int(row.score * 10), 9)] += 1
    most = max(*counts, 1)
    columns = []
    for i, number in enumerate(counts):
        which = "_right" if i == 10 else ""
        columns.append(
            {
                "right": i == 10,
                "number": number,
                "height": _TALLEST * number / most,
                "label": _on_page(f"label{which}", low=i / 10),
                "said": _on_page(f"column{which}", low=i / 10, high=(i + 1) / 10, number=number),
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
        return _short(wording.sentence(row.trouble))
    words = wording.CASES
    if row.not_written:
        return words["not_written"]
    cases = [wording.mistake(name) for name in row.misconceptions]
    if row.broken_rules:
        cases.append(words["against_the_rules"])
    if cases or row.report is None:
        return words["separator"].join(cases)
    first = row.report["findings"][row.report["first"]]
    return _short(wording.say(words["fails"], problem=first["title"], line=first["lines"][0]))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_CASE else wording.say(wording.CASES["cut"], beginning=text[:_LONGEST_CASE])
