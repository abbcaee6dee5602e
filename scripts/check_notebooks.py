"""Refuse notebooks that are stored otherwise than a run from a fresh kernel leaves them: in order, and with outputs.

    python scripts/check_notebooks.py notebooks/03_batched.ipynb notebooks/04_masked.ipynb

What they show is not run again: that is for `make test`. This is quick enough to stand before every commit
(.pre-commit-config.yaml calls it) and needs nothing but Python.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def run_in_order(notebook: dict[str, Any]) -> Iterator[str]:
    """Find code cells whose execution count is not that of a run from a fresh kernel.

    Parameters
    ----------
    notebook : dict
        A notebook of format 4, as `json` or `nbformat` reads it.

    Yields
    ------
    complaint : str
        What is wrong, and what to do.
    """
    code = ((index, cell) for index, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code")
    for expected, (index, cell) in enumerate(code, start=1):
        count = cell.get("execution_count")
        if count != expected:
            yield (
                f"cell {index} has execution count {count}, from a fresh kernel it is {expected}: "
                f"run `make notebooks` (an empty code cell gets none: remove it)"
            )


def has_outputs(notebook: dict[str, Any]) -> Iterator[str]:
    """Find out whether the outputs were cleared. A single cell may well have none, but not all of them.

    Parameters
    ----------
    notebook : dict
        A notebook of format 4, as `json` or `nbformat` reads it.

    Yields
    ------
    complaint : str
        What is wrong, and what to do.
    """
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    if code and not any(cell.get("outputs") for cell in code):
        yield "no cell has an output: run `make notebooks`"


def main(paths: Sequence[str | Path]) -> int:
    """Check the notebooks; the exit status is 1 if one of them is refused."""
    refused = False
    for path in paths:
        try:
            notebook = json.loads(Path(path).read_text(encoding="utf-8"))
            complaints = [*run_in_order(notebook), *has_outputs(notebook)]
        except (ValueError, KeyError, TypeError) as error:
            complaints = [f"not a notebook of format 4: {error!r}"]
        for complaint in complaints:
            print(f"{path}: {complaint}", file=sys.stderr)
        refused |= bool(complaints)
    return int(refused)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
