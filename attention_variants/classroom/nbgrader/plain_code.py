"""A variant's source as a student would write it."""

from __future__ import annotations

import ast
import io
import re
import tokenize

#: What a look at the inputs begins with.
_CHECKS = ("check_", "_check(")


def without_comments(code: str) -> str:
    """Leave out what is said beside the code.

    Parameters
    ----------
    code : str

    Returns
    -------
    code : str
        With its blank lines; a line that was a comment is gone.
    """
    lines = code.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() or "#"
    return "\n".join(line for line in lines if line != "#")


def plain_code(source: str, called: str | None = None) -> str:
    """Leave of a variant's source what a student would write: no annotations, docstring or look at the inputs.

    Parameters
    ----------
    source : str
        Of one function.
    called : str, optional
        Another name for it.

    Returns
    -------
    code : str
        With the comments and the layout of the body.
    """
    tree = ast.parse(source)
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    for argument in (*function.args.args, *function.args.kwonlyargs):
        argument.annotation = None
    skip = [
        statement
        for statement in function.body
        if isinstance(statement, ast.Expr)
        and (isinstance(statement.value, ast.Constant) or ast.unparse(statement.value).startswith(_CHECKS))
    ]
    lines = source.splitlines()
    gone = {number for statement in skip for number in range(statement.lineno, (statement.end_lineno or 0) + 1)}
    kept = [line for number, line in enumerate(lines, 1) if number >= function.body[0].lineno and number not in gone]
    body = re.sub(r" and lacks_keys\(.*\):", ":", "\n".join(kept).strip("\n"))
    return f"def {called or function.name}({ast.unparse(function.args)}):\n{body}"
