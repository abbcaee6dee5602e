"""What `check` has to say: in the terminal, in a notebook, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.panel import Panel
from rich.text import Text

from attention_variants.variants import describe_variant

from . import grading_scheme, wording
from .contract.answer import Failure, Printed, Remark
from .contract.evidence import SAME_ANSWER, Finding
from .contract.problems import Exam, Problem
from .sandbox.rules import Broken

if TYPE_CHECKING:
    from .misconceptions import Mistake

#: Codes of findings that say that the function did not come to its end, and in what way.
DID_NOT_RUN = frozenset({"raised", "signature", "time", "ended", "wrote_too_much", "stopped"})

#: So many broken guarantees are told beside the first; more would not be read.
TOLD = 3


@dataclass(frozen=True, repr=False)
class Report:
    """What `check` found; shows itself in the terminal and in a notebook, and is true if all is well.

    Attributes
    ----------
    name : str
        The function that was checked.
    exam : Exam
        Which problems it was given, and of which variant.
    parts : dict
        Part of the contract to (how much of it is kept, 0 to 1; what it is worth, all together 1).
    findings : tuple of Finding
        The guarantees that were not kept, each with the smallest problem that shows it.
    misconceptions : tuple of Mistake
        What it looks like: none, one or two, each with ``name``, ``explanation`` and ``hint``.
    printed : int
        How many characters the function printed while it was checked.
    broken_rules : tuple of Broken
        What it did that the variant forbids, if that was asked for.
    is_layer : bool
        Whether it should be the layer, and not simply a variant.
    trouble : Failure or None
        Why there was nothing to judge, if so: there is no such function, or its process ended.
    remarks : tuple of Remark
        What else happened to a `Submission`, such as cells of a notebook that were passed over.
    has_no_rules : bool
        Whether rules were asked for, and the variant has none of its own.
    prints : mapping
        Key of a problem to what the first call with it printed, if anything.
    """

    name: str
    exam: Exam
    parts: dict[str, tuple[float, float]]
    findings: tuple[Finding, ...] = ()
    misconceptions: tuple[Mistake, ...] = ()
    printed: int = 0
    broken_rules: tuple[Broken, ...] = ()
    is_layer: bool = False
    trouble: Failure | None = None
    remarks: tuple[Remark, ...] = ()
    has_no_rules: bool = False
    prints: Mapping[str, Printed] = field(default_factory=dict)

    @property
    def variant(self) -> int:
        """The variant whose contract it should keep."""
        return self.exam.variant

    @property
    def passed(self) -> bool:
        """Whether every guarantee was kept, and every rule that was asked for."""
        return not self.findings and not self.broken_rules and not self.trouble

    @property
    def score(self) -> float:
        """Between 0 and 1: what the kept parts of the contract are worth, less for a broken rule."""
        return grading_scheme.score(self.parts, [broken.rule for broken in self.broken_rules])

    @property
    def looks_like(self) -> Mistake | None:
        """The first of the misconceptions, if any."""
        return self.misconceptions[0] if self.misconceptions else None

    @property
    def failed(self) -> str | None:
        """The smallest problem that shows what is wrong, in words, if anything is."""
        return wording.title(self._first.problem) if self.findings else None

    @property
    def solved(self) -> tuple[str, ...]:
        """The problems that it solved, in words."""
        unsolved = {finding.problem.key for finding in self.findings}
        return tuple(wording.title(s) for s in self.exam.problems if s.key not in unsolved)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def _first(self) -> Finding:
        """The finding to begin with: that of the smallest problem, with numbers if there are any."""
        order = {s.key: i for i, s in enumerate(self.exam.problems)}
        last = len(order)
        return min(self.findings, key=lambda f: (order.get(f.problem.key, last), f.part != SAME_ANSWER))

    @property
    def not_written(self) -> bool:
        """Whether there is no code yet."""
        if self.trouble or not self.findings or self._first.code != "raised":
            return False
        return Failure(self._first.code, self._first.numbers["exception"]).is_not_written

    @property
    def nothing_kept(self) -> str | None:
        """Why there is no part of the contract to speak of: "nothing_ran" or "nothing_kept"; None if there is one."""
        if not self.findings or any(share for share, _ in self.parts.values()):
            return None
        return "nothing_ran" if all(finding.code in DID_NOT_RUN for finding in self.findings) else "nothing_kept"

    @property
    def shown_prints(self) -> tuple[Problem, Printed] | None:
        """What was printed with the example that is told, or else in the first call that printed anything."""
        problems = [self._first.problem] if self.findings else []
        printing = [s for s in (*problems, *self.exam.problems) if s.key in self.prints]
        return (printing[0], self.prints[printing[0].key]) if printing else None

    def also(self) -> list[Finding]:
        """Choose what is told beside the first finding: what says something else, and no more than is read.

        Returns
        -------
        findings : list of Finding
            `TOLD` of them at most.
        """
        told: list[Finding] = []
        said = {_what_it_says(self._first)} if self.findings else set()
        for finding in self.findings:
            says = _what_it_says(finding)
            if says not in said and finding.part != SAME_ANSWER:
                said.add(says)
                told.append(finding)
        return told[:TOLD]

    # ------------------------------------------------------------------------------------------ in words

    def lines(self) -> list[str]:
        """The report as lines of text, the verdict first."""
        goal = self._goal()
        if self.passed:
            return [_say("right", name=self.name, goal=goal), *self._prints(), *self._kept(), *self._notes()]
        if not self.is_layer and self.name == describe_variant(self.variant).name:
            goal = _say("right_variant", variant=self.variant)
        if self.not_written:
            return [_say("not_written", name=self.name, goal=goal), _say("nothing_written"), *self._prints()]
        verdict = _say("not_right", name=self.name, goal=goal, score=self.score)
        if self.trouble:
            return [verdict, _say("trouble", trouble=wording.failure(self.trouble)), *self._notes()]
        found = [*self._found(), *self._prints(), *self._looks_like(), *self._rules()]
        return [verdict, *found, *self._kept(), *self._notes()]

    def _goal(self) -> str:
        """What it should be."""
        if self.is_layer:
            return _say("layer")
        function = describe_variant(self.variant).name
        if self.name == function:
            return _say("variant", variant=self.variant)
        return _say("named_variant", function=function, variant=self.variant)

    def _found(self) -> list[str]:
        if not self.findings:
            return []
        first = self._first
        found = _texts(first)
        lines = [
            _say("first", problem=wording.title(first.problem)),
            _say("given", given=wording.given(first.problem)),
            *found,
        ]
        for finding in self.also():
            found = _texts(finding)
            also = "also" if finding.problem is first.problem else "also_with"
            part, problem = wording.PARTS[finding.part], wording.title(finding.problem)
            lines += [_say(also, part=part, problem=problem, line=found[0]), *found[1:]]
        return lines

    def _looks_like(self) -> list[str]:
        lines = []
        for template, named in zip(("looks_like", "and_like"), self.misconceptions, strict=False):
            words = _say(template, mistake=wording.mistake(named.name))
            lines.append(_say("named", named=words, explanation=named.explanation))
            lines.append(_say("hint", think_about=_say("think_about"), hint=named.hint))
        return lines

    def _rules(self) -> list[str]:
        return [_say("rule", against=_say("against"), rule=wording.rule(broken)) for broken in self.broken_rules]

    def _prints(self) -> list[str]:
        """What the function printed with one problem, and how much is left out."""
        if self.shown_prints is None:
            return []
        problem, printed = self.shown_prints
        lines = [_say("printed_with", problem=wording.title(problem))]
        lines += [_say("printed_line", line=line) for line in printed.lines]
        if printed.is_cut:
            lines.append(_say("printed_more", shown=len(printed.lines), number=printed.number))
        return lines

    def _kept(self) -> list[str]:
        """The parts of the contract: those that are kept together, then those that are not, each with what it asks."""
        if self.nothing_kept:
            return [_say(self.nothing_kept)]
        kept = [wording.PARTS[part] for part, (share, _) in self.parts.items() if share == 1.0]
        partly = [
            _say("part_kept", part=wording.PARTS[part], kept=share)
            for part, (share, _) in self.parts.items()
            if share < 1.0
        ]
        lines = [_say("kept", parts=wording.joined(kept))] if kept else []
        if partly:
            lines.append(_say("to_do", parts=wording.joined(partly)))
        for part, (share, _) in self.parts.items():
            if share < 1.0:
                lines.append(_say("part_about", part=wording.PARTS[part], about=wording.ABOUT_PARTS[part]))
        return lines

    def _notes(self) -> list[str]:
        in_all = "printed" if self.shown_prints is None else "printed_in_all"
        printed = [_say("beside", words=_say(in_all, printed=self.printed))] if self.printed else []
        return [*printed, *map(wording.sentence, self._remarks())]

    def _remarks(self) -> list[Remark]:
        if not self.has_no_rules:
            return list(self.remarks)
        function = describe_variant(self.variant).name
        return [*self.remarks, Remark("no_rules", {"variant": self.variant, "name": function})]

    def to_dict(self) -> dict[str, Any]:
        """The report as codes, numbers, words, lists and dicts, ready for JSON.

        Returns
        -------
        told : dict
            What is a number or a code, beside the words for it: "lines" of a finding, and which of them are rows of
            numbers; "words" of a part.
        """
        also = self.also()
        remarks = self._remarks()
        return {
            "name": self.name,
            "variant": self.variant,
            "exam": self.exam.number,
            "goal": _say("layer") if self.is_layer else "",
            "passed": self.passed,
            "score": self.score,
            "parts": {
                part: {"kept": kept, "worth": worth, "words": wording.PARTS[part], "about": wording.ABOUT_PARTS[part]}
                for part, (kept, worth) in self.parts.items()
            },
            "findings": [_finding(finding) for finding in self.findings],
            "misconceptions": [
                {"name": named.name, "explanation": named.explanation, "hint": named.hint}
                for named in self.misconceptions
            ],
            "first": self.findings.index(self._first) if self.findings else None,
            "also": [i for i, finding in enumerate(self.findings) if any(finding is one for one in also)],
            "not_written": self.not_written,
            "nothing_kept": self.nothing_kept,
            "broken_rules": [wording.rule(broken) for broken in self.broken_rules],
            "broken_rule_codes": [str(broken.rule) for broken in self.broken_rules],
            "trouble": wording.failure(self.trouble) if self.trouble else "",
            "trouble_code": self.trouble.kind if self.trouble else "",
            "trouble_numbers": in_json(self.trouble.numbers) if self.trouble else {},
            "remarks": [wording.sentence(remark) for remark in remarks],
            "remark_codes": [remark.code for remark in remarks],
            "remark_numbers": [in_json(remark.numbers) for remark in remarks],
            "printed": self.printed,
            "prints": _printed(*self.shown_prints) if self.shown_prints else None,
            "text": str(self),
        }

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def __rich__(self) -> Panel:
        verdict, *rest = self.lines()
        style = "green" if self.passed else "red"
        return Panel(Group(*map(Text, rest)), title=Text(verdict), title_align="left", border_style=style)

    def _repr_html_(self) -> str:
        from .report_html import report_html  # here: a terminal needs no jinja2

        return report_html(self.to_dict())


def _say(key: str, **fields: Any) -> str:
    return wording.say(wording.REPORT[key], **fields)


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "part": finding.part,
        "part_words": wording.PARTS[finding.part],
        "guarantee": finding.guarantee,
        "problem": finding.problem.key,
        "numbers": in_json(finding.numbers),
        "title": wording.title(finding.problem),
        "given": wording.given(finding.problem),
        "lines": _texts(finding),
        "is_row": [line.is_row for line in wording.lines(finding)],
    }


def _printed(problem: Problem, printed: Printed) -> dict[str, Any]:
    return {"problem": problem.key, "title": wording.title(problem), "is_cut": printed.is_cut, **printed.to_dict()}


def _what_it_says(finding: Finding) -> tuple:
    """What tells a finding from another: an exception that arises in the same line says nothing new."""
    where = finding.numbers.get("where")
    if where:
        return (finding.code, finding.numbers["exception"], where["cell"], where["line"])
    return tuple(wording.lines(finding))


def _texts(finding: Finding) -> list[str]:
    return [line.text for line in wording.lines(finding)]


def in_json(x: Any) -> Any:
    """Plain values as JSON has them: it has no tuples, and neither NaN nor infinity.

    Parameters
    ----------
    x : object
        A number, text, None, or a tuple, list or mapping of these.

    Returns
    -------
    plain : object
        A number that JSON does not have is text.
    """
    if isinstance(x, Mapping):
        return {name: in_json(value) for name, value in x.items()}
    if isinstance(x, (tuple, list)):
        return [in_json(value) for value in x]
    return str(x) if isinstance(x, float) and not math.isfinite(x) else x
