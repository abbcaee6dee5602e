"""A NaN in q, k or v reaches every row that uses it, in all seven, at every length, in every dtype, and backwards too.

What "uses" means the reference says, which computes each query over just the keys that it may attend to: whatever is
NaN there must be NaN. Where nothing is blocked, nothing else may be. A NaN in a blocked key or value may reach more
(0 * NaN is NaN), but never the weights.
"""

from __future__ import annotations

import functools

import pytest
import torch
from reference import D_MODEL, LIFTED, B, H, Problem, make_problem, relative_error, seeded, tiled
from torch._subclasses.fake_tensor import FakeTensorMode

from attention_variants.variants import VARIANTS
from attention_variants.variants.checks import has_zeros

pytestmark = pytest.mark.numeric

NAN = float("nan")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
ALL_DTYPES = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
SEVEN_AND_TILED = pytest.mark.parametrize(
    "attend",
    [pytest.param(LIFTED[1], marks=pytest.mark.slow), *list(LIFTED.values())[1:], tiled],
    ids=[*map(str, LIFTED), "tiled"],
)
LOOPS = (LIFTED[1], LIFTED[2])  # slow: one sequence and one head have to do
IN = pytest.mark.parametrize("place", ["q", "k", "v"])
#: Up to two of the longest vector registers there are, of 16 numbers of float32, and one more.
LENGTHS = range(1, 34)


@functools.cache  # of which the reference is worked out once for all variants and dtypes
def problem_with_nan(
    place: str, T_k: int, *, T_q: int = 3, mask_name: str = "none", dropout_p: float = 0.0, batched: bool = True
) -> Problem:
    """Random numbers and one NaN, somewhere in q, k or v; in some position of some head of some item."""
    name = f"{place} {T_k} {mask_name}"
    generator = seeded(name)
    mask = None
    if "mask" in mask_name:
        mask = torch.rand(B, 1, T_q, T_k, generator=generator) < 0.6
    problem = make_problem(
        name,
        batch=(B,) if batched else (),
        T_q=T_q,
        T_k=T_k,
        num_heads=H if batched else 1,
        d_model=D_MODEL if batched else D_MODEL // H,
        mask=mask,
        is_causal="is_causal" in mask_name,
        dropout_p=dropout_p,
    )
    x = getattr(problem, place)
    x[tuple(int(torch.randint(size, (), generator=generator)) for size in x.shape)] = NAN
    return problem


def run(attend, problem, dtype, **options):
    """Context, weights and the gradients of q, k and v, of a functional of the context alone."""
    leaves = [x.to(dtype, copy=True).requires_grad_() for x in (problem.q, problem.k, problem.v)]
    if problem.is_causal:
        options["is_causal"] = True
    if problem.dropout_p:
        options["dropout_p"] = problem.dropout_p
    context, weights = attend(*leaves, problem.mask, problem.num_heads, **options)
    functional = (context * problem.cotangents[0].to(dtype)).sum()
    return context, weights, torch.autograd.grad(functional, leaves)


def nans(x) -> torch.Tensor:
    return torch.as_tensor(x).isnan()


@ALL_DTYPES
@IN
@SEVEN_AND_TILED
def test_it_reaches_every_row_that_uses_it_and_no_other(attend, place, dtype):
    for T_k in LENGTHS:
        problem = problem_with_nan(place, T_k, batched=attend not in LOOPS)
        context, weights, _ = run(attend, problem, dtype)
        expected = problem.expected_of_context
        assert nans(expected["context"]).any()
        assert torch.equal(nans(context), nans(expected["context"])), f"context, T_k = {T_k}"
        assert weights is None or torch.equal(nans(weights), nans(expected["weights"])), f"weights, T_k = {T_k}"


@IN
@SEVEN_AND_TILED
def test_the_other_rows_are_as_they_should_be(attend, place):
    for T_k in LENGTHS:
        problem = problem_with_nan(place, T_k, batched=attend not in LOOPS)
        context, _, gradients = run(attend, problem, torch.float64)
        expected = problem.expected_of_context
        pairs = zip((context, *gradients), (expected["context"], *expected["gradients"]), strict=True)
        for actual, wanted in pairs:
            fine = ~nans(wanted)
            deviation = (actual - torch.as_tensor(wanted))[fine].abs()
            assert (deviation <= 1e-12).all(), f"T_k = {T_k}"  # of numbers of the order of 1


MODES = ["none", "mask", "is_causal", "is_causal, mask"]


