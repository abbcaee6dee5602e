"""Infinite numbers in q, k or v, where nothing is blocked: all seven give what a softmax in float64 gives.

The reference is NumPy in float64, query by query, and knows nothing of NaN or infinity: what comes out of inf - inf and
0 * inf there must come out of the variants, in every dtype and at lengths around those of vector registers. Under a
mask the contract promises less; the last tests hold what it says.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from reference import LIFTED, TOLERANCE, B, H, seeded

from attention_variants.variants import VARIANTS, takes, variants_that_take

pytestmark = [pytest.mark.numeric, pytest.mark.slow]

INF = float("inf")
T_Q, D_K = 3, 4
LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33)
ALL_DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: str(dtype).removeprefix("torch."))
SEVEN = pytest.mark.parametrize("variant", LIFTED)


def reference(q, k, v, num_heads, *, is_causal=False):
    """Context and weights of (..., T, num_heads * d_k), as NumPy makes them."""
    q, k, v = (x.double().unflatten(-1, (num_heads, -1)).transpose(-3, -2).numpy() for x in (q, k, v))
    context, weights = np.zeros(q.shape), np.zeros((*q.shape[:-1], k.shape[-2]))
    with np.errstate(all="ignore"):
        for row in np.ndindex(q.shape[:-1]):
            read = row[-1] + 1 if is_causal else None
            keys, values = k[row[:-1]][:read], v[row[:-1]][:read]
            scores = (q[row] * keys).sum(axis=-1) / np.sqrt(q.shape[-1])
            exp = np.exp(scores - scores.max())
            weights[row][:read] = exp / exp.sum()
            context[row] = (weights[row][:read, None] * values).sum(axis=0)
    return torch.from_numpy(context).transpose(-3, -2).flatten(-2), torch.from_numpy(weights)


def assert_same(actual, expected, dtype, name):
    for kind in (torch.isnan, torch.isposinf, torch.isneginf):
        assert torch.equal(kind(actual), kind(expected)), f"{name}: {kind.__name__}\n{actual}\n{expected}"
    finite = expected.isfinite()
    deviation = (actual[finite].double() - expected[finite]).abs()
    assert (deviation <= 4 * TOLERANCE[dtype]).all(), name  # of numbers of the order of 1


@functools.cache
def numbers(T_k, *, batched):
    """Positive numbers, so that the sign of an infinite score is that of the infinity."""
    leading, width = ((B,), H * D_K) if batched else ((), D_K)
    generator = seeded("infinite", T_k, batched)
    return tuple(torch.rand(*leading, T, width, generator=generator) + 0.25 for T in (T_Q, T_k, T_k))


def all_keys(k, x):
    k[..., 0] = x


def one(x, number, T=0):
    x[..., T, 1] = number


def zero_times_infinity(q, k, T):
    one(k, INF, T)
    q[..., 1, 1] = 0


def a_weight_too_small_for_the_dtype(q, k, v, T):
    q[..., 1] = k[..., 0, 1] = 150
    one(v, INF, T)


def infinities_of_both_signs(q, k, T):
    one(k, INF, T)
    k[..., 0, 0] = -INF
    q[..., 1, 1] *= -1  # this query scores -inf twice, and reads what is left


#: name -> makes numbers infinite in place, given q, k, v and the number of some key
CASES = {
    "+inf in a query": lambda q, k, v, T: one(q, INF, 1),
    "-inf in a query": lambda q, k, v, T: one(q, -INF, 1),
    "+inf in a key": lambda q, k, v, T: one(k, INF, T),
    "-inf in a key": lambda q, k, v, T: one(k, -INF, T),
    "-inf in the first key": lambda q, k, v, T: one(k, -INF),
    "+inf in all keys": lambda q, k, v, T: all_keys(k, INF),
    "-inf in all keys": lambda q, k, v, T: all_keys(k, -INF),
    "both signs": lambda q, k, v, T: infinities_of_both_signs(q, k, T),
    "0 * inf in a score": lambda q, k, v, T: zero_times_infinity(q, k, T),
    "+inf in a value": lambda q, k, v, T: one(v, INF, T),
    "-inf in a value": lambda q, k, v, T: one(v, -INF, T),
    "-inf in a key, +inf in its value": lambda q, k, v, T: (one(k, -INF, T), one(v, INF, T)),
    "a small weight, +inf in its value": lambda q, k, v, T: a_weight_too_small_for_the_dtype(q, k, v, T),
    "values of 0, +inf in a query": lambda q, k, v, T: (v.zero_(), one(q, INF, 1)),
    "values of 0, +inf in a key": lambda q, k, v, T: (v.zero_(), one(k, INF, T)),
}


def make(name, T_k, dtype, *, batched):
    q, k, v = (x.to(dtype, copy=True) for x in numbers(T_k, batched=batched))
    CASES[name](q, k, v, T_k // 2)
    return q, k, v, H if batched else 1


@ALL_DTYPES
@pytest.mark.parametrize("name", CASES)
@SEVEN
def test_all_seven_give_what_a_softmax_in_float64_gives(variant, name, dtype):
    batched = takes(variant, "batch")  # the others are loops here, and slow: one sequence and one head have to do
    for T_k in LENGTHS if batched else LENGTHS[::3]:
        q, k, v, num_heads = make(name, T_k, dtype, batched=batched)
        expected_context, expected_weights = reference(q, k, v, num_heads)
        context, weights = LIFTED[variant](q, k, v, None, num_heads)
        assert_same(context, expected_context, dtype, f"context, T_k = {T_k}")
        assert_same(weights, expected_weights, dtype, f"weights, T_k = {T_k}")


@ALL_DTYPES
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("is_causal", [False, True], ids=["", "is_causal"])
@pytest.mark.parametrize("variant", variants_that_take("need_weights"))
def test_without_weights_too(variant, is_causal, name, dtype):
    for T_k in LENGTHS:
        q, k, v, num_heads = make(name, T_k, dtype, batched=True)
        if is_causal:
            v = v.nan_to_num(posinf=1.0, neginf=1.0)  # later values are blocked ones, of which less is promised
        expected, _ = reference(q, k, v, num_heads, is_causal=is_causal)
        context, _ = VARIANTS[variant](q, k, v, None, num_heads, need_weights=False, is_causal=is_causal)
        assert_same(context, expected, dtype, f"T_k = {T_k}")


# ------------------------------------------------------------------------------------------------ under a mask

#: name -> what becomes infinite, under a mask that blocks every other key, the second first, and leaves finite scores
UNDER_A_MASK = {
    "+inf in a query": lambda q, k, v: one(q, INF, 1),
    "+inf in an allowed key": lambda q, k, v: one(k, INF, 2),
    "-inf in an allowed key": lambda q, k, v: one(k, -INF, 2),
    "+inf in a blocked key": lambda q, k, v: one(k, INF, 1),
    "-inf in a blocked key": lambda q, k, v: one(k, -INF, 1),
    "+inf in a blocked value": lambda q, k, v: one(v, INF, 1),
    "-inf in an allowed value": lambda q, k, v: one(v, -INF, 2),
}


@ALL_DTYPES
@pytest.mark.parametrize("name", UNDER_A_MASK)
@SEVEN
def test_the_weights_of_allowed_keys_are_the_same_under_a_mask(variant, name, dtype):
    batched = takes(variant, "mask")
    for T_k in (3, 8, 17, 33):
        q, k, v = (x.to(dtype, copy=True) for x in numbers(T_k, batched=batched))
        UNDER_A_MASK[name](q, k, v)
        mask = torch.arange(T_k) % 2 == 0
        num_heads = H if batched else 1
        expected_context, expected = reference(q, k[..., mask, :], v[..., mask, :], num_heads)
        context, weights = LIFTED[variant](q, k, v, mask, num_heads)
        assert_same(weights[..., mask], expected, dtype, f"weights, T_k = {T_k}")
        has_nan = expected.isnan().any(dim=-1)
        assert (weights[..., ~mask][~has_nan] == 0).all()
        if variant != 7 and "blocked value" not in name:
            assert_same(context, expected_context, dtype, f"context, T_k = {T_k}")
