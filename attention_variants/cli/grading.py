"""``check`` and ``grade``: one file, or a folder of submissions, held against a variant."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from attention_variants.classroom.sandbox.limits import SECONDS

from .options import VariantOption, more_than_zero

Function = Annotated[
    str | None,
    typer.Option("--function", metavar="NAME", help="What the function is called; by default as the variant."),
]
Rules = Annotated[bool, typer.Option("--rules", help="It must also do it the variant's way, such as in loops.")]
Seconds = Annotated[
    float,
    typer.Option("--seconds", metavar="S", callback=more_than_zero, help="How long each function may take."),
]


def check(
    file: Annotated[str, typer.Argument(help="A .py file or a notebook, .ipynb.")],
    variant: VariantOption,
    function: Function = None,
    rules: Rules = False,
    seconds: Seconds = SECONDS,
) -> int:
    """Hold one file against a variant: is it right, and if not, what is wrong?

    Runs the function in a process of its own, on some twenty small problems;
    says what is wrong, and which misconception it looks like.

    Exit status: 0 if it is right, 1 if not, 2 for a wrong argument.

    Example: attention-variants check mine.py --variant 4
    """
    from rich.console import Console

    from attention_variants.classroom.check import check
    from attention_variants.classroom.sandbox.submission import Submission
    from attention_variants.variants import describe_variant

    submission = Submission.read(file, function or describe_variant(variant).name)
    report = check(submission, variant, rules=rules, seconds=seconds)
    Console().print(report)
    return 0 if report else 1


def grade(
    folder: Annotated[str, typer.Argument(help="The submissions.")],
    variant: VariantOption,
    function: Function = None,
    rules: Rules = False,
    seconds: Seconds = SECONDS,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where the results go; by default FOLDER-graded, beside the folder."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", help="Graded at the same time; by default one for each core.")
    ] = None,
) -> int:
    """Grade a folder of submissions: a table, and a page for each student.

    A submission is a .py or .ipynb file, named after the student, or a folder
    of that name with one file or several. Written are grades.csv, grades.json,
    a report for each student, and index.html: which misconceptions how many
    students have. Students' code runs with your rights, watched and limited
    but not locked away: grade code of strangers in a container.

    Exit status: 0 if all are graded, whatever their grades; 2 for a wrong
    argument.

    Example: attention-variants grade submissions/ --variant 4
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from attention_variants.classroom import wording
    from attention_variants.classroom.grading.grade import grade, output_folder
    from attention_variants.classroom.grading.pages import write_pages

    begin = time.monotonic()
    to = output_folder(folder, out)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("", total=None)
        result = grade(
            folder,
            variant,
            function=function,
            jobs=jobs,
            seconds=seconds,
            rules=rules,
            progress=lambda file, done, total: bar.update(task, description=escape(file), completed=done, total=total),
        )
    page = write_pages(result, to)
    console = Console()
    console.print(result)
    done = wording.say(wording.TERMINAL["graded_in"], number=len(result.rows), seconds=time.monotonic() - begin)
    console.print(f"\n{done}", markup=False, highlight=False)
    console.print(str(page), soft_wrap=True, markup=False, highlight=False)
    return 0
