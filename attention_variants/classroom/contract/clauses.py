"""The contract of the variants, clause by clause: what is promised, and in words what was found instead.

A clause looks at answers, never at code. Most compare answers with each other (rows sum to 1; the same keys in another
order give the same context), so that a slip in one part of the contract leaves the points of the other parts alone.
The last, "the same answer", compares each answer with the right one: a function that passes all is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from attention_variants.classroom.diagnosis.knobs import _split, right, right_gradients
from attention_variants.classroom.sandbox.run import Answer

from .problems import Situation, situations

#: What each part of the contract is worth, before a variant's parts are made to sum to 1.
PARTS = {
    "shapes": 1.0,
    "scores": 2.0,
    "softmax": 2.0,
    "weighted sum": 1.5,
    "batch": 1.0,
    "mask": 2.0,
    "heads": 2.0,
    "options": 1.5,
    "large numbers": 1.0,
    "gradients": 1.0,
    "manners": 0.5,
    "the same answer": 4.0,
}

#: The part that a variant is about, where there is one: there it counts so many times as much.
LESSONS = {3: "batch", 4: "mask", 5: "heads", 6: "heads", 7: "options"}
LESSON_COUNTS = 3.0


@dataclass(frozen=True)
class Finding:
    """One promise that was not kept.

    Attributes
    ----------
    part : str
        The part of the contract.
    promise : str
        What was promised.
    situation : Situation
        The smallest problem that shows it.
    lines : tuple of str
        What was found there, in words and numbers.
    """

    part: str
    promise: str
    situation: Situation
    lines: tuple[str, ...]


class Missing(Exception):  # noqa: N818 (no error of ours: it carries what was found in place of numbers)
    """There is no answer to look at; the message says what came."""


@dataclass
class Evidence:
    """The answers of one function, by the title of the problem.

    Attributes
    ----------
    variant : int
        1 to 7.
    answers : dict
        Title to answer.
    paper : int
        Which paper they are answers to.
    """

    variant: int
    answers: dict[str, Answer]
    paper: int = 0
    situations: dict[str, Situation] = field(init=False)

    def __post_init__(self) -> None:
        self.situations = {s.title: s for s in situations(self.variant, self.paper)}

    def pair(self, s: Situation) -> tuple[np.ndarray, np.ndarray | None]:
        """Context and weights of the right shape, or `Missing`."""
        answer = self.answers[s.title]
        if answer.error is not None:
            kind, _, words = answer.error.partition(": ")
            raise Missing(words if kind in ("TimeIsUp", "Ended") else f"it raised {answer.error}")
        if answer.returned is not None:
            raise Missing(f"it returned {answer.returned}; expected the pair (context, weights)")
        if s.options.get("need_weights", True):
            _of_shape("weights", answer.weights, answer.kinds["weights"], s.weights_shape, other=answer.context)
            _of_shape("context", answer.context, answer.kinds["context"], s.context_shape)
        else:
            _of_shape("context", answer.context, answer.kinds["context"], s.context_shape)
            if answer.kinds["weights"] != "None":
                raise Missing(f"weights is a {answer.kinds['weights']}; with need_weights=False it must be None")
        assert answer.context is not None
        return answer.context, answer.weights

    def full(self, s: Situation) -> tuple[np.ndarray, np.ndarray]:
        """As `pair`, of a problem that asks for weights."""
        context, weights = self.pair(s)
        assert weights is not None
        return context, weights

    def masked(self) -> list[Situation]:
        """The problems with a mask and ordinary scores."""
        return [s for s in self.situations.values() if s.mask is not None and not s.large and not s.options]

    @cached_property
    def random(self) -> bool:
        """Whether the answers differ from call to call: then they are judged only where there were two calls."""
        return any(unequal(self.answers[s.title]) for s in self.situations.values() if s.twice)

    def __getitem__(self, title: str) -> Situation:
        return self.situations[title]


def unequal(answer: Answer) -> set[str]:
    """Which of context and weights differ from call to call."""
    pairs = {name: (getattr(answer, name), again) for name, again in answer.again.items()}
    return {
        name
        for name, (x, y) in pairs.items()
        if x is None or x.shape != y.shape or not np.allclose(x, y, rtol=1e-3, atol=1e-5, equal_nan=True)
    }


def _of_shape(
    name: str, x: np.ndarray | None, kind: str, shape: tuple[int, ...], other: np.ndarray | None = None
) -> None:
    if x is None:
        raise Missing(f"{name} is a {kind}; expected a tensor of shape {shape}".replace("a None", "None"))
    if x.shape != shape:
        swapped = other is not None and other.shape == shape and other.shape != x.shape
        more = ". Are the two swapped? It is (context, weights)" if swapped else ""
        raise Missing(f"{name} has shape {x.shape}; expected {shape}{more}")


# ------------------------------------------------------------------------------- how far right may be from right


@lru_cache(maxsize=512)
def tolerances(s: Situation) -> tuple[np.ndarray, np.ndarray]:
    """How far context and weights may be from the reference, number by number, however they are computed.

    Rounding moves a score by some multiple of eps times the numbers summed in it, and a weight, its exponential, by
    that ratio. So a score of 40,000 in float32 may move a weight by a per cent, and a score of 1 by a millionth.
    """
    context, weights = right(s)
    q, k, v = _split(s, None)
    summed = np.abs(q) @ np.swapaxes(np.abs(k), -2, -1) / math.sqrt(q.shape[-1])
    eps = 2.0**-10 if s.dtype == "float16" else 2.0**-23  # float64 may be computed in float32: still attention
    shift = 16 * eps * (1 + summed.max(-1, keepdims=True))
    of_weights = weights * np.expm1(np.minimum(2 * shift, 50.0)) + 4 * eps
    if s.weights_shape[-1] == 1:
        of_weights = np.full_like(weights, 4 * eps)  # a single key has weight 1, whatever its score
    of_context = of_weights @ np.abs(v) + 16 * eps * (weights @ np.abs(v)) + 4 * eps
    if s.num_heads is not None:
        of_context = np.swapaxes(of_context, -3, -2).reshape(context.shape)
    return of_context, of_weights


def differences(s: Situation, found: tuple[np.ndarray, np.ndarray | None]) -> list[str]:
    """Where an answer differs from the right one: a row of each, in numbers."""
    lines: list[str] = []
    for name, x, y, wrong in _wrong_numbers(s, found):
        row = tuple(np.argwhere(wrong)[0][:-1])
        where = "".join(f"[{i}]" for i in row)
        digits = 3 if not (np.abs(x[row] - y[row]) < 2e-3).all() else 7
        verb = "differ" if name == "weights" else "differs"
        lines += [
            f"{name} {verb} in {int(wrong.sum())} of {wrong.size} numbers, first in {name}{where}:",
            f"  found     {numbers(x[row], digits)}",
            f"  expected  {numbers(y[row], digits)}",
        ]
    return lines


def differs(s: Situation, found: tuple[np.ndarray, np.ndarray | None]) -> bool:
    """Whether an answer differs from the right one, without the words."""
    return any(True for _ in _wrong_numbers(s, found))


def _wrong_numbers(
    s: Situation, found: tuple[np.ndarray, np.ndarray | None]
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Weights, then context, if they are wrong: the name, what was found, what is right, and where they differ."""
    expected, allowed = right(s), tolerances(s)
    for name, i in (("weights", 1), ("context", 0)):
        x = found[i]
        if x is None or (s.random and name == "context"):
            continue
        wrong = ~(np.abs(x - expected[i]) <= allowed[i])  # NaN is wrong
        if name == "weights":
            wrong |= ~s.allowed & (x != 0)
        if wrong.any():
            yield name, x, expected[i], wrong


