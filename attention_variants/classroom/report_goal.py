"""What `check` has to say of a goal: as text, and in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import wording
from .contract.answer import Failure, Remark
from .grading_scheme import READY_MADE_USED, score_of_questions
from .report_html import render

if TYPE_CHECKING:
    from .misconceptions import Mistake

__all__ = ["GoalFinding", "GoalReport"]

#: So many questions that were answered wrongly are told beside the first.
TOLD = 4


@dataclass(frozen=True)
class GoalFinding:
    """One question that was not answered rightly, as data.

    Attributes
    ----------
    code : str
        ``"failed"`` (it raised an exception, or took too long), ``"returned"`` (something else than was asked for),
        ``"dtype"``, ``"shape"``, ``"values"``, ``"inputs"`` (it changed them), ``"gradients"`` or ``"missing"`` (what
        was needed is not there).
    question : str
        The key of the question.
    numbers : mapping of str to object
        What belongs to it.
    """

    code: str
    question: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class GoalReport:
    """What `check` found of a goal; shows itself as text and in a notebook, and is true if all is well.

    Attributes
    ----------
    name, goal : str
        What was checked, and the public name that it is held against.
    asked : tuple of str
        The keys of the questions that were put.
    findings : tuple of GoalFinding
        One for each question that was not answered rightly, in their order.
    misconceptions : tuple of Mistake
        What it looks like: none, one or two, each with ``name``, ``explanation`` and ``hint``.
    lacks : tuple of str
        Options, methods or arguments that it does not have, and that were not asked for.
    trouble : Failure or None
        Why there was nothing to judge, if so.
    printed : int
        How many characters it printed.
    remarks : tuple of Remark
        What else happened to a `Submission`.
    ready_made : bool
        Whether rules were asked for, and it leaves the work to the package's own.
    """

    name: str
    goal: str
    asked: tuple[str, ...] = ()
    findings: tuple[GoalFinding, ...] = ()
    misconceptions: tuple[Mistake, ...] = ()
    lacks: tuple[str, ...] = ()
    trouble: Failure | None = None
    printed: int = 0
    remarks: tuple[Remark, ...] = ()
    ready_made: bool = False

    @property
    def passed(self) -> bool:
        """Whether every question was answered rightly."""
        return not self.findings and self.trouble is None and not self.ready_made

    @property
    def score(self) -> float:
        """The share of the questions that were answered rightly, each by its weight; 0 for what is ready-made."""
        if self.trouble is not None or not self.asked:
            return 0.0
        if self.ready_made:
            return READY_MADE_USED
        return score_of_questions(self.goal, self.asked, {one.question: one.code for one in self.findings})

    @property
    def looks_like(self) -> Mistake | None:
        """The first of the misconceptions, if any."""
        return self.misconceptions[0] if self.misconceptions else None

    @property
    def failed(self) -> str | None:
        """The first question that was not answered rightly, in words, if any."""
        return wording.question(self.goal, self.findings[0].question) if self.findings else None

    def __bool__(self) -> bool:
        return self.passed

    @property
    def not_written(self) -> bool:
        """Whether there is no code yet: of a class, in none of what is asked."""
        failures = [one.numbers.get("failure") for one in self.findings]
        return 0 < len(failures) == len(self.asked) and all(one is not None and one.is_not_written for one in failures)

    def to_dict(self) -> dict[str, Any]:
        """The report as words, in the order in which they are shown.

        Returns
        -------
        told : dict
            "verdict"; "named", each with "name", "explanation" and "hint"; "found", the lines of the first finding,
            each with whether it is a row; "more", a line for each further one; "notes", what else there is to say.
        """
        said: dict[str, Any] = {"passed": self.passed, "name": self.name, "goal": self.goal, "score": self.score}
        verdict = "right" if self.passed else "not_written" if self.not_written or self.trouble else "not_right"
        right = len(self.asked) - len(self.findings)
        said["verdict"] = _say(verdict, name=self.name, goal=self.goal, right=right, number=len(self.asked))
        said["named"] = [
            {"name": wording.mistake(one.name), "explanation": one.explanation, "hint": one.hint}
            for one in self.misconceptions
        ]
        said["found"], said["more"], said["title"] = [], [], ""
        if self.trouble is not None:
            said["found"] = [(_say("trouble", words=wording.failure(self.trouble)), False)]
        elif self.not_written:
            said["found"] = [(_say("nothing_written"), False)]
        elif self.findings:
            first, *others = self.findings
            said["title"] = _say("first", question=wording.question(self.goal, first.question))
            said["found"] = [(line.text, line.is_row) for line in wording.goal_finding(first.code, first.numbers)]
            said["more"] = [wording.question(self.goal, one.question) for one in others]
        notes = [_say("ready_made", goal=self.goal)] if self.ready_made else []
        notes += [_say("lacks", names=wording.listed(self.lacks))] if self.lacks and not self.not_written else []
        if self.printed:
            notes.append(_say("printed", printed=self.printed))
        said["notes"] = [*notes, *map(wording.sentence, self.remarks)]
        return said

    def lines(self) -> list[str]:
        """The report as lines of text, the verdict first."""
        said = self.to_dict()
        lines = [said["verdict"], *filter(None, [said["title"]]), *(line for line, _ in said["found"])]
        for i, one in enumerate(said["named"]):
            lines.append(_say("and_like" if i else "looks_like", **one))
            lines.append(_say("think_about", **one))
        if said["more"]:
            shown = said["more"][:TOLD] + [_say("others", number=len(said["more"]) - TOLD)] * (len(said["more"]) > TOLD)
            lines.append(_say("more", questions=wording.listed(shown)))
        return [*lines, *said["notes"]]

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return render("goal.html", words=wording.GOAL, **self.to_dict())


def _say(key: str, **fields: Any) -> str:
    return wording.say(wording.GOAL[key], **fields)
