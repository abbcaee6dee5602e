"""What the course adds to nbgrader: code to repair, and grading that runs no student's code in its own process.

``classroom/nbgrader_config.py`` puts both in their places.
"""

from __future__ import annotations

import ast
import builtins
import inspect
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader import utils  # type: ignore[import-untyped]
from nbgrader.preprocessors import ClearSolutions, NbGraderPreprocessor  # type: ignore[import-untyped]

from attention_variants.classroom.misconceptions import MISCONCEPTIONS
from attention_variants.classroom.sandbox.submission import Submission
from attention_variants.classroom.wording import FILES

from .plain_code import plain_code, without_comments
from .points import Points

#: The cell whose imports every solution needs.
SET_UP = "set_up"


class StudentVersion(ClearSolutions):
    """Take the solutions out; where a cell has something to start from, put that in.

    A solution cell may carry ``starts_as``, a text, in its metadata, or ``mistake``, the name of a misconception and a
    variant or, after the seven, a public name, such as ``"softmax_over_queries 4"``: its code, from the catalogue, is
    what students are to repair.
    """

    def preprocess_cell(self, cell: NotebookNode, resources: Any, cell_index: int) -> tuple[NotebookNode, Any]:
        """Replace the solution of one cell.

        Parameters
        ----------
        cell : NotebookNode
            The cell, as it stands in the source.
        resources : dict
            nbconvert's.
        cell_index : int
            Where it stands.

        Returns
        -------
        cell, resources : tuple
        """
        starts_as, mistake = cell.metadata.pop("starts_as", None), cell.metadata.pop("mistake", None)
        if mistake is not None:
            name, where = mistake.split()
            starts_as = code_to_repair(name, int(where) if where.isdigit() else where)
        if starts_as is None:
            return super().preprocess_cell(cell, resources, cell_index)
        cell.source = starts_as
        return cell, resources


def code_to_repair(name: str, variant: int | str, called: str = "attention_to_repair") -> str:
    """Give a mistake of the catalogue as code for a cell, without the words that give it away.

    Parameters
    ----------
    name : str
        The misconception.
    variant : int or str
        Where it occurs: a variant, or a function after the seven by its public name.
    called : str
        What the function is to be called.

    Returns
    -------
    code : str
    """
    mistake = MISCONCEPTIONS[name]
    wrong = mistake.implementations[variant] if isinstance(variant, str) else mistake.functions[variant]
    function: Any = inspect.unwrap(wrong)
    return without_comments(plain_code(inspect.getsource(function), called))


class GradeCells(NbGraderPreprocessor):
    """Fill in the outputs of the cells that give points, in place of a kernel that runs the whole notebook.

    Such a cell comes from the lecturer's source. It is run here, with a `Submission` for every name that it does not
    know: the student's cells are run, with limits, in a process that can answer questions and do nothing else.
    """

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Grade one notebook.

        Parameters
        ----------
        nb : NotebookNode
            A student's notebook, with the cells of the source restored.
        resources : dict
            nbconvert's.

        Returns
        -------
        nb, resources : tuple
            With the points as the outputs of their cells.
        """
        cells = tuple(cell.source for cell in nb.cells if cell.cell_type == "code" and _is_theirs(cell))
        for count, cell in enumerate((c for c in nb.cells if _gives_points(c)), 1):
            value = evaluate(cell.source, cells)
            data = {"text/plain": repr(float(value))}
            if isinstance(value, Points):
                data["text/html"] = value._repr_html_()
            cell.execution_count = count
            cell.outputs = [new_output("execute_result", data, execution_count=count)]
        return nb, resources


def _is_theirs(cell: NotebookNode) -> bool:
    return not utils.is_locked(cell) or cell.metadata.nbgrader.get("grade_id") == SET_UP


def _gives_points(cell: NotebookNode) -> bool:
    """Whether it is a cell of the source, with its source restored: only such a cell is run here."""
    if cell.cell_type != "code" or not (utils.is_grade(cell) and utils.is_locked(cell)):
        return False
    told = cell.metadata.nbgrader
    return bool(told.get("grade_id")) and told.get("checksum") == utils.compute_checksum(cell)


class _Names(dict):
    """The names of a cell; one that is not known stands for what the student calls so."""

    def __init__(self, cells: tuple[str, ...]) -> None:
        super().__init__()
        self.cells = cells

    def __missing__(self, name: str) -> Submission:
        if hasattr(builtins, name):
            raise KeyError(name)
        return Submission("\n\n".join(self.cells), name, FILES["notebook"], self.cells)


def evaluate(source: str, cells: tuple[str, ...]) -> Any:
    """Run a cell that gives points.

    Parameters
    ----------
    source : str
        The cell; its last line is an expression.
    cells : tuple of str
        The student's cells.

    Returns
    -------
    value : float
        What the last line gives.
    """
    body = ast.parse(source).body
    last = body.pop()
    assert isinstance(last, ast.Expr), "the last line of a cell that gives points must be an expression"
    names = _Names(cells)
    exec(compile(ast.Module(body, []), "<points>", "exec"), {}, names)
    return eval(compile(ast.Expression(last.value), "<points>", "eval"), {}, names)
