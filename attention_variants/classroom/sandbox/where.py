"""Where in a student's code did an exception arise, and which tensors met there?"""

from __future__ import annotations

import contextlib
import linecache
import os
import re
import sysconfig
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from attention_variants.classroom.contract.answer import MOST_AXES, MOST_TENSORS, one_line

#: Where no student's code stands: Python's own library, what is installed, and this package.
_LIBRARIES = tuple(f"{folder}{os.sep}" for folder in (Path(sysconfig.get_path("stdlib")), Path(__file__).parents[2]))
_INSTALLED = re.compile(r"[/\\](site|dist)-packages[/\\]|^<frozen |^<__array_function__")
#: A name in a line of code, but for one after a dot.
_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*")

#: What errors call a cell of a notebook that was handed in, to its number.
_cells: dict[str, int] = {}


def remember(file: str, text: str, cell: int | None = None) -> None:
    """Keep code that stands in no file, so that a line of it can be shown.

    Parameters
    ----------
    file : str
        What its errors call it.
    text : str
        The code.
    cell : int, optional
        Its number, if it is a cell.
    """
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # no time: it is never out of date
    if cell is not None:
        _cells[file] = cell


def where(error: BaseException) -> dict[str, Any] | None:
    """Find the last line of the student's code that an exception went through.

    Parameters
    ----------
    error : exception

    Returns
    -------
    place : dict or None
        The ``line``, its number; the ``cell``; the ``source`` of the line, None where it cannot be had; and the
        ``shapes`` of the tensors that it names. None if the exception went through no such code.
    """
    with contextlib.suppress(Exception):
        found = None
        tb = vars(BaseException)["__traceback__"].__get__(error)  # not that of a class of the student's
        while tb is not None:
            if _is_students(tb.tb_frame.f_code.co_filename):
                found = tb
            tb = tb.tb_next
        if found is not None:
            return _place(found.tb_frame, found.tb_lineno)
    return None


def _is_students(file: str) -> bool:
    return not (_INSTALLED.search(file) or file.startswith(_LIBRARIES))


def _place(frame: FrameType, line: int) -> dict[str, Any]:
    file = frame.f_code.co_filename
    linecache.checkcache(file)
    source = linecache.getline(file, line).strip()
    shapes: dict[str, tuple[int, ...]] = {}
    for name in dict.fromkeys(_NAME.findall(source)):
        value: Any = frame.f_locals.get(name, frame.f_globals.get(name))
        if issubclass(type(value), Tensor) and len(shapes) < MOST_TENSORS:
            with torch._C.DisableTorchFunctionSubclass():
                shapes[one_line(name)] = tuple(Tensor.size(value))[:MOST_AXES]
    return {"line": line, "cell": _cells.get(file), "source": one_line(source) if source else None, "shapes": shapes}
