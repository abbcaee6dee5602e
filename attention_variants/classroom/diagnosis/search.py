"""Which mistake do the answers look like? The order of looking.

First the catalogue and single slips, by their numbers; then the form of what came back; then two slips at once; then
slips that explain only a part. Where nothing known gives these numbers, the broken guarantees say what they can.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from attention_variants.classroom.contract.answer import is_written_into_after_use
from attention_variants.classroom.contract.clauses import differences
from attention_variants.classroom.contract.evidence import Evidence, Finding, Missing
from attention_variants.classroom.contract.problems import Problem
from attention_variants.classroom.contract.reference import same_numbers
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, Mistake
from attention_variants.classroom.sandbox.restore import unharmed

from .fit import (
    Candidate,
    What,
    as_slips,
    catalogue,
    explains,
    has_numbers,
    plausible,
    shows,
    weigh,
    words,
    wrong_in,
)
from .knobs import turned
from .shapes import (
    beside_the_swap,
    looks_swapped,
    made_of_the_heads,
    made_of_the_weights,
    mended,
    weights_alone_are_misshapen,
)
from .slips import Slip, slips_of
from .suspicions import by_shape, by_where, suspect


def diagnose(e: Evidence, findings: Sequence[Finding]) -> tuple[Mistake, ...]:
    """Name the mistakes, one or two, the most telling first.

    Parameters
    ----------
    e : Evidence
        The answers.
    findings : sequence of Finding
        The guarantees that were not kept.

    Returns
    -------
    named : tuple
        Empty if nothing known looks like it.
    """
    with unharmed(), np.errstate(all="ignore"):  # mistakes of the catalogue are run, and they overflow
        return _diagnose(e, findings)


def _diagnose(e: Evidence, findings: Sequence[Finding]) -> tuple[Mistake, ...]:
    wrong = [s for s in e.problems if wrong_in(e, s)]
    if not wrong or all(answer.error for answer in e.answers.values()):
        return suspect(e, findings)
    if e.random:
        wrong = [s for s in wrong if s.twice] or wrong
    best = _best_single(e, wrong)
    if best is not None and not best.left(wrong):
        return (*words(e.exam, best.what), *made_of_the_weights(e, wrong, best))[:2]
    by_form = _by_form(e, wrong, findings)
    if by_form is not None:
        return by_form
    if not e.random:  # of what is random, no numbers can be compared
        best = _best_of_several(e, wrong, best)
    if best is None or (2 * len(best.left(wrong)) > len(wrong)):
        apart = () if e.random else _apart(e, wrong) or _in_part(e, wrong)
        if apart or best is None:
            return apart or suspect(e, findings)
    return _in_words(e, wrong, best)


def _in_words(e: Evidence, wrong: Sequence[Problem], best: Candidate) -> tuple[Mistake, ...]:
    """What the best candidate is called, and what explains the most of what it leaves."""
    named = words(e.exam, best.what)
    left = best.left(wrong)
    named += made_of_the_weights(e, wrong, best)
    if left and len(named) == 1:
        second = _best_single(e, left)
        if second is not None:
            named += tuple(x for x in words(e.exam, second.what) if x not in named)
    return named[:2]


def _by_form(e: Evidence, wrong: Sequence[Problem], findings: Sequence[Finding]) -> tuple[Mistake, ...] | None:
    """What the form of what came back tells, whatever its numbers are."""
    if weights_alone_are_misshapen(e, wrong):
        made = made_of_the_weights(e, wrong, None)
        if made:
            return made
    if looks_swapped(e):
        return (MISCONCEPTIONS["pair_swapped"], *beside_the_swap(e, _diagnose))[:2]
    named = mended(e, _diagnose) or made_of_the_heads(e)
    if named:
        return named
    if not any(has_numbers(e, s) for s in wrong):
        known = by_where(e, findings) or by_shape(e, findings)
        if known is not None:
            return (MISCONCEPTIONS[known],)
    if any(is_written_into_after_use(e.answer(s).no_gradient) for s in wrong):
        found = _best_with_numbers(e, wrong)
        return (MISCONCEPTIONS["written_into_after_use"], *(words(e.exam, found.what) if found else ()))[:2]
    return None


# ------------------------------------------------------------------------------------------------ one at a time


def _best_single(e: Evidence, wrong: Sequence[Problem]) -> Candidate | None:
    candidates: list[What] = [*catalogue(e.exam), *((s,) for s in slips_of(e.exam.takes))]
    numbers_are_wrong = any(has_numbers(e, s) for s in wrong)
    best: Candidate | None = None
    for start in _telling(e, wrong):
        for what in candidates:
            if explains(e, start, what):
                candidate = weigh(e, wrong, what, best.rank[0] if best else 0)
                if (candidate.in_numbers or not numbers_are_wrong) and (best is None or candidate.rank > best.rank):
                    best = candidate
        if best is not None and best.rank[0] > 0 and 2 * len(best.left(wrong)) <= len(wrong):
            break
    return best if best is not None and best.rank[0] > len(wrong) / 10 else None


def _best_with_numbers(e: Evidence, wrong: Sequence[Problem]) -> Candidate | None:
    """The best of those that explain wrong numbers, not only a missing gradient."""
    wrong = [s for s in wrong if e.answer(s).error or (not e.failed(s) and differences(s, e.pair(s)))]
    return _best_single(e, wrong) if wrong else None


def _telling(e: Evidence, wrong: Sequence[Problem]) -> list[Problem]:
    """Problems to start from: those with numbers to compare first, not more than six."""
    with_numbers = [s for s in wrong if not s.large and has_numbers(e, s)]
    with_numbers.sort(key=lambda s: s.twice + s.gradient)  # a single call is the quickest to compare
    return [*with_numbers, *(s for s in wrong if s not in with_numbers)][: 1 if e.random else 6]


# --------------------------------------------------------------------------------------------- several at once


def _best_of_several(e: Evidence, wrong: Sequence[Problem], best: Candidate | None) -> Candidate | None:
    """The best of what was found alone, that with one more slip, and two slips."""
    slips = plausible(e, wrong)
    better = [best, _extended(e, wrong, slips, best) if best else None]
    if best is None or 2 * len(best.left(wrong)) > len(wrong):
        better.append(_best_pair(e, wrong, slips))
    return max((one for one in better if one), key=lambda candidate: candidate.rank, default=None)


def _best_pair(e: Evidence, wrong: Sequence[Problem], slips: Sequence[Slip]) -> Candidate | None:
    best: Candidate | None = None
    for start in [s for s in _telling(e, wrong) if has_numbers(e, s)][:2]:
        for pair in _pairs(e, start, slips):
            if explains(e, start, pair):
                candidate = weigh(e, wrong, pair)
                best = candidate if best is None or candidate.rank > best.rank else best
        if best is not None:
            break
    if best is not None and best.left(wrong):
        return _extended(e, wrong, slips, best) or best
    return best


def _pairs(e: Evidence, s: Problem, slips: Sequence[Slip]) -> Iterator[tuple[Slip, Slip]]:
    """Two slips of different knobs that both show, and may together give what was given."""
    showing = [slip for slip in slips if shows(s, (slip,))]
    explain_weights = {slip for slip in showing if slip.knob not in _LATE and _same_weights(e, s, (slip,))}
    for first, second in itertools.combinations(showing, 2):
        knobs = {first.knob, second.knob}
        if len(knobs) == 1:
            continue
        if knobs & _LATE and not (explain_weights & {first, second} or knobs == _LATE):
            continue  # what comes after the weights cannot mend them
        yield first, second


#: Knobs that are turned after the weights are there.
_LATE = {"sum", "merge"}


def _same_weights(e: Evidence, s: Problem, slips: tuple[Slip, ...]) -> bool:
    outcome = turned(s, slips)
    try:
        _, weights = e.pair(s)
    except Missing:
        weights = None
    return outcome is not None and (weights is None or same_numbers(s, weights, outcome[1]))


def _extended(e: Evidence, wrong: Sequence[Problem], slips: Sequence[Slip], best: Candidate) -> Candidate | None:
    """One more slip on top of what has been found, if that explains more."""
    slips_of_best = best.what if isinstance(best.what, tuple) else as_slips(e.exam, best.what)
    if not slips_of_best:
        return None
    turned = {slip.knob for slip in slips_of_best}
    better: Candidate | None = None
    for start in _telling(e, best.left(wrong))[:2]:
        for slip in slips:
            if slip.knob not in turned and explains(e, start, (*slips_of_best, slip)):
                candidate = weigh(e, wrong, (*slips_of_best, slip))
                if candidate.rank > (better or best).rank:
                    better = candidate
    return better


# ------------------------------------------------------------------------------------------------ in part


def _apart(e: Evidence, wrong: Sequence[Problem]) -> tuple[Mistake, ...]:
    """One slip that explains the context and another, or none, that explains the weights: they are computed apart."""
    pairs = {s: e.full(s) for s in _with_plain_numbers(e, wrong) if s.asks_for_weights}
    if len(pairs) < 2:
        return ()
    slips = plausible(e, wrong)

    def explaining(which: int, beside: tuple[Slip, ...] = ()) -> tuple[Slip, ...] | None:
        """The slip, on top of others, that gives all these contexts, or all these weights; empty if they need none."""
        knobs = {slip.knob for slip in beside}
        for one in ((), *((slip,) for slip in slips if slip.knob not in knobs)):
            outcomes = ((s, pair, turned(s, (*beside, *one))) for s, pair in pairs.items())
            if all(
                outcome is not None and same_numbers(s, pair[which], outcome[which]) for s, pair, outcome in outcomes
            ):
                return (*beside, *one)
        return None

    of_context, of_weights = explaining(0), explaining(1)
    if of_context is None and of_weights:
        of_context = explaining(0, of_weights)
    elif of_weights is None and of_context:
        of_weights = explaining(1, of_context)
    if of_context is None or of_weights is None:
        return ()
    return words(e.exam, tuple(dict.fromkeys((*of_context, *of_weights))))[:2]


def _in_part(e: Evidence, wrong: Sequence[Problem]) -> tuple[Mistake, ...]:
    """A slip that explains all that is wrong, and is made in some problems only, as where there is no mask."""
    numbers = _with_plain_numbers(e, wrong)
    if len(numbers) < 2 or len(numbers) < len(wrong) / 2:
        return ()
    for slip in slips_of(e.exam.takes):
        if all(explains(e, s, (slip,)) for s in numbers):
            return words(e.exam, (slip,))
    return ()


def _with_plain_numbers(e: Evidence, wrong: Sequence[Problem]) -> list[Problem]:
    return [s for s in wrong if not (s.random or s.large or s.dtype != "float32" or e.failed(s))]
