"""Which misconception do the answers look like?

A candidate is a mistake of the catalogue, run on the same problems, or one or two slips of the `family`. It explains
what it gives in the same way, number by number. The one that explains the most is named, then the one that explains
the most of what is left. Where none does, the promises that were broken say what they can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from . import family
from .contract import (
    Evidence,
    Finding,
    Missing,
    differences,
    dropout_drops,
    dtype_is_kept,
    gradients_are_right,
    gradients_flow,
    inputs_stay,
    same_answer,
    two_calls_agree,
)
from .family import SLIPS, Slip
from .misconceptions import MISCONCEPTIONS, Misconception
from .run import Answer, ask, unharmed
from .situations import Situation, situations

#: What can be named: an entry of the catalogue, or a slip of the family that the catalogue lacks.
Named = Misconception | Slip


def diagnose(e: Evidence, findings: Sequence[Finding]) -> tuple[Named, ...]:
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


def _diagnose(e: Evidence, findings: Sequence[Finding]) -> tuple[Named, ...]:
    wrong = [s for s in e.situations.values() if wrong_in(e, s)]
    if not wrong or all(answer.error for answer in e.answers.values()):
        return tuple(suspect(findings))
    if _is_random(e):
        wrong = [s for s in wrong if s.twice] or wrong
    best = _best_single(e, wrong)
    if best is not None and not best.left(wrong):
        return _words(e.variant, best)
    if any("inplace operation" in (e.answers[s.title].no_gradient or "") for s in wrong):
        return (_WRITTEN_INTO, *(_words(e.variant, found) if (found := _best_with_numbers(e, wrong)) else ()))[:2]
    if not _is_random(e):  # of what is random, no numbers can be compared
        slips = _plausible(e, wrong)
        better = _best_pair(e, wrong, slips) if best is None else _extended(e, wrong, slips, best)
        best = better or best
    if best is None:
        return tuple(suspect(findings))
    named = _words(e.variant, best)
    left = best.left(wrong)
    if left and len(named) == 1:
        second = _best_single(e, left)
        if second is not None:
            named += tuple(x for x in _words(e.variant, second) if x not in named)
    return named[:2]


class _Candidate:
    """A mistake or a set of slips, and the problems whose outcome it explains."""

    def __init__(self, what: Misconception | tuple[Slip, ...], hits: set[str], false: int) -> None:
        self.what, self.hits, self.false = what, hits, false

    def left(self, wrong: Iterable[Situation]) -> list[Situation]:
        return [s for s in wrong if s.title not in self.hits]

    @property
    def rank(self) -> tuple[float, ...]:
        """The more it explains the better; then the catalogue before the family, one slip before two."""
        simple = 0 if isinstance(self.what, Misconception) else len(self.what)
        return len(self.hits) - 2 * self.false, -simple


def _best_single(e: Evidence, wrong: Sequence[Situation]) -> _Candidate | None:
    candidates: list[Misconception | tuple[Slip, ...]] = [*_catalogue(e.variant), *((s,) for s in _slips(e.variant))]
    best: _Candidate | None = None
    for start in _telling(e, wrong):
        fitting = [_weigh(e, wrong, what) for what in candidates if _explains(e, start, what)]
        best = max([*fitting, *([best] if best else [])], key=lambda c: c.rank, default=None)
        if best is not None and (not best.left(wrong) or best.rank[0] > 0):
            break
    return best if best is not None and best.rank[0] > 0 else None


def _best_with_numbers(e: Evidence, wrong: Sequence[Situation]) -> _Candidate | None:
    """The best of those that explain wrong numbers, not only a missing gradient."""
    wrong = [s for s in wrong if e.answers[s.title].error or differences(s, e.pair(s))]
    return _best_single(e, wrong) if wrong else None


def _telling(e: Evidence, wrong: Sequence[Situation]) -> list[Situation]:
    """Problems to start from: those with numbers to compare first, not more than six."""
    with_numbers = [s for s in wrong if not e.answers[s.title].error and not s.large]
    return [*with_numbers, *(s for s in wrong if s not in with_numbers)][:6]


def _plausible(e: Evidence, wrong: Sequence[Situation]) -> list[Slip]:
    """Slips that show nowhere but where the answers are wrong."""
    right_ones = [s for s in e.situations.values() if s not in wrong]
    return [slip for slip in _slips(e.variant) if not any(_shows(s, (slip,)) for s in right_ones)]


def _best_pair(e: Evidence, wrong: Sequence[Situation], slips: Sequence[Slip]) -> _Candidate | None:
    best: _Candidate | None = None
    for start in _telling(e, wrong)[:2]:
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
        return True
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


def _weigh(e: Evidence, wrong: Sequence[Situation], what: Misconception | tuple[Slip, ...]) -> _Candidate:
    hits = {s.title for s in wrong if _explains(e, s, what)}
    others = [s for s in e.situations.values() if s not in wrong and s.dtype != "float16"]
    false = sum(_is_wrong(s, what) for s in others if s.twice or not _is_random(e))
    return _Candidate(what, hits, false)


# ------------------------------------------------------------------------------------------ what explains what


def wrong_in(e: Evidence, s: Situation) -> bool:
    """Whether anything is wrong with the answer to a problem."""
    checks: list[Callable] = [dropout_drops] if s.random else [same_answer, inputs_stay]
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


def _explains(e: Evidence, s: Situation, what: Misconception | tuple[Slip, ...]) -> bool:
    """Whether this, being wrong itself here, gives what the function gives."""
    if s.dtype == "float16" and not isinstance(what, Misconception):
        return _shows(s, what)  # too few digits to compare
    if isinstance(what, Misconception):
        other = _answer(what, s)
        return other is not None and _same_answer(e, s, other) and _is_wrong(s, what)
    if s.random:
        return False
    outcome = family.turned(s, what)
    try:
        context, weights = e.pair(s)
    except Missing:
        return outcome is None
    if outcome is None or not _close(s, context, outcome[0]):
        return False
    return (weights is None or _close(s, weights, outcome[1])) and _shows(s, what)


def _is_wrong(s: Situation, what: Misconception | tuple[Slip, ...]) -> bool:
    return _mistake_is_wrong(what, s) if isinstance(what, Misconception) else _shows(s, what)


@lru_cache(maxsize=20_000)
def _shows(s: Situation, slips: tuple[Slip, ...]) -> bool:
    """Whether slips change the answer to a problem."""
    outcome = family.turned(s, slips)
    if outcome is None:
        return True
    return bool(differences(s, outcome if s.options.get("need_weights", True) else (outcome[0], None)))


@lru_cache(maxsize=4096)
def _answer_of(name: str, s: Situation) -> Answer | None:
    function = function_of(MISCONCEPTIONS[name], s.variant)
    if function is None:
        return None
    return ask(function, s)


def _answer(mistake: Misconception, s: Situation) -> Answer | None:
    return _answer_of(mistake.name, s)


def _mistake_is_wrong(mistake: Misconception, s: Situation) -> bool:
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
    random = _unequal(found) & _unequal(other)
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


def _is_random(e: Evidence) -> bool:
    """Whether the function gives another answer from call to call: then only where it was asked twice is it judged."""
    return any(_unequal(e.answers[s.title]) for s in e.situations.values() if s.twice)


def _unequal(answer: Answer) -> set[str]:
    """What differs from call to call."""
    pairs = {name: (getattr(answer, name), again) for name, again in answer.again.items()}
    return {
        name
        for name, (x, y) in pairs.items()
        if x is None or x.shape != y.shape or not np.allclose(x, y, rtol=1e-3, atol=1e-5, equal_nan=True)
    }


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


def function_of(mistake: Misconception, variant: int) -> Callable | None:
    """The wrong implementation of a variant; the first three are called alike, so one may stand in for another."""
    functions: dict[int, Callable] = getattr(mistake, "functions", {mistake.variant: mistake.function})
    if variant in functions:
        return functions[variant]
    if variant <= 3:
        return next((f for number, f in functions.items() if number <= 3), None)
    return functions.get(5) if variant == 6 else functions.get(6) if variant == 5 else None


@lru_cache
def _catalogue(variant: int) -> tuple[Misconception, ...]:
    """Entries that can occur here, those made for this variant first."""
    here = [m for m in MISCONCEPTIONS.values() if function_of(m, variant) is not None]
    return tuple(sorted(here, key=lambda m: variant not in getattr(m, "functions", {m.variant: None})))


@lru_cache
def _slips(variant: int) -> tuple[Slip, ...]:
    return tuple(slip for slip in SLIPS if variant in slip.variants)


@lru_cache(maxsize=1024)
def _entry_of(variant: int, slip: Slip) -> str | None:
    """The name of the catalogue's entry that does the same as a slip: its words are preferred."""
    if slip.name in MISCONCEPTIONS:
        return slip.name
    for mistake in _catalogue(variant):
        if _is_the_same(variant, mistake, (slip,)):
            return mistake.name
    return None


