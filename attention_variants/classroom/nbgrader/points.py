"""What the notebooks of the course call: the points for a piece of work, with the report that explains them.

``grade(attention_masked, 4, points=3)`` is the last line of a cell that nbgrader reads, and its value is the grade.
Students run some of these cells themselves, on the problems that are known; the others are hidden from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from attention_variants.classroom import wording
from attention_variants.classroom.check import GoalReport, Report, check
from attention_variants.classroom.check_layer import check_layer
from attention_variants.classroom.report_html import render
from attention_variants.classroom.sandbox.limits import SECONDS
from attention_variants.classroom.sandbox.parent import read_value
from attention_variants.classroom.sandbox.submission import Submission

from .shapes import ShapesReport, check_shapes


class Points(float):
    """A number of points that shows, in a notebook and in the feedback, the report that it comes from.

    Parameters
    ----------
    value : float
        The points.
    of : float
        How many there could have been.
    report : Report, GoalReport or ShapesReport
        Why.
    """

    report: Report | GoalReport | ShapesReport
    of: float

    def __new__(cls, value: float, of: float, report: Report | GoalReport | ShapesReport) -> Points:
        """Make the number, to hundredths."""
        points = super().__new__(cls, round(value, 2))
        points.report, points.of = report, of
        return points

    def _repr_html_(self) -> str:
        points = wording.say(wording.AROUND["points"], points=float(self), of=self.of)
        return render("points.html", points=points, report=self.report)


def grade(
    work: Callable | Submission,
    variant: int | str,
    *,
    points: float,
    exam: int = 0,
    rules: bool = True,
    whole: bool = False,
    needs: Sequence[str] = (),
    seconds: float = SECONDS,
) -> Points:
    """Give points for an implementation of a variant, or of a public name after the seven.

    Parameters
    ----------
    work : callable or Submission
        The function, or the class. A `Submission` is run in a process of its own.
    variant : int or str
        Its number, or the name, as `check` takes it.
    points : float
        For all that the contract asks, or for all questions about the name.
    exam : int, default 0
        Which problems, as in `check`: a number that students do not know.
    rules : bool, default True
        Whether it must be done the variant's way and, of what has a name, whether it must do more than call the
        package's own.
    whole : bool, default False
        Whether there are points only if all is right, as for code that was nearly right to begin with.
    needs : sequence of str, default ()
        With a name: what must be there of its options or methods.
    seconds : float, default 10
        How long it may take.

    Returns
    -------
    points : Points
        A float: the share of the contract that is kept, or of the questions that are answered rightly, of the points.
    """
    report: Report | GoalReport
    if isinstance(variant, str):
        report = check(work, variant, needs=needs, exam=exam, rules=rules, seconds=seconds)
    else:
        report = check(work, variant, exam=exam, rules=rules, seconds=seconds)
    share = float(report.passed) if whole else report.score
    return Points(share * points, points, report)


def grade_layer(work: Callable[..., nn.Module] | Submission, *, points: float, exam: int = 0) -> Points:
    """Give points for the multi-head layer.

    Parameters
    ----------
    work : type or Submission
        The class.
    points : float
        For all that the layer guarantees.
    exam : int, default 0
        Which problems its heads get.

    Returns
    -------
    points : Points
    """
    report = check_layer(work, exam=exam, rules=True)
    return Points(report.score * points, points, report)


def grade_shapes(answers: Mapping[str, Any] | Submission, assignment: int, *, points: float) -> Points:
    """Give points for the warm-up.

    Parameters
    ----------
    answers : dict or Submission
        What stands beside each name. A `Submission` is run in a process of its own, which hands the dict back.
    assignment : int
        1 to 11.
    points : float
        For all shapes.

    Returns
    -------
    points : Points
    """
    report = check_shapes(_read(answers) if isinstance(answers, Submission) else answers, assignment)
    return Points(report.score * points, points, report)


def _read(submission: Submission) -> dict[str, Any]:
    """The dict that a student's cells make, as they made it."""
    value = read_value(submission)
    return {name: _as_written(x) for name, x in value.items()} if isinstance(value, dict) else {}


def _as_written(x: Any) -> Any:
    if isinstance(x, list):
        return tuple(map(_as_written, x))
    if isinstance(x, dict):
        return x.get("text", x)
    return ... if x == "..." else x
