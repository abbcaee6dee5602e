"""Whether what was handed in leaves the work to the package: does the code of the right one run while it is asked?"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any


@contextmanager
def watching(right: Any) -> Iterator[Counter[str]]:
    """Count the calls of a function, or of the methods of a class, whoever makes them and under whatever name.

    Parameters
    ----------
    right : function or class
        The package's own; that an instance is made of it, or derived from it, does no harm.

    Yields
    ------
    counts : Counter
        "library": how often its code ran, as `watch.watched` has it for the variants.
    """
    codes, counts = set(_codes(right)), Counter[str]()

    def notice(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code in codes:
            counts["library"] += 1

    before = sys.getprofile()
    sys.setprofile(notice)
    try:
        yield counts
    finally:
        sys.setprofile(before)


def _codes(right: Any) -> Iterator[CodeType]:
    things = [x for name, x in vars(right).items() if name != "__init__"] if isinstance(right, type) else [right]
    for thing in things:
        function = thing.fget if isinstance(thing, property) else thing
        if inspect.isfunction(function):
            yield inspect.unwrap(function).__code__
