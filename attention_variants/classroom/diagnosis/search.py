"""Which misconception do the answers look like?

A candidate is a mistake of the catalogue, run on the same problems, or one or two slips of the `family`. It explains
what it gives in the same way, number by number. The one that explains the most is named, then the one that explains
the most of what is left. Where none does, the promises that were broken say what they can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from attention_variants.classroom.contract.clauses import (
    Evidence,
    Finding,
    Missing,
    differences,
    differs,
    dropout_drops,
    dtype_is_kept,
    gradients_are_right,
    gradients_flow,
    inputs_stay,
    judge,
    two_calls_agree,
    unequal,
)
from attention_variants.classroom.contract.problems import Situation, situations
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, Mistake, with_code
from attention_variants.classroom.sandbox.run import Answer, ask, unharmed
from attention_variants.variants import describe_variant

from . import knobs as family
from .knobs import right, right_gradients
from .slips import SLIPS, Slip, slips_of


def diagnose(e: Evidence, findings: Sequence[Finding]) -> tuple[Mistake, ...]:
    """Name the mistakes, one or two, the most telling first.

    Parameters
    ----------
    e : Evidence
        The answers.
    findings : sequence of Finding
        The promises that were not kept.

    Returns
    -------
    named : tuple
        Empty if nothing known looks like it.
    """
    with unharmed(), np.errstate(all="ignore"):  # mistakes of the catalogue are run, and they overflow
        return _diagnose(e, findings)


def _diagnose(e: Evidence, findings: Sequence[Finding]) -> tuple[Mistake, ...]:
    wrong = [s for s in e.situations.values() if wrong_in(e, s)]
    if not wrong or all(answer.error for answer in e.answers.values()):
        return tuple(suspect(e, findings))
    if e.random:
        wrong = [s for s in wrong if s.twice] or wrong
    best = _best_single(e, wrong)
    if best is not None and not best.left(wrong):
        return (*_words(e.variant, best), *_made_of_the_weights(e, wrong, best))[:2]
    if _weights_alone_are_misshapen(e, wrong):
        made = _made_of_the_weights(e, wrong, None)
        if made:
            return made
    if _looks_swapped(e):
        return (MISCONCEPTIONS["pair_swapped"], *_beside_the_swap(e))[:2]
    mended = _mended(e)
    if mended is not None:
        return mended
    made = _made_of_the_heads(e)
    if made:
        return made
    if not any(_has_numbers(e, s) for s in wrong):
        known = _by_where(e, findings) or _by_shape(e, findings)
        if known is not None:
            return (known,)
    if any("inplace operation" in (e.answers[s.title].no_gradient or "") for s in wrong):
        return (_WRITTEN_INTO, *(_words(e.variant, found) if (found := _best_with_numbers(e, wrong)) else ()))[:2]
    if not e.random:  # of what is random, no numbers can be compared
        slips = _plausible(e, wrong)
        better = [best, _extended(e, wrong, slips, best) if best else None]
        if best is None or 2 * len(best.left(wrong)) > len(wrong):
            better.append(_best_pair(e, wrong, slips))
        best = max((one for one in better if one), key=lambda candidate: candidate.rank, default=None)
    if best is None or (2 * len(best.left(wrong)) > len(wrong)):
        apart = () if e.random else _apart(e, wrong) or _in_part(e, wrong)
        if apart or best is None:
            return apart or tuple(suspect(e, findings))
    named = _words(e.variant, best)
    left = best.left(wrong)
    named += _made_of_the_weights(e, wrong, best)
    if left and len(named) == 1:
        second = _best_single(e, left)
        if second is not None:
            named += tuple(x for x in _words(e.variant, second) if x not in named)
    return named[:2]


class _Candidate:
    """A mistake or a set of slips, how well it fits where the answers are wrong, and where it would do wrong itself."""

    def __init__(self, what: Mistake | tuple[Slip, ...], fits: dict[str, float], false: int) -> None:
        self.what, self.fits, self.false = what, fits, false

    def left(self, wrong: Iterable[Situation]) -> list[Situation]:
        """The problems that it does not explain."""
        return [s for s in wrong if not self.fits[s.title]]

    @property
    def in_numbers(self) -> bool:
        """Whether it gives the same numbers anywhere; that both fail says little."""
        return any(fit >= _IN_CONTEXT for fit in self.fits.values())

    @property
    def rank(self) -> tuple[float, ...]:
        """The more it explains with the fewer slips the better; then the catalogue before the family.

        Two slips may cancel in part, so that other two give the same: those that compute come before one that shows.
        """
        slips = () if isinstance(self.what, Mistake) else self.what
        shown = sum(slip.knob == "shown" for slip in slips)
        return sum(self.fits.values()) - 2 * self.false - 0.75 * max(len(slips) - 1, 0), -len(slips), -shown


#: How much it says that both give the same numbers, the same context beside weights of a wrong shape, or no answer.
_IN_NUMBERS, _IN_CONTEXT, _IN_FAILING = 1.0, 0.5, 0.25


def _best_single(e: Evidence, wrong: Sequence[Situation]) -> _Candidate | None:
    candidates: list[Mistake | tuple[Slip, ...]] = [*_catalogue(e.variant), *((s,) for s in _slips(e.variant))]
    numbers_are_wrong = any(_has_numbers(e, s) for s in wrong)
    best: _Candidate | None = None
    for start in _telling(e, wrong):
        for what in candidates:
            if _explains(e, start, what):
                candidate = _weigh(e, wrong, what, best.rank[0] if best else 0)
                if (candidate.in_numbers or not numbers_are_wrong) and (best is None or candidate.rank > best.rank):
                    best = candidate
        if best is not None and best.rank[0] > 0 and 2 * len(best.left(wrong)) <= len(wrong):
            break
    return best if best is not None and best.rank[0] > len(wrong) / 10 else None


def _has_numbers(e: Evidence, s: Situation) -> bool:
    """Whether there are numbers to compare: a pair of the right shapes, or at least such a context."""
    try:
        e.pair(s)
    except Missing:
        return _has_context(e, s)
    return True


def _failed(e: Evidence, s: Situation) -> bool:
    """Whether no pair of the right shapes came."""
    try:
        e.pair(s)
    except Missing:
        return True
    return False


def _has_context(e: Evidence, s: Situation) -> bool:
    """Whether the context is of the right shape, whatever came beside it."""
    x = e.answers[s.title].context
    return x is not None and x.shape == s.context_shape and not s.random


def _best_with_numbers(e: Evidence, wrong: Sequence[Situation]) -> _Candidate | None:
    """The best of those that explain wrong numbers, not only a missing gradient."""
    wrong = [s for s in wrong if e.answers[s.title].error or (not _failed(e, s) and differences(s, e.pair(s)))]
    return _best_single(e, wrong) if wrong else None


def _telling(e: Evidence, wrong: Sequence[Situation]) -> list[Situation]:
    """Problems to start from: those with numbers to compare first, not more than six."""
    with_numbers = [s for s in wrong if not s.large and _has_numbers(e, s)]
    with_numbers.sort(key=lambda s: s.twice + s.gradient)  # a single call is the quickest to compare
    return [*with_numbers, *(s for s in wrong if s not in with_numbers)][: 1 if e.random else 6]


def _plausible(e: Evidence, wrong: Sequence[Situation]) -> list[Slip]:
    """Slips that show nowhere but where the answers are wrong."""
    right_ones = [s for s in e.situations.values() if s not in wrong]
    return [slip for slip in _slips(e.variant) if not any(_shows(s, (slip,)) for s in right_ones)]


def _best_pair(e: Evidence, wrong: Sequence[Situation], slips: Sequence[Slip]) -> _Candidate | None:
    best: _Candidate | None = None
    for start in [s for s in _telling(e, wrong) if _has_numbers(e, s)][:2]:
        showing = [slip for slip in slips if _shows(start, (slip,))]
        explain_weights = {slip for slip in showing if slip.knob not in _LATE and _same_weights(e, start, (slip,))}
        for i, first in enumerate(showing):
            for second in showing[i + 1 :]:
                pair = (first, second)
                late = first.knob in _LATE or second.knob in _LATE
                if late and not (explain_weights & set(pair) or {first.knob, second.knob} == _LATE):
                    continue  # what comes after the weights cannot mend them
                if first.knob != second.knob and _explains(e, start, pair):
                    candidate = _weigh(e, wrong, pair)
                    best = candidate if best is None or candidate.rank > best.rank else best
        if best is not None:
            break
    if best is not None and best.left(wrong):
        return _extended(e, wrong, slips, best) or best
    return best


#: Knobs that are turned after the weights are there.
_LATE = {"sum", "merge"}


def _same_weights(e: Evidence, s: Situation, slips: tuple[Slip, ...]) -> bool:
    outcome = family.turned(s, slips)
    try:
        _, weights = e.pair(s)
    except Missing:
        weights = None
    return outcome is not None and (weights is None or _close(s, weights, outcome[1]))


def _extended(e: Evidence, wrong: Sequence[Situation], slips: Sequence[Slip], best: _Candidate) -> _Candidate | None:
    """One more slip on top of what has been found, if that explains more."""
    slips_of_best = best.what if isinstance(best.what, tuple) else _as_slips(e.variant, best.what)
    if not slips_of_best:
        return None
    turned = {slip.knob for slip in slips_of_best}
    better: _Candidate | None = None
    for start in _telling(e, best.left(wrong))[:2]:
        for slip in slips:
            if slip.knob not in turned and _explains(e, start, (*slips_of_best, slip)):
                candidate = _weigh(e, wrong, (*slips_of_best, slip))
                if candidate.rank > (better or best).rank:
                    better = candidate
    return better


def _weigh(
    e: Evidence, wrong: Sequence[Situation], what: Mistake | tuple[Slip, ...], to_beat: float = -99.0
) -> _Candidate:
    """See what a candidate explains, and what it would do that the function does not, unless it is out of the race."""
    candidate = _Candidate(what, {s.title: _fit(e, s, what) for s in wrong}, 0)
    others = [s for s in e.situations.values() if s not in wrong and s.dtype != "float16" and (s.twice or not e.random)]
    for s in sorted(others, key=lambda s: s.twice + s.gradient):
        if candidate.rank[0] < to_beat:
            break
        candidate.false += _is_wrong(s, what)
    return candidate


def _apart(e: Evidence, wrong: Sequence[Situation]) -> tuple[Mistake, ...]:
    """One slip that explains the context and another, or none, that explains the weights: they are computed apart."""
    pairs = {}
    for s in wrong:
        if not (s.random or s.large or s.dtype != "float32" or _failed(e, s) or e.answers[s.title].weights is None):
            pairs[s] = e.full(s)
    if len(pairs) < 2:
        return ()
    slips = _plausible(e, wrong)

    def explaining(which: int, beside: tuple[Slip, ...] = ()) -> tuple[Slip, ...] | None:
        """The slip, on top of others, that gives all these contexts, or all these weights; empty if they need none."""
        knobs = {slip.knob for slip in beside}
        for one in ((), *((slip,) for slip in slips if slip.knob not in knobs)):
            for s, pair in pairs.items():
                outcome = family.turned(s, (*beside, *one))
                if outcome is None or not _close(s, pair[which], outcome[which]):
                    break
            else:
                return (*beside, *one)
        return None

    of_context, of_weights = explaining(0), explaining(1)
    if of_context is None and of_weights:
        of_context = explaining(0, of_weights)
    elif of_weights is None and of_context:
        of_weights = explaining(1, of_context)
    if of_context is None or of_weights is None:
        return ()
    both = tuple(dict.fromkeys((*of_context, *of_weights)))
    return _words(e.variant, _Candidate(both, {}, 0))[:2]


def _in_part(e: Evidence, wrong: Sequence[Situation]) -> tuple[Mistake, ...]:
    """A slip that explains all that is wrong, and is made in some problems only, as where there is no mask."""
    numbers = [s for s in wrong if not (s.random or s.large or s.dtype != "float32" or _failed(e, s))]
    if len(numbers) < 2 or len(numbers) < len(wrong) / 2:
        return ()
    for slip in _slips(e.variant):
        if all(_explains(e, s, (slip,)) for s in numbers):
            return _words(e.variant, _Candidate((slip,), {}, 0))
    return ()


#: What comes back in place of the weights, made of the weights.
_MADE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "weights_averaged_over_heads": lambda w: w.mean(-3),
    "weights_of_the_last_head": lambda w: w[..., -1, :, :],
    "weights_stacked_before_the_batch": lambda w: np.moveaxis(w, -3, 0),
}


def _made_of_the_weights(e: Evidence, wrong: Sequence[Situation], best: _Candidate | None) -> tuple[Mistake, ...]:
    """What came back in place of the weights, where the rest of the answer is explained, or right."""
    for s in wrong:
        found = e.answers[s.title].weights
        explained = _weights_of(best, s) if best else right(s)[1]
        if found is None or explained is None or (s.num_heads or 1) == 1 or s.large or s.dtype != "float32":
            continue
        if best.fits[s.title] != _IN_CONTEXT if best else not _context_is_right(e, s):
            continue
        for name, make in _MADE.items():
            expected = make(explained).squeeze()
            if found.squeeze().shape == expected.shape and _close(s, found.squeeze(), expected):
                return (MISCONCEPTIONS[name],)
    return ()


def _weights_alone_are_misshapen(e: Evidence, wrong: Sequence[Situation]) -> bool:
    """Whether all that is wrong is the shape of the weights."""
    return all(s.random or (_failed(e, s) and _context_is_right(e, s)) for s in wrong)


def _context_is_right(e: Evidence, s: Situation) -> bool:
    context = e.answers[s.title].context
    return context is not None and _has_context(e, s) and not differs(s, (context, None))


def _weights_of(candidate: _Candidate, s: Situation) -> np.ndarray | None:
    if isinstance(candidate.what, Mistake):
        answer = _answer(candidate.what, s)
        weights = None if answer is None else answer.weights
        return None if weights is None or weights.shape != s.weights_shape else weights
    outcome = family.turned(s, candidate.what)
    return None if outcome is None else outcome[1]


def _looks_swapped(e: Evidence) -> bool:
    """Whether the weights stand where the context belongs, wherever the shapes can tell."""
    telling = [s for s in e.situations.values() if s.context_shape != s.weights_shape]
    answers = [(s, e.answers[s.title]) for s in telling]
    whole = [(s, x) for s, x in answers if x.context is not None and x.weights is not None]
    swapped = [
        x.context.shape == s.weights_shape and x.weights.shape[:-1] == s.context_shape[:-1]  # type: ignore[union-attr]
        for s, x in whole
    ]
    return 2 * len(whole) > len(answers) and all(swapped)  # the values may have been mistaken for something narrower


def _beside_the_swap(e: Evidence) -> tuple[Mistake, ...]:
    """What else is wrong if context and weights change places."""
    names = {"context": "weights", "weights": "context"}
    answers = {}
    for s in e.situations.values():
        x = e.answers[s.title]
        answers[s.title] = replace(
            x,
            context=x.weights,
            weights=x.context,
            kinds={name: x.kinds[names[name]] for name in x.kinds},
            again={names[name]: y for name, y in x.again.items()},
            gradients=_as_if_right(s),
            no_gradient=None,
        )
    return _of_mended(e, answers)


def _as_if_right(s: Situation) -> dict[str, np.ndarray]:
    """Gradients to go with numbers that were put where they belong: those that the function has are of others."""
    if not s.gradient:
        return {}
    return {f"{which}.{name}": g for which in ("context", "both") for name, g in right_gradients(s, which).items()}


def _of_mended(e: Evidence, answers: dict[str, Answer]) -> tuple[Mistake, ...]:
    """What is wrong beside what was put right."""
    mended = Evidence(e.variant, answers, e.paper)
    findings, _ = judge(mended)
    return _diagnose(mended, findings) if findings else ()


#: The shape of context or weights that axes were put together to wrongly, and the way back; the first is the name.
_Mend = tuple[Mistake, str, Callable[[Situation], tuple[int, ...]], Callable[..., np.ndarray]]


def _mended(e: Evidence) -> tuple[Mistake, ...] | None:
    """What puts context or weights of a wrong shape right everywhere, and what is wrong beside that."""
    for name, part, shape_of, back in _mends(e.variant >= 5):
        answers = {}
        told = 0
        for s in e.situations.values():
            x = e.answers[s.title]
            answers[s.title] = x
            found = getattr(x, part)
            if found is None:
                continue
            if found.shape != shape_of(s):
                told = -1
                break
            told += found.shape != getattr(s, f"{part}_shape")
            again = dict(x.again)
            if part in again and again[part].shape == found.shape:
                again[part] = back(s, again[part])
            answers[s.title] = replace(x, again=again, gradients=_as_if_right(s), no_gradient=None)
            setattr(answers[s.title], part, back(s, found))
        if told > 1:
            return (name, *(x for x in _of_mended(e, answers) if x.name != name.name))[:2]
    return None


@lru_cache
def _mends(with_heads: bool) -> tuple[_Mend, ...]:
    """All that can be mended."""

    def lead(s: Situation) -> tuple[int, ...]:
        return s.q.shape[:-2]

    def sizes(s: Situation) -> tuple[int, int, int, int]:
        H = s.num_heads or 1
        return H, s.q.shape[-2], s.k.shape[-2], s.q.shape[-1] // H

    def joined(s: Situation, x: np.ndarray) -> np.ndarray:
        return np.swapaxes(x, -3, -2).reshape(s.context_shape)

    mends: list[tuple[Mistake, str, Callable, Callable]] = []

    def mend(name: Mistake, part: str, shape: Callable, back: Callable) -> None:
        mends.append((name, part, lambda s: shape(lead(s), *sizes(s)), back))

    c, w = "context", "weights"
    mends.append(
        (
            _TRANSPOSED,
            c,
            lambda s: (*s.context_shape[:-2], s.context_shape[-1], s.context_shape[-2]),
            lambda _, x: np.swapaxes(x, -2, -1),
        )
    )
    if not with_heads:
        return tuple(mends)
    mend(_NOT_MERGED, c, lambda b, H, T, S, d: (*b, H, T, d), joined)
    mend(_NOT_MERGED, c, lambda b, H, T, S, d: (*b, T, H, d), lambda s, x: x.reshape(s.context_shape))
    mend(_NOT_MERGED, c, lambda b, H, T, S, d: (H, *b, T, d), lambda s, x: joined(s, np.moveaxis(x, 0, -3)))
    mend(
        _NOT_MERGED,
        c,
        lambda b, H, T, S, d: (*b, T, d, H),
        lambda s, x: np.swapaxes(x, -2, -1).reshape(s.context_shape),
    )
    mend(
        _BELOW_EACH_OTHER,
        c,
        lambda b, H, T, S, d: (*b, H * T, d),
        lambda s, x: joined(s, x.reshape(*lead(s), sizes(s)[0], sizes(s)[1], -1)),
    )
    mend(
        _BELOW_EACH_OTHER,
        c,
        lambda b, H, T, S, d: (H * b[0], *b[1:], T, d) if b else (H * T, d),
        lambda s, x: joined(s, np.moveaxis(x.reshape(sizes(s)[0], *lead(s), sizes(s)[1], -1), 0, -3)),
    )
    mend(
        MISCONCEPTIONS["weights_stacked_before_the_batch"],
        w,
        lambda b, H, T, S, d: (H, *b, T, S),
        lambda s, x: np.moveaxis(x, 0, -3),
    )
    mend(_HEADS_ELSEWHERE, w, lambda b, H, T, S, d: (*b, T, H, S), lambda s, x: np.swapaxes(x, -3, -2))
    mend(_HEADS_ELSEWHERE, w, lambda b, H, T, S, d: (*b, T, S, H), lambda s, x: np.moveaxis(x, -1, -3))
    mend(
        _WEIGHTS_JOINED,
        w,
        lambda b, H, T, S, d: (*b, T, H * S),
        lambda s, x: np.swapaxes(x.reshape(*lead(s), sizes(s)[1], sizes(s)[0], -1), -3, -2),
    )
    mend(_WEIGHTS_JOINED, w, lambda b, H, T, S, d: (*b, H * T, S), lambda s, x: x.reshape(s.weights_shape))
    mend(
        _WEIGHTS_JOINED,
        w,
        lambda b, H, T, S, d: (math.prod(b) * H, T, S),
        lambda s, x: x.reshape(s.weights_shape),
    )
    mend(
        _WEIGHTS_JOINED,
        w,
        lambda b, H, T, S, d: (H * b[0], *b[1:], T, S) if b else (H * T, S),
        lambda s, x: np.moveaxis(x.reshape(sizes(s)[0], *lead(s), *s.weights_shape[-2:]), 0, -3),
    )
    return tuple(mends)


# ------------------------------------------------------------------------------------------ what explains what


def wrong_in(e: Evidence, s: Situation) -> bool:
    """Whether anything is wrong with the answer to a problem."""
    checks: list[Callable] = [dropout_drops] if s.random else [_another_answer, inputs_stay]
    if s.dtype != "float32" or s.title == "as many queries as keys":
        checks.append(dtype_is_kept)
    if s.twice:
        checks.append(two_calls_agree)
    if s.gradient and not s.large:
        checks += [gradients_flow, gradients_are_right]
    try:
        return any(check(e, s) for check in checks)
    except Missing:
        return "not implemented for 'Half'" not in (e.answers[s.title].error or "")


def _another_answer(e: Evidence, s: Situation) -> bool:
    """Whether the answer is not the right one, as `contract.same_answer` finds in words."""
    return differs(s, e.pair(s))


def _explains(e: Evidence, s: Situation, what: Mistake | tuple[Slip, ...]) -> bool:
    """Whether this, being wrong itself here, gives what the function gives."""
    return _fit(e, s, what) > 0


def _fit(e: Evidence, s: Situation, what: Mistake | tuple[Slip, ...]) -> float:
    """How much of what the function gives this gives too, being wrong itself here."""
    if isinstance(what, Mistake):
        if not e.random and _differs_at_once(e, s, what):
            return 0.0
        other = _answer(what, s)
        fit = 0.0 if other is None else _fit_of(e, s, other)
        return fit if fit and _is_wrong(s, what) else 0.0  # the comparison is the quicker of the two
    if s.random:
        return 0.0
    found = e.answers[s.title]
    try:
        context, weights = e.pair(s)
    except Missing:
        if found.error is None and not _has_context(e, s):
            return 0.0
        outcome = family.turned(s, what)
        if outcome is None:
            return _IN_FAILING * (found.error is not None)
        return _IN_CONTEXT if _same_context(e, s, outcome[0]) else 0.0
    if s.dtype == "float16":
        return float(_shows(s, what))  # too few digits to compare
    outcome = family.turned(s, what)
    if outcome is None or not _close(s, context, outcome[0]):
        return 0.0
    return float((weights is None or _close(s, weights, outcome[1])) and _shows(s, what))


def _fit_of(e: Evidence, s: Situation, other: Answer) -> float:
    """How much of what the function gives another one gave too."""
    if _same_answer(e, s, other):
        return _IN_FAILING if other.error else _IN_NUMBERS
    return _IN_CONTEXT if other.context is not None and _same_context(e, s, other.context) else 0.0


def _differs_at_once(e: Evidence, s: Situation, mistake: Mistake) -> bool:
    """Whether a single call without gradients, which is quick, already tells the two apart."""
    if not (s.twice or s.gradient):
        return False
    found, other = e.answers[s.title].context, _answer(mistake, _single_call(s))
    if found is None or other is None or other.context is None:
        return False
    return not _close(s, found, other.context)


@lru_cache(maxsize=256)
def _single_call(s: Situation) -> Situation:
    return replace(s, twice=False, gradient=False)


def _same_context(e: Evidence, s: Situation, context: np.ndarray) -> bool:
    """Whether the context alone is the same, and wrong, where the weights cannot be compared."""
    try:
        e.pair(s)
    except Missing:
        found = e.answers[s.title].context
        if found is None or not _has_context(e, s) or s.dtype == "float16" or not _close(s, found, context):
            return False
        return differs(s, (found, None))
    return False


def _is_wrong(s: Situation, what: Mistake | tuple[Slip, ...]) -> bool:
    return _mistake_is_wrong(what, s) if isinstance(what, Mistake) else _shows(s, what)


@lru_cache(maxsize=20_000)
def _shows(s: Situation, slips: tuple[Slip, ...]) -> bool:
    """Whether slips change the answer to a problem."""
    outcome = family.turned(s, slips)
    if outcome is None:
        return True
    return differs(s, outcome if s.options.get("need_weights", True) else (outcome[0], None))


@lru_cache(maxsize=4096)
def _answer_of(name: str, s: Situation) -> Answer | None:
    function = function_of(MISCONCEPTIONS[name], s.variant)
    if function is None:
        return None
    return ask(function, s)


def _answer(mistake: Mistake, s: Situation) -> Answer | None:
    return _answer_of(mistake.name, s)


def _mistake_is_wrong(mistake: Mistake, s: Situation) -> bool:
    return _mistake_shows(mistake.name, s)


@lru_cache(maxsize=4096)
def _mistake_shows(name: str, s: Situation) -> bool:
    answer = _answer_of(name, s)
    return answer is not None and wrong_in(Evidence(s.variant, {s.title: answer}), s)


def _same_answer(e: Evidence, s: Situation, other: Answer) -> bool:
    found = e.answers[s.title]
    if found.error or other.error:
        return bool(found.error and other.error)
    if found.returned or other.returned or found.kinds != other.kinds:
        return found.returned is not None and found.returned == other.returned
    if s.random:
        return _breach(s, found) == _breach(s, other)
    random = unequal(found) & unequal(other)
    for name in ("context", "weights"):
        x, y = getattr(found, name), getattr(other, name)
        if x is not None and y is not None and name not in random and not _close(s, x, y):
            return False
    if _changed(s, found) != _changed(s, other):
        return False
    return bool(random) or _same_gradients(found, other)


def _same_gradients(found: Answer, other: Answer) -> bool:
    if found.no_gradient or other.no_gradient:
        in_place = ["inplace operation" in (answer.no_gradient or "") for answer in (found, other)]
        return bool(found.no_gradient and other.no_gradient) and in_place[0] == in_place[1]
    if found.gradients.keys() != other.gradients.keys():
        return False
    return all(
        bool(np.isclose(x, other.gradients[name], rtol=1e-2, atol=1e-3, equal_nan=True).all())
        for name, x in found.gradients.items()
    )


def _breach(s: Situation, answer: Answer) -> str:
    """What a random answer has wrong, without the numbers that differ from call to call."""
    try:
        lines = dropout_drops(Evidence(s.variant, {s.title: answer}), s)
    except Missing as missing:
        lines = [str(missing)]
    return lines[0].split(";")[0] if lines else ""


def _changed(s: Situation, answer: Answer) -> set[str]:
    before: dict[str, Any] = {"q": s.q, "k": s.k, "v": s.v, "mask": s.mask}
    return {name for name, x in answer.after.items() if not np.array_equal(x, before[name])}


def _close(s: Situation, x: np.ndarray, y: np.ndarray) -> bool:
    if x.shape != y.shape:
        return False
    rtol, atol = (2e-2, 2e-2) if s.large or s.dtype == "float16" else (1e-4, 1e-5)
    if abs(x.flat[0] - y.flat[0]) > atol + rtol * abs(y.flat[0]):
        return False  # most candidates go no further; NaN does
    return bool(np.isclose(x, y, rtol=rtol, atol=atol, equal_nan=True).all())


# --------------------------------------------------------------------------------- the catalogue and the family


def function_of(mistake: Mistake, variant: int) -> Callable | None:
    """The wrong implementation of a variant; the first three are called alike, so one may stand in for another."""
    stand_in = _stand_in(mistake, variant)
    return None if stand_in is None else mistake.functions[stand_in]


def _stand_in(mistake: Mistake, variant: int) -> int | None:
    """The variant whose function serves, without making the function."""
    if variant in mistake.variants:
        return variant
    if variant <= 3:
        return next((number for number in mistake.variants if number <= 3), None)
    other = {5: 6, 6: 5}.get(variant)
    return other if other in mistake.variants else None


@lru_cache
def _catalogue(variant: int) -> tuple[Mistake, ...]:
    """Entries that can occur here, those made for this variant first."""
    here = [m for m in with_code().values() if _stand_in(m, variant) is not None]
    return tuple(sorted(here, key=lambda m: variant not in m.variants))


@lru_cache
def _slips(variant: int) -> tuple[Slip, ...]:
    return slips_of(describe_variant(variant).takes)


@lru_cache(maxsize=1024)
def _entry_of(variant: int, slip: Slip) -> str | None:
    """The name of the catalogue's entry that does the same as a slip: its words are preferred."""
    if slip.mistake.variants:
        return slip.name
    for mistake in _catalogue(variant):
        if _is_the_same(variant, mistake, (slip,)):
            return mistake.name
    return None


