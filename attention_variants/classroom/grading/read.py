"""A folder of what students handed in: who handed in what, and which of several files is graded.

The files are read as text; nothing in them is run here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attention_variants.classroom.contract.answer import Remark
from attention_variants.classroom.sandbox.limits import LONGEST_STUDENT
from attention_variants.classroom.sandbox.submission import NoFileError, Submission, UnreadableError, printable

#: The files that are looked for.
SUFFIXES = (".py", ".ipynb")


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
    trouble : Remark or None
        Why not, otherwise.
    remarks : tuple of Remark
        What else there is to know, such as which of several files was taken.
    """

    student: str
    file: str
    submission: Submission | None = None
    trouble: Remark | None = None
    remarks: tuple[Remark, ...] = ()


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
    except (NoFileError, UnreadableError) as error:
        return HandedIn(student, file, trouble=error.remark)
    except OSError as error:  # in the system's own words
        return HandedIn(student, file, trouble=Remark("cannot_be_opened", {"error": error.strerror or str(error)}))


def _of_a_folder(folder: Path, root: Path, name: str) -> HandedIn:
    """What stands in the folder of one student: of several files the one that defines the function."""
    student = printable(folder.name)
    paths = [path for path in _below(folder) if path.suffix.lower() in SUFFIXES]
    if not paths:
        return HandedIn(student, "", trouble=Remark("no_file_in_the_folder"))
    read = [(path, _of_a_file(path, root, name)) for path in paths]

    def order(item: tuple[Path, HandedIn]) -> tuple[bool, bool, float]:
        path, one = item
        defines = one.submission is not None and one.submission.defines_it
        return not defines, one.submission is None, -path.stat().st_mtime if path.exists() else 0.0

    (path, one), *others = sorted(read, key=order)
    submission = one.submission and replace(one.submission, folder=str(path.parent.resolve()))
    remarks: tuple[Remark, ...] = ()
    if others:
        taken, *not_taken = (printable(x.relative_to(folder).as_posix()) for x, _ in ((path, one), *others))
        numbers = {"count": len(paths), "file": taken, "others": tuple(sorted(not_taken))}
        remarks = (Remark("one_of_several_files", numbers),)
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
        student = (one.student if names.count(one.student.lower()) == 1 else printable(path.name))[:LONGEST_STUDENT]
        while student.lower() in taken:
            student += "'"
        taken.add(student.lower())
        yield replace(one, student=student)
