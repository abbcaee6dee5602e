"""Candidates, and how well they explain what a function gave.

A candidate is a mistake of the catalogue, run on the same problems, or one slip or two, computed with the knobs turned.
It explains what it gives in the same way, number by number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from attention_variants.classroom.contract.answer import Answer, is_dtype_unsupported, is_written_into_after_use
from attention_variants.classroom.contract.clauses import (
    dropout_drops,
    dtype_is_kept,
    gradients_are_right,
    gradients_flow,
    inputs_stay,
    two_calls_agree,
)
from attention_variants.classroom.contract.evidence import Breach, Evidence, Missing, unequal
from attention_variants.classroom.contract.problems import Exam, Problem
from attention_variants.classroom.contract.reference import differs, same_gradient, same_numbers
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, Mistake, with_code
from attention_variants.classroom.sandbox.run import ask
from attention_variants.variants import describe_variant

from .knobs import turned
from .slips import Slip, slips_of

#: What can be a candidate.
What = Mistake | tuple[Slip, ...]

#: How much it says that both give the same numbers, the same context beside weights of a wrong shape, or no answer.
_IN_NUMBERS, IN_CONTEXT, _IN_FAILING = 1.0, 0.5, 0.25
#: What it takes off where a candidate does wrong and the function does not: more than any one problem can say for it.
_WHERE_IT_IS_RIGHT = 2.0
#: What each slip after the first takes off: less than the numbers of one problem more, which it must explain.
_ANOTHER_SLIP = 0.75
#: A rank that every candidate beats.
_NO_RANK = -99.0


class Candidate:
    """A mistake or a set of slips, how well it fits where the answers are wrong, and where it would do wrong itself."""

    def __init__(self, what: What, fits: dict[str, float], false: int) -> None:
        self.what, self.fits, self.false = what, fits, false

    def left(self, wrong: Iterable[Problem]) -> list[Problem]:
        """The problems that it does not explain."""
        return [s for s in wrong if not self.fits[s.key]]

    @property
    def in_numbers(self) -> bool:
        """Whether it gives the same numbers anywhere; that both fail says little."""
        return any(fit >= IN_CONTEXT for fit in self.fits.values())

    @property
    def rank(self) -> tuple[float, ...]:
        """The more it explains with the fewer slips the better; then the catalogue before slips.

        Two slips may cancel in part, so that other two give the same: those that compute come before one that shows.
        """
        slips = () if isinstance(self.what, Mistake) else self.what
        shown = sum(slip.knob == "shown" for slip in slips)
        taken_off = _WHERE_IT_IS_RIGHT * self.false + _ANOTHER_SLIP * max(len(slips) - 1, 0)
        return sum(self.fits.values()) - taken_off, -len(slips), -shown


def weigh(e: Evidence, wrong: Sequence[Problem], what: What, to_beat: float = _NO_RANK) -> Candidate:
    """See what a candidate explains, and what it would do that the function does not, as long as it can be the best."""
    candidate = Candidate(what, {s.key: _fit(e, s, what) for s in wrong}, 0)
    others = [s for s in e.problems if s not in wrong and s.dtype != "float16" and (s.twice or not e.random)]
    for s in sorted(others, key=lambda s: s.twice + s.gradient):
        if candidate.rank[0] < to_beat:
            break
        candidate.false += _is_wrong(s, what)
    return candidate


def plausible(e: Evidence, wrong: Sequence[Problem]) -> list[Slip]:
    """Slips that show nowhere but where the answers are wrong."""
    right_ones = [s for s in e.problems if s not in wrong]
    return [slip for slip in slips_of(e.exam.takes) if not any(shows(s, (slip,)) for s in right_ones)]


# --------------------------------------------------------------------------------------------- what is wrong where


def wrong_in(e: Evidence, s: Problem) -> bool:
    """Whether anything is wrong with the answer to a problem."""
    checks: list[Callable[[Evidence, Problem], Breach | None]] = [dropout_drops] if s.random else [inputs_stay]
    if s.dtype != "float32" or s.key == "square":
        checks.append(dtype_is_kept)
    if s.twice:
        checks.append(two_calls_agree)
    if s.gradient and not s.large:
        checks += [gradients_flow, gradients_are_right]
    try:
        return (not s.random and differs(s, e.pair(s))) or any(check(e, s) for check in checks)
    except Missing:
        return not (s.dtype == "float16" and is_dtype_unsupported(e.answer(s).error))


def has_numbers(e: Evidence, s: Problem) -> bool:
    """Whether there are numbers to compare: a pair of the right shapes, or at least such a context."""
    try:
        e.pair(s)
    except Missing:
        return has_context(e, s)
    return True


def has_context(e: Evidence, s: Problem) -> bool:
    """Whether the context is of the right shape, whatever came beside it."""
    x = e.answer(s).context
    return x is not None and x.shape == s.context_shape and not s.random


def context_is_right(e: Evidence, s: Problem) -> bool:
    """Whether the context is the right one, whatever came beside it."""
    context = e.answer(s).context
    return context is not None and has_context(e, s) and not differs(s, (context, None))


# ------------------------------------------------------------------------------------------ what explains what


def explains(e: Evidence, s: Problem, what: What) -> bool:
    """Whether this, being wrong itself here, gives what the function gives."""
    return _fit(e, s, what) > 0


def _fit(e: Evidence, s: Problem, what: What) -> float:
    """How much of what the function gives this gives too, being wrong itself here."""
    if isinstance(what, Mistake):
        if not e.random and _differs_at_once(e, s, what):
            return 0.0
        other = _answer(what, s)
        fit = 0.0 if other is None else _fit_of(e, s, other)
        return fit if fit and _is_wrong(s, what) else 0.0  # the comparison is the quicker of the two
    if s.random:
        return 0.0
    found = e.answer(s)
    try:
        context, weights = e.pair(s)
    except Missing:
        if found.error is None and not has_context(e, s):
            return 0.0
        outcome = turned(s, what)
        if outcome is None:
            return _IN_FAILING * (found.error is not None)
        return IN_CONTEXT if _same_context(e, s, outcome[0]) else 0.0
    if s.dtype == "float16":
        return float(shows(s, what))  # too few digits to compare
    outcome = turned(s, what)
    if outcome is None or not same_numbers(s, context, outcome[0]):
        return 0.0
    return float((weights is None or same_numbers(s, weights, outcome[1])) and shows(s, what))


def _fit_of(e: Evidence, s: Problem, other: Answer) -> float:
    """How much of what the function gives another one gave too."""
    if _same_answer(e, s, other):
        return _IN_FAILING if other.error else _IN_NUMBERS
    return IN_CONTEXT if other.context is not None and _same_context(e, s, other.context) else 0.0


def _differs_at_once(e: Evidence, s: Problem, mistake: Mistake) -> bool:
    """Whether a single call without gradients, which is quick, already tells the two apart."""
    if not (s.twice or s.gradient):
        return False
    found, other = e.answer(s).context, _answer(mistake, _single_call(s))
    if found is None or other is None or other.context is None:
        return False
    return not same_numbers(s, found, other.context)


@lru_cache(maxsize=256)
def _single_call(s: Problem) -> Problem:
    return replace(s, twice=False, gradient=False)


def _same_context(e: Evidence, s: Problem, context: np.ndarray) -> bool:
    """Whether the context alone is the same, and wrong, where the weights cannot be compared."""
    try:
        e.pair(s)
    except Missing:
        found = e.answer(s).context
        if found is None or not has_context(e, s) or s.dtype == "float16" or not same_numbers(s, found, context):
            return False
        return differs(s, (found, None))
    return False


def _is_wrong(s: Problem, what: What) -> bool:
    return _mistake_shows(what.name, s) if isinstance(what, Mistake) else shows(s, what)


@lru_cache(maxsize=20_000)
def shows(s: Problem, slips: tuple[Slip, ...]) -> bool:
    """Whether slips change the answer to a problem."""
    outcome = turned(s, slips)
    if outcome is None:
        return True
    return differs(s, outcome if s.asks_for_weights else (outcome[0], None))


@lru_cache(maxsize=4096)
def _answer_of(name: str, s: Problem) -> Answer | None:
    function = function_of(MISCONCEPTIONS[name], s.exam)
    if function is None:
        return None
    return ask(function, s)


def _answer(mistake: Mistake, s: Problem) -> Answer | None:
    return _answer_of(mistake.name, s)


@lru_cache(maxsize=4096)
def _mistake_shows(name: str, s: Problem) -> bool:
    answer = _answer_of(name, s)
    return answer is not None and wrong_in(Evidence(s.exam, {s.key: answer}), s)


def weights_of(candidate: Candidate, s: Problem) -> np.ndarray | None:
    """The weights that a candidate gives, if they have the right shape."""
    if isinstance(candidate.what, Mistake):
        answer = _answer(candidate.what, s)
        weights = None if answer is None else answer.weights
        return None if weights is None or weights.shape != s.weights_shape else weights
    outcome = turned(s, candidate.what)
    return None if outcome is None else outcome[1]


def _same_answer(e: Evidence, s: Problem, other: Answer) -> bool:
    found = e.answer(s)
    if found.error or other.error:
        return bool(found.error and other.error)
    if found.returned or other.returned or found.kinds != other.kinds:
        return found.returned is not None and (found.returned, found.length) == (other.returned, other.length)
    if s.random:
        return _breach(s, found) == _breach(s, other)
    random = unequal(found) & unequal(other)
    for name in ("context", "weights"):
        x, y = getattr(found, name), getattr(other, name)
        if x is not None and y is not None and name not in random and not same_numbers(s, x, y):
            return False
    if _changed(s, found) != _changed(s, other):
        return False
    return bool(random) or _same_gradients(found, other)


def _same_gradients(found: Answer, other: Answer) -> bool:
    if found.no_gradient or other.no_gradient:
        in_place = [is_written_into_after_use(answer.no_gradient) for answer in (found, other)]
        return bool(found.no_gradient and other.no_gradient) and in_place[0] == in_place[1]
    if found.gradients.keys() != other.gradients.keys():
        return False
    return all(same_gradient(x, other.gradients[name]) for name, x in found.gradients.items())


def _breach(s: Problem, answer: Answer) -> tuple[str, dict[str, Any]] | None:
    """What a random answer has wrong, without the numbers that differ from call to call."""
    try:
        breach = dropout_drops(Evidence(s.exam, {s.key: answer}), s)
    except Missing as missing:
        breach = missing.breach
    if breach is None:
        return None
    numbers = {name: value for name, value in breach.numbers.items() if name != "ratio"}
    return breach.code, numbers | ({"share": round(numbers["share"], 2)} if "share" in numbers else {})


def _changed(s: Problem, answer: Answer) -> set[str]:
    before: dict[str, Any] = {"q": s.q, "k": s.k, "v": s.v, "mask": s.mask}
    return {name for name, x in answer.after.items() if not np.array_equal(x, before[name])}


# ------------------------------------------------------------------------------------ the catalogue and the slips


def function_of(mistake: Mistake, exam: Exam) -> Callable | None:
    """The wrong implementation for an exam; one of another variant stands in where it is called in the same way."""
    stand_in = _stand_in(mistake, exam)
    return None if stand_in is None else mistake.functions[stand_in]


def _stand_in(mistake: Mistake, exam: Exam) -> int | None:
    """The variant whose function serves, without making the function."""
    if exam.variant in mistake.variants:
        return exam.variant
    return next((n for n in mistake.variants if _is_called_alike(describe_variant(n).takes, exam.takes)), None)


#: What is passed in a variant's place, and what by keyword.
_IN_PLACE, _BY_KEYWORD = {"mask", "heads"}, {"dropout", "is_causal", "need_weights"}


def _is_called_alike(other: Iterable[str], takes: Iterable[str]) -> bool:
    """Whether what has the signature of the other can be called as this is: no keyword, or all that it needs."""
    other, takes = set(other), set(takes)
    if other & _IN_PLACE != takes & _IN_PLACE:
        return False
    return bool(other & _BY_KEYWORD) == bool(takes & _BY_KEYWORD) and takes & _BY_KEYWORD <= other


@lru_cache
def catalogue(exam: Exam) -> tuple[Mistake, ...]:
    """Entries that can occur here, those made for this variant first."""
    here = [m for m in with_code().values() if _stand_in(m, exam) is not None]
    return tuple(sorted(here, key=lambda m: exam.variant not in m.variants))


@lru_cache(maxsize=1024)
def _entry_of(exam: Exam, slip: Slip) -> str | None:
    """The name of the catalogue's entry with code that does the same as a slip: its words are preferred."""
    if slip.mistake.variants:
        return slip.name
    for mistake in catalogue(exam):
        if _is_the_same(exam, mistake, (slip,)):
            return mistake.name
    return None