def _is_the_same(variant: int, mistake: Mistake, slips: tuple[Slip, ...]) -> bool:
    """Whether an entry and a slip show in the same problems, and there give the same."""
    telling = _where_it_shows(variant, slips)
    return (
        telling is not None
        and _both(telling, mistake, slips)
        and all(_both(s, mistake, slips) for s in _comparable(variant))
    )


@lru_cache
def _comparable(variant: int) -> tuple[Situation, ...]:
    """Problems in which an entry and slips can be compared, those first that are answered with a single call."""
    chosen = (s for s in situations(variant, 0) if not s.random and not s.large and s.dtype == "float32")
    return tuple(sorted(chosen, key=lambda s: s.twice + s.gradient))


@lru_cache(maxsize=1024)
def _where_it_shows(variant: int, slips: tuple[Slip, ...]) -> Situation | None:
    """The first problem in which slips give wrong numbers: there, most entries differ from them at once."""
    showing = (s for s in _comparable(variant) if family.turned(s, slips) is not None and _shows(s, slips))
    return next(showing, None)


def _both(s: Situation, mistake: Mistake, slips: tuple[Slip, ...]) -> bool:
    answer = _answer(mistake, s)
    if answer is None:
        return False
    if not _explains(Evidence(s.variant, {s.title: answer}), s, slips):
        return not _shows(s, slips) and not _mistake_is_wrong(mistake, s)
    return True


