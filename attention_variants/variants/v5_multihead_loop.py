"""Variant 5: several heads, one after the other."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .checks import check_inputs, lacks_keys
from .registry import register


def multihead_attention_loop(
    q: Float[Tensor, "*batch T_q d_model"],
    k: Float[Tensor, "*batch T_k d_model"],
    v: Float[Tensor, "*batch T_k d_model"],
    mask: Bool[Tensor, "..."] | None = None,
    num_heads: int = 1,
) -> tuple[Float[Tensor, "*batch T_q d_model"], Float[Tensor, "*batch {num_heads} T_q T_k"]]:
    """Multi-head attention as a loop: each head attends on its own columns.

    Head h owns columns h*d_k to (h+1)*d_k of q, k and v.
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
    check_inputs(5, q, k, v, mask, num_heads)
    *batch, T_q, d_model = q.shape
    T_k, d_k = k.shape[-2], d_model // num_heads
    masks = [None] * num_heads if mask is None else mask.expand(*batch, num_heads, T_q, T_k).unbind(-3)
    heads = zip(q.split(d_k, dim=-1), k.split(d_k, dim=-1), v.split(d_k, dim=-1), masks, strict=True)

    contexts, weights_of_heads = [], []
    for q, k, v, mask in heads:  # from here on the columns of one head: (..., T_q, d_k), (..., T_k, d_k)
        scores = (q / math.sqrt(d_k)) @ k.transpose(-2, -1)  # (..., T_q, T_k)
        if mask is not None:
            # The lowest finite number, not -inf: a row of nothing but -inf would become NaN.
            scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, dim=-1)  # over the keys: every row sums to 1
        if mask is not None and lacks_keys(mask):
            weights = weights.masked_fill(~mask, 0.0)  # a query with no key: 0 throughout, not uniform
        context = weights @ v  # (..., T_q, d_k)
        contexts.append(context)
        weights_of_heads.append(weights)
    context = torch.cat(contexts, dim=-1)  # H times (..., T_q, d_k) -> (..., T_q, d_model)
    weights = torch.stack(weights_of_heads, dim=-3)  # H times (..., T_q, T_k) -> (..., H, T_q, T_k)
    return context, weights


register(multihead_attention_loop, number=5, adds="heads, one after the other", takes=("batch", "mask", "heads"))