@pytest.mark.slow
@ALL_DTYPES
@pytest.mark.parametrize("mask_name", MODES)
@IN
@pytest.mark.parametrize("variant", [4, 5, 6, 7])
def test_it_reaches_them_under_masks(variant, place, mask_name, dtype):
    for T_k in LENGTHS if variant == 7 else (1, 2, 7, 16, 33):
        problem = problem_with_nan(place, T_k, mask_name=mask_name)
        expected = problem.expected_of_context
        for need_weights in (True, False):
            context, weights, gradients = run(LIFTED[variant], problem, dtype, need_weights=need_weights)
            assert not (nans(expected["context"]) & ~nans(context)).any(), f"context, T_k = {T_k}"
            for name, actual, wanted in zip("qkv", gradients, expected["gradients"], strict=True):
                assert not (nans(wanted) & ~nans(actual)).any(), f"gradient of {name}, T_k = {T_k}"
            if need_weights:
                rows = nans(expected["weights"]).any(dim=-1)
                assert torch.equal(nans(weights).any(dim=-1), rows), f"weights, T_k = {T_k}"


@pytest.mark.parametrize("mask_name", MODES)
@IN
@pytest.mark.parametrize("variant", [pytest.param(1, marks=pytest.mark.slow), 2, 3])
def test_it_reaches_them_under_masks_through_loops(variant, place, mask_name):
    """They see just the allowed keys, so that what is blocked does no harm at all."""
    for T_k in (1, 2, 7, 17):
        problem = problem_with_nan(place, T_k, mask_name=mask_name)
        context, weights, gradients = run(LIFTED[variant], problem, torch.float32)
        expected = problem.expected_of_context
        results = (context, weights, *gradients)
        for actual, wanted in zip(
            results, (expected["context"], expected["weights"], *expected["gradients"]), strict=True
        ):
            assert torch.equal(nans(actual), nans(wanted)), f"T_k = {T_k}"


@ALL_DTYPES
@pytest.mark.parametrize("mask_name", ["none", "mask", "is_causal"])
@IN
def test_dropout_does_not_drop_it(place, mask_name, dtype):
    """Not where its row keeps a key: 0 * NaN is NaN."""
    torch.manual_seed(0)
    for T_k in LENGTHS:
        problem = problem_with_nan(place, T_k, mask_name=mask_name, dropout_p=0.25)
        context, _, _ = run(LIFTED[7], problem, dtype, need_weights=False)
        assert not (nans(problem.expected["context"]) & ~nans(context)).any(), f"T_k = {T_k}"


@IN
@pytest.mark.parametrize("T_q", [1, 40])
@pytest.mark.parametrize("is_causal", [False, True], ids=["", "is_causal"])
def test_few_and_many_queries(is_causal, T_q, place):
    """The kernel takes queries in blocks of 32."""
    for T_k in (1, 3, 8, 15, 16, 33):
        problem = problem_with_nan(place, T_k, T_q=T_q, mask_name="is_causal" if is_causal else "none")
        context, _, _ = run(VARIANTS[7], problem, torch.float32, need_weights=False)
        assert not (nans(problem.expected["context"]) & ~nans(context)).any(), f"T_k = {T_k}"


def test_everything_may_be_nan():
    for T_k in LENGTHS:
        q, k, v = (torch.full((2, T, 8), NAN) for T in (3, T_k, T_k))
        for attend in (*LIFTED.values(), tiled):
            assert attend(q, k, v, None, H)[0].isnan().all()


# ------------------------------------------------------------------------------------------ what is no NaN stays none


@ALL_DTYPES
@SEVEN_AND_TILED
def test_values_of_zero_are_no_lost_nan(attend, dtype):
    for T_k in (1, 3, 16):
        problem = make_problem(T_k=T_k, is_causal=True)
        q, k = problem.q.to(dtype), problem.k.to(dtype)
        for options in ({}, {"is_causal": True}):
            context, _ = attend(q, k, torch.zeros_like(k), None, H, **options)
            assert (context == 0).all()


@ALL_DTYPES
@pytest.mark.parametrize("T_k", [1, 3, 16])
def test_large_scores_make_no_nan(T_k, dtype):
    """Each product is large, of either sign, and values of zero make variant 7 look for a NaN in the scores."""
    large = 6e4 if dtype == torch.float16 else 1e15
    signs = torch.tensor([1, -1, 1, -1, -1, 1, 1, -1], dtype=dtype)
    q, k = (large * signs).expand(2, 3, 8), torch.full((2, T_k, 8), large, dtype=dtype)
    context, _ = VARIANTS[7](q, k, torch.zeros_like(k), None, H, need_weights=False)
    assert (context == 0).all()


@SEVEN_AND_TILED
def test_a_query_without_keys_is_0_even_if_it_is_nan(attend):
    q, k, v = torch.full((2, 3, 8), NAN), torch.ones(2, 7, 8), torch.ones(2, 7, 8)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[1] = False
    for given in (mask, mask.expand(2, H, 3, 7)):
        context, weights = attend(q, k, v, given, H)
        assert (context[:, 1] == 0).all()
        assert context[:, [0, 2]].isnan().all()
        assert weights is None or (weights[:, :, 1] == 0).all()


