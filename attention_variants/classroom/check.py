"""Does a function keep the contract of a variant? If not: what is wrong, and which misconception does it look like?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, overload

from .check_goal import check_goal
from .contract.answer import Answer, Printed
from .contract.clauses import judge
from .contract.evidence import Evidence, Finding
from .contract.problems import Exam, check_number
from .grading_scheme import shares
from .report import Report
from .report_goal import GoalReport
from .sandbox.clock import TimeIsUp, alarm
from .sandbox.limits import MEMORY, SECONDS
from .sandbox.parent import Outcome, run_isolated
from .sandbox.restore import unharmed
from .sandbox.rules import Broken, find_broken, rules_of, watch, watched_problems
from .sandbox.run import run_all
from .sandbox.submission import Submission

if TYPE_CHECKING:
    from .misconceptions import Mistake

__all__ = ["GoalReport", "Report", "Submission", "check"]


@overload
def check(
    fn: Callable | Submission,
    variant: int,
    *,
    isolated: bool = ...,
    rules: bool = ...,
    exam: int = ...,
    seconds: float = ...,
    memory: int = ...,
) -> Report: ...
@overload
def check(
    fn: Callable | Submission,
    variant: str,
    *,
    needs: Sequence[str] = ...,
    isolated: bool = ...,
    rules: bool = ...,
    exam: int = ...,
    seconds: float = ...,
    memory: int = ...,
) -> GoalReport: ...
def check(
    fn: Callable | Submission,
    variant: int | str,
    *,
    needs: Sequence[str] = (),
    isolated: bool = False,
    rules: bool = False,
    exam: int = 0,
    seconds: float = SECONDS,
    memory: int = MEMORY,
) -> Report | GoalReport:
    """Hold a function against the contract of a variant, or against a public name, and say what is wrong in words.

    The function is asked to solve some twenty small problems. Its answers are compared with each other (rows sum to 1,
    the order of the keys does not matter, ...), with the right answers, and, where they are wrong, with those of known
    mistakes, alone and in twos. How the function is written does not count, unless ``rules`` are asked for.

    Parameters
    ----------
    fn : callable or Submission
        With the signature of the variant: ``fn(q, k, v)`` for variants 1 to 3, ``fn(q, k, v, mask)`` for
        variant 4, ``fn(q, k, v, mask, num_heads)`` for 5 and 6, and for 7 ``need_weights``, ``is_causal`` and
        ``dropout_p`` by keyword as well. It returns ``(context, weights)``. A `Submission` (a file or text, and a
        name) is always run isolated.
    variant : int or str
        1 to 7, or one that was registered; or, after the seven, a public name such as "apply_rotary" or "KVCache":
        then ``fn`` is to compute what the package's own does, values and gradients. What it does not take of the
        options, or a class does not have of the methods, is not asked, and the report says so.
    needs : sequence of str, default ()
        With a name: options or methods that must be there.
    isolated : bool, default False
        Run the function in a process of its own, which hands back arrays and nothing else: nothing that it does
        there reaches this process or its own mark.
    rules : bool, default False
        Whether the function must also do it the variant's way: variant 1 in loops, variant 7 by the fused kernel. With
        a name, whether it must do more than call the package's own.
    exam : int, default 0
        Which problems: any whole number but 0, below 2**32, asks the same with other numbers and lengths, so that
        nobody knows them.
    seconds : float, default 10
        How long it may take; a `Submission` is given the same again to load, the cells of a notebook twice that.
    memory : int, default 2 GiB
        How many bytes it may take beyond what PyTorch itself needs; held on Linux, if ``isolated``.

    Returns
    -------
    report : Report or GoalReport
        True if nothing is wrong.

    Raises
    ------
    ValueError
        If there is no such variant, name or exam, or nothing of the names in ``needs``.
    TypeError
        If ``fn`` cannot be called, ``exam`` is no whole number, or ``needs`` does not belong to what is asked.

    Examples
    --------
    >>> from attention_variants import VARIANTS
    >>> bool(check(VARIANTS[2], 2))
    True
    """
    check_number("check", exam)
    if not isinstance(fn, Submission) and not callable(fn):
        raise TypeError(f"check: fn must be a function; got {type(fn).__name__}. Pass it without calling it.")
    if isinstance(variant, str):
        options = {"isolated": isolated, "rules": rules, "exam": exam, "seconds": seconds, "memory": memory}
        return check_goal(fn, variant, needs=needs, **options)  # type: ignore[arg-type]
    if needs:
        raise TypeError("check: needs belongs to public names; a variant asks for all of its contract.")
    asked = Exam(variant, exam)
    name = fn.name if isinstance(fn, Submission) else str(getattr(fn, "__name__", type(fn).__name__))
    outcome = run_exam(fn, asked, isolated=isolated, rules=rules, seconds=seconds, memory=memory)
    report = _report(name, asked, outcome)
    return replace(report, has_no_rules=True) if rules and not rules_of(variant).rules else report


def run_exam(
    fn: Callable | Submission, exam: Exam, *, isolated: bool, rules: bool, seconds: float, memory: int
) -> Outcome:
    """Ask a function every question of an exam, in this process or in another.

    Parameters
    ----------
    fn : callable or Submission
        The function; a `Submission` is always run isolated.
    exam : Exam
        The problems.
    isolated, rules, seconds, memory
        As in `check`.

    Returns
    -------
    outcome : Outcome
        The answers, and what else happened.
    """
    if isolated or isinstance(fn, Submission):
        return run_isolated(fn, exam, rules=rules, seconds=seconds, memory=memory)
    answers, printed = run_all(fn, exam.problems, seconds)
    if not rules:
        return Outcome(answers, printed)
    counts = [{"failed": 1}, {"failed": 1}]
    with unharmed(), contextlib.suppress(TimeIsUp), alarm(seconds):
        counts = watch(fn, exam)
    return Outcome(answers, printed, counts)


def _report(name: str, exam: Exam, outcome: Outcome) -> Report:
    answers = {s.key: answer for s, answer in zip(exam.problems, outcome.answers, strict=True)}
    e = Evidence(exam, answers)
    findings, kept = judge(e)
    parts = shares(exam, kept)
    if outcome.trouble:  # there are no answers: no credit, and nothing to compare
        parts = {part: (0.0, worth) for part, (_, worth) in parts.items()}
        return Report(name, exam, parts, tuple(findings), trouble=outcome.trouble, remarks=outcome.remarks)
    return Report(
        name,
        exam,
        parts,
        tuple(findings),
        _named(e, findings),
        outcome.printed,
        _broken_rules(e, outcome.counts),
        remarks=outcome.remarks,
        prints=prints_of(exam, outcome.answers),
    )


def prints_of(exam: Exam, answers: Sequence[Answer]) -> dict[str, Printed]:
    """Collect what was printed.

    Parameters
    ----------
    exam : Exam
        What was asked.
    answers : sequence of Answer
        What was answered.

    Returns
    -------
    prints : dict
        Key of a problem to what the first call with it printed, if anything.
    """
    asked = zip(exam.problems, answers, strict=True)
    return {s.key: answer.printed for s, answer in asked if answer.printed.number}


def _named(e: Evidence, findings: Sequence[Finding]) -> tuple[Mistake, ...]:
    if not findings:
        return ()
    from .diagnosis.search import diagnose  # here: the catalogue is not needed for a function that is right

    return diagnose(e, findings)


def _broken_rules(e: Evidence, counts: list[dict[str, int]] | None) -> tuple[Broken, ...]:
    if not counts:
        return ()
    answered = [e.answer(s).error is None for s in watched_problems(e.exam)]
    return tuple(find_broken(e.exam, counts, answered))
