"""Fill a template: the little code that all sentences need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Names in a list, as in "a, b and c"; of many, how many more.
LISTS = {
    "separator": ", ",
    "and": "{names} and {last}",
    "more": "{number} more",
}

#: Of a row, so many numbers are shown.
SHOWN = 8
#: Of more names than the first number, so many are named as the second says.
MANY, NAMED = 6, 5

#: A template, or two of them: for one, and for several.
Template = str | tuple[str, str]


def say(template: Template, **fields: Any) -> str:
    """Fill a template.

    Parameters
    ----------
    template : str or tuple of two str
        With named fields; of two, the field ``number`` says which: the first is for one, the second for several.
    **fields
        What is filled in: a tuple of numbers as a row, one of truth values as a mask, one of integers as a shape.

    Returns
    -------
    sentence : str
    """
    return chosen(template, fields).format(**{name: _shown(value) for name, value in fields.items()})


def chosen(template: Template, fields: Mapping[str, Any]) -> str:
    """Choose between the template for one and that for several, if there are two."""
    if isinstance(template, str):
        return template
    return template[0] if fields["number"] == 1 else template[1]


def _shown(value: Any) -> Any:
    if not isinstance(value, tuple) or not value:
        return value
    if isinstance(value[0], bool):
        return "[" + ", ".join(map(str, value)) + "]"
    return row(value) if isinstance(value[0], float) else str(value)


def row(numbers: tuple[float, ...], digits: int = 3) -> str:
    """Print a row."""
    shown = "  ".join(f"{x:.{digits}f}" if abs(x) < 1e6 else f"{x:.1e}" for x in numbers[:SHOWN])
    return f"[{shown}{'  ...' if len(numbers) > SHOWN else ''}]"


def joined(names: Sequence[str]) -> str:
    """Names one after the other, as in "a, b, c"."""
    return LISTS["separator"].join(names)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, as in "a, b and c"; of many, the first.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    words : str
        Empty if there are none.
    """
    if len(names) > MANY:
        names = [*names[:NAMED], say(LISTS["more"], number=len(names) - NAMED)]
    if len(names) < 2:
        return "".join(names)
    return say(LISTS["and"], names=joined(names[:-1]), last=names[-1])
