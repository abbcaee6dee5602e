"""The right answers, in NumPy and float64, and how far from them counts as equal.

Every tolerance of the classroom stands here: of the contract, of the layer, and of the diagnosis, which tells mistakes
apart. But that of the rules stands in `sandbox.rules`: this module knows the answers, and where a student's code runs
it is never loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from .problems import Problem

Pair = tuple[np.ndarray, np.ndarray]

# --------------------------------------------------------------------------------------------- the right answers


def split_heads(x: np.ndarray, num_heads: int | None) -> np.ndarray:
    """Give each head its columns: (..., T, d_model) -> (..., H, T, d_k); without heads, nothing changes."""
    return x if num_heads is None else np.swapaxes(x.reshape(*x.shape[:-1], num_heads, -1), -3, -2)


def merge_heads(x: np.ndarray, num_heads: int | None) -> np.ndarray:
    """Put the heads side by side: (..., H, T, d_k) -> (..., T, d_model); without heads, nothing changes."""
    if num_heads is None:
        return x
    x = np.swapaxes(x, -3, -2)
    return x.reshape(*x.shape[:-2], -1)


@lru_cache(maxsize=512)
def heads_of(s: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q, k and v of a problem, each head with its own columns."""
    q, k, v = (split_heads(x, s.num_heads) for x in (s.q, s.k, s.v))
    return q, k, v


@lru_cache(maxsize=512)
def right(s: Problem) -> Pair:
    """The right answer to a problem: context and weights; dropout is left out."""
    q, k, v = heads_of(s)
    scores = q @ np.swapaxes(k, -2, -1) / math.sqrt(q.shape[-1])
    scores = np.where(s.allowed, scores, -1e30)
    exp = np.exp(scores - scores.max(-1, keepdims=True))
    weights = np.where(s.allowed, exp / exp.sum(-1, keepdims=True), 0.0)
    return merge_heads(weights @ v, s.num_heads), weights


@lru_cache(maxsize=128)
def right_gradients(s: Problem, which: str) -> dict[str, np.ndarray]:
    """The gradients of the sum that `run` takes, by the formulas: "context" alone, or "both" with the weights."""
    q, k, v = heads_of(s)
    weights, scale = right(s)[1], 1 / math.sqrt(q.shape[-1])
    of_context, of_weights = s.cotangents
    of_context = split_heads(of_context, s.num_heads)
    to_weights = of_context @ np.swapaxes(v, -2, -1) + (of_weights if which == "both" else 0.0)
    to_scores = weights * (to_weights - (weights * to_weights).sum(-1, keepdims=True)) * scale
    gradients = {
        "q": to_scores @ k,
        "k": np.swapaxes(to_scores, -2, -1) @ q,
        "v": np.swapaxes(weights, -2, -1) @ of_context,
    }
    return {name: merge_heads(x, s.num_heads) for name, x in gradients.items()}


def weighted_sum(s: Problem, weights: np.ndarray) -> np.ndarray:
    """What weights make of the values, heads side by side."""
    return merge_heads(weights @ heads_of(s)[2], s.num_heads)


# ------------------------------------------------------------------------------------ how far counts as equal

#: A row of weights sums to 1 up to this; that of a single key in float64, where nothing is lost, up to the second.
SUM, SUM_OF_ONE_KEY = 1e-4, 5e-7
#: Weights of equal keys, relative to 1.
EQUAL_KEYS = 1e-4
#: The scale of the scores, as a ratio; and how far logarithms of weights may be from any multiple of q . k.
SCALE, MISFIT = 2e-3, 0.02
#: Two answers of the same function to related problems; a context and its own weights with the values; in float16.
RELATED, OWN_SUM, OWN_SUM_IN_HALF = 2e-4, 1e-4, 5e-3
#: A gradient, relative to the largest.
GRADIENT = 2e-4
#: Weights of at most this tell nothing of their scores by logarithms; and what a misfit is at least divided by.
SMALLEST_WEIGHT, SMALLEST_SPREAD = 1e-12, 1e-6
#: The share of weights that dropout_p=0.25 may drop: of the 64 to 256 weights of the problem it varies by 0.03 to 0.05
#: (one standard deviation). And what is left over against 1 / (1 - 0.25): that is exact but for rounding.
DROPPED, RESCALED = (0.08, 0.45), 1e-3

#: How far rounding moves a number in `tolerances`, in units of eps: a sum of products, in any order and some operations
#: long (scores, context); and a single division, or a number near 0.
SUM_EPS, LAST_EPS = 16, 4
#: The largest exponent in `tolerances`: where scores may be off by more, any weight will do, and exp must not overflow.
LARGEST_SHIFT = 50.0
#: Two calls on the same input, relative and absolute. What is meant to be the same differs by rounding at most, for
#: threads may add in another order: by an eps, which is 1e-3 in float16. What is random differs by per cents.
TWO_CALLS = (1e-3, 1e-5)
#: A layer in float32 beside the real one in float64, relative and absolute. The real one in float32 is off by 8e-7,
#: 1/200 of this; each mistake of the catalogue by 3,000 times this or more.
OF_THE_LAYER = (1e-3, 1e-4)

