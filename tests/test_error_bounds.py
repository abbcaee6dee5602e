"""The error bounds hold whatever rounds, are near what is measured, and let no small mistake through."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from error_bounds import error_bounds
from reference import (
    GRID,
    LARGE_LOGITS,
    LIFTED,
    FaultError,
    Problem,
    check_within_bounds,
    make_problem,
    normal,
    seeded,
)

pytestmark = pytest.mark.numeric

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
#: Each batch, number of heads and order of lengths once; masks of every kind; scores up to 1e4.
PROBLEMS = [*(problems[i % 9] for i, problems in enumerate(GRID.values())), *LARGE_LOGITS]


def scaled(problem: Problem, q: float, k: float, v: float) -> Problem:
    return replace(problem, q=q * problem.q, k=k * problem.k, v=v * problem.v)


def test_no_error_is_allowed_where_nothing_is_computed():
    mask = torch.ones(5, 7, dtype=torch.bool)
    mask[2], mask[:, 3] = False, False  # a query with no key; a key of no query
    bounds = error_bounds(make_problem(mask=mask), torch.float32)
    assert not bounds["context"][:, 2].any()
    assert not bounds["q"][:, 2].any()
    assert not bounds["weights"][..., ~mask].any()
    assert not bounds["k"][:, 3].any()
    assert not bounds["v"][:, 3].any()


def test_a_key_without_competitors_has_a_weight_that_is_sure():
    problem = Problem("one key", *(1000 * normal(1, 1, 4, generator=seeded(name)) for name in "qkv"), num_heads=1)
    weights = error_bounds(problem, torch.float32)["weights"]
    assert 0 < weights.max() <= 10 * torch.finfo(torch.float32).eps  # although its score of 1e6 is off by 0.1


def test_a_weight_that_large_scores_leave_unknown_may_be_anything():
    problem = scaled(make_problem(T_k=2), 1e5, 1e5, 1.0)
    problem.k[:, 1] = problem.k[:, 0]  # two equal keys, of scores of 1e10 that are off by 1e4
    bounds = error_bounds(problem, torch.float32)
    assert bounds["weights"].min() == pytest.approx(0.5, rel=1e-3)
    assert all(np.isfinite(bound).all() for bound in bounds.values())


@DTYPES
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_they_cover_what_rounded_inputs_change(problem, dtype):
    """Someone who rounds q, k and v once more solves another problem, exactly: its answer is within the bounds."""
    bounds = error_bounds(problem, dtype)
    eps = torch.finfo(dtype).eps / 2
    for sign in (1, -1):
        generator = seeded("rounded", problem.name, sign)
        q, k, v = (
            x * (1 + sign * eps * (torch.randint(0, 2, x.shape, generator=generator) * 2 - 1))
            for x in (problem.q, problem.k, problem.v)
        )
        other = replace(problem, q=q, k=k, v=v).expected
        for name in ("context", "weights"):
            assert (np.abs(other[name] - problem.expected[name]) <= bounds[name]).all()
        for name, one, two in zip("qkv", other["gradients"], problem.expected["gradients"], strict=True):
            assert (np.abs(one - two) <= bounds[name]).all()


@DTYPES
@pytest.mark.parametrize("variant", [4, 5, 6, 7])
def test_they_are_near_what_is_measured(variant, dtype):
    shares = [check_within_bounds(LIFTED[variant], problem, dtype) for problem in PROBLEMS]
    for part in ("weights", "context", "gradient"):
        assert max(share[part] for share in shares) >= 0.01, part


@pytest.mark.parametrize("variant", LIFTED)
@pytest.mark.parametrize("size", [1e-3, 30.0, 1e3])
def test_a_large_key_multiplies_what_rounding_leaves_of_nothing(variant, size):
    """With q = 0 and one key, q has the gradient 0, and in float32 anything up to 1e-6 times the key."""
    for name in "abc":
        problem = scaled(make_problem(name, T_q=2, T_k=1, num_heads=1, d_model=4), 0.0, size, 1.0)
        check_within_bounds(LIFTED[variant], problem.rounded_to(torch.float32), torch.float32)


# Small mistakes, in an otherwise right implementation.


def scale_with_epsilon(q, k, v, mask, num_heads, **options):
    d_k = q.shape[-1] // num_heads
    return LIFTED[6](q * math.sqrt(d_k / (d_k + 1e-3)), k, v, mask, num_heads, **options)


def context_a_little_large(q, k, v, mask, num_heads, **options):
    context, weights = LIFTED[6](q, k, v, mask, num_heads, **options)
    return context * (1 + 1e-5), weights


def weights_of_a_blocked_key(q, k, v, mask, num_heads, **options):
    context, weights = LIFTED[6](q, k, v, mask, num_heads, **options)
    return context, weights.clamp(min=1e-9)


def gradient_a_little_small(q, k, v, mask, num_heads, **options):
    q = (1 - 1e-4) * q + (1e-4 * q).detach()
    return LIFTED[6](q, k, v, mask, num_heads, **options)


def gradient_through_the_blocked(q, k, v, mask, num_heads, **options):
    context, weights = LIFTED[6](q, k, v, mask, num_heads, **options)
    return context + 1e-6 * (v.sum() - v.sum().detach()), weights


@DTYPES
@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (scale_with_epsilon, "weights"),
        (context_a_little_large, "context"),
        (weights_of_a_blocked_key, "weights"),
        (gradient_a_little_small, "gradient"),
        (gradient_through_the_blocked, "gradient"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_small_mistake_is_caught(function, kind, dtype):
    mask = torch.ones(5, 7, dtype=torch.bool)
    mask[:, 3] = False
    problem = make_problem(mask=mask)
    check_within_bounds(LIFTED[6], problem, dtype)
    with pytest.raises(FaultError) as caught:
        check_within_bounds(function, problem, dtype)
    assert caught.value.kind == kind
