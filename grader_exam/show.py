"""Show what was measured: tables in the terminal, and the confusion matrix as a picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from .bounds import NAMED_RIGHT, SECONDS, SECONDS_FOR_A_CLASS, STUDENTS
from .counting import Score
from .trials import THEMES

#: Whose code was submitted, in words.
_HANDS = {"own": "own code", "other": "another hand", "program": "slip in a program"}


def show(score: Score, console: Console) -> None:
    """Print what was measured, beside what is asked for.

    Parameters
    ----------
    score : Score
        What was measured.
    console : rich.console.Console
        Where it is printed.
    """
    console.print(_summary(score))
    console.print(_theme_table(score))
    if score.confused:
        console.print(Text("Every confusion", style="italic"))
        for r in score.confused:
            called = " and ".join(r.named) or ("nothing" if r.caught else "right")
            console.print(Text(f"  {r.entry}, variant {r.variant}, {_HANDS[r.hand]}: called {called}"))
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


def _summary(score: Score) -> Table:
    n = len(score.results)
    hands = Counter(r.hand for r in score.results)
    table = Table("", "measured", "asked for", title="The grader, examined", title_justify="left")
    table.add_row("wrong submissions", f"{n} ({', '.join(f'{hands[h]} {_HANDS[h]}' for h in hands)})", "")
    table.add_row("caught", f"{n - len(score.uncaught)} of {n}", "all", style=_mark(not score.uncaught))
    table.add_row(
        "named right",
        f"{n - len(score.confused)} of {n}, {score.named_right:.1%}",
        f"{NAMED_RIGHT:.0%}",
        style=_mark(score.named_right >= NAMED_RIGHT),
    )
    for hand in hands:
        of_hand = [r for r in score.results if r.hand == hand]
        table.add_row(f"  {_HANDS[hand]}", f"{sum(r.right for r in of_hand)} of {len(of_hand)}", "")
    table.add_row(
        "right functions rejected",
        f"{len(score.rejected)} of {len(score.styles)}",
        "none",
        style=_mark(not score.rejected),
    )
    return table


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
    counts, rows, columns = score.matrix()
    figure = Figure(figsize=(24, 22))
    axes = figure.subplots()
    figure.subplots_adjust(left=0.1, right=0.99, bottom=0.11, top=0.97)
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