@lru_cache(maxsize=1024)
def _as_slips_of(variant: int, name: str) -> tuple[Slip, ...]:
    alike = [slip for slip in _slips(variant) if slip.name == name]
    others = (slip for slip in _slips(variant) if slip.name != name)  # looked at only where no slip is called the same
    for slip in alike or others:
        if _is_the_same(variant, MISCONCEPTIONS[name], (slip,)):
            return (slip,)
    return tuple(alike[:1])


def _as_slips(variant: int, mistake: Mistake) -> tuple[Slip, ...]:
    """The slip that does the same as an entry of the catalogue, so that it can be combined with another."""
    return _as_slips_of(variant, mistake.name)


def _words(variant: int, candidate: _Candidate) -> tuple[Mistake, ...]:
    if isinstance(candidate.what, Mistake):
        return (candidate.what,)
    named: list[Mistake] = []
    for slip in candidate.what:
        entry = _entry_of(variant, slip)
        named.append(slip.mistake if entry is None else MISCONCEPTIONS[entry])
    return tuple({one.name: one for one in named}.values())


# -------------------------------------------------------------------------------- when only the promises can tell


def _of_family(knob: str, setting: str) -> Mistake:
    return next(slip.mistake for slip in SLIPS if (slip.knob, slip.setting) == (knob, setting))


