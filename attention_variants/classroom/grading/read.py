"""What students hand in: files of Python code and notebooks, read as text and never run here.

A notebook becomes its code cells. They are run one after the other, in another process, and one that fails is passed
over, as for a reader who presses Shift-Enter: a plot or a check that cannot be made there costs nobody the grade.
"""

from __future__ import annotations

import io
import json
import os
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

#: A larger file is not read.
LARGEST_FILE = 50 * 1024**2
#: The files that are looked for.
SUFFIXES = (".py", ".ipynb")
_LONGEST_NAME = 200


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
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"the file has {path.stat().st_size:,} bytes; at most {LARGEST_FILE:,} are read")
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


# --------------------------------------------------------------------------------------------- a folder of them


@dataclass(frozen=True)
class HandedIn:
    """What one student handed in.

    Attributes
    ----------
    student : str
        Named by the file, or by the folder.
    file : str
        The file that is graded, from the folder of all submissions on.
    submission : Submission or None
        Its text, if it could be read.
    trouble : str
        Why not, otherwise.
    remarks : tuple of str
        What else there is to know, such as which of several files was taken.
    """

    student: str
    file: str
    submission: Submission | None = None
    trouble: str = ""
    remarks: tuple[str, ...] = ()


def find_submissions(folder: str | Path, name: str) -> tuple[list[HandedIn], list[str]]:
    """Find what each student handed in: a file in the folder, or a folder in it with one file or several.

    Parameters
    ----------
    folder : path
    name : str
        The function that is looked for: it tells which of several files to take.

    Returns
    -------
    handed_in : list of HandedIn
        By name of the student.
    left_out : list of str
        Names of other files, which nobody looked at.

    Raises
    ------
    ValueError
        If there is no such folder, or no file to grade in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "it is a file" if folder.exists() else "there is none"
        raise ValueError(
            f"expected a folder of submissions (.py or .ipynb files, or a folder for each student); "
            f"got {printable(str(folder))!r}, but {what}."
        )
    found: list[tuple[Path, HandedIn]] = []
    left_out = []
    for path in _listed(folder):
        if path.is_dir():
            found.append((path, _of_a_folder(path, folder, name)))
        elif path.suffix.lower() in SUFFIXES:
            found.append((path, _of_a_file(path, folder, name)))
        else:
            left_out.append(printable(path.name))
    if not any(one.submission or one.file for _, one in found):
        raise ValueError(
            f"there is no .py or .ipynb file in {printable(str(folder))!r}. Expected one for each student, there or in "
            "a folder of their own."
        )
    return sorted(_told_apart(found), key=lambda one: (one.student.lower(), one.student)), left_out


def _listed(folder: Path) -> list[Path]:
    """What is in a folder, without what programs leave there."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__")))


def _of_a_file(path: Path, root: Path, name: str) -> HandedIn:
    file = printable(path.relative_to(root).as_posix())
    student = printable(path.stem)
    try:
        return HandedIn(student, file, replace(Submission.read(path, name), file=file))
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return HandedIn(student, file, trouble=words)


def _of_a_folder(folder: Path, root: Path, name: str) -> HandedIn:
    """What stands in the folder of one student: of several files the one that defines the function."""
    student = printable(folder.name)
    paths = [path for path in _below(folder) if path.suffix.lower() in SUFFIXES]
    if not paths:
        return HandedIn(student, "", trouble="there is no .py or .ipynb file in the folder")
    read = [(path, _of_a_file(path, root, name)) for path in paths]

    def order(item: tuple[Path, HandedIn]) -> tuple[bool, bool, float]:
        path, one = item
        defines = one.submission is not None and one.submission.defines_it
        return not defines, one.submission is None, -path.stat().st_mtime if path.exists() else 0.0

    (path, one), *others = sorted(read, key=order)
    submission = one.submission and replace(one.submission, folder=str(path.parent.resolve()))
    remarks: tuple[str, ...] = ()
    if others:
        names = listed(sorted(printable(other.relative_to(folder).as_posix()) for other, _ in others))
        remarks = (f"Of {len(paths)} files {printable(path.relative_to(folder).as_posix())} was graded, not {names}.",)
    return HandedIn(student, one.file, submission, one.trouble, remarks)


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith((".", "__")))
        yield from (Path(place, file) for file in sorted(files) if not file.startswith("."))


def _told_apart(found: Sequence[tuple[Path, HandedIn]]) -> Iterator[HandedIn]:
    """Two students never have the same name: if they do, each gets the whole name of the file."""
    names = [one.student.lower() for _, one in found]
    taken: set[str] = set()
    for path, one in found:
        student = (one.student if names.count(one.student.lower()) == 1 else printable(path.name))[:_LONGEST_NAME]
        while student.lower() in taken:
            student += "'"
        taken.add(student.lower())
        yield replace(one, student=student)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, as in "a, b and c"; of many, the first."""
    names = [*names[:5], f"{len(names) - 5} more"] if len(names) > 6 else list(names)
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""
