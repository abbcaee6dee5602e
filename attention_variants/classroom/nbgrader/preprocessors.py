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

from attention_variants.classroom.goals import GOALS
from attention_variants.classroom.misconceptions import MISCONCEPTIONS
from attention_variants.classroom.sandbox.submission import Submission
from attention_variants.classroom.wording import FILES
from attention_variants.lab.code.source import show

from .plain_code import plain_code, plain_definition, without_comments
from .points import Points

#: The cell whose imports every solution needs.
SET_UP = "set_up"


class StudentVersion(ClearSolutions):
    """Take the solutions out; where a cell has something to start from, put that in.

    A solution cell may carry ``starts_as``, a text, in its metadata, or ``mistake``, the name of a misconception and a
    variant, such as ``"softmax_over_queries 4"``: its code, from the catalogue, is what students are to repair. For
    what is no variant, its public name stands in place of the number, and then what it is to be called.
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
            name, of, *called = mistake.split()
            starts_as = code_to_repair(name, int(of) if of.isdecimal() else of, *called)
        if starts_as is None:
            return super().preprocess_cell(cell, resources, cell_index)
        cell.source = starts_as
        return cell, resources


def code_to_repair(name: str, of: int | str, called: str = "attention_to_repair") -> str:
    """Give a mistake of the catalogue as code for a cell, without the words that give it away.

    Parameters
    ----------
    name : str
        The misconception.
    of : int or str
        Where it occurs: a variant, or a public name that `check` can be asked for.
    called : str
        What the function or the class is to be called.

    Returns
    -------
    code : str
        With the functions that a page has beside it, if it calls them.

    Raises
    ------
    ValueError
        If the mistake is in what the course does not ask for, so that nothing would be wrong.
    """
    mistake = MISCONCEPTIONS[name]
    if isinstance(of, int):
        return without_comments(plain_code(inspect.getsource(inspect.unwrap(mistake.functions[of])), called))
    code = plain_definition(code_of(mistake.implementations[of]), called, of=of)
    if code == plain_definition(code_of(GOALS[of].right), called):
        raise ValueError(f"code_to_repair: {name} is in what the course leaves out of {of}; choose another mistake.")
    return "\n\n\n".join([*helpers(GOALS[of].right, code), code])


def code_of(thing: Any) -> str:
    """Read the source of a function or a class, as `show` does, which finds that of wrong ones too.

    Parameters
    ----------
    thing : function or class

    Returns
    -------
    source : str
    """
    return show(thing, docstring=True).text


def helpers(right: Any, code: str) -> list[str]:
    """Give the functions of a page that stand beside its own and are called in some code, as students would write them.

    Parameters
    ----------
    right : function or class
        The page's own.
    code : str
        What may call them.

    Returns
    -------
    helpers : list of str
        Each as `plain_definition` gives it, in the order of their names.
    """
    page = vars(inspect.getmodule(right))
    called = {x.func.id for x in ast.walk(ast.parse(code)) if isinstance(x, ast.Call) and isinstance(x.func, ast.Name)}
    own = {name: page.get(name) for name in sorted(called)}
    beside = [x for x in own.values() if inspect.isfunction(x) and x.__module__ == right.__module__ and x is not right]
    return [plain_definition(code_of(x)) for x in beside]


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
