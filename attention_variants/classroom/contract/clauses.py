"""The contract of the variants, clause by clause: what is guaranteed, and what was found instead, as code and numbers.

A clause looks at answers, never at code. Most compare answers with each other (rows sum to 1; the same keys in another
order give the same context), so that a slip in one part of the contract leaves the points of the other parts alone.
The last, "the same answer", compares each answer with the right one: a function that passes all is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .answer import is_dtype_unsupported
from .evidence import SAME_ANSWER, Breach, Evidence, Finding, Missing, first_row, row
from .problems import Exam, Problem
from .reference import (
    DROPPED,
    EQUAL_KEYS,
    GRADIENT,
    MISFIT,
    OWN_SUM,
    OWN_SUM_IN_HALF,
    RELATED,
    RESCALED,
    SCALE,
    SMALLEST_SPREAD,
    SMALLEST_WEIGHT,
    SUM_OF_ONE_KEY,
    agree,
    far,
    heads_of,
    right,
    right_gradients,
    same_in_two_calls,
    sums_to_one,
    weighted_sum,
    wrong_numbers,
)

Check = Callable[[Evidence, Problem], Breach | None]


@dataclass(frozen=True)
class Clause:
    """A guarantee, and the problems on which it is looked at."""

    part: str
    guarantee: str
    check: Check
    keys: tuple[str, ...]

    def first_breach(self, e: Evidence) -> Finding | None:
        """The first problem in which the guarantee is broken."""
        for key in self.keys:
            s = e[key]
            try:
                breach = self.check(e, s)
            except Missing as missing:
                breach = missing.breach
            if breach is not None:
                return Finding(breach.code, self.part, self.guarantee, s, breach.numbers)
        return None


# ------------------------------------------------------------------------------------------------------- shapes


def answers_in_shape(e: Evidence, s: Problem) -> Breach | None:
    """A pair of tensors of the right shapes."""
    e.pair(s)
    return None


def dtype_is_kept(e: Evidence, s: Problem) -> Breach | None:
    """What comes in as float64 goes out as float64."""
    answer = e.answer(s)
    if s.dtype == "float16" and is_dtype_unsupported(answer.error):
        return None
    e.pair(s)
    other = {name: kind for name, kind in answer.kinds.items() if kind not in (f"torch.{s.dtype}", "None")}
    return Breach("other_dtype", {"expected": f"torch.{s.dtype}", "kinds": other}) if other else None


# ------------------------------------------------------------------------------------------- scores and softmax


def scores_are_scaled_products(e: Evidence, s: Problem) -> Breach | None:
    """Up to what is added to a whole row or column, the logarithms of the weights are q . k / sqrt(d_k)."""
    _, weights = e.full(s)
    d_k = heads_of(s)[0].shape[-1]
    scale, misfit = _scale_of(s, weights, rows_only=False)
    if math.isnan(scale) or misfit > MISFIT:
        return Breach("no_multiple_of_the_products")
    if abs(scale * math.sqrt(d_k) - 1) < SCALE:
        return None
    return Breach("other_scale", {"scale": scale, "expected": 1 / math.sqrt(d_k), "d_k": d_k})


def _scale_of(s: Problem, weights: np.ndarray, *, rows_only: bool) -> tuple[float, float]:
    """By what q . k is multiplied in the weights, and how badly that fits; NaN where logarithms cannot say.

    A softmax takes one number from each row of the scores (over the queries: from each column). What is centred in
    rows, or in rows and columns, no longer knows of it.
    """
    q, k, _ = heads_of(s)
    if not (np.isfinite(weights).all() and (weights > SMALLEST_WEIGHT).all()):
        return math.nan, math.inf

    def centred(x: np.ndarray) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        return x if rows_only else x - x.mean(-2, keepdims=True)

    x, y = centred(q @ np.swapaxes(k, -2, -1)), centred(np.log(weights))
    scale = float((x * y).sum() / (x * x).sum())
    return scale, float(np.abs(y - scale * x).max() / max(np.abs(y).max(), SMALLEST_SPREAD))


def equal_keys_share_equally(e: Evidence, s: Problem) -> Breach | None:
    """Keys that are the same get the same weight."""
    _, weights = e.full(s)
    spread = np.abs(weights - weights[..., :1]).max(-1)
    wrong = ~(spread <= EQUAL_KEYS)
    if not wrong.any():
        return None
    return Breach("unequal_weights_of_equal_keys", {"weights": row(weights[tuple(np.argwhere(wrong)[0])])})


def rows_sum_to_one(e: Evidence, s: Problem) -> Breach | None:
    """The weights of each query are at least 0 and sum to 1."""
    _, weights = e.full(s)
    if not np.isfinite(weights).all():
        return Breach("not_finite", {"name": "weights"})
    if (weights < 0).any():
        return Breach("negative_weights", {"lowest": float(weights.min())})
    sums = weights.sum(-1)
    close = np.abs(sums - 1) <= SUM_OF_ONE_KEY if s.weights_shape[-1] == 1 else sums_to_one(weights, -1)
    if (close | ~s.allowed.any(-1)).all():
        return None
    return Breach("other_row_sums", {"sums": row(sums.reshape(-1)), "sums_to_one": _what_sums_to_one(weights)})


def _what_sums_to_one(weights: np.ndarray) -> str | None:
    """Name what sums to 1 in place of the rows."""
    if sums_to_one(weights, -2).all():
        return "columns"
    if weights.ndim > 2 and sums_to_one(weights, 0).all():
        return "first"
    if weights.ndim > 3 and sums_to_one(weights, -3).all():
        return "heads"
    return "everything" if sums_to_one(weights, (-2, -1)).all() else None


def exponentials_of_the_scores(e: Evidence, s: Problem) -> Breach | None:
    """Within a row, a weight is proportional to the exponential of its score."""
    _, weights = e.full(s)
    scale, misfit = _scale_of(s, weights, rows_only=True)
    if math.isnan(scale):
        return Breach("weights_not_above_zero")
    return None if misfit < MISFIT else Breach("not_exponentials")


# --------------------------------------------------------------------------------- the weighted sum, other orders


def context_is_the_weighted_sum(e: Evidence, s: Problem) -> Breach | None:
    """The context is what the function's own weights make of v: so it is linear in v."""
    context, weights = e.full(s)
    expected = weighted_sum(s, weights)
    if agree(context, expected, OWN_SUM_IN_HALF if s.dtype == "float16" else OWN_SUM):
        return None
    at = first_row(far(context, expected, OWN_SUM))
    return Breach("not_the_weighted_sum", {"at": at, "context": row(context[at]), "expected": row(expected[at])})