def numbers(x: np.ndarray, digits: int = 3) -> str:
    """Print a row."""
    shown = "  ".join(f"{number:.{digits}f}" if abs(number) < 1e6 else f"{number:.1e}" for number in x[:8])
    return f"[{shown}{'  ...' if len(x) > 8 else ''}]"


def agree(x: np.ndarray, y: np.ndarray, tolerance: float = 2e-4) -> bool:
    """Whether two answers of the same function are the same but for rounding."""
    return x.shape == y.shape and bool((np.abs(x - y) <= tolerance * (1 + np.abs(y))).all())


# ----------------------------------------------------------------------------------------------------- clauses

Check = Callable[[Evidence, Situation], list[str]]


@dataclass(frozen=True)
class Clause:
    """A promise, and the problems on which it is looked at."""

    part: str
    promise: str
    check: Check
    titles: tuple[str, ...]

    def first_breach(self, e: Evidence) -> Finding | None:
        """The first problem in which the promise is broken."""
        for title in self.titles:
            s = e[title]
            try:
                lines = self.check(e, s)
            except Missing as missing:
                lines = [str(missing)]
            if lines:
                return Finding(self.part, self.promise, s, tuple(lines))
        return None


def answers_in_shape(e: Evidence, s: Situation) -> list[str]:
    """A pair of tensors of the right shapes."""
    e.pair(s)
    return []