_WRITTEN_INTO = MISCONCEPTIONS["written_into_after_use"]
_ONE_BATCH_AXIS = MISCONCEPTIONS["one_batch_axis_only"]
_LOST_AXIS = MISCONCEPTIONS["squeeze_drops_an_axis"]
_NEEDS_A_SQUARE = MISCONCEPTIONS["needs_as_many_queries_as_keys"]
_NEEDS_A_MASK = MISCONCEPTIONS["needs_a_mask"]
_AFTER_THE_FIRST_QUERY = MISCONCEPTIONS["returned_after_the_first_query"]
_THE_LAST_QUERY_ALONE = MISCONCEPTIONS["one_row_alone"]
_AFTER_THE_FIRST_HEAD = MISCONCEPTIONS["returned_after_the_first_head"]
_TRANSPOSED = MISCONCEPTIONS["context_transposed"]
_NOT_MERGED = MISCONCEPTIONS["heads_never_merged"]
_BELOW_EACH_OTHER = MISCONCEPTIONS["heads_below_each_other"]
_HEADS_ELSEWHERE = MISCONCEPTIONS["weights_with_the_heads_elsewhere"]
_WEIGHTS_JOINED = MISCONCEPTIONS["weights_of_the_heads_joined"]
_LAST_HEAD_ALONE = MISCONCEPTIONS["last_head_alone"]
_KEPT = MISCONCEPTIONS["dropout_keeps_what_it_should_drop"]
_IN_A_LIST = MISCONCEPTIONS["tensors_in_a_list"]
_EPSILON = MISCONCEPTIONS["epsilon_in_the_denominator"]