def follows(
    first: str, change: Callable[[np.ndarray], np.ndarray], of_weights: Callable[[np.ndarray], np.ndarray], code: str
) -> Check:
    """Make a clause: the answer to a changed problem is the changed answer to the first."""

    def check(e: Evidence, s: Problem) -> Breach | None:
        context, weights = e.full(e[first])
        after, weights_after = e.full(s)
        if agree(after, change(context)) and agree(weights_after, of_weights(weights)):
            return None
        return Breach(code)

    return check


def first_of_two_batch_axes(e: Evidence, s: Problem) -> Breach | None:
    """An item of a batch of batches gets the answer that it gets in a batch."""
    context, weights = e.full(e["square"])
    both = e.full(s)
    if agree(both[0][0], context) and agree(both[1][0], weights):
        return None
    return Breach("another_answer_with_two_batch_axes")


# --------------------------------------------------------------------------------------------------------- masks


def blocked_is_zero(e: Evidence, s: Problem) -> Breach | None:
    """A blocked key has weight 0, exactly."""
    _, weights = e.full(s)
    wrong = ~s.allowed & (weights != 0)
    if not wrong.any():
        return None
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    at = where[:-1]
    return Breach(
        "blocked_key_has_weight",
        {"key": where[-1], "query": where[-2], "weight": float(weights[where]), **_masked_row(s, weights, at)},
    )


def _masked_row(s: Problem, weights: np.ndarray, at: tuple[int, ...]) -> dict[str, tuple]:
    return {"mask": tuple(bool(x) for x in s.allowed[at]), "weights": row(weights[at])}


