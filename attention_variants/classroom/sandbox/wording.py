"""The sentences about how a submission was loaded: what is there in place of the function, what was passed over.

The process that loads it hands over codes, numbers and names; the sentences are made of them here. All other sentences
of a report stand in `attention_variants.classroom.wording`.
"""

from __future__ import annotations

from typing import Any

from .submission import listed


def what_is_there(missing: dict[str, Any], stops: list[dict[str, Any]], is_notebook: bool) -> str:
    """Say that what was looked for is not there, what there is in its place, and what went wrong before.

    Parameters
    ----------
    missing : dict
        ``kind`` (function, class or value) and ``name`` of what was looked for; ``type`` if there is something else of
        that name; ``others``, the names of that kind that there are.
    stops : list of dict
        Where it stopped while it was loaded.
    is_notebook : bool
        Whether it is in cells.

    Returns
    -------
    words : str
    """
    kind, name, others = missing["kind"], missing["name"], missing["others"]
    if missing["type"] is not None:
        return f"{name} is no {kind}: its type is {missing['type']}"
    words = f"there is no {kind} {name}; the {'notebook' if is_notebook else 'file'} defines "
    words += f"{listed(others)}. Is it renamed?" if others else f"no {kind}."
    if stops:
        where = _where(stops[0])
        words += f" {where[0].upper()}{where[1:]} {_how(stops[0])}"
    return words


def what_was_passed_over(stops: list[dict[str, Any]], is_notebook: bool) -> list[str]:
    """Say what of a submission was not run to its end.

    Parameters
    ----------
    stops : list of dict
        Where it stopped: ``cell``, a number; ``line`` or None; ``seconds`` if its time was up, ``error`` if not.
    is_notebook : bool
        Whether it is in cells.

    Returns
    -------
    remarks : list of str
    """
    if not stops:
        return []
    where, how = _where(stops[0]), _how(stops[0])
    if not is_notebook:
        return [f"The file {how}; what it had defined until then was graded."]
    if len(stops) == 1:
        return [f"{where[0].upper()}{where[1:]} was passed over: it {how}"]
    return [f"{len(stops)} cells were passed over; the first, {where}, {how}"]


def _where(stop: dict[str, Any]) -> str:
    return "the file" if stop["cell"] is None else f"cell {stop['cell']}"


def _how(stop: dict[str, Any]) -> str:
    if stop["seconds"] is not None:
        return f"did not finish within {stop['seconds']:g} seconds"
    line = "" if stop["line"] is None else f" in line {stop['line']}"
    return f"stopped{line} with {stop['error']}"
