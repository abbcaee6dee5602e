"""Run every notebook as its readers do: with other sentences, dates, heads and variants in the cells that invite them.

A cell tagged "reader-input" has nothing but names to which literals are assigned. ``tests/other_inputs.py`` has three
other values for each. Each notebook is run with the first of them, with the second and with the third, in fresh
kernels, two at a time; nothing is stored. What comes out the same whatever a reader puts in is compared by `make test`:
run are the cells that an input reaches, through any number of names, and those that these need. A failure says which
notebook, which input, which cell and which error, and then the exit status is 1.

    .venv/bin/python scripts/run_other_inputs.py                what `make test-readers` does
    .venv/bin/python scripts/run_other_inputs.py --only 09      just the notebooks that begin so
"""

from __future__ import annotations

import ast
import asyncio
import os
import re
import symtable
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from rich.console import Console
from run_notebooks import BUDGET, BUDGETS, client, notebooks_asked_for, progress_bar

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from other_inputs import OTHER_INPUTS  # noqa: E402

TAG = "reader-input"
AT_ONCE = 2
LIMIT = 240.0  # seconds, for all of it on two cores
MODULES = {"av", "torch", "np", "plt", "F", "nn", "math"}  # what is called there changes nothing of them


def is_input(cell: NotebookNode) -> bool:
    """Say whether a cell invites its reader to change it."""
    return cell.cell_type == "code" and TAG in cell.metadata.get("tags", [])


def assigned(source: str) -> Iterator[tuple[str, ast.expr]]:
    """List the names to which a piece of code assigns, and what; also those of ``a, b = 1, 2``.

    Parameters
    ----------
    source : str
        The source of a cell.

    Yields
    ------
    name : str
    value : ast.expr
        With its place in the source.

    Raises
    ------
    ValueError
        If it has a statement of another kind.
    """
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            raise ValueError(f"a cell tagged {TAG} has assignments alone; got {ast.unparse(statement)!r}")
        target, value = statement.targets[0], statement.value
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=True))
        else:
            pairs = [(target, value)]
        for one, what in pairs:
            if not isinstance(one, ast.Name):
                raise ValueError(f"a cell tagged {TAG} assigns to names; got {ast.unparse(one)!r}")
            yield one.id, what


def with_values(source: str, values: Mapping[str, Any]) -> str:
    """Put other values into a piece of code that assigns literals.

    Parameters
    ----------
    source : str
        The source of a cell.
    values : mapping
        Name to value; of other names the value stays.

    Returns
    -------
    source : str
        All else in it, comments too, is as it was.
    """
    lines = source.encode().splitlines(keepends=True)  # ast counts bytes
    starts = [sum(map(len, lines[:at])) for at in range(len(lines))]
    text = source.encode()
    for name, value in sorted(assigned(source), key=lambda pair: (-pair[1].lineno, -pair[1].col_offset)):
        if name in values:
            begin = starts[value.lineno - 1] + value.col_offset
            end = starts[(value.end_lineno or 0) - 1] + (value.end_col_offset or 0)
            text = text[:begin] + repr(values[name]).encode() + text[end:]
    return text.decode()


def reached(sources: Sequence[str], names: Collection[str]) -> list[bool]:
    """Say which cells depend on some names, or make what one that does depends on.

    Parameters
    ----------
    sources : sequence of str
        The code of all cells, in order; "" for one that has none.
    names : collection of str
        What the reader changes.

    Returns
    -------
    reached : list of bool
        For each cell. Changed is also what is assigned to in part, or of which a method is called for no result.
    """
    cells = [_statements(re.sub(r"(?m)^(\s*)[%!].*", r"\1pass", source)) for source in sources]
    changed, needed = set(names), []
    for cell in cells:
        depends = False
        for statement in cell:
            if (statement.uses | statement.changes) & changed:
                depends = True
                changed |= statement.makes | statement.changes
            else:
                changed -= statement.makes - set(names)  # made anew of something else
        needed.append(depends)
    wanted: set[str] = set()
    for at in reversed(range(len(cells))):
        needed[at] |= any((statement.makes | statement.changes) & wanted for statement in cells[at])
        if needed[at]:
            wanted = wanted.union(*(statement.uses for statement in cells[at]))
    return needed


class _Names(NamedTuple):
    """The names that a statement uses, those that it makes, and those of which it may change a part."""

    uses: set[str]
    makes: set[str]
    changes: set[str]


def _statements(source: str) -> list[_Names]:
    """List what the statements of a cell do with names."""
    return [_names(statement) for statement in ast.parse(source).body]


