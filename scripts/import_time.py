"""Measure what ``import attention_variants`` costs beside ``import torch`` alone.

Each import runs in a fresh process and times itself, the two in turn, so that a slow moment of the machine
meets both. Prints the medians and their ratio; the exit status is 1 if the ratio is above the budget.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

BUDGET = 1.1
TIMED_IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def import_seconds(module: str) -> float:
    """Time one import in a fresh process.

    Parameters
    ----------
    module : str
        What to import.

    Returns
    -------
    seconds : float
        How long the import statement took, the start of Python not included.
    """
    command = [sys.executable, "-c", TIMED_IMPORT.format(module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    """Measure, print, and compare with the budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="imports of each (default: 15)")
    rounds = parser.parse_args().rounds
    if rounds < 1:
        parser.error(f"--rounds must be at least 1; got {rounds}")

    modules = ("torch", "attention_variants")
    for module in modules:
        import_seconds(module)  # the first one reads the files from disk: not counted
    seconds: dict[str, list[float]] = {module: [] for module in modules}
    for turn in range(rounds):
        for module in modules if turn % 2 == 0 else reversed(modules):
            seconds[module].append(import_seconds(module))

    medians = {module: statistics.median(times) for module, times in seconds.items()}
    ratio = medians["attention_variants"] / medians["torch"]
    for module, median in medians.items():
        print(f"import {module:18}  {median:.3f} s   (median of {rounds})")
    print(f"ratio {ratio:.3f}, budget {BUDGET}: {'kept' if ratio <= BUDGET else 'exceeded'}")
    return int(ratio > BUDGET)


if __name__ == "__main__":
    sys.exit(main())
