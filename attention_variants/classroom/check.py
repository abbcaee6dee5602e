"""Does a function keep the contract of a variant? If not: what is wrong, and which misconception does it look like?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from attention_variants.variants import get_variant

from .contract.clauses import Evidence, judge
from .contract.problems import situations
from .report import Report
from .sandbox.parent import Submission, run_isolated
from .sandbox.run import Answer, alarm, run_all, unharmed

__all__ = ["Report", "Submission", "check"]


def check(
    fn: Callable | Submission,
    variant: int,
    *,
    isolated: bool = False,
    rules: bool = False,
    paper: int = 0,
    seconds: float = 10.0,
    memory: int = 2 * 1024**3,
) -> Report:
    """Hold a function against the contract of a variant, and say what is wrong in words.

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
    variant : int
        1 to 7.
    isolated : bool, default False
        Run the function in a process of its own, which hands back arrays and nothing else: nothing that it does
        there reaches this process or its own mark.
    rules : bool, default False
        Whether the function must also do it the variant's way: variant 1 in loops, variant 7 by the fused kernel.
    paper : int, default 0
        Which problems: any number but 0 asks the same with other numbers and lengths, as an exam does.
    seconds : float, default 10
        How long it may take; a `Submission` is given the same again to load, the cells of a notebook twice that.
    memory : int, default 2 GiB
        How many bytes it may take beyond what PyTorch itself needs; held on Linux, if ``isolated``.

    Returns
    -------
    report : Report
        True if nothing is wrong.

    Raises
    ------
    ValueError
        If there is no such variant.
    TypeError
        If ``fn`` cannot be called.

    Examples
    --------
    >>> from attention_variants import VARIANTS
    >>> bool(check(VARIANTS[2], 2))
    True
    """
    get_variant(variant)
    if not isinstance(fn, Submission) and not callable(fn):
        raise TypeError(f"check: fn must be a function; got {type(fn).__name__}. Pass it without calling it.")
    name = fn.name if isinstance(fn, Submission) else str(getattr(fn, "__name__", type(fn).__name__))
    if isolated or isinstance(fn, Submission):
        outcome = run_isolated(fn, variant, paper=paper, rules=rules, seconds=seconds, memory=memory)
        report = _report(name, variant, paper, outcome.answers, outcome.printed, outcome.counts, outcome.trouble)
        return replace(report, remarks=outcome.remarks)
    answers, printed = run_all(fn, situations(variant, paper), seconds)
    counts = None
    if rules:
        from .sandbox.rules import watch

        with unharmed(), alarm(seconds):
            counts = watch(fn, variant)
    return _report(name, variant, paper, answers, printed, counts)


def _report(
    name: str,
    variant: int,
    paper: int,
    answers: list[Answer],
    printed: int,
    counts: list[dict[str, int]] | None,
    trouble: str = "",
) -> Report:
    from .diagnosis.search import diagnose  # here: the catalogue is not needed for a function that is right
    from .sandbox.rules import broken_rules, watched_problems

    questions = situations(variant, paper)
    e = Evidence(variant, {s.title: answer for s, answer in zip(questions, answers, strict=True)}, paper)
    findings, parts = judge(e)
    if trouble:  # there are no answers: no credit, and nothing to compare
        parts = {part: (0.0, worth) for part, (_, worth) in parts.items()}
        return Report(name, variant, parts, tuple(findings), trouble=trouble, paper=paper)
    named = diagnose(e, findings) if findings else ()
    answered = [answers[i].error is None for i in watched_problems(variant)] if counts else []
    rules = tuple(broken_rules(variant, counts, answered)) if counts else ()
    return Report(name, variant, parts, tuple(findings), named, printed, rules, paper)
