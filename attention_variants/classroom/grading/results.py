"""What became of a class: a row for each student, counts, and the same as a table and as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from attention_variants.classroom import wording
from attention_variants.classroom.contract.answer import Remark
from attention_variants.classroom.report import in_json
from attention_variants.lab.plots.colors import COLORS

#: So many misconceptions are named in the terminal; the class page has all.
_MOST_FREQUENT = 3


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
    trouble : Remark or None
        Why there was nothing to judge, if so.
    remarks : tuple of Remark
        What else there is to know; `wording.sentence` says it.
    """

    student: str
    file: str
    report: dict[str, Any] | None = None
    trouble: Remark | None = None
    remarks: tuple[Remark, ...] = ()

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
        """What it did that the variant forbids, in words."""
        return list(self.report["broken_rules"]) if self.report else []

    @property
    def first_fails_with(self) -> str:
        """The smallest problem that it does not solve, or why it solves none, in words."""
        if self.trouble:
            return wording.sentence(self.trouble)
        if self.not_written:
            return wording.say(wording.CASES["not_written"])
        if self.report is None or self.report["first"] is None:
            return ""
        return str(self.report["findings"][self.report["first"]]["title"])


@dataclass(frozen=True)
class ClassResult:
    """What became of all submissions, by name of the student.

    Attributes
    ----------
    variant : int
        Its number.
    function : str
        What the function was to be called.
    rows : tuple of Graded
        One for each student.
    rules : bool
        Whether the rules of the variant were held too.
    left_out : tuple of str
        Files that nobody looked at, for they are neither .py nor .ipynb.
    notes : tuple of Remark
        What could not be done for the whole class, such as holding rules that the variant does not have.
    """

    variant: int
    function: str
    rows: tuple[Graded, ...]
    rules: bool = False
    left_out: tuple[str, ...] = ()
    notes: tuple[Remark, ...] = ()

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
            cells += [" ".join(row.broken_rules), " ".join(map(wording.sentence, row.remarks))]
            table.writerow([_harmless(cell) for cell in cells])
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """All of it as codes, numbers, words, lists and dicts, ready for JSON.

        Returns
        -------
        result : dict
            What is said of a row, "trouble" and "remarks", and of the class, "notes", in words, and beside them their
            codes and numbers.
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
            **_in_words_and_codes("note", self.notes),
            "rows": [
                {"student": row.student, "file": row.file, "score": row.score, "passed": row.passed}
                | {"trouble": wording.sentence(row.trouble) if row.trouble else ""}
                | {"trouble_code": row.trouble.code if row.trouble else ""}
                | {"trouble_numbers": in_json(row.trouble.numbers) if row.trouble else {}}
                | _in_words_and_codes("remark", row.remarks)
                | {"report": row.report}
                for row in self.rows
            ],
        }

    def not_looked_at(self) -> str:
        """Name the files that nobody looked at, in a sentence; empty if there are none."""
        files = wording.listed(self.left_out)
        return wording.say(wording.CLASS_PAGE["not_looked_at"], files=files) if files else ""

    def __rich__(self) -> Group:
        """What a terminal shows: how many are right, and the most frequent misconceptions."""
        names: dict[str, Any] = {"variant": self.variant, "function": self.function, "passed": self.passed}
        lines = [_say("verdict", total=len(self.rows), mean=self.mean, **names)]
        if nothing := sum(bool(row.trouble) for row in self.rows):
            lines.append(_say("nothing_to_judge", number=nothing))
        lines += map(wording.sentence, self.notes)
        if words := self.not_looked_at():
            lines.append(words)
        found = self.misconceptions()
        if not found:
            return Group(*map(Text, lines))
        table = Table(box=None, show_header=False, padding=(0, 1))
        for named, rows in found[:_MOST_FREQUENT]:
            bar = "█" * max(1, round(20 * len(rows) / len(found[0][1])))
            table.add_row(str(len(rows)), Text(bar, style=COLORS["q"]), Text(wording.mistake(named["name"])))
        return Group(*map(Text, lines), Text("\n" + _say("most_frequent")), table)


def _say(key: str, **fields: Any) -> str:
    return wording.say(wording.TERMINAL[key], **fields)


def _in_words_and_codes(name: str, remarks: Sequence[Remark]) -> dict[str, Any]:
    """What is said, the same as codes, and the numbers that are filled in."""
    return {
        f"{name}s": [wording.sentence(remark) for remark in remarks],
        f"{name}_codes": [remark.code for remark in remarks],
        f"{name}_numbers": [in_json(remark.numbers) for remark in remarks],
    }


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula, and no line break tears apart."""
    cell = " ".join(cell.split())
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell
