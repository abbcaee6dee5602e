"""Measure what importing the package and using it first cost beside ``import torch``, and what a help costs.

Each runs in a fresh process, in turn, so that a slow moment of the machine meets all. Counted is the time of the
processor, which a busy machine changes little, in the statement alone for an import, and in all of the process for a
help. Prints the medians; the exit status is 1 if one is above its budget.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable

#: Times as long as ``import torch``, at most.
BUDGETS = {"import attention_variants": 1.05, "import attention_variants.model": 1.1}
#: How many seconds a help may take, the start of Python included.
HELP_BUDGET = 0.5
HELPS = ("--help", "check --help")
TIMED = "import time; start = time.process_time(); {}; print(time.process_time() - start)"


def statement_seconds(statement: str) -> float:
    """Time one statement in a fresh process.

    Parameters
    ----------
    statement : str
        What to run, such as ``import torch``.

    Returns
    -------
    seconds : float
        Of the processor, in the statement alone: the start of Python is not included.
    """
    command = [sys.executable, "-c", TIMED.format(statement)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def help_seconds(arguments: str) -> float:
    """Time a command that prints help.

    Parameters
    ----------
    arguments : str
        What follows ``attention-variants``.

    Returns
    -------
    seconds : float
        Of the processor, in the whole process.
    """
    before = os.times()
    command = [sys.executable, "-m", "attention_variants.cli", *arguments.split()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> int:
    """Measure, print, and compare with the budgets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="runs of each (default: 15)")
    rounds = parser.parse_args().rounds
    if rounds < 1:
        parser.error(f"--rounds must be at least 1; got {rounds}")

    measures: dict[str, Callable[[str], float]] = dict.fromkeys(("import torch", *BUDGETS), statement_seconds)
    measures.update(dict.fromkeys(HELPS, help_seconds))
    for what, measure in measures.items():
        measure(what)  # the first one reads the files from disk: not counted
    seconds: dict[str, list[float]] = {what: [] for what in measures}
    for turn in range(rounds):
        for what in measures if turn % 2 == 0 else reversed(measures):
            seconds[what].append(measures[what](what))
    medians = {what: statistics.median(times) for what, times in seconds.items()}

    exceeded = False
    torch = medians.pop("import torch")
    print(f"{'import torch':33}  {torch:.3f} s of the processor, the median of {rounds}")
    for what, median in medians.items():
        budget = HELP_BUDGET if what in HELPS else BUDGETS[what] * torch
        exceeded |= median > budget
        name = f"attention-variants {what}" if what in HELPS else what
        verdict = "kept" if median <= budget else "exceeded"
        print(f"{name:33}  {median:.3f} s, {median / torch:.3f} x torch; budget {budget:.3f} s: {verdict}")
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
