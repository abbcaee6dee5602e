"""How good is the grader? ``python -m grader_exam.score`` measures it and prints what it finds.

Every mistake of the catalogue is submitted, in its own code and in another hand's, and what the check calls it is
compared with what it is. Right functions are submitted in many styles; none may be rejected. Last, the time of one
check is set beside its bound.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table
from rich.text import Text

from attention_variants.classroom.check import check
from attention_variants.classroom.contract.answer import Answer
from attention_variants.classroom.contract.problems import Exam
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, with_code
from attention_variants.classroom.misconceptions import THEMES as BY_THEME
from attention_variants.classroom.sandbox.restore import unharmed
from attention_variants.classroom.sandbox.run import ask

from .a_class import seconds_for_a_class

#: At least this share of the submissions must be named right.
NAMED_RIGHT = 0.95
#: One check may take so many seconds.
SECONDS = {1: 2.0} | dict.fromkeys(range(2, 8), 1.0)
#: A class of so many may take so long on two cores.
STUDENTS, SECONDS_FOR_A_CLASS = 100, 120.0
#: What stands in place of a name where none was given.
NOTHING = "(no name)"

#: Entry to theme, the module in which it stands, in the catalogue's order of themes.
THEMES: dict[str, str] = {
    mistake.name: theme for theme, mistakes in BY_THEME.items() for mistake in mistakes if mistake.variants
}


@dataclass(frozen=True)
class Trial:
    """One wrong function that is submitted.

    Attributes
    ----------
    entry : str
        The mistake that it has.
    variant : int
        1 to 7.
    hand : str
        "own" for the catalogue's code, "other" for a rewriting, "program" for a slip in a right program.
    function : callable
        What is checked.
    """

    entry: str
    variant: int
    hand: str
    function: Callable = field(compare=False)


@dataclass(frozen=True)
class Result:
    """What the check said about a `Trial`.

    Attributes
    ----------
    entry, variant, hand
        As in the trial.
    caught : bool
        Whether anything was found wrong.
    named : tuple of str
        What it was called, the most telling first.
    right : bool
        Whether it was called what it is.
    seconds : float
        How long the check took.
    """

    entry: str
    variant: int
    hand: str
    caught: bool
    named: tuple[str, ...]
    right: bool
    seconds: float = 0.0


@dataclass(frozen=True)
class StyleResult:
    """What the check said about a right function.

    Attributes
    ----------
    style : str
        What the function is called.
    variant : int
        1 to 7.
    passed : bool
        Whether it passed.
    seconds : float
        How long the check took.
    """

    style: str
    variant: int
    passed: bool
    seconds: float = 0.0


# ------------------------------------------------------------------------------------------------- what is submitted


def trials(every_variant: bool = False) -> list[Trial]:
    """Give all that is submitted.

    Parameters
    ----------
    every_variant : bool, default False
        Whether an entry's own code is submitted in each of its variants, and not only in its own and one more in turn.

    Returns
    -------
    trials : list of Trial
    """
    from .program import SLIPS, make
    from .rewritings import REWRITINGS

    found = []
    for i, (name, mistake) in enumerate(with_code().items()):
        first, *others = mistake.variants
        chosen = [first, *(others if every_variant else others[i % max(len(others), 1) :][:1])]
        found += [Trial(name, variant, "own", mistake.functions[variant]) for variant in chosen]
    found += [Trial(one.entry, one.variant, "other", one.function) for one in REWRITINGS]
    for i, slip in enumerate(SLIPS):
        entries = [name for name in with_code() if name in slip.names]
        variant = max(slip.variant, 2 + i % 5)
        if entries and variant in MISCONCEPTIONS[entries[0]].variants:
            found.append(Trial(entries[0], variant, "program", make(variant, slip)))
    return found


def grade(trial: Trial) -> Result:
    """Check one submission, and compare what it is called with what it is.

    Parameters
    ----------
    trial : Trial
        The submission.

    Returns
    -------
    result : Result
    """
    start = time.perf_counter()
    report = check(trial.function, trial.variant)
    seconds = time.perf_counter() - start
    named = tuple(one.name for one in report.misconceptions)
    right = is_right(trial.entry, trial.variant, named)
    return Result(trial.entry, trial.variant, trial.hand, not report.passed, named, right, seconds)


def is_right(entry: str, variant: int, named: Sequence[str]) -> bool:
    """Tell whether the first or the second name is the entry, or one that computes exactly the same here.

    Parameters
    ----------
    entry : str
        The mistake that the submission has.
    variant : int
        1 to 7.
    named : sequence of str
        What it was called.

    Returns
    -------
    right : bool
    """
    return any(name == entry or are_twins(variant, entry, name) for name in named[:2])


@cache
def are_twins(variant: int, one: str, other: str) -> bool:
    """Tell whether two entries compute the same function in a variant: on every problem, the same in every number.

    Parameters
    ----------
    variant : int
        1 to 7.
    one, other : str
        Names; what is no entry, or does not occur in this variant, has no twin.

    Returns
    -------
    twins : bool
    """
    both = [MISCONCEPTIONS.get(name) for name in (one, other)]
    if any(mistake is None or variant not in mistake.variants for mistake in both):
        return False
    functions = [mistake.functions[variant] for mistake in both if mistake is not None]
    with unharmed():
        return all(
            _alike(*(ask(function, s) for function in functions))
            for s in Exam(variant).problems
            if s.dtype != "float16"
        )


def _alike(x: Answer, y: Answer) -> bool:
    if (x.error is None, x.returned, x.length, x.no_gradient is None, x.kinds) != (
        y.error is None,
        y.returned,
        y.length,
        y.no_gradient is None,
        y.kinds,
    ):
        return False
    numbers: list[dict[str, Any]] = [
        {"context": a.context, "weights": a.weights, **a.gradients, **a.after} for a in (x, y)
    ]
    return numbers[0].keys() == numbers[1].keys() and all(
        (a is None and b is None)
        or (a is not None and b is not None and a.shape == b.shape and np.allclose(a, b, 1e-4, 1e-6, equal_nan=True))
        for a, b in ((numbers[0][name], numbers[1][name]) for name in numbers[0])
    )


def grade_styles(progress: Callable[[Sequence, str], Iterable] = lambda x, _: x) -> list[StyleResult]:
    """Check the right functions.

    Parameters
    ----------
    progress : callable, optional
        Wraps a sequence to show how far it has been walked.

    Returns
    -------
    results : list of StyleResult
    """
    from .styles import STYLES

    results = []
    for function, variant in progress(STYLES, "right functions"):
        start = time.perf_counter()
        passed = check(function, variant).passed
        name = getattr(function, "__name__", type(function).__name__)
        results.append(StyleResult(name, variant, passed, time.perf_counter() - start))
    return results


# ---------------------------------------------------------------------------------------------------------- counting


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


# -------------------------------------------------------------------------------------------------------------- time

_FIRST = """
import sys, time
import attention_variants as av
from attention_variants.classroom.misconceptions import MISCONCEPTIONS
variant, name = int(sys.argv[1]), sys.argv[2]
function = MISCONCEPTIONS[name].functions[variant] if name else av.VARIANTS[variant]
start = time.perf_counter()
av.check(function, variant)
print(time.perf_counter() - start)
"""


def first_in_a_fresh_process(variant: int) -> tuple[float, float]:
    """Measure the very first check of a process.

    Parameters
    ----------
    variant : int
        1 to 7.

    Returns
    -------
    right, wrong : float
        Seconds, for the variant itself and for one of the mistakes.
    """

    def seconds(name: str) -> float:
        command = [sys.executable, "-c", _FIRST, str(variant), name]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])

    return seconds(""), seconds("softmax_over_queries")


# ------------------------------------------------------------------------------------------------------------ showing


def show(score: Score, console: Console) -> None:
    """Print what was measured, beside what is asked for.

    Parameters
    ----------
    score : Score
        What was measured.
    console : rich.console.Console
        Where it is printed.
    """
    n = len(score.results)
    summary = Table("", "measured", "asked for", title="The grader, examined", title_justify="left")
    hands = Counter(r.hand for r in score.results)
    words = {"own": "own code", "other": "another hand", "program": "slip in a program"}
    summary.add_row("wrong submissions", f"{n} ({', '.join(f'{hands[h]} {words.get(h, h)}' for h in hands)})", "")
    summary.add_row("caught", f"{n - len(score.uncaught)} of {n}", "all", style=_mark(not score.uncaught))
    summary.add_row(
        "named right",
        f"{n - len(score.confused)} of {n}, {score.named_right:.1%}",
        f"{NAMED_RIGHT:.0%}",
        style=_mark(score.named_right >= NAMED_RIGHT),
    )
    for hand in hands:
        of_hand = [r for r in score.results if r.hand == hand]
        summary.add_row(f"  {words.get(hand, hand)}", f"{sum(r.right for r in of_hand)} of {len(of_hand)}", "")
    summary.add_row(
        "right functions rejected",
        f"{len(score.rejected)} of {len(score.styles)}",
        "none",
        style=_mark(not score.rejected),
    )
    console.print(summary)
    console.print(_theme_table(score))
    if score.confused:
        console.print(Text("Every confusion", style="italic"))
        for r in score.confused:
            called = " and ".join(r.named) or ("nothing" if r.caught else "right")
            console.print(Text(f"  {r.entry}, variant {r.variant}, {words.get(r.hand, r.hand)}: called {called}"))
    for s in score.rejected:
        console.print(f"rejected: {s.style}, variant {s.variant}", style="red")
    console.print(_time_table(score))
    for variant, seconds in score.classes.items():
        console.print(
            f"a class of {STUDENTS}, variant {variant}, graded with all pages: {seconds:.0f} s "
            f"(asked for: {SECONDS_FOR_A_CLASS:.0f} s)",
            style=_mark(seconds <= SECONDS_FOR_A_CLASS),
            highlight=False,
        )


def _mark(good: bool) -> str:
    return "green" if good else "red"


def _theme_table(score: Score) -> Table:
    counts = score.by_theme()
    number = {theme: str(i) for i, theme in enumerate(counts, 1)}
    table = Table(
        Column("mistake in", no_wrap=True),
        "itself",
        "same theme",
        *number.values(),
        "no entry",
        "no name",
        title="Called what: itself, another of its theme, or of another",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for theme, row in counts.items():
        columns = ["this entry", "another of the theme", *counts, "no entry", "no name"]
        cells = ["" if c == theme else str(row[c]) if row[c] else "." for c in columns]
        table.add_row(f"{number[theme]} {theme}", *cells)
    return table


def _time_table(score: Score) -> Table:
    table = Table(
        "variant",
        "median",
        "worst",
        "first, right",
        "first, wrong",
        "bound",
        "",
        title="Seconds for one check: of many in a process, and the first of all",
        title_justify="left",
    )
    for variant, bound in SECONDS.items():
        measured = [*score.times(variant), *score.first.get(variant, ())]
        mark = "kept" if max(measured) <= bound else "exceeded"
        cells = [f"{x:.2f}" for x in measured] + ["."] * (4 - len(measured))
        table.add_row(str(variant), *cells, f"{bound:.0f}", mark, style="" if mark == "kept" else "yellow")
    return table


def draw(score: Score, path: str | Path) -> None:
    """Draw the whole confusion matrix.

    Parameters
    ----------
    score : Score
        What was measured.
    path : path-like
        Where the picture goes.
    """
    from matplotlib.figure import Figure

    counts, rows, columns = score.matrix()
    figure = Figure(figsize=(24, 22), layout="constrained")
    axes = figure.subplots()
    shown = np.ma.masked_equal(counts, 0)
    axes.imshow(shown, cmap="viridis_r", vmin=0, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=6)
    axes.set_yticks(range(len(rows)), rows, fontsize=6)
    themes = list(THEMES.values())
    for i in range(1, len(themes) + 1):
        if i == len(themes) or themes[i] != themes[i - 1]:
            axes.axhline(i - 0.5, color="0.7", linewidth=0.6)
            axes.axvline(i - 0.5, color="0.7", linewidth=0.6)
    for i, j in np.argwhere(counts > 0):
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=5, color="0.9" if i == j else "tab:red")
    axes.set_xlabel("what it was called")
    axes.set_ylabel("what it is")
    axes.set_title(f"{score.named_right:.1%} of {len(score.results)} wrong submissions named right")
    figure.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit status whether the bounds are kept.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the command line.

    Returns
    -------
    status : int
        1 if a mistake is not caught, too few are named right or a right function is rejected; times do not count.
    """
    parser = argparse.ArgumentParser(
        prog="python -m grader_exam.score",
        description="Measure the grader: which mistakes it catches and names, that it rejects nothing that is right, "
        "and how long it takes. The exit status is 1 if a bound on the former is missed; times do not count.",
    )
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured")
    parser.add_argument("--figure", metavar="FILE", help="draw the whole confusion matrix")
    parser.add_argument("--all", action="store_true", help="each entry's own code in all of its variants")
    options = parser.parse_args(arguments)
    console, progress = Console(), Console(stderr=True)

    def shown(items: Sequence, words: str) -> Iterable:
        return track(items, words, console=progress)

    results = [grade(trial) for trial in shown(trials(options.all), "wrong functions")]
    styles = grade_styles(shown)
    first = {variant: first_in_a_fresh_process(variant) for variant in shown(list(SECONDS), "fresh processes")}
    classes = {variant: seconds_for_a_class(variant, STUDENTS) for variant in shown((4, 6), "classes")}
    score = Score(tuple(results), tuple(styles), first, classes)
    show(score, console)
    if options.json:
        Path(options.json).write_text(json.dumps(score.to_dict(), indent=1) + "\n", encoding="utf-8")
    if options.figure:
        draw(score, options.figure)
    return 0 if score.good else 1


if __name__ == "__main__":
    sys.exit(main())