# ------------------------------------------------------------------------------------ how mistakes are told apart

#: A mistake and a function that give the same numbers, relative and absolute. Right functions in float32 are off by
#: 1/200 of this; two mistakes that are not the same differ in the first digits.
SAME = (1e-4, 1e-5)
#: The same for large scores and in float16, where the last digit of a score moves its weight by a per cent.
SAME_IN_FEW_DIGITS = (2e-2, 2e-2)
#: A mistake and a function that have the same gradient, relative and absolute. It is asked where their numbers are the
#: same already, and only tells a gradient that is cut or of another size from one that is not.
SAME_GRADIENT = (1e-2, 1e-3)
#: A dropout that keeps what it should drop drops the share 1 - p, up to this: near four standard deviations of the
#: share of 256 weights.
KEPT_FOR_DROPPED = 0.1
#: Computed in half precision: the largest difference from the right answer lies between these. On these problems
#: float32 is off by 5e-7, float16 by 1e-3 and bfloat16 by 1.3e-2.
HALF_PRECISION = (1e-5, 2e-2)
#: The scores that the weights of blocked keys were computed from are all the same up to this, relative to their size,
#: or to 1 if they are small. As logarithms of float32 weights they are known to some 1e-6; right ones lie 1 apart.
SAME_SCORES = 1e-2
#: Weights of blocked keys that all lie below this were filled with a very low number: no rounding makes a -1 of a 0.
BELOW_ANY_WEIGHT = -1.0
#: A number that stands for every blocked score: above the first it was to be high, for right scores are seldom above 2;
#: farther from 0 than the second, it was to be low and is not low enough; else it is near 0.
HIGH_SCORE, NEAR_ZERO = 2.0, 1.5


@lru_cache(maxsize=512)
def tolerances(s: Problem) -> Pair:
    """How far context and weights may be from the reference, number by number, however they are computed.

    Rounding moves a score by some multiple of eps times the numbers summed in it, and a weight, its exponential, by
    that ratio. So a score of 40,000 in float32 may move a weight by a per cent, and a score of 1 by a millionth.
    """
    context, weights = right(s)
    q, k, v = heads_of(s)
    summed = np.abs(q) @ np.swapaxes(np.abs(k), -2, -1) / math.sqrt(q.shape[-1])
    eps = 2.0**-10 if s.dtype == "float16" else 2.0**-23  # float64 may be computed in float32: still attention
    shift = SUM_EPS * eps * (1 + summed.max(-1, keepdims=True))
    of_weights = weights * np.expm1(np.minimum(2 * shift, LARGEST_SHIFT)) + LAST_EPS * eps
    if s.weights_shape[-1] == 1:
        of_weights = np.full_like(weights, LAST_EPS * eps)  # a single key has weight 1, whatever its score
    of_context = of_weights @ np.abs(v) + SUM_EPS * eps * (weights @ np.abs(v)) + LAST_EPS * eps
    return merge_heads(of_context, s.num_heads).reshape(context.shape), of_weights


def wrong_numbers(
    s: Problem, found: tuple[np.ndarray, np.ndarray | None]
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


def differs(s: Problem, found: tuple[np.ndarray, np.ndarray | None]) -> bool:
    """Whether an answer differs from the right one."""
    return any(True for _ in wrong_numbers(s, found))


def agree(x: np.ndarray, y: np.ndarray, tolerance: float = RELATED) -> bool:
    """Whether two answers of the same function are the same but for rounding."""
    return x.shape == y.shape and not far(x, y, tolerance).any()


def far(x: np.ndarray, y: np.ndarray, tolerance: float = RELATED) -> np.ndarray:
    """Where two arrays of one shape differ, NaN included."""
    return ~(np.abs(x - y) <= tolerance * (1 + np.abs(y)))


def sums_to_one(x: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Where sums over an axis are 1."""
    return np.abs(x.sum(axis) - 1) <= SUM


def same_in_two_calls(x: np.ndarray | None, y: np.ndarray | None) -> bool:
    """Whether two calls on the same input gave the same."""
    if x is None or y is None or x.shape != y.shape:
        return False
    return bool(np.allclose(x, y, *TWO_CALLS, equal_nan=True))


def far_from_the_layer(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where an output or weights are not those of the real layer, NaN included."""
    return ~np.isclose(x, y, *OF_THE_LAYER)


def same_numbers(s: Problem, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether a mistake and a function give the same numbers, right or wrong."""
    if x.shape != y.shape:
        return False
    rtol, atol = SAME_IN_FEW_DIGITS if s.large or s.dtype == "float16" else SAME
    if abs(x.flat[0] - y.flat[0]) > atol + rtol * abs(y.flat[0]):
        return False  # most candidates go no further; NaN does
    return bool(np.isclose(x, y, rtol=rtol, atol=atol, equal_nan=True).all())


def same_gradient(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether a mistake and a function give the same gradient, right or wrong."""
    return bool(np.isclose(x, y, *SAME_GRADIENT, equal_nan=True).all())