#: What must stand in a finding, and what it then looks like; the first that fits.
_SUSPICIONS: tuple[tuple[str, Mistake], ...] = (
    (
        "two calls on the same input",
        MISCONCEPTIONS["different_from_call_to_call"],
    ),
    ("the columns do sum to 1", _of_family("axis", "queries")),
    ("summed over the heads they give 1", _of_family("axis", "heads")),
    ("summed over the first axis they give 1", _of_family("axis", "first")),
    ("the whole matrix does sum to 1", _of_family("axis", "everything")),
    (
        "the first item alone gives another answer than in a batch",
        MISCONCEPTIONS["batch_items_mixed"],
    ),
    (
        "the batch in another order changes the answers",
        MISCONCEPTIONS["batch_items_mixed"],
    ),
    (
        "the weights are those of scores",
        MISCONCEPTIONS["wrong_scale"],
    ),
    (
        "it changed its input",
        MISCONCEPTIONS["changes_its_input"],
    ),
    (
        "no gradient",
        MISCONCEPTIONS["gradient_cut"],
    ),
    (
        "the gradient of",
        MISCONCEPTIONS["gradient_cut_in_part"],
    ),
    (
        "has dtype",
        MISCONCEPTIONS["dtype_not_kept"],
    ),
    (
        "NaN or inf",
        _of_family("axis", "overflow"),
    ),
)


