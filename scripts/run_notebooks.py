"""Run the notebooks from a fresh kernel and store their outputs in place.

What differs from machine to machine (the version of Python, timings, the state of a cell's folding) is left out, so
that a diff shows what changed. A notebook that fails stays as it was; one that writes to stderr is stored, so that
you can look, but counts as failed.
"""

from __future__ import annotations

import argparse
import html
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from attention_variants.lab.plots.panels import PANELS

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = {"alt", "tags", "jupyter"}  # what is written by hand; the rest is the diary of an editor
CELL_TIMEOUT = 60  # seconds, as in `make test`
BUDGET = 15.0  # seconds for a whole notebook...
# ... or as many as it needs, to train a model, to load other libraries, or to load a model.
BUDGETS = {
    "08_transformer": 25.0,
    "09_date_model": 25.0,
    "10_side_by_side": 20.0,
    "11_real_model": 25.0,
    "12_cache": 20.0,
    "14_rotary": 20.0,
    "15_language_model": 25.0,
}


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Leave out of a notebook what only describes the machine that ran it, and put the words for a picture beside it.

    Parameters
    ----------
    notebook : NotebookNode
        Changed in place.

    Returns
    -------
    notebook : NotebookNode
        The same object.
    """
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}) and "alt" in cell.metadata:
                output.metadata["image/png"] = {"alt": cell.metadata["alt"]}
                said = output.data.get("text/html", "")
                if said.startswith(PANELS):  # HTML has its words in itself
                    rest = said.removeprefix(PANELS).partition('"')[2]
                    output.data["text/html"] = f'{PANELS}{html.escape(cell.metadata["alt"])}"{rest}'
        cell.metadata = nbformat.from_dict({key: cell.metadata[key] for key in cell.metadata if key in CELL_METADATA})
    return notebook


def client(notebook: NotebookNode, folder: Path, *, allow_errors: bool = False) -> NotebookClient:
    """Say how a notebook is executed: in a fresh kernel, in a folder.

    Parameters
    ----------
    notebook : NotebookNode
        Gets the outputs.
    folder : Path
        Where its kernel runs.
    allow_errors : bool, default False
        Whether to go on after a cell that fails.

    Returns
    -------
    client : NotebookClient
        Call its ``execute``.
    """
    return NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # the kernel's own remarks are not about the notebook
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,  # two prints are one output, however their messages were sent
        allow_errors=allow_errors,
    )


def run(path: Path) -> list[str]:
    """Run one notebook from a fresh kernel, in its own folder, and store it with its outputs.

    Parameters
    ----------
    path : Path
        The notebook, overwritten unless a cell fails.

    Returns
    -------
    complaints : list of str
        What is wrong with it; empty if nothing is.
    """
    notebook = nbformat.read(path, as_version=4)
    try:
        client(notebook, path.parent).execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return [f"{path.name} stays as it was, for it failed:\n{error}"]
    path.write_text(nbformat.writes(normalise(notebook)) + "\n", encoding="utf-8")
    return [
        f"{path.name}, cell {index}, writes to stderr: {output.text.strip()}"
        for index, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
    ]


def notebooks_asked_for(description: str | None, arguments: list[str] | None = None) -> list[Path]:
    """Read from the command line which notebooks are meant.

    Parameters
    ----------
    description : str or None
        What the command does, for its help.
    arguments : list of str, optional
        Instead of those of the command line.

    Returns
    -------
    paths : list of Path
        In the order of their names; empty, and a line says so, if there are none.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", metavar="03", help="just the notebooks that begin so; may be repeated"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "notebooks", help="where they are (default: notebooks/)")
    options = parser.parse_args(arguments)
    begins = tuple(options.only or [""])
    paths = [path for path in sorted(options.folder.glob("*.ipynb")) if path.name.startswith(begins)]
    if not paths:
        print(f"no notebook in {options.folder} begins with {' or '.join(begins) or 'anything'}", file=sys.stderr)
    return paths


def progress_bar(console: Console) -> Progress:
    """How far it is: what runs, a bar, how many of how many, and since when."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the notebooks that were asked for; the exit status is 1 if one of them failed."""
    paths = notebooks_asked_for(__doc__, arguments)
    if not paths:
        return 2
    console = Console()
    complaints = []
    with progress_bar(console) as progress:
        task = progress.add_task("", total=len(paths))
        for path in paths:
            progress.update(task, description=path.stem)
            start = time.perf_counter()
            found = run(path)
            seconds = time.perf_counter() - start
            budget = BUDGETS.get(path.stem, BUDGET)
            late = f"   more than {budget:.0f} s" if seconds > budget else ""
            console.print(f"{'FAILED' if found else 'ok':6} {seconds:5.1f} s  {path.name}{late}", highlight=False)
            complaints += found
            progress.advance(task)
    for complaint in complaints:
        print(f"\n{complaint}", file=sys.stderr)
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main())