def allowed_keep_their_proportions(e: Evidence, s: Problem) -> Breach | None:
    """Blocking some keys leaves the proportions of the others as they were, and the row at 1."""
    _, weights = e.full(s)
    if not np.isfinite(weights).all():
        return Breach("not_finite", {"name": "weights"})
    has_key = s.allowed.any(-1)
    fair = sums_to_one(weights, -1) | ~has_key
    if not fair.all():
        at = tuple(int(i) for i in np.argwhere(~fair)[0])
        return Breach("other_sum_under_a_mask", {**_masked_row(s, weights, at), "sum": float(weights[at].sum())})
    plain = e["square"]
    if s.q is not plain.q:
        return None
    _, before = e.full(plain)
    kept = before * s.allowed
    kept = kept / np.where(has_key, kept.sum(-1), 1.0)[..., None]
    if agree(weights, kept):
        return None
    at = first_row(~(np.abs(weights - kept) <= RELATED))
    return Breach(
        "other_proportions_under_a_mask",
        {**_masked_row(s, weights, at), "before": row(before[at]), "expected": row(kept[at])},
    )


def nothing_for_no_key(e: Evidence, s: Problem) -> Breach | None:
    """A query that may attend to nothing gets weights 0 and context 0."""
    context, weights = e.full(s)
    empty = ~s.allowed.any(-1)
    rows = empty if s.num_heads is None else np.all(empty, axis=-2)
    for name, x, which in (("weights", weights, empty), ("context", context, rows)):
        if not (x[which] == 0).all():
            return Breach("something_for_no_key", {"name": name, "found": row(x[which][0])})
    return None


# --------------------------------------------------------------------------------------------------------- heads


def a_head_owns_its_columns(e: Evidence, s: Problem) -> Breach | None:
    """The first head computes what it would compute alone."""
    context, weights = e.full(e["square"])
    alone, weights_alone = e.full(s)
    of_weights = not agree(weights[..., :1, :, :], weights_alone)
    of_context = not agree(context[..., : alone.shape[-1]], alone)
    if not (of_weights or of_context):
        return None
    return Breach("another_answer_of_a_head_alone", {"weights": of_weights, "context": of_context})


# ----------------------------------------------------------------------------------- gradients and side effects


def gradients_flow(e: Evidence, s: Problem) -> Breach | None:
    """Gradients exist, are finite, and reach q, k and v."""
    e.pair(s)
    answer = e.answer(s)
    if answer.no_gradient is not None:
        return Breach("no_gradient", answer.no_gradient.numbers)
    for name in "qkv":
        x, expected = answer.gradients.get(f"context.{name}"), right_gradients(s, "context")[name]
        if x is None or (not x.any() and expected.any() and not s.large):
            return Breach("gradient_does_not_reach", {"name": name})
        if not np.isfinite(x).all():
            return Breach("gradient_not_finite", {"name": name})
    return None


def gradients_are_right(e: Evidence, s: Problem) -> Breach | None:
    """They are the derivative of the right function."""
    e.pair(s)
    answer = e.answer(s)
    for which in ("context", "both") if s.asks_for_weights else ("context",):
        expected = right_gradients(s, which)
        largest = max(np.abs(x).max() for x in expected.values())
        for name, y in expected.items():
            x = answer.gradients.get(f"{which}.{name}")
            if x is None:
                return Breach("gradient_missing", {"name": name})
            wrong = ~(np.abs(x - y) <= GRADIENT * largest)
            if wrong.any():
                at = first_row(wrong)
                rows = {"found": row(x[at]), "expected": row(y[at])}
                return Breach("other_gradient", {"name": name, "through": which, "at": at, **rows})
    return None


def inputs_stay(e: Evidence, s: Problem) -> Breach | None:
    """The caller's tensors are as they were."""
    e.pair(s)
    for name, x in (("q", s.q), ("k", s.k), ("v", s.v), ("mask", s.mask)):
        after = e.answer(s).after.get(name)
        if x is not None and (after is None or not np.array_equal(after, x)):
            return Breach("input_changed", {"name": name})
    return None


def two_calls_agree(e: Evidence, s: Problem) -> Breach | None:
    """The same input gives the same output."""
    first, answer = e.pair(s), e.answer(s)
    for name, x in zip(("context", "weights"), first, strict=True):
        if x is not None and not same_in_two_calls(x, answer.again.get(name)):
            return Breach("two_calls_differ", {"name": name})
    return None


