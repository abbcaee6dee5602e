"""What is submitted to the grader, and what it makes of each: wrong functions (trials) and right ones (styles)."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from attention_variants.classroom.check import check
from attention_variants.classroom.contract.answer import Answer
from attention_variants.classroom.contract.problems import Exam
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, with_code
from attention_variants.classroom.misconceptions import THEMES as BY_THEME
from attention_variants.classroom.sandbox.restore import unharmed
from attention_variants.classroom.sandbox.run import ask

from .bounds import TWINS
from .program import SLIPS, VARIANTS_OF_THE_PROGRAM, make
from .rewritings import REWRITINGS
from .styles import STYLES

#: Entry with code to theme.
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
        Its number.
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
        Its number.
    passed : bool
        Whether it passed.
    seconds : float
        How long the check took.
    """

    style: str
    variant: int
    passed: bool
    seconds: float = 0.0


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
    found = []
    for i, (name, mistake) in enumerate(with_code().items()):
        first, *others = mistake.variants
        chosen = [first, *(others if every_variant else others[i % max(len(others), 1) :][:1])]
        found += [Trial(name, variant, "own", mistake.functions[variant]) for variant in chosen]
    found += [Trial(one.entry, one.variant, "other", one.function) for one in REWRITINGS]
    for i, slip in enumerate(SLIPS):
        entries = [name for name in with_code() if name in slip.names]
        variant = max(slip.variant, VARIANTS_OF_THE_PROGRAM[i % len(VARIANTS_OF_THE_PROGRAM)])
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
        Its number.
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
        Its number.
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
        or (a is not None and b is not None and a.shape == b.shape and np.allclose(a, b, *TWINS, equal_nan=True))
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
    results = []
    for function, variant in progress(STYLES, "right functions"):
        start = time.perf_counter()
        passed = check(function, variant).passed
        name = getattr(function, "__name__", type(function).__name__)
        results.append(StyleResult(name, variant, passed, time.perf_counter() - start))
    return results


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
        Its number.

    Returns
    -------
    right, wrong : float
        Seconds, for the variant itself and for one of the mistakes.
    """

    def seconds(name: str) -> float:
        command = [sys.executable, "-c", _FIRST, str(variant), name]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])

    return seconds(""), seconds("softmax_over_queries")
