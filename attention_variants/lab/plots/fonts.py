"""The letters of the project's pictures: those of matplotlib, which come with it, the same on every machine."""

from __future__ import annotations

import functools
from pathlib import Path

import matplotlib
from PIL import ImageFont

#: The families of words and of code, as matplotlib calls them.
WORDS, CODE = "DejaVu Sans", "DejaVu Sans Mono"

_FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
_FILES = {"Mono": "DejaVuSansMono.ttf", "Sans": "DejaVuSans.ttf", "Sans-Bold": "DejaVuSans-Bold.ttf"}


@functools.cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """The letters "Mono", "Sans" or "Sans-Bold", in a size in pixels, for Pillow."""
    return ImageFont.truetype(str(_FOLDER / _FILES[name]), size)


@functools.cache
def length(name: str, size: int, text: str) -> float:
    """How long a text is in these letters, in pixels."""
    return font(name, size).getlength(text)
