"""What the broken guarantees suggest, where no known mistake gives the numbers: by their code, and by where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attention_variants.classroom.contract.evidence import SAME_ANSWER, Evidence, Finding, unequal
from attention_variants.classroom.contract.problems import Problem
from attention_variants.classroom.contract.reference import (
    BELOW_ANY_WEIGHT,
    HALF_PRECISION,
    HIGH_SCORE,
    KEPT_FOR_DROPPED,
    NEAR_ZERO,
    SAME_SCORES,
    differs,
    heads_of,
    right,
)
from attention_variants.classroom.misconceptions import MISCONCEPTIONS, Mistake

from .fit import wrong_in

#: What must be found, by its code, and what it then looks like; the first that fits. Where a guarantee can be broken
#: in several ways, one of its numbers says which.
_BY_CODE: tuple[tuple[str, tuple[str, object] | None, str], ...] = (
    ("two_calls_differ", None, "different_from_call_to_call"),
    ("other_row_sums", ("sums_to_one", "columns"), "softmax_over_queries"),
    ("other_row_sums", ("sums_to_one", "heads"), "softmax_over_heads"),
    ("other_row_sums", ("sums_to_one", "first"), "softmax_over_the_batch"),
    ("other_row_sums", ("sums_to_one", "everything"), "softmax_over_everything"),
    ("another_answer_without_a_batch", None, "batch_items_mixed"),
    ("another_answer_for_a_reordered_batch", None, "batch_items_mixed"),
    ("other_scale", None, "wrong_scale"),
    ("input_changed", None, "changes_its_input"),
    ("no_gradient", None, "gradient_cut"),
    ("gradient_does_not_reach", None, "gradient_cut"),
    ("gradient_missing", None, "gradient_cut_in_part"),
    ("other_gradient", None, "gradient_cut_in_part"),
    ("gradient_not_finite", None, "gradient_cut_in_part"),
    ("other_dtype", None, "dtype_not_kept"),
    ("not_finite", None, "no_max_subtraction"),
    ("gradient_not_finite", None, "no_max_subtraction"),
)

#: Some names are fair only where nothing but these parts of the contract is broken.
_ONLY_IN: dict[str, set[str]] = {
    "gradient_cut": {"gradients", SAME_ANSWER},
    "gradient_cut_in_part": {"gradients", SAME_ANSWER},
    "no_max_subtraction": {"large_numbers", SAME_ANSWER},
}


def suspect(e: Evidence, findings: Sequence[Finding]) -> tuple[Mistake, ...]:
    """Name what the broken guarantees suggest, where no known mistake gives these numbers.

    Parameters
    ----------
    e : Evidence
        The answers.
    findings : sequence of Finding
        The guarantees that were not kept.

    Returns
    -------
    named : tuple
        One name, or none.
    """
    for suspicion in (_by_chance, by_where, by_shape, _by_gradient, _by_dtype, _by_blocked_scores, _by_code):
        named = suspicion(e, findings)
        if named is not None:
            return (MISCONCEPTIONS[named],)
    return ()


def _by_code(e: Evidence, findings: Sequence[Finding]) -> str | None:
    """What the first code suggests for which there is a name."""
    parts = {finding.part for finding in findings}
    for code, number, name in _BY_CODE:
        if name in _ONLY_IN and parts - _ONLY_IN[name]:
            continue
        for finding in findings:
            if finding.code == code and (number is None or finding.numbers[number[0]] == number[1]):
                return name
    return None


def _by_chance(e: Evidence, findings: Sequence[Finding]) -> str | None:
    """What is random without being asked, if only the context is; and a dropout that keeps what it should drop."""
    for finding in findings:
        if finding.code == "other_share_dropped":
            off = finding.numbers["share"] - (1 - finding.numbers["p"])
            if abs(off) < KEPT_FOR_DROPPED:
                return "dropout_keeps_what_it_should_drop"
    random = {name for s in e.problems if s.twice for name in unequal(e.answer(s))}
    return "dropout_in_evaluation" if random == {"context"} and "dropout" in e.exam.takes else None


def by_where(e: Evidence, findings: Sequence[Finding]) -> str | None:
    """What the problems have in common in which it is wrong, and in no other."""
    wrong = [s for s in e.problems if wrong_in(e, s)]
    others = [s for s in e.problems if s not in wrong]
    if not wrong or not others:
        return None
    if [s.key for s in wrong] == ["single_key"]:
        return "squeeze_drops_an_axis" if e.failed(wrong[0]) else "epsilon_in_the_denominator"
    if "batch" in e.exam.takes and all(s.q.ndim != 3 for s in wrong) and any(s.q.ndim == 3 for s in others):
        return "one_batch_axis_only"
    if all(s.v.shape[-1] != s.k.shape[-1] for s in wrong):
        return "context_as_wide_as_the_keys"
    if all(e.failed(s) for s in wrong):
        return _where_it_fails(e, wrong, others)
    if all(not s.allowed.any(-1).all() for s in wrong):
        return _of_no_key(e, [s for s in wrong if not e.failed(s)])
    return None


def _where_it_fails(e: Evidence, wrong: Sequence[Problem], others: Sequence[Problem]) -> str | None:
    """What the problems have in common in which no pair of the right shapes comes back."""
    if all(s.q.shape[-2] != s.k.shape[-2] for s in wrong):
        return "needs_as_many_queries_as_keys"
    if all(not s.asks_for_weights and e.answer(s).returned is not None for s in wrong):
        return "context_alone"
    if all(s.mask is None for s in wrong) and not any(s.mask is None for s in others):
        return "needs_a_mask"
    return None


def _of_no_key(e: Evidence, wrong: Sequence[Problem]) -> str:
    """What a function that is wrong only for a query with no key makes of it."""
    pairs = [e.pair(s) for s in wrong]
    if any(np.isnan(x).any() for pair in pairs for x in pair if x is not None):
        return "no_key_gives_nan"
    if not any(differs(s, pair) for s, pair in zip(wrong, pairs, strict=True)):
        return "nan_in_the_gradient"
    weights_are_right = not any(differs(s, (right(s)[0], pair[1])) for s, pair in zip(wrong, pairs, strict=True))
    return "empty_row_context_not_zero" if weights_are_right else "no_key_taken_for_every_key"


def by_shape(e: Evidence, findings: Sequence[Finding]) -> str | None:
    """What is missing in what came back."""
    found = [(s, x) for s in e.problems if (x := e.answer(s).context) is not None]
    long = [x for s, x in found if x.ndim == len(s.context_shape) and s.context_shape[-2] > 1]
    if long and all(x.shape[-2] == 1 for x in long):
        return "returned_after_the_first_query"
    one_row = [(s, x) for s, x in found if not s.large]
    if one_row and all(x.shape == (s.context_shape[-1],) for s, x in one_row if s.dtype == "float32"):
        return "one_row_alone"
    kinds = {kind for x in e.answers.values() for kind in x.kinds.values()}
    return "tensors_in_a_list" if kinds & {"list", "tuple"} else None


#: Which of q, k and v get no gradient from the context, and what that is called.
_CUT = {
    "qk": "weights_detached",
    "q": "queries_detached",
    "k": "keys_detached",
    "v": "values_detached",
    "qkv": "no_gradients",
}


def _by_gradient(e: Evidence, findings: Sequence[Finding]) -> str | None:
    """Where the way back is cut, if the numbers are right."""
    if {finding.part for finding in findings} - {"gradients"}:
        return None
    cut = {_lost(e, s) for s in e.problems if s.gradient and not s.large}
    return _CUT.get(cut.pop()) if len(cut) == 1 else None


def _lost(e: Evidence, s: Problem) -> str:
    """Which of q, k and v no gradient of the context reaches."""
    answer = e.answer(s)
    if answer.no_gradient:
        return "qkv"
    gradients = {name: answer.gradients.get(f"context.{name}") for name in "qkv"}
    return "".join(name for name, x in gradients.items() if x is None or not x.any())


#: In so many problems a function may fail that is judged by its dtype: those in float16 and float64, which it refuses.
_MAY_FAIL = 2


def _by_dtype(e: Evidence, findings: Sequence[Finding]) -> str | None:
    """Which dtype everything comes in, or was computed in."""
    kinds = {kind for s in e.problems for kind in e.answer(s).kinds.values() if kind != "None"}
    whole = [s for s in e.problems if not e.failed(s)]
    if len(whole) < len(e.problems) - _MAY_FAIL:
        return None
    if kinds == {"torch.float64"}:
        return "always_float64"
    if kinds == {"torch.float32"} and not any(wrong_in(e, s) for s in whole if s.dtype == "float32"):
        return "always_float32"
    plain = [s for s in whole if not s.large and not s.random and s.dtype != "float16" and s.mask is None]
    pairs = [(s, e.full(s)) for s in plain if s.asks_for_weights]
    distance = [max(np.abs(x - y).max() for x, y in zip(pair, right(s), strict=True)) for s, pair in pairs]
    if not distance or not HALF_PRECISION[0] < max(distance) < HALF_PRECISION[1]:
        return None
    if 2 * sum(differs(s, pair) for s, pair in pairs) > len(pairs):
        return "computed_in_half_precision"  # three digits are right, and no more
    return None


def _by_blocked_scores(e: Evidence, findings: Sequence[Finding]) -> str | None:
    """Which scores the weights of blocked keys were computed from: all the same, or all lowered by the same."""
    filled, lowered = [], []
    for s in e.masked():
        if e.failed(s) or s.dtype != "float32":
            continue
        weights = e.full(s)[1]
        blocked = ~s.allowed & s.allowed.any(-1, keepdims=True)
        if not blocked.any():
            continue
        if (weights[blocked] < BELOW_ANY_WEIGHT).all():
            return "minus_infinity_after_the_softmax"
        if not (weights[blocked] > 0).all():
            return None
        scores, behind = _scores_behind(s, weights, blocked)
        filled.append(behind[blocked])
        lowered.append((scores - behind)[blocked])
    if not filled:
        return None
    if _all_the_same(filled):
        size = float(np.concatenate(filled).mean())
        return "blocked_scores_raised" if size > HIGH_SCORE else _by_fill(size, "blocked_scores_near_zero")
    if _all_the_same(lowered):
        return _by_fill(float(np.concatenate(lowered).mean()), "mask_added_as_numbers")
    return None


def _scores_behind(s: Problem, weights: np.ndarray, blocked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The right scores, and those that the weights of blocked keys were computed from."""
    q, k, _ = heads_of(s)
    scores = q @ np.swapaxes(k, -2, -1) / np.sqrt(q.shape[-1])
    shift = np.where(s.allowed, scores - np.log(np.where(s.allowed, weights, 1.0)), -np.inf).max(-1, keepdims=True)
    return scores, np.log(np.where(blocked, weights, 1.0)) + shift


def _all_the_same(told: Sequence[np.ndarray]) -> bool:
    return all(np.ptp(x) < SAME_SCORES * max(1.0, abs(x.mean())) for x in told)


def _by_fill(size: float, near: str) -> str:
    return "fill_not_low_enough" if abs(size) > NEAR_ZERO else near
