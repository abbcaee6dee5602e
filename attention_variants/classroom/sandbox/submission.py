"""One submission: a file of Python code or a notebook, read as text and never run in this process.

A notebook becomes its code cells. They are run one after the other, in another process, and one that fails is passed
over, as for a reader who presses Shift-Enter: a plot or a check that cannot be made there costs nobody the grade.
"""

from __future__ import annotations

import io
import json
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .limits import LARGEST_SUBMISSION


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
        OSError
            If the file cannot be opened.
        ValueError
            If it is no text, no notebook, or empty; the message says which.
        """
        path = Path(path)
        shown = printable(str(path))
        if not path.exists():
            raise FileNotFoundError(f"there is no file {shown}")
        if not path.is_file():
            raise OSError(f"{shown} is not a file")
        if path.stat().st_size > LARGEST_SUBMISSION:
            raise ValueError(f"the file has {path.stat().st_size:,} bytes; at most {LARGEST_SUBMISSION:,} are read")
        data = path.read_bytes()
        if path.suffix.lower() == ".ipynb":
            cells = _cells(data)
            return cls("\n\n".join(cells), name, shown, cells)
        source = _text(data)
        if not source.strip():
            raise ValueError("the file is empty")
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
        raise ValueError(
            f"the file is not text in {error.encoding.upper()}: byte 0x{data[error.start]:02x} at position "
            f"{error.start}. Was it saved in another encoding, or is it no Python file?"
        ) from None
    except SyntaxError as error:  # an encoding that nobody knows, or no UTF-8 in the first two lines
        more = " It seems to be UTF-16." if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise ValueError(f"the file is not text in UTF-8 ({printable(str(error))}).{more}") from None


def _cells(data: bytes) -> tuple[str, ...]:
    """The code cells of a notebook."""
    if not data.strip():
        raise ValueError("the file is empty")
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"the notebook is not text in UTF-8: byte 0x{data[error.start]:02x}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the notebook is damaged, it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("the notebook is damaged: its JSON is nested too deeply") from None
    found = _list(notebook, "cells")
    for sheet in _list(notebook, "worksheets"):  # notebooks of before 2015
        found = [*found, *_list(sheet, "cells")]
    code = [cell for cell in found if isinstance(cell, dict) and cell.get("cell_type") == "code"]
    cells = tuple(_joined(cell.get("source", cell.get("input"))) for cell in code)
    if not isinstance(notebook, dict) or not ("cells" in notebook or "worksheets" in notebook):
        raise ValueError("this is JSON, but no notebook: it has no cells")
    if not any(cell.strip() for cell in cells):
        raise ValueError("there is no code in the notebook")
    return cells


def _list(holder: Any, name: str) -> list[Any]:
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, list) else []


def _joined(source: Any) -> str:
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, as in "a, b and c"; of many, the first."""
    names = [*names[:5], f"{len(names) - 5} more"] if len(names) > 6 else list(names)
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""