def dtype_is_kept(e: Evidence, s: Situation) -> list[str]:
    """What comes in as float64 goes out as float64."""
    answer = e.answers[s.title]
    if "not implemented for 'Half'" in (answer.error or ""):
        return []  # an operation that this PyTorch lacks on this device is not the function's fault
    e.pair(s)
    return [
        f"{name} has dtype {kind}; expected torch.{s.dtype}, as q, k and v"
        for name, kind in answer.kinds.items()
        if kind not in (f"torch.{s.dtype}", "None")
    ]


def scores_are_scaled_products(e: Evidence, s: Situation) -> list[str]:
    """Up to what is added to a whole row or column, the logarithms of the weights are q . k / sqrt(d_k)."""
    _, weights = e.full(s)
    q, _, _ = _split(s, None)
    d_k = q.shape[-1]
    scale, misfit = scale_of(s, weights, rows_only=False)
    if math.isnan(scale) or misfit > 0.02:
        return ["the weights do not follow from any multiple of q . k"]
    if abs(scale * math.sqrt(d_k) - 1) < 2e-3:
        return []
    return [
        f"the weights are those of scores {scale:.3f} * (q . k); "
        f"expected {1 / math.sqrt(d_k):.3f} * (q . k), which is 1 / sqrt(d_k) with d_k = {d_k}"
    ]


def scale_of(s: Situation, weights: np.ndarray, *, rows_only: bool) -> tuple[float, float]:
    """By what q . k is multiplied in the weights, and how badly that fits; NaN where logarithms cannot say.

    A softmax takes one number from each row of the scores (over the queries: from each column). What is centred in
    rows, or in rows and columns, no longer knows of it.
    """
    q, k, _ = _split(s, None)
    if not (np.isfinite(weights).all() and (weights > 1e-12).all()):
        return math.nan, math.inf

    def centred(x: np.ndarray) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        return x if rows_only else x - x.mean(-2, keepdims=True)

    x, y = centred(q @ np.swapaxes(k, -2, -1)), centred(np.log(weights))
    scale = float((x * y).sum() / (x * x).sum())
    return scale, float(np.abs(y - scale * x).max() / max(np.abs(y).max(), 1e-6))


def equal_keys_share_equally(e: Evidence, s: Situation) -> list[str]:
    """Keys that are the same get the same weight."""
    _, weights = e.full(s)
    spread = np.abs(weights - weights[..., :1]).max(-1)
    if (spread <= 1e-4).all():
        return []
    row = tuple(np.argwhere(~(spread <= 1e-4))[0])
    return [f"all keys are the same, their weights are not: {numbers(weights[row])}"]


def rows_sum_to_one(e: Evidence, s: Situation) -> list[str]:
    """The weights of each query are at least 0 and sum to 1."""
    _, weights = e.full(s)
    if not np.isfinite(weights).all():
        return ["there is NaN or inf in the weights"]
    if (weights < 0).any():
        return [f"there are negative weights, such as {weights.min():.3f}"]
    has_key = s.allowed.any(-1)
    sums = weights.sum(-1)
    close = np.abs(sums - 1) <= (5e-7 if s.weights_shape[-1] == 1 else 1e-4)
    if (close | ~has_key).all():
        return []
    return [f"the rows of the weights must sum to 1; here they sum to {numbers(sums.reshape(-1))}{_what_does(weights)}"]


