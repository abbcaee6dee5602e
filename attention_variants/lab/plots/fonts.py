"""The letters of the project's pictures, of plots and of animations: which they are is decided here and nowhere else.

They are those that come with matplotlib, the same on every machine: Latin, Greek, Cyrillic, Arabic and mathematical
signs. A script that they lack gets its letters here, in `face`, which sees the text that is to be drawn; all that draws
or measures a text hands it over.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from PIL import ImageFont

_FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@dataclass(frozen=True)
class Face:
    """Some letters: what matplotlib calls their family, and the file in which Pillow finds them."""

    family: str
    file: Path


_FACES = {
    "Mono": Face("DejaVu Sans Mono", _FOLDER / "DejaVuSansMono.ttf"),
    "Sans": Face("DejaVu Sans", _FOLDER / "DejaVuSans.ttf"),
    "Sans-Bold": Face("DejaVu Sans", _FOLDER / "DejaVuSans-Bold.ttf"),
}

#: The families of words and of code, as matplotlib calls them.
WORDS, CODE = _FACES["Sans"].family, _FACES["Mono"].family


def face(name: str, text: str = "") -> Face:
    """Choose the letters in which a text is drawn.

    Parameters
    ----------
    name : {"Sans", "Sans-Bold", "Mono"}
        For words, for words in bold type, for code.
    text : str, optional
        What is to be drawn. So far all scripts get the same letters.

    Returns
    -------
    face : Face
    """
    return _FACES[name]


def family_of(texts: Iterable[str]) -> str | None:
    """The family in which matplotlib writes labels; None is the one that the reader has set, which so far all get."""
    return None


def font(name: str, size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """The letters of `face` for a text, in a size in pixels, for Pillow."""
    return _open(face(name, text).file, size)


@functools.cache
def _open(file: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(file), size)


@functools.cache
def length(name: str, size: int, text: str) -> float:
    """How long a text is in these letters, in pixels."""
    return font(name, size, text).getlength(text)