def _is_the_same(variant: int, mistake: Misconception, slips: tuple[Slip, ...]) -> bool:
    """Whether an entry and a slip show in the same problems, and there give the same."""
    comparable = [s for s in situations(variant) if not s.random and not s.large and s.dtype == "float32"]
    comparable.sort(key=lambda s: not _shows(s, slips))  # where it shows, most entries differ at once
    return _shows(comparable[0], slips) and all(_both(s, mistake, slips) for s in comparable)


def _both(s: Situation, mistake: Misconception, slips: tuple[Slip, ...]) -> bool:
    answer = _answer(mistake, s)
    if answer is None:
        return False
    if not _shows(s, slips):
        return not _mistake_is_wrong(mistake, s)
    return _explains(Evidence(s.variant, {s.title: answer}), s, slips)


@lru_cache(maxsize=1024)
def _as_slips_of(variant: int, name: str) -> tuple[Slip, ...]:
    return next(((slip,) for slip in _slips(variant) if _is_the_same(variant, MISCONCEPTIONS[name], (slip,))), ())


def _as_slips(variant: int, mistake: Misconception) -> tuple[Slip, ...]:
    """The slip that does the same as an entry of the catalogue, so that it can be combined with another."""
    return _as_slips_of(variant, mistake.name)


def _words(variant: int, candidate: _Candidate) -> tuple[Named, ...]:
    if isinstance(candidate.what, Misconception):
        return (candidate.what,)
    named: list[Named] = []
    for slip in candidate.what:
        entry = _entry_of(variant, slip)
        named.append(slip if entry is None else MISCONCEPTIONS[entry])
    return tuple(named)