def suspect(e: Evidence, findings: Sequence[Finding]) -> list[Mistake]:
    """Name what the broken promises suggest, where no known mistake gives these numbers.

    Parameters
    ----------
    e : Evidence
        The answers.
    findings : sequence of Finding
        The promises that were not kept.

    Returns
    -------
    named : list
        One name, or none.
    """
    for suspicion in (_by_chance, _by_where, _by_shape, _by_gradient, _by_dtype, _by_blocked_scores):
        named = suspicion(e, findings)
        if named is not None:
            return [named]
    parts = {finding.part for finding in findings}
    for words, slip in _SUSPICIONS:
        if words in ("the gradient of", "no gradient") and parts - {"gradients", "the same answer"}:
            continue
        if words == "NaN or inf" and not parts <= {"large numbers", "the same answer"}:
            continue
        if any(words in line for finding in findings for line in finding.lines):
            return [slip]
    return []


def _by_chance(e: Evidence, findings: Sequence[Finding]) -> Mistake | None:
    """What is random without being asked, if only the context is."""
    if any("drops 7" in line or "drops 8" in line for finding in findings for line in finding.lines):
        return _KEPT
    random = {name for s in e.situations.values() if s.twice for name in unequal(e.answers[s.title])}
    return MISCONCEPTIONS["dropout_in_evaluation"] if random == {"context"} and e.variant == 7 else None


