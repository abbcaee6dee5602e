"""Mistakes in what the contract guarantees beside numbers, in another hand."""
# ruff: noqa: D103
# mypy: ignore-errors

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ._rewriting import apart, rewriting, shares, together, with_causal


@rewriting("as_many_keys_as_queries", 1)
def as_many_keys_as_queries(q, k, v):
    n, d = q.shape
    scores = torch.zeros(n, n, dtype=q.dtype)
    for i in range(n):
        for j in range(n):
            scores[i, j] = q[i].dot(k[j]) / d**0.5
    weights = F.softmax(scores, dim=1)
    return torch.stack([sum(weights[i, j] * v[j] for j in range(n)) for i in range(n)]), weights


@rewriting("computed_in_half_precision", 3)
def computed_in_half_precision(q, k, v):
    a, b, c = q.to(torch.float16), k.to(torch.float16), v.to(torch.float16)  # to save memory
    w = torch.einsum("...id,...jd->...ij", a, b).div(math.sqrt(q.shape[-1])).softmax(-1)
    return (w @ c).to(q.dtype), w.to(q.dtype)


@rewriting("always_float32", 4)
def always_float32(q, k, v, mask=None):
    q, k, v = (x.to(torch.float32) for x in (q, k, v))
    w = shares(torch.einsum("...id,...jd->...ij", q, k) / q.shape[-1] ** 0.5, mask)
    return w @ v, w


@rewriting("always_float64", 6)
def always_float64(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads).double() for x in (q, k, v))
    w = shares(torch.einsum("...id,...jd->...ij", q, k) / q.shape[-1] ** 0.5, mask)
    return together(w @ v), w


@rewriting("pair_swapped", 6)
def pair_swapped(q, k, v, mask=None, num_heads=1):
    q, k, v = (apart(x, num_heads) for x in (q, k, v))
    attn = shares(torch.einsum("...id,...jd->...ij", q, k) / q.shape[-1] ** 0.5, mask)
    return attn, together(attn @ v)


@rewriting("context_alone", 3)
def context_alone(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


@rewriting("queries_scaled_in_place", 3)
def queries_scaled_in_place(q, k, v):
    q.mul_(q.shape[-1] ** -0.5)
    w = torch.softmax(torch.einsum("...id,...jd->...ij", q, k), -1)
    return w @ v, w


@rewriting("always_float64", 7)
def always_float64_fused(q, k, v, mask=None, num_heads=1, *, dropout_p=0.0, need_weights=True, is_causal=False):
    mask = with_causal(mask, q, k, is_causal)
    q, k, v = (apart(x, num_heads).to(torch.float64) for x in (q, k, v))
    w = shares(q @ k.mT / q.shape[-1] ** 0.5, mask)
    return together(F.dropout(w, dropout_p) @ v), w if need_weights else None