def _is_the_same(exam: Exam, mistake: Mistake, slips: tuple[Slip, ...]) -> bool:
    """Whether an entry and a slip show in the same problems, and there give the same."""
    telling = _where_it_shows(exam, slips)
    return (
        telling is not None
        and _both(telling, mistake, slips)
        and all(_both(s, mistake, slips) for s in _comparable(exam))
    )


@lru_cache
def _comparable(exam: Exam) -> tuple[Problem, ...]:
    """Problems in which an entry and slips can be compared, those first that are answered with a single call."""
    chosen = (s for s in exam.problems if not s.random and not s.large and s.dtype == "float32")
    return tuple(sorted(chosen, key=lambda s: s.twice + s.gradient))


@lru_cache(maxsize=1024)
def _where_it_shows(exam: Exam, slips: tuple[Slip, ...]) -> Problem | None:
    """The first problem in which slips give wrong numbers: there, most entries differ from them at once."""
    showing = (s for s in _comparable(exam) if turned(s, slips) is not None and shows(s, slips))
    return next(showing, None)


def _both(s: Problem, mistake: Mistake, slips: tuple[Slip, ...]) -> bool:
    answer = _answer(mistake, s)
    if answer is None:
        return False
    if not explains(Evidence(s.exam, {s.key: answer}), s, slips):
        return not shows(s, slips) and not _mistake_shows(mistake.name, s)
    return True


@lru_cache(maxsize=1024)
def _as_slips(exam: Exam, name: str) -> tuple[Slip, ...]:
    alike = [slip for slip in slips_of(exam.takes) if slip.name == name]
    others = (slip for slip in slips_of(exam.takes) if slip.name != name)  # only where no slip is called the same
    for slip in alike or others:
        if _is_the_same(exam, MISCONCEPTIONS[name], (slip,)):
            return (slip,)
    return tuple(alike[:1])


def as_slips(exam: Exam, mistake: Mistake) -> tuple[Slip, ...]:
    """The slip that does the same as an entry of the catalogue, so that it can be combined with another."""
    return _as_slips(exam.default, mistake.name)


def words(exam: Exam, what: What) -> tuple[Mistake, ...]:
    """The mistakes that a candidate is called."""
    if isinstance(what, Mistake):
        return (what,)
    named = []
    for slip in what:
        entry = _entry_of(exam.default, slip)
        named.append(slip.mistake if entry is None else MISCONCEPTIONS[entry])
    return tuple({one.name: one for one in named}.values())
