"""One submission: a file of Python code or a notebook, read as text and never run in this process.

A notebook becomes its code cells. They are run one after the other, in another process, and one that fails is passed
over, as for a reader who presses Shift-Enter: a plot or a check that cannot be made there costs nobody the grade.
"""

from __future__ import annotations

import io
import json
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_variants.classroom import wording
from attention_variants.classroom.contract.answer import Remark

from .limits import LARGEST_SUBMISSION


class UnreadableError(ValueError):
    """A file that cannot be graded: it is no text, no notebook, empty or too large.

    Parameters
    ----------
    code : str
        Why, of `wording.loading.UNREADABLE`.
    **numbers
        What is filled in there.

    Attributes
    ----------
    remark : Remark
        The same as data.
    """

    def __init__(self, code: str, **numbers: Any) -> None:
        super().__init__()
        self.remark = Remark(code, numbers)

    def __str__(self) -> str:
        return wording.sentence(self.remark)


class NoFileError(FileNotFoundError):
    """There is nothing at a path, or something that is not a file; `remark` is the same as data."""

    def __init__(self, code: str, **numbers: Any) -> None:
        super().__init__()
        self.remark = Remark(code, numbers)

    def __str__(self) -> str:
        return wording.sentence(self.remark)


@dataclass(frozen=True)
class Submission:
    """A function in source code, which is not run in this process.

    Attributes
    ----------
    source : str
        The text of a module, or of a notebook's cells one after the other.
    name : str
        What the function is called in it.
    file : str
        What its errors call the file.
    cells : tuple of str
        The code cells, if it is a notebook: each is run by itself, and may fail by itself.
    folder : str or None
        A folder from which it may import modules of its own.
    adapter : str or None
        What of `adapters` is put around what the name stands for, before it is asked.
    """

    source: str
    name: str
    file: str = "submission.py"
    cells: tuple[str, ...] = ()
    folder: str | None = None
    adapter: str | None = None

    @classmethod
    def read(cls, path: str | Path, name: str) -> Submission:
        """Read a file of Python code or a notebook.

        Parameters
        ----------
        path : path
            It ends in .py or .ipynb.
        name : str
            The function in it.

        Returns
        -------
        submission : Submission

        Raises
        ------
        NoFileError
            If there is no such file.
        OSError
            If it cannot be opened.
        UnreadableError
            If it is no text, no notebook, or empty; the message says which.
        """
        path = Path(path)
        shown = printable(str(path))
        if not path.exists():
            raise NoFileError("no_file", file=shown)
        if not path.is_file():
            raise NoFileError("not_a_file", file=shown)
        if (size := path.stat().st_size) > LARGEST_SUBMISSION:
            raise UnreadableError("too_large", size=size, most=LARGEST_SUBMISSION)
        data = path.read_bytes()
        if path.suffix.lower() == ".ipynb":
            cells = _cells(data)
            return cls("\n\n".join(cells), name, shown, cells)
        source = _text(data)
        if not source.strip():
            raise UnreadableError("empty")
        return cls(source, name, shown)

    @property
    def defines_it(self) -> bool:
        """Whether it looks as if the function is defined in it; its code is not run for that."""
        name = re.escape(self.name)
        return re.search(rf"^[ \t]*(async[ \t]+)?def[ \t]+{name}\b|^{name}[ \t]*=", self.source, re.M) is not None


def printable(text: str) -> str:
    """Text that can be written as UTF-8, whatever a file may be called."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _text(data: bytes) -> str:
    """The text of a module, in the encoding that it declares: UTF-8 if none."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        place = {"byte": data[error.start], "position": error.start}
        raise UnreadableError("not_in_its_encoding", encoding=error.encoding.upper(), **place) from None
    except SyntaxError as error:  # an encoding that nobody knows, or no UTF-8 in the first two lines
        is_utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        code = "unknown_encoding_utf16" if is_utf16 else "unknown_encoding"
        raise UnreadableError(code, error=printable(str(error))) from None


def _cells(data: bytes) -> tuple[str, ...]:
    """The code cells of a notebook."""
    if not data.strip():
        raise UnreadableError("empty")
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UnreadableError("notebook_not_in_utf8", byte=data[error.start]) from None
    except json.JSONDecodeError as error:
        raise UnreadableError("notebook_not_json", error=str(error)) from None
    except RecursionError:
        raise UnreadableError("notebook_nested_too_deeply") from None
    found = _list(notebook, "cells")
    for sheet in _list(notebook, "worksheets"):  # notebooks of before 2015
        found = [*found, *_list(sheet, "cells")]
    code = [cell for cell in found if isinstance(cell, dict) and cell.get("cell_type") == "code"]
    cells = tuple(_joined(cell.get("source", cell.get("input"))) for cell in code)
    if not isinstance(notebook, dict) or not ("cells" in notebook or "worksheets" in notebook):
        raise UnreadableError("notebook_without_cells")
    if not any(cell.strip() for cell in cells):
        raise UnreadableError("notebook_without_code")
    return cells


def _list(holder: Any, name: str) -> list[Any]:
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, list) else []


def _joined(source: Any) -> str:
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""
