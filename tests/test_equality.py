"""The seven compute one function: values, weights and gradients equal a float64 reference, over a grid."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from reference import DROPOUT as DROPOUT_PROBLEMS
from reference import (
    GRID,
    LARGE_LOGITS,
    LARGEST,
    LIFTED,
    PROBLEMS,
    TOLERANCE,
    Problem,
    check,
    check_within_bounds,
    make_problem,
    reference,
    relative_error,
    tiled,
)
from torch import nn

from attention_variants.variants import VARIANTS, attention_tiled

pytestmark = pytest.mark.numeric

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
SEVEN = pytest.mark.parametrize("variant", range(1, 8))


def check_and_record(function, problem, dtype, **options):
    error = max(check(function, problem, dtype, **options).values())
    name = str(dtype).removeprefix("torch.")
    LARGEST[name] = max(LARGEST.get(name, 0.0), error)


@DTYPES
@pytest.mark.parametrize("kind", GRID)
@SEVEN
def test_the_seven_equal_the_reference(variant, kind, dtype):
    problems = GRID[kind]
    if variant <= 3 and dtype == torch.float32:
        problems = problems[::4]  # loops are slow: each batch and each number of heads once
    for problem in problems:
        check_and_record(LIFTED[variant], problem, dtype)


@DTYPES
@pytest.mark.parametrize("kind", GRID)
def test_the_tiled_version_equals_the_reference(kind, dtype):
    for problem, block_size in zip(GRID[kind], itertools.cycle([1, 3, 100, 2]), strict=False):
        check_and_record(functools.partial(tiled, block_size=block_size), problem, dtype, weights=False)


@DTYPES
@SEVEN
def test_equal_at_large_logits(variant, dtype):
    assert max(problem.largest_logit for problem in LARGE_LOGITS) >= 1e4
    for problem in LARGE_LOGITS:
        problem = problem.rounded_to(dtype)
        check(LIFTED[variant], problem, dtype)
        check_within_bounds(LIFTED[variant], problem, dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("kind", GRID)
@SEVEN
def test_short_dtypes_are_off_by_what_rounding_explains(variant, kind, dtype):
    problem = GRID[kind][0 if variant <= 3 else 4]  # one item and head; two of each
    check_within_bounds(LIFTED[variant], problem.rounded_to(dtype), dtype)


@DTYPES
def test_tiled_equal_at_large_logits(dtype):
    for problem in LARGE_LOGITS:
        check(tiled, problem, dtype, weights=False)


@SEVEN
def test_weights_under_dropout_are_those_before_it(variant):
    for problem in DROPOUT_PROBLEMS:
        assert set(check(LIFTED[variant], problem)) == {"weights"}


def test_the_grid_is_what_it_claims():
    for kind, problems in GRID.items():
        sizes = [(p.q.shape[0], p.num_heads) for p in problems]
        assert sizes == list(itertools.product((1, 2, 3), (1, 2, 4)))
        assert sizes[::4] == [(1, 1), (2, 2), (3, 4)]
        orders = {(p.q.shape[-2] > p.k.shape[-2], p.q.shape[-2] < p.k.shape[-2]) for p in problems}
        assert len(orders) == 3  # more queries, more keys, as many
        for problem in problems:
            has_empty_row = not problem.allowed.any(dim=-1).all()
            assert has_empty_row == ("empty rows" in kind), problem.name


# Un-lifted: each variant with the signature it has.


def with_head_axis(function, *args):
    """Call variants 1 to 4 as they are and give their weights a head axis, so that one check serves all."""
    context, weights = function(*args)
    return context, None if weights is None else weights.unsqueeze(-3)


ONE_SEQUENCE, ANY_BATCH = (VARIANTS[1], VARIANTS[2]), (VARIANTS[3], VARIANTS[4], attention_tiled)


@DTYPES
@pytest.mark.parametrize("d_v", [1, 3, 11])
@pytest.mark.parametrize(
    ("function", "batch"),
    [*((function, ()) for function in ONE_SEQUENCE), *itertools.product(ANY_BATCH, [(), (2,), (2, 3)])],
)
def test_direct_with_values_of_another_width(function, batch, d_v, dtype):
    problem = make_problem(batch=batch, d_model=4, d_v=d_v, num_heads=1)

    def direct(q, k, v, mask, num_heads):
        return with_head_axis(function, q, k, v)

    check(direct, problem, dtype, weights=function is not attention_tiled)


@DTYPES
@pytest.mark.parametrize("mask_shape", [(), (7,), (5, 1), (1, 7), (5, 7), (2, 1, 7), (2, 5, 7), (3, 2, 5, 7)], ids=str)
@pytest.mark.parametrize("function", [VARIANTS[4], attention_tiled])
def test_direct_masks_of_variant_4(function, mask_shape, dtype):
    mask = torch.rand(mask_shape, generator=torch.Generator().manual_seed(1)) < 0.6
    problem = make_problem(
        batch=(3, 2), d_model=4, d_v=3, num_heads=1, mask=mask if mask.ndim < 3 else mask.unsqueeze(-3)
    )

    def direct(q, k, v, with_heads, num_heads):
        return with_head_axis(function, q, k, v, mask)

    check(direct, problem, dtype, weights=function is not attention_tiled)


@DTYPES
@pytest.mark.parametrize("batch", [(), (2,), (3, 2)], ids=["unbatched", "batch", "two batch dimensions"])
@pytest.mark.parametrize("mask_shape", [None, (), (7,), (5, 1), (5, 7), "full"], ids=str)
@pytest.mark.parametrize("variant", [5, 6, 7])
def test_direct_multihead(variant, mask_shape, batch, dtype):
    mask_shape = (*batch, 2, 5, 7) if mask_shape == "full" else mask_shape
    mask = None if mask_shape is None else torch.rand(mask_shape, generator=torch.Generator().manual_seed(2)) < 0.6
    check(VARIANTS[variant], make_problem(batch=batch, mask=mask), dtype)


@pytest.mark.parametrize("variant", [1, 2, 3, 4])
def test_lifted_unbatched(variant):
    mask = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(3)) < 0.6
    check(LIFTED[variant], make_problem(batch=()))
    check(LIFTED[variant], make_problem(batch=(), mask=mask))
    check(LIFTED[variant], make_problem(batch=(2, 1), mask=mask[:, None, None]))


# The reference itself.


def test_the_reference_on_numbers_worked_out_by_hand():
    # One query, keys whose scores are log 1 and log 3, a third key that is blocked: weights 1/4 and 3/4.
    q, k = torch.tensor([[2.0]]), torch.tensor([[0.0], [math.log(3) / 2], [5.0]])
    v, allowed = torch.tensor([[4.0, 0.0], [8.0, 1.0], [100.0, 100.0]]), torch.tensor([[[True, True, False]]])
    tensors = (q.double(), k.double(), v.double(), allowed, torch.tensor([[1.0, 0.0]]), torch.zeros(1, 1, 3))
    result = reference(*(x.numpy() for x in tensors))
    torch.testing.assert_close(result["weights"].tolist(), [[[0.25, 0.75, 0.0]]], rtol=1e-6, atol=0)
    torch.testing.assert_close(result["context"].tolist(), [[7.0, 0.75]], rtol=1e-6, atol=0)
    # d context[0] / d score_j = w_j (v_j - context[0]): 1/4 (4 - 7) and 3/4 (8 - 7).
    grad_q, grad_k, grad_v = result["gradients"]
    torch.testing.assert_close(grad_q.tolist(), [[0.75 * math.log(3) / 2]], rtol=1e-6, atol=0)
    torch.testing.assert_close(grad_k.tolist(), [[-1.5], [1.5], [0.0]], rtol=1e-6, atol=0)
    torch.testing.assert_close(grad_v.tolist(), [[0.25, 0.0], [0.75, 0.0], [0.0, 0.0]], rtol=1e-6, atol=0)


def test_the_gradient_of_the_reference_is_the_slope_of_its_values():
    problem = make_problem(mask=torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(4)) < 0.6)
    arrays = [x.numpy() for x in (problem.q, problem.k, problem.v)]
    cotangents = [x.numpy() for x in problem.cotangents]

    def functional(q, k, v):
        result = reference(q, k, v, problem.allowed.numpy(), cotangents[0], cotangents[1])
        return (result["context"] * cotangents[0]).sum() + (result["weights"] * cotangents[1]).sum()

    step = 1e-6
    for x, gradient in zip(arrays, problem.expected["gradients"], strict=True):
        for index in [(0, 0, 0), (1, 3, 6), (1, -1, -1)]:
            original = x[index]
            x[index] = original + step
            above = functional(*arrays)
            x[index] = original - step
            below = functional(*arrays)
            x[index] = original
            assert gradient[index] == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-8)


# PyTorch's own attention says the same.


def split(x, num_heads):
    return x.unflatten(-1, (num_heads, -1)).transpose(-3, -2)


WITHOUT_EMPTY_ROWS = [p for p in PROBLEMS if p not in DROPOUT_PROBLEMS and p.allowed.any(dim=-1).all()]


def test_the_reference_equals_the_kernel_of_pytorch():
    for problem in WITHOUT_EMPTY_ROWS:
        leaves = [x.clone().requires_grad_() for x in (problem.q, problem.k, problem.v)]
        q, k, v = (split(x, problem.num_heads) for x in leaves)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            context = F.scaled_dot_product_attention(q, k, v, attn_mask=problem.allowed)
        context = context.transpose(-3, -2).flatten(-2)
        gradients = torch.autograd.grad((context * problem.cotangents[0]).sum(), leaves)
        expected, tolerance = problem.expected_of_context, problem.tolerance(torch.float64)
        assert relative_error(context, expected["context"]) <= tolerance, problem.name
        largest = max(abs(x).max() for x in expected["gradients"])
        for actual, wanted in zip(gradients, expected["gradients"], strict=True):
            assert (actual - torch.from_numpy(wanted)).abs().max() <= tolerance * largest, problem.name


def torch_layer(problem: Problem) -> nn.MultiheadAttention:
    """A torch.nn.MultiheadAttention whose projections change nothing: what is left is its attention."""
    d_model = problem.q.shape[-1]
    layer = nn.MultiheadAttention(d_model, problem.num_heads, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.eye(d_model).repeat(3, 1))
        layer.out_proj.weight.copy_(torch.eye(d_model))
    return layer


@SEVEN
def test_the_seven_equal_the_layer_of_pytorch(variant):
    for problem in WITHOUT_EMPTY_ROWS[:: 20 if variant == 1 else 7]:
        context, weights = LIFTED[variant](
            problem.q, problem.k, problem.v, problem.mask, problem.num_heads, is_causal=problem.is_causal
        )
        blocked = ~problem.allowed.flatten(0, 1)  # PyTorch's layer takes (B * H, T_q, T_k), True = blocked
        expected = torch_layer(problem)(problem.q, problem.k, problem.v, attn_mask=blocked, average_attn_weights=False)
        tolerance = problem.tolerance(torch.float64)
        assert relative_error(context, expected[0].detach()) <= tolerance, problem.name
        assert relative_error(weights, expected[1].detach()) <= tolerance, problem.name


def test_the_bounds_are_those_promised():
    assert TOLERANCE[torch.float64] == 1e-12
    assert TOLERANCE[torch.float32] == 1e-5
    for problems in GRID.values():
        for problem in problems:
            assert problem.tolerance(torch.float64) == 1e-12, problem.name
            assert problem.tolerance(torch.float32) == 1e-5, problem.name