def _by_where(e: Evidence, findings: Sequence[Finding]) -> Mistake | None:
    """What the problems have in common in which it is wrong, and in no other."""
    wrong = [s for s in e.situations.values() if wrong_in(e, s)]
    others = [s for s in e.situations.values() if s not in wrong]
    if not wrong or not others:
        return None

    def all_of(kind: Callable[[Situation], bool]) -> bool:
        return all(kind(s) for s in wrong)

    def just(kind: Callable[[Situation], bool]) -> bool:
        return all_of(kind) and not any(kind(s) for s in others)

    def failed(s: Situation) -> bool:
        return _failed(e, s)

    if [s.title for s in wrong] == ["a single key"]:
        return _LOST_AXIS if failed(wrong[0]) else _EPSILON
    if all_of(lambda s: s.q.ndim != 3) and any(s.q.ndim == 3 for s in others) and e.variant >= 3:
        return _ONE_BATCH_AXIS
    if all_of(lambda s: s.title.startswith("values")):
        return MISCONCEPTIONS["context_as_wide_as_the_keys"]
    if all_of(lambda s: s.q.shape[-2] != s.k.shape[-2]) and all_of(failed):
        return _NEEDS_A_SQUARE
    if all_of(lambda s: not s.options.get("need_weights", True) and e.answers[s.title].returned is not None):
        return MISCONCEPTIONS["context_alone"]
    if just(lambda s: s.mask is None) and all_of(failed):
        return _NEEDS_A_MASK
    if all_of(lambda s: not s.allowed.any(-1).all()) and not all_of(failed):
        return _of_no_key(e, [s for s in wrong if not failed(s)])
    return None


def _of_no_key(e: Evidence, wrong: Sequence[Situation]) -> Mistake | None:
    """What a function that is wrong only for a query with no key makes of it."""
    pairs = [e.pair(s) for s in wrong]
    if any(np.isnan(x).any() for pair in pairs for x in pair if x is not None):
        return _of_family("mask", "nan")
    if not any(differs(s, pair) for s, pair in zip(wrong, pairs, strict=True)):
        return MISCONCEPTIONS["nan_in_the_gradient"]
    weights_are_right = not any(differs(s, (right(s)[0], pair[1])) for s, pair in zip(wrong, pairs, strict=True))
    return _of_family("mask", "empty_mean" if weights_are_right else "uniform")


def _by_shape(e: Evidence, findings: Sequence[Finding]) -> Mistake | None:
    """What is missing in what came back."""
    found = [
        (s, x)
        for s in e.situations.values()
        if (x := e.answers[s.title].context) is not None and x.ndim == len(s.context_shape)
    ]
    long = [(s, x) for s, x in found if s.context_shape[-2] > 1]
    if long and all(x.shape[-2] == 1 for _, x in long):
        return _AFTER_THE_FIRST_QUERY
    one_row = [(s, x) for s in e.situations.values() if (x := e.answers[s.title].context) is not None and not s.large]
    if one_row and all(x.shape == (s.context_shape[-1],) for s, x in one_row if s.dtype == "float32"):
        return _THE_LAST_QUERY_ALONE
    kinds = [kind for x in e.answers.values() for kind in x.kinds.values()]
    if "list" in kinds or "tuple" in kinds:
        return _IN_A_LIST
    return None


