"""Examine the grader, ``python -m grader_exam.score`` or ``make score``: what it catches, names, rejects, and how fast.

Every mistake of the catalogue is submitted, in its own code and in another hand's, and what the check calls it is
compared with what it is. Right functions are submitted in many styles; none may be rejected. Last, the time of one
check is set beside its bound.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from .a_class import seconds_for_a_class
from .bounds import CLASSES, SECONDS, STUDENTS
from .counting import Score
from .show import draw, show
from .trials import first_in_a_fresh_process, grade, grade_styles, trials


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
    classes = {variant: seconds_for_a_class(variant, STUDENTS) for variant in shown(CLASSES, "classes")}
    score = Score(tuple(results), tuple(styles), first, classes)
    show(score, console)
    if options.json:
        Path(options.json).write_text(json.dumps(score.to_dict(), indent=1) + "\n", encoding="utf-8")
    if options.figure:
        draw(score, options.figure)
    return 0 if score.good else 1


if __name__ == "__main__":
    sys.exit(main())
