"""A made-up class: how long does it take to grade a hundred of them?"""

from __future__ import annotations

import inspect
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from attention_variants.classroom.grading.grade import grade
from attention_variants.classroom.grading.pages import write_pages
from attention_variants.classroom.misconceptions import with_code
from attention_variants.classroom.nbgrader.plain_code import plain_code
from attention_variants.variants import describe_variant

from .styles import STYLES

#: What a student writes above the function.
IMPORTS = """import math

import torch
import torch.nn.functional as F

from attention_variants import fused_kernel
"""


def hand_in(folder: Path, variant: int, students: int = 100) -> None:
    """Write what a class hands in: right ones in many styles, wrong ones of the catalogue, every other as a notebook.

    Parameters
    ----------
    folder : Path
        Where the files go.
    variant : int
        Its number.
    students : int, default 100
        How many.
    """
    called = describe_variant(variant).name
    right = [
        f"from {style.__module__} import {style.__name__} as {called}\n"
        for style, v in STYLES
        if v == variant and inspect.isfunction(style)
    ]
    wrong = [
        f"{IMPORTS}\n\n{plain_code(inspect.getsource(mistake.functions[variant]), called)}\n"
        for mistake in with_code().values()
        if variant in mistake.functions and _is_written_out(mistake.changes[variant])
    ]
    # One in four is right; the others go through the catalogue.
    sources = zip(itertools.cycle([True, False, False, False]), range(students))
    of_right, of_wrong = itertools.cycle(right), itertools.cycle(wrong)
    for is_right, number in sources:
        source = next(of_right if is_right else of_wrong)
        name = f"student_{number:03d}"
        if number % 2:
            (folder / f"{name}.py").write_text(source, encoding="utf-8")
        else:
            cells = ["%matplotlib inline", source, f"import attention_variants as av\nav.check({called}, {variant})"]
            (folder / f"{name}.ipynb").write_text(json.dumps(_notebook(cells)), encoding="utf-8")


def _is_written_out(change: Any) -> bool:
    return isinstance(change, tuple)  # else a function that leans on its module


def _notebook(cells: list[str]) -> dict[str, Any]:
    code: list[dict[str, Any]] = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}
        for source in cells
    ]
    return {"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}


def seconds_for_a_class(variant: int, students: int = 100) -> float:
    """Grade a class, with the pages, and look at the clock.

    Parameters
    ----------
    variant : int
        Its number.
    students : int, default 100
        How many.

    Returns
    -------
    seconds : float
        From the first file to the last page.
    """
    with tempfile.TemporaryDirectory() as folder:
        submissions = Path(folder) / "submissions"
        submissions.mkdir()
        hand_in(submissions, variant, students)
        start = time.perf_counter()
        result = grade(submissions, variant)
        write_pages(result, Path(folder) / "graded")
        return time.perf_counter() - start