def _names(statement: ast.stmt) -> _Names:
    table = symtable.symtable(ast.unparse(statement), "cell", "exec")
    uses, makes = _used(table), set()
    for symbol in table.get_symbols():
        if symbol.is_assigned() or symbol.is_imported():
            makes.add(symbol.get_name())
    changes: set[str] = set()
    for node in ast.walk(statement):
        target: Any = node
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):  # what comes out is not kept: a change
            target = node.value.func
        elif not isinstance(getattr(node, "ctx", None), ast.Store):
            continue
        is_part = isinstance(target, ast.Attribute | ast.Subscript)
        while isinstance(target, ast.Attribute | ast.Subscript):
            target = target.value
        if is_part and isinstance(target, ast.Name) and target.id not in MODULES:
            changes.add(target.id)
    return _Names(uses, makes, changes)


def _used(table: symtable.SymbolTable) -> set[str]:
    """The names of the notebook that code uses, also inside functions."""
    is_top = table.get_type() == "module"
    used = {one.get_name() for one in table.get_symbols() if one.is_referenced() and (is_top or one.is_global())}
    return used.union(*map(_used, table.get_children()))


async def run_with(path: Path, values: Mapping[str, Any]) -> list[str]:
    """Run a notebook with other values, all cells that they reach, and store nothing.

    Parameters
    ----------
    path : Path
        The notebook.
    values : mapping
        Name to value.

    Returns
    -------
    failures : list of str
        Notebook, input, cell and error; empty if it ran to its end.
    """
    notebook = nbformat.read(path, as_version=4)
    what = ", ".join(f"{name} = {value!r}" for name, value in values.items())
    inputs = [cell for cell in notebook.cells if is_input(cell)]
    names = {name for cell in inputs for name, _ in assigned(cell.source)}
    if missing := sorted(set(values) - names):
        return [f"{path.name}: no cell tagged {TAG} assigns to {', '.join(missing)}; see tests/other_inputs.py"]
    for cell in inputs:
        cell.source = with_values(cell.source, values)
    runs = reached([cell.source if cell.cell_type == "code" else "" for cell in notebook.cells], values)
    places = [at for at, needed in enumerate(runs) if needed]
    notebook.cells = [notebook.cells[at] for at in places]
    try:
        await client(notebook, path.parent, allow_errors=True).async_execute()  # all that fails, not the first alone
    except (CellTimeoutError, DeadKernelError) as error:
        return [f"{path.name} with {what}:\n{error}"]
    return [
        f"{path.name} with {what}\n  cell {index}: {output.ename}: {output.evalue}\n"
        + "".join(f"  | {line}\n" for line in cell.source.splitlines())
        for index, cell in zip(places, notebook.cells, strict=True)
        for output in cell.get("outputs", [])
        if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", [])
    ]


async def _run_all(jobs: list[tuple[Path, dict[str, Any]]]) -> list[str]:
    """Run notebooks, two at a time, show how far it is, and return what failed."""
    console, failures = Console(), []
    places = asyncio.Semaphore(AT_ONCE)
    with progress_bar(console) as progress:
        task = progress.add_task("other inputs", total=len(jobs))

        async def run(path: Path, values: dict[str, Any]) -> None:
            async with places:
                found = await run_with(path, values)
            words = f"{'FAILED' if found else 'ok':6} {path.name}  {', '.join(map(repr, values.values()))}"
            console.print(words, highlight=False, markup=False, overflow="ellipsis", no_wrap=True)
            failures.extend(found)
            progress.advance(task)

        await asyncio.gather(*(run(*job) for job in jobs))
    return failures


def main(arguments: list[str] | None = None) -> int:
    """Run the notebooks that were asked for; the exit status is 1 if one of them failed."""
    paths = [path for path in notebooks_asked_for(__doc__, arguments) if path.stem in OTHER_INPUTS]
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two kernels on two cores: more threads would be in each other's way
    paths.sort(key=lambda path: -BUDGETS.get(path.stem, BUDGET))  # what takes longest begins first
    jobs = []
    for path in paths:
        inputs = OTHER_INPUTS[path.stem]
        jobs += [(path, {name: values[at] for name, values in inputs.items()}) for at in range(3)]
    if not jobs:
        print("none of these notebooks has a cell for a reader's input", file=sys.stderr)
        return 2

    start = time.perf_counter()
    failures = asyncio.run(_run_all(jobs))
    seconds = time.perf_counter() - start
    late = f", more than {LIMIT:.0f} s" if seconds > LIMIT else ""
    print(f"{len(jobs)} runs in {seconds:.0f} s{late}; {len(failures)} errors")
    for failure in failures:
        print(f"\n{failure}", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
