"""Does a function or a class compute what a public name of the package does? If not: what is wrong, and how so?

The same questions (`goals`) are put to it, to the package's own, and, where they differ, to the known mistakes; what
came back is compared, values and gradients. A mistake is named if it gives the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .contract.answer import Failure
from .contract.evidence import first_row, row
from .contract.noted import AFTER, GRADIENT, Noted
from .goals import GOALS, Goal, Question
from .report_goal import GoalFinding, GoalReport
from .sandbox.notes import ask_goal
from .sandbox.parent import ask_goal_isolated
from .sandbox.ready_made import watching
from .sandbox.submission import Submission

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .misconceptions import Mistake

__all__ = ["check_goal"]


def check_goal(
    mine: Callable | Submission,
    goal: str,
    *,
    needs: Sequence[str] = (),
    isolated: bool = False,
    rules: bool = False,
    exam: int = 0,
    seconds: float,
    memory: int,
) -> GoalReport:
    """Hold a function or a class against a public name of the package; `check` calls it.

    Parameters
    ----------
    mine, goal, needs, isolated, rules, exam, seconds, memory
        As `check` takes them.

    Returns
    -------
    report : GoalReport
    """
    if goal not in GOALS:
        raise ValueError(f"check: goal must be a number of a variant or one of {', '.join(GOALS)}; got {goal!r}.")
    asked = GOALS[goal]
    if unknown := [name for name in needs if name not in asked.optional]:
        names = ", ".join(asked.optional)
        raise ValueError(f"check: needs may name what can be left out of {goal}: {names}; got {unknown[0]!r}.")
    name = mine.name if isinstance(mine, Submission) else str(getattr(mine, "__name__", type(mine).__name__))
    if isolated or isinstance(mine, Submission):
        outcome = ask_goal_isolated(mine, asked, exam, rules=rules, seconds=seconds, memory=memory)
        noted, lacks, printed = outcome.answers, outcome.lacks, outcome.printed
        report = GoalReport(name, goal, printed=printed, trouble=outcome.trouble, remarks=outcome.remarks)
        counts = (outcome.counts or [{}])[0]
    else:
        with watching(asked.right) if rules else nullcontext(Counter[str]()) as counts:
            noted, lacks, printed = ask_goal(mine, asked, exam, seconds)
        report = GoalReport(name, goal, printed=printed)
    report = replace(report, ready_made=bool(counts.get("library")))
    left_out = set(lacks) - set(needs)
    report = replace(report, lacks=tuple(name for name in lacks if name in left_out))
    put = [question for question in asked.questions if not left_out & set(question.asks_for)]
    report = replace(report, asked=tuple(question.key for question in put))
    if report.trouble is not None:
        return report
    expected = _right(goal, exam)
    came = {question.key: one for question, one in zip(asked.questions, noted, strict=True)}
    findings = []
    for question in put:
        if missing := [name for name in question.asks_for if name in lacks]:
            findings.append(GoalFinding("missing", question.key, {"names": missing}))
        elif found := _compare(came[question.key], expected[question.key], question):
            findings.append(found)
    answered = [question for question in put if not set(question.asks_for) & set(lacks)]
    named = _named(asked, exam, answered, came, expected) if findings and seconds else ()
    return replace(report, findings=tuple(findings), misconceptions=named)


@lru_cache(maxsize=64)
def _right(goal: str, exam: int) -> dict[str, Noted]:
    """What the package's own gives."""
    return _asked(GOALS[goal].right, GOALS[goal], exam)


def _asked(function: Any, goal: Goal, exam: int) -> dict[str, Noted]:
    noted, _, _ = ask_goal(function, goal, exam, _LONG)
    return {question.key: one for question, one in zip(goal.questions, noted, strict=True)}


#: In seconds: what is our own is not slow.
_LONG = 60.0


# ------------------------------------------------------------------------------------------------- what is wrong