# -------------------------------------------------------------------------------- when only the promises can tell


def _suspicion(name: str, explanation: str, hint: str) -> Slip:
    return Slip("", "", name, explanation, hint, family.EVERY)


def _of_family(knob: str, setting: str) -> Slip:
    return next(slip for slip in SLIPS if (slip.knob, slip.setting) == (knob, setting))


_WRITTEN_INTO = _suspicion(
    "written_into_after_use",
    "A tensor is written into after something was computed from it: autograd can no longer find its way back.",
    "Which tensor do you fill row by row, and read from in between? Keep the row in a name of its own first.",
)
_ONE_BATCH_AXIS = _suspicion(
    "one_batch_axis_only",
    "It works with exactly one batch dimension; there may be none, or several.",
    "Count axes from the back: -1 and -2 are always the same two. What may stand before them?",
)
_EPSILON = _suspicion(
    "epsilon_in_the_denominator",
    "Something small is added to the sum of the exponentials: rows sum to a little less than 1.",
    "After the maximum is taken off, how small can the sum of the exponentials of a row become?",
)

#: What must stand in a finding, and what it then looks like; the first that fits.
_SUSPICIONS: tuple[tuple[str, Slip], ...] = (
    (
        "two calls on the same input",
        _suspicion(
            "different_from_call_to_call",
            "Two calls on the same input disagree: something is random, or is kept from the call before.",
            "Who decides whether weights are dropped, and what does the function remember?",
        ),
    ),
    ("the columns do sum to 1", _of_family("axis", "queries")),
    ("summed over the heads they give 1", _of_family("axis", "heads")),
    ("summed over the first axis they give 1", _of_family("axis", "first")),
    ("the whole matrix does sum to 1", _of_family("axis", "everything")),
    (
        "the first item alone gives another answer than in a batch",
        _suspicion(
            "batch_items_mixed",
            "The items of a batch see each other: a sequence alone gets another answer than in a batch.",
            "Which of your operations run over the first axis, or join it with another?",
        ),
    ),
    (
        "the weights are those of scores",
        _suspicion(
            "wrong_scale",
            "The scores are right but for a factor: they are not divided by the root of the width of a head.",
            family._SCALE,
        ),
    ),
    (
        "it changed its input",
        _suspicion(
            "changes_its_input",
            "A tensor of the caller is changed in place.",
            "Which of your operations write into a tensor that they were given? (x *= 2 does, x = x * 2 does not.)",
        ),
    ),
    (
        "no gradient",
        _suspicion(
            "gradient_cut",
            "The numbers are right, but autograd cannot follow how they came about.",
            "Where do the numbers leave the tensor they were in: detach, data, item, tolist, numpy, no_grad?",
        ),
    ),
    (
        "the gradient of",
        _suspicion(
            "gradient_cut_in_part",
            "The numbers are right, but part of the way back is missing: a gradient is too small or too large.",
            "Which tensor on the way is detached, or copied into a new one?",
        ),
    ),
    (
        "has dtype",
        _suspicion(
            "dtype_not_kept",
            "The result has a dtype of its own, not that of q, k and v.",
            "Which tensor do you make yourself, and who tells it its dtype?",
        ),
    ),
    (
        "NaN or inf",
        _of_family("axis", "overflow"),
    ),
)


def suspect(findings: Sequence[Finding]) -> list[Named]:
    """Name what the broken promises suggest, where no known mistake gives these numbers."""
    parts = {finding.part for finding in findings}
    answers = {finding.situation.title for finding in findings if finding.part == "the same answer"}
    if answers == {"a single key"}:
        return [_EPSILON]
    if answers and answers <= {"no batch dimension", "two batch dimensions"}:
        return [_ONE_BATCH_AXIS]
    for finding in findings:
        if finding.part == "shapes" and "and of keys may differ" in finding.promise and "it raised" in finding.lines[0]:
            if any(f.promise.startswith("a pair of tensors") for f in findings):
                break
            return [
                _suspicion(
                    "needs_as_many_queries_as_keys",
                    "It works only where there are as many queries as keys; the two lengths may differ.",
                    "Which of your lengths come from q and which from k?",
                )
            ]
    for words, slip in _SUSPICIONS:
        if words in ("the gradient of", "no gradient") and parts - {"gradients", "the same answer"}:
            continue
        if words == "NaN or inf" and not parts <= {"large numbers", "the same answer"}:
            continue
        if any(words in line for finding in findings for line in finding.lines):
            return [slip]
    return []


def as_dict(named: Named) -> dict[str, Any]:
    """A name with its words, for JSON."""
    return {
        "name": named.name,
        "explanation": named.explanation,
        "hint": named.hint,
        "in_catalogue": isinstance(named, Misconception),
    }
