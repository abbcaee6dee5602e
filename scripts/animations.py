"""Measure the animations of the notebooks: frames, the time to build each, and the bytes that a notebook stores.

Every cell before an animation is run first, as a reader would. The time is that of the call and of its pictures: the
trace, the painting, the player. The exit status is 1 if one is over its budget.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import nbformat
from rich.console import Console
from rich.table import Table

import attention_variants as av
from attention_variants.lab.animation.player import MOST_FRAMES, Film
from attention_variants.lab.explore import MOST_BYTES as MOST_PAGE_BYTES

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES, MOST_SECONDS = 400_000, 5.0


def animations(path: Path) -> Iterator[tuple[Film, float, int]]:
    """Build the animations of a notebook.

    Parameters
    ----------
    path : Path
        The notebook.

    Yields
    ------
    animation : Film
    seconds : float
        What building it took.
    size : int
        The bytes of the player.
    """
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    shown = [index for index, source in enumerate(cells) if "av.animate" in source]
    names: dict[str, Any] = {}
    for index, source in enumerate(cells[: max(shown, default=-1) + 1]):
        *statements, last = ast.parse(source).body
        if index not in shown:
            statements.append(last)
        with contextlib.redirect_stdout(io.StringIO()):  # the words of the notebook are not wanted here
            exec(compile(ast.Module(statements, []), path.name, "exec"), names)
        plt.close("all")
        if index in shown and isinstance(last, ast.Expr):
            start = time.perf_counter()
            animation = eval(compile(ast.Expression(last.value), path.name, "eval"), names)
            size = len(animation.html)
            yield animation, time.perf_counter() - start, size


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)

    table = Table(
        "notebook",
        "animation",
        title=f"at most {MOST_SECONDS:.0f} s, {MOST_FRAMES} frames, {MOST_BYTES // 1000} kB each",
    )
    for column in ("frames", "seconds", "kB"):
        table.add_column(column, justify="right")
    over = 0
    console = Console(width=110)
    with console.status("building the animations of the notebooks"):
        for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
            for animation, seconds, size in animations(path):
                table.add_row(
                    path.stem,
                    animation.title.removesuffix(", step by step"),
                    str(len(animation)),
                    f"{seconds:.1f}",
                    f"{size / 1000:.0f}",
                )
                over += seconds > MOST_SECONDS or size > MOST_BYTES
        start = time.perf_counter()
        size = len(str(av.explore().to_html()).encode())
        seconds = time.perf_counter() - start
        over += size > MOST_PAGE_BYTES
    console.print(table)
    console.print(
        f"the explorer as a page, all sentences: {seconds:.1f} s, {size / 1000:.0f} kB "
        f"(at most {MOST_PAGE_BYTES // 1000} kB)"
    )
    return int(over > 0)


if __name__ == "__main__":
    sys.exit(main())
