"""From a code and its numbers to a sentence: which template says it, and what is filled in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from attention_variants.classroom.contract.answer import Failure, Remark
from attention_variants.classroom.contract.evidence import Breach, Finding
from attention_variants.classroom.contract.problems import Problem

from .contract import GIVEN, PROBLEMS
from .filling import joined, listed, row, say
from .findings import ERRORS, FOUND, PLACES, ROWS
from .goals import GOAL_FOUND, GOAL_ROWS, GOAL_VALUES, QUESTIONS
from .loading import NOT_LOADED, REMARKS, STOPS, UNREADABLE
from .rules import RULES

if TYPE_CHECKING:
    from attention_variants.classroom.sandbox.rules import Broken

#: Two rows that differ by less are shown with more digits.
CLOSE = 2e-3

#: Where the sentence for a code is looked for; no code stands in two of them.
_SENTENCES = (FOUND, UNREADABLE, NOT_LOADED, STOPS, REMARKS)


class Line(NamedTuple):
    """One line of what was found.

    Attributes
    ----------
    text : str
        What it says.
    is_row : bool
        Whether it is a row of numbers, to be shown in letters of one width and never broken; if not, a sentence.
    """

    text: str
    is_row: bool = False


def lines(told: Finding | Breach | Remark) -> list[Line]:
    """Say what was found, in lines: a sentence, and rows of numbers below it.

    Parameters
    ----------
    told : Finding, Breach or Remark
        A code and its numbers.

    Returns
    -------
    lines : list of Line
    """
    found = []
    for code, fields in _told(told.code, told.numbers):
        found.append(Line(say(_template(code), **fields)))
        found += [Line(say(template, **fields), is_row=True) for template in ROWS.get(code, ())]
    return [*found, *_place_in_code(told.numbers.get("where"))]


def _place_in_code(where: Mapping[str, Any] | None) -> list[Line]:
    """The line of the student's code in which an exception arose, and the shapes of the tensors that it names."""
    if not where:
        return []
    key = "line" if where["cell"] is None else "line_of_a_cell"
    key += "_alone" if where["source"] is None else ""
    found = [Line(say(PLACES[key], **where), is_row=True)]
    if where["shapes"]:
        shapes = [say(PLACES["shape"], name=name, shape=str(tuple(shape))) for name, shape in where["shapes"].items()]
        found.append(Line(say(PLACES["shapes"], shapes=joined(shapes)), is_row=True))
    return found


def sentence(told: Finding | Breach | Remark) -> str:
    """Say what was found, as `lines` does, in one piece.

    Parameters
    ----------
    told : Finding, Breach or Remark
        A code and its numbers.

    Returns
    -------
    sentence : str
    """
    return "\n".join(line.text for line in lines(told))


def failure(told: Failure) -> str:
    """Say why there is no answer.

    Parameters
    ----------
    told : Failure
        What happened.

    Returns
    -------
    sentence : str
    """
    return sentence(Remark(told.kind, told.numbers))


def raised(exception: str, message: str | None) -> str:
    """An exception as Python prints it; one with None for a message cannot be printed."""
    words = ERRORS["unprintable"] if message is None else message
    return f"{exception}: {words}" if words else exception


def rule(broken: Broken) -> str:
    """Say which rule of a variant was broken.

    Parameters
    ----------
    broken : Broken
        The rule, and how many operations were counted.

    Returns
    -------
    sentence : str
    """
    few, many = broken.numbers or (0, 0)
    in_products = f"{broken.rule}_in_products"
    key = in_products if broken.of_products and in_products in RULES else str(broken.rule)
    return say(RULES[key], few=few, many=many)


def mistake(name: str) -> str:
    """Say the name of a mistake as one says it.

    Parameters
    ----------
    name : str
        Such as "scale_by_d_k".

    Returns
    -------
    words : str
        Such as "scale by d_k".
    """
    return re.sub(r"\bd (k|v|model)\b", r"d_\1", name.replace("_", " "))


def title(s: Problem) -> str:
    """Call a problem: what comes after "with".

    Parameters
    ----------
    s : Problem
        The problem.

    Returns
    -------
    title : str
    """
    return say(PROBLEMS[s.key], T_q=s.q.shape[-2], T_k=s.k.shape[-2])


def given(s: Problem) -> str:
    """Name the inputs of a problem with their shapes.

    Parameters
    ----------
    s : Problem
        The problem.

    Returns
    -------
    given : str
    """
    parts = [f"{name} {np.shape(x)}" for name, x in (("q", s.q), ("k", s.k), ("v", s.v))]
    if s.mask is not None:
        parts.append(f"mask {s.mask.shape}")
    if s.num_heads is not None:
        parts.append(f"num_heads={s.num_heads}")
    parts += [f"{name}={value}" for name, value in s.options.items()]
    if s.dtype != "float32":
        parts.append(say(GIVEN["all_in"], dtype=s.dtype))
    return joined(parts)


def question(goal: str, key: str) -> str:
    """Call a question of a goal: what comes after "it goes wrong".

    Parameters
    ----------
    goal, key : str
        The name of the goal, and the key of the question.

    Returns
    -------
    words : str
    """
    return QUESTIONS[f"{goal}.{key}"]


