"""Variant 6: all heads in one batched product."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .checks import check_inputs, lacks_keys
from .registry import register


def multihead_attention(
    q: Float[Tensor, "*batch T_q d_model"],
    k: Float[Tensor, "*batch T_k d_model"],
    v: Float[Tensor, "*batch T_k d_model"],
    mask: Bool[Tensor, "..."] | None = None,
    num_heads: int = 1,
) -> tuple[Float[Tensor, "*batch T_q d_model"], Float[Tensor, "*batch {num_heads} T_q T_k"]]:
    """Multi-head attention without a loop: split the heads, attend with all at once, merge them.

    The heads become one more batch dimension: (..., T, d_model) -> (..., H, T, d_k) and back.
    Vaswani et al. (2017), section 3.2.2, arXiv:1706.03762. Contract and errors: `attention_variants.variants`.

    Parameters
    ----------
    q : Tensor of shape (..., T_q, d_model)
    k, v : Tensor of shape (..., T_k, d_model)
    mask : boolean Tensor that broadcasts to (..., num_heads, T_q, T_k), optional
        True = may attend. One mask per batch item needs an axis for the heads: (B, 1, T_q, T_k).
    num_heads : int, default 1
        It divides d_model into d_k = d_model / num_heads columns for each head.

    Returns
    -------
    context : Tensor of shape (..., T_q, d_model)
    weights : Tensor of shape (..., num_heads, T_q, T_k)
    """
    check_inputs(6, q, k, v, mask, num_heads)
    *batch, T_q, d_model = q.shape
    T_k, d_k = k.shape[-2], d_model // num_heads

    # split: (..., T, d_model) -> (..., T, H, d_k) -> (..., H, T, d_k)
    q = q.view(*batch, T_q, num_heads, d_k).transpose(-3, -2)
    k = k.view(*batch, T_k, num_heads, d_k).transpose(-3, -2)
    v = v.view(*batch, T_k, num_heads, d_k).transpose(-3, -2)

    scores = (q / math.sqrt(d_k)) @ k.transpose(-2, -1)  # (..., H, T_q, T_k)
    if mask is not None:
        # The lowest finite number, not -inf: a row of nothing but -inf would become NaN.
        scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1)  # over the keys: every row sums to 1
    if mask is not None and lacks_keys(mask):
        weights = weights.masked_fill(~mask, 0.0)  # a query with no key: 0 throughout, not uniform
    context = weights @ v  # (..., H, T_q, d_k)

    # merge: (..., H, T_q, d_k) -> (..., T_q, H, d_k) -> (..., T_q, d_model)
    context = context.transpose(-3, -2).reshape(*batch, T_q, d_model)
    return context, weights


register(multihead_attention, number=6, adds="all heads in one product", takes=("batch", "mask", "heads"))