def _compare(found: Noted, expected: Noted, question: Question) -> GoalFinding | None:
    """The first thing that differs in one question."""
    for name in expected.kinds:
        if name not in found.kinds:
            return _not_reached(found, expected, question)
        wrong = _differs(found, expected, name, question.tolerance)
        if wrong is not None:
            numbers = {"name": _plain(name), "calls": expected.calls[: expected.after_call[name]]}
            return GoalFinding(wrong, question.key, numbers | _numbers(wrong, found, expected, name, question))
    return None if found.error is None else _not_reached(found, expected, question)


def _not_reached(found: Noted, expected: Noted, question: Question) -> GoalFinding:
    """Why an answer ends before the right one does."""
    if found.error is not None:
        return GoalFinding(
            "failed", question.key, {"failure": found.error, "calls": expected.calls[: len(found.calls)]}
        )
    if "returned" in found.kinds:
        after = found.after_call["returned"]
        names = [name for name, number in expected.after_call.items() if number == after]
        names = [_plain(name) for name in names if not name.startswith((AFTER, GRADIENT))]
        numbers = {"found": found.kinds["returned"], "names": names, "calls": expected.calls[:after]}
        return GoalFinding("other_return", question.key, numbers)
    return GoalFinding("failed", question.key, {"failure": Failure("ended"), "calls": ()})  # another process lost it


def _numbers(wrong: str, found: Noted, expected: Noted, name: str, question: Question) -> dict[str, Any]:
    """What there is to say of a value that is wrong."""
    if wrong in ("returned", "dtype"):
        return {"found": found.kinds[name], "expected": expected.kinds[name]}
    if wrong == "shape":
        return {"found": found.values[name].shape, "expected": expected.values[name].shape}
    if wrong == "values":
        return _rows(found.values[name], expected.values[name], question)
    return {}


def _plain(name: str) -> str:
    """What a value is called in a sentence: without the number of the call that it came from."""
    return re.sub(r"( \d+)+$", "", name.removeprefix(AFTER).removeprefix(GRADIENT))


def _differs(found: Noted, expected: Noted, name: str, tolerance: float) -> str | None:
    """What is wrong with one value."""
    x, y = found.values.get(name), expected.values.get(name)
    if name.startswith(GRADIENT):
        return "gradients" if _far(x, y, tolerance) else None
    if name.startswith(AFTER):
        return "inputs" if _far(x, y, 0.0) else None
    kinds = found.kinds[name], expected.kinds[name]
    if (x is None) != (y is None) or (y is None and kinds[0] != kinds[1]):
        return "returned"
    if x is None or y is None:
        return None
    if _family(kinds[0]) != _family(kinds[1]):
        return "dtype"
    if x.shape != y.shape:
        return "shape"
    return "values" if _far(x, y, tolerance) else None


def _family(kind: str) -> str:
    """Whole numbers are one kind, whatever their width."""
    return "int" if "int" in kind else kind


def _far(x: np.ndarray | None, y: np.ndarray | None, tolerance: float) -> bool:
    if x is None or y is None:
        return (x is None) != (y is None)
    return x.shape != y.shape or bool(_wrong(x, y, tolerance).any())


def _wrong(x: np.ndarray, y: np.ndarray, tolerance: float) -> np.ndarray:
    """Of each number whether it is wrong: beside the largest that is expected."""
    finite = np.abs(y[np.isfinite(y)])
    bound = tolerance * max(1.0, float(finite.max())) if finite.size else tolerance
    with np.errstate(invalid="ignore"):
        wrong: np.ndarray = ~((np.abs(x - y) <= bound) | (x == y) | (np.isnan(x) & np.isnan(y)))
    return wrong


def _rows(x: np.ndarray, y: np.ndarray, question: Question) -> dict[str, Any]:
    wrong = _wrong(x, y, question.tolerance)
    count = {"wrong": int(wrong.sum()), "of": int(wrong.size)}
    if not wrong.ndim:
        return count | {"found": (float(x),), "expected": (float(y),), "at": ()}
    at = first_row(wrong)
    return count | {"found": row(x[at]), "expected": row(y[at]), "at": at}