def finite(e: Evidence, s: Problem) -> Breach | None:
    """Large scores stay finite, and so do their gradients."""
    for name, x in zip(("weights", "context"), reversed(e.pair(s)), strict=True):
        if x is not None and not np.isfinite(x).all():
            return Breach("not_finite", {"name": name})
    if s.gradient:
        for name in "qkv":
            x = e.answer(s).gradients.get(f"context.{name}")
            if x is not None and not np.isfinite(x).all():
                return Breach("gradient_not_finite", {"name": name})
    return None


# ------------------------------------------------------------------------------------------------------- options


def same_without_weights(e: Evidence, s: Problem) -> Breach | None:
    """need_weights=False gives None for the weights, and the same context."""
    context, _ = e.pair(s)
    other = "square"
    if s.options.get("is_causal"):
        other = "is_causal"
    elif s.mask is not None:
        other = "nothing_allowed"
    return None if agree(context, e.full(e[other])[0]) else Breach("another_context_without_weights")


def dropout_drops(e: Evidence, s: Problem) -> Breach | None:
    """Dropout sets about dropout_p of the weights to 0 on their way to the values, and scales the others up."""
    context, weights = e.full(s)
    expected, p = right(s)[1], s.options["dropout_p"]
    if not agree(weights, expected):
        undone = np.where(weights == 0, expected, weights * (1 - p))
        return Breach("weights_after_dropout" if agree(undone, expected) else "other_weights_under_dropout", {"p": p})
    # v is the identity, twice in each head: what is dropped is dropped from all columns of the context alike
    by_head = context if s.num_heads is None else context.reshape(*context.shape[:-1], s.num_heads, -1).swapaxes(-3, -2)
    left, twin = np.split(by_head, 2, axis=-1)
    gone = left == 0
    if not agree(left, twin):
        return Breach("dropout_of_the_context", {"p": p})
    share = gone.mean()
    if share == 0:
        return Breach("no_dropout", {"p": p})
    if not DROPPED[0] < share < DROPPED[1]:
        return Breach("other_share_dropped", {"p": p, "share": float(share)})
    ratio = (left / expected)[~gone]
    if not np.abs(ratio - 1 / (1 - p)).max() < RESCALED:
        return Breach("not_rescaled", {"p": p, "expected": 1 / (1 - p), "ratio": float(np.median(ratio))})
    return None


# ----------------------------------------------------------------------------------------------- the same answer


def same_answer(e: Evidence, s: Problem) -> Breach | None:
    """The answer is the right one."""
    if s.dtype == "float16" and is_dtype_unsupported(e.answer(s).error):
        return None
    return differences(s, e.pair(s))


def differences(s: Problem, found: tuple[np.ndarray, np.ndarray | None]) -> Breach | None:
    """Where an answer differs from the right one: a row of each, in numbers."""
    told = {}
    for name, x, y, wrong in wrong_numbers(s, found):
        at = first_row(wrong)
        told[name] = {
            "wrong": int(wrong.sum()),
            "of": wrong.size,
            "at": at,
            "found": row(x[at]),
            "expected": row(y[at]),
            "largest_difference": float(np.abs(x[at] - y[at]).max()),
        }
    return Breach("other_numbers", told) if told else None


# ------------------------------------------------------------------------------------------------- all clauses

#: Problems on which most clauses about numbers are looked at.
_PLAIN = "square fewer_queries all_different"


def _masked(s: Problem) -> bool:
    return s.is_masked


def _large(s: Problem) -> bool:
    return s.large


def _twice(s: Problem) -> bool:
    return s.twice


def _with_gradients(s: Problem) -> bool:
    return s.gradient and not s.large


def _not_random(s: Problem) -> bool:
    return not s.random