def _what_does(weights: np.ndarray) -> str:
    """Name what sums to 1 in place of the rows."""

    def ones(sums: np.ndarray) -> bool:
        return bool((np.abs(sums - 1) <= 1e-4).all())

    if ones(weights.sum(-2)):
        return "; the columns do sum to 1"
    if weights.ndim > 2 and ones(weights.sum(0)):
        return "; summed over the first axis they give 1"
    if weights.ndim > 3 and ones(weights.sum(-3)):
        return "; summed over the heads they give 1"
    if ones(weights.sum((-2, -1))):
        return "; the whole matrix does sum to 1"
    return ""


def exponentials_of_the_scores(e: Evidence, s: Situation) -> list[str]:
    """Within a row, a weight is proportional to the exponential of its score."""
    _, weights = e.full(s)
    scale, misfit = scale_of(s, weights, rows_only=True)
    if math.isnan(scale):
        return ["weights of 0, negative or not finite, where the softmax of moderate scores is always above 0"]
    return [] if misfit < 0.02 else ["within a row, the weights are not proportional to the exponentials of scores"]


def context_is_the_weighted_sum(e: Evidence, s: Situation) -> list[str]:
    """The context is what the function's own weights make of v: so it is linear in v."""
    context, weights = e.full(s)
    expected = weighted_sum(s, weights)
    if agree(context, expected, 5e-3 if s.dtype == "float16" else 1e-4):
        return []
    row = tuple(np.argwhere(~(np.abs(context - expected) <= 1e-4 * (1 + np.abs(expected))))[0][:-1])
    where = "".join(f"[{i}]" for i in row)
    return [
        "the context is not the sum of the values by the weights that were returned:",
        f"  context{where}                {numbers(context[row])}",
        f"  those weights with v give  {numbers(expected[row])}",
    ]


def weighted_sum(s: Situation, weights: np.ndarray) -> np.ndarray:
    """What weights make of the values, heads side by side."""
    _, _, v = _split(s, None)
    context = weights @ v
    return context if s.num_heads is None else np.swapaxes(context, -3, -2).reshape(s.context_shape)


def follows(first: str, change: Callable[[np.ndarray], np.ndarray], of_weights: Callable, words: str) -> Check:
    """Make a clause: the answer to a changed problem is the changed answer to the first."""

    def check(e: Evidence, s: Situation) -> list[str]:
        context, weights = e.full(e[first])
        after, weights_after = e.full(s)
        if agree(after, change(context)) and agree(weights_after, of_weights(weights)):
            return []
        return [words]

    return check


def blocked_is_zero(e: Evidence, s: Situation) -> list[str]:
    """A blocked key has weight 0, exactly."""
    _, weights = e.full(s)
    wrong = ~s.allowed & (weights != 0)
    if not wrong.any():
        return []
    where = tuple(np.argwhere(wrong)[0])
    row = where[:-1]
    return [
        f"key {where[-1]} is blocked for query {where[-2]} (mask: {_words(s.allowed[row])}), "
        f"but gets a weight of {weights[where]:.3g}; the row is {numbers(weights[row])}"
    ]


def allowed_keep_their_proportions(e: Evidence, s: Situation) -> list[str]:
    """Blocking some keys leaves the proportions of the others as they were, and the row at 1."""
    _, weights = e.full(s)
    if not np.isfinite(weights).all():
        return ["there is NaN or inf in the weights"]
    has_key = s.allowed.any(-1)
    sums = weights.sum(-1)
    if not ((np.abs(sums - 1) <= 1e-4) | ~has_key).all():
        row = tuple(np.argwhere(~((np.abs(sums - 1) <= 1e-4) | ~has_key))[0])
        return [
            f"with the mask {_words(s.allowed[row])} a row is {numbers(weights[row])}: "
            f"it sums to {sums[row]:.3f}, not to 1"
        ]
    plain = e["as many queries as keys"]
    if s.q is not plain.q:
        return []
    _, before = e.full(plain)
    kept = before * s.allowed
    kept = kept / np.where(has_key, kept.sum(-1), 1.0)[..., None]
    if agree(weights, kept):
        return []
    row = tuple(np.argwhere(~(np.abs(weights - kept) <= 2e-4))[0][:-1])
    return [
        f"with the mask {_words(s.allowed[row])} a row is {numbers(weights[row])}; "
        f"its weights without a mask, {numbers(before[row])}, make that {numbers(kept[row])}"
    ]