def goal_finding(code: str, numbers: Mapping[str, Any]) -> list[Line]:
    """Say what was found of a goal, in lines: a sentence, the call, and rows of numbers below it.

    Parameters
    ----------
    code : str
        Of `report_goal.GoalFinding`.
    numbers : mapping
        What belongs to it.

    Returns
    -------
    lines : list of Line
    """
    fields = dict(numbers)
    key = "value" if code == "values" and not fields["at"] else code
    if "name" in fields:
        fields["name"] = GOAL_VALUES.get(fields["name"], fields["name"])
    if "names" in fields:
        fields["names"] = listed(fields["names"])
    if "at" in fields:
        fields["at"] = _place(fields["at"])
    told: list[Line] = []
    failed: Failure | None = fields.get("failure")
    if failed is not None:
        words, *told = lines(Remark(failed.kind, failed.numbers))
        fields["words"] = words.text[:1].upper() + words.text[1:]
    found = [Line(say(GOAL_FOUND[key], **fields)), *told]
    found += [Line(say(GOAL_ROWS["call"], call=call), is_row=True) for call in fields.get("calls", ())]
    if code == "values":
        found += [Line(say(GOAL_ROWS[name], **fields), is_row=True) for name in ("found", "expected")]
    return found


# -------------------------------------------------------------------------------- which template, and with what


def _template(code: str) -> str:
    for table in _SENTENCES:
        if code in table:
            return table[code]
    raise KeyError(code)


def _told(code: str, numbers: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Which templates say a code, each with its fields: some codes are said in several ways, or several times."""
    fields = dict(numbers)
    if "at" in fields:
        fields["at"] = _place(fields["at"])
    if "others" in fields:
        fields["others"] = listed(fields["others"])
    if "exception" in fields:
        fields["error"] = raised(fields["exception"], fields["message"])
    if code == "parameters":
        fields |= {name: listed(fields[name]) or "-" for name in ("missing", "unknown", "shapes")}
    if code == "no_gradient":
        return [(code, fields), (f"{code}_error", fields)]
    if code == "not_loaded":
        return [_not_loaded(fields)]
    if code == "other_dtype":
        expected = fields["expected"]
        return [(code, {"name": name, "kind": kind, "expected": expected}) for name, kind in fields["kinds"].items()]
    if code == "another_answer_of_a_head_alone":
        return [(f"{code}_{name}", {}) for name, differs in fields.items() if differs]
    if code == "other_numbers":
        return [(f"{code}_{name}", _compared(told)) for name, told in fields.items()]
    return [(code + (_WAYS[code](fields) if code in _WAYS else ""), fields)]


def _of_a_stop(numbers: Mapping[str, Any]) -> str:
    if numbers["seconds"] is not None:
        return "_time"
    return "" if numbers["line"] is None else "_line"


#: Codes that are said in several ways: what is appended to the code, by its numbers.
_WAYS: dict[str, Callable[[dict[str, Any]], str]] = {
    "signature": lambda numbers: f"_{numbers['of']}",
    "stopped": lambda numbers: "_lost" if numbers["signal"] is None else "_signal",
    "no_pair": lambda numbers: "" if numbers["length"] is None else "_of_several",
    "no_tensor": lambda numbers: "_none" if numbers["kind"] == "None" else "",
    "other_shape": lambda numbers: "_swapped" if numbers["swapped"] else "",
    "other_row_sums": lambda numbers: f"_{numbers['sums_to_one']}" if numbers["sums_to_one"] else "",
    "something_for_no_key": lambda numbers: f"_{numbers['name']}",
    "other_gradient": lambda numbers: f"_{numbers['through']}",
    **dict.fromkeys(
        ("stop_of_a_file", "stop_of_a_cell", "file_stopped", "cell_passed_over", "cells_passed_over"), _of_a_stop
    ),
}


def _not_loaded(fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What is there in place of a function or a class, and, if there is nothing, where the code stopped before."""
    if "kind" not in fields:
        return "not_loaded_error", fields
    kind = fields["kind"]
    if fields["type"] is not None:
        return f"not_loaded_{kind}_of_another_type", fields
    code = f"not_loaded_{kind}_in_{'notebook' if fields['is_notebook'] else 'file'}"
    code += "_others" if fields["others"] else ""
    stop = fields["stop"]
    if stop is None:
        return code, fields
    where = sentence(Remark("stop_of_a_file" if stop["cell"] is None else "stop_of_a_cell", stop))
    return "not_loaded_and_stop", {"missing": say(_template(code), **fields), "stop": where}


def _place(at: tuple[int, ...]) -> str:
    return "".join(f"[{i}]" for i in at)


def _compared(told: Mapping[str, Any]) -> dict[str, Any]:
    """Two rows, with more digits where they are close."""
    digits = 7 if told["largest_difference"] < CLOSE else 3
    rows = {name: row(told[name], digits) for name in ("found", "expected")}
    return {**told, **rows, "at": _place(told["at"])}
