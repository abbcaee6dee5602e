"""What the results come to: shares, the confusion matrix, and whether the bounds are kept."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .bounds import NAMED_RIGHT, SECONDS
from .trials import THEMES, Result, StyleResult

#: What stands in place of a name where none was given.
NOTHING = "(no name)"


@dataclass(frozen=True)
class Score:
    """All results, and what they come to.

    Attributes
    ----------
    results : tuple of Result
        Of the wrong functions.
    styles : tuple of StyleResult
        Of the right ones.
    first : dict
        Variant to the seconds of the first check in a fresh process, of a right and of a wrong function.
    classes : dict
        Variant to the seconds in which a class was graded, from the files to the pages.
    """

    results: tuple[Result, ...]
    styles: tuple[StyleResult, ...]
    first: dict[int, tuple[float, float]] = field(default_factory=dict)
    classes: dict[int, float] = field(default_factory=dict)

    @property
    def uncaught(self) -> list[Result]:
        """Wrong functions that passed."""
        return [r for r in self.results if not r.caught]

    @property
    def confused(self) -> list[Result]:
        """Wrong functions that were called something else, or nothing."""
        return [r for r in self.results if not r.right]

    @property
    def rejected(self) -> list[StyleResult]:
        """Right functions that did not pass."""
        return [s for s in self.styles if not s.passed]

    @property
    def named_right(self) -> float:
        """The share of wrong functions that were called what they are."""
        return 1 - len(self.confused) / max(len(self.results), 1)

    @property
    def good(self) -> bool:
        """Whether the bounds on catching, naming and rejecting are kept."""
        return not self.uncaught and not self.rejected and self.named_right >= NAMED_RIGHT

    def by_theme(self) -> dict[str, Counter[str]]:
        """For each theme of a mistake, how often it was called what.

        Returns
        -------
        counts : dict of str to Counter
            "this entry", "another of the theme", another theme, "no entry" (a name outside the catalogue) or "no name".
        """
        counts: dict[str, Counter[str]] = {theme: Counter() for theme in dict.fromkeys(THEMES.values())}
        for r in self.results:
            counts[THEMES[r.entry]][_column(r)] += 1
        return counts

    def matrix(self) -> tuple[np.ndarray, list[str], list[str]]:
        """The whole confusion matrix.

        Returns
        -------
        counts : array of shape (entries, entries + 2)
            Row: what it is; column: what it was called first.
        rows, columns : list of str
        """
        rows = list(THEMES)
        columns = [*rows, "(no entry)", NOTHING]
        counts = np.zeros((len(rows), len(columns)), int)
        for r in self.results:
            called = r.entry if r.right else r.named[0] if r.named else NOTHING
            counts[rows.index(r.entry), columns.index(called if called in columns else "(no entry)")] += 1
        return counts, rows, columns

    def times(self, variant: int) -> tuple[float, float]:
        """Median and worst seconds of one check of a variant, in a process that has been checking for a while."""
        every: list[Result | StyleResult] = [*self.results, *self.styles]
        seconds = [one.seconds for one in every if one.variant == variant]
        return (statistics.median(seconds), max(seconds)) if seconds else (0.0, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Give everything, ready for JSON."""
        counts, rows, columns = self.matrix()
        return {
            "good": self.good,
            "submissions": len(self.results),
            "caught": len(self.results) - len(self.uncaught),
            "named_right": self.named_right,
            "results": [asdict(r) for r in self.results],
            "by_theme": {theme: dict(row) for theme, row in self.by_theme().items()},
            "matrix": {"rows": rows, "columns": columns, "counts": counts.tolist()},
            "styles": [asdict(s) for s in self.styles],
            "rejected": [asdict(s) for s in self.rejected],
            "seconds": {
                variant: {"median": self.times(variant)[0], "worst": self.times(variant)[1], "bound": bound}
                | dict(zip(("first_right", "first_wrong"), self.first.get(variant, ()), strict=False))
                for variant, bound in SECONDS.items()
            },
            "seconds_for_a_class": self.classes,
        }


def _column(r: Result) -> str:
    if r.right:
        return "this entry"
    if not r.named:
        return "no name"
    theme = THEMES.get(r.named[0], "no entry")
    return "another of the theme" if theme == THEMES[r.entry] else theme