def _words(row: np.ndarray) -> str:
    return "[" + ", ".join("True" if x else "False" for x in row) + "]"


def nothing_for_no_key(e: Evidence, s: Situation) -> list[str]:
    """A query that may attend to nothing gets weights 0 and context 0."""
    context, weights = e.full(s)
    empty = ~s.allowed.any(-1)
    if not (weights[empty] == 0).all():
        return [f"query 1 may attend to nothing, but its weights are {numbers(weights[empty][0])}; expected 0"]
    rows = empty if s.num_heads is None else np.all(empty, axis=-2)
    if not (context[rows] == 0).all():
        return [f"query 1 may attend to nothing, but its context is {numbers(context[rows][0])}; expected 0"]
    return []


def a_head_owns_its_columns(e: Evidence, s: Situation) -> list[str]:
    """The first head computes what it would compute alone."""
    context, weights = e.full(e["as many queries as keys"])
    alone, weights_alone = e.full(s)
    lines = []
    if not agree(weights[..., :1, :, :], weights_alone):
        lines.append("the weights of head 0 are not those that its own columns of q and k give")
    if not agree(context[..., : alone.shape[-1]], alone):
        lines.append("the first d_k columns of the context are not what head 0 gives alone")
    return lines


def gradients_flow(e: Evidence, s: Situation) -> list[str]:
    """Gradients exist, are finite, and reach q, k and v."""
    e.pair(s)
    answer = e.answers[s.title]
    if answer.no_gradient is not None:
        return ["no gradient can be computed from the output", answer.no_gradient]
    for name in "qkv":
        x, expected = answer.gradients.get(f"context.{name}"), right_gradients(s, "context")[name]
        if x is None or (not x.any() and expected.any() and not s.large):
            return [f"no gradient flows from the context back to {name}"]
        if not np.isfinite(x).all():
            return [f"there is NaN or inf in the gradient of {name}"]
    return []


def gradients_are_right(e: Evidence, s: Situation) -> list[str]:
    """They are the derivative of the right function."""
    e.pair(s)
    answer = e.answers[s.title]
    for which in ("context", "both") if s.options.get("need_weights", True) else ("context",):
        expected = right_gradients(s, which)
        largest = max(np.abs(x).max() for x in expected.values())
        for name, y in expected.items():
            x = answer.gradients.get(f"{which}.{name}")
            if x is None:
                return [f"the gradient of {name} differs: there is none"]
            wrong = ~(np.abs(x - y) <= 2e-4 * largest)
            if wrong.any():
                row = tuple(np.argwhere(wrong)[0][:-1])
                where = "".join(f"[{i}]" for i in row)
                through = " through the context" if which == "context" else " through context and weights"
                return [
                    f"the gradient of {name}{through} differs, first in row {where}:",
                    f"  found     {numbers(x[row])}",
                    f"  expected  {numbers(y[row])}",
                ]
    return []


def inputs_stay(e: Evidence, s: Situation) -> list[str]:
    """The caller's tensors are as they were."""
    e.pair(s)
    for name, x in (("q", s.q), ("k", s.k), ("v", s.v), ("mask", s.mask)):
        after = e.answers[s.title].after.get(name)
        if x is not None and (after is None or not np.array_equal(after, x)):
            return [f"it changed its input {name}; the caller's tensors must stay as they are"]
    return []


def two_calls_agree(e: Evidence, s: Situation) -> list[str]:
    """The same input gives the same output."""
    first, answer = e.pair(s), e.answers[s.title]
    for name, x in zip(("context", "weights"), first, strict=True):
        y = answer.again.get(name)
        if x is not None and (
            y is None or x.shape != y.shape or not np.allclose(x, y, rtol=1e-3, atol=1e-5, equal_nan=True)
        ):
            return [f"two calls on the same input give a different {name}: something in it is random, or remembered"]
    return []


