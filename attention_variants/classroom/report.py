"""What `check` has to say: in the terminal, in a notebook, as text and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.panel import Panel
from rich.text import Text

from attention_variants.variants import get_variant

from .contract.clauses import Finding

if TYPE_CHECKING:
    from .misconceptions import Mistake

#: So many broken promises are told; more would not be read.
TOLD = 3


@dataclass(frozen=True, repr=False)
class Report:
    """What `check` found; shows itself in the terminal and in a notebook, and is true if all is well.

    Attributes
    ----------
    name : str
        The function that was checked.
    variant : int
        The variant whose contract it should keep.
    parts : dict
        Part of the contract to (how much of it is kept, 0 to 1; what it is worth, all together 1).
    findings : tuple of Finding
        The promises that were not kept, each with the smallest problem that shows it.
    misconceptions : tuple
        What it looks like: none, one or two, each with ``name``, ``explanation`` and ``hint``.
    printed : int
        How many characters the function printed while it was checked; they are not shown.
    broken_rules : tuple of str
        What it did that the variant forbids, if that was asked for.
    paper : int
        Which problems it was given.
    goal : str
        What it should be, if that is not simply a variant.
    trouble : str
        Why there was nothing to judge, if so: there is no such function, or its process ended.
    remarks : tuple of str
        What else happened to a `Submission`, such as cells of a notebook that were passed over.
    """

    name: str
    variant: int
    parts: dict[str, tuple[float, float]]
    findings: tuple[Finding, ...] = ()
    misconceptions: tuple[Mistake, ...] = ()
    printed: int = 0
    broken_rules: tuple[str, ...] = field(default=())
    paper: int = 0
    goal: str = ""
    trouble: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every promise was kept, and every rule that was asked for."""
        return not self.findings and not self.broken_rules and not self.trouble

    @property
    def score(self) -> float:
        """Between 0 and 1: what the kept parts of the contract are worth.

        Half of it if a rule is broken, and nothing for attention that somebody else has written.
        """
        from .sandbox.rules import READY_MADE

        if set(self.broken_rules) & set(READY_MADE):
            return 0.0
        score = sum(kept * worth for kept, worth in self.parts.values())
        return round(score / 2 if self.broken_rules else score, 3)

    @property
    def looks_like(self) -> Mistake | None:
        """The first of the misconceptions, if any."""
        return self.misconceptions[0] if self.misconceptions else None

    @property
    def failed(self) -> str | None:
        """The smallest problem that shows what is wrong, if anything is."""
        return self._first.situation.title if self.findings else None

    @property
    def situations(self) -> tuple[str, ...]:
        """The problems that it solved."""
        from .contract.problems import situations

        unsolved = {finding.situation.title for finding in self.findings}
        return tuple(s.title for s in situations(self.variant, self.paper) if s.title not in unsolved)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def _first(self) -> Finding:
        """The finding to begin with: that of the smallest problem, with numbers if there are any."""
        from .contract.problems import situations

        order = {s.title: i for i, s in enumerate(situations(self.variant, self.paper))}
        last = len(order)
        return min(self.findings, key=lambda f: (order.get(f.situation.title, last), f.part != "the same answer"))

    @property
    def not_written(self) -> bool:
        """Whether there is no code yet."""
        return (
            not self.trouble
            and bool(self.findings)
            and self._first.lines[0].startswith("it raised NotImplementedError")
        )

    def lines(self) -> list[str]:
        """The report as lines of text, the verdict first."""
        right = get_variant(self.variant).__name__
        does = yet = self.goal or f"{right} (variant {self.variant})"
        if self.name == right:
            does, yet = f"variant {self.variant}", f"right (variant {self.variant})"
        if self.passed:
            return [f"{self.name} computes what {does} does.", *self._kept(), *self._notes()]
        if self.not_written:
            return [
                f"{self.name} is not yet {yet}.",
                "Nothing is written there yet: it raises NotImplementedError.",
            ]
        verdict = f"{self.name} is not yet {yet}: score {self.score:.2f} of 1."
        if self.trouble:
            return [verdict, f"There is nothing to judge: {self.trouble}", *self._notes()]
        return [verdict, *self._found(), *self._looks_like(), *self._rules(), *self._kept(), *self._notes()]

    def _found(self) -> list[str]:
        if not self.findings:
            return []
        first = self._first
        lines = [f"It first fails with {first.situation.title}.", f"given {first.situation.given()}", *first.lines]
        told = {first.lines}
        for finding in self.findings:
            if finding.lines in told or finding.part == "the same answer" or len(told) > TOLD:
                continue
            told.add(finding.lines)
            where = "" if finding.situation is first.situation else f", with {finding.situation.title}"
            lines.append(f"{finding.part}{where}: {finding.lines[0]}")
            lines += finding.lines[1:]
        return lines

    def _looks_like(self) -> list[str]:
        lines = []
        for word, named in zip(("This looks like", "And like"), self.misconceptions, strict=False):
            lines.append(f"{word} {named.name.replace('_', ' ')}. {named.explanation}")
            lines.append(f"Think about: {named.hint}")
        return lines

    def _rules(self) -> list[str]:
        return [f"Against the rules of this variant: {words}" for words in self.broken_rules]

    def _kept(self) -> list[str]:
        """The parts of the contract on one line each for those with something to do, together for the others."""
        kept = [part for part, (share, _) in self.parts.items() if share == 1.0]
        partly = [f"{part} {share:.0%}" for part, (share, _) in self.parts.items() if share < 1.0]
        lines = [f"kept: {', '.join(kept)}"] if kept else []
        return lines + ([f"to do: {', '.join(partly)}"] if partly else [])

    def _notes(self) -> list[str]:
        printed = [f"(It printed {self.printed} characters, which are left out here.)"] if self.printed else []
        return [*printed, *self.remarks]

    def to_dict(self) -> dict[str, Any]:
        """The report as numbers, words, lists and dicts, ready for JSON.

        Returns
        -------
        report : dict
        """
        from .diagnosis.search import as_dict

        return {
            "name": self.name,
            "variant": self.variant,
            "goal": self.goal,
            "passed": self.passed,
            "score": self.score,
            "parts": {part: {"kept": kept, "worth": worth} for part, (kept, worth) in self.parts.items()},
            "findings": [
                {
                    "part": finding.part,
                    "promise": finding.promise,
                    "situation": finding.situation.title,
                    "given": finding.situation.given(),
                    "lines": list(finding.lines),
                }
                for finding in self.findings
            ],
            "misconceptions": [as_dict(named) for named in self.misconceptions],  # type: ignore[arg-type]
            "first": self.findings.index(self._first) if self.findings else None,
            "not_written": self.not_written,
            "broken_rules": list(self.broken_rules),
            "trouble": self.trouble,
            "remarks": list(self.remarks),
            "printed": self.printed,
            "text": str(self),
        }

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def __rich__(self) -> Panel:
        verdict, *rest = self.lines()
        style = "green" if self.passed else "red"
        return Panel(Group(*map(Text, rest)), title=Text(verdict), title_align="left", border_style=style)

    def _repr_html_(self) -> str:
        from .report_html import report_html

        return report_html(self.to_dict())
