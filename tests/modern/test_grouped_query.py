"""Shared keys: variant 6 with the heads repeated, PyTorch's ``enable_gqa``, and no copy of a key."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F

import attention_variants as av
from attention_variants.lab.measure.memory import peak_memory

pytestmark = pytest.mark.numeric

B, T_Q, T_K, D_K = 2, 5, 7, 3
CLOSE = {"rtol": 0.0, "atol": 1e-12}
GROUPS = [(4, 2), (6, 2), (4, 1), (4, 4), (6, 3), (1, 1)]


def inputs(H, G, batch=(B,), seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((T_Q, H * D_K), (T_K, G * D_K), (T_K, G * D_K))
    return [
        torch.randn(*batch, *shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes
    ]


def heads(x, n):
    return x.unflatten(-1, (n, D_K)).transpose(-3, -2)  # (..., T, n * d_k) -> (..., n, T, d_k)


def repeated(x, G, R):
    """Every head of keys R times, beside each other: head 0, head 0, head 1, head 1."""
    return x.unflatten(-1, (G, D_K)).repeat_interleave(R, dim=-2).flatten(-2)


def masks(H):
    scattered = torch.rand(B, H, T_Q, T_K, generator=torch.Generator().manual_seed(1)) > 0.4
    scattered[0, 0, 2] = False  # a query with no key
    return {"none": None, "causal": av.causal_mask(T_Q, T_K), "one for each head": scattered}


def same(found, expected, leaves):
    torch.testing.assert_close(found, expected, **CLOSE)
    gradients = (torch.autograd.grad(one.sin().sum(), leaves, retain_graph=True) for one in (found, expected))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.parametrize("mask", ["none", "causal", "one for each head"])
@pytest.mark.parametrize(("H", "G"), GROUPS)
def test_it_is_variant_6_with_the_heads_repeated(H, G, mask):
    q, k, v = leaves = inputs(H, G)
    mask = masks(H)[mask]
    context, weights = av.grouped_query_attention(q, k, v, mask, H, G)
    expected, expected_weights = av.multihead_attention(q, repeated(k, G, H // G), repeated(v, G, H // G), mask, H)
    same(context, expected, leaves)
    torch.testing.assert_close(weights, expected_weights, **CLOSE)
    assert weights.shape == (B, H, T_Q, T_K)


@pytest.mark.parametrize(("H", "G"), GROUPS)
def test_it_is_what_pytorch_does_with_enable_gqa(H, G):
    q, k, v = leaves = inputs(H, G)
    mask = masks(H)["causal"]
    context, _ = av.grouped_query_attention(q, k, v, mask, H, G)
    expected = F.scaled_dot_product_attention(heads(q, H), heads(k, G), heads(v, G), mask, enable_gqa=True)
    same(context, expected.transpose(-3, -2).flatten(-2), leaves)


def test_as_many_heads_of_keys_as_of_queries_is_variant_6_itself():
    q, k, v = inputs(4, 4)
    ours, theirs = av.grouped_query_attention(q, k, v, None, 4, 4), av.multihead_attention(q, k, v, None, 4)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_repeat_in_place_of_repeat_interleave_is_another_function():
    q, k, v = inputs(4, 2)
    wrong, _ = av.multihead_attention(q, k.repeat(1, 1, 2), v.repeat(1, 1, 2), None, 4)
    right, _ = av.grouped_query_attention(q, k, v, None, 4, 2)
    differs = (heads(wrong, 4) - heads(right, 4)).abs().amax(dim=(0, 2, 3)) > 1e-6
    assert differs.tolist() == [False, True, True, False], "heads 1 and 2 change places"


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_any_leading_dimensions(batch):
    q, k, v = leaves = inputs(4, 2, batch)
    context, weights = av.grouped_query_attention(q, k, v, None, 4, 2)
    assert weights.shape == (*batch, 4, T_Q, T_K)
    same(context, av.multihead_attention(q, repeated(k, 2, 2), repeated(v, 2, 2), None, 4)[0], leaves)


def test_no_key_is_copied():
    """The most memory at once is less than one copy of the keys for all heads would take."""
    H, G, T, d_k = 16, 1, 512, 64
    q, k, v = torch.zeros(1, H * d_k), torch.zeros(T, G * d_k), torch.zeros(T, G * d_k)
    most = peak_memory(av.grouped_query_attention, q, k, v, None, H, G)
    assert most < T * H * d_k * 4


BAD = {
    "not divisible": ({"num_heads": 4, "num_kv_heads": 3}, "num_heads must be divisible by num_kv_heads"),
    "more of keys": ({"num_heads": 2, "num_kv_heads": 4}, "got num_heads = 2 and num_kv_heads = 4. 2 can share 1, 2."),
    "none": ({"num_kv_heads": 0}, "num_kv_heads must be a whole number of at least 1; got 0"),
    "half": ({"num_kv_heads": 2.0}, "num_kv_heads must be a whole number of at least 1; got 2.0"),
    "as wide as the queries": (
        {"k": torch.zeros(B, T_K, 12)},
        "q must be 2 times as wide as k and v; got q (2, 5, 12), k (2, 7, 12)",
    ),
    "heads do not divide": (
        {"q": torch.zeros(B, T_Q, 10), "k": torch.zeros(B, T_K, 5), "v": torch.zeros(B, T_K, 5)},
        "d_model must be divisible by num_heads",
    ),
    "another batch": ({"q": torch.zeros(3, T_Q, 12)}, "must share their leading (batch) dimensions"),
    "a mask for batches": ({"mask": torch.ones(B, T_Q, T_K, dtype=torch.bool)}, "is ambiguous"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_told(case):
    changed, message = BAD[case]
    ordinary = {
        "q": torch.zeros(B, T_Q, 12),
        "k": torch.zeros(B, T_K, 6),
        "v": torch.zeros(B, T_K, 6),
        "num_heads": 4,
        "num_kv_heads": 2,
    }
    with pytest.raises(ValueError, match="grouped_query_attention: .*" + re.escape(message)):
        av.grouped_query_attention(**{**ordinary, **changed})