# ------------------------------------------------------------------------------------------------- its name


@lru_cache(maxsize=64)
def _given(goal: str, exam: int) -> tuple[tuple[Mistake, dict[str, Noted], frozenset[str]], ...]:
    """Every known mistake, what it gives, and the keys of the questions in which it shows."""
    from .misconceptions import of_goal  # here: the catalogue is not needed for what is right

    expected, asked = _right(goal, exam), []
    for mistake in of_goal(goal).values():
        for form in mistake.forms(goal):
            given = _asked(form, GOALS[goal], exam)
            shows = (q.key for q in GOALS[goal].questions if not _same(given[q.key], expected[q.key], q))
            asked.append((mistake, given, frozenset(shows)))
    return tuple(asked)


def _named(
    goal: Goal, exam: int, questions: Sequence[Question], came: Mapping[str, Noted], expected: Mapping[str, Noted]
) -> tuple[Mistake, ...]:
    """The mistakes that give the same: one that does in all questions, or two that do each in some."""
    wrong = {q.key for q in questions if not _same(came[q.key], expected[q.key], q)}
    partly: list[tuple[set[str], Mistake]] = []
    for mistake, given, all_shows in _given(goal.name, exam):
        shows = all_shows & came.keys() & {q.key for q in questions}
        same = {q.key for q in questions if q.key in shows and _alike(came[q.key], given[q.key], expected[q.key], q)}
        tells = {key for key in same if _tells(came[key], given[key], expected[key])}
        if not shows <= wrong or not tells:
            continue
        if shows == same == wrong:
            return (mistake,)
        partly.append((tells, mistake))
    named: list[Mistake] = []
    for tells, mistake in sorted(partly, key=lambda one: -len(one[0])):
        rivals = [other for also, other in partly if other is not mistake and len(also) == len(tells) and also & tells]
        if rivals or len(named) == 2 or not tells <= wrong:
            continue
        named += [] if mistake in named else [mistake]
        wrong -= tells
    return tuple(named)


def _same(x: Noted, y: Noted, question: Question) -> bool:
    """Whether two gave the same in one question, up to where they failed."""
    if (x.error is None) != (y.error is None) or x.kinds.keys() != y.kinds.keys():
        return False
    return all(_differs(x, y, name, question.tolerance) is None for name in y.kinds)


def _alike(found: Noted, given: Noted, expected: Noted, question: Question) -> bool:
    """Whether an answer is that of a mistake.

    Gradients count only where they alone are wrong: the same wrong numbers can be computed in ways through which other
    gradients flow.
    """
    returned = [name for name in given.kinds if not name.startswith(GRADIENT)]
    if all(name in expected.kinds and _differs(given, expected, name, question.tolerance) is None for name in returned):
        return _same(found, given, question)
    return _same(_without_gradients(found), _without_gradients(given), question)


def _without_gradients(noted: Noted) -> Noted:
    return replace(noted, kinds={name: kind for name, kind in noted.kinds.items() if not name.startswith(GRADIENT)})


def _tells(found: Noted, given: Noted, expected: Noted) -> bool:
    """Whether an answer tells a mistake: it has its numbers, or fails in the very same way."""
    if not _only_failed(given, expected):
        return True
    x, y = found.error, given.error
    return x is not None and y is not None and x.exception == y.exception and _sizes(x) == _sizes(y)


def _sizes(failure: Failure) -> list[str]:
    """The sizes that do not fit, as PyTorch names them, in whichever order: two, and the axis."""
    return sorted(re.findall(r"\d+", failure.message or "")[:3]) or [failure.message or ""]


def _only_failed(given: Noted, expected: Noted) -> bool:
    """Whether all that is wrong is that it failed: others fail there too."""
    return (
        given.error is not None
        and given.kinds.keys() <= expected.kinds.keys()
        and not any(_differs(given, expected, name, 1e-5) for name in given.kinds)
    )