#: Part, guarantee, check, and on which problems, in the order in which a report lists them. What a variant does not
#: take has no problems, and so no clause.
_CLAUSES: tuple[tuple[str, str, Check, str | Callable[[Problem], bool]], ...] = (
    ("shapes", "pair_of_tensors", answers_in_shape, "square"),
    ("shapes", "lengths_may_differ", answers_in_shape, "fewer_queries fewer_keys"),
    ("shapes", "widths_may_differ", answers_in_shape, "wide_values narrow_values"),
    ("shapes", "dtype_kept", dtype_is_kept, "square float64 float16"),
    ("scores", "scaled_products", scores_are_scaled_products, _PLAIN),
    ("scores", "equal_keys", equal_keys_share_equally, "equal_keys"),
    ("softmax", "rows_sum_to_one", rows_sum_to_one, f"{_PLAIN} single_key"),
    ("softmax", "exponentials", exponentials_of_the_scores, _PLAIN),
    ("weighted_sum", "weighted_sum", context_is_the_weighted_sum, _PLAIN),
    (
        "weighted_sum",
        "order_of_keys",
        follows("square", lambda x: x, lambda w: np.roll(w, 1, axis=-1), "another_answer_for_reordered_keys"),
        "keys_reordered",
    ),
    (
        "batch",
        "items_apart",
        follows("square", lambda x: x[::-1], lambda w: w[::-1], "another_answer_for_a_reordered_batch"),
        "batch_reordered",
    ),
    (
        "batch",
        "no_batch",
        follows("square", lambda x: x[0], lambda w: w[0], "another_answer_without_a_batch"),
        "no_batch",
    ),
    ("batch", "several_batch_axes", first_of_two_batch_axes, "two_batch_axes"),
    ("mask", "blocked_is_zero", blocked_is_zero, _masked),
    ("mask", "allowed_share_the_whole", allowed_keep_their_proportions, _masked),
    ("mask", "nothing_for_no_key", nothing_for_no_key, "nothing_allowed"),
    ("mask", "masked_weighted_sum", context_is_the_weighted_sum, _masked),
    ("heads", "own_columns", a_head_owns_its_columns, "first_head"),
    (
        "heads",
        "heads_apart",
        follows(
            "square",
            lambda x: np.roll(x, x.shape[-1] // 2, axis=-1),
            lambda w: w[..., ::-1, :, :],
            "another_answer_for_reordered_heads",
        ),
        "heads_reordered",
    ),
    ("heads", "any_number_of_heads", answers_in_shape, "three_heads"),
    ("options", "causal", same_answer, "is_causal is_causal_fewer_keys is_causal_and_mask"),
    (
        "options",
        "same_without_weights",
        same_without_weights,
        "no_weights no_weights_is_causal no_weights_and_mask",
    ),
    ("options", "dropout_of_weights", dropout_drops, "dropout"),
    ("large_numbers", "finite", finite, _large),
    ("gradients", "gradients_flow", gradients_flow, _with_gradients),
    ("gradients", "gradients_right", gradients_are_right, _with_gradients),
    ("side_effects", "inputs_stay", inputs_stay, _not_random),
    ("side_effects", "two_calls_agree", two_calls_agree, _twice),
)


def clauses(exam: Exam) -> Iterator[Clause]:
    """Give the clauses of a variant, in the order in which a report lists them.

    Parameters
    ----------
    exam : Exam
        The problems; what the variant takes decides which there are.

    Yields
    ------
    clause : Clause
    """
    for part, guarantee, check, which in _CLAUSES:
        if callable(which):
            keys = tuple(s.key for s in exam.problems if which(s))
        else:
            keys = tuple(key for key in which.split() if key in exam)
        if keys:
            yield Clause(part, guarantee, check, keys)
    for s in exam.problems:
        if not s.random:
            yield Clause(SAME_ANSWER, "right_answer", same_answer, (s.key,))


def judge(e: Evidence) -> tuple[list[Finding], dict[str, list[bool]]]:
    """Hold the answers against every clause.

    Parameters
    ----------
    e : Evidence
        The answers.

    Returns
    -------
    findings : list of Finding
        The guarantees that were not kept.
    kept : dict
        Part to whether each of its clauses is kept.
    """
    findings: list[Finding] = []
    kept: dict[str, list[bool]] = {}
    for clause in clauses(e.exam):
        with np.errstate(all="ignore"):  # wrong answers may hold NaN, inf or what overflows
            finding = clause.first_breach(e)
        kept.setdefault(clause.part, []).append(finding is None)
        if finding is not None:
            findings.append(finding)
    return findings, kept
