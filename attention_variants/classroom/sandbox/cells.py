"""The cells of a notebook as Python: IPython's own commands in them become comments."""

from __future__ import annotations

import ast
import re

#: What is no Python in a cell: IPython's commands, and a name with a question mark.
_MAGIC = re.compile(r"\s*(%|!|\?|\w+\s*=\s*[%!]|[\w.]+\?\??\s*$)")
_TIMED = re.compile(r"(\s*)%time\s+(.*)")


def without_magics(cell: str) -> str:
    """Turn IPython's own commands in a cell into comments: ``%matplotlib inline``, ``!pip install``, ``%%time``.

    Parameters
    ----------
    cell : str
        The code of a cell.

    Returns
    -------
    code : str
        With the same number of lines, so that an error names the right one.
    """
    lines = cell.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        if lines[first].split()[0] not in ("%%time", "%%timeit", "%%capture", "%%prun"):
            return ""  # the cell is written in another language
        lines[first] = ""
    for _ in lines:
        try:
            compile("\n".join(lines), "cell", "exec", ast.PyCF_ONLY_AST)
            break
        except SyntaxError as error:  # "% d" may continue an expression: only where Python stumbles it is a command
            i = (error.lineno or 0) - 1
            if not (0 <= i < len(lines) and _MAGIC.match(lines[i])):
                break
            timed = _TIMED.match(lines[i])
            indent = lines[i][: len(lines[i]) - len(lines[i].lstrip())]
            lines[i] = timed[1] + timed[2] if timed else f"{indent}pass  # {lines[i].strip()}"
    return "\n".join(lines)
