"""Equality on problems that nobody thought of: hypothesis draws sizes, masks, dtypes and magnitudes."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import LIFTED, Problem, check_within_bounds, normal, tiled

pytestmark = pytest.mark.numeric

sizes = st.integers(0, 4)


@st.composite
def masks(draw, batch, num_heads, T_q, T_k):
    """Any boolean tensor that broadcasts to the weights and is not ambiguous."""
    full = (*batch, num_heads, T_q, T_k)
    ndim = draw(st.sampled_from(sorted({0, 1, 2, len(full)})))
    shape = tuple(draw(st.sampled_from([1, size])) for size in full[len(full) - ndim :])
    share = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))  # of keys that may be attended to
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    return torch.rand(shape, generator=generator) < share


@st.composite
def problems(draw, batch_dims=(0, 1, 2)):
    batch = tuple(draw(st.lists(sizes, min_size=min(batch_dims), max_size=max(batch_dims))))
    num_heads, d_k = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    T_q, T_k = draw(sizes), draw(sizes)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    magnitude = st.sampled_from([0.0, 1e-3, 1.0, 30.0])
    q = draw(magnitude) * normal(*batch, T_q, num_heads * d_k, generator=generator)
    k = draw(magnitude) * normal(*batch, T_k, num_heads * d_k, generator=generator)
    v = draw(magnitude) * normal(*batch, T_k, num_heads * d_k, generator=generator)
    mask = draw(st.none() | masks(batch, num_heads, T_q, T_k))
    problem = Problem("drawn", q, k, v, mask, num_heads, is_causal=draw(st.booleans()))
    return problem.rounded_to(torch.float32)  # the same numbers in both dtypes


dtypes = st.sampled_from([torch.float64, torch.float32])
in_small_blocks = functools.partial(tiled, block_size=2)  # of up to 4 keys


@pytest.mark.slow
@settings(max_examples=100)
@given(problem=problems(), dtype=dtypes)
def test_the_batched_variants_equal_the_reference(problem, dtype):
    for variant in (4, 5, 6, 7):
        check_within_bounds(LIFTED[variant], problem, dtype)
    if problem.k.shape[-2]:  # without keys the tiled version visits no block and has nothing to differentiate
        check_within_bounds(in_small_blocks, problem, dtype, weights=False)


@settings(max_examples=40)
@given(problem=problems(batch_dims=(0, 1)), dtype=dtypes)
def test_the_looped_variants_equal_the_reference(problem, dtype):
    for variant in (1, 2, 3):
        check_within_bounds(LIFTED[variant], problem, dtype)


@settings(max_examples=60)
@given(problem=problems(), dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_weights_are_shares_of_allowed_keys(problem, dtype):
    q, k, v = (x.to(dtype) for x in (problem.q, problem.k, problem.v))
    for variant in (4, 5, 6, 7):
        context, weights = LIFTED[variant](q, k, v, problem.mask, problem.num_heads, is_causal=problem.is_causal)
        allowed = problem.allowed
        assert context.dtype == weights.dtype == dtype
        assert context.isfinite().all()
        assert ((weights >= 0) & (weights <= 1)).all()
        assert (weights[~allowed] == 0).all()
        if not weights.numel():
            continue
        rounding = 8 * torch.finfo(dtype).eps
        assert (weights.double().sum(dim=-1) - allowed.any(dim=-1).double()).abs().max() <= rounding
        assert context.abs().max() <= v.abs().max() * (1 + rounding)  # a mean is no larger than what it is made of