def _made_of_the_heads(e: Evidence) -> tuple[Mistake, ...]:
    """What a context that is as wide as one head was made of, and a slip beside that, if there is one."""
    found = [(s, x) for s in e.situations.values() if (x := e.answers[s.title].context) is not None]
    wide = [
        (s, x, s.num_heads)
        for s, x in found
        if s.num_heads is not None and s.num_heads > 1 and not s.large and not s.random and s.dtype == "float32"
    ]
    if len(wide) < 2 or any(x.shape != (*s.context_shape[:-1], s.context_shape[-1] // H) for s, x, H in wide):
        return ()
    for slips in ((), *((slip,) for slip in _slips(e.variant))):
        for name, make in _MADE_OF_HEADS.items():
            for s, x, H in wide:
                outcome = family.turned(s, slips)
                if outcome is None or not _close(s, x, make(outcome[0].reshape(*x.shape[:-1], H, -1))):
                    break
            else:
                one = {"first": _AFTER_THE_FIRST_HEAD, "last": _LAST_HEAD_ALONE}.get(name) or MISCONCEPTIONS[name]
                return (one, *_words(e.variant, _Candidate(slips, {}, 0)))[:2]
    return ()


#: What comes back as wide as one head, made of the contexts of all.
_MADE_OF_HEADS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "heads_summed": lambda x: x.sum(-2),
    "heads_averaged": lambda x: x.mean(-2),
    "first": lambda x: x[..., 0, :],
    "last": lambda x: x[..., -1, :],
}


#: Which of q, k and v get no gradient from the context, and what that is called.
_CUT = {
    "qk": "weights_detached",
    "q": "queries_detached",
    "k": "keys_detached",
    "v": "values_detached",
    "qkv": "no_gradients",
}


def _by_gradient(e: Evidence, findings: Sequence[Finding]) -> Mistake | None:
    """Where the way back is cut, if the numbers are right."""
    if {finding.part for finding in findings} - {"gradients"}:
        return None
    asked = [s for s in e.situations.values() if s.gradient and not s.large]
    cut = set()
    for s in asked:
        answer = e.answers[s.title]
        lost = (
            "qkv"
            if answer.no_gradient
            else "".join(
                n
                for n in "qkv"
                if answer.gradients.get(f"context.{n}") is None or not answer.gradients[f"context.{n}"].any()
            )
        )
        cut.add(lost)
    name = _CUT.get(cut.pop()) if len(cut) == 1 else None
    return None if name is None else MISCONCEPTIONS[name]


def _by_dtype(e: Evidence, findings: Sequence[Finding]) -> Mistake | None:
    """Which dtype everything comes in, or was computed in."""
    kinds = {kind for s in e.situations.values() for kind in e.answers[s.title].kinds.values() if kind != "None"}
    whole = [s for s in e.situations.values() if not _failed(e, s)]
    if len(whole) < len(e.situations) - 2:
        return None
    if kinds == {"torch.float64"}:
        return MISCONCEPTIONS["always_float64"]
    if kinds == {"torch.float32"} and not any(wrong_in(e, s) for s in whole if s.dtype == "float32"):
        return MISCONCEPTIONS["always_float32"]
    plain = [s for s in whole if not s.large and not s.random and s.dtype != "float16" and s.mask is None]
    pairs = [(s, e.full(s)) for s in plain if s.options.get("need_weights", True)]
    far = [max(np.abs(x - y).max() for x, y in zip(pair, right(s), strict=True)) for s, pair in pairs]
    if far and 1e-5 < max(far) < 2e-2 and 2 * sum(differs(s, pair) for s, pair in pairs) > len(pairs):
        return MISCONCEPTIONS["computed_in_half_precision"]  # three digits are right, and no more
    return None


def _by_blocked_scores(e: Evidence, findings: Sequence[Finding]) -> Mistake | None:
    """Which scores the weights of blocked keys betray: all the same, or all lowered by the same."""
    filled, lowered = [], []
    for s in e.masked():
        if _failed(e, s) or s.dtype != "float32" or e.answers[s.title].weights is None:
            continue
        weights = e.pair(s)[1]
        q, k, _ = family._split(s, None)
        scores = q @ np.swapaxes(k, -2, -1) / np.sqrt(q.shape[-1])
        blocked = ~s.allowed & s.allowed.any(-1, keepdims=True)
        if weights is None or not blocked.any():
            continue
        if (weights[blocked] < -1).all():
            return MISCONCEPTIONS["minus_infinity_after_the_softmax"]
        if not (weights[blocked] > 0).all():
            return None
        shift = np.where(s.allowed, scores - np.log(np.where(s.allowed, weights, 1.0)), -np.inf).max(-1, keepdims=True)
        betrayed = np.log(np.where(blocked, weights, 1.0)) + shift
        filled.append(betrayed[blocked])
        lowered.append((scores - betrayed)[blocked])
    if not filled:
        return None
    for told, near in ((filled, "multiplied"), (lowered, "added")):
        size = float(np.concatenate(told).mean())
        if all(np.ptp(x) < 1e-2 * max(1.0, abs(x.mean())) for x in told):
            if size > 2 and near == "multiplied":
                return _of_family("mask", "raised")
            return _of_family("mask", "minus_100" if abs(size) > 1.5 else near)
    return None


def as_dict(named: Mistake) -> dict[str, Any]:
    """A name with its words, for JSON."""
    return {
        "name": named.name,
        "explanation": named.explanation,
        "hint": named.hint,
    }