def finite(e: Evidence, s: Situation) -> list[str]:
    """Large scores stay finite, and so do their gradients."""
    for name, x in zip(("weights", "context"), reversed(e.pair(s)), strict=True):
        if x is not None and not np.isfinite(x).all():
            return [f"there is NaN or inf in the {name}"]
    if s.gradient:
        for name in "qkv":
            x = e.answers[s.title].gradients.get(f"context.{name}")
            if x is not None and not np.isfinite(x).all():
                return [f"there is NaN or inf in the gradient of {name}"]
    return []


def same_without_weights(e: Evidence, s: Situation) -> list[str]:
    """need_weights=False gives None for the weights, and the same context."""
    context, _ = e.pair(s)
    other = "as many queries as keys"
    if s.options.get("is_causal"):
        other = "is_causal=True"
    elif s.mask is not None:
        other = "a query that may attend to nothing"
    return [] if agree(context, e.full(e[other])[0]) else ["the context is not the one that comes with the weights"]


def dropout_drops(e: Evidence, s: Situation) -> list[str]:
    """Dropout sets about dropout_p of the weights to 0 on their way to the values, and scales the others up."""
    context, weights = e.full(s)
    expected = right(s)[1]
    # v is the identity, twice in each head: what is dropped is dropped from all columns of the context alike
    by_head = context.reshape(*context.shape[:-1], s.weights_shape[-3], -1)
    left, twin = np.split(np.swapaxes(by_head, -3, -2), 2, axis=-1)
    gone = left == 0
    if not agree(weights, expected):
        dropped = np.where(weights == 0, expected, weights * 0.75)
        if agree(dropped, expected):
            return ["the weights returned with dropout_p=0.25 are those after dropout; return those before it"]
        return ["the weights returned with dropout_p=0.25 are not those before dropout"]
    if not agree(left, twin):
        return ["dropout_p=0.25 drops numbers of the context; it is weights that are dropped, before they meet v"]
    share = gone.mean()
    if share == 0:
        return ["dropout_p=0.25 drops nothing"]
    if not 0.08 < share < 0.45:
        return [f"dropout_p=0.25 drops {share:.0%} of the weights"]
    ratio = (left / expected)[~gone]
    if not np.abs(ratio - 1 / 0.75).max() < 1e-3:
        return [f"weights that are not dropped must be scaled by 1 / (1 - 0.25) = 1.333; found {np.median(ratio):.3f}"]
    return []


def same_answer(e: Evidence, s: Situation) -> list[str]:
    """The answer is the right one."""
    if s.dtype == "float16" and "not implemented for 'Half'" in (e.answers[s.title].error or ""):
        return []
    return differences(s, e.pair(s))


