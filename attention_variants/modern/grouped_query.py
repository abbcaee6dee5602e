"""Several heads of queries share one head of keys and values."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attention_variants.variants.checks import check_inputs, lacks_keys


def grouped_query_attention(
    q: Float[Tensor, "*batch T_q d_model"],
    k: Float[Tensor, "*batch T_k d_kv"],
    v: Float[Tensor, "*batch T_k d_kv"],
    mask: Bool[Tensor, "..."] | None = None,
    num_heads: int = 1,
    num_kv_heads: int = 1,
) -> tuple[Float[Tensor, "*batch T_q d_model"], Float[Tensor, "*batch {num_heads} T_q T_k"]]:
    """Multi-head attention with fewer heads of keys and values than of queries.

    R = num_heads / num_kv_heads heads of queries share the keys and values of one: heads 0 to R - 1 those of head 0,
    the next R those of head 1. It is variant 6 with every head of keys and values repeated R times, but nothing is
    repeated: queries that look at the same keys are just more queries, so the R heads stand below each other as
    R * T_q rows. ``num_kv_heads=num_heads`` is variant 6; ``num_kv_heads=1`` is called multi-query attention.
    What is kept of the keys and values (`KVCache`) becomes R times smaller.
    Ainslie et al. (2023), "GQA", section 2.2, arXiv:2305.13245; Shazeer (2019), "Fast Transformer Decoding: One
    Write-Head is All You Need", section 3, arXiv:1911.02150.
    Contract and errors: `attention_variants.variants`.

    Parameters
    ----------
    q : Tensor of shape (..., T_q, num_heads * d_k)
    k, v : Tensor of shape (..., T_k, num_kv_heads * d_k)
    mask : boolean Tensor that broadcasts to (..., num_heads, T_q, T_k), optional
        True = may attend.
    num_heads : int, default 1
        The heads of the queries.
    num_kv_heads : int, default 1
        The heads of the keys and values; it divides num_heads.

    Returns
    -------
    context : Tensor of shape (..., T_q, num_heads * d_k)
    weights : Tensor of shape (..., num_heads, T_q, T_k)
    """
    check_inputs(6, q, k, v, mask, num_heads, caller="grouped_query_attention", num_kv_heads=num_kv_heads)
    *batch, T_q, d_model = q.shape
    T_k, d_k = k.shape[-2], d_model // num_heads
    G, R = num_kv_heads, num_heads // num_kv_heads

    # split, the R heads that share keys below each other: (..., T_q, G, R, d_k) -> (..., G, R, T_q, d_k) -> one matrix
    q = q.view(*batch, T_q, G, R, d_k).movedim(-4, -2).reshape(*batch, G, R * T_q, d_k)
    k = k.view(*batch, T_k, G, d_k).transpose(-3, -2)  # (..., G, T_k, d_k)
    v = v.view(*batch, T_k, G, d_k).transpose(-3, -2)

    scores = (q / math.sqrt(d_k)) @ k.transpose(-2, -1)  # (..., G, R * T_q, T_k)
    scores = scores.view(*batch, num_heads, T_q, T_k)
    if mask is not None:
        # The lowest finite number, not -inf: a row of nothing but -inf would become NaN.
        scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1)  # over the keys: every row sums to 1
    if mask is not None and lacks_keys(mask):
        weights = weights.masked_fill(~mask, 0.0)  # a query with no key: 0 throughout, not uniform
    context = weights.view(*batch, G, R * T_q, T_k) @ v  # (..., G, R * T_q, d_k)

    # merge: (..., G, R * T_q, d_k) -> (..., G, R, T_q, d_k) -> (..., T_q, G, R, d_k) -> (..., T_q, d_model)
    context = context.view(*batch, G, R, T_q, d_k).movedim(-2, -4).reshape(*batch, T_q, d_model)
    return context, weights