@pytest.mark.slow
@ALL_DTYPES
@pytest.mark.parametrize("number", [NAN, float("inf"), -float("inf")], ids=str)
@pytest.mark.parametrize("batch", [(), (B,), (2, 2), (0,)], ids=str)
@pytest.mark.parametrize("attend", LIFTED.values(), ids=map(str, LIFTED))
def test_without_keys_a_query_is_0_whatever_it_holds(attend, batch, number, dtype):
    for T_q in (3, 0):
        q, k, v = (torch.full((*batch, T, D_MODEL), number, dtype=dtype, requires_grad=True) for T in (T_q, 0, 0))
        masks = (None, torch.ones(T_q, 0, dtype=torch.bool), torch.zeros(*batch, H, T_q, 0, dtype=torch.bool))
        for mask in masks:
            for options in ({}, {"is_causal": True}, {"need_weights": False}, {"dropout_p": 0.5}):
                context, weights = attend(q, k, v, mask, H, **options)
                assert context.shape == (*batch, T_q, D_MODEL)
                assert context.dtype == dtype
                assert (context == 0).all()
                assert weights is None or weights.shape == (*batch, H, T_q, 0)
                for x, gradient in zip((q, k, v), torch.autograd.grad(context.sum(), (q, k, v)), strict=True):
                    assert torch.equal(gradient, torch.zeros_like(x))


@pytest.mark.parametrize("place", ["k", "v"])
@SEVEN_AND_TILED
def test_a_blocked_nan_leaves_the_weights_alone(attend, place):
    for T_k in (2, 7, 17):
        problem = make_problem(T_k=T_k)
        x = {name: getattr(problem, name).clone() for name in "qkv"}
        blocked = T_k // 2
        x[place][:, blocked] = NAN
        mask = torch.arange(T_k) != blocked
        for options in ({}, {"is_causal": True}):
            _, weights = attend(*x.values(), mask, H, **options)
            assert weights is None or not weights.isnan().any()


# ------------------------------------------------------------------------------- where nothing can be looked at


@pytest.mark.slow
@pytest.mark.parametrize("mask_name", ["none", "is_causal"])
def test_it_survives_compilation(mask_name):
    torch.compiler.reset()
    attend = functools.partial(VARIANTS[7], need_weights=False)
    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    for T_k in (1, 5, 17):
        for place in "qkv":
            problem = problem_with_nan(place, T_k, T_q=20, mask_name=mask_name)
            expected, actual = (run(function, problem, torch.float32) for function in (attend, compiled))
            assert nans(expected[0]).any()
            for x, y in zip((actual[0], *actual[2]), (expected[0], *expected[2]), strict=True):
                assert torch.equal(nans(x), nans(y)), f"{place}, T_k = {T_k}"


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # PyTorch maps its kernel by a loop
def test_it_survives_a_map():
    q, k, v = (torch.randn(3, 2, 5, 8, generator=seeded(name)) for name in "qkv")
    q[1, 0, 2] = NAN
    context, _ = torch.func.vmap(lambda q, k, v: VARIANTS[7](q, k, v, None, H))(q, k, v)
    expected = torch.zeros(3, 2, 5, 8, dtype=torch.bool)
    expected[1, 0, 2] = True
    assert torch.equal(context.isnan(), expected)


def test_whether_a_row_may_be_zero():
    context = torch.ones(B, H, 5, 4)
    assert has_zeros(context) is False
    context[1, 1, 3, 1:] = 0
    assert has_zeros(context) is False  # the first column rules it out
    context[1, 1, 3] = 0
    assert has_zeros(context) is True
    context[1, 1, 3] = NAN
    assert has_zeros(context) is False
    assert has_zeros(torch.ones(B, H, 0, 4)) is False
    assert has_zeros(torch.ones(B, H, 5, 0)) is False
    with FakeTensorMode() as mode:
        assert has_zeros(mode.from_tensor(context)) is True  # it cannot look


def test_a_kernel_that_loses_every_nan_is_made_up_for(monkeypatch):
    """Whatever the length and the processor: some release may well lose them in longer rows too."""
    kernel = torch.nn.functional.scaled_dot_product_attention

    def careless(*args, **options):
        context = kernel(*args, **options)
        return context.masked_fill(context.isnan().all(dim=-1, keepdim=True), 0.0)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", careless)
    for T_k in (*LENGTHS, 100):
        for mask_name in ("none", "is_causal"):
            problem = problem_with_nan("q", T_k, mask_name=mask_name)
            context, *_ = run(VARIANTS[7], problem, torch.float32, need_weights=False)
            expected = torch.as_tensor(problem.expected_of_context["context"])
            finite = ~nans(expected)
            assert torch.equal(~nans(context), finite), f"T_k = {T_k}"
            assert relative_error(context[finite], expected[finite]) <= 1e-5, f"T_k = {T_k}"