def clauses(variant: int, paper: int = 0) -> Iterator[Clause]:
    """Give the clauses of a variant, in the order in which a report lists them.

    Parameters
    ----------
    variant : int
        1 to 7.

    Yields
    ------
    clause : Clause
    """
    every = situations(variant, paper)
    titles = tuple(s.title for s in every)
    square, small, tall, different = titles[:4]
    plain = (square, small, different)
    widths = tuple(t for t in titles if t.startswith("values"))
    masked = tuple(s.title for s in every if s.mask is not None and not s.large and not s.options)

    yield Clause("shapes", "a pair of tensors of the right shapes comes back", answers_in_shape, (square,))
    yield Clause("shapes", "the number of queries and of keys may differ", answers_in_shape, (small, tall))
    if widths:
        yield Clause("shapes", "values may be wider or narrower than keys", answers_in_shape, widths)
    yield Clause("shapes", "the dtype is kept", dtype_is_kept, (square, "numbers in float64", "numbers in float16"))
    yield Clause("scores", "scores are q . k / sqrt(d_k)", scores_are_scaled_products, plain)
    yield Clause("scores", "equal keys get equal weights", equal_keys_share_equally, ("keys that are all equal",))
    yield Clause("softmax", "each query shares out a total of 1", rows_sum_to_one, (*plain, "a single key"))
    yield Clause("softmax", "weights are exponentials of scores", exponentials_of_the_scores, plain)
    yield Clause("weighted sum", "the context is the sum of values by weights", context_is_the_weighted_sum, plain)
    yield Clause(
        "weighted sum",
        "the order of the keys does not matter",
        follows(
            square,
            lambda x: x,
            lambda w: np.roll(w, 1, axis=-1),
            "keys and values in another order, together, change the answer",
        ),
        ("keys and values in another order",),
    )
    if variant >= 3:
        yield Clause(
            "batch",
            "items of a batch do not see each other",
            follows(square, lambda x: x[::-1], lambda w: w[::-1], "the batch in another order changes the answers"),
            ("the batch in another order",),
        )
        yield Clause(
            "batch",
            "one sequence without a batch works too",
            follows(
                square, lambda x: x[0], lambda w: w[0], "the first item alone gives another answer than in a batch"
            ),
            ("no batch dimension",),
        )
        yield Clause("batch", "there may be several batch dimensions", _first_of_two, ("two batch dimensions",))
    if variant >= 4:
        yield Clause("mask", "a blocked key has weight 0", blocked_is_zero, masked)
        yield Clause("mask", "the allowed keys share the whole", allowed_keep_their_proportions, masked)
        yield Clause("mask", "a query with no key gets 0", nothing_for_no_key, ("a query that may attend to nothing",))
        yield Clause("mask", "the masked context is the weighted sum", context_is_the_weighted_sum, masked)
    if variant >= 5:
        yield Clause("heads", "a head owns its columns", a_head_owns_its_columns, ("the first head alone",))
        yield Clause(
            "heads",
            "heads do not see each other",
            follows(
                square,
                lambda x: np.roll(x, x.shape[-1] // 2, axis=-1),
                lambda w: w[..., ::-1, :, :],
                "the heads in another order change the answers",
            ),
            ("the heads in another order",),
        )
        yield Clause("heads", "any number of heads works", answers_in_shape, ("three heads",))
    if variant == 7:
        without = ("need_weights=False", "need_weights=False and is_causal=True", "need_weights=False and a mask")
        causal = ("is_causal=True", "is_causal=True and more queries than keys", "is_causal=True and a mask")
        yield Clause("options", "is_causal blocks the future", same_answer, causal)
        yield Clause("options", "need_weights=False changes no context", same_without_weights, without)
        yield Clause("options", "dropout acts on the weights", dropout_drops, ("dropout_p=0.25",))
    large = tuple(s.title for s in every if s.large)
    yield Clause("large numbers", "large scores stay finite", finite, large)
    gradients = tuple(s.title for s in every if s.gradient and not s.large)
    yield Clause("gradients", "gradients reach q, k and v", gradients_flow, gradients)
    yield Clause("gradients", "gradients are right", gradients_are_right, gradients)
    yield Clause(
        "manners", "the inputs stay as they are", inputs_stay, tuple(t for t in titles if t != "dropout_p=0.25")
    )
    yield Clause("manners", "two calls agree", two_calls_agree, tuple(s.title for s in every if s.twice))
    for title in titles:
        if title != "dropout_p=0.25":
            yield Clause("the same answer", f"right with {title}", same_answer, (title,))


def _first_of_two(e: Evidence, s: Situation) -> list[str]:
    context, weights = e.full(e["as many queries as keys"])
    both, weights_of_both = e.full(s)
    if agree(both[0], context) and agree(weights_of_both[0], weights):
        return []
    return ["with two batch dimensions, an item gets another answer than with one"]


def judge(e: Evidence) -> tuple[list[Finding], dict[str, tuple[float, float]]]:
    """Hold the answers against every clause.

    Parameters
    ----------
    e : Evidence
        The answers.

    Returns
    -------
    findings : list of Finding
        The promises that were not kept.
    parts : dict
        Part to (how much of it is kept, 0 to 1; what it is worth, all together 1).
    """
    findings: list[Finding] = []
    kept: dict[str, list[bool]] = {}
    for clause in clauses(e.variant, e.paper):
        with np.errstate(all="ignore"):  # wrong answers may hold NaN, inf or what overflows
            finding = clause.first_breach(e)
        kept.setdefault(clause.part, []).append(finding is None)
        if finding is not None:
            findings.append(finding)
    worth = {part: PARTS[part] * (LESSON_COUNTS if LESSONS.get(e.variant) == part else 1.0) for part in kept}
    total = sum(worth.values())
    parts: dict[str, Any] = {part: (sum(results) / len(results), worth[part] / total) for part, results in kept.items()}
    return findings, parts
